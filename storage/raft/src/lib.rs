//! The Raft log, vote and snapshots of one node, on disk.
//!
//! ```text
//! DIR/FORMAT       what wrote this directory, and for which node
//! DIR/LOCK         held while a process has the directory open; holds its pid
//! DIR/log/         RocksDB: entries, vote, committed, purged
//! DIR/snapshots/   the last two snapshots, one file each
//!
//! append ─► queue ─► writer thread ─► one write batch ─► fsync ─► callbacks
//! ```
//!
//! Nothing is acknowledged before the fsync. This crate knows nothing of what the commands mean.

mod entry;
mod error;
mod home;
mod log;
mod snapshot;
mod store;
mod writer;

pub use entry::{Batch, Replies, decode_entry, encode_entry};
pub use error::StoreError;
pub use log::LogStore;
pub use snapshot::{Header, Shelf, SnapshotFile};
pub use store::{Store, StoreOptions};

openraft::declare_raft_types!(
    /// The types of our Raft group: batches of commands in, their replies out, all of them bytes.
    pub TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        Responder = openraft::impls::OneshotResponder<TypeConfig>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// The identity of a log entry.
pub type LogId = openraft::LogId<u64>;
/// The members of the group, and the entry that named them.
pub type Members = openraft::StoredMembership<u64, openraft::BasicNode>;
/// What a snapshot holds.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::BasicNode>;
