//! The closed window up to the snapshot: hold, drain, stop, snapshot.

use super::view::{Progress, View};
use super::*;
use crate::state::ContainerKind::{Application, Service, Worker};
use slipway_model::instance::Target;
use slipway_model::observed::InstanceState;
use slipway_model::task::TaskOutcome;
use slipway_model::{InstanceId, SnapshotId, VolumeId};

pub(super) fn freezing(view: &View<'_>) -> Step {
    let behind = view.observed.routers_behind(&view.deployment.environment, view.environment.epoch);
    // Before a first release no router knows the environment: there is nobody to hold.
    let known = view.deployment.previous.is_some();
    if known && !behind.is_empty() && view.phase_ms() < ROUTER_ACK_TIME_MAX_MS {
        return Step::Wait { what: format!("routers to hold: {behind:?}"), until: view.at(ROUTER_ACK_TIME_MAX_MS) };
    }
    let applications = view.old_of(&[Application]);
    if let Some(step) = wait_drained(view, &applications) {
        return step;
    }
    let background = view.old_of(&[Application, Worker]);
    if let Progress::Waiting(names) = view.progress(&background, |seen| seen.background_running == 0 || at_rest(seen.state)) {
        if view.phase_ms() > BACKGROUND_TIME_MAX_MS {
            return view.fail(format!("crons or workers of {names} did not end within {} s", BACKGROUND_TIME_MAX_MS / 1000));
        }
        return Step::Wait { what: format!("crons and workers to end: {names}"), until: view.at(BACKGROUND_TIME_MAX_MS + 1) };
    }
    let stop = view.retarget(&to_stop(view), Target::Stopped);
    view.advance(Phase::Snapshotting, stop, "no request is under way; the old processes stop")
}

fn at_rest(state: InstanceState) -> bool {
    matches!(state, InstanceState::Stopped | InstanceState::Failed | InstanceState::Created)
}

/// Every old endpoint reported zero connections and zero requests under way, or the deployment is aborted (F3).
fn wait_drained(view: &View<'_>, applications: &[&InstanceId]) -> Option<Step> {
    let drained = view.progress(applications, |seen| {
        (seen.ingress.is_none() && seen.draining.is_empty()) || at_rest(seen.state)
    });
    let Progress::Waiting(names) = drained else {
        // A failed old instance serves nobody; its front is gone with it.
        return None;
    };
    if view.phase_ms() <= DRAIN_TIME_MAX_MS {
        return Some(Step::Wait { what: format!("requests under way to end: {names}"), until: view.at(DRAIN_TIME_MAX_MS + 1) });
    }
    let executing: u32 = applications
        .iter()
        .filter_map(|id| view.observed.instances.get(*id))
        .flat_map(|seen| seen.draining.iter().map(|front| front.executing))
        .sum();
    let named = view.slowest_requests();
    let named = if named.is_empty() { String::new() } else { format!(": {}", named.join("; ")) };
    Some(view.fail(format!(
        "{executing} request(s) under way did not end within {} s{named}. Nothing has happened; push again, or make them shorter",
        DRAIN_TIME_MAX_MS / 1000
    )))
}

/// Old applications and workers; old services that a new one takes the place of; with data going back, all services.
fn to_stop<'a>(view: &View<'a>) -> Vec<&'a InstanceId> {
    let mut ids = view.old_of(&[Application, Worker, Service]);
    if view.deployment.restore.is_some() {
        ids.extend(view.deployment.kept.values());
    }
    ids
}

pub(super) fn snapshotting(view: &View<'_>) -> Step {
    match view.stopped(&to_stop(view)) {
        Progress::Waiting(names) if view.phase_ms() > STOP_TIME_MAX_MS => {
            return view.fail(format!("{names} did not stop within {} s", STOP_TIME_MAX_MS / 1000));
        }
        Progress::Waiting(names) => {
            return Step::Wait { what: format!("old processes to stop: {names}"), until: view.at(STOP_TIME_MAX_MS + 1) };
        }
        Progress::Done | Progress::Failed(_) => {}
    }
    let volumes: Vec<VolumeId> = view.environment.volumes.values().cloned().collect();
    let Some(worker) = view.environment.worker.clone().filter(|_| !volumes.is_empty()) else {
        return view.advance(Phase::Hooking, vec![Change::Dirtied], "there is no data to snapshot");
    };
    if !view.deployment.snapshot_taken {
        return snapshot(view, worker, volumes);
    }
    if let Some(from) = &view.deployment.restore {
        let id = task_id(view, "back");
        match view.observed.tasks.get(&id) {
            None => {
                let spec = TaskSpec::Restore { snapshot: from.clone(), volumes };
                return Step::Task { id, worker, spec, because: "the data goes back too".to_string() };
            }
            Some(TaskOutcome::Done { .. }) => {}
            Some(other) => return view.fail(format!("the data could not be put back: {other:?}")),
        }
    }
    view.advance(Phase::Hooking, vec![Change::Dirtied], "the snapshot stands; the new release starts")
}

fn snapshot(view: &View<'_>, worker: NodeId, volumes: Vec<VolumeId>) -> Step {
    let id = task_id(view, "snap");
    let snapshot: SnapshotId = format!("snap-{}", view.id.as_str().trim_start_matches("dep-")).parse().expect("a deployment id");
    match view.observed.tasks.get(&id) {
        None if view.phase_ms() > SNAPSHOT_TIME_MAX_MS + STOP_TIME_MAX_MS => view.fail("the snapshot did not come about"),
        None => {
            let quiesce = view.deployment.kept.values().cloned().collect();
            let spec = TaskSpec::Snapshot { snapshot, volumes, quiesce };
            Step::Task { id, worker, spec, because: "the data as the old release left it".to_string() }
        }
        Some(TaskOutcome::Done { .. }) => {
            view.advance(Phase::Snapshotting, vec![Change::SnapshotTaken { snapshot }], "the snapshot stands")
        }
        Some(other) => view.fail(format!("the snapshot failed: {other:?}")),
    }
}

/// Ids of a deployment's own tasks: the same each time it is planned, so that a repeated order is answered, not redone.
pub(super) fn task_id(view: &View<'_>, what: &str) -> TaskId {
    format!("task-{what}-{}", view.id.as_str().trim_start_matches("dep-")).parse().expect("a deployment id makes a task id")
}
