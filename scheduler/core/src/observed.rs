//! What the leader sees just now; never in the ledger.

use crate::state::Moment;
use slipway_model::observed::InstanceObserved;
use slipway_model::route::RouterEnvironmentState;
use slipway_model::task::TaskOutcome;
use slipway_model::{EnvironmentId, Epoch, InstanceId, NodeId, TaskId};
use std::collections::BTreeMap;

/// The world as last reported.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub workers: BTreeMap<NodeId, WorkerObserved>,
    pub instances: BTreeMap<InstanceId, InstanceObserved>,
    pub routers: BTreeMap<NodeId, RouterObserved>,
    pub tasks: BTreeMap<TaskId, TaskOutcome>,
}

/// One worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerObserved {
    pub connected: bool,
    pub last_seen: Moment,
    /// Of the desired set that its last report reflects.
    pub generation: u64,
    pub builds_running: u32,
}

/// One router.
#[derive(Debug, Clone, Default)]
pub struct RouterObserved {
    pub connected: bool,
    pub table_version: u64,
    pub environments: BTreeMap<EnvironmentId, RouterEnvironmentState>,
}

impl Observed {
    /// Connected routers that have not taken this epoch yet.
    pub fn routers_behind<'a>(&'a self, environment: &'a EnvironmentId, epoch: Epoch) -> Vec<&'a NodeId> {
        self.routers
            .iter()
            .filter(|(_, r)| r.connected && r.environments.get(environment).is_none_or(|e| e.epoch < epoch))
            .map(|(id, _)| id)
            .collect()
    }

    /// True when the worker's last report reflects this generation of its desired set.
    pub fn reflects(&self, worker: &NodeId, generation: u64) -> bool {
        self.workers.get(worker).is_some_and(|w| w.connected && w.generation >= generation)
    }
}
