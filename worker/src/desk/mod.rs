//! The task desk: orders that are done once, with outcomes and log lines that survive us.
//!
//! ```text
//! order ─▶ spool on disk ─▶ Carrier ─▶ lines, outcome ─▶ spool ─▶ outbox (per connection) ─▶ link
//!                 ▲ the same order again: answered, not redone          acknowledged: trimmed
//! ```

mod outbox;
mod spool;

pub use outbox::Outbox;
pub use spool::{BYTES_MAX, LINES_PER_SECOND_MAX, SpooledLine};
pub(crate) use spool::write_durably;

use crate::log::LogSink;
use slipway_model::TaskId;
use slipway_model::task::{TaskOutcome, TaskSpec};
use spool::Spool;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Lines wait that long for their neighbours, so that one fsync serves many.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// One attempt at a task, as its carrier sees it.
#[derive(Debug, Clone)]
pub struct Job {
    pub task: TaskId,
    pub attempt: u32,
    pub spec: TaskSpec,
    /// When the order was first taken; a lease counts from here, also after a restart.
    pub taken_unix_ms: i64,
    /// We died in the middle of it.
    pub resumed: bool,
    pub log: LogSink,
    pub cancel: CancellationToken,
    /// For what the carrier must remember of this attempt; gone with the task.
    pub directory: PathBuf,
    desk: Desk,
}

impl Job {
    /// It no longer waits for its turn.
    pub fn running(&self) {
        self.desk.with(&self.task, self.attempt, |spool| spool.running = true);
    }
}

/// Who does the tasks.
#[async_trait::async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Do it, or go on with it. What the world said of an attempt stays said: ask it first when `job.resumed`.
    async fn carry(&self, job: Job) -> TaskOutcome;
}

/// A cheap handle.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    carrier: Arc<dyn Carrier>,
    tasks: Mutex<BTreeMap<TaskId, Spool>>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({})", self.inner.directory.display())
    }
}

impl Desk {
    /// Read what a former process left, and go on with it.
    pub async fn open(directory: &Path, carrier: Arc<dyn Carrier>) -> std::io::Result<Desk> {
        tokio::fs::create_dir_all(directory).await?;
        let place = directory.to_path_buf();
        let tasks = tokio::task::spawn_blocking(move || spool::load_all(&place)).await.map_err(std::io::Error::other)??;
        let unfinished: Vec<TaskId> = tasks.iter().filter(|(_, spool)| spool.outcome.is_none()).map(|(id, _)| id.clone()).collect();
        let inner = Inner { directory: directory.to_path_buf(), carrier, tasks: Mutex::new(tasks), changed: watch::channel(0).0 };
        let desk = Desk { inner: Arc::new(inner) };
        for task in unfinished {
            desk.launch(&task, true);
        }
        Ok(desk)
    }

    /// Take an order. The same attempt again changes nothing, a later one replaces the former, an earlier one is ignored.
    pub async fn order(&self, task: TaskId, attempt: u32, spec: TaskSpec) -> std::io::Result<()> {
        let known = self.lock().get(&task).map(|spool| spool.attempt);
        match known {
            Some(known) if known > attempt => return Ok(()),
            Some(known) if known == attempt => {
                self.ring();
                return Ok(());
            }
            Some(known) => self.cancel(&task, known),
            None => {}
        }
        let place = self.inner.directory.join(task.as_str());
        let spool = tokio::task::spawn_blocking(move || Spool::create(&place, attempt, spec, unix_ms())).await.map_err(std::io::Error::other)??;
        self.lock().insert(task.clone(), spool);
        self.launch(&task, false);
        Ok(())
    }

    /// End an attempt; its carrier answers with an outcome as always.
    pub fn cancel(&self, task: &TaskId, attempt: u32) {
        self.with(task, attempt, |spool| spool.cancel.cancel());
    }

    /// The scheduler has these lines for good.
    pub fn acknowledge(&self, task: &TaskId, attempt: u32, lines: u64) {
        self.with(task, attempt, |spool| spool.acknowledge(lines));
    }

    /// The outcome is in the ledger.
    pub async fn forget(&self, task: &TaskId) {
        let done = self.lock().get(task).is_some_and(|spool| spool.outcome.is_some());
        if !done {
            return;
        }
        self.lock().remove(task);
        let place = self.inner.directory.join(task.as_str());
        if let Err(error) = tokio::fs::remove_dir_all(&place).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%task, %error, "the record of a task could not be removed");
        }
    }

    /// Rings when there is something to send.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Builds that are not ended.
    pub fn builds_running(&self) -> u32 {
        let is_build = |spec: &TaskSpec| matches!(spec, TaskSpec::BuildApp(_) | TaskSpec::BuildImage(_));
        self.lock().values().filter(|spool| spool.outcome.is_none() && is_build(&spool.spec)).count() as u32
    }

    fn launch(&self, task: &TaskId, resumed: bool) {
        let tasks = self.lock();
        let Some(spool) = tasks.get(task) else { return };
        let job = Job {
            task: task.clone(),
            attempt: spool.attempt,
            spec: spool.spec.clone(),
            taken_unix_ms: spool.taken_unix_ms,
            resumed,
            log: spool.pending.sink(),
            cancel: spool.cancel.clone(),
            directory: spool.directory.clone(),
            desk: self.clone(),
        };
        drop(tasks);
        self.ring();
        let desk = self.clone();
        tokio::spawn(async move { desk.carry(job).await });
    }

    async fn carry(&self, job: Job) {
        let (task, attempt) = (job.task.clone(), job.attempt);
        let carrier = self.inner.carrier.clone();
        // A panic in a carrier is an outcome too, or the task would hang for good.
        let mut carried = tokio::spawn(async move { carrier.carry(job).await });
        let outcome = loop {
            tokio::select! {
                ended = &mut carried => break ended.unwrap_or_else(|error| TaskOutcome::InfrastructureFailure {
                    message: format!("the worker failed while it carried out the task: {error}"),
                }),
                () = tokio::time::sleep(FLUSH_INTERVAL) => self.flush(&task, attempt).await,
            }
        };
        self.flush(&task, attempt).await;
        // The record of the outcome must be kept; while the disk refuses it, the task counts as running.
        while let Err(error) = self.record(&task, attempt, &outcome).await {
            tracing::error!(%task, %error, "an outcome could not be recorded: is the disk full?");
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        self.ring();
    }

    /// Lines that were said become lines that are kept.
    async fn flush(&self, task: &TaskId, attempt: u32) {
        let Some(batch) = self.with(task, attempt, |spool| spool.begin_flush()).flatten() else { return };
        let written = tokio::task::spawn_blocking(move || batch.write()).await;
        match written {
            Ok(Ok(lines)) => {
                self.with(task, attempt, |spool| spool.end_flush(lines));
            }
            Ok(Err(error)) => tracing::error!(%task, %error, "log lines were lost: is the disk full?"),
            Err(error) => tracing::error!(%task, %error, "log lines were lost"),
        }
        self.ring();
    }

    async fn record(&self, task: &TaskId, attempt: u32, outcome: &TaskOutcome) -> std::io::Result<()> {
        let Some(place) = self.with(task, attempt, |spool| spool.directory.clone()) else { return Ok(()) };
        let bytes = serde_json::to_vec(outcome).map_err(std::io::Error::other)?;
        tokio::task::spawn_blocking(move || spool::write_durably(&place.join(spool::OUTCOME), &bytes)).await.map_err(std::io::Error::other)??;
        self.with(task, attempt, |spool| spool.outcome = Some(outcome.clone()));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Spool>> {
        self.inner.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Do something with a task's spool if it still stands at this attempt.
    fn with<T>(&self, task: &TaskId, attempt: u32, act: impl FnOnce(&mut Spool) -> T) -> Option<T> {
        self.lock().get_mut(task).filter(|spool| spool.attempt == attempt).map(act)
    }

    fn ring(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }
}

/// Now, for log lines and leases.
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
