//! `slipway node` and `slipway counters`.

use super::Done;
use super::arguments::Common;
use super::door::Door;
use super::project::done;
use super::table::Table;
use super::terminal::{note, say_json};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use slipway_proto::api;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Nodes {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List schedulers, workers and routers.
    List,
    /// Give a worker no more work, and move what it runs elsewhere.
    Drain { id: String },
}

#[derive(Debug, Args)]
pub struct Counters {
    #[command(flatten)]
    common: Common,
}

impl Nodes {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        match self.command {
            Command::List => {
                let list = door.client.list_nodes(api::Empty {}).await.map_err(door.failed("list the nodes"))?.into_inner();
                if self.common.json() {
                    say_json(&list.nodes.iter().map(node_json).collect());
                } else {
                    let mut table = Table::new(["ID", "ROLE", "STATE", "ADDRESS", "VERSION", "DETAIL"]);
                    for n in &list.nodes {
                        table.row([n.id.clone(), n.role.clone(), n.state.clone(), n.address.clone(), n.version.clone(), n.detail.clone()]);
                    }
                    table.print();
                }
            }
            Command::Drain { id } => {
                door.client.drain_worker(api::IdRequest { id: id.clone() }).await.map_err(door.failed(format!("drain worker '{id}'")))?;
                done(&self.common, json!({"draining": id}), &format!("Worker {id} takes no more work. `slipway node list` shows when it is empty."));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Counters {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let list = door.client.counters(api::Empty {}).await.map_err(door.failed("read the counters"))?.into_inner();
        if self.common.json() {
            let map: Map<String, Value> = list.counters.iter().map(|c| (c.name.clone(), json!(c.value))).collect();
            say_json(&Value::Object(map));
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(["COUNTER", "VALUE"]);
        for c in &list.counters {
            table.row([c.name.clone(), c.value.to_string()]);
        }
        if table.is_empty() {
            note("Nothing was counted yet.");
        } else {
            table.print();
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn node_json(n: &api::Node) -> Value {
    json!({
        "id": n.id, "role": n.role, "state": n.state, "address": n.address, "version": n.version, "detail": n.detail, "seen_at": n.seen_at,
    })
}
