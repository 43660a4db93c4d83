//! composer.lock.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{Items, Pairs, Text};
use super::sheet::{Lines, Node, Sheet};
use super::{Broken, asked_for};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Option<Items<Entry>>,
    #[serde(default, rename = "packages-dev")]
    packages_dev: Option<Items<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    version: Text,
    #[serde(default)]
    require: Pairs<Text>,
    #[serde(default)]
    provide: Pairs<Text>,
    #[serde(default)]
    replace: Pairs<Text>,
}

pub(super) fn read(file: &str, text: &str, manifest: Option<&str>) -> Result<Vec<Package>, Broken> {
    let lock: Lock = serde_json::from_str(text)?;
    let Some(production) = lock.packages else {
        return Err(Broken::Syntax {
            line: None,
            what: "it has no `packages`".to_owned(),
        });
    };
    let mut sheet = Sheet::new(file, Ecosystem::Packagist, Manager::Composer);
    let mut lines = Lines::new(text);
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let mut requires = Vec::new();
    let development = lock.packages_dev.unwrap_or_default().0;
    let all = production
        .0
        .into_iter()
        .map(|entry| (entry, false))
        .chain(development.into_iter().map(|entry| (entry, true)));
    for (entry, development) in all {
        let line = lines.find(&format!("\"name\": \"{}\"", entry.name));
        let name = entry.name.to_ascii_lowercase();
        let at = sheet.add(Node {
            name: name.clone(),
            version: entry.version.0,
            line,
            development: Some(development),
            ..Node::default()
        });
        by_name.insert(name, at);
        // A requirement may be met by what another package provides or replaces.
        for given in entry.provide.keys().chain(entry.replace.keys()) {
            by_name.entry(given.to_ascii_lowercase()).or_insert(at);
        }
        requires.push(entry.require);
    }
    for (at, require) in requires.iter().enumerate() {
        sheet.nodes[at].needs = require
            .keys()
            .filter_map(|name| by_name.get(&name.to_ascii_lowercase()))
            .copied()
            .filter(|need| *need != at)
            .collect();
    }
    let asked = |keys: &[&str]| -> Vec<usize> {
        asked_for(manifest, keys)
            .iter()
            .filter_map(|(name, _)| by_name.get(&name.to_ascii_lowercase()))
            .copied()
            .collect()
    };
    sheet.roots = asked(&["require"]);
    sheet.development_roots = asked(&["require-dev"]);
    Ok(sheet.finish()?)
}
