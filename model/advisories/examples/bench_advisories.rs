//! Measures the gate at full size: 100 000 advisories, a lock file of 2 000 packages.
//!
//! `cargo run --release -p slipway-advisories --example bench_advisories` makes the data, then loads and matches in
//! a fresh process, so that time and memory are those of the gate alone. It exits with 1 beyond 300 ms or 200 MB.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use slipway_advisories::load::{open, save};
use slipway_advisories::{Builder, Date, Preflight, collect, judge, osv};

const ADVISORIES: u32 = 100_000;
const PACKAGES: u32 = 2_000;
const TIME_MAX_MS: u128 = 300;
const MEMORY_MAX_KB: u64 = 200 * 1024;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, folder] = &arguments[..]
        && verb == "measure"
    {
        return measure(Path::new(folder));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    make(folder.path());
    let program = std::env::current_exe().expect("own program");
    let mut good = true;
    for _ in 0..ROUNDS {
        good &= Command::new(&program)
            .arg("measure")
            .arg(folder.path())
            .status()
            .expect("measure")
            .success();
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

/// Names as uneven as real ones: few packages have many advisories.
fn name(dice: &mut Dice) -> String {
    let popular = dice.roll(10) < 3;
    if popular {
        format!("lib-{}", dice.roll(2_000))
    } else {
        format!("lib-{}", dice.roll(40_000))
    }
}

fn make(folder: &Path) {
    let begun = Instant::now();
    let mut dice = Dice(0x5eed_5eed_5eed);
    let mut builder = Builder::new();
    for at in 0..ADVISORIES {
        let ecosystem =
            ["npm", "npm", "PyPI", "Packagist", "Maven", "Go", "RubyGems"][dice.roll(7) as usize];
        let (major, minor) = (dice.roll(8), dice.roll(20));
        let word = ["LOW", "MODERATE", "HIGH", "CRITICAL"][dice.roll(4) as usize];
        let mut ranges = String::new();
        for line in 0..=dice.roll(4) {
            let _ = write!(
                ranges,
                r#"{}{{"type": "ECOSYSTEM", "events": [{{"introduced": "{}.0.0"}}, {{"fixed": "{}.{minor}.{}"}}]}}"#,
                if line == 0 { "" } else { "," },
                major + line,
                major + line,
                dice.roll(30)
            );
        }
        let summary = "A crafted request lets a remote attacker read or change what they should not in versions before the fix ";
        let record = format!(
            r#"{{"id": "GHSA-{at:04}-{:04}-syn{}", "modified": "2026-05-01T00:00:00Z", "aliases": ["CVE-2026-{at}"], "summary": "{summary}{at}",
                "affected": [{{"package": {{"ecosystem": "{ecosystem}", "name": "{}"}}, "ranges": [{ranges}], "versions": ["{major}.0.1"]}}],
                "severity": [{{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"}}],
                "references": [{{"type": "ADVISORY", "url": "https://example.invalid/advisories/{at}"}}], "database_specific": {{"severity": "{word}"}}}}"#,
            dice.roll(10_000),
            dice.roll(10),
            name(&mut dice)
        );
        for one in osv::read(record.as_bytes()).expect("a record") {
            builder.add(one);
        }
    }
    let (bytes, counts) = builder
        .finish(Date::from_unix(1_780_000_000))
        .expect("finish");
    save(&folder.join("advisories.db"), &bytes).expect("save");

    let mut lock =
        r#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"lib-0": "*"}}"#.to_owned();
    for at in 0..PACKAGES {
        let _ = write!(
            lock,
            r#", "node_modules/lib-{at}": {{"version": "{}.{}.{}", "resolved": "https://example.invalid/lib-{at}.tgz", "integrity": "sha512-{at:088}", "dependencies": {{"lib-{}": "^1.0.0", "lib-{}": "^2.0.0"}}}}"#,
            dice.roll(10),
            dice.roll(20),
            dice.roll(30),
            dice.roll(PACKAGES),
            dice.roll(PACKAGES)
        );
    }
    lock.push_str("}}");
    std::fs::write(folder.join("package-lock.json"), lock).expect("lock file");
    println!(
        "made {} advisories, {} bytes, in {:?}",
        counts.advisories,
        bytes.len(),
        begun.elapsed()
    );
}

fn measure(folder: &Path) -> ExitCode {
    let begun = Instant::now();
    let database = open(&folder.join("advisories.db")).expect("database");
    let loaded = begun.elapsed();
    let locks = collect([("package-lock.json", || {
        std::fs::read(folder.join("package-lock.json"))
    })]);
    let read = begun.elapsed();
    let verdict = judge(
        &locks.packages,
        &database,
        &Preflight::default(),
        Date::from_unix(1_780_000_000),
    );
    let all = begun.elapsed();
    let memory = peak_kb();
    println!(
        "{} advisories, {} packages: load {:.0?}, lock file {:.0?}, match {:.0?}, together {:.0?}; peak {} MB; {} refused, {} warned",
        database.len(),
        verdict.packages,
        loaded,
        read - loaded,
        all - read,
        all,
        memory / 1024,
        verdict.refused.len(),
        verdict.warned.len()
    );
    assert_eq!(
        (database.len(), verdict.packages),
        (ADVISORIES as usize, PACKAGES as usize)
    );
    assert!(
        verdict.is_refused(),
        "the synthetic data hold critical ones"
    );
    if all.as_millis() < TIME_MAX_MS && memory < MEMORY_MAX_KB {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The largest resident size of this process.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
