//! The stream to the scheduler: orders come down, reports go up; it is opened again whenever it breaks.

use crate::desk::{Desk, Outbox};
use crate::reconcile::Reconciler;
use slipway_model::NodeId;
use slipway_proto::MESSAGE_BYTES_MAX;
use slipway_proto::auth::BearerToken;
use slipway_proto::worker::worker_link_client::WorkerLinkClient;
use slipway_proto::worker::{Heartbeat, Hello, Observed, WorkerOrder, WorkerReport, worker_order::Order, worker_report::Report};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Lost at ten seconds, so five of them may be late.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// A peer that vanished without a word is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIME_MAX: Duration = Duration::from_secs(10);
/// After a break: the first try at once elsewhere, then slower.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// Reports that wait for a slow scheduler.
const REPORTS_WAITING_MAX: usize = 16;

/// Who we are and whom we call.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    pub node: NodeId,
    /// `http://host:port` of every scheduler.
    pub schedulers: Vec<String>,
    pub token: String,
    pub build_slots: u32,
    pub shell_address: String,
    /// For the space that is left.
    pub data_dir: PathBuf,
}

/// The link; it runs until the shutdown.
#[derive(Clone)]
pub struct Link {
    pub options: LinkOptions,
    pub desk: Desk,
    pub reconciler: Reconciler,
}

impl Link {
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut pause = RETRY_FIRST;
        if self.options.schedulers.is_empty() {
            return shutdown.cancelled().await;
        }
        loop {
            for address in &self.options.schedulers {
                let began = tokio::time::Instant::now();
                let end = tokio::select! {
                    end = self.attach(address) => end,
                    () = shutdown.cancelled() => return,
                };
                tracing::info!(scheduler = %address, reason = %end, "not attached");
                if began.elapsed() > HEARTBEAT_INTERVAL {
                    pause = RETRY_FIRST;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// One connection, to its end; why it ended.
    async fn attach(&self, address: &str) -> String {
        match self.try_attach(address).await {
            Ok(()) => "the scheduler hung up".into(),
            Err(why) => why,
        }
    }

    async fn try_attach(&self, address: &str) -> Result<(), String> {
        let endpoint = Endpoint::from_shared(address.to_string()).map_err(|e| format!("'{address}' is no address of a scheduler: {e}"))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIME_MAX)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIME_MAX)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|e| format!("it cannot be reached: {}", chain(&e)))?;
        let mut client = WorkerLinkClient::with_interceptor(channel, BearerToken::new(&self.options.token)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (reports, stream) = mpsc::channel(REPORTS_WAITING_MAX);
        reports.try_send(report(Report::Hello(self.hello()))).map_err(|e| e.to_string())?;
        let reply = tokio::time::timeout(KEEPALIVE_TIME_MAX, client.attach(ReceiverStream::new(stream))).await;
        let orders = reply.map_err(|_| "it did not answer".to_string())?.map_err(|status| status.message().to_string())?.into_inner();
        tracing::info!(scheduler = %address, "attached");
        let outbox = Arc::new(Mutex::new(Outbox::default()));
        // Reading must not wait for writing: two full directions would wait for each other for ever.
        tokio::select! {
            read = self.read(orders, &outbox) => read,
            written = self.write(reports, &outbox) => written,
        }
    }

    async fn read(&self, mut orders: Streaming<WorkerOrder>, outbox: &Mutex<Outbox>) -> Result<(), String> {
        while let Some(order) = orders.message().await.map_err(|status| format!("the connection broke: {}", status.message()))? {
            if let Some(order) = order.order
                && let Err(why) = self.take(order, outbox).await
            {
                tracing::error!(%why, "an order could not be taken");
            }
        }
        Ok(())
    }

    async fn take(&self, order: Order, outbox: &Mutex<Outbox>) -> Result<(), String> {
        match order {
            Order::Desired(desired) => {
                let set = serde_json::from_str(&desired.desired_json).map_err(|e| format!("the desired set cannot be read: {e}"))?;
                self.reconciler.desire(desired.generation, set).await.map_err(|e| e.to_string())
            }
            Order::Task(task) => {
                let id = task.task.parse().map_err(|e| format!("{e}"))?;
                let spec = serde_json::from_str(&task.spec_json).map_err(|e| format!("task {id} cannot be read: {e}"))?;
                outbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).repeat(&id);
                self.desk.order(id, task.attempt, spec).await.map_err(|e| format!("the task cannot be recorded: {e}"))
            }
            Order::Cancel(cancel) => {
                let id = cancel.task.parse().map_err(|e| format!("{e}"))?;
                tracing::info!(task = %id, attempt = cancel.attempt, reason = %cancel.reason, "cancelled");
                self.desk.cancel(&id, cancel.attempt);
                Ok(())
            }
            Order::LogAck(ack) => {
                self.desk.acknowledge(&ack.task.parse().map_err(|e| format!("{e}"))?, ack.attempt, ack.lines);
                Ok(())
            }
            Order::Forget(forget) => {
                self.desk.forget(&forget.task.parse().map_err(|e| format!("{e}"))?).await;
                Ok(())
            }
        }
    }

    async fn write(&self, reports: mpsc::Sender<WorkerReport>, outbox: &Mutex<Outbox>) -> Result<(), String> {
        let (mut told, mut seen) = (self.desk.changed(), self.reconciler.changed());
        let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL);
        let mut observe = true;
        loop {
            if observe {
                let (generation, instances) = self.reconciler.observed();
                let instances_json = serde_json::to_string(&instances).map_err(|e| e.to_string())?;
                send(&reports, report(Report::Observed(Observed { generation, instances_json }))).await?;
                observe = false;
            }
            loop {
                let next = outbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next(&self.desk);
                if next.is_empty() {
                    break;
                }
                for report in next {
                    send(&reports, report).await?;
                }
            }
            tokio::select! {
                _ = told.changed() => {}
                _ = seen.changed() => observe = true,
                _ = beat.tick() => {
                    send(&reports, report(Report::Heartbeat(self.heartbeat()))).await?;
                    observe = true;
                }
            }
        }
    }

    fn hello(&self) -> Hello {
        let machine = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Hello {
            node: self.options.node.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            architecture: architecture().into(),
            build_slots: self.options.build_slots,
            memory_mb: memory_mb("MemTotal:"),
            cpu_millis: machine * 1000,
            shell_address: self.options.shell_address.clone(),
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            builds_running: self.desk.builds_running(),
            memory_free_mb: memory_mb("MemAvailable:"),
            disk_free_mb: disk_free_mb(&self.options.data_dir),
        }
    }
}

async fn send(reports: &mpsc::Sender<WorkerReport>, report: WorkerReport) -> Result<(), String> {
    reports.send(report).await.map_err(|_| "the connection broke".to_string())
}

fn report(report: Report) -> WorkerReport {
    WorkerReport { report: Some(report) }
}

/// An error with its causes: tonic's own text names none.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// As Debian names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn memory_mb(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}

fn disk_free_mb(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(0, |s| (s.blocks_available() as u64).saturating_mul(s.fragment_size() as u64) >> 20)
}
