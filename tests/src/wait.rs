//! Waiting: a condition, a deadline, and the last status in the failure.

use std::time::{Duration, Instant};

/// Looks until `look` gives a value; fails with the last status when the time is over.
pub fn until<T>(what: &str, time_max: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        let status = match look() {
            Ok(value) => return value,
            Err(status) => status,
        };
        assert!(begun.elapsed() < time_max, "{what}: not within {} s; last: {status}", time_max.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
