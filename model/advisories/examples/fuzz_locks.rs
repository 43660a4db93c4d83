//! Feeds broken lock files and records to every reader for a while: `--seconds N`, `--seed N`.
//!
//! A panic, an answer that takes longer than two seconds, or a package beyond the bounds ends it with the input kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use slipway_advisories::{Database, Ecosystem, Version, friends, lock, osv};

/// Far above what any input of this size needs, also on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Inputs grow by splicing; beyond this they are cut.
const INPUT_BYTES_MAX: usize = 64 << 10;

const SEEDS: [(&str, &str); 19] = [
    (
        "composer.lock",
        r#"{"packages": [{"name": "a/b", "version": "v1.0.0-beta2", "require": {"c/d": "*"}, "replace": []}], "packages-dev": null}"#,
    ),
    (
        "composer.lock",
        r#"{"packages": [{"name": "c/d", "version": "dev-master"}], "packages-dev": [{"name": "a/b", "version": "1.x-dev"}]}"#,
    ),
    (
        "package-lock.json",
        r#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": "1"}}, "node_modules/a": {"version": "1.0.0", "dependencies": {"b": "2"}}, "node_modules/a/node_modules/b": {"version": "2.0.0", "dev": true}, "node_modules/w": {"resolved": "packages/w", "link": true}, "packages/w": {"dependencies": {"a": "1"}}}}"#,
    ),
    (
        "package-lock.json",
        r#"{"lockfileVersion": 1, "dependencies": {"a": {"version": "npm:b@1.0.0", "requires": {"c": "1"}, "dependencies": {"c": {"version": "1.0.0"}}}, "c": {"version": "2.0.0", "requires": true}}}"#,
    ),
    (
        "yarn.lock",
        "# yarn lockfile v1\n\"@a/b@^1\", \"@a/b@npm:c@2\":\n  version \"1.0.0\"\n  dependencies:\n    d \"1\"\n\nd@1:\n  version \"1.2.3\"\n",
    ),
    (
        "yarn.lock",
        "__metadata:\n  version: 6\n\n\"a@npm:^1\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n  dependencies:\n    b: ^1\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"app@workspace:.\"\n",
    ),
    (
        "pnpm-lock.yaml",
        "lockfileVersion: 5.4\ndependencies:\n  a: 1.0.0\npackages:\n  /@s/a/1.0.0_p@2:\n    dev: true\n    dependencies:\n      b: 1.0.0\n  host/b/1.0.0: &x {dev: false}\n  /c/1.0.0: *x\n",
    ),
    (
        "pnpm-lock.yaml",
        "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n        version: 1.0.0(b@2.0.0)\npackages:\n  a@1.0.0: {}\nsnapshots:\n  a@1.0.0(b@2.0.0):\n    dependencies: {b: 2.0.0}\n  b@2.0.0: {}\n",
    ),
    (
        "requirements.txt",
        "a==1.0 ; x\nB[c]==2.0rc1 \\\n  --hash=sha256:0\n-r x\nd===1!2.post3\n",
    ),
    (
        "Pipfile.lock",
        r#"{"default": {"a": {"version": "==1.0"}}, "develop": {"b": {"version": "==2", "markers": "x"}}}"#,
    ),
    (
        "poetry.lock",
        "[[package]]\nname = \"a\"\nversion = \"1.0\"\ngroups = [\"main\"]\n[package.dependencies]\nb = {version = \">1\"}\n[[package]]\nname = \"b\"\nversion = \"2\"\n",
    ),
    (
        "uv.lock",
        "version = 1\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { virtual = \".\" }\ndependencies = [{ name = \"b\" }]\n[[package]]\nname = \"b\"\nversion = \"2\"\n",
    ),
    (
        "Gemfile.lock",
        "GEM\n  specs:\n    a (1.0-x86)\n      b (~> 1)\n    b (1.0.a)\n\nDEPENDENCIES\n  a!\n",
    ),
    (
        "go.mod",
        "module x\ngo 1.21.3\nrequire (\n\ta v1.0.0 // indirect\n\tb v1.0.0\n)\nreplace a => ./a\nreplace b v1.0.0 => c v2.0.0\ntoolchain go1.22rc1\n",
    ),
    (
        "go.sum",
        "a v1.0.0 h1:x=\na v1.0.0/go.mod h1:x=\na v1.0.1-0.20200101000000-abcdefabcdef h1:x=\n",
    ),
    ("gradle.lockfile", "# x\na:b:1.0=c\nempty=\n"),
    (
        "Cargo.lock",
        "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\"b 1.0.0 (registry)\"]\n",
    ),
    (
        "osv.json",
        r#"{"id": "X-1", "modified": "2026-01-01T00:00:00Z", "withdrawn": null, "aliases": ["CVE-1"], "affected": [{"package": {"ecosystem": "npm", "name": "a"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1"}]}], "versions": ["1"]}], "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}], "database_specific": {"cvss": {"score": 9.8}}}"#,
    ),
    (
        "friends.yaml",
        "title: A - Highly critical - B\nlink: https://www.drupal.org/sa-core-2018-002\ncve: CVE-2018-7600\nbranches:\n    7.x:\n        time: 2018-03-28 19:30:00\n        versions: ['>=7.0','<7.58']\nreference: composer://drupal/core\n",
    ),
];

const PIECES: [&str; 30] = [
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\n",
    " ",
    "  ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "|\n",
    "\\u0000",
    "\u{feff}",
    "@",
    "/",
    "node_modules/",
    "()",
    "=>",
    "99999999999999999999",
    "é",
    "0x",
    "null",
    "-dev",
];

/// Numbers that look like chance; a seed gives the same run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides.max(1)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, other: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1))
            .and_then(|number| number.parse().ok())
            .unwrap_or(other)
    };
    let (seconds, seed) = (number("--seconds", 10), number("--seed", 1));
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut runs, mut whole, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    while Instant::now() < end {
        let (name, seed) = SEEDS[dice.roll(SEEDS.len())];
        let input = mutate(&mut dice, seed.as_bytes());
        let begun = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| feed(name, &input)));
        let took = begun.elapsed();
        runs += 1;
        slowest = slowest.max(took);
        match answer {
            Ok(Ok(read)) => whole += u64::from(read),
            Ok(Err(why)) => return finding(name, &input, &why),
            Err(_) => return finding(name, &input, "panic"),
        }
        if took > ANSWER_MAX {
            return finding(name, &input, &format!("took {took:?}"));
        }
    }
    println!(
        "{runs} inputs in {seconds} s, {whole} of them read as whole, slowest {slowest:?}, no finding"
    );
    ExitCode::SUCCESS
}

/// Gives the input to its reader; true when it was accepted.
fn feed(name: &str, input: &[u8]) -> Result<bool, String> {
    match name {
        "osv.json" => Ok(osv::read(input).is_ok()),
        "friends.yaml" => Ok(friends::read("a/b/c.yaml", input).is_ok()),
        _ => match lock::read(name, input, Some(input)) {
            Err(problem) if problem.message.is_empty() || problem.remedy.is_empty() => {
                Err("a problem without a text".to_owned())
            }
            Err(_) => {
                // The bytes are also nonsense as a database, and must be told to be.
                if Database::from_bytes(input.to_vec()).is_ok() {
                    Err("taken for a database".to_owned())
                } else {
                    Ok(false)
                }
            }
            Ok(packages) => {
                for package in &packages {
                    if package.via.len() > 16
                        || package.name.is_empty()
                        || package.version.is_empty()
                    {
                        return Err(format!("beyond the bounds: {package:?}"));
                    }
                    for ecosystem in Ecosystem::ALL {
                        let parsed = Version::parse(ecosystem, &package.version);
                        if parsed != parsed.clone() {
                            return Err(format!("{} is not equal to itself", package.version));
                        }
                    }
                }
                Ok(true)
            }
        },
    }
}

fn mutate(dice: &mut Dice, seed: &[u8]) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        let end = (at + dice.roll(24)).min(input.len());
        match dice.roll(7) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = PIECES[dice.roll(PIECES.len())].repeat(1 + dice.roll(3));
                drop(input.splice(at..at, piece.into_bytes()));
            }
            2 => {
                let copy = input[at..end].repeat(1 + dice.roll(200));
                drop(input.splice(at..at, copy));
            }
            3 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            4 => input.truncate(at),
            5 => {
                let (_, other) = SEEDS[dice.roll(SEEDS.len())];
                let from = dice.roll(other.len());
                drop(input.splice(at..end, other.as_bytes()[from..].iter().copied()));
            }
            _ => {
                let piece = PIECES[dice.roll(PIECES.len())].repeat(1 + dice.roll(3_000));
                drop(input.splice(at..at, piece.into_bytes()));
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn finding(name: &str, input: &[u8], why: &str) -> ExitCode {
    let path = std::env::temp_dir().join(format!("fuzz-finding-{name}"));
    let kept = std::fs::write(&path, input)
        .map_or_else(|error| error.to_string(), |()| path.display().to_string());
    eprintln!("FINDING in {name}: {why}; input kept: {kept}");
    ExitCode::FAILURE
}
