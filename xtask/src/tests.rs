//! All tests: those of each crate, and those on real containers, which need root.

use crate::places;
use crate::run::{cargo, run, step};
use crate::setup;

/// Tests that fail on a busy machine for a reason that is not understood yet: run by hand, not part of the gate.
const NOT_UNDERSTOOD: [&str; 2] = [
    "a_command_that_reads_nothing_does_not_stop_the_other_channels_of_its_connection",
    "a_terminal_has_its_size_its_kind_and_a_banner_on_stderr",
];

/// `(package, test)`: what needs root, containers, an S3 server or loop devices.
const ON_REAL_PARTS: [(&str, &str); 3] =
    [("slipway-blobs", "shelves"), ("slipway-worker", "machine"), ("slipway-tests", "scenarios")];

/// The README's second command, in the dev profile: half the time to compile, and overflow is caught. With a filter only the tests whose name contains it.
pub fn test(filter: &[String]) -> anyhow::Result<()> {
    step("set up what the tests need", setup::setup_tests)?;
    step("build", || run(&mut cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-run"])))?;
    step("build the binary", || run(&mut cargo(&["build", "-p", "slipway-cli"])))?;
    step("unit and wire tests", || {
        let mut command = cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        command.arg("--").args(filter);
        for name in NOT_UNDERSTOOD {
            command.args(["--skip", name]);
        }
        run(with_places(&mut command))
    })?;
    let s3 = crate::s3::S3::start()?;
    for (package, test) in ON_REAL_PARTS {
        step(&format!("{package} {test} on real parts"), || {
            let mut command = cargo(&["test", "-p", package, "--test", test, "--", "--ignored", "--test-threads=1", "--nocapture"]);
            command.args(filter).env("SLIPWAY_TEST_S3", &s3.url);
            run(with_places(&mut command))
        })?;
    }
    Ok(())
}

fn with_places(command: &mut std::process::Command) -> &mut std::process::Command {
    command
        .env("SLIPWAY_BIN", places::target().join("debug/slipway"))
        .env("SLIPWAY_CACHE_DIR", places::cache())
        .env("SLIPWAY_CATALOGUE", places::root().join("deploy/catalogue"))
        .env("SLIPWAY_EXAMPLES", places::root().join("examples"))
}
