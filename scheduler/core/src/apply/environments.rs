//! Projects, environments, variables, volumes.

use crate::command::Reply;
use crate::state::*;
use slipway_model::hosts::environment_id;
use slipway_model::instance::Target;
use slipway_model::route::Gate;
use slipway_model::*;
use std::collections::BTreeMap;

/// Projects in one cell; the ledger was sized for it.
const PROJECTS_MAX: usize = 10_000;
/// Variables of one project or environment.
const VARIABLES_MAX: usize = 1_000;

pub(super) fn create_project(state: &mut ClusterState, id: ProjectId, project: Project, creator: String) -> Reply {
    if state.projects.contains_key(&id) {
        return Reply::refused(format!("there is a project '{id}' already; choose another id"));
    }
    if state.projects.len() >= PROJECTS_MAX {
        return Reply::refused(format!("this platform holds at most {PROJECTS_MAX} projects"));
    }
    state.projects.insert(id.clone(), project);
    state.users.entry(creator).or_default().roles.insert(id, Role::Admin);
    Reply::Done
}

pub(super) fn update_project(
    state: &mut ClusterState,
    id: &ProjectId,
    title: Option<String>,
    settings: BTreeMap<String, String>,
) -> Reply {
    let Some(project) = state.projects.get_mut(id) else {
        return Reply::refused(format!("there is no project '{id}'"));
    };
    if let Some(title) = title {
        project.title = title;
    }
    for (key, value) in settings {
        if value.is_empty() {
            project.settings.remove(&key);
        } else {
            project.settings.insert(key, value);
        }
    }
    Reply::Done
}

pub(super) fn delete_project(state: &mut ClusterState, id: &ProjectId) -> Reply {
    if let Some(environment) = state.environments.values().find(|e| &e.project == id && e.active) {
        return Reply::refused(format!(
            "environment '{}' is active; take it down with `slipway environment deactivate {}`",
            environment.branch, environment.branch
        ));
    }
    if state.projects.remove(id).is_none() {
        return Reply::refused(format!("there is no project '{id}'"));
    }
    state.environments.retain(|_, e| &e.project != id);
    state.activities.retain(|_, a| &a.project != id);
    for user in state.users.values_mut() {
        user.roles.remove(id);
    }
    Reply::Done
}

pub(super) fn set_variable(
    state: &mut ClusterState,
    project: &ProjectId,
    branch: Option<BranchName>,
    name: String,
    variable: Option<Variable>,
) -> Reply {
    let variables = match &branch {
        None => state.projects.get_mut(project).map(|p| &mut p.variables),
        Some(branch) => state.environments.get_mut(&environment_id(project, branch)).map(|e| &mut e.variables),
    };
    let Some(variables) = variables else {
        return Reply::refused(match branch {
            Some(branch) => format!("there is no environment '{branch}'; `slipway environment list` shows them"),
            None => format!("there is no project '{project}'"),
        });
    };
    match variable {
        Some(mut variable) => {
            if !variables.contains_key(&name) && variables.len() >= VARIABLES_MAX {
                return Reply::refused(format!("at most {VARIABLES_MAX} variables fit here"));
            }
            // Sensitive is one-way.
            variable.sensitive |= variables.get(&name).is_some_and(|v| v.sensitive);
            variables.insert(name, variable);
        }
        None => {
            if variables.remove(&name).is_none() {
                return Reply::refused(format!("there is no variable '{name}' here; `slipway variable list` shows them"));
            }
        }
    }
    Reply::Done
}

pub(super) fn set_credential(state: &mut ClusterState, environment: &EnvironmentId, name: String, sealed: String) -> Reply {
    if let Some(environment) = state.environments.get_mut(environment) {
        // The first one stands: services were made with it.
        environment.credentials.entry(name).or_insert(sealed);
    }
    Reply::Done
}

pub(super) fn add_volume(state: &mut ClusterState, id: VolumeId, volume: Volume) -> Reply {
    let Some(environment) = state.environments.get_mut(&volume.environment) else {
        return Reply::refused("the environment is gone");
    };
    match environment.volumes.get(&volume.container) {
        Some(_) => Reply::Done,
        None => {
            environment.volumes.insert(volume.container.clone(), id.clone());
            state.volumes.insert(id, volume);
            Reply::Done
        }
    }
}

pub(super) fn forget_volumes(state: &mut ClusterState, ids: &[VolumeId]) -> Reply {
    for id in ids {
        if state.volumes.get(id).is_some_and(|v| v.condemned) {
            state.volumes.remove(id);
        }
    }
    Reply::Done
}

/// The environment's containers and data go; the branch stays.
pub(super) fn deactivated(state: &mut ClusterState, id: &EnvironmentId, _activity: &ActivityId) -> Reply {
    let Some(environment) = state.environments.get_mut(id) else {
        return Reply::refused("the environment is gone");
    };
    environment.active = false;
    environment.release = None;
    environment.kept.clear();
    environment.serving.clear();
    environment.snapshot = None;
    environment.gate = Gate::Open;
    environment.epoch.0 += 1;
    environment.updated_at = state.now;
    environment.credentials.clear();
    let volumes = std::mem::take(&mut environment.volumes);
    for volume in volumes.values() {
        if let Some(volume) = state.volumes.get_mut(volume) {
            volume.condemned = true;
        }
    }
    for instance in state.instances.values_mut().filter(|i| &i.spec.environment == id) {
        instance.retired = true;
        instance.spec.ingress = None;
        instance.spec.target = Target::Stopped;
    }
    state.releases.retain(|_, r| &r.environment != id);
    state.deployments.retain(|_, d| &d.environment != id || !d.phase.is_final());
    state.generation += 1;
    state.table_version += 1;
    Reply::Done
}

pub(super) fn deleted(state: &mut ClusterState, id: &EnvironmentId) -> Reply {
    let Some(environment) = state.environments.get(id) else { return Reply::Done };
    if environment.active {
        return Reply::refused("the environment is active");
    }
    let (project, branch, parent) = (environment.project.clone(), environment.branch.clone(), environment.parent.clone());
    state.environments.remove(id);
    if let Some(project) = state.projects.get_mut(&project) {
        project.refs.remove(&branch.as_ref_name());
    }
    for other in state.environments.values_mut().filter(|e| e.project == project) {
        if other.parent.as_ref() == Some(&branch) {
            other.parent = parent.clone();
        }
    }
    Reply::Done
}
