//! The smaller parts of an application: crons, firewall, operations, stack.

use crate::codes;
use crate::kinds::runtime_kind;
use crate::node::{At, Node, Val};
use crate::read;
use crate::shape::Judge;
use crate::types::*;
use indexmap::IndexMap;
use serde_json::Value;

/// Seconds.
pub(crate) const CRON_SHUTDOWN: u64 = 10;
pub(crate) const CRON_TIMEOUT: u64 = 86_400;

/// `commands` of a web container or worker.
pub(crate) fn commands(node: &Node) -> Commands {
    let empty = Node::null();
    let commands = node.get("commands").unwrap_or(&empty);
    Commands {
        pre_start: read::text(commands, "pre_start"),
        start: read::text(commands, "start"),
        post_start: read::text(commands, "post_start"),
    }
}

pub(crate) fn crons(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> IndexMap<String, Cron> {
    let at = at.of(node, "crons");
    let mut crons = IndexMap::new();
    for entry in node
        .get("crons")
        .map(|value| value.entries())
        .unwrap_or_default()
    {
        let cron = &entry.value;
        if !matches!(cron.value, Val::Map(_)) {
            continue;
        }
        let place = at.key(entry);
        let commands = cron.get("commands");
        if commands.is_none() && cron.get("cmd").is_none() {
            judge
                .loader
                .error(codes::CRON_COMMAND, &place, "cmd or commands required")
                .expected("commands: {start: …}");
        }
        if commands.is_some() && cron.get("cmd").is_some() {
            judge.loader.warning(
                codes::EXCLUSIVE_KEYS,
                &place.of(cron, "cmd"),
                "cmd has no effect beside commands",
            );
        }
        let start = commands
            .and_then(|commands| read::text(commands, "start"))
            .or_else(|| read::text(cron, "cmd"));
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

pub(crate) fn source(node: &Node) -> Source {
    let empty = Node::null();
    let source = node.get("source").unwrap_or(&empty);
    let operations = source
        .get("operations")
        .map(|value| value.entries())
        .unwrap_or_default();
    Source {
        root: read::text(source, "root"),
        operations: operations
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), read::text(&entry.value, "command")?)))
            .collect(),
    }
}

pub(crate) fn preflight(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Preflight {
    let empty = Node::null();
    let preflight = node.get("preflight").unwrap_or(&empty);
    if preflight.get("ignored_rules").is_some() && preflight.get("ignore_rules").is_some() {
        let place = at.of(node, "preflight").of(preflight, "ignore_rules");
        judge.loader.error(
            codes::EXCLUSIVE_KEYS,
            &place,
            "ignore_rules cannot stand beside ignored_rules",
        );
    }
    let rules = preflight
        .get("ignored_rules")
        .or_else(|| preflight.get("ignore_rules"));
    let ignored_rules = rules
        .map(|rules| rules.items())
        .unwrap_or_default()
        .iter()
        .filter_map(|item| match &item.value.value {
            Val::Text(id) => Some(IgnoredRule {
                id: id.clone(),
                reason: None,
                until: None,
            }),
            Val::Map(_) => Some(IgnoredRule {
                id: read::text(&item.value, "id")?,
                reason: read::text(&item.value, "reason"),
                until: read::text(&item.value, "until"),
            }),
            _ => None,
        })
        .collect();
    Preflight {
        enabled: read::flag(preflight, "enabled").unwrap_or(true),
        ignored_rules,
    }
}

pub(crate) fn firewall(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Option<Firewall> {
    let firewall = node
        .get("firewall")
        .filter(|value| matches!(value.value, Val::Map(_)))?;
    let at = at.of(node, "firewall").of(firewall, "outbound");
    let mut outbound = Vec::new();
    for (index, item) in firewall
        .get("outbound")
        .map(|list| list.items())
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let rule = &item.value;
        let place = at.item(index, item);
        if rule.get("ips").is_some() && rule.get("domains").is_some() {
            judge
                .loader
                .error(
                    codes::EXCLUSIVE_KEYS,
                    &place.of(rule, "domains"),
                    "ips and domains exclude each other",
                )
                .remedy("Make two rules of it.");
        }
        if matches!(rule.value, Val::Map(_)) && rule.entries().is_empty() {
            judge
                .loader
                .error(
                    codes::MISSING_KEY,
                    &place,
                    "a rule needs ips, domains or ports",
                )
                .expected("ips, domains, ports");
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

pub(crate) fn operations(node: &Node) -> IndexMap<String, Operation> {
    let entries = node
        .get("operations")
        .map(|value| value.entries())
        .unwrap_or_default();
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
    entries
        .iter()
        .map(|entry| (entry.key.clone(), operation(&entry.value)))
        .collect()
}

pub(crate) fn resources(node: &Node) -> Option<Resources> {
    let resources = node
        .get("resources")
        .filter(|value| matches!(value.value, Val::Map(_)))?;
    Some(Resources {
        base_memory: read::unsigned(resources, "base_memory").unwrap_or(64),
        memory_ratio: read::unsigned(resources, "memory_ratio").unwrap_or(128),
    })
}

pub(crate) fn stack(node: &Node) -> Option<Stack> {
    let stack = node.get("stack")?;
    let items = |list: &[crate::node::Item]| -> Vec<StackItem> {
        list.iter()
            .filter_map(|item| match &item.value.value {
                Val::Text(name) => Some(StackItem {
                    name: name.clone(),
                    options: Value::Null,
                }),
                Val::Map(entries) => entries.first().map(|entry| StackItem {
                    name: entry.key.clone(),
                    options: stack_options(entries),
                }),
                _ => None,
            })
            .collect()
    };
    Some(match &stack.value {
        Val::List(list) => {
            // Of one list, what carries a version of a runtime is a runtime.
            let (runtimes, packages) = items(list)
                .into_iter()
                .partition(|item| is_runtime(&item.name));
            Stack { runtimes, packages }
        }
        _ => Stack {
            runtimes: stack
                .get("runtimes")
                .map(|list| items(list.items()))
                .unwrap_or_default(),
            packages: stack
                .get("packages")
                .map(|list| items(list.items()))
                .unwrap_or_default(),
        },
    })
}

/// Options stand below the item's key, or (one indent less, as many write it) beside it.
pub(crate) fn stack_options(entries: &[crate::node::Entry]) -> Value {
    let (first, rest) = entries.split_at(1);
    if rest.is_empty() || !first[0].value.is_null() {
        return first[0].value.json();
    }
    Value::Object(
        rest.iter()
            .map(|entry| (entry.key.clone(), entry.value.json()))
            .collect(),
    )
}

/// `python@3.12` of a runtime that the language knows.
pub(crate) fn is_runtime(name: &str) -> bool {
    name.split_once('@').is_some_and(|(name, _)| {
        matches!(name, "bun" | "clojure" | "common-lisp" | "perl" | "deno")
            || runtime_kind(name).is_some()
    })
}
