//! What a worker shall run, read off the state.

use crate::state::*;
use slipway_model::NodeId;
use slipway_model::instance::InstanceSpec;

/// The instances of one worker, each with its sealed part for the leader to open. Retired ones are left out:
/// a worker removes what is not named.
pub fn desired<'a>(state: &'a ClusterState, worker: &NodeId) -> Vec<(&'a InstanceSpec, &'a str)> {
    state
        .instances
        .values()
        .filter(|i| &i.worker == worker && !i.retired)
        .map(|i| (&i.spec, i.sealed.as_str()))
        .collect()
}
