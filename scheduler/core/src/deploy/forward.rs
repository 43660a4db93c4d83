//! The way to live: place, start, hook, flip, drain.

use super::view::{Progress, View};
use super::*;
use crate::state::ContainerKind::{Application, Service, Worker};
use slipway_model::InstanceId;
use slipway_model::instance::Target;
use slipway_model::task::{Hook, TaskOutcome};
use std::collections::BTreeMap;

pub(super) fn placing(view: &View<'_>) -> Step {
    let all = view.new_of(&[Application, Worker, Service]);
    if let Some(activity) = view.state.activities.get(&view.deployment.activity)
        && activity.cancel_asked
    {
        return view.fail("cancelled");
    }
    match view.created(&all) {
        Progress::Failed(why) => view.fail(why),
        Progress::Waiting(names) if view.phase_ms() > CREATE_TIME_MAX_MS => {
            view.fail(format!("containers were not created within 10 minutes: {names}"))
        }
        Progress::Waiting(names) => {
            Step::Wait { what: format!("containers to be created: {names}"), until: view.at(CREATE_TIME_MAX_MS + 1) }
        }
        Progress::Done if view.deployment.freezes => freeze(view),
        Progress::Done => view.advance(Phase::Starting, Vec::new(), "containers are created; no hook, nothing is held"),
    }
}

fn freeze(view: &View<'_>) -> Step {
    let mut changes = vec![Change::Freeze];
    for id in view.old_of(&[Application]) {
        changes.push(Change::CloseIngress { instance: id.clone() });
    }
    for id in view.old_of(&[Application, Worker]) {
        changes.push(Change::SetBackground { instance: id.clone(), on: false });
    }
    view.advance(Phase::Freezing, changes, "containers are created; traffic is held from here")
}

/// Without a hook: services, then applications, while the old release serves.
pub(super) fn starting(view: &View<'_>) -> Step {
    match start_all(view, false) {
        Ok(()) => open_gate(view),
        Err(step) => step,
    }
}

/// With a hook: the same in the closed window, then the hooks, in order.
pub(super) fn hooking(view: &View<'_>) -> Step {
    if let Err(step) = start_all(view, true) {
        return step;
    }
    let Some((container, script)) = view.deployment.hooks.get(view.deployment.hooks_done) else {
        return open_gate(view);
    };
    let Some(instance) = view.deployment.new.get(container) else {
        return view.advance(Phase::Hooking, vec![Change::HookDone { ms: 0 }], "its container is gone");
    };
    let id: TaskId = format!("task-hook-{}-{}", view.id.as_str().trim_start_matches("dep-"), view.deployment.hooks_done)
        .parse()
        .expect("a deployment id makes a task id");
    match view.observed.tasks.get(&id) {
        None => Step::Task {
            id,
            worker: view.state.instances[instance].worker.clone(),
            spec: TaskSpec::Hook(Hook {
                activity: view.deployment.activity.clone(),
                instance: instance.clone(),
                kind: "deploy".to_string(),
                script: script.clone(),
                seconds_max: hook_seconds_max(view),
                epoch: view.environment.epoch,
            }),
            because: format!("the deploy hook of '{container}' runs"),
        },
        Some(TaskOutcome::HookEnded { exit_code: 0, ms }) => {
            let ms = *ms;
            view.advance(Phase::Hooking, vec![Change::HookDone { ms }], format!("the deploy hook of '{container}' succeeded"))
        }
        Some(TaskOutcome::HookEnded { ms, .. }) if view.deployment.ignore_hook_failure => {
            let ms = *ms;
            view.advance(Phase::Hooking, vec![Change::HookDone { ms }], "the deploy hook failed, which this project ignores")
        }
        Some(TaskOutcome::HookEnded { exit_code, .. }) => {
            view.fail(format!("the deploy hook of '{container}' failed with exit code {exit_code}"))
        }
        Some(TaskOutcome::UserFailure { message, .. } | TaskOutcome::InfrastructureFailure { message }) => {
            view.fail(format!("the deploy hook of '{container}' failed: {message}"))
        }
        Some(other) => view.fail(format!("the deploy hook of '{container}' ended oddly: {other:?}")),
    }
}

fn hook_seconds_max(view: &View<'_>) -> u64 {
    let setting = view.state.projects.get(&view.environment.project).and_then(|p| p.settings.get("hook_time_max"));
    setting.and_then(|s| s.parse::<u64>().ok()).unwrap_or(3600).clamp(1, 24 * 3600)
}

/// `Ok` when all services and applications of the new release are ready.
fn start_all(view: &View<'_>, frozen: bool) -> Result<(), Step> {
    let mut services = view.new_of(&[Service]);
    services.extend(view.deployment.kept.values());
    let to_start = view.retarget(&services, Target::Running);
    let phase = view.deployment.phase;
    if !to_start.is_empty() {
        return Err(view.advance(phase, to_start, "services start"));
    }
    wait_ready(view, &services, "services")?;
    let applications = view.new_of(&[Application, Worker]);
    let to_start = view.retarget(&applications, Target::Running);
    if !to_start.is_empty() {
        let why = if frozen { "services are ready; the new processes start" } else { "services are ready; the new instances start" };
        return Err(view.advance(phase, to_start, why));
    }
    wait_ready(view, &view.new_of(&[Application]), "applications")
}

fn wait_ready(view: &View<'_>, ids: &[&InstanceId], what: &str) -> Result<(), Step> {
    match view.ready(ids) {
        Progress::Done => Ok(()),
        Progress::Failed(why) => Err(view.fail(why)),
        Progress::Waiting(names) if view.phase_ms() > START_TIME_MAX_MS && view.deployment.hooks_done == 0 => {
            Err(view.fail(format!("{what} were not ready within 6 minutes: {names}")))
        }
        Progress::Waiting(names) => {
            Err(Step::Wait { what: format!("{what} to be ready: {names}"), until: view.at(START_TIME_MAX_MS + 1) })
        }
    }
}

/// Endpoints for the next epoch first; the gate opens on them when they listen.
fn open_gate(view: &View<'_>) -> Step {
    let applications = view.new_of(&[Application]);
    let missing = view.without_next_ingress(&applications);
    if !missing.is_empty() {
        let changes = missing.into_iter().map(|instance| Change::OpenIngress { instance }).collect();
        return view.advance(view.deployment.phase, changes, "all is ready; fresh endpoints open");
    }
    match view.listening(&applications) {
        Progress::Done => {
            let serving = serving(view);
            let release = Some(view.deployment.release.clone());
            view.advance(Phase::Flipping, vec![Change::Open { release, serving }], "the new release takes the traffic")
        }
        Progress::Failed(why) => view.fail(why),
        Progress::Waiting(names) => Step::Wait { what: format!("endpoints to listen: {names}"), until: view.at(START_TIME_MAX_MS) },
    }
}

fn serving(view: &View<'_>) -> BTreeMap<String, InstanceId> {
    view.deployment.kept.iter().chain(&view.deployment.new).map(|(name, id)| (name.clone(), id.clone())).collect()
}

pub(super) fn flipping(view: &View<'_>) -> Step {
    let behind = view.observed.routers_behind(&view.deployment.environment, view.environment.epoch);
    if !behind.is_empty() && view.phase_ms() < ROUTER_ACK_TIME_MAX_MS {
        return Step::Wait { what: format!("routers to take the table: {behind:?}"), until: view.at(ROUTER_ACK_TIME_MAX_MS) };
    }
    let mut changes = Vec::new();
    for id in view.old_of(&[Application]) {
        changes.push(Change::CloseIngress { instance: id.clone() });
    }
    for id in view.old_of(&[Application, Worker]) {
        changes.push(Change::SetBackground { instance: id.clone(), on: false });
    }
    for id in view.new_of(&[Application, Worker]) {
        changes.push(Change::SetBackground { instance: id.clone(), on: true });
    }
    view.advance(Phase::Draining, changes, "routers have it; old requests end, crons and workers of the new release begin")
}

pub(super) fn draining(view: &View<'_>) -> Step {
    let old = view.old_of(&[Application, Worker]);
    let quiet = view.progress(&old, |seen| seen.draining.is_empty() && seen.ingress.is_none() && seen.background_running == 0);
    match quiet {
        Progress::Waiting(names) if view.phase_ms() < OLD_REQUESTS_TIME_MAX_MS => {
            return Step::Wait { what: format!("old requests to end: {names}"), until: view.at(OLD_REQUESTS_TIME_MAX_MS) };
        }
        _ => {}
    }
    let mut changes = view.retarget(&view.old_of(&[Application, Worker, Service]), Target::Stopped);
    changes.push(Change::Keep { release: view.deployment.release.clone() });
    if let Some(snapshot) = &view.deployment.snapshot {
        changes.push(Change::RememberSnapshot { snapshot: Some(snapshot.clone()) });
    }
    for id in surplus(view) {
        changes.push(Change::Retire { instance: id });
    }
    view.advance(Phase::Live, changes, "the old release is at rest")
}

/// Instances that neither serve nor belong to the release that an instant revert would start,
/// and services that no kept release knows any more.
fn surplus(view: &View<'_>) -> Vec<InstanceId> {
    let deployment = view.deployment;
    let known_services = |name: &str| {
        view.environment
            .kept
            .iter()
            .chain([&deployment.release])
            .filter_map(|r| view.state.releases.get(r))
            .any(|r| r.tree.project.services.iter().any(|s| s.name == name))
    };
    view.state
        .instances_of(&deployment.environment)
        .filter(|(id, instance)| {
            let in_use = deployment.new.values().chain(deployment.kept.values()).any(|used| used == *id);
            let in_reserve = match instance.kind {
                // A replaced service shares its volume with its successor: it must never start again.
                ContainerKind::Service => {
                    !serving(view).contains_key(&instance.spec.name) && known_services(&instance.spec.name)
                }
                ContainerKind::Application | ContainerKind::Worker => {
                    deployment.previous.as_ref() == Some(&instance.release) && deployment.old.values().any(|old| old == *id)
                }
            };
            !in_use && !in_reserve
        })
        .map(|(id, _)| id.clone())
        .collect()
}
