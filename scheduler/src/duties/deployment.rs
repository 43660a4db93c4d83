//! Carries a deployment's plan out, step by step, until it is live or undone.

use super::activity::{Drive, Ends};
use crate::logbook::Level;
use slipway_core::command::Change;
use slipway_core::deploy::{Step, plan};
use slipway_core::state::*;
use slipway_core::{Command, Reply};
use slipway_model::observed::InstanceState;
use slipway_model::phase::Phase;
use slipway_model::task::{Hook, TaskOutcome, TaskSpec};
use slipway_model::{DeploymentId, InstanceId, TaskId};
use std::time::Duration;

/// Without a report the plan is looked at again so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is waited for is said when it lasts.
const SAY_WAIT_AFTER_MS: i64 = 5_000;

/// Follows the plan to its end; answers what failed, for the record.
pub async fn follow(drive: &Drive, id: &DeploymentId) -> anyhow::Result<Vec<FailedInstance>> {
    let office = &drive.office;
    let mut bell = office.world.bell();
    let mut failed = Vec::new();
    let mut said_waiting = String::new();
    loop {
        bell.mark_unchanged();
        let now = crate::chance::now_ms();
        let step = office.world.look(|observed| office.read(|state| plan(state, id, observed, now)));
        match step {
            Step::Ended => return Ok(failed),
            Step::Wait { what, until } => {
                let since = office.read(|s| s.deployments.get(id).map_or(now, |d| d.phase_since));
                if now - since > SAY_WAIT_AFTER_MS && said_waiting != what {
                    drive.say(2, format!("Waiting for {what}"));
                    said_waiting = what;
                }
                let pause = until.map_or(LOOK_EVERY, |at| Duration::from_millis((at - now).clamp(1, 1000) as u64));
                let _ = tokio::time::timeout(pause, bell.changed()).await;
            }
            Step::Task { id: task, worker, spec, because } => {
                if office.world.look(|w| !w.tasks.contains_key(&task)) {
                    announce(drive, &task, &spec, &because);
                }
                office.world.order_task(&task, &worker, 1, &spec);
                let _ = tokio::time::timeout(LOOK_EVERY, bell.changed()).await;
            }
            Step::Advance { from, to, changes, because } => {
                if to == Phase::Undoing && from != Phase::Undoing {
                    failed = what_failed(drive, id);
                }
                say_advance(drive, from, to, &changes, &because);
                let command = Command::Advance { deployment: id.clone(), from, to, changes };
                match office.propose(command).await? {
                    Reply::Refused { reason } => {
                        tracing::info!(deployment = %id, %reason, "a step was overtaken");
                        let _ = tokio::time::timeout(LOOK_EVERY, bell.changed()).await;
                    }
                    _ => said_waiting.clear(),
                }
            }
        }
    }
}

/// Says a task once: the plan asks for it again each time it looks.
fn announce(drive: &Drive, task: &TaskId, spec: &TaskSpec, because: &str) {
    if drive.office.world.task_spec(task).is_some() {
        return;
    }
    match spec {
        TaskSpec::Hook(hook) => {
            let name = drive.office.read(|s| s.instances.get(&hook.instance).map(|i| i.spec.name.clone())).unwrap_or_default();
            drive.say(2, format!("Executing deploy hook for application '{name}'"));
        }
        TaskSpec::Snapshot { volumes, .. } => drive.say(2, format!("Taking a snapshot of {} volume(s)", volumes.len())),
        _ => drive.say(2, sentence(because)),
    }
}

fn say_advance(drive: &Drive, from: Phase, to: Phase, changes: &[Change], because: &str) {
    let text = match (from, to) {
        (_, Phase::Undoing) if from != Phase::Undoing => {
            drive.error(format!("{because}"));
            "Undoing: everything is put back".to_string()
        }
        (_, Phase::Freezing) => "Holding incoming requests; requests under way end".to_string(),
        (_, Phase::Flipping) => "Opening environment on the new release".to_string(),
        (_, Phase::Live) => return,
        _ if from == to && changes.iter().all(|c| matches!(c, Change::SnapshotTaken { .. } | Change::HookDone { .. })) => return,
        _ => sentence(because),
    };
    drive.say(2, text);
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// Exit codes and last lines of what the deployment started and found wanting.
fn what_failed(drive: &Drive, id: &DeploymentId) -> Vec<FailedInstance> {
    let office = &drive.office;
    let Some(deployment) = office.read(|s| s.deployments.get(id).cloned()) else { return Vec::new() };
    office.world.look(|observed| {
        deployment
            .new
            .iter()
            .filter_map(|(name, instance)| observed.instances.get(instance).map(|seen| (name, seen)))
            .filter(|(_, seen)| seen.state == InstanceState::Failed || (seen.state == InstanceState::Running && !seen.ready) || seen.exit_code.is_some())
            .map(|(name, seen)| FailedInstance { name: name.clone(), exit_code: seen.exit_code, log_tail: seen.log_tail.clone() })
            .collect()
    })
}

/// Runs the post-deploy hooks, traffic flowing; their failure is only reported.
pub async fn post_deploy(drive: &Drive, id: &DeploymentId, deployment: &Deployment) {
    let applications = drive.office.read(|s| s.releases.get(&deployment.release).map(|r| r.tree.project.applications.clone()));
    for (n, app) in applications.unwrap_or_default().iter().enumerate() {
        let (Some(script), Some(instance)) = (&app.hooks.post_deploy, deployment.new.get(&app.name)) else { continue };
        if let Err(error) = post_deploy_hook(drive, id, n, &app.name, instance, script).await {
            drive.warn(2, format!("the post-deploy hook of '{}' could not be run: {error:#}", app.name));
        }
    }
}

async fn post_deploy_hook(drive: &Drive, id: &DeploymentId, n: usize, app: &str, instance: &InstanceId, script: &str) -> anyhow::Result<()> {
    let office = &drive.office;
    let task: TaskId = format!("task-post-{}-{n}", id.as_str().trim_start_matches("dep-")).parse()?;
    let (worker, epoch) = office
        .read(|s| Some((s.instances.get(instance)?.worker.clone(), s.environments.get(&drive.environment)?.epoch)))
        .ok_or_else(|| Ends("its container is gone".into()))?;
    let spec = TaskSpec::Hook(Hook {
        activity: drive.id.clone(),
        instance: instance.clone(),
        kind: "post_deploy".into(),
        script: script.into(),
        seconds_max: 3600,
        epoch,
    });
    drive.say(1, format!("Executing post-deploy hook for application '{app}'"));
    let mut bell = office.world.bell();
    let mut away_since: Option<tokio::time::Instant> = None;
    loop {
        bell.mark_unchanged();
        office.world.order_task(&task, &worker, 1, &spec);
        if let Some(outcome) = office.world.look(|w| w.tasks.get(&task).cloned()) {
            office.world.forget_task(&task, &worker);
            match outcome {
                TaskOutcome::HookEnded { exit_code: 0, .. } => {}
                TaskOutcome::HookEnded { exit_code, .. } => {
                    drive.log.say(2, Level::Warning, app, format!("the post-deploy hook failed with exit code {exit_code}; the release serves on"));
                }
                other => drive.log.say(2, Level::Warning, app, format!("the post-deploy hook did not end well: {other:?}")),
            }
            return Ok(());
        }
        if office.world.silent_since(&worker).is_some() {
            let since = *away_since.get_or_insert_with(tokio::time::Instant::now);
            if since.elapsed() > Duration::from_secs(60) {
                anyhow::bail!("its worker is away");
            }
        } else {
            away_since = None;
        }
        let _ = tokio::time::timeout(LOOK_EVERY, bell.changed()).await;
    }
}

/// Lets worker and world forget the deployment's tasks, and snapshots that nobody needs any more.
pub async fn forget(drive: &Drive, id: &DeploymentId, deployment: &Deployment) {
    let office = &drive.office;
    let Some(worker) = drive.env().ok().and_then(|e| e.worker) else { return };
    let stem = id.as_str().trim_start_matches("dep-").to_string();
    let mut tasks: Vec<String> = ["snap", "back", "undo"].iter().map(|what| format!("task-{what}-{stem}")).collect();
    tasks.extend((0..deployment.hooks.len()).map(|n| format!("task-hook-{stem}-{n}")));
    for task in tasks.iter().filter_map(|t| t.parse::<TaskId>().ok()) {
        office.world.forget_task(&task, &worker);
    }
    let undone = deployment.phase == Phase::Undone;
    let dropped = if undone { deployment.snapshot.clone() } else { former_snapshot(drive, deployment) };
    if let (Some(snapshot), Ok(task)) = (dropped, format!("task-drop-{stem}").parse::<TaskId>()) {
        office.world.order_task(&task, &worker, 1, &TaskSpec::DropSnapshot { snapshot });
    }
}

/// The snapshot of the deployment before: only the newest is kept for a rollback with data.
fn former_snapshot(drive: &Drive, deployment: &Deployment) -> Option<slipway_model::SnapshotId> {
    deployment.snapshot.as_ref()?;
    drive.office.read(|s| {
        s.deployments
            .values()
            .filter(|d| d.environment == deployment.environment && d.phase == Phase::Live && d.phase_since < deployment.phase_since)
            .filter(|d| d.snapshot.is_some())
            .max_by_key(|d| d.phase_since)
            .and_then(|d| d.snapshot.clone())
    })
}
