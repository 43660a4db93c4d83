//! `slipway environment`.

use super::Done;
use super::arguments::{Common, InEnvironment, Wait};
use super::door::{Door, Named};
use super::failure::Failure;
use super::follow;
use super::project::confirmed;
use super::table::{Table, moment, say_fields, short};
use super::terminal::{note, say, say_json};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Environment {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the environments of a project.
    List,
    /// Show one: URLs, containers, routes, relationships.
    Show { name: Option<String> },
    /// Deploy an inactive environment.
    Activate {
        name: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Take an environment down: its containers and data are destroyed, its branch stays.
    Deactivate {
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete an inactive environment with its branch.
    Delete {
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Deploy the branch's head again, with the variables of now.
    Redeploy {
        name: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
}

impl Environment {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let (common, place) = (&self.common, &self.place);
        match self.command {
            Command::List => {
                let project = door.project(&place.project).await?.id;
                let ask = api::ProjectRequest { project: project.clone() };
                let list = door.client.list_environments(ask).await.map_err(door.failed("list the environments"))?.into_inner();
                say_list(common, &project, &list.environments);
                Ok(ExitCode::SUCCESS)
            }
            Command::Show { name } => {
                let named = door.environment(place, name).await?;
                let environment = get(&mut door, &named).await?;
                answer(common, &environment);
                Ok(ExitCode::SUCCESS)
            }
            Command::Activate { name, wait } => {
                let named = door.environment(place, name).await?;
                let what = format!("activate environment '{}'", named.environment);
                let begun = door.client.activate_environment(named.request()).await.map_err(door.failed(what))?.into_inner();
                follow::operation(&mut door, common, begun, !wait.no_wait).await
            }
            Command::Redeploy { name, wait } => {
                let named = door.environment(place, name).await?;
                let what = format!("redeploy environment '{}'", named.environment);
                let begun = door.client.redeploy_environment(named.request()).await.map_err(door.failed(what))?.into_inner();
                follow::operation(&mut door, common, begun, !wait.no_wait).await
            }
            Command::Deactivate { name, yes, wait } => {
                let named = door.environment(place, Some(name)).await?;
                agreed(yes, &format!("Destroy the containers and all data of '{}' in project '{}'?", named.environment, named.project))?;
                let what = format!("deactivate environment '{}'", named.environment);
                let begun = door.client.deactivate_environment(named.request()).await.map_err(door.failed(what))?.into_inner();
                follow::operation(&mut door, common, begun, !wait.no_wait).await
            }
            Command::Delete { name, yes, wait } => {
                let named = door.environment(place, Some(name)).await?;
                agreed(yes, &format!("Delete environment '{}' of project '{}' with its branch?", named.environment, named.project))?;
                let what = format!("delete environment '{}'", named.environment);
                let begun = door.client.delete_environment(named.request()).await.map_err(door.failed(what))?.into_inner();
                follow::operation(&mut door, common, begun, !wait.no_wait).await
            }
        }
    }
}

fn agreed(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || confirmed(question) {
        return Ok(());
    }
    Err(Failure::new("nothing was changed", "you did not agree").help("--yes does not ask"))
}

/// One environment as the platform knows it.
pub async fn get(door: &mut Door, named: &Named) -> Result<api::Environment, Failure> {
    let what = format!("show environment '{}' of project '{}'", named.environment, named.project);
    Ok(door.client.get_environment(named.request()).await.map_err(door.failed(what))?.into_inner())
}

fn say_list(common: &Common, project: &str, environments: &[api::Environment]) {
    if common.json() {
        return say_json(&environments.iter().map(environment_json).collect());
    }
    if environments.is_empty() {
        return note(format!("No environment yet: a push to project '{project}' makes one. `slipway project show {project}` tells its URLs."));
    }
    let mut table = Table::new(["NAME", "STATUS", "COMMIT", "URL"]);
    for e in environments {
        let url = e.urls.iter().find(|url| url.starts_with("https:")).or(e.urls.first()).cloned().unwrap_or_default();
        table.row([e.name.clone(), e.status.clone(), short(&e.head_commit), url]);
    }
    table.print();
}

fn answer(common: &Common, e: &api::Environment) {
    if common.json() {
        return say_json(&environment_json(e));
    }
    let relationships: Vec<String> =
        e.relationships.iter().map(|r| format!("{}: {} -> {}:{}", r.from, r.name, r.to, r.endpoint)).collect();
    say_fields(&[
        ("environment", e.name.clone()),
        ("project", e.project.clone()),
        ("status", e.status.clone()),
        ("type", e.r#type.clone()),
        ("parent", e.parent.clone()),
        ("commit", e.head_commit.clone()),
        ("release", e.release.clone()),
        ("gate", if e.gate == "open" { String::new() } else { e.gate.clone() }),
        ("updated", moment(&e.updated_at)),
        ("SSH", e.ssh_url.clone()),
        ("URLs", e.urls.join("\n")),
        ("routes", e.routes.join("\n")),
        ("relationships", relationships.join("\n")),
    ]);
    if e.containers.is_empty() {
        return note(format!("It runs nothing. Deploy it: slipway environment activate {} --project {}", e.name, e.project));
    }
    say("\n");
    let mut table = Table::new(["CONTAINER", "KIND", "TYPE", "STATE", "SIZE", "DISK", "MEMORY", "WORKER"]);
    for c in &e.containers {
        let mb = |n: u64| if n == 0 { String::new() } else { format!("{n} MB") };
        table.row([
            c.name.clone(),
            c.kind.clone(),
            c.r#type.clone(),
            c.state.clone(),
            c.size.clone(),
            mb(c.disk_mb),
            mb(c.memory_mb),
            c.worker.clone(),
        ]);
    }
    table.print();
}

fn environment_json(e: &api::Environment) -> Value {
    let container = |c: &api::Container| {
        json!({
            "name": c.name, "kind": c.kind, "type": c.r#type, "size": c.size, "disk_mb": c.disk_mb, "memory_mb": c.memory_mb,
            "state": c.state, "worker": c.worker, "instance": c.instance, "slug": c.slug, "image": c.image,
            "address": c.address, "ssh_url": c.ssh_url,
        })
    };
    let edge = |r: &api::RelationshipEdge| json!({"from": r.from, "name": r.name, "to": r.to, "endpoint": r.endpoint});
    json!({
        "project": e.project,
        "name": e.name,
        "machine_name": e.machine_name,
        "title": e.title,
        "type": e.r#type,
        "status": e.status,
        "parent": e.parent,
        "head_commit": e.head_commit,
        "release": e.release,
        "updated_at": e.updated_at,
        "urls": e.urls,
        "ssh_url": e.ssh_url,
        "gate": e.gate,
        "containers": e.containers.iter().map(container).collect::<Vec<_>>(),
        "routes": e.routes,
        "relationships": e.relationships.iter().map(edge).collect::<Vec<_>>(),
    })
}
