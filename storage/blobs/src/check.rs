//! The start check: a store that lets two conditional puts win must not be trusted with anything.

use crate::error::{Error, Result};
use crate::store::Store;
use bytes::Bytes;
use futures::future::join_all;

/// Writers at once; every unsafe store that was tried failed at this width.
const WRITERS: usize = 16;

/// Of many writers of one new name exactly one wins, what it wrote is read back, and a late writer loses.
pub(crate) async fn conditional_puts(store: &Store) -> Result<()> {
    let name = format!("health/check-{}", unique_name());
    let verdict = race(store, &name).await;
    let _ = store.delete(&name).await;
    verdict
}

async fn race(store: &Store, name: &str) -> Result<()> {
    let value = |writer: usize| Bytes::from(format!("writer {writer}"));
    let results = join_all((0..WRITERS).map(|writer| store.put_new(name, value(writer)))).await;
    let mut winners = vec![];
    for (writer, result) in results.into_iter().enumerate() {
        if result? {
            winners.push(writer);
        }
    }
    let unsafe_store = |why: String| Err(Error::Unsafe { url: store.url().to_string(), why });
    let [winner] = winners[..] else {
        return unsafe_store(format!("{} of {WRITERS} conditional puts of one name won", winners.len()));
    };
    if store.get(name).await? != value(winner) {
        return unsafe_store("a conditional put that lost was kept".into());
    }
    if store.put_new(name, value(WRITERS)).await? || store.get(name).await? != value(winner) {
        return unsafe_store("a conditional put replaced what was there".into());
    }
    Ok(())
}

/// Two processes that check at the same time must not meet.
fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0u8; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = (u64::from(std::process::id()) << 32 | COUNT.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
    }
    data_encoding::HEXLOWER.encode(&bytes)
}
