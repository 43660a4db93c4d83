//! How much a channel has received and not passed on, and when bytes last moved.
//!
//! The SSH library opens the window again as bytes arrive, not as they are taken, and a full channel would stop
//! the whole connection: also the window updates that let the other direction move. So a channel that is behind
//! lets its window run down to a trickle of two bytes, and opens it again when it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The window of a channel that keeps up.
pub const WINDOW_BYTES: u32 = 2 << 20;
/// A channel with more than this waiting is behind.
const BEHIND_BYTES: i64 = 1 << 20;
/// The least window that still asks us again.
const TRICKLE_BYTES: u32 = 2;
/// Between two asks of a trickling client.
pub const TRICKLE_PAUSE: Duration = Duration::from_millis(2);
/// Packets that a channel's queue holds before the connection waits: above what the windows allow.
pub const PACKETS_WAITING_MAX: usize = 4096;

/// Shared by the door, which receives, and the channel's task, which takes.
#[derive(Clone, Default)]
pub struct Flow(Arc<AtomicI64>);

impl Flow {
    pub fn received(&self, bytes: usize) {
        self.0.fetch_add(bytes as i64, Ordering::AcqRel);
    }

    /// May be told before the receipt: the sum counts, so it is below zero for a moment.
    pub fn taken(&self, bytes: usize) {
        self.0.fetch_sub(bytes as i64, Ordering::AcqRel);
    }

    pub fn is_behind(&self) -> bool {
        self.0.load(Ordering::Acquire) > BEHIND_BYTES
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
