//! What an application runs on: type, version, extensions of the runtime.

use crate::app::{REQUEST_MEMORY, RESERVED_MEMORY};
use crate::codes;
use crate::extensions::{ExtensionFault, judge_extension};
use crate::kinds::{self, TypeFault, judge_type, runtime_kind, split_type};
use crate::near::nearest;
use crate::node::{At, Node, Val};
use crate::options::Options;
use crate::read;
use crate::shape::{Judge, short};
use crate::types::*;
use serde_json::Value;

pub(crate) fn kind(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    parent: &At,
    options: &Options,
) -> String {
    let at = parent;
    let legacy = read::text(node, "toolstack").map(|toolstack| split_type(&toolstack).0.to_owned());
    let Some(value) = node.get("type") else {
        if let Some(legacy) = legacy {
            return legacy;
        }
        if node.get("stack").is_none() {
            judge
                .loader
                .error(
                    codes::MISSING_KEY,
                    &at.of(node, "type"),
                    "required key missing: runtime and version, such as php:8.3",
                )
                .expected("runtime:version")
                .remedy("Add `type: php:8.3` (or the runtime of your application).");
        }
        return String::new();
    };
    let at = at.of(node, "type");
    let Some(kind) = value.text() else {
        if !value.is_broken() {
            let found = value.kind();
            judge
                .loader
                .error(
                    codes::WRONG_TYPE,
                    &at,
                    format!("text runtime:version expected, found {found}"),
                )
                .expected("runtime:version");
        }
        return String::new();
    };
    complain_about_type(judge, kind, false, &at, options);
    if split_type(kind).0 == "composable" && node.get("stack").is_none() {
        judge
            .loader
            .error(
                codes::MISSING_KEY,
                &parent.of(node, "stack"),
                "required key missing: a composable image needs a stack",
            )
            .expected("a list of runtimes and packages")
            .remedy("Add `stack: [\"php@8.4\"]` or the like.");
    }
    kind.to_owned()
}

/// The same words for applications and services.
pub(crate) fn complain_about_type(
    judge: &mut Judge<'_, '_>,
    kind: &str,
    service: bool,
    at: &At,
    options: &Options,
) {
    let what = if service { "service" } else { "runtime" };
    let Err(fault) = judge_type(kind, service, options) else {
        return;
    };
    let (name, _) = split_type(kind);
    let shown = short(kind);
    match fault {
        TypeFault::UnknownName => {
            let known: Vec<&str> = if service {
                kinds::ENGINES.iter().map(|kind| kind.name).collect()
            } else {
                kinds::RUNTIMES.iter().map(|kind| kind.name).collect()
            };
            let near = nearest(name, known.iter().copied());
            let elsewhere = if service {
                runtime_kind(kind).is_some()
            } else {
                kinds::engine_kind(kind).is_some()
            };
            let message = match elsewhere {
                true if service => format!(
                    "'{shown}' is not a valid service type; it is a runtime of applications"
                ),
                true => format!("'{shown}' is not a valid runtime; it is a service"),
                false if service => format!("'{shown}' is not a valid service type"),
                false => format!("'{shown}' is not a valid application type: unknown runtime"),
            };
            judge
                .loader
                .error(codes::UNKNOWN_TYPE, at, message)
                .expected(known.join(", "))
                .suggest(near);
        }
        TypeFault::UnknownVersion { known } => {
            let message = if service {
                format!("'{shown}' is not a valid service type: unknown version of {name}")
            } else {
                format!("'{shown}': unknown version of {name}")
            };
            judge
                .loader
                .error(codes::UNKNOWN_TYPE, at, message)
                .expected(format!("{name}:{known}"))
                .remedy(format!("Use one of {known}."));
        }
        TypeFault::NoRecipe { has } => {
            let message = format!("this platform has no recipe for '{shown}', it has {has}");
            judge
                .loader
                .error(codes::UNKNOWN_TYPE, at, message)
                .expected(has)
                .remedy("Use a version that this platform has, or ask its operator for a recipe.");
        }
        TypeFault::NoVersion => {
            judge
                .loader
                .warning(
                    codes::UNKNOWN_TYPE,
                    at,
                    format!(
                        "'{shown}' names no version; the {what}'s default is taken and may change"
                    ),
                )
                .expected(format!("{name}:version"))
                .remedy("Write the version.");
        }
    }
}

pub(crate) fn runtime(judge: &mut Judge<'_, '_>, node: &Node, at: &At, kind: &str) -> Runtime {
    let empty = Node::null();
    let runtime = node.get("runtime").unwrap_or(&empty);
    let at = at.of(node, "runtime");
    let mut extensions = Vec::new();
    let list_at = at.of(runtime, "extensions");
    for (index, item) in runtime
        .get("extensions")
        .map(|list| list.items())
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let (name, configuration) = match &item.value.value {
            Val::Text(name) => (name.clone(), Value::Null),
            Val::Map(_) => (
                read::text(&item.value, "name").unwrap_or_default(),
                item.value
                    .get("configuration")
                    .map_or(Value::Null, |value| value.json()),
            ),
            _ => continue,
        };
        extension(judge, &name, kind, &list_at.item(index, item));
        extensions.push(Extension {
            name,
            configuration,
        });
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

pub(crate) fn extension(judge: &mut Judge<'_, '_>, name: &str, kind: &str, at: &At) {
    let ("php", Some(version)) = split_type(kind) else {
        return;
    };
    if name.is_empty() {
        return;
    }
    match judge_extension(name, version) {
        Ok(()) => {}
        Err(ExtensionFault::Unsupported) => {
            judge.loader.error(
                codes::BAD_EXTENSION,
                at,
                format!("the {} extension is not supported for {kind}", short(name)),
            );
        }
        Err(ExtensionFault::Unknown { near: Some(near) }) => {
            judge
                .loader
                .error(
                    codes::BAD_EXTENSION,
                    at,
                    format!("unknown extension '{}'", short(name)),
                )
                .suggest(Some(near));
        }
        Err(ExtensionFault::Unknown { near: None }) => {
            judge.loader.warning(
                codes::BAD_EXTENSION,
                at,
                format!(
                    "'{}' is not a known extension; the image may lack it",
                    short(name)
                ),
            );
        }
    }
}
