//! One activity from its beginning, or from where a former leader left it, to its end.

use super::{build, deployment, place, release, report};
use crate::logbook::{Level, Log};
use crate::office::Office;
use slipway_core::state::*;
use slipway_core::{Command, Reply};
use slipway_model::phase::Phase;
use slipway_model::{ActivityId, DeploymentId, EnvironmentId, ReleaseId};
use std::sync::Arc;

/// The activity ends here, for a reason that people can read. Every other error means that this leader can do no more
/// (the ledger is away, leadership is lost): whoever leads next goes on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Ends(pub String);

/// What an activity's duties share.
pub struct Drive {
    pub office: Office,
    pub id: ActivityId,
    pub environment: EnvironmentId,
    pub log: Arc<Log>,
}

impl Drive {
    pub fn say(&self, indent: u32, text: impl Into<String>) {
        self.log.say(indent, Level::Info, "", text);
    }

    pub fn warn(&self, indent: u32, text: impl Into<String>) {
        self.log.say(indent, Level::Warning, "", text);
    }

    pub fn error(&self, text: impl Into<String>) {
        self.log.say(0, Level::Error, "", text);
    }

    pub fn activity(&self) -> anyhow::Result<Activity> {
        self.office
            .read(|s| s.activities.get(&self.id).cloned())
            .ok_or_else(|| Ends("the activity is gone".into()).into())
    }

    pub fn env(&self) -> anyhow::Result<Environment> {
        self.office
            .read(|s| s.environments.get(&self.environment).cloned())
            .ok_or_else(|| Ends("the environment is gone".into()).into())
    }

    pub fn cancelled(&self) -> bool {
        self.office.read(|s| s.activities.get(&self.id).is_none_or(|a| a.cancel_asked))
    }
}

/// Drives one activity.
pub async fn drive(office: Office, id: ActivityId) {
    match office.propose(Command::StartActivity { activity: id.clone() }).await {
        Ok(Reply::Done) => {}
        // Its environment is busy, or it has ended: looked at again when something changes.
        Ok(_) => return,
        Err(error) => return tracing::warn!(activity = %id, %error, "an activity could not be begun; it is tried again"),
    }
    let Some(environment) = office.read(|s| s.activities.get(&id).map(|a| a.environment.clone())) else { return };
    let log = match office.logs.log(&id) {
        Ok(log) => log,
        Err(error) => return tracing::error!(activity = %id, %error, "the log cannot be opened; it is tried again"),
    };
    let drive = Drive { office, id, environment, log };
    match run(&drive).await {
        Ok(()) => {}
        Err(error) => match error.downcast_ref::<Ends>() {
            Some(Ends(reason)) => end(&drive, reason).await,
            None => tracing::warn!(activity = %drive.id, error = format!("{error:#}"), "an activity was interrupted; it goes on by itself"),
        },
    }
}

async fn end(drive: &Drive, reason: &str) {
    let cancelled = drive.cancelled();
    let state = if cancelled { ActivityState::Cancelled } else { ActivityState::Failed };
    drive.error(reason);
    report::still_runs(drive);
    if let Err(error) = finish(drive, state, Some(reason.to_string()), Vec::new()).await {
        tracing::warn!(activity = %drive.id, error = format!("{error:#}"), "an end could not be recorded; it is tried again");
    }
}

/// Records the end and seals the log, in this order: a reader of the seal finds the activity complete.
pub async fn finish(drive: &Drive, state: ActivityState, failure: Option<String>, failed: Vec<FailedInstance>) -> anyhow::Result<()> {
    let timings = report::timings(drive);
    drive.office.record(Command::FinishActivity { activity: drive.id.clone(), state, failure, timings, failed }).await?;
    drive.log.seal();
    Ok(())
}

async fn run(drive: &Drive) -> anyhow::Result<()> {
    let activity = drive.activity()?;
    if drive.log.is_empty() {
        report::heading(drive, &activity)?;
    }
    match &activity.intent {
        Intent::Push { tree } => deploy_tree(drive, &activity, tree.clone()).await,
        Intent::Redeploy | Intent::Activate => {
            let head = drive.env()?.head.ok_or_else(|| Ends("nothing was pushed yet".into()))?;
            deploy_tree(drive, &activity, head).await
        }
        Intent::Rollback { release, run_hooks, with_data } => {
            let (release, run_hooks, with_data) = (release.clone(), *run_hooks, *with_data);
            roll_back(drive, &activity, release, run_hooks, with_data).await
        }
        Intent::Deactivate => {
            deactivate(drive).await?;
            finish(drive, ActivityState::Succeeded, None, Vec::new()).await
        }
        Intent::Delete => {
            drive.office.record(Command::EnvironmentDeleted { environment: drive.environment.clone() }).await.map_err(|e| Ends(e.to_string()))?;
            drive.say(1, "The environment is deleted.");
            finish(drive, ActivityState::Succeeded, None, Vec::new()).await
        }
    }
}

async fn deploy_tree(drive: &Drive, activity: &Activity, tree: PushedTree) -> anyhow::Result<()> {
    if let Some(deployment) = &activity.deployment {
        return carry_through(drive, deployment).await;
    }
    let release_id = match &activity.release {
        Some(release) => release.clone(),
        None => {
            let built = build::build_all(drive, &tree).await?;
            release::create(drive, tree, built).await?
        }
    };
    if drive.cancelled() {
        return Err(Ends("cancelled before anything was deployed".into()).into());
    }
    let id = place::begin(drive, &release_id, place::Way::Deploy).await?;
    carry_through(drive, &id).await
}

async fn roll_back(drive: &Drive, activity: &Activity, release: ReleaseId, run_hooks: bool, with_data: bool) -> anyhow::Result<()> {
    let id = match &activity.deployment {
        Some(id) => id.clone(),
        None => place::begin(drive, &release, place::Way::Rollback { run_hooks, with_data }).await?,
    };
    carry_through(drive, &id).await
}

/// Follows a deployment to its end and says how it went.
async fn carry_through(drive: &Drive, id: &DeploymentId) -> anyhow::Result<()> {
    let failed = deployment::follow(drive, id).await?;
    let deployment = drive
        .office
        .read(|s| s.deployments.get(id).cloned())
        .ok_or_else(|| Ends("the deployment is gone".into()))?;
    if deployment.phase == Phase::Live {
        deployment::post_deploy(drive, id, &deployment).await;
        report::success(drive, &deployment);
        deployment::forget(drive, id, &deployment).await;
        return finish(drive, ActivityState::Succeeded, None, Vec::new()).await;
    }
    let reason = deployment.failure.clone().unwrap_or_else(|| "the deployment failed".into());
    report::failure(drive, &deployment, &reason, &failed);
    deployment::forget(drive, id, &deployment).await;
    let state = if reason == "cancelled" { ActivityState::Cancelled } else { ActivityState::Failed };
    finish(drive, state, Some(reason), failed).await
}

async fn deactivate(drive: &Drive) -> anyhow::Result<()> {
    let environment = drive.env()?;
    drive
        .office
        .record(Command::Deactivated { environment: drive.environment.clone(), activity: drive.id.clone() })
        .await
        .map_err(|e| Ends(e.to_string()))?;
    drive.say(1, "Closing all services and applications.");
    let mut bell = drive.office.world.bell();
    // Containers and volumes go when their worker has carried it out; an absent worker does so when it returns.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        bell.mark_unchanged();
        let left = drive.office.read(|s| {
            s.instances.values().filter(|i| i.spec.environment == drive.environment).count()
                + s.volumes.values().filter(|v| v.environment == drive.environment).count()
        });
        if left == 0 {
            drive.say(1, format!("Environment {} is inactive; its containers and data are gone, its branch stays.", environment.branch));
            return Ok(());
        }
        if tokio::time::timeout_at(deadline, bell.changed()).await.is_err() {
            drive.warn(1, "its worker has not removed everything yet; it will as soon as it can.");
            return Ok(());
        }
    }
}
