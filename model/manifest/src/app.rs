//! One application: judged and normalised.

use crate::app_shape::APPLICATION;
use crate::checks;
use crate::codes;
use crate::flavour::Flavour;
use crate::kinds::{self, ExtensionFault, TypeFault, judge_extension, judge_type, runtime_kind, split_type};
use crate::links::{Holder, Link};
use crate::load::join_inside;
use crate::mounts::{self, MountService};
use crate::near::nearest;
use crate::node::{At, Node, Ref, Val};
use crate::options::Options;
use crate::project::RawApp;
use crate::read;
use crate::shape::{Judge, short};
use crate::types::*;
use crate::web;
use indexmap::IndexMap;
use serde_json::Value;

/// PHP-FPM's defaults, MB.
const REQUEST_MEMORY: u64 = 45;
const RESERVED_MEMORY: u64 = 70;
/// Seconds.
const CRON_SHUTDOWN: u64 = 10;
const CRON_TIMEOUT: u64 = 86_400;

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
            judge.loader.error(codes::WRONG_TYPE, &at, format!("a mapping expected, found {found}")).expected("a mapping with type");
        }
        return Some(AppDraft { app: blank(name, &raw), node: Node::null(), at, name_at, links: Vec::new(), mount_services: Vec::new() });
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
        app.hooks = Hooks { build: read::text(hooks, "build"), deploy: read::text(hooks, "deploy"), post_deploy: read::text(hooks, "post_deploy") };
    }
    crate::links::collect(judge, &node, &at, Holder::Application, &mut links);
    app.access = Access { ssh: node.get("access").and_then(|access| read::role(access, "ssh")).unwrap_or(Role::Contributor) };
    app.size = read::text(&node, "size").unwrap_or_else(|| "AUTO".to_owned());
    app.disk = read::unsigned(&node, "disk");
    app.mounts = mounts::judge(judge, &node, &at, &mut mount_services);
    let has_disk = node.get("disk").is_some();
    mounts::needs_disk(judge, &app.mounts, has_disk, &at.of(&node, "mounts"));
    app.web = web::judge(judge, &node, &at, &kind, &mut links, &mut mount_services);
    mounts_of_overrides(judge, has_disk, node.get("web"), &at.of(&node, "web"), &app.web.overrides);
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
    Some(AppDraft { app, node, at, name_at, links, mount_services })
}

fn blank(name: String, raw: &RawApp) -> Application {
    Application {
        name,
        kind: String::new(),
        root: raw.base.clone(),
        declared_in: raw.file.clone(),
        config_files: Vec::new(),
        included: raw.included.clone(),
        build: Build { flavor: "none".to_owned(), caches: Default::default() },
        dependencies: IndexMap::new(),
        runtime: Runtime { request_memory: REQUEST_MEMORY, reserved_memory: RESERVED_MEMORY, ..Runtime::default() },
        variables: Variables::new(),
        hooks: Hooks::default(),
        relationships: Default::default(),
        access: Access { ssh: Role::Contributor },
        size: "AUTO".to_owned(),
        disk: None,
        mounts: Mounts::new(),
        web: Web {
            locations: IndexMap::new(),
            commands: Commands::default(),
            upstream: Upstream { socket_family: SocketFamily::Tcp, protocol: UpstreamProtocol::Http },
            move_to_root: false,
            overrides: Overrides::default(),
        },
        workers: IndexMap::new(),
        crons: IndexMap::new(),
        timezone: None,
        source: Source::default(),
        preflight: Preflight { enabled: true, ignored_rules: Vec::new() },
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
                    judge.loader.error(codes::UNKNOWN_KEY, &at, "unknown key: the name is the key of the application")
                } else {
                    judge.loader.warning(codes::UNKNOWN_KEY, &at, "unknown key: the name is the key of the application")
                };
                draft.remedy("Remove `name`.");
            } else if entry.value.text().is_some_and(|name| name != key.key) {
                judge.loader.error(codes::EXCLUSIVE_KEYS, &at, format!("the name is '{}' by the key of the mapping", short(&key.key)));
            }
        }
        return Some((key.key.clone(), raw.at.clone()));
    }
    if !matches!(raw.node.value, Val::Map(_)) {
        if !raw.node.is_broken() {
            let found = raw.node.kind();
            judge.loader.error(codes::WRONG_TYPE, &raw.at, format!("a mapping expected, found {found}")).expected("a mapping with name and type");
        }
        return None;
    }
    match written {
        Some(entry) if !entry.value.is_null() => {
            let at = raw.at.key(entry);
            let Some(name) = entry.value.text() else {
                if !entry.value.is_broken() {
                    let found = entry.value.kind();
                    judge.loader.error(codes::WRONG_TYPE, &at, format!("text expected, found {found}")).expected("text").remedy("Quote the name.");
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
            judge.loader.error(codes::MISSING_KEY, &at, "required key missing: name of the application").expected("text").remedy("Add `name: app`.");
            judge.table(&raw.node, &APPLICATION, &raw.at);
            None
        }
    }
}

fn kind(judge: &mut Judge<'_, '_>, node: &Node, parent: &At, options: &Options) -> String {
    let at = parent;
    let legacy = read::text(node, "toolstack").map(|toolstack| split_type(&toolstack).0.to_owned());
    let Some(value) = node.get("type") else {
        if let Some(legacy) = legacy {
            return legacy;
        }
        if node.get("stack").is_none() {
            judge
                .loader
                .error(codes::MISSING_KEY, &at.of(node, "type"), "required key missing: runtime and version, such as php:8.3")
                .expected("runtime:version")
                .remedy("Add `type: php:8.3` (or the runtime of your application).");
        }
        return String::new();
    };
    let at = at.of(node, "type");
    let Some(kind) = value.text() else {
        if !value.is_broken() {
            let found = value.kind();
            judge.loader.error(codes::WRONG_TYPE, &at, format!("text runtime:version expected, found {found}")).expected("runtime:version");
        }
        return String::new();
    };
    complain_about_type(judge, kind, false, &at, options);
    if split_type(kind).0 == "composable" && node.get("stack").is_none() {
        judge
            .loader
            .error(codes::MISSING_KEY, &parent.of(node, "stack"), "required key missing: a composable image needs a stack")
            .expected("a list of runtimes and packages")
            .remedy("Add `stack: [\"php@8.4\"]` or the like.");
    }
    kind.to_owned()
}

/// The same words for applications and services.
pub(crate) fn complain_about_type(judge: &mut Judge<'_, '_>, kind: &str, service: bool, at: &At, options: &Options) {
    let what = if service { "service" } else { "runtime" };
    let Err(fault) = judge_type(kind, service, options) else {
        return;
    };
    let (name, _) = split_type(kind);
    let shown = short(kind);
    match fault {
        TypeFault::UnknownName => {
            let known: Vec<&str> = if service { kinds::ENGINES.iter().map(|kind| kind.name).collect() } else { kinds::RUNTIMES.iter().map(|kind| kind.name).collect() };
            let near = nearest(name, known.iter().copied());
            let elsewhere = if service { runtime_kind(kind).is_some() } else { kinds::engine_kind(kind).is_some() };
            let message = match elsewhere {
                true if service => format!("'{shown}' is not a valid service type; it is a runtime of applications"),
                true => format!("'{shown}' is not a valid runtime; it is a service"),
                false if service => format!("'{shown}' is not a valid service type"),
                false => format!("'{shown}' is not a valid application type: unknown runtime"),
            };
            judge.loader.error(codes::UNKNOWN_TYPE, at, message).expected(known.join(", ")).suggest(near);
        }
        TypeFault::UnknownVersion { known } => {
            let message = if service { format!("'{shown}' is not a valid service type: unknown version of {name}") } else { format!("'{shown}': unknown version of {name}") };
            judge.loader.error(codes::UNKNOWN_TYPE, at, message).expected(format!("{name}:{known}")).remedy(format!("Use one of {known}."));
        }
        TypeFault::NoRecipe { has } => {
            let message = format!("this platform has no recipe for '{shown}', it has {has}");
            judge.loader.error(codes::UNKNOWN_TYPE, at, message).expected(has).remedy("Use a version that this platform has, or ask its operator for a recipe.");
        }
        TypeFault::NoVersion => {
            judge
                .loader
                .warning(codes::UNKNOWN_TYPE, at, format!("'{shown}' names no version; the {what}'s default is taken and may change"))
                .expected(format!("{name}:version"))
                .remedy("Write the version.");
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
    let base = if written.starts_with('/') || !raw.from_app_file { "" } else { raw.base.as_str() };
    join_inside(base, written).unwrap_or_else(|| {
        let place = at.of(node, "source").of(source, "root");
        judge.loader.error(codes::ROOT_OUTSIDE, &place, "the path leaves the repository").expected("path inside the repository");
        raw.base.clone()
    })
}

/// The platform's own files below a root: they never reach the application's tree.
fn config_files(judge: &Judge<'_, '_>, root: &str) -> Vec<String> {
    let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
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
    let toolstack = read::text(node, "toolstack").and_then(|toolstack| split_type(&toolstack).1.map(str::to_owned));
    let empty = Node::null();
    let build = node.get("build").unwrap_or(&empty);
    let caches = build.get("caches").map(|caches| caches.entries()).unwrap_or_default();
    Build {
        flavor: read::text(build, "flavor").or(toolstack).unwrap_or_else(|| default.to_owned()),
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
    let languages = node.get("dependencies").map(|value| value.entries()).unwrap_or_default();
    languages.iter().filter(|entry| !entry.value.is_null()).map(|entry| (entry.key.clone(), read::json_map(&entry.value))).collect()
}

fn runtime(judge: &mut Judge<'_, '_>, node: &Node, at: &At, kind: &str) -> Runtime {
    let empty = Node::null();
    let runtime = node.get("runtime").unwrap_or(&empty);
    let at = at.of(node, "runtime");
    let mut extensions = Vec::new();
    let list_at = at.of(runtime, "extensions");
    for (index, item) in runtime.get("extensions").map(|list| list.items()).unwrap_or_default().iter().enumerate() {
        let (name, configuration) = match &item.value.value {
            Val::Text(name) => (name.clone(), Value::Null),
            Val::Map(_) => (read::text(&item.value, "name").unwrap_or_default(), item.value.get("configuration").map_or(Value::Null, |value| value.json())),
            _ => continue,
        };
        extension(judge, &name, kind, &list_at.item(index, item));
        extensions.push(Extension { name, configuration });
    }
    let hints = runtime.get("sizing_hints").unwrap_or(&empty);
    Runtime {
        extensions,
        disabled_extensions: read::texts(runtime, "disabled_extensions"),
        request_memory: read::unsigned(hints, "request_memory").unwrap_or(REQUEST_MEMORY),
        reserved_memory: read::unsigned(hints, "reserved_memory").unwrap_or(RESERVED_MEMORY),
        request_terminate_timeout: read::unsigned(runtime, "request_terminate_timeout"),
        xdebug: runtime.get("xdebug").map(|value| value.json()),
    }
}

fn extension(judge: &mut Judge<'_, '_>, name: &str, kind: &str, at: &At) {
    let ("php", Some(version)) = split_type(kind) else {
        return;
    };
    if name.is_empty() {
        return;
    }
    match judge_extension(name, version) {
        Ok(()) => {}
        Err(ExtensionFault::Unsupported) => {
            judge.loader.error(codes::BAD_EXTENSION, at, format!("the {} extension is not supported for {kind}", short(name)));
        }
        Err(ExtensionFault::Unknown { near: Some(near) }) => {
            judge.loader.error(codes::BAD_EXTENSION, at, format!("unknown extension '{}'", short(name))).suggest(Some(near));
        }
        Err(ExtensionFault::Unknown { near: None }) => {
            judge.loader.warning(codes::BAD_EXTENSION, at, format!("'{}' is not a known extension; the image may lack it", short(name)));
        }
    }
}

/// Every variable needs a prefix, in the application, in `web` and in workers.
pub(crate) fn prefixes(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let Some(variables) = node.get("variables") else {
        return;
    };
    let at = at.of(node, "variables");
    for entry in variables.entries() {
        if !matches!(entry.value.value, Val::Map(_) | Val::Null | Val::Broken) {
            let message = format!("a prefix such as env is required, found {} directly", entry.value.kind());
            judge
                .loader
                .error(codes::VARIABLE_PREFIX, &at.key(entry), message)
                .expected("prefix with a mapping of names")
                .remedy(format!("Write `env: {{{}: …}}`.", short(&entry.key)));
        }
    }
}

fn mounts_of_overrides(judge: &mut Judge<'_, '_>, app_has_disk: bool, node: Option<&Ref>, at: &At, overrides: &Overrides) {
    if let (Some(mounts), Some(node)) = (&overrides.mounts, node) {
        let declared = app_has_disk || node.get("disk").is_some();
        mounts::needs_disk(judge, mounts, declared, &at.of(node, "mounts"));
    }
}

/// What `web` or a worker restates.
pub(crate) fn overrides(judge: &mut Judge<'_, '_>, node: &Node, at: &At, holder: Holder, links: &mut Vec<Link>, services: &mut Vec<MountService>) -> Overrides {
    prefixes(judge, node, at);
    crate::links::collect(judge, node, at, holder, links);
    let mounts = node.get("mounts").is_some().then(|| mounts::judge(judge, node, at, services));
    Overrides {
        size: read::text(node, "size"),
        disk: read::unsigned(node, "disk"),
        mounts,
        relationships: node.get("relationships").map(|_| Default::default()),
        access: node.get("access").map(|access| Access { ssh: read::role(access, "ssh").unwrap_or(Role::Contributor) }),
        variables: node.get("variables").map(|_| read::variables(node, "variables")),
        firewall: firewall(judge, node, at),
        timezone: read::text(node, "timezone"),
        additional_hosts: node.get("additional_hosts").map(|_| read::text_map(node, "additional_hosts")),
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
    for entry in node.get("workers").map(|value| value.entries()).unwrap_or_default() {
        let place = at.key(entry);
        let overrides = overrides(judge, &entry.value, &place, Holder::Worker(entry.key.clone()), links, services);
        mounts_of_overrides(judge, has_disk, Some(&entry.value), &place, &overrides);
        workers.insert(entry.key.clone(), Worker { commands: commands(&entry.value), overrides });
    }
    workers
}

/// `commands` of a web container or worker.
pub(crate) fn commands(node: &Node) -> Commands {
    let empty = Node::null();
    let commands = node.get("commands").unwrap_or(&empty);
    Commands { pre_start: read::text(commands, "pre_start"), start: read::text(commands, "start"), post_start: read::text(commands, "post_start") }
}

fn crons(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> IndexMap<String, Cron> {
    let at = at.of(node, "crons");
    let mut crons = IndexMap::new();
    for entry in node.get("crons").map(|value| value.entries()).unwrap_or_default() {
        let cron = &entry.value;
        if !matches!(cron.value, Val::Map(_)) {
            continue;
        }
        let place = at.key(entry);
        let commands = cron.get("commands");
        if commands.is_none() && cron.get("cmd").is_none() {
            judge.loader.error(codes::CRON_COMMAND, &place, "cmd or commands required").expected("commands: {start: …}");
        }
        if commands.is_some() && cron.get("cmd").is_some() {
            judge.loader.warning(codes::EXCLUSIVE_KEYS, &place.of(cron, "cmd"), "cmd has no effect beside commands");
        }
        let start = commands.and_then(|commands| read::text(commands, "start")).or_else(|| read::text(cron, "cmd"));
        let value = Cron {
            spec: read::text(cron, "spec").unwrap_or_default(),
            start: start.unwrap_or_default(),
            stop: commands.and_then(|commands| read::text(commands, "stop")),
            shutdown_timeout: read::unsigned(cron, "shutdown_timeout").unwrap_or(CRON_SHUTDOWN),
            timeout: read::unsigned(cron, "timeout").unwrap_or(CRON_TIMEOUT),
        };
        crons.insert(entry.key.clone(), value);
    }
    crons
}

fn source(node: &Node) -> Source {
    let empty = Node::null();
    let source = node.get("source").unwrap_or(&empty);
    let operations = source.get("operations").map(|value| value.entries()).unwrap_or_default();
    Source {
        root: read::text(source, "root"),
        operations: operations.iter().filter_map(|entry| Some((entry.key.clone(), read::text(&entry.value, "command")?))).collect(),
    }
}

fn preflight(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Preflight {
    let empty = Node::null();
    let preflight = node.get("preflight").unwrap_or(&empty);
    if preflight.get("ignored_rules").is_some() && preflight.get("ignore_rules").is_some() {
        let place = at.of(node, "preflight").of(preflight, "ignore_rules");
        judge.loader.error(codes::EXCLUSIVE_KEYS, &place, "ignore_rules cannot stand beside ignored_rules");
    }
    let rules = preflight.get("ignored_rules").or_else(|| preflight.get("ignore_rules"));
    let ignored_rules = rules
        .map(|rules| rules.items())
        .unwrap_or_default()
        .iter()
        .filter_map(|item| match &item.value.value {
            Val::Text(id) => Some(IgnoredRule { id: id.clone(), reason: None, until: None }),
            Val::Map(_) => {
                Some(IgnoredRule { id: read::text(&item.value, "id")?, reason: read::text(&item.value, "reason"), until: read::text(&item.value, "until") })
            }
            _ => None,
        })
        .collect();
    Preflight { enabled: read::flag(preflight, "enabled").unwrap_or(true), ignored_rules }
}

pub(crate) fn firewall(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Option<Firewall> {
    let firewall = node.get("firewall").filter(|value| matches!(value.value, Val::Map(_)))?;
    let at = at.of(node, "firewall").of(firewall, "outbound");
    let mut outbound = Vec::new();
    for (index, item) in firewall.get("outbound").map(|list| list.items()).unwrap_or_default().iter().enumerate() {
        let rule = &item.value;
        let place = at.item(index, item);
        if rule.get("ips").is_some() && rule.get("domains").is_some() {
            judge.loader.error(codes::EXCLUSIVE_KEYS, &place.of(rule, "domains"), "ips and domains exclude each other").remedy("Make two rules of it.");
        }
        if matches!(rule.value, Val::Map(_)) && rule.entries().is_empty() {
            judge.loader.error(codes::MISSING_KEY, &place, "a rule needs ips, domains or ports").expected("ips, domains, ports");
        }
        outbound.push(OutboundRule {
            protocol: read::text(rule, "protocol").unwrap_or_else(|| "tcp".to_owned()),
            ips: read::texts(rule, "ips"),
            domains: read::texts(rule, "domains"),
            ports: rule
                .get("ports")
                .map(|ports| ports.items())
                .unwrap_or_default()
                .iter()
                .filter_map(|port| port.value.int().and_then(|port| u16::try_from(port).ok()))
                .collect(),
        });
    }
    Some(Firewall { outbound })
}

fn operations(node: &Node) -> IndexMap<String, Operation> {
    let entries = node.get("operations").map(|value| value.entries()).unwrap_or_default();
    let operation = |operation: &Node| {
        let empty = Node::null();
        let commands = operation.get("commands").unwrap_or(&empty);
        Operation {
            role: read::role(operation, "role").unwrap_or(Role::Contributor),
            start: read::text(commands, "start").unwrap_or_default(),
            stop: read::text(commands, "stop"),
            timeout: read::unsigned(operation, "timeout"),
        }
    };
    entries.iter().map(|entry| (entry.key.clone(), operation(&entry.value))).collect()
}

pub(crate) fn resources(node: &Node) -> Option<Resources> {
    let resources = node.get("resources").filter(|value| matches!(value.value, Val::Map(_)))?;
    Some(Resources {
        base_memory: read::unsigned(resources, "base_memory").unwrap_or(64),
        memory_ratio: read::unsigned(resources, "memory_ratio").unwrap_or(128),
    })
}

fn stack(node: &Node) -> Option<Stack> {
    let stack = node.get("stack")?;
    let items = |list: &[crate::node::Item]| -> Vec<StackItem> {
        list.iter()
            .filter_map(|item| match &item.value.value {
                Val::Text(name) => Some(StackItem { name: name.clone(), options: Value::Null }),
                Val::Map(entries) => entries.first().map(|entry| StackItem { name: entry.key.clone(), options: stack_options(entries) }),
                _ => None,
            })
            .collect()
    };
    Some(match &stack.value {
        Val::List(list) => {
            // Of one list, what carries a version of a runtime is a runtime.
            let (runtimes, packages) = items(list).into_iter().partition(|item| is_runtime(&item.name));
            Stack { runtimes, packages }
        }
        _ => Stack {
            runtimes: stack.get("runtimes").map(|list| items(list.items())).unwrap_or_default(),
            packages: stack.get("packages").map(|list| items(list.items())).unwrap_or_default(),
        },
    })
}

/// Options stand below the item's key, or (one indent less, as many write it) beside it.
fn stack_options(entries: &[crate::node::Entry]) -> Value {
    let (first, rest) = entries.split_at(1);
    if rest.is_empty() || !first[0].value.is_null() {
        return first[0].value.json();
    }
    Value::Object(rest.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect())
}

/// `python@3.12` of a runtime that the language knows.
fn is_runtime(name: &str) -> bool {
    name.split_once('@').is_some_and(|(name, _)| matches!(name, "bun" | "clojure" | "common-lisp" | "perl" | "deno") || runtime_kind(name).is_some())
}
