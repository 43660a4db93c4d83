//! What a node says of itself, for `slipway status` and for metrics.

use openraft::{Raft, ServerState};
use serde::Serialize;
use slipway_raft_store::{Store, TypeConfig};

use super::Options;
use super::machine::{Keeper, Machine};

/// One node's view of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    pub node: u64,
    pub term: u64,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: &'static str,
    pub leader: Option<u64>,
    pub leader_address: Option<String>,
    /// How many commands this node has applied.
    pub commands: u64,
    /// Entries of the log, which hold commands in batches: the last, the last applied, those in snapshots, those removed.
    pub last_entry: Option<u64>,
    pub applied_entry: Option<u64>,
    pub snapshot_entry: Option<u64>,
    pub purged_entry: Option<u64>,
    pub members: Vec<Member>,
    /// On a leader: since when no quorum has answered.
    pub quorum_silent_millis: Option<u64>,
    /// How often the log was brought to the disk since the start.
    pub disk_syncs: u64,
    /// Why this node stopped taking part.
    pub fatal: Option<String>,
}

/// One member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    pub node: u64,
    pub address: String,
    pub votes: bool,
    /// On the leader: the last entry that this member is known to have.
    pub matched_entry: Option<u64>,
}

pub(super) fn status<M: Machine>(options: &Options, raft: &Raft<TypeConfig>, store: &Store, keeper: &Keeper<M>) -> Status {
    let commands = keeper.held().commands;
    let receiver = raft.metrics();
    let metrics = receiver.borrow();
    let membership = metrics.membership_config.membership();
    let address = |id: u64| {
        options.peers.get(&id).cloned().or_else(|| membership.get_node(&id).map(|node| node.addr.clone()))
    };
    let voters: Vec<u64> = membership.voter_ids().collect();
    let matched = |id: &u64| metrics.replication.as_ref()?.get(id)?.map(|log| log.index);
    let members = membership
        .nodes()
        .map(|(id, _)| Member {
            node: *id,
            address: address(*id).unwrap_or_default(),
            votes: voters.contains(id),
            matched_entry: matched(id),
        })
        .collect();
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => "stopped",
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    };
    Status {
        node: metrics.id,
        term: metrics.current_term,
        role,
        leader: metrics.current_leader,
        leader_address: metrics.current_leader.and_then(address),
        commands,
        last_entry: metrics.last_log_index,
        applied_entry: metrics.last_applied.map(|id| id.index),
        snapshot_entry: metrics.snapshot.map(|id| id.index),
        purged_entry: metrics.purged.map(|id| id.index),
        members,
        quorum_silent_millis: metrics.millis_since_quorum_ack,
        disk_syncs: store.log().wal_syncs(),
        fatal: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}
