//! One application: judged and normalised.

use crate::app_parts::{
    commands, crons, firewall, operations, preflight, resources, source, stack,
};
use crate::app_shape::APPLICATION;
use crate::app_type::{kind, runtime};
use crate::checks;
use crate::codes;
use crate::flavour::Flavour;
use crate::kinds::{runtime_kind, split_type};
use crate::links::{Holder, Link};
use crate::load::join_inside;
use crate::mounts::{self, MountService};
use crate::node::{At, Node, Ref, Val};
use crate::options::Options;
use crate::raw::RawApp;
use crate::read;
use crate::shape::{Judge, short};
use crate::types::*;
use crate::web;
use indexmap::IndexMap;
use serde_json::Value;

/// PHP-FPM's defaults, MB.
pub(crate) const REQUEST_MEMORY: u64 = 45;
pub(crate) const RESERVED_MEMORY: u64 = 70;

/// An application whose links to others are not resolved yet.
pub(crate) struct AppDraft {
    pub app: Application,
    pub node: Ref,
    pub at: At,
    pub name_at: At,
    pub links: Vec<Link>,
    pub mount_services: Vec<MountService>,
}

/// `None` when not even the name is known.
pub(crate) fn judge(judge: &mut Judge<'_, '_>, raw: RawApp, options: &Options) -> Option<AppDraft> {
    let (node, at) = (raw.node.clone(), raw.at.clone());
    let (name, name_at) = name(judge, &raw)?;
    if !matches!(node.value, Val::Map(_)) {
        if !node.is_broken() {
            let found = node.kind();
            judge
                .loader
                .error(
                    codes::WRONG_TYPE,
                    &at,
                    format!("a mapping expected, found {found}"),
                )
                .expected("a mapping with type");
        }
        return Some(AppDraft {
            app: blank(name, &raw),
            node: Node::null(),
            at,
            name_at,
            links: Vec::new(),
            mount_services: Vec::new(),
        });
    }
    judge.table(&node, &APPLICATION, &at);
    let kind = kind(judge, &node, &at, options);
    let mut links = Vec::new();
    let mut mount_services = Vec::new();
    let mut app = blank(name, &raw);
    app.kind = kind.clone();
    app.root = root(judge, &node, &at, &raw);
    app.config_files = config_files(judge, &app.root);
    app.build = build(&node, &kind);
    app.dependencies = dependencies(&node);
    app.runtime = runtime(judge, &node, &at, &kind);
    prefixes(judge, &node, &at);
    app.variables = read::variables(&node, "variables");
    if let Some(hooks) = node.get("hooks") {
        app.hooks = Hooks {
            build: read::text(hooks, "build"),
            deploy: read::text(hooks, "deploy"),
            post_deploy: read::text(hooks, "post_deploy"),
        };
    }
    crate::links::collect(judge, &node, &at, Holder::Application, &mut links);
    app.access = Access {
        ssh: node
            .get("access")
            .and_then(|access| read::role(access, "ssh"))
            .unwrap_or(Role::Contributor),
    };
    app.size = read::text(&node, "size").unwrap_or_else(|| "AUTO".to_owned());
    app.disk = read::unsigned(&node, "disk");
    app.mounts = mounts::judge(judge, &node, &at, &mut mount_services);
    let has_disk = node.get("disk").is_some();
    mounts::needs_disk(judge, &app.mounts, has_disk, &at.of(&node, "mounts"));
    app.web = web::judge(judge, &node, &at, &kind, &mut links, &mut mount_services);
    mounts_of_overrides(
        judge,
        has_disk,
        node.get("web"),
        &at.of(&node, "web"),
        &app.web.overrides,
    );
    app.workers = workers(judge, &node, &at, has_disk, &mut links, &mut mount_services);
    app.crons = crons(judge, &node, &at);
    app.timezone = read::text(&node, "timezone");
    app.source = source(&node);
    app.preflight = preflight(judge, &node, &at);
    app.firewall = firewall(judge, &node, &at);
    app.additional_hosts = read::text_map(&node, "additional_hosts");
    app.operations = operations(&node);
    app.resources = resources(&node);
    app.container_profile = read::text(&node, "container_profile");
    app.stack = stack(&node);
    Some(AppDraft {
        app,
        node,
        at,
        name_at,
        links,
        mount_services,
    })
}

fn blank(name: String, raw: &RawApp) -> Application {
    Application {
        name,
        kind: String::new(),
        root: raw.base.clone(),
        declared_in: raw.file.clone(),
        config_files: Vec::new(),
        included: raw.included.clone(),
        build: Build {
            flavor: "none".to_owned(),
            caches: Default::default(),
        },
        dependencies: IndexMap::new(),
        runtime: Runtime {
            request_memory: REQUEST_MEMORY,
            reserved_memory: RESERVED_MEMORY,
            ..Runtime::default()
        },
        variables: Variables::new(),
        hooks: Hooks::default(),
        relationships: Default::default(),
        access: Access {
            ssh: Role::Contributor,
        },
        size: "AUTO".to_owned(),
        disk: None,
        mounts: Mounts::new(),
        web: Web {
            locations: IndexMap::new(),
            commands: Commands::default(),
            upstream: Upstream {
                socket_family: SocketFamily::Tcp,
                protocol: UpstreamProtocol::Http,
            },
            move_to_root: false,
            overrides: Overrides::default(),
        },
        workers: IndexMap::new(),
        crons: IndexMap::new(),
        timezone: None,
        source: Source::default(),
        preflight: Preflight {
            enabled: true,
            ignored_rules: Vec::new(),
        },
        firewall: None,
        additional_hosts: Default::default(),
        operations: IndexMap::new(),
        resources: None,
        container_profile: None,
        stack: None,
    }
}

/// The name from the key of a mapping, or from `name`.
fn name(judge: &mut Judge<'_, '_>, raw: &RawApp) -> Option<(String, At)> {
    let written = raw.node.entry("name");
    if let Some(key) = &raw.key {
        checks::top_name(judge, &key.key, &raw.at);
        if let Some(entry) = written {
            let at = raw.at.key(entry);
            if judge.flavour == Flavour::Upsun {
                let draft = if judge.strict {
                    judge.loader.error(
                        codes::UNKNOWN_KEY,
                        &at,
                        "unknown key: the name is the key of the application",
                    )
                } else {
                    judge.loader.warning(
                        codes::UNKNOWN_KEY,
                        &at,
                        "unknown key: the name is the key of the application",
                    )
                };
                draft.remedy("Remove `name`.");
            } else if entry.value.text().is_some_and(|name| name != key.key) {
                judge.loader.error(
                    codes::EXCLUSIVE_KEYS,
                    &at,
                    format!(
                        "the name is '{}' by the key of the mapping",
                        short(&key.key)
                    ),
                );
            }
        }
        return Some((key.key.clone(), raw.at.clone()));
    }
    if !matches!(raw.node.value, Val::Map(_)) {
        if !raw.node.is_broken() {
            let found = raw.node.kind();
            judge
                .loader
                .error(
                    codes::WRONG_TYPE,
                    &raw.at,
                    format!("a mapping expected, found {found}"),
                )
                .expected("a mapping with name and type");
        }
        return None;
    }
    match written {
        Some(entry) if !entry.value.is_null() => {
            let at = raw.at.key(entry);
            let Some(name) = entry.value.text() else {
                if !entry.value.is_broken() {
                    let found = entry.value.kind();
                    judge
                        .loader
                        .error(
                            codes::WRONG_TYPE,
                            &at,
                            format!("text expected, found {found}"),
                        )
                        .expected("text")
                        .remedy("Quote the name.");
                }
                // The rest of the application is still worth its complaints.
                judge.table(&raw.node, &APPLICATION, &raw.at);
                return None;
            };
            checks::top_name(judge, name, &at);
            Some((name.to_owned(), at))
        }
        _ => {
            let at = raw.at.of(&raw.node, "name");
            judge
                .loader
                .error(
                    codes::MISSING_KEY,
                    &at,
                    "required key missing: name of the application",
                )
                .expected("text")
                .remedy("Add `name: app`.");
            judge.table(&raw.node, &APPLICATION, &raw.at);
            None
        }
    }
}

/// The application's directory in the repository.
fn root(judge: &mut Judge<'_, '_>, node: &Node, at: &At, raw: &RawApp) -> String {
    let Some(source) = node.get("source") else {
        return raw.base.clone();
    };
    let Some(written) = source.get("root").and_then(|root| root.text()) else {
        return raw.base.clone();
    };
    let base = if written.starts_with('/') || !raw.from_app_file {
        ""
    } else {
        raw.base.as_str()
    };
    join_inside(base, written).unwrap_or_else(|| {
        let place = at.of(node, "source").of(source, "root");
        judge
            .loader
            .error(
                codes::ROOT_OUTSIDE,
                &place,
                "the path leaves the repository",
            )
            .expected("path inside the repository");
        raw.base.clone()
    })
}

/// The platform's own files below a root: they never reach the application's tree.
fn config_files(judge: &Judge<'_, '_>, root: &str) -> Vec<String> {
    let prefix = if root.is_empty() {
        String::new()
    } else {
        format!("{root}/")
    };
    let mut files: Vec<String> = Vec::new();
    if let Some(name) = judge.flavour.app_file() {
        files.extend(
            judge
                .loader
                .below(root)
                .filter(|(path, _)| path.rsplit('/').next() == Some(name))
                .map(|(path, _)| path[prefix.len()..].to_owned()),
        );
    }
    if root.is_empty() {
        files.push(judge.flavour.project_dir().to_owned());
    }
    files
}

fn build(node: &Node, kind: &str) -> Build {
    let default = runtime_kind(kind).map_or("none", |known| known.default_flavor);
    let toolstack = read::text(node, "toolstack")
        .and_then(|toolstack| split_type(&toolstack).1.map(str::to_owned));
    let empty = Node::null();
    let build = node.get("build").unwrap_or(&empty);
    let caches = build
        .get("caches")
        .map(|caches| caches.entries())
        .unwrap_or_default();
    Build {
        flavor: read::text(build, "flavor")
            .or(toolstack)
            .unwrap_or_else(|| default.to_owned()),
        caches: caches
            .iter()
            .map(|entry| {
                let cache = &entry.value;
                let value = BuildCache {
                    directory: read::text(cache, "directory").unwrap_or_else(|| entry.key.clone()),
                    watch: read::texts(cache, "watch"),
                    allow_stale: read::flag(cache, "allow_stale").unwrap_or(false),
                    share_between_apps: read::flag(cache, "share_between_apps").unwrap_or(false),
                };
                (entry.key.clone(), value)
            })
            .collect(),
    }
}

fn dependencies(node: &Node) -> IndexMap<String, IndexMap<String, Value>> {
    let languages = node
        .get("dependencies")
        .map(|value| value.entries())
        .unwrap_or_default();
    languages
        .iter()
        .filter(|entry| !entry.value.is_null())
        .map(|entry| (entry.key.clone(), read::json_map(&entry.value)))
        .collect()
}

/// Every variable needs a prefix, in the application, in `web` and in workers.
pub(crate) fn prefixes(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let Some(variables) = node.get("variables") else {
        return;
    };
    let at = at.of(node, "variables");
    for entry in variables.entries() {
        if !matches!(entry.value.value, Val::Map(_) | Val::Null | Val::Broken) {
            let message = format!(
                "a prefix such as env is required, found {} directly",
                entry.value.kind()
            );
            judge
                .loader
                .error(codes::VARIABLE_PREFIX, &at.key(entry), message)
                .expected("prefix with a mapping of names")
                .remedy(format!("Write `env: {{{}: …}}`.", short(&entry.key)));
        }
    }
}

fn mounts_of_overrides(
    judge: &mut Judge<'_, '_>,
    app_has_disk: bool,
    node: Option<&Ref>,
    at: &At,
    overrides: &Overrides,
) {
    if let (Some(mounts), Some(node)) = (&overrides.mounts, node) {
        let declared = app_has_disk || node.get("disk").is_some();
        mounts::needs_disk(judge, mounts, declared, &at.of(node, "mounts"));
    }
}

/// What `web` or a worker restates.
pub(crate) fn overrides(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    at: &At,
    holder: Holder,
    links: &mut Vec<Link>,
    services: &mut Vec<MountService>,
) -> Overrides {
    prefixes(judge, node, at);
    crate::links::collect(judge, node, at, holder, links);
    let mounts = node
        .get("mounts")
        .is_some()
        .then(|| mounts::judge(judge, node, at, services));
    Overrides {
        size: read::text(node, "size"),
        disk: read::unsigned(node, "disk"),
        mounts,
        relationships: node.get("relationships").map(|_| Default::default()),
        access: node.get("access").map(|access| Access {
            ssh: read::role(access, "ssh").unwrap_or(Role::Contributor),
        }),
        variables: node
            .get("variables")
            .map(|_| read::variables(node, "variables")),
        firewall: firewall(judge, node, at),
        timezone: read::text(node, "timezone"),
        additional_hosts: node
            .get("additional_hosts")
            .map(|_| read::text_map(node, "additional_hosts")),
        resources: resources(node),
        container_profile: read::text(node, "container_profile"),
    }
}

fn workers(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    at: &At,
    has_disk: bool,
    links: &mut Vec<Link>,
    services: &mut Vec<MountService>,
) -> IndexMap<String, Worker> {
    let at = at.of(node, "workers");
    let mut workers = IndexMap::new();
    for entry in node
        .get("workers")
        .map(|value| value.entries())
        .unwrap_or_default()
    {
        let place = at.key(entry);
        let overrides = overrides(
            judge,
            &entry.value,
            &place,
            Holder::Worker(entry.key.clone()),
            links,
            services,
        );
        mounts_of_overrides(judge, has_disk, Some(&entry.value), &place, &overrides);
        workers.insert(
            entry.key.clone(),
            Worker {
                commands: commands(&entry.value),
                overrides,
            },
        );
    }
    workers
}
