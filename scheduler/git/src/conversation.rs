//! Bytes both ways between a client and its git, until one of them ends.
//!
//! A client that hangs up ends its fetch. Its push goes on: git's output is then thrown away instead of stopped,
//! since a broken pipe would end git in the middle.

use crate::service::Running;
use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of one read from git.
const CHUNK_BYTES: usize = 32 << 10;

/// How the client's side of the input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Everything has been said.
    Ended,
    /// The client is gone.
    Gone,
}

/// How it ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Exit(Option<i32>),
    ClientGone,
    /// It took longer than it may, or nothing moved.
    Overdue,
}

/// Where git's output goes.
pub enum Outlet {
    Channel { write: Arc<ChannelWriteHalf<Msg>>, extended: Option<u32> },
    Body(mpsc::Sender<Result<Bytes, Infallible>>),
    /// To our own log.
    Journal,
}

impl Outlet {
    async fn send(&self, chunk: Bytes) -> bool {
        match self {
            Outlet::Channel { write, extended: None } => write.data_bytes(chunk).await.is_ok(),
            Outlet::Channel { write, extended: Some(kind) } => write.extended_data_bytes(*kind, chunk).await.is_ok(),
            Outlet::Body(sender) => sender.send(Ok(chunk)).await.is_ok(),
            Outlet::Journal => {
                tracing::debug!(git = %String::from_utf8_lossy(&chunk).trim_end(), "git said");
                true
            }
        }
    }
}

/// Remembers when bytes last moved.
#[derive(Clone)]
pub struct Pulse {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { began: Instant::now(), last_ms: Arc::default() }
    }

    pub fn beat(&self) {
        self.last_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// A client that is cut off in the middle of its request does not read the answer: the rest is taken, for so long.
const LINGER_TIME_MAX: Duration = Duration::from_secs(15);

/// Runs the conversation; `input` feeds git and says how the client's side ended.
pub async fn hold<F>(mut running: Running, input: impl FnOnce(ChildStdin, Pulse) -> F, out: Outlet, err: Outlet) -> io::Result<Outcome>
where
    F: Future<Output = Input>,
{
    let pulse = Pulse::new();
    let gone = CancellationToken::new();
    let lingers = matches!(out, Outlet::Body(_));
    let taken = |what| io::Error::other(format!("git's {what} is taken"));
    let stdin = running.stdin.take().ok_or_else(|| taken("stdin"))?;
    let stdout = running.stdout.take().ok_or_else(|| taken("stdout"))?;
    let stderr = running.stderr.take().ok_or_else(|| taken("stderr"))?;
    let errors = AbortOnDrop(tokio::spawn(give(stderr, err, gone.clone(), pulse.clone())));
    let mut output = AbortOnDrop(tokio::spawn(give(stdout, out, gone.clone(), pulse.clone())));
    let mut input = Some(Box::pin(input(stdin, pulse.clone())));
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = &mut output.0 => break,
            ended = async { match &mut input { Some(input) => input.await, None => std::future::pending().await } } => {
                input = None;
                if ended == Input::Gone {
                    gone.cancel();
                }
            }
            () = gone.cancelled() => {
                // Dropping the input closes git's stdin.
                drop(input.take());
                let Some(push) = running.push.clone() else { return Ok(Outcome::ClientGone) };
                push.client_has_gone();
                let deadline = running.deadline;
                let rest = async {
                    let _ = (&mut output.0).await;
                    running.wait().await
                };
                if tokio::time::timeout_at(deadline, rest).await.is_err() {
                    tracing::warn!("a push whose client had gone did not end in time");
                }
                return Ok(Outcome::ClientGone);
            }
            _ = tick.tick() => if running.is_overdue() || pulse.silence() > running.idle_time_max {
                return Ok(Outcome::Overdue);
            }
        }
    }
    let mut errors = errors;
    let _ = (&mut errors.0).await;
    let code = running.wait().await?.code();
    drop(running);
    if let Some(input) = input.filter(|_| lingers) {
        let _ = tokio::time::timeout(LINGER_TIME_MAX, input).await;
    }
    Ok(Outcome::Exit(code))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn give(mut source: impl AsyncRead + Unpin, outlet: Outlet, gone: CancellationToken, pulse: Pulse) {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        match source.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let chunk = buffer.split().freeze();
        buffer.reserve(CHUNK_BYTES);
        pulse.beat();
        if gone.is_cancelled() {
            continue;
        }
        let sent = tokio::select! {
            sent = outlet.send(chunk) => sent,
            () = gone.cancelled() => false,
        };
        if sent {
            pulse.beat();
        } else {
            gone.cancel();
        }
    }
}
