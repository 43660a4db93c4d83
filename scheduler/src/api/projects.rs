//! Projects.

use super::caller::{Caller, name};
use super::times::rfc3339;
use super::{Api, parse};
use crate::chance;
use slipway_core::Command;
use slipway_core::state::{Project, Role};
use slipway_model::ProjectId;
use slipway_proto::api;
use std::collections::BTreeMap;
use tonic::Status;

/// Settings that a project has, with what they mean.
pub const SETTINGS: [(&str, &str); 8] = [
    ("strict_configuration", "true or false: unknown keys are errors; the flavour decides where it is not set"),
    ("deploy_hook_failure", "`ignore`: a failing deploy hook does not undo the deployment"),
    ("plan_storage_mb", "megabytes that all disks together may have (5120)"),
    ("push_size_hard_limit_mb", "megabytes that one push may bring (500)"),
    ("hold_time_max", "seconds that a request is held during a freeze (60)"),
    ("hook_time_max", "seconds that a deploy hook may run (3600)"),
    ("consent", "`destroy`: data may be destroyed without asking"),
    ("timezone", "of the project, for people"),
];

impl Api {
    pub(super) async fn create_project(&self, caller: &Caller, ask: api::CreateProjectRequest) -> Result<api::Project, Status> {
        caller.platform_admin()?;
        let id: ProjectId = if ask.id.is_empty() { parse(&chance::word(13))? } else { parse(&ask.id)? };
        let branch = if ask.default_branch.is_empty() { "main" } else { &ask.default_branch };
        let flavour = match ask.flavour.as_str() {
            "" => None,
            flavour => Some(
                slipway_manifest::Flavour::parse(flavour)
                    .ok_or_else(|| Status::invalid_argument(format!("'{flavour}' is no flavour: magento, platform or upsun")))?
                    .name()
                    .to_string(),
            ),
        };
        let project = Project {
            title: if ask.title.is_empty() { id.to_string() } else { ask.title.chars().take(200).collect() },
            default_branch: parse(branch)?,
            flavour,
            created_at: chance::now_ms(),
            settings: BTreeMap::new(),
            entropy: chance::word(56),
            refs: BTreeMap::new(),
            packs: BTreeMap::new(),
            pack_generation: 0,
            variables: BTreeMap::new(),
        };
        self.ask(Command::CreateProject { id: id.clone(), project, creator: caller.user.clone() }).await?;
        self.project(caller, &id)
    }

    pub(super) fn project(&self, caller: &Caller, id: &ProjectId) -> Result<api::Project, Status> {
        caller.at_least(id, Role::Viewer)?;
        let role = caller.role(id).map(name).unwrap_or_default().to_string();
        let options = &self.office.options;
        self.office
            .read(|state| {
                state.projects.get(id).map(|project| api::Project {
                    id: id.to_string(),
                    title: project.title.clone(),
                    default_branch: project.default_branch.to_string(),
                    flavour: project.flavour.clone().unwrap_or_default(),
                    git_ssh_url: format!("ssh://{id}@{}/{id}.git", options.git_ssh_address),
                    git_http_url: format!("{}/{id}.git", options.git_http_url),
                    created_at: rfc3339(project.created_at),
                    settings: project.settings.clone().into_iter().collect(),
                    role,
                })
            })
            .ok_or_else(|| Status::not_found(format!("there is no project '{id}'; `slipway project list` shows them")))
    }

    pub(super) fn list_projects(&self, caller: &Caller) -> api::ProjectList {
        let ids: Vec<ProjectId> = self.office.read(|state| state.projects.keys().cloned().collect());
        api::ProjectList { projects: ids.iter().filter_map(|id| self.project(caller, id).ok()).collect() }
    }

    pub(super) async fn update_project(&self, caller: &Caller, ask: api::UpdateProjectRequest) -> Result<api::Project, Status> {
        let id: ProjectId = parse(&ask.project)?;
        caller.at_least(&id, Role::Admin)?;
        for (key, value) in &ask.settings {
            if !SETTINGS.iter().any(|(known, _)| known == key) {
                let known: Vec<_> = SETTINGS.iter().map(|(k, _)| *k).collect();
                return Err(Status::invalid_argument(format!("there is no setting '{key}'; there are {}", known.join(", "))));
            }
            let number = key.ends_with("_mb") || key.ends_with("_max");
            if number && !value.is_empty() && value.parse::<u64>().is_err() {
                return Err(Status::invalid_argument(format!("setting '{key}' is a number, not '{value}'")));
            }
        }
        let title = (!ask.title.is_empty()).then_some(ask.title);
        self.ask(Command::UpdateProject { id: id.clone(), title, settings: ask.settings.into_iter().collect() }).await?;
        self.project(caller, &id)
    }

    pub(super) async fn delete_project(&self, caller: &Caller, id: &ProjectId) -> Result<api::Empty, Status> {
        caller.at_least(id, Role::Admin)?;
        self.ask(Command::DeleteProject { id: id.clone() }).await?;
        Ok(api::Empty {})
    }
}
