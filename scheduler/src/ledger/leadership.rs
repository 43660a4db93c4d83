//! When the leader's duties may start and must stop.

use std::time::Duration;

use openraft::{Raft, RaftMetrics, ServerState};
use slipway_raft_store::TypeConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Options;

/// Follows openraft's metrics; the receiver turns `None` when the ledger is shut down.
pub(super) fn watch(raft: Raft<TypeConfig>, options: &Options, tasks: &mut JoinSet<()>) -> watch::Receiver<Option<u64>> {
    let (tell, told) = watch::channel(None);
    // openraft 0.9 lets a leader that lost its quorum go on believing in itself. Its peers wait at least this long
    // before they choose another, so that its duties end before another's begin.
    let lease = options.election_min;
    tasks.spawn(async move {
        let tell = EndsWithNone(tell);
        let mut metrics = raft.metrics();
        loop {
            let now = duty(&metrics.borrow_and_update(), lease);
            tell.0.send_if_modified(|was| {
                let changed = *was != now;
                if changed {
                    tracing::info!(before = ?*was, now = ?now, "leadership of the ledger");
                }
                *was = now;
                changed
            });
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    told
}

struct EndsWithNone(watch::Sender<Option<u64>>);

impl Drop for EndsWithNone {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// The term whose leader this node is, if it may act as such.
fn duty(metrics: &RaftMetrics<u64, openraft::BasicNode>, lease: Duration) -> Option<u64> {
    let leads = metrics.running_state.is_ok()
        && metrics.state == ServerState::Leader
        && metrics.current_leader == Some(metrics.id);
    let heard = metrics.millis_since_quorum_ack.is_some_and(|since| u128::from(since) < lease.as_millis());
    // A leader begins with a blank entry of its term: once that is applied, all before it is.
    let caught_up = metrics.last_applied.is_some_and(|id| id.leader_id.term == metrics.current_term);
    (leads && heard && caught_up).then_some(metrics.current_term)
}
