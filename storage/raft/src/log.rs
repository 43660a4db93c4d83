//! The Raft log, the vote and the pointers, in RocksDB.
//!
//! Keys: `l` + index (big-endian) holds an entry; `m/vote`, `m/committed` and `m/purged` hold JSON.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, Entry, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, LogLevel, Options, ReadOptions};
use serde::{Serialize, de::DeserializeOwned};

use crate::writer::{Change, Queue};
use crate::{LogId, StoreError, TypeConfig, decode_entry, encode_entry};

/// What one replication message carries; openraft gives it one heartbeat interval to arrive and be synced.
const REPLICATION_BYTES_MAX: usize = 1 << 20;

const MEMTABLE_BYTES: usize = 8 << 20;
const CACHE_BYTES: usize = 16 << 20;
/// The log is read at its end, from the memtable: few files need to stay open.
const OPEN_FILES_MAX: i32 = 64;

/// RocksDB, which can be closed while others still hold a way to it.
pub(crate) struct Database {
    open: RwLock<Option<DB>>,
    options: Options,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_max_write_buffer_number(2);
        options.set_max_total_wal_size(4 * MEMTABLE_BYTES as u64);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_max_background_jobs(2);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_keep_log_file_num(1);
        options.set_max_log_file_size(1 << 20);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_max_manifest_file_size(4 << 20);
        // A torn end of the write-ahead log is what a power cut leaves of writes that nobody acknowledged: the
        // default recovery mode cuts it off there. (Absolute consistency would refuse to start after each cut.)
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        table.set_cache_index_and_filter_blocks(true);
        options.set_block_based_table_factory(&table);
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        let db = DB::open(&options, path).map_err(StoreError::database(path))?;
        Ok(Self { open: RwLock::new(Some(db)), options })
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&DB) -> R) -> Result<R, StoreError> {
        self.open.read().unwrap_or_else(|e| e.into_inner()).as_ref().map(f).ok_or(StoreError::Closed)
    }

    pub(crate) fn close(&self) {
        drop(self.open.write().unwrap_or_else(|e| e.into_inner()).take());
    }

    pub(crate) fn wal_syncs(&self) -> u64 {
        self.options.get_ticker_count(Ticker::WalFileSynced)
    }
}

/// The log of one node; clones share it.
#[derive(Clone)]
pub struct LogStore {
    pub(crate) database: Arc<Database>,
    pub(crate) path: Arc<PathBuf>,
    /// Taken away when the store closes, so that the writer thread sees the end of its queue.
    pub(crate) queue: Arc<RwLock<Option<Queue>>>,
}

fn key(index: u64) -> Vec<u8> {
    let mut key = vec![b'l'];
    key.extend(index.to_be_bytes());
    key
}

/// The first key after all entries.
fn end() -> Vec<u8> {
    vec![b'l' + 1]
}

const VOTE: &[u8] = b"m/vote";
const COMMITTED: &[u8] = b"m/committed";
const PURGED: &[u8] = b"m/purged";

impl LogStore {
    /// How often the write-ahead log was brought to the disk since the store was opened.
    pub fn wal_syncs(&self) -> u64 {
        self.database.wal_syncs()
    }

    fn queue(&self) -> Result<Queue, StoreError> {
        self.queue.read().unwrap_or_else(|e| e.into_inner()).clone().ok_or(StoreError::Closed)
    }

    fn corrupt(&self, detail: String) -> StoreError {
        StoreError::Corrupt { path: self.path.to_path_buf(), detail }
    }

    fn pointer<T: DeserializeOwned>(&self, name: &[u8]) -> Result<Option<T>, StoreError> {
        let bytes = self.database.with(|db| db.get(name).map_err(StoreError::database(&self.path)))??;
        let read = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|e| self.corrupt(format!("{}: {e}", String::from_utf8_lossy(name))))
        };
        bytes.map(read).transpose()
    }

    /// The last entry that was removed because a snapshot holds it.
    pub(crate) fn purged(&self) -> Result<Option<LogId>, StoreError> {
        self.pointer(PURGED)
    }

    fn last(&self) -> Result<Option<LogId>, StoreError> {
        let found = self.database.with(|db| {
            let mut read = ReadOptions::default();
            read.set_iterate_lower_bound(key(0));
            read.set_iterate_upper_bound(end());
            let first = db.iterator_opt(IteratorMode::End, read).next();
            first.transpose().map_err(StoreError::database(&self.path))
        })??;
        let Some((_, value)) = found else { return Ok(None) };
        Ok(Some(decode_entry(&value).map_err(|e| self.corrupt(e))?.log_id))
    }

    /// The entries of `[from, to)`, as many as fit in `bytes_max`, and at least one if there is one.
    fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry<TypeConfig>>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.database.with(|db| {
            let mut read = ReadOptions::default();
            read.set_iterate_upper_bound(if to == u64::MAX { end() } else { key(to) });
            let mut entries = Vec::new();
            let mut bytes = 0;
            for found in db.iterator_opt(IteratorMode::From(&key(from), Direction::Forward), read) {
                let (at, value) = found.map_err(StoreError::database(&self.path))?;
                let entry = decode_entry(&value).map_err(|e| self.corrupt(e))?;
                if *at != *key(entry.log_id.index) {
                    return Err(self.corrupt(format!("the key {at:?} holds the entry {}", entry.log_id)));
                }
                bytes += value.len();
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
        })?
    }

    async fn put<T: Serialize>(&self, name: &[u8], value: &T, durable: bool) -> Result<(), std::io::Error> {
        let value = serde_json::to_vec(value).expect("plain data");
        self.queue()?.write(vec![Change::Put(name.to_vec(), value)], durable).await
    }
}

type Failure = StorageError<u64>;

fn reading_logs(error: StoreError) -> Failure {
    StorageIOError::read_logs(AnyError::error(error.line())).into()
}

fn writing_logs(error: impl Into<std::io::Error>) -> Failure {
    StorageIOError::write_logs(AnyError::new(&error.into())).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX).map_err(reading_logs)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        self.entries(start, end, REPLICATION_BYTES_MAX).map_err(reading_logs)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, Failure> {
        let last_purged_log_id = self.purged().map_err(reading_logs)?;
        let last_log_id = self.last().map_err(reading_logs)?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failure> {
        self.put(VOTE, vote, true).await.map_err(|e| StorageIOError::write_vote(AnyError::new(&e)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failure> {
        self.pointer(VOTE).map_err(|e| StorageIOError::read_vote(AnyError::error(e.line())).into())
    }

    /// Not durable: it only spares a restarted node from waiting for the leader before it replays its log.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failure> {
        let value = serde_json::to_vec(&committed).expect("plain data");
        let queue = self.queue().map_err(writing_logs)?;
        queue.submit(vec![Change::Put(COMMITTED.to_vec(), value)], false, None).await.map_err(writing_logs)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failure> {
        Ok(self.pointer::<Option<LogId>>(COMMITTED).map_err(reading_logs)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let changes: Vec<_> = entries.into_iter().map(|e| Change::Put(key(e.log_id.index), encode_entry(&e))).collect();
        let queue = self.queue().map_err(writing_logs)?;
        // Readers see an entry only when it is durable. openraft 0.9 awaits the callback anyway before it goes on,
        // so that waiting here for the same moment costs nothing.
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let done = move |result| {
            callback.log_io_completed(result);
            let _ = tell.send(());
        };
        queue.submit(changes, true, Some(Box::new(done))).await.map_err(writing_logs)?;
        let _ = told.await;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), Failure> {
        let queue = self.queue().map_err(writing_logs)?;
        queue.write(vec![Change::Remove(key(log_id.index), end())], true).await.map_err(writing_logs)
    }

    /// Not durable: if a power cut takes it back, the entries are there a little longer. Both changes go together.
    async fn purge(&mut self, log_id: LogId) -> Result<(), Failure> {
        let queue = self.queue().map_err(writing_logs)?;
        let purged = serde_json::to_vec(&log_id).expect("plain data");
        let changes = vec![Change::Put(PURGED.to_vec(), purged), Change::Remove(key(0), key(log_id.index + 1))];
        queue.write(changes, false).await.map_err(writing_logs)
    }
}
