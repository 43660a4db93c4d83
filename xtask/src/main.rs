//! Our tools: `cargo xtask up | test | verify | fix | bench | soak | setup`.
//!
//! It depends on next to nothing, so that it is built in seconds on a fresh machine and installs the rest.

mod bench;
mod places;
mod run;
mod s3;
mod setup;
mod tests;
mod up;
mod verify;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  up [--data-dir DIR]   set up this machine, build, start a one-machine platform,
                        push the example shop and print its URL
  down [--purge]        end that platform; --purge removes all it made
  test [FILTER]         set up what the tests need and run all of them
  verify                the gate: format, clippy, house rules, docs, dependencies
  fix                   format and mend what clippy can mend
  bench [NAME]          benchmarks: router, validate, advisories, ledger
  soak [MINUTES]        fuzzing and long runs (10 minutes each)
  sim [--seed N]        the deployment simulation with one seed, or many
  setup                 only install what is missing
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match arguments.first().map(String::as_str) {
        Some("up") => up::up(rest),
        Some("down") => up::down(rest),
        Some("test") => tests::test(rest),
        Some("verify") => verify::verify(),
        Some("fix") => verify::fix(),
        Some("bench") => bench::bench(rest),
        Some("soak") => bench::soak(rest),
        Some("sim") => bench::sim(rest),
        Some("setup") => setup::setup(),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
