//! Waiting for a condition, with a deadline and the last thing seen.
use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use slipway_scheduler::ledger::{Ledger, Machine};

/// Far beyond what a loaded machine needs; a failing condition fails here, not in a hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks until the answer is `Ok`; the last `Err` is the message of the failure.
pub async fn until<T, E: Debug, F: Future<Output = Result<T, E>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(last) if start.elapsed() > DEADLINE => panic!("{what}: not within {DEADLINE:?}; last seen: {last:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until this node may act as leader, and gives the term.
pub async fn leads<M: Machine>(ledger: &Ledger<M>) -> u64 {
    let mut leadership = ledger.leadership();
    let found = tokio::time::timeout(DEADLINE, leadership.wait_for(Option::is_some)).await;
    let Ok(Ok(term)) = found else { panic!("the node does not lead: {:?}", ledger.status()) };
    term.expect("waited for")
}
