//! The way back: nothing has happened.

use super::freeze::task_id;
use super::view::{Progress, View};
use super::*;
use crate::state::ContainerKind::{Application, Service, Worker};
use slipway_model::InstanceId;
use slipway_model::instance::Target;
use slipway_model::route::Gate;
use slipway_model::task::TaskOutcome;

pub(super) fn undoing(view: &View<'_>) -> Step {
    match view.deployment.undo {
        UndoStep::None => begin(view),
        UndoStep::Stopping => stopping(view),
        UndoStep::Restoring => restoring(view),
        UndoStep::Starting => starting(view),
    }
}

/// Services whose data or memory the new release may have touched.
fn touched<'a>(view: &View<'a>) -> Vec<&'a InstanceId> {
    if view.deployment.dirtied { view.deployment.kept.values().collect() } else { Vec::new() }
}

fn begin(view: &View<'_>) -> Step {
    let new = view.new_of(&[Application, Worker, Service]);
    let mut changes: Vec<Change> =
        new.iter().map(|id| Change::CloseIngress { instance: (*id).clone() }).collect();
    changes.extend(view.retarget(&new, Target::Stopped));
    // Stopping empties what is memory only, so that the old release never reads what the new one cached.
    changes.extend(view.retarget(&touched(view), Target::Stopped));
    changes.push(Change::SetUndo { step: UndoStep::Stopping });
    view.advance(Phase::Undoing, changes, "what the new release started stops")
}

fn stopping(view: &View<'_>) -> Step {
    let mut ids = view.new_of(&[Application, Worker, Service]);
    ids.extend(touched(view));
    if let Progress::Waiting(names) = view.stopped(&ids) {
        return Step::Wait { what: format!("new processes to stop: {names}{}", overdue(view)), until: None };
    }
    if view.deployment.dirtied && view.deployment.snapshot_taken {
        return view.advance(Phase::Undoing, vec![Change::SetUndo { step: UndoStep::Restoring }], "the data goes back");
    }
    view.advance(Phase::Undoing, vec![Change::SetUndo { step: UndoStep::Starting }], "the data is untouched")
}

fn restoring(view: &View<'_>) -> Step {
    let (Some(snapshot), Some(worker)) = (view.deployment.snapshot.clone(), view.environment.worker.clone()) else {
        return view.advance(Phase::Undoing, vec![Change::SetUndo { step: UndoStep::Starting }], "there is no snapshot");
    };
    let id = task_id(view, "undo");
    match view.observed.tasks.get(&id) {
        None => {
            let spec = TaskSpec::Restore { snapshot, volumes: view.environment.volumes.values().cloned().collect() };
            Step::Task { id, worker, spec, because: "the data goes back to the snapshot".to_string() }
        }
        Some(TaskOutcome::Done { .. }) => {
            view.advance(Phase::Undoing, vec![Change::SetUndo { step: UndoStep::Starting }], "the data is as before")
        }
        // The gate stays closed rather than opening on damaged data; the log and `node list` say why.
        Some(other) => Step::Wait { what: format!("an operator: the data could not be put back ({other:?})"), until: None },
    }
}

fn starting(view: &View<'_>) -> Step {
    let frozen = view.environment.gate == Gate::Frozen;
    if view.deployment.previous.is_none() {
        let changes = close(view, None);
        return view.advance(Phase::Undone, changes, "there was nothing before: nothing serves");
    }
    if !frozen {
        return view.advance(Phase::Undone, retire_new(view), "the old release served all the while");
    }
    let mut services = view.old_of(&[Service]);
    services.extend(view.deployment.kept.values());
    for (group, what) in [(services, "services"), (view.old_of(&[Application, Worker]), "the old release")] {
        let changes = view.retarget(&group, Target::Running);
        if !changes.is_empty() {
            return view.advance(Phase::Undoing, changes, format!("{what} start again"));
        }
        let waited: Vec<&InstanceId> =
            group.into_iter().filter(|id| view.state.instances.get(*id).is_some_and(|i| i.kind != Worker)).collect();
        if let Progress::Waiting(names) | Progress::Failed(names) = view.ready(&waited) {
            return Step::Wait { what: format!("{what} to be ready: {names}{}", overdue(view)), until: None };
        }
    }
    reopen(view)
}

fn reopen(view: &View<'_>) -> Step {
    let applications = view.old_of(&[Application]);
    let missing = view.without_next_ingress(&applications);
    if !missing.is_empty() {
        let changes = missing.into_iter().map(|instance| Change::OpenIngress { instance }).collect();
        return view.advance(Phase::Undoing, changes, "fresh endpoints for the old release");
    }
    if let Progress::Waiting(names) | Progress::Failed(names) = view.listening(&applications) {
        return Step::Wait { what: format!("endpoints to listen: {names}{}", overdue(view)), until: None };
    }
    let changes = close(view, view.deployment.previous.clone());
    view.advance(Phase::Undone, changes, "the old release serves on, with its data")
}

fn close(view: &View<'_>, release: Option<slipway_model::ReleaseId>) -> Vec<Change> {
    let serving = if release.is_some() { view.environment.serving.clone() } else { Default::default() };
    let mut changes = vec![Change::Open { release, serving }];
    for id in view.old_of(&[Application, Worker]) {
        changes.push(Change::SetBackground { instance: id.clone(), on: true });
    }
    changes.extend(retire_new(view));
    changes
}

fn retire_new(view: &View<'_>) -> Vec<Change> {
    view.new_of(&[Application, Worker, Service])
        .into_iter()
        .filter(|id| !is_reserve(view, id))
        .map(|id| Change::Retire { instance: id.clone() })
        .collect()
}

/// A rollback starts instances that were kept at rest: undone, they rest again.
fn is_reserve(view: &View<'_>, id: &InstanceId) -> bool {
    view.state.instances.get(id).is_some_and(|i| &i.spec.deployment != view.id)
}

fn overdue(view: &View<'_>) -> &'static str {
    if view.phase_ms() > UNDO_NOTICE_MS { " (overdue: is its worker up? `slipway node list`)" } else { "" }
}
