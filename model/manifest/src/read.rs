//! Plain values out of nodes that have been judged: what is missing or bad reads as its default.

use crate::node::Node;
use crate::types::{Role, Variables};
use indexmap::IndexMap;
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)
        .and_then(|value| value.text())
        .map(str::to_owned)
}

pub(crate) fn flag(node: &Node, key: &str) -> Option<bool> {
    node.get(key).and_then(|value| value.flag())
}

pub(crate) fn unsigned(node: &Node, key: &str) -> Option<u64> {
    node.get(key).and_then(|value| value.unsigned())
}

pub(crate) fn texts(node: &Node, key: &str) -> Vec<String> {
    let items = node.get(key).map(|value| value.items()).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.value.scalar())
        .collect()
}

/// Names to text, sorted.
pub(crate) fn text_map(node: &Node, key: &str) -> BTreeMap<String, String> {
    let entries = node
        .get(key)
        .map(|value| value.entries())
        .unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), entry.value.scalar()?)))
        .collect()
}

/// Names to whatever, in the order of the file.
pub(crate) fn json_map(node: &Node) -> IndexMap<String, Value> {
    node.entries()
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.json()))
        .collect()
}

pub(crate) fn role(node: &Node, key: &str) -> Option<Role> {
    match node.get(key).and_then(|value| value.text()) {
        Some("admin") => Some(Role::Admin),
        Some("contributor") => Some(Role::Contributor),
        Some("viewer") => Some(Role::Viewer),
        _ => None,
    }
}

pub(crate) fn variables(node: &Node, key: &str) -> Variables {
    let prefixes = node
        .get(key)
        .map(|value| value.entries())
        .unwrap_or_default();
    prefixes
        .iter()
        .map(|prefix| {
            let values = prefix
                .value
                .entries()
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.json()))
                .collect();
            (prefix.key.clone(), values)
        })
        .collect()
}
