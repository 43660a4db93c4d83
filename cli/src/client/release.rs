//! `slipway release` and `slipway rollback`.

use super::Done;
use super::arguments::{Common, InEnvironment, Wait};
use super::door::Door;
use super::follow;
use super::table::{Table, moment, short};
use super::terminal::{note, say_json};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Releases {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the releases of an environment that one can go back to.
    List,
}

#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    /// The release; by default the one before. `slipway release list` shows them.
    release: Option<String>,
    /// Run the release's deploy hook, which holds the traffic meanwhile.
    #[arg(long)]
    run_hooks: bool,
    /// Put back the data as it was before the deployment that is being left.
    #[arg(long)]
    with_data: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Releases {
    pub async fn run(self) -> Done {
        let Command::List = self.command;
        let mut door = Door::open(&self.common).await?;
        let named = door.environment(&self.place, None).await?;
        let list = door.client.list_releases(named.request()).await.map_err(door.failed("list the releases"))?.into_inner();
        if self.common.json() {
            say_json(&list.releases.iter().map(release_json).collect());
        } else if list.releases.is_empty() {
            note(format!("Environment '{}' was not deployed yet: a push to its branch makes the first release.", named.environment));
        } else {
            let mut table = Table::new(["RELEASE", "", "COMMIT", "CREATED", "MESSAGE"]);
            for r in &list.releases {
                let now = if r.current { "current" } else { "" };
                let message = r.message.lines().next().unwrap_or_default().to_string();
                table.row([r.id.clone(), now.into(), short(&r.commit), moment(&r.created_at), message]);
            }
            table.print();
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Rollback {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let named = door.environment(&self.place, None).await?;
        let ask = api::RollbackRequest {
            project: named.project,
            environment: named.environment.clone(),
            release: self.release.unwrap_or_default(),
            run_hooks: self.run_hooks,
            with_data: self.with_data,
        };
        let what = format!("roll environment '{}' back", named.environment);
        let begun = door.client.rollback(ask).await.map_err(door.failed(what))?.into_inner();
        follow::operation(&mut door, &self.common, begun, !self.wait.no_wait).await
    }
}

fn release_json(r: &api::Release) -> Value {
    json!({
        "id": r.id,
        "commit": r.commit,
        "created_at": r.created_at,
        "current": r.current,
        "kept": r.kept,
        "slugs": r.slugs.iter().collect::<BTreeMap<_, _>>(),
        "activity": r.activity,
        "message": r.message,
    })
}
