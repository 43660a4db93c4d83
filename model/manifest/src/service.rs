//! One service: judged and normalised.

use crate::app_parts::{firewall, resources};
use crate::app_type::complain_about_type;
use crate::checks;
use crate::codes;
use crate::flavour::Flavour;
use crate::kinds::{DiskRule, EngineKind, engine_kind, split_type};
use crate::links::{Holder, Link};
use crate::near::nearest;
use crate::node::{At, Entry, Node, Ref, Val};
use crate::options::Options;
use crate::read;
use crate::service_shape::{SERVICE, configuration};
use crate::shape::{Judge, listed, short};
use crate::types::{Role, Service};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct ServiceDraft {
    pub service: Service,
    pub node: Ref,
    pub at: At,
    pub links: Vec<Link>,
    /// False when the type is not known, so that its endpoints are not either.
    pub known: bool,
}

pub(crate) fn judge(
    judge: &mut Judge<'_, '_>,
    entry: &Entry,
    at: &At,
    options: &Options,
) -> ServiceDraft {
    let node = entry.value.clone();
    checks::top_name(judge, &entry.key, at);
    if !matches!(node.value, Val::Map(_)) {
        if !node.is_broken() {
            let found = node.kind();
            judge
                .loader
                .error(
                    codes::WRONG_TYPE,
                    at,
                    format!("a mapping with type expected, found {found}"),
                )
                .expected("a mapping with type");
        }
        return ServiceDraft {
            service: blank(&entry.key),
            node: Node::null(),
            at: at.clone(),
            links: Vec::new(),
            known: false,
        };
    }
    judge.table(&node, &SERVICE, at);
    let mut service = blank(&entry.key);
    let mut links = Vec::new();
    crate::links::collect(judge, &node, at, Holder::Service, &mut links);
    service.kind = read::text(&node, "type").unwrap_or_default();
    service.disk = read::unsigned(&node, "disk");
    service.size = read::text(&node, "size").unwrap_or_else(|| "AUTO".to_owned());
    service.firewall = firewall(judge, &node, at);
    service.resources = resources(&node);
    service.container_profile = read::text(&node, "container_profile");
    service.access = node
        .get("access")
        .and_then(|access| read::role(access, "ssh"))
        .map(|role: Role| BTreeMap::from([("ssh".to_owned(), role)]))
        .unwrap_or_default();
    if node.get("type").is_some_and(|kind| kind.text().is_some()) {
        complain_about_type(judge, &service.kind, true, &at.of(&node, "type"), options);
    }
    let engine = engine_kind(&service.kind);
    if let Some(engine) = engine {
        if engine.name == "network-storage" && entry.key.contains('_') {
            let suggestion = entry.key.replace('_', "-");
            judge
                .loader
                .error(
                    codes::BAD_NAME,
                    at,
                    "network-storage names must be host labels (no _)",
                )
                .suggest(Some(suggestion));
        }
        if judge.flavour != Flavour::Upsun {
            disk(judge, &node, at, engine);
        }
        service.configuration = configured(judge, &node, at, engine);
    } else if let Some(written) = node.get("configuration") {
        service.configuration = written.json();
    }
    ServiceDraft {
        service,
        node,
        at: at.clone(),
        links,
        known: engine.is_some(),
    }
}

fn blank(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        kind: String::new(),
        disk: None,
        size: "AUTO".to_owned(),
        configuration: json!({}),
        relationships: BTreeMap::new(),
        access: BTreeMap::new(),
        firewall: None,
        resources: None,
        container_profile: None,
    }
}

fn disk(judge: &mut Judge<'_, '_>, node: &Node, at: &At, engine: &EngineKind) {
    let place = at.of(node, "disk");
    let written = node.get("disk");
    let name = engine.name;
    match (engine.disk, written) {
        (DiskRule::Forbidden { persistent }, Some(_)) => {
            let hint = persistent
                .map(|persistent| format!(" ({persistent} has a disk)"))
                .unwrap_or_default();
            judge
                .loader
                .error(
                    codes::BAD_DISK,
                    &place,
                    format!("not allowed, {name} keeps data in memory{hint}"),
                )
                .remedy(persistent.map_or_else(
                    || "Remove `disk`.".to_owned(),
                    |persistent| format!("Remove `disk`, or use {persistent}."),
                ));
        }
        (DiskRule::AtLeast(least), None) => {
            judge
                .loader
                .error(codes::BAD_DISK, &place, format!("required for {name}"))
                .expected(format!("at least {least} MB"))
                .remedy(format!("Add `disk: {}` (megabytes).", least.max(512)));
        }
        (DiskRule::AtLeast(least), Some(value))
            if value.int().is_some_and(|size| size < least as i64) =>
        {
            judge
                .loader
                .error(
                    codes::BAD_DISK,
                    &place,
                    format!("at least {least} for {name}"),
                )
                .expected(format!("at least {least} MB"));
        }
        _ => {}
    }
}

/// `configuration` judged by type, with defaults filled in.
fn configured(judge: &mut Judge<'_, '_>, node: &Ref, at: &At, engine: &EngineKind) -> Value {
    let empty = Node::new(Val::Map(Vec::new()));
    let written = node
        .get("configuration")
        .filter(|value| matches!(value.value, Val::Map(_)));
    let place = at.of(node, "configuration");
    if node.get("configuration").is_some() && written.is_none() {
        return json!({});
    }
    let written = written.unwrap_or(&empty);
    match configuration(engine.name) {
        Some(table) => judge.table(written, table, &place),
        None => {
            for entry in written.entries() {
                let message = format!(
                    "{} has no configuration that the platform knows",
                    engine.name
                );
                judge
                    .loader
                    .warning(codes::UNKNOWN_KEY, &place.key(entry), message);
            }
        }
    }
    match engine.name {
        "mysql" | "mariadb" | "oracle-mysql" => databases(judge, written, &place, &SQL),
        "postgresql" => databases(judge, written, &place, &POSTGRESQL),
        "solr" => solr(judge, written, &place),
        "varnish" => {
            vcl(judge, written, &place);
            written.json()
        }
        "redis" | "redis-persistent" | "valkey" | "valkey-persistent" => {
            with_default(written, "maxmemory_policy", json!("allkeys-lru"))
        }
        "mercure" => {
            let mut value = with_default(written, "anonymous", json!(false));
            if let Value::Object(map) = &mut value {
                map.entry("cors_origins").or_insert_with(|| json!([]));
            }
            value
        }
        _ => written.json(),
    }
}

fn with_default(written: &Node, key: &str, default: Value) -> Value {
    let mut value = written.json();
    if let Value::Object(map) = &mut value {
        map.entry(key).or_insert(default);
    }
    value
}

/// How an engine calls its databases.
struct Naming {
    list: &'static str,
    default: &'static str,
    endpoint: &'static str,
    noun: &'static str,
}

const SQL: Naming = Naming {
    list: "schemas",
    default: "default_schema",
    endpoint: "mysql",
    noun: "schemas",
};
const POSTGRESQL: Naming = Naming {
    list: "databases",
    default: "default_database",
    endpoint: "postgresql",
    noun: "databases",
};

fn databases(judge: &mut Judge<'_, '_>, written: &Node, at: &At, naming: &Naming) -> Value {
    let given = written.get(naming.list);
    let mut names = read::texts(written, naming.list);
    if let Some(given) = given {
        let list_at = at.of(written, naming.list);
        let mut seen = BTreeSet::new();
        for (index, item) in given.items().iter().enumerate() {
            let name = item.value.text().unwrap_or_default();
            if !seen.insert(name) {
                judge.loader.error(
                    codes::BAD_CONFIGURATION,
                    &list_at.item(index, item),
                    format!("'{}' is in the list already", short(name)),
                );
            }
        }
    } else {
        names = vec!["main".to_owned()];
    }
    let endpoints_at = at.of(written, "endpoints");
    let mut endpoints = Map::new();
    match written.get("endpoints") {
        None => {
            let privileges: Map<String, Value> = names
                .iter()
                .map(|name| (name.clone(), json!("admin")))
                .collect();
            let default = if names.len() == 1 {
                json!(names[0])
            } else {
                Value::Null
            };
            endpoints.insert(
                naming.endpoint.to_owned(),
                json!({naming.default: default, "privileges": privileges}),
            );
        }
        Some(written) => {
            let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            for entry in written.entries() {
                let value = endpoint(judge, entry, &endpoints_at.key(entry), &known, naming);
                endpoints.insert(entry.key.clone(), value);
            }
        }
    }
    let mut value = written.json();
    if let Value::Object(map) = &mut value {
        map.insert(naming.list.to_owned(), json!(names));
        map.insert("endpoints".to_owned(), Value::Object(endpoints));
    }
    value
}

fn endpoint(
    judge: &mut Judge<'_, '_>,
    entry: &Entry,
    at: &At,
    names: &BTreeSet<&str>,
    naming: &Naming,
) -> Value {
    let node = &entry.value;
    let known = |name: &str| names.contains(name);
    let privileges_at = at.of(node, "privileges");
    let mut privileges = Map::new();
    for right in node
        .get("privileges")
        .map(|value| value.entries())
        .unwrap_or_default()
    {
        if !known(&right.key) {
            let near = if judge.loader.has_patience() {
                nearest(&right.key, names.iter().copied())
            } else {
                None
            };
            let message = format!("'{}' is not in {}", short(&right.key), naming.noun);
            judge
                .loader
                .error(codes::BAD_CONFIGURATION, &privileges_at.key(right), message)
                .expected(listed(names.iter().copied()))
                .suggest(near);
        }
        privileges.insert(right.key.clone(), right.value.json());
    }
    let mut default = read::text(node, naming.default);
    if let Some(name) = &default
        && !known(name)
    {
        let near = nearest(name, names.iter().copied());
        let message = format!("'{}' is not in {}", short(name), naming.noun);
        judge
            .loader
            .error(
                codes::BAD_CONFIGURATION,
                &at.of(node, naming.default),
                message,
            )
            .expected(listed(names.iter().copied()))
            .suggest(near);
    }
    if default.is_none() && privileges.len() == 1 {
        default = privileges.keys().next().cloned();
    }
    json!({naming.default: default, "privileges": privileges})
}

fn solr(judge: &mut Judge<'_, '_>, written: &Node, at: &At) -> Value {
    let cores_at = at.of(written, "cores");
    let cores: Vec<&str> = written
        .get("cores")
        .map(|cores| cores.entries())
        .unwrap_or_default()
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    let known: BTreeSet<&str> = cores.iter().copied().collect();
    for entry in written
        .get("cores")
        .map(|cores| cores.entries())
        .unwrap_or_default()
    {
        let place = cores_at.key(entry);
        if let Some(Val::Archive(archive)) = entry.value.get("conf_dir").map(|value| &value.value) {
            let has = |name: &str| archive.files.contains_key(name);
            let lacks = match (
                has("solrconfig.xml"),
                has("schema.xml") || has("managed-schema") || has("managed-schema.xml"),
            ) {
                (false, _) => Some("solrconfig.xml"),
                (true, false) => Some("schema.xml"),
                _ => None,
            };
            if let Some(name) = lacks {
                let message = format!("{} has no {name}", archive.directory);
                judge
                    .loader
                    .error(
                        codes::ARCHIVE_CONTENT,
                        &place.of(&entry.value, "conf_dir"),
                        message,
                    )
                    .expected("solrconfig.xml, schema.xml");
            }
        }
    }
    let endpoints_at = at.of(written, "endpoints");
    for entry in written
        .get("endpoints")
        .map(|value| value.entries())
        .unwrap_or_default()
    {
        let Some(core) = entry.value.get("core").and_then(|core| core.text()) else {
            continue;
        };
        let implied = cores.is_empty() && core == "collection1";
        if !implied && !known.contains(core) {
            let near = nearest(core, cores.iter().copied());
            let place = endpoints_at.key(entry).of(&entry.value, "core");
            judge
                .loader
                .error(
                    codes::BAD_CONFIGURATION,
                    &place,
                    format!("no core '{}'", short(core)),
                )
                .expected(listed(cores.iter().copied()))
                .suggest(near);
        }
    }
    let mut value = written.json();
    if let Value::Object(map) = &mut value {
        let first = cores.first().copied().unwrap_or("collection1").to_owned();
        map.entry("endpoints")
            .or_insert_with(|| json!({"solr": {"core": first}}));
    }
    value
}

/// The platform writes the version line, the backends and `vcl_init` itself.
fn vcl(judge: &mut Judge<'_, '_>, written: &Node, at: &At) {
    let Some(text) = written.get("vcl").and_then(|vcl| vcl.text()) else {
        return;
    };
    let code = text
        .lines()
        .map(|line| line.split(['#']).next().unwrap_or_default().trim());
    for line in code {
        let version = line
            .strip_prefix("vcl ")
            .is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        let init = line
            .strip_prefix("sub ")
            .is_some_and(|rest| rest.trim_start().starts_with("vcl_init"));
        if version || init {
            let what = if version {
                "a vcl version line"
            } else {
                "vcl_init"
            };
            judge.loader.warning(
                codes::BAD_VCL,
                &at.of(written, "vcl"),
                format!("the VCL holds {what}, which the platform writes itself"),
            );
            return;
        }
    }
}

/// `mariadb` of `mariadb:10.6`.
pub(crate) fn engine_name(service: &Service) -> &str {
    split_type(&service.kind).0
}
