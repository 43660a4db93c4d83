//! The simulated worker and routers: what they believe, what they do, what they report.

use super::dice::Dice;
use slipway_core::ClusterState;
use slipway_core::observed::*;
use slipway_model::instance::{InstanceSpec, Target};
use slipway_model::observed::*;
use slipway_model::route::{Gate, RouteTable, RouterEnvironmentState};
use slipway_model::task::{TaskOutcome, TaskSpec};
use slipway_model::*;
use std::collections::{BTreeMap, BTreeSet};

/// A request: where it was sent, and when it has been executed.
#[derive(Debug, Clone)]
pub struct Request {
    pub instance: InstanceId,
    pub port: u16,
    pub epoch: Epoch,
    /// Steps of execution that are left; none left: answered.
    pub left: u32,
    /// Bytes sent, not arrived.
    pub on_the_way: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Container {
    pub running: bool,
    pub ready: bool,
    pub failed: bool,
    /// The front that takes connections: epoch and port.
    pub front: Option<(Epoch, u16)>,
    pub draining: BTreeSet<Epoch>,
    pub background: bool,
}

/// The worker's machine: it outlives the worker's process.
#[derive(Debug, Default)]
pub struct Worker {
    pub containers: BTreeMap<InstanceId, Container>,
    desired: BTreeMap<InstanceId, InstanceSpec>,
    generation: u64,
    /// Of what was done, not only heard.
    done_generation: u64,
    pub tasks: BTreeMap<TaskId, TaskOutcome>,
    pub hook_running: Option<TaskId>,
    /// The data as numbers that only grow; a snapshot is a copy.
    pub data: u64,
    pub snapshots: BTreeMap<SnapshotId, u64>,
}

#[derive(Debug, Default)]
pub struct Router {
    pub version: u64,
    pub epoch: Epoch,
    pub gate: Option<Gate>,
    pub pool: Vec<(InstanceId, u16)>,
    pub held: u64,
    pub stalled: bool,
}

impl Worker {
    pub fn hear(&mut self, state: &ClusterState, node: &NodeId) {
        if state.generation <= self.generation {
            return;
        }
        self.generation = state.generation;
        self.desired = slipway_core::desired::desired(state, node).into_iter().map(|(s, _)| (s.id.clone(), s.clone())).collect();
    }

    /// One move of the reconciler, for one instance at random. `requests` are those of all routers.
    pub fn reconcile(&mut self, dice: &mut Dice, requests: &[Request], never_ready: &BTreeSet<InstanceId>) {
        for id in self.containers.keys().cloned().collect::<Vec<_>>() {
            if !self.desired.contains_key(&id) {
                self.containers.remove(&id);
            }
        }
        let mut settled = true;
        for (id, spec) in self.desired.clone() {
            if dice.one_in(3) {
                settled = false;
                continue;
            }
            settled &= self.settle(&id, &spec, requests, never_ready);
        }
        if settled {
            self.done_generation = self.generation;
        }
    }

    fn settle(&mut self, id: &InstanceId, spec: &InstanceSpec, requests: &[Request], never_ready: &BTreeSet<InstanceId>) -> bool {
        let executing = |epoch: Epoch| requests.iter().any(|r| &r.instance == id && r.epoch == epoch && !r.on_the_way && r.left > 0);
        let container = self.containers.entry(id.clone()).or_default();
        container.draining.retain(|epoch| executing(*epoch));
        let wanted = spec.ingress.map(|i| (i.epoch, i.port));
        if container.front != wanted && (wanted.is_none() || container.running) {
            if let Some((epoch, _)) = container.front.take() {
                container.draining.insert(epoch);
            }
            container.front = wanted;
        }
        container.background = spec.background && container.running;
        match spec.target {
            Target::Running if !container.running => {
                container.running = true;
                container.ready = false;
            }
            Target::Running if never_ready.contains(id) => container.failed = true,
            Target::Running => container.ready = true,
            Target::Stopped | Target::Created => {
                container.running = false;
                container.ready = false;
                container.front = None;
                container.draining.clear();
            }
        }
        container.draining.is_empty()
    }

    pub fn report(&self, observed: &mut Observed, node: &NodeId) {
        let seen = observed.workers.entry(node.clone()).or_default();
        seen.connected = true;
        seen.generation = self.done_generation;
        observed.instances.clear();
        for (id, container) in &self.containers {
            let state = match (container.failed && container.running, container.running) {
                (true, _) => InstanceState::Failed,
                (false, true) => InstanceState::Running,
                (false, false) => InstanceState::Stopped,
            };
            let fronts = container.draining.iter().map(|epoch| DrainingFront { epoch: *epoch, executing: 1, since_unix_ms: 0 });
            observed.instances.insert(
                id.clone(),
                InstanceObserved {
                    id: id.clone(),
                    state,
                    ready: container.ready,
                    ingress: container.front.map(|(epoch, _)| epoch),
                    draining: fronts.collect(),
                    background_running: u32::from(container.background),
                    exit_code: None,
                    message: None,
                    log_tail: Vec::new(),
                    restarts: 0,
                    memory_bytes: 0,
                },
            );
        }
    }

    /// Takes an order; one that was answered is answered again by the stored outcome.
    pub fn order(&mut self, id: &TaskId, spec: &TaskSpec, hook_fails: bool) {
        if self.tasks.contains_key(id) {
            return;
        }
        let outcome = match spec {
            TaskSpec::Snapshot { snapshot, .. } => {
                self.snapshots.insert(snapshot.clone(), self.data);
                TaskOutcome::Done { ms: 1 }
            }
            TaskSpec::Restore { snapshot, .. } => {
                self.data = self.snapshots[snapshot];
                TaskOutcome::Done { ms: 1 }
            }
            TaskSpec::Hook(_) if self.hook_running.is_none() => {
                self.hook_running = Some(id.clone());
                // Half of its work is done whatever becomes of it.
                self.data += 1_000_000;
                return;
            }
            TaskSpec::Hook(_) => {
                self.hook_running = None;
                TaskOutcome::HookEnded { exit_code: i32::from(hook_fails), ms: 1 }
            }
            _ => TaskOutcome::Done { ms: 1 },
        };
        self.tasks.insert(id.clone(), outcome);
    }
}

impl Router {
    pub fn take(&mut self, table: &RouteTable, environment: &EnvironmentId) {
        if self.stalled || table.version <= self.version {
            return;
        }
        self.version = table.version;
        let Some(entry) = table.environments.iter().find(|e| &e.id == environment) else {
            self.gate = None;
            return;
        };
        if entry.epoch < self.epoch {
            return;
        }
        self.epoch = entry.epoch;
        self.gate = Some(entry.gate);
        self.pool = entry.pools.values().flatten().map(|m| (m.instance.clone(), m.port)).collect();
    }

    pub fn report(&self, observed: &mut Observed, name: &NodeId, environment: &EnvironmentId) {
        if self.stalled {
            return;
        }
        let seen = observed.routers.entry(name.clone()).or_default();
        seen.connected = true;
        seen.table_version = self.version;
        seen.environments.insert(
            environment.clone(),
            RouterEnvironmentState {
                id: environment.clone(),
                epoch: self.epoch,
                applied_unix_us: 0,
                held: self.held,
                held_total: self.held,
                rejected_total: 0,
                in_flight_old: 0,
                slowest: Vec::new(),
            },
        );
    }
}
