//! The commands of people: each asks the platform's API, or looks at a folder, and says what it found.

mod activity;
mod advisories;
mod arguments;
mod door;
mod down;
mod environment;
mod explain;
mod failure;
mod folder;
mod follow;
mod key;
mod node;
mod plan;
mod project;
mod release;
mod repository;
mod ssh;
mod table;
mod terminal;
mod token;
mod validate;
mod variable;

use clap::Subcommand;
use failure::Failure;
use std::process::ExitCode;

/// How a command ended: its exit status, or why it could not.
type Done = Result<ExitCode, Failure>;

/// What people may ask, beside the roles of a node.
#[derive(Subcommand)]
pub enum Command {
    /// Projects: repositories with their environments.
    Project(project::Project),
    /// Environments: branches that are, or may be, deployed.
    #[command(visible_alias = "env")]
    Environment(environment::Environment),
    /// Variables of a project, or with -e of one environment.
    Variable(variable::Variable),
    /// Operations and their logs.
    Activity(activity::Activity),
    /// What was deployed, and may be again.
    Release(release::Releases),
    /// Go back to a kept release: no build, no hook, data untouched.
    Rollback(release::Rollback),
    /// Open a shell in a running application, or run a command there.
    Ssh(ssh::Ssh),
    /// SSH keys, for git and for applications.
    Key(key::Keys),
    /// Tokens, for the API, the console and git over HTTP.
    Token(token::Tokens),
    /// The machines of the platform.
    Node(node::Nodes),
    /// What the platform has counted since its start.
    Counters(node::Counters),
    /// Judge the configuration in a folder as a push would, without a server.
    Validate(validate::Validate),
    /// Show what a push would change, from one folder to another, without a server.
    Plan(plan::Plan),
    /// Tell more about the code of a complaint.
    Explain(explain::Explain),
    /// Print the JSON Schemas of the configuration files, for editors.
    Schema(explain::Schema),
    /// The database of known vulnerabilities.
    Advisories(advisories::Advisories),
    /// End the platform on this machine; applications run on, unless --purge removes everything.
    Down(down::Down),
}

/// Runs a command to its end.
pub fn main(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new("could not start", error).report(),
    };
    let done = runtime.block_on(run(command));
    runtime.shutdown_background();
    done.unwrap_or_else(|failure| failure.report())
}

async fn run(command: Command) -> Done {
    match command {
        Command::Project(command) => command.run().await,
        Command::Environment(command) => command.run().await,
        Command::Variable(command) => command.run().await,
        Command::Activity(command) => command.run().await,
        Command::Release(command) => command.run().await,
        Command::Rollback(command) => command.run().await,
        Command::Ssh(command) => command.run().await,
        Command::Key(command) => command.run().await,
        Command::Token(command) => command.run().await,
        Command::Node(command) => command.run().await,
        Command::Counters(command) => command.run().await,
        Command::Validate(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Advisories(command) => command.run(),
        Command::Down(command) => command.run().await,
    }
}
