//! Prints commits per second and latencies of a ledger of one node: `cargo run --release --example ledger_bench [DIR]`.
use std::time::{Duration, Instant};

use slipway_scheduler::ledger::{Ledger, Machine, Options};

/// Keeps the last command only: what is measured is the ledger.
struct Last(Vec<u8>);

impl Machine for Last {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        self.0 = command.to_vec();
        index.to_be_bytes().to_vec()
    }
    fn save(&self) -> Vec<u8> {
        self.0.clone()
    }
    fn load(bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(bytes.to_vec()))
    }
    fn fresh() -> Self {
        Self(Vec::new())
    }
}

const COMMAND_BYTES: usize = 512;
const RUN_TIME: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "ledger-bench".into());
    let ledger = Ledger::<Last>::open(Options::new(&dir, 1, "127.0.0.1:1")).await?;
    ledger.initialize_if_fresh().await?;
    ledger.leadership().wait_for(Option::is_some).await?;
    println!("idle: {}", memory());
    for concurrency in [1, 8, 64, 256] {
        let before = ledger.status();
        let start = Instant::now();
        let callers = (0..concurrency).map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < RUN_TIME {
                    let asked = Instant::now();
                    ledger.propose(vec![b'x'; COMMAND_BYTES]).await?;
                    times.push(asked.elapsed());
                }
                anyhow::Ok(times)
            })
        });
        let mut times = Vec::new();
        for caller in callers.collect::<Vec<_>>() {
            times.append(&mut caller.await??);
        }
        let took = start.elapsed();
        let after = ledger.status();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "concurrency {concurrency:>3}: {:>8.0} commits/s, p50 {:?}, p99 {:?}, max {:?}, {} entries, {} syncs",
            times.len() as f64 / took.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(1.0),
            after.last_entry.unwrap_or(0) - before.last_entry.unwrap_or(0),
            after.disk_syncs - before.disk_syncs,
        );
    }
    println!("after: {}", memory());
    ledger.shutdown().await
}

/// What this process holds in memory, as the kernel counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
