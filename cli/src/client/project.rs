//! `slipway project`.

use super::Done;
use super::arguments::{Common, InProject};
use super::door::Door;
use super::failure::Failure;
use super::table::{Table, moment, say_fields};
use super::terminal::{note, say, say_json};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use slipway_proto::api;
use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Project {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InProject,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a project; its clone URLs are the answer.
    Create {
        /// What people call it.
        #[arg(long, default_value = "")]
        title: String,
        /// Its id, part of every address; by default 13 random characters.
        #[arg(long, default_value = "")]
        id: String,
        /// The branch that is deployed from the first push on (main).
        #[arg(long, default_value = "", value_name = "BRANCH")]
        default_branch: String,
        /// magento, platform or upsun; by default as the first push says.
        #[arg(long, default_value = "")]
        flavour: String,
    },
    /// List your projects.
    List,
    /// Show one project.
    Show { name: Option<String> },
    /// Change title and settings.
    Set {
        /// KEY=VALUE of each setting; an empty value takes it away.
        #[arg(value_parser = setting, value_name = "KEY=VALUE")]
        settings: Vec<(String, String)>,
        #[arg(long, default_value = "")]
        title: String,
    },
    /// Delete a project with everything in it.
    Delete {
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Give somebody a role in the project, or take it away.
    Grant { user: String, role: Role },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Viewer,
    Contributor,
    Admin,
    /// Takes the role away.
    None,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Contributor => "contributor",
            Role::Admin => "admin",
            Role::None => "",
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is no KEY=VALUE"))?;
    Ok((key.trim().to_string(), value.to_string()))
}

impl Project {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        match self.command {
            Command::Create { title, id, default_branch, flavour } => {
                let ask = api::CreateProjectRequest { title, id, default_branch, flavour };
                let made = door.client.create_project(ask).await.map_err(door.failed("make a project"))?.into_inner();
                answer(&self.common, &made);
                if !self.common.json() {
                    note(format!("Next: git remote add slipway {}\n      git push slipway {}", made.git_ssh_url, made.default_branch));
                }
            }
            Command::List => {
                let list = door.client.list_projects(api::Empty {}).await.map_err(door.failed("list the projects"))?.into_inner();
                say_list(&self.common, &list.projects);
            }
            Command::Show { name } => {
                let project = match name {
                    Some(name) => door.named_project(name).await?,
                    None => door.project(&self.place).await?,
                };
                answer(&self.common, &project);
            }
            Command::Set { settings, title } => {
                if settings.is_empty() && title.is_empty() {
                    return Err(Failure::blind("nothing to set", "neither a setting nor a title is given")
                        .help("slipway project set deploy_hook_failure=ignore --title \"My shop\""));
                }
                let project = door.project(&self.place).await?.id;
                let ask = api::UpdateProjectRequest { project, title, settings: settings.into_iter().collect::<HashMap<_, _>>() };
                let project = door.client.update_project(ask).await.map_err(door.failed("change the project"))?.into_inner();
                answer(&self.common, &project);
            }
            Command::Delete { name, yes } => {
                if !yes && !confirmed(&format!("Delete project '{name}', its repository and all data of its environments?")) {
                    return Err(Failure::new("nothing was deleted", "you did not agree").help("--yes does not ask"));
                }
                let ask = api::ProjectRequest { project: name.clone() };
                door.client.delete_project(ask).await.map_err(door.failed(format!("delete project '{name}'")))?;
                done(&self.common, json!({"deleted": name}), &format!("Project '{name}' is deleted."));
            }
            Command::Grant { user, role } => {
                let project = door.project(&self.place).await?.id;
                let ask = api::GrantAccessRequest { project: project.clone(), user: user.clone(), role: role.name().into() };
                door.client.grant_access(ask).await.map_err(door.failed("change the access"))?;
                let text = match role {
                    Role::None => format!("'{user}' has no role in project '{project}' any more."),
                    role => format!("'{user}' has the role '{}' in project '{project}'.", role.name()),
                };
                done(&self.common, json!({"project": project, "user": user, "role": role.name()}), &text);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a person at a terminal agrees; a script has said what it wants.
pub fn confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return true;
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

/// The answer of a deed without a result of its own.
pub fn done(common: &Common, json: Value, text: &str) {
    if common.json() {
        say_json(&json);
    } else {
        say(format!("{text}\n"));
    }
}

fn say_list(common: &Common, projects: &[api::Project]) {
    if common.json() {
        return say_json(&projects.iter().map(project_json).collect());
    }
    if projects.is_empty() {
        return note("No project yet. Make one: slipway project create --title \"My project\"");
    }
    let mut table = Table::new(["ID", "TITLE", "BRANCH", "ROLE", "CREATED"]);
    for p in projects {
        table.row([p.id.clone(), p.title.clone(), p.default_branch.clone(), p.role.clone(), moment(&p.created_at)]);
    }
    table.print();
}

fn answer(common: &Common, project: &api::Project) {
    if common.json() {
        return say_json(&project_json(project));
    }
    let settings: BTreeMap<_, _> = project.settings.iter().collect();
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    say_fields(&[
        ("id", project.id.clone()),
        ("title", project.title.clone()),
        ("default branch", project.default_branch.clone()),
        ("flavour", project.flavour.clone()),
        ("your role", project.role.clone()),
        ("created", moment(&project.created_at)),
        ("git over SSH", project.git_ssh_url.clone()),
        ("git over HTTP", project.git_http_url.clone()),
        ("settings", settings.join("\n")),
    ]);
}

fn project_json(project: &api::Project) -> Value {
    json!({
        "id": project.id,
        "title": project.title,
        "default_branch": project.default_branch,
        "flavour": project.flavour,
        "git_ssh_url": project.git_ssh_url,
        "git_http_url": project.git_http_url,
        "created_at": project.created_at,
        "settings": project.settings.iter().collect::<BTreeMap<_, _>>(),
        "role": project.role,
    })
}
