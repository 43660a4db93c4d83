//! yarn.lock, the first format and that of Yarn 2 and later ("berry").

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{ENTRIES_MAX, Pairs, Text};
use super::sheet::{Lines, Node, PACKAGES_MAX, Sheet};
use super::{Broken, asked_for, pnpm};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

/// One entry of either format.
#[derive(Default)]
struct Entry {
    /// `name@range`, each way the entry is asked for.
    keys: Vec<String>,
    name: String,
    version: String,
    line: Option<u32>,
    needs: Vec<(String, String)>,
    own: bool,
}

pub(super) fn read(file: &str, text: &str, manifest: Option<&str>) -> Result<Vec<Package>, Broken> {
    let berry = text.lines().any(|line| line.starts_with("__metadata:"));
    let (entries, manager) = if berry {
        (modern(text)?, Manager::YarnBerry)
    } else {
        (classic(text)?, Manager::Yarn)
    };
    let mut sheet = Sheet::new(file, Ecosystem::Npm, manager);
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &entries {
        let at = sheet.add(Node {
            name: entry.name.clone(),
            version: entry.version.clone(),
            line: entry.line,
            own: entry.own,
            ..Node::default()
        });
        for key in &entry.keys {
            by_key.insert(key, at);
        }
        if entry.own {
            sheet.roots.push(at);
        }
    }
    let find = |name: &str, range: &str| {
        by_key
            .get(format!("{name}@{range}").as_str())
            .or_else(|| by_key.get(format!("{name}@npm:{range}").as_str()))
            .copied()
    };
    for (at, entry) in entries.iter().enumerate() {
        sheet.nodes[at].needs = entry
            .needs
            .iter()
            .filter_map(|(name, range)| find(name, range))
            .collect();
    }
    if !berry {
        let asked = |keys: &[&str]| -> Vec<usize> {
            asked_for(manifest, keys)
                .iter()
                .filter_map(|(name, range)| find(name, range))
                .collect()
        };
        sheet.roots = asked(&["dependencies", "optionalDependencies"]);
        sheet.development_roots = asked(&["devDependencies"]);
    }
    Ok(sheet.finish()?)
}

/// The real name behind `alias@npm:real@^1`, else the name before the last `@`.
fn name_of(key: &str) -> &str {
    let (name, range) = split(key);
    match range.strip_prefix("npm:").map(split) {
        Some((real, range)) if !range.is_empty() => real,
        _ => name,
    }
}

/// `@scope/name@range` at the first `@` that does not begin the name.
fn split(key: &str) -> (&str, &str) {
    match key
        .char_indices()
        .skip(1)
        .find(|(_, letter)| *letter == '@')
    {
        Some((at, _)) => (&key[..at], &key[at + 1..]),
        None => (key, ""),
    }
}

/// The first format: close to YAML, but not it.
fn classic(text: &str) -> Result<Vec<Entry>, Broken> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut in_needs = false;
    let mut budget = ENTRIES_MAX;
    for (at, raw) in text.lines().enumerate() {
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let content = raw.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        budget = budget
            .checked_sub(1)
            .ok_or_else(|| Broken::Bounds(format!("more than {ENTRIES_MAX} lines")))?;
        match raw.len() - raw.trim_start_matches(' ').len() {
            0 => {
                let keys = content
                    .strip_suffix(':')
                    .ok_or_else(|| Broken::at(line, "a line that is no entry"))?;
                let keys: Vec<String> = keys
                    .split(',')
                    .map(|key| key.trim().trim_matches('"').to_owned())
                    .collect();
                let name = name_of(&keys[0]).to_owned();
                if entries.len() == PACKAGES_MAX {
                    return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
                }
                entries.push(Entry {
                    keys,
                    name,
                    line: Some(line),
                    ..Entry::default()
                });
                in_needs = false;
            }
            indent => {
                let Some(entry) = entries.last_mut() else {
                    return Err(Broken::at(line, "an indented line before the first entry"));
                };
                let (key, value) = pair(content);
                match (indent, key) {
                    (2, "version") => entry.version = value.to_owned(),
                    (2, "dependencies:" | "optionalDependencies:") => in_needs = true,
                    (2, _) => in_needs = false,
                    (4, name) if in_needs => entry.needs.push((name.to_owned(), value.to_owned())),
                    _ => {}
                }
            }
        }
    }
    if entries.is_empty()
        && !text
            .lines()
            .all(|line| line.trim().is_empty() || line.starts_with('#'))
    {
        return Err(Broken::Syntax {
            line: None,
            what: "it has no entries".to_owned(),
        });
    }
    Ok(entries)
}

/// `"@babel/core" "^7.0.0"` without the quotes.
fn pair(content: &str) -> (&str, &str) {
    let (key, value) = match content
        .strip_prefix('"')
        .and_then(|rest| rest.split_once('"'))
    {
        Some(quoted) => quoted,
        None => content.split_once(' ').unwrap_or((content, "")),
    };
    (key, value.trim().trim_matches('"'))
}

#[derive(Deserialize)]
struct Modern {
    #[serde(default)]
    version: Text,
    #[serde(default)]
    resolution: Text,
    #[serde(default)]
    dependencies: Pairs<Text>,
}

fn modern(text: &str) -> Result<Vec<Entry>, Broken> {
    pnpm::check_size(text)?;
    let Pairs(map): Pairs<Modern> = serde_yaml::from_str(text)?;
    let mut lines = Lines::new(text);
    let mut entries = Vec::new();
    for (key, value) in map.into_iter().filter(|(key, _)| key != "__metadata") {
        let keys: Vec<String> = key.split(',').map(|one| one.trim().to_owned()).collect();
        let (resolved, protocol) = split(&value.resolution.0);
        let name = if resolved.is_empty() {
            name_of(&keys[0])
        } else {
            resolved
        }
        .to_owned();
        let own = ["workspace:", "link:", "portal:"]
            .iter()
            .any(|own| protocol.starts_with(own));
        let line = lines
            .find(&format!("\n\"{key}\":"))
            .or_else(|| lines.find(&format!("\n{key}:")));
        let needs = value
            .dependencies
            .0
            .into_iter()
            .map(|(name, range)| (name, range.0))
            .collect();
        entries.push(Entry {
            keys,
            name,
            version: value.version.0,
            line,
            needs,
            own,
        });
    }
    Ok(entries)
}
