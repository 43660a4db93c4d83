//! The one thread that writes: it joins what waits in its queue into one batch and one fsync.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::log::Database;

/// How many writes may wait; openraft awaits each append, so that a longer queue would never fill.
const QUEUE_JOBS_MAX: usize = 64;
/// How many bytes one fsync covers; beyond it the first in the queue would wait too long for the last.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// One change of the database.
pub(crate) enum Change {
    Put(Vec<u8>, Vec<u8>),
    /// Removes the keys from the first, inclusive, to the second, exclusive.
    Remove(Vec<u8>, Vec<u8>),
}

type Done = Box<dyn FnOnce(Result<(), io::Error>) + Send>;

/// Changes that are made together, and who wants to hear of it.
struct Job {
    changes: Vec<Change>,
    durable: bool,
    done: Option<Done>,
}

/// The way to the writer thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

/// Hands jobs to the writer thread; cheap to clone, and gone with the writer.
#[derive(Clone)]
pub(crate) struct Queue(mpsc::Sender<Job>);

impl Writer {
    pub(crate) fn start(database: Arc<Database>, path: PathBuf) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn({
                let path = path.clone();
                move || run(&database, &path, jobs)
            })
            .map_err(StoreError::io("start a thread for", &path))?;
        Ok(Self { queue, thread })
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue(self.queue.clone())
    }

    /// Waits until everything in the queue is written; every [`Queue`] must be gone.
    pub(crate) fn finish(self) {
        drop(self.queue);
        let _ = self.thread.join();
    }
}

impl Queue {
    /// Returns when the changes are in the database and, if `durable`, on the disk.
    pub(crate) async fn write(&self, changes: Vec<Change>, durable: bool) -> Result<(), io::Error> {
        let (tell, told) = oneshot::channel();
        self.submit(changes, durable, Some(Box::new(move |result| drop(tell.send(result))))).await?;
        told.await.map_err(|_| io::Error::from(StoreError::Closed))?
    }

    /// Returns when the changes are in the queue; `done` hears how it went.
    pub(crate) async fn submit(&self, changes: Vec<Change>, durable: bool, done: Option<Done>) -> Result<(), io::Error> {
        self.0.send(Job { changes, durable, done }).await.map_err(|_| StoreError::Closed.into())
    }
}

fn run(database: &Database, path: &std::path::Path, mut jobs: mpsc::Receiver<Job>) {
    // After one failed write nobody knows which later bytes reached the disk: all further writes are refused.
    let mut failed: Option<String> = None;
    while let Some(first) = jobs.blocking_recv() {
        let group = gather(first, &mut jobs);
        let durable = group.iter().any(|job| job.durable);
        let mut batch = WriteBatch::default();
        let mut waiting = Vec::with_capacity(group.len());
        for job in group {
            for change in job.changes {
                match change {
                    Change::Put(key, value) => batch.put(key, value),
                    Change::Remove(from, to) => batch.delete_range(from, to),
                }
            }
            waiting.extend(job.done);
        }
        if failed.is_none() {
            failed = write(database, path, batch, durable).err().map(|e| e.line());
            if let Some(why) = &failed {
                tracing::error!(error = %why, "the ledger cannot be written; this node stops taking part");
            }
        }
        for done in waiting {
            done(failed.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone()))));
        }
    }
}

fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let size = |job: &Job| job.changes.iter().map(|c| if let Change::Put(_, value) = c { value.len() } else { 0 }).sum::<usize>();
    let mut bytes = size(&first);
    let mut group = vec![first];
    while bytes < GROUP_BYTES_MAX
        && let Ok(job) = jobs.try_recv()
    {
        bytes += size(&job);
        group.push(job);
    }
    group
}

fn write(database: &Database, path: &std::path::Path, batch: WriteBatch, durable: bool) -> Result<(), StoreError> {
    let mut options = WriteOptions::default();
    // RocksDB's default acknowledges what is only in the page cache: a power cut would take it back.
    options.set_sync(durable);
    database.with(|db| db.write_opt(batch, &options).map_err(StoreError::database(path)))?
}
