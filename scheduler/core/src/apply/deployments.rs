//! Workers, builds, releases and the ways of releases to their environments.

use super::RELEASES_KEPT;
use crate::command::{Change, Reply};
use crate::state::*;
use slipway_model::instance::{INGRESS_PORT_FIRST, Ingress, Target};
use slipway_model::phase::Phase;
use slipway_model::route::Gate;
use slipway_model::*;
use std::collections::BTreeMap;

/// Final deployments that are kept of one environment, for `activity show`.
const DEPLOYMENTS_KEPT: usize = 50;

pub(super) fn register_worker(state: &mut ClusterState, id: NodeId, record: WorkerRecord) -> Reply {
    match state.workers.get_mut(&id) {
        Some(known) => {
            let moved = known.shell_address != record.shell_address;
            *known = WorkerRecord { joined_at: known.joined_at, draining: known.draining, ..record };
            if moved {
                state.table_version += 1;
            }
        }
        None => {
            state.workers.insert(id, record);
        }
    }
    Reply::Done
}

pub(super) fn drain_worker(state: &mut ClusterState, id: &NodeId) -> Reply {
    match state.workers.get_mut(id) {
        Some(worker) => {
            worker.draining = true;
            Reply::Done
        }
        None => Reply::refused(format!("there is no worker '{id}'; `slipway node list` shows them")),
    }
}

pub(super) fn assign_build(state: &mut ClusterState, key: BuildKey, worker: NodeId, attempt: u32) -> Reply {
    match state.builds.get(&key) {
        Some(Build::Done { .. }) => Reply::refused("it is built"),
        Some(Build::Assigned { attempt: known, .. }) if *known >= attempt => Reply::refused("it is assigned"),
        _ => {
            state.builds.insert(key, Build::Assigned { worker, attempt, since: state.now });
            Reply::Done
        }
    }
}

pub(super) fn release_build(state: &mut ClusterState, key: &BuildKey, attempt: u32) -> Reply {
    // A late release of a former attempt changes nothing.
    if matches!(state.builds.get(key), Some(Build::Assigned { attempt: known, .. }) if *known == attempt) {
        state.builds.remove(key);
    }
    Reply::Done
}

pub(super) fn create_release(state: &mut ClusterState, id: ReleaseId, release: Release) -> Reply {
    if let Some(activity) = state.activities.get_mut(&release.activity) {
        activity.release = Some(id.clone());
    }
    state.releases.entry(id).or_insert(release);
    Reply::Done
}

pub(super) fn begin(
    state: &mut ClusterState,
    id: DeploymentId,
    mut deployment: Deployment,
    instances: BTreeMap<InstanceId, Instance>,
) -> Reply {
    if state.deployments.contains_key(&id) {
        return Reply::Done;
    }
    if let Some((other, _)) = state.active_deployment(&deployment.environment) {
        return Reply::refused(format!("deployment {other} of the environment is under way"));
    }
    let Some(environment) = state.environments.get(&deployment.environment) else {
        return Reply::refused("the environment is gone");
    };
    if !state.releases.contains_key(&deployment.release) {
        return Reply::refused("the release is gone");
    }
    deployment.previous = environment.release.clone();
    deployment.phase_since = state.now;
    deployment.history = vec![(deployment.phase, state.now)];
    if let Some(activity) = state.activities.get_mut(&deployment.activity) {
        activity.deployment = Some(id.clone());
        activity.release = Some(deployment.release.clone());
    }
    state.generation += 1;
    deployment.generation = state.generation;
    if let Some(worker) = instances.values().next().map(|i| i.worker.clone()) {
        state.environments.get_mut(&deployment.environment).expect("looked up above").worker = Some(worker);
    }
    state.instances.extend(instances);
    state.deployments.insert(id, deployment);
    Reply::Done
}

pub(super) fn advance(state: &mut ClusterState, id: &DeploymentId, from: Phase, to: Phase, changes: Vec<Change>) -> Reply {
    let Some(deployment) = state.deployments.get(id) else { return Reply::refused("no such deployment") };
    if deployment.phase != from {
        return Reply::refused(format!("it is {:?}, not {from:?}, by now", deployment.phase));
    }
    let environment_id = deployment.environment.clone();
    if !state.environments.contains_key(&environment_id) {
        return Reply::refused("the environment is gone");
    }
    let mut instances_changed = false;
    for change in changes {
        turn_gate(state, id, &environment_id, &change);
        instances_changed |= carry_out(state, id, &environment_id, change);
    }
    let now = state.now;
    if instances_changed {
        state.generation += 1;
    }
    let generation = state.generation;
    let deployment = state.deployments.get_mut(id).expect("looked up above");
    if instances_changed {
        deployment.generation = generation;
    }
    if to != from {
        deployment.phase = to;
        deployment.phase_since = now;
        deployment.history.push((to, now));
    }
    if to.is_final() {
        forget_oldest(state, &environment_id);
    }
    Reply::Done
}

fn turn_gate(state: &mut ClusterState, id: &DeploymentId, environment: &EnvironmentId, change: &Change) {
    let now = state.now;
    let env = state.environments.get_mut(environment).expect("checked by advance");
    let deployment = state.deployments.get_mut(id).expect("checked by advance");
    match change {
        Change::Freeze => {
            env.epoch.0 += 1;
            env.gate = Gate::Frozen;
            deployment.frozen_at = Some(now);
        }
        Change::Open { release, serving } => {
            env.epoch.0 += 1;
            env.gate = Gate::Open;
            env.release = release.clone();
            env.serving = serving.clone();
            env.updated_at = now;
            deployment.opened_at = Some(now);
            if let Some(release) = release.as_ref().and_then(|r| state.releases.get_mut(r)) {
                release.deployed = true;
            }
        }
        _ => return,
    }
    state.table_version += 1;
}

/// True when a worker's desired set has changed.
fn carry_out(state: &mut ClusterState, id: &DeploymentId, environment: &EnvironmentId, change: Change) -> bool {
    let epoch = state.environments[environment].epoch;
    let deployment = state.deployments.get_mut(id).expect("checked by advance");
    let instances = &mut state.instances;
    match change {
        Change::SetTarget { instance: which, target } => instances.get_mut(&which).is_some_and(|i| {
            if target != Target::Running {
                i.spec.background = false;
            }
            std::mem::replace(&mut i.spec.target, target) != target
        }),
        Change::SetBackground { instance: which, on } => {
            instances.get_mut(&which).is_some_and(|i| std::mem::replace(&mut i.spec.background, on) != on)
        }
        Change::OpenIngress { instance: which } => instances.get_mut(&which).is_some_and(|i| {
            let port = i.next_port.max(INGRESS_PORT_FIRST);
            i.next_port = port + 1;
            i.spec.ingress = Some(Ingress { epoch: Epoch(epoch.0 + 1), port });
            true
        }),
        Change::CloseIngress { instance: which } => instances.get_mut(&which).is_some_and(|i| i.spec.ingress.take().is_some()),
        Change::Retire { instance: which } => instances.get_mut(&which).is_some_and(|i| {
            i.spec.ingress = None;
            !std::mem::replace(&mut i.retired, true)
        }),
        Change::SnapshotTaken { snapshot } => {
            deployment.snapshot = Some(snapshot);
            deployment.snapshot_taken = true;
            false
        }
        Change::Dirtied => {
            deployment.dirtied = true;
            false
        }
        Change::HookDone { ms } => {
            deployment.hooks_done += 1;
            deployment.hook_ms += ms;
            false
        }
        Change::SetUndo { step } => {
            deployment.undo = step;
            false
        }
        Change::Fail { reason } => {
            deployment.failure.get_or_insert(reason);
            false
        }
        Change::Keep { release } => {
            keep(state, environment, release);
            false
        }
        Change::RememberSnapshot { snapshot } => {
            if let Some(env) = state.environments.get_mut(environment) {
                env.snapshot = snapshot;
            }
            false
        }
        Change::Freeze | Change::Open { .. } => false,
    }
}

/// The release that has gone live heads the list of those that can be gone back to.
fn keep(state: &mut ClusterState, environment: &EnvironmentId, release: ReleaseId) {
    let env = state.environments.get_mut(environment).expect("checked by advance");
    env.kept.retain(|r| r != &release);
    env.kept.insert(0, release);
    let dropped = env.kept.split_off(env.kept.len().min(RELEASES_KEPT));
    for release in dropped {
        state.releases.remove(&release);
    }
}

pub(super) fn retire_release(state: &mut ClusterState, environment: &EnvironmentId, release: &ReleaseId) -> Reply {
    let Some(env) = state.environments.get_mut(environment) else { return Reply::Done };
    if env.release.as_ref() == Some(release) {
        return Reply::refused("it serves");
    }
    env.kept.retain(|r| r != release);
    state.releases.remove(release);
    Reply::Done
}

pub(super) fn forget_instances(state: &mut ClusterState, ids: &[InstanceId]) -> Reply {
    for id in ids {
        if state.instances.get(id).is_some_and(|i| i.retired) {
            state.instances.remove(id);
        }
    }
    Reply::Done
}

fn forget_oldest(state: &mut ClusterState, environment: &EnvironmentId) {
    let mut ended: Vec<_> = state
        .deployments
        .iter()
        .filter(|(_, d)| &d.environment == environment && d.phase.is_final())
        .map(|(id, d)| (d.phase_since, id.clone()))
        .collect();
    ended.sort();
    let surplus = ended.len().saturating_sub(DEPLOYMENTS_KEPT);
    for (_, id) in ended.into_iter().take(surplus) {
        state.deployments.remove(&id);
    }
}
