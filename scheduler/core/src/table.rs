//! What the routers shall serve, read off the state.

use crate::state::*;
use slipway_manifest::Role as AccessRole;
use slipway_model::route::*;
use slipway_model::EnvironmentId;
use std::collections::BTreeMap;

/// The whole table; the same state gives the same bytes.
pub fn route_table(state: &ClusterState) -> RouteTable {
    let environments = state
        .environments
        .iter()
        .filter_map(|(id, environment)| route_environment(state, id, environment))
        .collect();
    RouteTable { version: state.table_version, environments }
}

fn route_environment(state: &ClusterState, id: &EnvironmentId, environment: &Environment) -> Option<RouteEnvironment> {
    let release_id = environment.release.as_ref().filter(|_| environment.active)?;
    let release = state.releases.get(release_id)?;
    Some(RouteEnvironment {
        id: id.clone(),
        project: environment.project.clone(),
        epoch: environment.epoch,
        gate: environment.gate,
        release: release_id.clone(),
        routes: release.routes.clone(),
        pools: pools(state, environment),
        hold: hold_limits(state, environment),
        cluster: id.to_string(),
        restrict_robots: environment.kind != "production",
        shells: shells(state, environment, release),
    })
}

/// Application or service name -> endpoints of this epoch. Services that speak HTTP are reached at their port.
fn pools(state: &ClusterState, environment: &Environment) -> BTreeMap<String, Vec<PoolMember>> {
    let mut pools: BTreeMap<String, Vec<PoolMember>> = BTreeMap::new();
    for (name, instance_id) in &environment.serving {
        let Some(instance) = state.instances.get(instance_id) else { continue };
        let member = match instance.kind {
            ContainerKind::Application => instance.spec.ingress.filter(|i| i.epoch <= environment.epoch).map(|i| i.port),
            ContainerKind::Service => instance.service_port,
            ContainerKind::Worker => None,
        };
        if let Some(port) = member {
            let member = PoolMember { instance: instance_id.clone(), address: instance.spec.address, port };
            pools.entry(name.clone()).or_default().push(member);
        }
    }
    pools
}

fn hold_limits(state: &ClusterState, environment: &Environment) -> HoldLimits {
    let mut hold = HoldLimits::default();
    let seconds = state.projects.get(&environment.project).and_then(|p| p.settings.get("hold_time_max"));
    if let Some(seconds) = seconds.and_then(|s| s.parse::<u64>().ok()) {
        hold.hold_time_max_ms = seconds.min(600) * 1000;
    }
    hold
}

fn shells(state: &ClusterState, environment: &Environment, release: &Release) -> Vec<ShellTarget> {
    let mut shells = Vec::new();
    for (name, id) in &environment.serving {
        let Some(instance) = state.instances.get(id).filter(|i| i.kind != ContainerKind::Service) else { continue };
        let Some(worker) = state.workers.get(&instance.worker) else { continue };
        shells.push(ShellTarget {
            container: name.clone(),
            instance: id.clone(),
            worker: worker.shell_address.clone(),
            keys: keys(state, environment, least_role(release, name)),
        });
    }
    shells
}

/// The least role that may enter, as the application file's `access.ssh` says.
fn least_role(release: &Release, container: &str) -> Role {
    let (app, worker) = match container.split_once("--") {
        Some((app, worker)) => (app, Some(worker)),
        None => (container, None),
    };
    let Some(app) = release.tree.project.applications.iter().find(|a| a.name == app) else { return Role::Admin };
    let overridden = match worker {
        Some(worker) => app.workers.get(worker).and_then(|w| w.overrides.access.as_ref()),
        None => app.web.overrides.access.as_ref(),
    };
    match overridden.unwrap_or(&app.access).ssh {
        AccessRole::Viewer => Role::Viewer,
        AccessRole::Contributor => Role::Contributor,
        AccessRole::Admin => Role::Admin,
    }
}

fn keys(state: &ClusterState, environment: &Environment, least: Role) -> Vec<(String, String)> {
    state
        .keys
        .values()
        .filter(|key| {
            state
                .users
                .get(&key.user)
                .is_some_and(|u| u.admin || u.roles.get(&environment.project).is_some_and(|role| *role >= least))
        })
        .map(|key| (key.public_key.clone(), key.user.clone()))
        .collect()
}
