//! The state machine, and its keeper that openraft drives.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, Entry, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError, StorageIOError,
    StoredMembership,
};
use serde::{Deserialize, Serialize};
use slipway_raft_store::{Header, LogId, Members, Replies, Shelf, SnapshotFile, SnapshotMeta, StoreError, TypeConfig};
use tokio::sync::{Notify, watch};

/// A deterministic state machine: the same commands in the same order give the same bytes on every node.
pub trait Machine: Send + Sync + 'static {
    /// Changes the state and answers. `index` counts commands from 1, without gaps, alike on every node.
    ///
    /// It has no clock, no chance and no way to fail: a wrong command is answered with a refusal. A panic here is a
    /// broken invariant, and stops the node.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8>;
    /// The whole state, in canonical bytes.
    fn save(&self) -> Vec<u8>;
    fn load(bytes: &[u8]) -> anyhow::Result<Self>
    where
        Self: Sized;
    fn fresh() -> Self
    where
        Self: Sized;
    /// A view of the state as it is now, which is turned into the bytes of [`Machine::save`] later, beside new commands.
    ///
    /// The default saves at once, so that commands wait meanwhile; a state that is cheap to clone returns its clone.
    fn view(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send + Sync> {
        let bytes = self.save();
        Box::new(move || bytes)
    }
}

/// The state and how far it has come; they change together, under one lock.
pub(super) struct Held<M> {
    pub(super) machine: M,
    /// How many commands were applied: the index of the last one.
    pub(super) commands: u64,
    pub(super) last: Option<LogId>,
    pub(super) members: Members,
    /// Every node id that was ever a member: none may come back with another disk.
    pub(super) nodes_seen: BTreeSet<u64>,
}

/// What a snapshot keeps beside the machine's own bytes.
#[derive(Serialize, Deserialize)]
struct Extra {
    commands: u64,
    nodes_seen: BTreeSet<u64>,
}

impl<M: Machine> Held<M> {
    fn fresh() -> Self {
        let members = StoredMembership::default();
        Self { machine: M::fresh(), commands: 0, last: None, members, nodes_seen: BTreeSet::new() }
    }

    fn load(header: &Header, bytes: &[u8]) -> anyhow::Result<Self> {
        let extra: Extra = serde_json::from_value(header.extra.clone())?;
        Ok(Self {
            machine: M::load(bytes)?,
            commands: extra.commands,
            last: header.meta.last_log_id,
            members: header.meta.last_membership.clone(),
            nodes_seen: extra.nodes_seen,
        })
    }
}

/// How much may gather before a snapshot is due, besides the entries that openraft counts.
#[derive(Clone, Copy)]
pub(super) struct SnapshotPace {
    pub(super) commands: u64,
    pub(super) bytes: u64,
}

/// The keeper; clones share the state.
pub(super) struct Keeper<M> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    held: RwLock<Held<M>>,
    shelf: Shelf,
    applied: watch::Sender<u64>,
    pace: SnapshotPace,
    commands_since: AtomicU64,
    bytes_since: AtomicU64,
    /// Rung when a snapshot is due before openraft's own count of entries says so.
    due: Notify,
}

impl<M> Clone for Keeper<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<M: Machine> Keeper<M> {
    /// Begins with the newest snapshot, or afresh; it blocks.
    pub(super) fn open(shelf: Shelf, pace: SnapshotPace) -> anyhow::Result<Self> {
        let held = match shelf.load()? {
            Some((header, bytes)) => Held::load(&header, &bytes)?,
            None => Held::fresh(),
        };
        let applied = watch::Sender::new(held.commands);
        let (commands_since, bytes_since) = (AtomicU64::new(0), AtomicU64::new(0));
        let held = RwLock::new(held);
        let due = Notify::new();
        Ok(Self { shared: Arc::new(Shared { held, shelf, applied, pace, commands_since, bytes_since, due }) })
    }

    pub(super) fn held(&self) -> RwLockReadGuard<'_, Held<M>> {
        self.shared.held.read().unwrap_or_else(|e| e.into_inner())
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held<M>> {
        self.shared.held.write().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    pub(super) async fn snapshot_due(&self) {
        self.shared.due.notified().await;
    }

    fn count(&self, commands: u64, bytes: u64) {
        let shared = &self.shared;
        let commands = shared.commands_since.fetch_add(commands, Ordering::Relaxed) + commands;
        let bytes = shared.bytes_since.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if commands >= shared.pace.commands || bytes >= shared.pace.bytes {
            shared.due.notify_one();
        }
    }
}

type Failure = StorageError<u64>;

fn snapshot_failure(error: StoreError) -> Failure {
    StorageIOError::write_snapshot(None, AnyError::new(&std::io::Error::from(error))).into()
}

/// Runs what blocks on the file system beside the async threads.
async fn beside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Failure> {
    let broken = |e| StorageIOError::write_state_machine(AnyError::error(format!("work on a snapshot broke off: {e}")));
    Ok(tokio::task::spawn_blocking(work).await.map_err(broken)?)
}

impl<M: Machine> RaftStateMachine<TypeConfig> for Keeper<M> {
    type SnapshotBuilder = View<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Members), Failure> {
        let held = self.held();
        Ok((held.last, held.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies>, Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut commands, mut bytes) = (0, 0);
        let mut all = Vec::new();
        let applied = {
            let mut held = self.held_mut();
            for entry in entries {
                let mut replies = Replies::default();
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(batch) => {
                        for command in &batch.0 {
                            held.commands += 1;
                            commands += 1;
                            bytes += command.len() as u64;
                            let index = held.commands;
                            let reply = catch_unwind(AssertUnwindSafe(|| held.machine.apply(index, command)));
                            replies.0.push(reply.map_err(|_| {
                                tracing::error!(index, "the state machine panicked; this node stops");
                                let why = AnyError::error(format!("the state machine panicked at command {index}"));
                                StorageIOError::apply(entry.log_id, why)
                            })?);
                        }
                    }
                    EntryPayload::Membership(members) => {
                        held.nodes_seen.extend(members.nodes().map(|(id, _)| *id));
                        held.members = StoredMembership::new(Some(entry.log_id), members);
                    }
                }
                held.last = Some(entry.log_id);
                all.push(replies);
            }
            held.commands
        };
        self.shared.applied.send_replace(applied);
        self.count(commands, bytes);
        Ok(all)
    }

    /// Takes the view here, between two commands; the bytes and the file are made beside them.
    async fn get_snapshot_builder(&mut self) -> View<M> {
        self.shared.commands_since.store(0, Ordering::Relaxed);
        self.shared.bytes_since.store(0, Ordering::Relaxed);
        let keeper = self.clone();
        let taken = beside(move || {
            let held = keeper.held();
            let extra = Extra { commands: held.commands, nodes_seen: held.nodes_seen.clone() };
            let meta =
                SnapshotMeta { last_log_id: held.last, last_membership: held.members.clone(), snapshot_id: String::new() };
            (meta, serde_json::to_value(extra).expect("plain data"), held.machine.view())
        });
        View { shared: self.shared.clone(), taken: Some(taken.await) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, Failure> {
        let shelf = self.shared.shelf.clone();
        Ok(Box::new(beside(move || shelf.receive()).await?.map_err(snapshot_failure)?))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<SnapshotFile>) -> Result<(), Failure> {
        let (keeper, meta) = (self.clone(), meta.clone());
        let install = move || {
            let (header, bytes) = keeper.shared.shelf.install(&meta, *snapshot).map_err(snapshot_failure)?;
            let held = Held::load(&header, &bytes).map_err(|e| {
                let why = AnyError::error(format!("the state in the snapshot does not load: {e:#}"));
                StorageIOError::read_snapshot(Some(meta.signature()), why)
            })?;
            let applied = held.commands;
            *keeper.held_mut() = held;
            keeper.shared.applied.send_replace(applied);
            Ok(())
        };
        beside(install).await?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, Failure> {
        let shelf = self.shared.shelf.clone();
        let newest = beside(move || shelf.newest()).await?.map_err(snapshot_failure)?;
        Ok(newest.map(|(meta, file)| Snapshot { meta, snapshot: Box::new(file) }))
    }
}

/// A snapshot that is being made.
pub(super) struct View<M> {
    shared: Arc<Shared<M>>,
    taken: Option<Result<(SnapshotMeta, serde_json::Value, Box<dyn FnOnce() -> Vec<u8> + Send + Sync>), Failure>>,
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for View<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, Failure> {
        let taken = self.taken.take().ok_or_else(|| {
            StorageIOError::write_snapshot(None, AnyError::error("a view makes one snapshot, and this one has"))
        })?;
        let (meta, extra, bytes) = taken?;
        let shelf = self.shared.shelf.clone();
        let build = move || {
            let meta = shelf.write(meta, extra, &bytes())?;
            let newest = shelf.newest()?;
            Ok((meta, newest))
        };
        let (meta, newest) = beside(build).await?.map_err(snapshot_failure)?;
        let (_, file) = newest.ok_or_else(|| snapshot_failure(StoreError::Closed))?;
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}

