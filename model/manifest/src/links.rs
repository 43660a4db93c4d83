//! What holds across files: relationships and their circles, mounts from services, routes' targets, the sum of disks.

use crate::app::AppDraft;
use crate::circles::{Edge, circles};
use crate::codes;
use crate::near::nearest;
use crate::node::{At, Entry, Mark, Node, Val};
use crate::options::Options;
use crate::route::RouteDraft;
use crate::service::{ServiceDraft, engine_name};
use crate::shape::{Judge, listed, short};
use crate::types::{Relationship, RouteKind};
use std::collections::{BTreeMap, BTreeSet};

/// Whose relationship it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Application,
    Web,
    Worker(String),
    Service,
}

/// A relationship as written.
pub(crate) struct Link {
    pub holder: Holder,
    pub name: String,
    pub at: At,
    pub service: String,
    pub endpoint: Option<String>,
}

/// What can be reached, by name.
struct Targets {
    applications: BTreeSet<String>,
    /// Endpoints, and which is the default; `None` when the type is unknown.
    services: BTreeMap<String, Option<(Vec<String>, Option<String>)>>,
    /// Something could not be read, so an unknown name proves nothing.
    incomplete: bool,
}

/// The relationships of a mapping; bad forms are complained about.
pub(crate) fn collect(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    at: &At,
    holder: Holder,
    links: &mut Vec<Link>,
) {
    let Some(written) = node.get("relationships") else {
        return;
    };
    let at = at.of(node, "relationships");
    for entry in written.entries() {
        let place = at.key(entry);
        let (service, endpoint) = match &entry.value.value {
            Val::Null => (entry.key.clone(), None),
            Val::Text(text) => match split_reference(text) {
                Some((service, endpoint)) => (service.to_owned(), Some(endpoint.to_owned())),
                None => {
                    judge
                        .loader
                        .error(
                            codes::BAD_REFERENCE,
                            &place,
                            format!("service:endpoint expected, found '{}'", short(text)),
                        )
                        .expected("service:endpoint");
                    continue;
                }
            },
            Val::Map(entries) => {
                // What the table complained about leads nowhere anyway.
                let odd = |entry: &Entry| {
                    !matches!(entry.key.as_str(), "service" | "endpoint")
                        || !matches!(entry.value.value, Val::Text(_) | Val::Null)
                };
                if entries.iter().any(odd) {
                    continue;
                }
                let text = |key: &str| {
                    entry
                        .value
                        .get(key)
                        .and_then(|value| value.text())
                        .map(str::to_owned)
                };
                (
                    text("service").unwrap_or_else(|| entry.key.clone()),
                    text("endpoint"),
                )
            }
            _ => continue,
        };
        links.push(Link {
            holder: holder.clone(),
            name: entry.key.clone(),
            at: place,
            service,
            endpoint,
        });
    }
}

/// `name:endpoint` with exactly one colon.
pub(crate) fn split_reference(text: &str) -> Option<(&str, &str)> {
    let (name, endpoint) = text.split_once(':')?;
    (!name.is_empty() && !endpoint.is_empty() && !endpoint.contains(':'))
        .then_some((name, endpoint))
}

/// Resolves every link, fills the relationships in, and complains about what leads nowhere.
pub(crate) fn judge(
    judge: &mut Judge<'_, '_>,
    apps: &mut [AppDraft],
    services: &mut [ServiceDraft],
    routes: &mut [RouteDraft],
    incomplete: bool,
) {
    let targets = targets(apps, services, incomplete);
    let mut edges: Vec<Edge> = Vec::new();
    for app in apps.iter_mut() {
        for link in std::mem::take(&mut app.links) {
            let Some(relationship) = resolve(judge, &link, &targets) else {
                continue;
            };
            if matches!(link.holder, Holder::Application | Holder::Web) {
                edges.push(Edge {
                    from: app.app.name.clone(),
                    to: relationship.service.clone(),
                    at: link.at.clone(),
                });
            }
            let map = match &link.holder {
                Holder::Worker(worker) => app
                    .app
                    .workers
                    .get_mut(worker)
                    .and_then(|worker| worker.overrides.relationships.as_mut()),
                Holder::Web => app.app.web.overrides.relationships.as_mut(),
                _ => Some(&mut app.app.relationships),
            };
            if let Some(map) = map {
                map.insert(link.name, relationship);
            }
        }
        mounted_services(judge, app, services, &targets);
    }
    for service in services.iter_mut() {
        for link in std::mem::take(&mut service.links) {
            let Some(relationship) = resolve(judge, &link, &targets) else {
                continue;
            };
            edges.push(Edge {
                from: service.service.name.clone(),
                to: relationship.service.clone(),
                at: link.at.clone(),
            });
            service
                .service
                .relationships
                .insert(link.name, relationship);
        }
    }
    circles(judge, &edges);
    for route in routes {
        upstream(judge, route, &targets, services);
    }
}

fn targets(apps: &[AppDraft], services: &[ServiceDraft], incomplete: bool) -> Targets {
    let endpoints = |draft: &ServiceDraft| {
        draft.known.then(|| {
            let endpoints = draft.service.endpoints();
            let default = endpoints
                .iter()
                .find(|endpoint| endpoint.default)
                .map(|endpoint| endpoint.name.clone());
            (
                endpoints
                    .into_iter()
                    .map(|endpoint| endpoint.name)
                    .collect(),
                default,
            )
        })
    };
    Targets {
        applications: apps.iter().map(|app| app.app.name.clone()).collect(),
        services: services
            .iter()
            .map(|draft| (draft.service.name.clone(), endpoints(draft)))
            .collect(),
        incomplete,
    }
}

fn resolve(judge: &mut Judge<'_, '_>, link: &Link, targets: &Targets) -> Option<Relationship> {
    if targets.applications.contains(&link.service) {
        let Some(endpoint) = &link.endpoint else {
            judge
                .loader
                .error(
                    codes::NO_DEFAULT_ENDPOINT,
                    &link.at,
                    format!("the application '{}' has no default endpoint", link.service),
                )
                .expected("application:http")
                .suggest(Some(format!("{}:http", link.service)));
            return None;
        };
        if endpoint != "http" && endpoint != "php" {
            unknown_endpoint(
                judge,
                &link.at,
                &link.service,
                endpoint,
                &["http".to_owned()],
            );
            return None;
        }
        return Some(Relationship {
            service: link.service.clone(),
            endpoint: endpoint.clone(),
        });
    }
    let Some(service) = targets.services.get(&link.service) else {
        unknown_target(
            judge,
            &link.at,
            &link.service,
            link.endpoint.as_deref(),
            targets,
        );
        return None;
    };
    let (endpoints, default) = service.as_ref()?;
    let Some(endpoint) = link.endpoint.clone().or_else(|| default.clone()) else {
        let message = format!("the service '{}' has no default endpoint", link.service);
        judge
            .loader
            .error(codes::NO_DEFAULT_ENDPOINT, &link.at, message)
            .expected(endpoints.join(", "));
        return None;
    };
    if !endpoints.contains(&endpoint) {
        unknown_endpoint(judge, &link.at, &link.service, &endpoint, endpoints);
        return None;
    }
    Some(Relationship {
        service: link.service.clone(),
        endpoint,
    })
}

fn unknown_target(
    judge: &mut Judge<'_, '_>,
    at: &At,
    name: &str,
    endpoint: Option<&str>,
    targets: &Targets,
) {
    if targets.incomplete || judge.loader.is_full() {
        return;
    }
    let known: Vec<&str> = targets
        .applications
        .iter()
        .map(String::as_str)
        .chain(targets.services.keys().map(String::as_str))
        .collect();
    let near = if judge.loader.has_patience() {
        nearest(name, known.iter().copied())
    } else {
        None
    };
    let whole = near.as_ref().map(|near| match endpoint {
        Some(endpoint) => format!("Write `{near}:{}`.", short(endpoint)),
        None => format!("Write `{near}`."),
    });
    let draft = judge
        .loader
        .error(
            codes::UNKNOWN_TARGET,
            at,
            format!("no application or service '{}'", short(name)),
        )
        .expected(listed(known))
        .suggest(near);
    if let Some(whole) = whole {
        draft.remedy(whole);
    }
}

fn unknown_endpoint(
    judge: &mut Judge<'_, '_>,
    at: &At,
    name: &str,
    endpoint: &str,
    known: &[String],
) {
    let near =
        nearest(endpoint, known.iter().map(String::as_str)).map(|near| format!("{name}:{near}"));
    let has = if known.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", listed(known.iter().map(String::as_str)))
    };
    judge
        .loader
        .error(
            codes::UNKNOWN_ENDPOINT,
            at,
            format!("'{name}' has no endpoint '{}', {has}", short(endpoint)),
        )
        .expected(listed(known.iter().map(String::as_str)))
        .suggest(near);
}

fn mounted_services(
    judge: &mut Judge<'_, '_>,
    app: &AppDraft,
    services: &[ServiceDraft],
    targets: &Targets,
) {
    for mount in &app.mount_services {
        match services
            .iter()
            .find(|draft| draft.service.name == mount.service)
        {
            Some(draft) if !draft.known || engine_name(&draft.service) == "network-storage" => {}
            Some(draft) => {
                let message = format!(
                    "'{}' is {}, network-storage expected",
                    mount.service,
                    engine_name(&draft.service)
                );
                judge
                    .loader
                    .error(codes::MOUNT_SERVICE, &mount.at, message)
                    .expected("a network-storage service");
            }
            None if targets.applications.contains(&mount.service) => {
                let message = format!(
                    "'{}' is an application, network-storage expected",
                    mount.service
                );
                judge
                    .loader
                    .error(codes::MOUNT_SERVICE, &mount.at, message)
                    .expected("a network-storage service");
            }
            None => unknown_target(judge, &mount.at, &mount.service, None, targets),
        }
    }
}

/// Engines that a router can speak to.
fn speaks_http(engine: &str) -> bool {
    !matches!(
        engine,
        "mysql"
            | "mariadb"
            | "oracle-mysql"
            | "postgresql"
            | "mongodb"
            | "mongodb-enterprise"
            | "redis"
            | "redis-persistent"
            | "valkey"
            | "valkey-persistent"
            | "memcached"
            | "kafka"
            | "network-storage"
    )
}

fn upstream(
    judge: &mut Judge<'_, '_>,
    route: &RouteDraft,
    targets: &Targets,
    services: &[ServiceDraft],
) {
    let (RouteKind::Upstream { upstream, endpoint }, Some(at)) =
        (&route.route.kind, &route.upstream_at)
    else {
        return;
    };
    if targets.applications.contains(upstream) {
        if endpoint != "http" && endpoint != "php" {
            unknown_endpoint(judge, at, upstream, endpoint, &["http".to_owned()]);
        }
        return;
    }
    match targets.services.get(upstream) {
        None => unknown_target(judge, at, upstream, Some(endpoint), targets),
        Some(None) => {}
        Some(Some((endpoints, _))) if !endpoints.contains(endpoint) => {
            unknown_endpoint(judge, at, upstream, endpoint, endpoints)
        }
        Some(Some(_)) => {
            let engine = services
                .iter()
                .find(|draft| draft.service.name == *upstream)
                .map(|draft| engine_name(&draft.service));
            if let Some(engine) = engine.filter(|engine| !speaks_http(engine)) {
                let message = format!("'{upstream}' is {engine}, which does not speak HTTP");
                judge
                    .loader
                    .error(codes::UNKNOWN_ENDPOINT, at, message)
                    .expected("an application, or a service that speaks HTTP");
            }
        }
    }
}

/// The sum of all disks against the plan, told where it is first exceeded.
pub(crate) fn storage(
    judge: &mut Judge<'_, '_>,
    apps: &[AppDraft],
    services: &[ServiceDraft],
    options: &Options,
) {
    if !judge.flavour.declares_storage() {
        return;
    }
    let of_apps = apps
        .iter()
        .filter_map(|draft| Some((draft.app.disk?, draft.at.of(&draft.node, "disk").mark)));
    let of_services = services
        .iter()
        .filter_map(|draft| Some((draft.service.disk?, draft.at.of(&draft.node, "disk").mark)));
    let disks: Vec<(u64, Mark)> = of_apps.chain(of_services).collect();
    let total: u64 = disks
        .iter()
        .fold(0, |sum, (disk, _)| sum.saturating_add(*disk));
    let plan = options.plan_storage_mb;
    if total <= plan {
        return;
    }
    let mut sum: u64 = 0;
    let crossing = disks.iter().find(|(disk, _)| {
        sum = sum.saturating_add(*disk);
        sum > plan
    });
    if let Some((_, mark)) = crossing {
        let at = At::new(*mark, "(project).disk");
        judge
            .loader
            .error(
                codes::PLAN_STORAGE,
                &at,
                format!("{total} MB of disk declared, the plan has {plan}"),
            )
            .expected(format!("at most {plan} MB in all"));
    }
}
