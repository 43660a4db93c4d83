//! Variables of projects and environments.

use super::caller::Caller;
use super::{Api, parse};
use crate::chance;
use slipway_core::Command;
use slipway_core::state::{Intent, Role, Variable};
use slipway_model::hosts::environment_id;
use slipway_model::{BranchName, ProjectId};
use slipway_proto::api;
use tonic::Status;

/// Characters of a name (environment.md §4.2).
const NAME_MAX: usize = 256;
/// Bytes of a value: what one environment string may hold, with the name (the kernel's limit is 128 KiB).
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Api {
    fn scope(caller: &Caller, scope: Option<api::VariableScope>, least: Role) -> Result<(ProjectId, Option<BranchName>), Status> {
        let scope = scope.ok_or_else(|| Status::invalid_argument("name the project"))?;
        let project = parse(&scope.project)?;
        caller.at_least(&project, least)?;
        let branch = if scope.environment.is_empty() { None } else { Some(parse(&scope.environment)?) };
        Ok((project, branch))
    }

    pub(super) fn list_variables(&self, caller: &Caller, scope: api::VariableScope) -> Result<api::VariableList, Status> {
        let (project, branch) = Self::scope(caller, Some(scope), Role::Viewer)?;
        let sealed = self.office.read(|state| {
            let mut found: Vec<(String, Variable, bool)> = Vec::new();
            let of_project = state.projects.get(&project)?.variables.clone();
            match &branch {
                None => found.extend(of_project.into_iter().map(|(n, v)| (n, v, false))),
                Some(branch) => {
                    let environment = state.environments.get(&environment_id(&project, branch))?;
                    found.extend(environment.variables.clone().into_iter().map(|(n, v)| (n, v, false)));
                    let inherited = of_project.into_iter().filter(|(n, _)| !environment.variables.contains_key(n));
                    found.extend(inherited.map(|(n, v)| (n, v, true)));
                }
            }
            Some(found)
        });
        let sealed = sealed.ok_or_else(|| Status::not_found("there is no such environment; `slipway environment list` shows them"))?;
        let variables = sealed.into_iter().map(|(name, variable, inherited)| self.message(name, variable, inherited)).collect();
        Ok(api::VariableList { variables })
    }

    fn message(&self, name: String, variable: Variable, inherited: bool) -> api::Variable {
        let value = if variable.sensitive {
            String::new()
        } else {
            self.office.sealer.open_text(&variable.sealed).unwrap_or_default()
        };
        api::Variable {
            name,
            value,
            json: variable.json,
            sensitive: variable.sensitive,
            visible_build: variable.visible_build,
            visible_runtime: variable.visible_runtime,
            inheritable: variable.inheritable,
            enabled: variable.enabled,
            inherited,
            application_scope: variable.application_scope,
        }
    }

    pub(super) async fn set_variable(&self, caller: &Caller, ask: api::SetVariableRequest) -> Result<api::ActivityRef, Status> {
        let (project, branch) = Self::scope(caller, ask.scope, Role::Admin)?;
        let given = ask.variable.ok_or_else(|| Status::invalid_argument("name the variable"))?;
        let fine = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if given.name.is_empty() || given.name.len() > NAME_MAX || !given.name.chars().all(fine) {
            return Err(Status::invalid_argument(format!("a variable's name is 1 to {NAME_MAX} of A-Z a-z 0-9 . _ : -")));
        }
        if given.value.len() > VALUE_BYTES_MAX || given.value.contains('\0') {
            return Err(Status::invalid_argument(format!("a value is text of at most {} KiB", VALUE_BYTES_MAX >> 10)));
        }
        if given.json && serde_json::from_str::<serde_json::Value>(&given.value).is_err() {
            return Err(Status::invalid_argument("the value is said to be JSON, and is not"));
        }
        let variable = Variable {
            sealed: self.office.sealer.seal(&given.value),
            json: given.json,
            sensitive: given.sensitive,
            visible_build: given.visible_build,
            visible_runtime: given.visible_runtime,
            inheritable: given.inheritable,
            enabled: given.enabled,
            application_scope: given.application_scope,
        };
        self.ask(Command::SetVariable { project: project.clone(), branch: branch.clone(), name: given.name, variable }).await?;
        self.redeploy_changed(caller, project, branch).await
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, ask: api::DeleteVariableRequest) -> Result<api::ActivityRef, Status> {
        let (project, branch) = Self::scope(caller, ask.scope, Role::Admin)?;
        self.ask(Command::DeleteVariable { project: project.clone(), branch: branch.clone(), name: ask.name }).await?;
        self.redeploy_changed(caller, project, branch).await
    }

    /// An environment's variable takes effect at once; a project's with the next deployment (environment.md §4.4).
    async fn redeploy_changed(&self, caller: &Caller, project: ProjectId, branch: Option<BranchName>) -> Result<api::ActivityRef, Status> {
        let Some(branch) = branch else {
            return Ok(api::ActivityRef {
                activity: String::new(),
                note: "It takes effect with the next deployment of each environment (`slipway environment redeploy`).".into(),
            });
        };
        let environment = environment_id(&project, &branch);
        let deployed = self.office.read(|s| s.environments.get(&environment).is_some_and(|e| e.active && e.release.is_some()));
        if !deployed {
            return Ok(api::ActivityRef { activity: String::new(), note: "The environment is not deployed: nothing to do now.".into() });
        }
        let activity = chance::id("act");
        self.ask_activity(Command::Ask { activity, environment, user: caller.user.clone(), intent: Intent::Redeploy }).await
    }
}
