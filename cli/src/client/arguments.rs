//! The options that all commands share.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people.
    Text,
    /// One JSON document and nothing else on stdout.
    Json,
}

/// Where the platform is, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The platform's folder on this machine.
    #[arg(long, global = true, env = "SLIPWAY_DATA_DIR", default_value = "/var/lib/slipway", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The platform's API; by default as DATA_DIR/slipway.toml says.
    #[arg(long, global = true, env = "SLIPWAY_API", value_name = "URL")]
    pub api: Option<String>,
    /// How to answer.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

impl Common {
    pub fn json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Which project.
#[derive(Debug, Clone, Args)]
pub struct InProject {
    /// The project; by default the one that this git repository is pushed to, else the only one.
    #[arg(long, short = 'p', global = true, env = "SLIPWAY_PROJECT", value_name = "PROJECT")]
    pub project: Option<String>,
}

/// Which environment of which project.
#[derive(Debug, Clone, Args)]
pub struct InEnvironment {
    #[command(flatten)]
    pub project: InProject,
    /// The environment, by its branch; by default the current branch, else the project's default one.
    #[arg(long, short = 'e', global = true, value_name = "BRANCH")]
    pub environment: Option<String>,
}

/// Operations that make an activity show its log as it goes on.
#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// Do not follow the activity.
    #[arg(long)]
    pub no_wait: bool,
}
