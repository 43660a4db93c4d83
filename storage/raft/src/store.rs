//! The whole of what one node keeps on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use rocksdb::checkpoint::Checkpoint;

use crate::home::{Home, sync_dir, write_whole};
use crate::log::Database;
use crate::writer::Writer;
use crate::{LogStore, Shelf, StoreError};

/// Where the store is, and whose.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub dir: PathBuf,
    pub node_id: u64,
}

/// An opened store; clones share it.
#[derive(Clone)]
pub struct Store {
    log: LogStore,
    shelf: Shelf,
    held: Arc<Mutex<Option<Held>>>,
    dir: Arc<PathBuf>,
}

/// What is given back on [`Store::close`], in this order.
struct Held {
    writer: Writer,
    home: Home,
}

impl Store {
    /// Opens or creates the store; it blocks while RocksDB recovers.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let home = Home::open(&options.dir, options.node_id)?;
        let path = home.dir.join("log");
        let database = Arc::new(Database::open(&path)?);
        let writer = Writer::start(database.clone(), path.clone())?;
        let log = LogStore { database, path: Arc::new(path), queue: Arc::new(RwLock::new(Some(writer.queue()))) };
        let shelf = Shelf::open(&home.dir.join("snapshots"), options.node_id, log.purged()?.map(|id| id.index))?;
        let dir = Arc::new(home.dir.clone());
        Ok(Self { log, shelf, held: Arc::new(Mutex::new(Some(Held { writer, home }))), dir })
    }

    pub fn log(&self) -> &LogStore {
        &self.log
    }

    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Writes a copy that starts as this node would: for an operator's backup, while the node works.
    ///
    /// The log comes first and the snapshots after it: a snapshot that is newer than the log is fine, one that is
    /// older than the first entry of the log would leave a gap.
    pub fn checkpoint(&self, target: &Path) -> Result<(), StoreError> {
        fs::create_dir(target).map_err(StoreError::io("create", target))?;
        let log = target.join("log");
        self.log.database.with(|db| {
            let checkpoint = Checkpoint::new(db).map_err(StoreError::database(&log))?;
            checkpoint.create_checkpoint(&log).map_err(StoreError::database(&log))
        })??;
        sync_dir(&log)?;
        self.shelf.copy_to(&target.join("snapshots"))?;
        let format = self.dir.join("FORMAT");
        let marker = fs::read(&format).map_err(StoreError::io("read", &format))?;
        // Last, so that a copy that was cut short is refused as no ledger at all.
        write_whole(&target.join("FORMAT"), &marker)
    }

    /// Writes what is queued, closes the database, then gives the lock back.
    pub fn close(&self) {
        let Some(held) = self.held.lock().unwrap_or_else(|e| e.into_inner()).take() else { return };
        self.log.queue.write().unwrap_or_else(|e| e.into_inner()).take();
        held.writer.finish();
        self.log.database.close();
        drop(held.home);
    }
}
