//! Operations and their logs.

use super::caller::Caller;
use super::times::rfc3339;
use super::{Api, parse};
use crate::logbook::{Log, Record};
use slipway_core::Command;
use slipway_core::state::*;
use slipway_model::hosts::environment_id;
use slipway_model::phase::Phase;
use slipway_model::{ActivityId, ProjectId};
use slipway_proto::api;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

/// Activities of one answer.
const LIST_MAX: usize = 500;
/// Records that are read at a time.
const RECORDS_AT_ONCE: usize = 256;

impl Api {
    pub(super) fn list_activities(&self, caller: &Caller, ask: &api::ListActivitiesRequest) -> Result<api::ActivityList, Status> {
        let project: ProjectId = parse(&ask.project)?;
        caller.at_least(&project, Role::Viewer)?;
        let environment = if ask.environment.is_empty() { None } else { Some(environment_id(&project, &parse(&ask.environment)?)) };
        let count = if ask.count == 0 { 50 } else { (ask.count as usize).min(LIST_MAX) };
        let activities = self.office.read(|state| {
            let mut found: Vec<_> = state
                .activities
                .iter()
                .filter(|(_, a)| a.project == project && environment.as_ref().is_none_or(|e| e == &a.environment))
                .collect();
            found.sort_by_key(|(id, a)| (std::cmp::Reverse(a.created_at), (*id).clone()));
            found.into_iter().take(count).map(|(id, a)| self.activity_message(state, id, a)).collect()
        });
        Ok(api::ActivityList { activities })
    }

    pub(super) fn activity_id(&self, caller: &Caller, text: &str, least: Role) -> Result<ActivityId, Status> {
        let id: ActivityId = parse(text)?;
        let project = self.office.read(|s| s.activities.get(&id).map(|a| a.project.clone()));
        let project = project.ok_or_else(|| Status::not_found(format!("there is no activity '{id}'; `slipway activity list` shows them")))?;
        caller.at_least(&project, least)?;
        Ok(id)
    }

    pub(super) fn activity(&self, id: &ActivityId) -> Result<api::Activity, Status> {
        self.office
            .read(|state| state.activities.get(id).map(|a| self.activity_message(state, id, a)))
            .ok_or_else(|| Status::not_found(format!("there is no activity '{id}'")))
    }

    fn activity_message(&self, state: &ClusterState, id: &ActivityId, activity: &Activity) -> api::Activity {
        let deployment = activity.deployment.as_ref().and_then(|d| state.deployments.get(d));
        let release = activity.release.as_ref().and_then(|r| state.releases.get(r));
        let branch = state.environments.get(&activity.environment).map(|e| e.branch.to_string());
        let kind = match activity.intent {
            Intent::Push { .. } => "environment.push",
            Intent::Redeploy => "environment.redeploy",
            Intent::Activate => "environment.activate",
            Intent::Deactivate => "environment.deactivate",
            Intent::Delete => "environment.delete",
            Intent::Rollback { .. } => "environment.rollback",
        };
        let (word, result) = match activity.state {
            ActivityState::Pending => ("pending", ""),
            ActivityState::InProgress => ("in_progress", ""),
            ActivityState::Succeeded => ("complete", "success"),
            ActivityState::Failed => ("complete", "failure"),
            ActivityState::Cancelled | ActivityState::Superseded => ("cancelled", ""),
        };
        let text = match &activity.intent {
            Intent::Push { tree } => format!("{} pushed to {}: {}", activity.user, branch.clone().unwrap_or_default(), tree.message),
            Intent::Rollback { release, .. } => format!("{} went back to {release}", activity.user),
            _ => format!("{} asked for {}", activity.user, kind.trim_start_matches("environment.")),
        };
        let commit = match &activity.intent {
            Intent::Push { tree } => tree.commit.to_string(),
            _ => release.map(|r| r.tree.commit.to_string()).unwrap_or_default(),
        };
        let undo_ms = deployment.map_or(0, |d| between(d, Phase::Undoing, Phase::Undone));
        api::Activity {
            id: id.to_string(),
            r#type: kind.into(),
            project: activity.project.to_string(),
            environment: branch.unwrap_or_default(),
            user: activity.user.clone(),
            state: word.into(),
            result: result.into(),
            failure: activity.failure.clone().unwrap_or_default(),
            created_at: rfc3339(activity.created_at),
            started_at: activity.started_at.map(rfc3339).unwrap_or_default(),
            completed_at: activity.completed_at.map(rfc3339).unwrap_or_default(),
            text,
            phases: activity.timings.iter().map(|(name, ms)| api::PhaseTiming { name: name.clone(), ms: *ms, note: String::new() }).collect(),
            freeze: deployment.map(|d| self.freeze_report(d)),
            release: activity.release.as_ref().map(ToString::to_string).unwrap_or_default(),
            commit,
            urls: release.map(|r| r.urls.clone()).unwrap_or_default(),
            builds: activity.builds.iter().map(build).collect(),
            failed: activity
                .failed
                .iter()
                .map(|f| api::FailedInstance {
                    name: f.name.clone(),
                    exit_code: f.exit_code.unwrap_or(-1),
                    log_tail: f.log_tail.clone(),
                    restored: if deployment.is_some_and(|d| d.dirtied && d.snapshot_taken) {
                        "volumes, services and the old release".into()
                    } else {
                        "nothing had to be restored".into()
                    },
                    undo_ms,
                })
                .collect(),
        }
    }

    pub(crate) fn freeze_report(&self, deployment: &Deployment) -> api::FreezeReport {
        freeze_report(&self.office.world, deployment)
    }

    pub(super) async fn cancel(&self, id: &ActivityId) -> Result<api::Activity, Status> {
        self.ask(Command::AskCancel { activity: id.clone() }).await?;
        self.activity(id)
    }

    /// The records of a log from a number on; with `no_follow` only those that are there.
    pub(super) fn follow(&self, id: ActivityId, ask: &api::FollowLogRequest) -> Result<mpsc::Receiver<Result<api::LogRecord, Status>>, Status> {
        let log = self.office.logs.log(&id).map_err(|e| Status::unavailable(format!("the log cannot be read: {e}")))?;
        let (out, stream) = mpsc::channel(RECORDS_AT_ONCE);
        let (from, follow) = (ask.from_seq, !ask.no_follow);
        tokio::spawn(send_log(log, from, follow, out));
        Ok(stream)
    }
}

/// What a freeze came to, from the ledger and from what the routers said last.
pub(crate) fn freeze_report(world: &crate::world::World, deployment: &Deployment) -> api::FreezeReport {
    let (held, rejected, routers, skew_us) = world.look(|observed| {
        let states: Vec<_> =
            observed.routers.values().filter(|r| r.connected).filter_map(|r| r.environments.get(&deployment.environment)).collect();
        let applied: Vec<i64> = states.iter().map(|s| s.applied_unix_us).collect();
        let skew = applied.iter().max().zip(applied.iter().min()).map_or(0, |(a, b)| a - b);
        (
            states.iter().map(|s| s.held_total).sum(),
            states.iter().map(|s| s.rejected_total).sum(),
            states.len() as u64,
            u64::try_from(skew).unwrap_or(0),
        )
    });
    let freeze_ms = match (deployment.frozen_at, deployment.opened_at) {
        (Some(from), Some(to)) => u64::try_from(to - from).unwrap_or(0),
        _ => 0,
    };
    let frozen = deployment.frozen_at.is_some();
    api::FreezeReport {
        freeze_ms,
        hook_ms: deployment.hook_ms,
        start_ms: 0,
        held: if frozen { held } else { 0 },
        rejected: if frozen { rejected } else { 0 },
        routers,
        skew_us,
    }
}

fn between(deployment: &Deployment, from: Phase, to: Phase) -> u64 {
    let at = |phase| deployment.history.iter().find(|(p, _)| *p == phase).map(|(_, at)| *at);
    match (at(from), at(to)) {
        (Some(a), Some(b)) => u64::try_from(b - a).unwrap_or(0),
        _ => 0,
    }
}

fn build(report: &BuildReport) -> api::BuildReport {
    api::BuildReport {
        app: report.app.clone(),
        reused: report.reused,
        slug: report.slug.to_string(),
        worker: report.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
        started_unix_ms: u64::try_from(report.started_at).unwrap_or(0),
        ms: report.ms,
        bytes: report.bytes,
        uploaded_bytes: report.uploaded_bytes,
    }
}

async fn send_log(log: Arc<Log>, mut next: u64, follow: bool, out: mpsc::Sender<Result<api::LogRecord, Status>>) {
    let mut length = log.length();
    loop {
        let records = log.from(next, RECORDS_AT_ONCE);
        let empty = records.is_empty();
        for record in records {
            next = record.seq + 1;
            let end = record.seal;
            if out.send(Ok(message(record))).await.is_err() || end {
                return;
            }
        }
        if !empty {
            continue;
        }
        if !follow {
            return;
        }
        tokio::select! {
            changed = length.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

fn message(record: Record) -> api::LogRecord {
    api::LogRecord {
        seq: record.seq,
        unix_ms: record.ms,
        indent: record.indent,
        level: record.level.as_str().into(),
        source: record.source,
        text: record.text,
        seal: record.seal,
    }
}
