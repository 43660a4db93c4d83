//! `slipway`: the roles of a node and the commands of people, one binary.

mod client;
mod config;
mod roles;
mod secrets;

use clap::{Parser, Subcommand};
use config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// Build, deploy and run what is pushed, on your own machines.
#[derive(Parser)]
#[command(name = "slipway", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole platform on this machine.
    Up {
        /// Where everything is kept.
        #[arg(long, env = "SLIPWAY_DATA_DIR", default_value = "/var/lib/slipway")]
        data_dir: PathBuf,
        /// The node's file, instead of DATA_DIR/slipway.toml.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Copy the recipes of this folder into the platform's catalogue.
        #[arg(long)]
        catalogue: Option<PathBuf>,
    },
    /// Run this node's scheduler: ledger, API, git doors, console.
    Scheduler {
        #[arg(long)]
        config: PathBuf,
    },
    /// Run this node's worker: builds and containers.
    Worker {
        #[arg(long)]
        config: PathBuf,
    },
    /// Run this node's router: traffic, and SSH into applications.
    Router {
        #[arg(long)]
        config: PathBuf,
    },
    #[command(name = "__git-hook", hide = true)]
    GitHook {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    #[command(flatten)]
    Client(client::Command),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::GitHook { arguments } => slipway_git::hook_main(arguments),
        Command::Up { data_dir, config, catalogue } => role(roles::up::run(&data_dir, config, catalogue)),
        Command::Scheduler { config } => role(async {
            roles::start_logging();
            roles::scheduler::run(Config::read(&config)?).await
        }),
        Command::Worker { config } => role(async {
            roles::start_logging();
            roles::worker::run(Config::read(&config)?).await
        }),
        Command::Router { config } => role(async {
            roles::start_logging();
            roles::router::run(Config::read(&config)?).await
        }),
        Command::Client(command) => client::main(command),
    }
}

/// Runs a role; why it could not is said once, as a chain that reads like a sentence.
fn role(run: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(run);
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
