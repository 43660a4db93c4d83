//! Benchmarks print ratios against a peer in the same run; soak runs what is longer than the suite.

use crate::run::{cargo, run, step};
use anyhow::bail;

/// `(name, package, example)`.
const BENCHES: [(&str, &str, &str); 4] = [
    ("router", "slipway-router", "bench_proxy"),
    ("validate", "slipway-manifest", "bench_validate"),
    ("advisories", "slipway-advisories", "bench_advisories"),
    ("ledger", "slipway-scheduler", "ledger_bench"),
];
/// `(name, package, example)`: run with `--seconds N`.
const FUZZERS: [(&str, &str, &str); 2] = [
    ("configuration", "slipway-manifest", "fuzz_config"),
    ("lock files", "slipway-advisories", "fuzz_locks"),
];

/// One benchmark or all.
pub fn bench(arguments: &[String]) -> anyhow::Result<()> {
    crate::setup::setup_tests()?;
    let wanted = arguments.first();
    let chosen: Vec<_> = BENCHES.iter().filter(|(name, ..)| wanted.is_none_or(|w| w == name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = BENCHES.iter().map(|(name, ..)| *name).collect();
        bail!("there is no benchmark '{}'; there are {}", wanted.map_or("", String::as_str), names.join(", "));
    }
    for (name, package, example) in chosen {
        step(&format!("bench {name}"), || run(&mut cargo(&["run", "--release", "-p", package, "--example", example])))?;
    }
    Ok(())
}

/// Fuzzers for so many minutes each, and long simulations.
pub fn soak(arguments: &[String]) -> anyhow::Result<()> {
    crate::setup::setup_tests()?;
    let minutes: u64 = arguments.first().map_or(Ok(10), |m| m.parse())?;
    let seconds = (minutes * 60).to_string();
    for (name, package, example) in FUZZERS {
        step(&format!("fuzz {name} for {minutes} minutes"), || {
            run(&mut cargo(&["run", "--release", "-p", package, "--example", example, "--", "--seconds", &seconds]))
        })?;
    }
    step("simulation, many seeds", || run(cargo(&["test", "--release", "-p", "slipway-core", "--test", "sim"]).env("SLIPWAY_SIM_SEEDS", "200000")))
}

/// One seed, or as many as the suite runs.
pub fn sim(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = cargo(&["test", "--release", "-p", "slipway-core", "--test", "sim", "--", "--nocapture"]);
    if let Some(seed) = arguments.iter().position(|a| a == "--seed").and_then(|n| arguments.get(n + 1)) {
        command.env("SLIPWAY_SIM_SEED", seed);
    }
    run(&mut command)
}
