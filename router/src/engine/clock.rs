//! The one place of the router that asks the machine for the time.

use crate::moment::Moment;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A router whose own heartbeat is older than this was stopped or starved; it must look for a newer table
/// before it sends (F8). Far above the pauses of a loaded machine, far below the drain time of a deployment.
const STALL: Duration = Duration::from_secs(2);

/// Time since the router began, and whether it was away in between.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    pulse: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { origin: Instant::now(), pulse: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant of a moment, for timers.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        (self.origin + Duration::from_micros(moment.0)).into()
    }

    /// The heartbeat; called every 100 ms.
    pub fn beat(&self) {
        self.pulse.store(self.now().0, Ordering::Release);
    }

    /// The last heartbeat is too long ago.
    pub fn was_away(&self) -> bool {
        u128::from(self.now().since(Moment(self.pulse.load(Ordering::Acquire)))) > STALL.as_micros()
    }

    /// Microseconds of the wall clock, for people and for the skew between routers.
    pub fn unix_us() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
