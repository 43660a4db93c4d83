//! How much a channel has received and not passed on, and when bytes last moved.
//!
//! The SSH library opens the window again as bytes arrive, not as they are taken, and a full channel would stop
//! the whole connection: also the window updates that let the other direction move. So a channel that is behind
//! lets its window run down to a trickle of two bytes, and opens it again when it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The window of a channel that keeps up.
pub const WINDOW_BYTES: u32 = 2 << 20;
/// A channel with more than this waiting is behind.
const BEHIND_BYTES: i64 = 1 << 20;
/// The least window that still asks us again.
const TRICKLE_BYTES: u32 = 2;
/// Between two asks of a trickling client.
pub const TRICKLE_PAUSE: Duration = Duration::from_millis(2);
/// For the last bytes of a client that has gone.
const LAST_BYTES_TIME_MAX: Duration = Duration::from_secs(3);
/// Packets that a channel's queue holds before the connection waits: above what the windows allow.
pub const PACKETS_WAITING_MAX: usize = 4096;

/// Shared by the door, which receives, and the channel's task, which takes.
#[derive(Clone, Default)]
pub struct Flow {
    waiting: Arc<AtomicI64>,
    closed: CancellationToken,
}

impl Flow {
    pub fn received(&self, bytes: usize) {
        self.waiting.fetch_add(bytes as i64, Ordering::AcqRel);
    }

    /// May be told before the receipt: the sum counts, so it is below zero for a moment.
    pub fn taken(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes as i64, Ordering::AcqRel);
    }

    /// The client has closed the channel, or its connection has ended.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Resolves a while after the end: what the client sent before it is still passed on, unless nobody takes it.
    pub async fn ended(&self) {
        self.closed.cancelled().await;
        tokio::time::sleep(LAST_BYTES_TIME_MAX).await;
    }

    pub fn is_behind(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > BEHIND_BYTES
    }

    pub fn window(&self) -> u32 {
        if self.is_behind() { TRICKLE_BYTES } else { WINDOW_BYTES }
    }
}

/// When anything last moved on a connection.
#[derive(Clone)]
pub struct Pulse {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { began: Instant::now(), last_ms: Arc::default() }
    }
}

impl Pulse {
    pub fn beat(&self) {
        self.last_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}
