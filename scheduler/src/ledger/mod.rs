//! The ledger: commands in, the same order on every node, nothing acknowledged that a power cut can take back.
//!
//! ```text
//! propose ─► desk (joins what waits) ─► openraft ─► log on a quorum of disks ─► apply ─► reply
//!                                          │                                     │
//!                                    network.rs ◄─► peers              read, applied, snapshots
//! ```
//!
//! It knows nothing of deployments: commands, replies and state are bytes of the caller's [`Machine`].

#[cfg(test)]
mod conformance;
mod desk;
mod leadership;
mod machine;
mod network;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use openraft::error::{InitializeError, RaftError};
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Config, Raft, SnapshotPolicy, Vote};
use slipway_proto::MESSAGE_BYTES_MAX;
use slipway_proto::raft::raft_link_server::RaftLinkServer;
use slipway_raft_store::{Store, StoreOptions, TypeConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use desk::ProposeError;
pub use machine::Machine;
pub use network::{Dial, RaftDoor, plain_dial};
pub use status::{Member, Status};

use desk::Desk;
use machine::{Keeper, SnapshotPace};

/// A command beyond this belongs into the object store; the ledger holds intent and pointers.
pub const COMMAND_BYTES_MAX: usize = 4 << 20;
/// Replaying more than this at a start would take seconds.
const SNAPSHOT_BYTES: u64 = 64 << 20;
/// One piece of a snapshot on the wire.
const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;
/// The last piece is answered when the whole state is checked, synced and loaded.
const SNAPSHOT_INSTALL_TIME_MAX: Duration = Duration::from_secs(60);

/// What one node of the ledger needs to know.
#[derive(Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// Never used for another disk: a node that lost its disk joins with a new id.
    pub node_id: u64,
    /// Every node's address, this one's too. The first members, and later the addresses to use instead of those that
    /// the ledger recorded.
    pub peers: BTreeMap<u64, String>,
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// Commands or entries between two snapshots.
    pub snapshot_every: u64,
    /// How long a proposal may wait for a quorum before its caller hears `Unavailable`.
    pub propose_time_max: Duration,
    /// The secret that the nodes of this group show one another.
    pub token: Option<String>,
    /// How a connection to a peer is made; plain HTTP/2 by default.
    pub dial: Dial,
}

impl Options {
    /// The settings we start from; `peers` holds this node alone.
    ///
    /// A follower waits `election_max` (its lease for the leader), then 600 to 1200 ms, before it stands: a lost leader
    /// is replaced within 2.4 s. Several missed heartbeats are forgiven.
    pub fn new(dir: impl Into<PathBuf>, node_id: u64, address: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            node_id,
            peers: BTreeMap::from([(node_id, address.into())]),
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
            snapshot_every: 5000,
            propose_time_max: Duration::from_secs(10),
            token: None,
            dial: plain_dial(),
        }
    }

    fn raft_config(&self) -> anyhow::Result<Config> {
        // Twice the distance of two snapshots: the log reaches back to the snapshot before the newest.
        let kept = 2 * self.snapshot_every;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "slipway".into(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(SNAPSHOT_INSTALL_TIME_MAX),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
            max_in_snapshot_log_to_keep: kept,
            replication_lag_threshold: kept,
            ..Config::default()
        };
        config.validate().context("the ledger's timings do not fit together")
    }
}

/// A handle to this node's ledger; clones are cheap and share it.
pub struct Ledger<M> {
    inner: Arc<Inner<M>>,
}

struct Inner<M> {
    options: Options,
    raft: Raft<TypeConfig>,
    store: Store,
    keeper: Keeper<M>,
    desk: Desk,
    leadership: watch::Receiver<Option<u64>>,
    tasks: Mutex<JoinSet<()>>,
}

impl<M> Clone for Ledger<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<M: Machine> Ledger<M> {
    /// Opens the directory, loads the newest snapshot, replays what was decided since, and takes part.
    pub async fn open(options: Options) -> anyhow::Result<Self> {
        let config = Arc::new(options.raft_config()?);
        let opening = StoreOptions { dir: options.dir.clone(), node_id: options.node_id };
        let pace = SnapshotPace { commands: options.snapshot_every, bytes: SNAPSHOT_BYTES };
        let (store, keeper) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let store = Store::open(&opening)?;
            let keeper = Keeper::<M>::open(store.shelf().clone(), pace).context("load the newest snapshot")?;
            Ok((store, keeper))
        })
        .await
        .context("open the ledger")??;
        forget_leadership(&store, options.node_id).await?;
        let peers = network::Peers::new(&options);
        let raft = Raft::new(options.node_id, config, peers, store.log().clone(), keeper.clone())
            .await
            .context("start this node of the ledger")?;
        if raft.metrics().borrow().membership_config.voter_ids().eq([options.node_id]) {
            // Alone, there is nobody to wait for.
            raft.trigger().elect().await.context("stand for election")?;
        }

        let mut tasks = JoinSet::new();
        let desk = Desk::open(raft.clone(), &options, &mut tasks);
        let leadership = leadership::watch(raft.clone(), &options, &mut tasks);
        tasks.spawn(trigger_snapshots(raft.clone(), keeper.clone()));
        let tasks = Mutex::new(tasks);
        Ok(Self { inner: Arc::new(Inner { options, raft, store, keeper, desk, leadership, tasks }) })
    }

    /// Forms the group of `Options::peers` if this node has never been a member of one.
    ///
    /// Every first member may call it, with the same peers. A node that is to join a living group must not.
    pub async fn initialize_if_fresh(&self) -> anyhow::Result<()> {
        if self.inner.raft.is_initialized().await? {
            return Ok(());
        }
        let members: BTreeMap<u64, BasicNode> =
            self.inner.options.peers.iter().map(|(id, address)| (*id, BasicNode::new(address))).collect();
        match self.inner.raft.initialize(members).await {
            // A peer was first, and its entries arrived meanwhile.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(e).context("form the ledger's group"),
        }
    }

    /// Records a command and gives the machine's reply; by then a quorum has it on disk, and this node has applied it.
    ///
    /// After `Unavailable` the command may still be recorded later: propose it again under the same id.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        self.inner.desk.propose(command).await
    }

    /// Looks at this node's state. It holds up `apply` meanwhile: copy out what is needed, and return.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.inner.keeper.held().machine)
    }

    /// Like [`Ledger::read`], together with the index of the last command that the state contains.
    pub fn read_at<R>(&self, look: impl FnOnce(u64, &M) -> R) -> R {
        let held = self.inner.keeper.held();
        look(held.commands, &held.machine)
    }

    /// Waits until this node's state contains all that was acknowledged anywhere before the call; the leader only.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        self.inner.desk.barrier().await
    }

    /// The index of the last command applied on this node.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.keeper.applied()
    }

    /// `Some(term)` while this node leads, is heard by a quorum, and has applied all that earlier leaders decided.
    ///
    /// A term has one leader: it can serve as a fence.
    pub fn leadership(&self) -> watch::Receiver<Option<u64>> {
        self.inner.leadership.clone()
    }

    pub fn status(&self) -> Status {
        status::status(&self.inner.options, &self.inner.raft, &self.inner.store, &self.inner.keeper)
    }

    /// The gRPC service that the peers call; the scheduler mounts it. It checks the token itself.
    pub fn door(&self) -> RaftLinkServer<RaftDoor> {
        RaftLinkServer::new(self.raft_door())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// What is behind [`Ledger::door`].
    pub fn raft_door(&self) -> RaftDoor {
        RaftDoor::new(self.inner.raft.clone(), &self.inner.options)
    }

    /// Brings a new node up to date without a vote; call it on the leader, then [`Ledger::change_membership`].
    pub async fn add_learner(&self, node_id: u64, address: &str) -> anyhow::Result<()> {
        let (seen, member) = {
            let held = self.inner.keeper.held();
            (held.nodes_seen.contains(&node_id), held.members.membership().get_node(&node_id).is_some())
        };
        if seen && !member {
            bail!("node {node_id} was a member before, and node ids are never reused: give the new node another id");
        }
        let added = self.inner.raft.add_learner(node_id, BasicNode::new(address), true).await;
        added.with_context(|| format!("add node {node_id} at {address}"))?;
        Ok(())
    }

    /// Makes these nodes the voters; each must have been added. Nodes left out are members no longer.
    pub async fn change_membership(&self, voters: BTreeSet<u64>) -> anyhow::Result<()> {
        if voters.is_empty() {
            bail!("a ledger without a voter could never decide anything again");
        }
        self.inner.raft.change_membership(voters, false).await.context("change the members of the ledger")?;
        Ok(())
    }

    /// Writes a snapshot soon, whatever the count; old entries then leave the log.
    pub async fn snapshot(&self) -> anyhow::Result<()> {
        self.inner.raft.trigger().snapshot().await.context("ask for a snapshot")
    }

    /// Writes a copy of this node's directory that can be started, while the node works.
    pub async fn checkpoint(&self, target: &Path) -> anyhow::Result<()> {
        let (store, target) = (self.inner.store.clone(), target.to_path_buf());
        tokio::task::spawn_blocking(move || store.checkpoint(&target)).await.context("write a checkpoint")??;
        Ok(())
    }

    /// Stops taking part and closes the directory; later calls answer `Fatal`.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(|e| e.into_inner()));
        tasks.shutdown().await;
        self.inner.raft.shutdown().await.context("stop this node of the ledger")?;
        let store = self.inner.store.clone();
        tokio::task::spawn_blocking(move || store.close()).await.context("close the ledger")
    }
}

/// openraft resumes a leadership after a restart, in the same term. We do not want that: the term is a fence against
/// what the former process set going, and the former process may have acknowledged more than this one has applied.
/// The vote stays this node's own, so that the term is given to nobody else; an election then brings a new one.
async fn forget_leadership(store: &Store, node_id: u64) -> anyhow::Result<()> {
    let mut log = store.log().clone();
    let vote = log.read_vote().await.context("read this node's vote")?;
    if let Some(vote) = vote.filter(|vote| vote.committed && vote.leader_id.voted_for() == Some(node_id)) {
        let own = Vote::new(vote.leader_id.term, node_id);
        log.save_vote(&own).await.context("write this node's vote")?;
    }
    Ok(())
}

/// openraft counts entries, and one entry may hold many commands: this counts commands and bytes.
async fn trigger_snapshots<M: Machine>(raft: Raft<TypeConfig>, keeper: Keeper<M>) {
    loop {
        keeper.snapshot_due().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
