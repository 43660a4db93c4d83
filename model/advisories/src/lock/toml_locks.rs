//! poetry.lock, uv.lock and Cargo.lock: lists of `[[package]]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Broken;
use super::bounded::{Items, Pairs, Text};
use super::sheet::{Lines, Node, PACKAGES_MAX, Sheet};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

#[derive(Deserialize)]
struct Lock<E> {
    #[serde(default = "Items::default")]
    package: Items<E>,
}

fn parse<'de, E: Deserialize<'de>>(text: &'de str) -> Result<Vec<E>, Broken> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| broken(text, &error))?;
    let lock: Lock<E> = Lock::deserialize(deserializer).map_err(|error| broken(text, &error))?;
    if lock.package.0.len() > PACKAGES_MAX {
        return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
    }
    Ok(lock.package.0)
}

fn broken(text: &str, error: &toml::de::Error) -> Broken {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.bytes().filter(|byte| *byte == b'\n').count() + 1);
    Broken::Syntax {
        line: line.and_then(|line| u32::try_from(line).ok()),
        what: error.message().to_owned(),
    }
}

fn line_of(lines: &mut Lines<'_>, name: &str) -> Option<u32> {
    lines.find(&format!("name = \"{name}\"\nversion"))
}

#[derive(Deserialize)]
struct PoetryEntry {
    name: String,
    version: String,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    dependencies: Pairs<serde::de::IgnoredAny>,
    #[serde(default)]
    source: Option<PoetrySource>,
}

#[derive(Deserialize)]
struct PoetrySource {
    #[serde(default, rename = "type")]
    kind: Text,
}

pub(super) fn poetry(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let entries: Vec<PoetryEntry> = parse(text)?;
    let mut sheet = Sheet::new(file, Ecosystem::PyPI, Manager::Poetry);
    let mut lines = Lines::new(text);
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        let by_category = entry.category.as_ref().map(|category| category != "main");
        let by_groups = entry
            .groups
            .as_ref()
            .map(|groups| !groups.iter().any(|group| group == "main"));
        let at = sheet.add(Node {
            name: entry.name.clone(),
            version: entry.version.clone(),
            line: line_of(&mut lines, &entry.name),
            development: by_groups.or(by_category).or(Some(false)),
            own: entry
                .source
                .as_ref()
                .is_some_and(|source| source.kind.0 == "directory"),
            ..Node::default()
        });
        by_name.insert(Ecosystem::PyPI.normal_name(&entry.name), at);
    }
    for (at, entry) in entries.iter().enumerate() {
        let names = entry
            .dependencies
            .keys()
            .map(|name| Ecosystem::PyPI.normal_name(name));
        sheet.nodes[at].needs = names
            .filter_map(|name| by_name.get(&name).copied())
            .filter(|need| *need != at)
            .collect();
    }
    Ok(sheet.finish()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvEntry {
    name: String,
    #[serde(default)]
    version: Text,
    #[serde(default)]
    source: Pairs<Text>,
    #[serde(default)]
    dependencies: Items<UvNeed>,
    #[serde(default)]
    optional_dependencies: Pairs<Items<UvNeed>>,
    #[serde(default)]
    dev_dependencies: Pairs<Items<UvNeed>>,
}

#[derive(Deserialize)]
struct UvNeed {
    name: String,
    #[serde(default)]
    version: Text,
}

pub(super) fn uv(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let entries: Vec<UvEntry> = parse(text)?;
    let mut sheet = Sheet::new(file, Ecosystem::PyPI, Manager::Uv);
    let mut lines = Lines::new(text);
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for entry in &entries {
        let own = entry
            .source
            .keys()
            .any(|kind| matches!(kind, "virtual" | "editable" | "directory"));
        let line = line_of(&mut lines, &entry.name);
        let at = sheet.add(Node {
            name: entry.name.clone(),
            version: entry.version.0.clone(),
            line,
            own,
            ..Node::default()
        });
        by_name.entry(&entry.name).or_default().push(at);
        if own {
            sheet.roots.push(at);
        }
    }
    let nodes_of = |sheet: &Sheet<'_>, need: &UvNeed| -> Vec<usize> {
        let all = by_name
            .get(need.name.as_str())
            .map_or(&[][..], Vec::as_slice);
        all.iter()
            .copied()
            .filter(|at| need.version.0.is_empty() || sheet.nodes[*at].version == need.version.0)
            .take(8)
            .collect()
    };
    for (at, entry) in entries.iter().enumerate() {
        let optional = entry
            .optional_dependencies
            .0
            .iter()
            .flat_map(|(_, items)| &items.0);
        let needs = entry
            .dependencies
            .0
            .iter()
            .chain(optional)
            .flat_map(|need| nodes_of(&sheet, need))
            .collect();
        let development: Vec<usize> = entry
            .dev_dependencies
            .0
            .iter()
            .flat_map(|(_, items)| &items.0)
            .flat_map(|need| nodes_of(&sheet, need))
            .collect();
        sheet.nodes[at].needs = needs;
        sheet.development_roots.extend(development);
    }
    Ok(sheet.finish()?)
}

#[derive(Deserialize)]
struct CargoEntry {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<Text>,
    #[serde(default)]
    dependencies: Items<String>,
}

pub(super) fn cargo(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let entries: Vec<CargoEntry> = parse(text)?;
    let mut sheet = Sheet::new(file, Ecosystem::Crates, Manager::Cargo);
    let mut lines = Lines::new(text);
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        let own = entry.source.is_none();
        let line = line_of(&mut lines, &entry.name);
        let at = sheet.add(Node {
            name: entry.name.clone(),
            version: entry.version.clone(),
            line,
            own,
            ..Node::default()
        });
        // A dependency is written `name`, or `name version` where several are locked.
        by_name.insert(entry.name.clone(), at);
        by_name.insert(format!("{} {}", entry.name, entry.version), at);
        if own {
            sheet.roots.push(at);
        }
    }
    for (at, entry) in entries.iter().enumerate() {
        let written = entry
            .dependencies
            .0
            .iter()
            .map(|need| need.split(" (").next().unwrap_or(need));
        sheet.nodes[at].needs = written
            .filter_map(|need| by_name.get(need).copied())
            .collect();
    }
    Ok(sheet.finish()?)
}
