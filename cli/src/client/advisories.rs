//! `slipway advisories`.

use super::Done;
use super::arguments::Common;
use super::failure::Failure;
use super::terminal::{clean, note, say, say_json};
use clap::{Args, Subcommand};
use serde_json::json;
use slipway_advisories::Date;
use slipway_advisories::load;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
pub struct Advisories {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the database anew from OSV archives and folders and the FriendsOfPHP tree.
    Import {
        /// Folders, .zip, .tar.gz, .json or .yaml files; all that the database shall hold.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The database; `[git] advisories` names it to the platform. By default DATA_DIR/advisories.db.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

impl Advisories {
    pub fn run(self) -> Done {
        let Command::Import { paths, to } = self.command;
        let to = to.unwrap_or_else(|| self.common.data_dir.join("advisories.db"));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let failed = |error: load::LoadError| {
            let why = match std::error::Error::source(&error) {
                Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
                _ => error.to_string(),
            };
            Failure::blind("could not import the advisories; the database is as it was", why)
        };
        let (bytes, counts) = load::import(&paths, Date::from_unix(seconds)).map_err(failed)?;
        load::save(&to, &bytes).map_err(failed)?;
        if self.common.json() {
            say_json(&json!({"file": to, "bytes": bytes.len(), "counts": counts}));
            return Ok(ExitCode::SUCCESS);
        }
        say(format!("{} advisories in {} ({} KB)\n", counts.advisories, to.display(), bytes.len() >> 10));
        say(format!(
            "left out: {} withdrawn, {} of other ecosystems, {} met twice, {} unreadable\n",
            counts.withdrawn, counts.foreign, counts.repeated, counts.broken
        ));
        for complaint in &counts.complaints {
            note(format!("W: {}", clean(complaint)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
