//! Environments and their releases.

use super::caller::Caller;
use super::times::rfc3339;
use super::{Api, parse};
use crate::chance;
use slipway_core::Command;
use slipway_core::state::*;
use slipway_model::hosts::{environment_id, machine_name, ssh_user};
use slipway_model::observed::InstanceState;
use slipway_model::route::Gate;
use slipway_model::{EnvironmentId, ProjectId, ReleaseId};
use slipway_proto::api;
use tonic::Status;

impl Api {
    pub(super) fn list_environments(&self, caller: &Caller, project: &ProjectId) -> Result<api::EnvironmentList, Status> {
        caller.at_least(project, Role::Viewer)?;
        let ids: Vec<EnvironmentId> = self
            .office
            .read(|s| s.environments.iter().filter(|(_, e)| &e.project == project).map(|(id, _)| id.clone()).collect());
        Ok(api::EnvironmentList { environments: ids.iter().filter_map(|id| self.environment_message(id)).collect() })
    }

    pub(super) fn environment_of(&self, caller: &Caller, ask: &api::EnvironmentRequest, least: Role) -> Result<EnvironmentId, Status> {
        let project: ProjectId = parse(&ask.project)?;
        caller.at_least(&project, least)?;
        let id = environment_id(&project, &parse(&ask.environment)?);
        if self.office.read(|s| s.environments.contains_key(&id)) {
            Ok(id)
        } else {
            Err(Status::not_found(format!(
                "project '{project}' has no environment '{}'; `slipway environment list` shows them",
                ask.environment
            )))
        }
    }

    pub(super) fn environment_message(&self, id: &EnvironmentId) -> Option<api::Environment> {
        let options = &self.office.options;
        let ssh = |container: &str| format!("ssh://{}@{}", ssh_user(id, container), options.ssh_address);
        self.office.read(|state| {
            let environment = state.environments.get(id)?;
            let release = environment.release.as_ref().and_then(|r| state.releases.get(r));
            let busy = state.open_activities(id).next().is_some();
            let containers: Vec<_> =
                environment.serving.iter().filter_map(|(name, i)| self.container(state, release, name, i, &ssh)).collect();
            let first_app = release.and_then(|r| r.tree.project.applications.first()).map(|a| a.name.clone());
            Some(api::Environment {
                project: environment.project.to_string(),
                name: environment.branch.to_string(),
                machine_name: machine_name(&environment.branch),
                title: environment.title.clone(),
                r#type: environment.kind.clone(),
                status: match (environment.deleting, environment.active, busy) {
                    (true, ..) => "deleting",
                    (_, true, true) => "dirty",
                    (_, true, false) => "active",
                    (_, false, _) => "inactive",
                }
                .into(),
                parent: environment.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
                head_commit: environment.head.as_ref().map(|h| h.commit.to_string()).unwrap_or_default(),
                release: environment.release.as_ref().map(ToString::to_string).unwrap_or_default(),
                updated_at: rfc3339(environment.updated_at),
                urls: release.map(|r| r.urls.clone()).unwrap_or_default(),
                containers,
                ssh_url: first_app.map(|app| ssh(&app)).unwrap_or_default(),
                gate: match environment.gate {
                    Gate::Open => "open".into(),
                    Gate::Frozen => "frozen".into(),
                },
                routes: release.map(route_lines).unwrap_or_default(),
                relationships: release.map(edges).unwrap_or_default(),
            })
        })
    }

    fn container(
        &self,
        state: &ClusterState,
        release: Option<&Release>,
        name: &str,
        id: &slipway_model::InstanceId,
        ssh: &dyn Fn(&str) -> String,
    ) -> Option<api::Container> {
        let instance = state.instances.get(id)?;
        let seen = self.office.world.look(|w| w.instances.get(id).cloned());
        let (size, disk) = release.map(|r| size_and_disk(r, name)).unwrap_or_default();
        Some(api::Container {
            name: name.to_string(),
            r#type: instance.spec.recipe.clone(),
            size,
            disk_mb: disk,
            state: match &seen {
                None => "unknown".into(),
                Some(s) if s.state == InstanceState::Running && s.ready => "ready".into(),
                Some(s) => format!("{:?}", s.state).to_lowercase(),
            },
            worker: instance.worker.to_string(),
            instance: id.to_string(),
            slug: instance.spec.slug.as_ref().map(ToString::to_string).unwrap_or_default(),
            image: instance.spec.image.to_string(),
            address: instance.spec.address.to_string(),
            kind: match instance.kind {
                ContainerKind::Application => "application",
                ContainerKind::Worker => "worker",
                ContainerKind::Service => "service",
            }
            .into(),
            memory_mb: seen.map_or(0, |s| s.memory_bytes >> 20),
            ssh_url: if instance.kind == ContainerKind::Service { String::new() } else { ssh(name) },
        })
    }

    pub(super) async fn operate(&self, caller: &Caller, environment: EnvironmentId, intent: Intent) -> Result<api::ActivityRef, Status> {
        let activity = chance::id("act");
        self.ask_activity(Command::Ask { activity, environment, user: caller.user.clone(), intent }).await
    }

    pub(super) async fn rollback(&self, caller: &Caller, ask: api::RollbackRequest) -> Result<api::ActivityRef, Status> {
        let named = api::EnvironmentRequest { project: ask.project, environment: ask.environment, run_hooks: false };
        let environment = self.environment_of(caller, &named, Role::Admin)?;
        let release: ReleaseId = if ask.release.is_empty() {
            self.office
                .read(|s| s.environments.get(&environment).and_then(|e| e.kept.iter().find(|r| e.release.as_ref() != Some(r)).cloned()))
                .ok_or_else(|| Status::failed_precondition("there is no earlier release to go back to; `slipway release list` shows what is kept"))?
        } else {
            parse(&ask.release)?
        };
        let intent = Intent::Rollback { release, run_hooks: ask.run_hooks, with_data: ask.with_data };
        self.operate(caller, environment, intent).await
    }

    pub(super) fn list_releases(&self, id: &EnvironmentId) -> api::ReleaseList {
        let releases = self.office.read(|state| {
            let Some(environment) = state.environments.get(id) else { return Vec::new() };
            environment
                .kept
                .iter()
                .filter_map(|release_id| {
                    let release = state.releases.get(release_id)?;
                    Some(api::Release {
                        id: release_id.to_string(),
                        commit: release.tree.commit.to_string(),
                        created_at: rfc3339(release.created_at),
                        current: environment.release.as_ref() == Some(release_id),
                        slugs: release.slugs.iter().map(|(app, slug)| (app.clone(), slug.to_string())).collect(),
                        activity: release.activity.to_string(),
                        kept: true,
                        message: release.tree.message.clone(),
                    })
                })
                .collect()
        });
        api::ReleaseList { releases }
    }
}

fn size_and_disk(release: &Release, name: &str) -> (String, u64) {
    let project = &release.tree.project;
    if let Some(service) = project.services.iter().find(|s| s.name == name) {
        return (service.size.clone(), service.disk.unwrap_or(0));
    }
    let app = name.split_once("--").map_or(name, |(app, _)| app);
    project.applications.iter().find(|a| a.name == app).map(|a| (a.size.clone(), a.disk.unwrap_or(0))).unwrap_or_default()
}

fn route_lines(release: &Release) -> Vec<String> {
    use slipway_model::route::RouteAction;
    let line = |route: &slipway_model::route::SiteRoute| {
        let scheme = if route.https { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", route.host, route.path);
        match &route.action {
            RouteAction::Upstream { pool } => format!("{url} is served by application `{pool}`"),
            RouteAction::Redirect { to, .. } => format!("{url} redirects to {to}"),
        }
    };
    release.routes.iter().map(line).collect()
}

fn edges(release: &Release) -> Vec<api::RelationshipEdge> {
    let mut edges = Vec::new();
    for app in &release.tree.project.applications {
        for (name, to) in &app.relationships {
            edges.push(api::RelationshipEdge {
                from: app.name.clone(),
                name: name.clone(),
                to: to.service.clone(),
                endpoint: to.endpoint.clone(),
            });
        }
    }
    edges
}
