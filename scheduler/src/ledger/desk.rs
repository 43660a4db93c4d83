//! Where proposals wait to be joined: openraft 0.9 syncs each entry by itself, so that an entry must hold many commands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, ForwardToLeader, RaftError};
use slipway_raft_store::{Batch, TypeConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{COMMAND_BYTES_MAX, Options};

/// Callers beyond this wait at the door, within their own time limit.
const WAITING_MAX: usize = 1024;
/// One entry's share: it must reach the followers within one heartbeat interval.
const BATCH_BYTES_MAX: usize = 256 << 10;
const BATCH_COMMANDS_MAX: usize = 256;
/// One batch is on its way to the disk while the next gathers; more under way would only make the batches smaller.
const BATCHES_UNDER_WAY_MAX: usize = 2;

/// Why a command was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was recorded; the leader's address, if one is known.
    #[error("this node does not lead the ledger{}", leader.as_ref().map(|a| format!("; {a} does")).unwrap_or_default())]
    NotLeader { leader: Option<String> },
    /// It may or may not be recorded, now or later.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// Nothing was recorded, and never will be.
    #[error("the command has {bytes} bytes, and the ledger takes {COMMAND_BYTES_MAX} at most")]
    TooLarge { bytes: usize },
    /// This node no longer takes part; the process must be started again.
    #[error("this node of the ledger has stopped: {0}")]
    Fatal(String),
}

struct Proposal {
    command: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, ProposeError>>,
}

/// The way to the desk.
pub(super) struct Desk {
    raft: Raft<TypeConfig>,
    waiting: mpsc::Sender<Proposal>,
    time_max: Duration,
    addresses: Arc<BTreeMap<u64, String>>,
}

impl Desk {
    pub(super) fn open(raft: Raft<TypeConfig>, options: &Options, tasks: &mut JoinSet<()>) -> Self {
        let (waiting, proposals) = mpsc::channel(WAITING_MAX);
        let time_max = options.propose_time_max;
        let addresses = Arc::new(options.peers.clone());
        tasks.spawn(run(raft.clone(), proposals, time_max, addresses.clone()));
        Self { raft, waiting, time_max, addresses }
    }

    pub(super) async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: command.len() });
        }
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.waiting.send(Proposal { command, reply }).await.map_err(|_| self.stopped())?;
            answer.await.unwrap_or_else(|_| Err(self.stopped()))
        };
        tokio::time::timeout(self.time_max, ask).await.unwrap_or_else(|_| Err(overdue(self.time_max)))
    }

    pub(super) async fn barrier(&self) -> Result<(), ProposeError> {
        let ask = self.raft.ensure_linearizable();
        match tokio::time::timeout(self.time_max, ask).await {
            Err(_) => Err(overdue(self.time_max)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(stopped(&fatal)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => Err(not_leader(to, &self.addresses)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(e)))) => {
                Err(ProposeError::Unavailable(e.to_string()))
            }
        }
    }

    fn stopped(&self) -> ProposeError {
        why_stopped(&self.raft)
    }
}

fn why_stopped(raft: &Raft<TypeConfig>) -> ProposeError {
    match &raft.metrics().borrow().running_state {
        Err(fatal) => stopped(fatal),
        Ok(()) => ProposeError::Fatal("it was shut down".into()),
    }
}

fn overdue(time_max: Duration) -> ProposeError {
    ProposeError::Unavailable(format!("no quorum answered within {time_max:?}"))
}

fn stopped(fatal: &Fatal<u64>) -> ProposeError {
    ProposeError::Fatal(fatal.to_string())
}

fn not_leader(to: ForwardToLeader<u64, openraft::BasicNode>, addresses: &BTreeMap<u64, String>) -> ProposeError {
    let given = to.leader_id.and_then(|id| addresses.get(&id).cloned());
    ProposeError::NotLeader { leader: given.or(to.leader_node.map(|node| node.addr)) }
}

async fn run(
    raft: Raft<TypeConfig>,
    mut proposals: mpsc::Receiver<Proposal>,
    time_max: Duration,
    addresses: Arc<BTreeMap<u64, String>>,
) {
    let under_way = Arc::new(Semaphore::new(BATCHES_UNDER_WAY_MAX));
    // Dropped with this task, so that nothing outlives a shutdown.
    let mut batches = JoinSet::new();
    let mut left_over = None;
    loop {
        let permit = under_way.clone().acquire_owned().await.expect("the semaphore is never closed");
        while batches.try_join_next().is_some() {}
        let first = match left_over.take() {
            Some(proposal) => proposal,
            None => match proposals.recv().await {
                Some(proposal) => proposal,
                None => return,
            },
        };
        let mut batch = vec![first];
        let mut bytes = batch[0].command.len();
        while batch.len() < BATCH_COMMANDS_MAX
            && let Ok(next) = proposals.try_recv()
        {
            if bytes + next.command.len() > BATCH_BYTES_MAX {
                left_over = Some(next);
                break;
            }
            bytes += next.command.len();
            batch.push(next);
        }
        // A caller that has gone has heard `Unavailable`; its command need not be recorded any more.
        batch.retain(|proposal| !proposal.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.command, p.reply)).unzip();
        // Sent here, in the order of arrival; awaited beside the next batch.
        match raft.client_write_ff(Batch(commands)).await {
            Ok(answer) => {
                batches.spawn(deliver(raft.clone(), answer, replies, time_max, addresses.clone(), permit));
            }
            Err(fatal) => tell(replies, &stopped(&fatal)),
        }
    }
}

type Answer = oneshot::Receiver<openraft::raft::ClientWriteResult<TypeConfig>>;
type Reply = oneshot::Sender<Result<Vec<u8>, ProposeError>>;

async fn deliver(
    raft: Raft<TypeConfig>,
    answer: Answer,
    replies: Vec<Reply>,
    time_max: Duration,
    addresses: Arc<BTreeMap<u64, String>>,
    _permit: OwnedSemaphorePermit,
) {
    let error = match tokio::time::timeout(time_max, answer).await {
        Err(_) => overdue(time_max),
        Ok(Err(_)) => why_stopped(&raft),
        Ok(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => not_leader(to, &addresses),
        Ok(Ok(Err(ClientWriteError::ChangeMembershipError(e)))) => ProposeError::Fatal(e.to_string()),
        Ok(Ok(Ok(done))) => {
            for (reply, bytes) in replies.into_iter().zip(done.data.0) {
                let _ = reply.send(Ok(bytes));
            }
            return;
        }
    };
    tell(replies, &error);
}

fn tell(replies: Vec<Reply>, error: &ProposeError) {
    for reply in replies {
        let _ = reply.send(Err(error.clone()));
    }
}
