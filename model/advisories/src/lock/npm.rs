//! package-lock.json and npm-shrinkwrap.json, lock file versions 1 to 3.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{Flag, Pairs, Text};
use super::sheet::{Lines, Node, PACKAGES_MAX, Sheet};
use super::{Broken, asked_for};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

/// An install path longer than this is no path of npm.
const PLACE_BYTES_MAX: usize = 2048;

#[derive(Deserialize)]
struct Lock {
    #[serde(default, rename = "lockfileVersion")]
    lockfile_version: Text,
    packages: Option<Pairs<Entry>>,
    dependencies: Option<Pairs<Old>>,
}

/// Versions 2 and 3: the key is the place on disk.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    version: Text,
    #[serde(default)]
    resolved: Text,
    #[serde(default)]
    dev: Flag,
    #[serde(default)]
    link: Flag,
    #[serde(default)]
    dependencies: Pairs<Text>,
    #[serde(default, rename = "devDependencies")]
    dev_dependencies: Pairs<Text>,
    #[serde(default, rename = "optionalDependencies")]
    optional_dependencies: Pairs<Text>,
    #[serde(default, rename = "peerDependencies")]
    peer_dependencies: Pairs<Text>,
}

/// Version 1: nested as on disk.
#[derive(Deserialize)]
struct Old {
    #[serde(default)]
    version: Text,
    #[serde(default)]
    dev: Flag,
    #[serde(default)]
    requires: Pairs<Text>,
    #[serde(default)]
    dependencies: Pairs<Old>,
}

pub(super) fn read(file: &str, text: &str, manifest: Option<&str>) -> Result<Vec<Package>, Broken> {
    let lock: Lock = serde_json::from_str(text)?;
    let sheet = Sheet::new(file, Ecosystem::Npm, Manager::Npm);
    match (lock.packages, lock.dependencies) {
        (Some(packages), _) => flat(sheet, text, packages),
        (None, Some(dependencies)) => nested(sheet, text, dependencies, manifest),
        (None, None) if matches!(lock.lockfile_version.0.as_str(), "" | "1" | "2" | "3") => {
            Ok(Vec::new())
        }
        (None, None) => Err(Broken::Version(format!(
            "lockfileVersion {} is not known",
            lock.lockfile_version.0
        ))),
    }
}

/// `node_modules/a/node_modules/@b/c` is `@b/c`.
fn name_of(place: &str) -> Option<&str> {
    place.rsplit_once("node_modules/").map(|(_, name)| name)
}

fn flat(
    mut sheet: Sheet<'_>,
    text: &str,
    Pairs(packages): Pairs<Entry>,
) -> Result<Vec<Package>, Broken> {
    if packages.len() > PACKAGES_MAX {
        return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
    }
    let mut lines = Lines::new(text);
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    // Links lead to a folder of the tree: `node_modules/app` to `packages/app`.
    let mut links: BTreeMap<&str, &str> = BTreeMap::new();
    for (place, entry) in packages
        .iter()
        .filter(|(place, _)| place.len() <= PLACE_BYTES_MAX)
    {
        let line = if place.is_empty() {
            None
        } else {
            lines.find(&format!("\"{place}\": {{"))
        };
        if entry.link.0 {
            links.insert(place, &entry.resolved.0);
        }
        let installed = name_of(place);
        let name = if entry.name.0.is_empty() {
            installed.unwrap_or_default()
        } else {
            &entry.name.0
        };
        let at = sheet.add(Node {
            name: name.to_owned(),
            version: entry.version.0.clone(),
            line,
            development: installed.is_some().then_some(entry.dev.0),
            own: installed.is_none() || entry.link.0,
            ..Node::default()
        });
        places.insert(place, at);
    }
    for (place, entry) in &packages {
        let Some(at) = places.get(place.as_str()).copied() else {
            continue;
        };
        let installed = name_of(place).is_some();
        let find = |name: &str| resolve(&places, &links, place, name);
        let needs = [
            &entry.dependencies,
            &entry.optional_dependencies,
            &entry.peer_dependencies,
        ];
        let mut found: Vec<usize> = needs
            .iter()
            .flat_map(|names| names.keys())
            .filter_map(find)
            .collect();
        if !installed {
            found.extend(entry.dev_dependencies.keys().filter_map(find));
            sheet.roots.push(at);
        }
        sheet.nodes[at].needs = found;
    }
    Ok(sheet.finish()?)
}

/// Node's search: in the own `node_modules`, then in those of the folders above.
fn resolve(
    places: &BTreeMap<&str, usize>,
    links: &BTreeMap<&str, &str>,
    from: &str,
    name: &str,
) -> Option<usize> {
    if name.len() > 512 {
        return None;
    }
    let mut base = from;
    loop {
        let place = if base.is_empty() {
            format!("node_modules/{name}")
        } else {
            format!("{base}/node_modules/{name}")
        };
        if let Some(target) = links.get(place.as_str()) {
            return places.get(target).copied();
        }
        if let Some(at) = places.get(place.as_str()) {
            return Some(*at);
        }
        if base.is_empty() {
            return None;
        }
        base = base.rsplit_once('/').map_or("", |(above, _)| above);
    }
}

/// An entry of version 1 on its way from the tree to the sheet.
struct Visit<'t> {
    entries: &'t Pairs<Old>,
    scope: usize,
}

fn nested(
    mut sheet: Sheet<'_>,
    text: &str,
    dependencies: Pairs<Old>,
    manifest: Option<&str>,
) -> Result<Vec<Package>, Broken> {
    let mut lines = Lines::new(text);
    // Each folder of packages, with the one above it: where a `requires` is looked for.
    let mut scopes: Vec<(Option<usize>, BTreeMap<&str, usize>)> = vec![(None, BTreeMap::new())];
    let mut visits = vec![Visit {
        entries: &dependencies,
        scope: 0,
    }];
    let mut requires: Vec<(usize, usize, &Pairs<Text>)> = Vec::new();
    while let Some(visit) = visits.pop() {
        for (key, entry) in &visit.entries.0 {
            // `"alias": {"version": "npm:real@1.2.3"}`
            let (name, version) = match entry
                .version
                .0
                .strip_prefix("npm:")
                .and_then(|real| real.rsplit_once('@'))
            {
                Some((name, version)) => (name, version),
                None => (key.as_str(), entry.version.0.as_str()),
            };
            let line = if visit.scope == 0 {
                lines.find(&format!("\n    \"{key}\": {{"))
            } else {
                None
            };
            let at = sheet.add(Node {
                name: name.to_owned(),
                version: version.to_owned(),
                line,
                development: Some(entry.dev.0),
                ..Node::default()
            });
            scopes[visit.scope].1.insert(key, at);
            let mut inner = visit.scope;
            if !entry.dependencies.0.is_empty() {
                scopes.push((Some(visit.scope), BTreeMap::new()));
                inner = scopes.len() - 1;
                visits.push(Visit {
                    entries: &entry.dependencies,
                    scope: inner,
                });
            }
            requires.push((at, inner, &entry.requires));
        }
    }
    let find = |mut scope: usize, name: &str| loop {
        if let Some(at) = scopes[scope].1.get(name) {
            return Some(*at);
        }
        scope = scopes[scope].0?;
    };
    for (at, scope, names) in requires {
        sheet.nodes[at].needs = names.keys().filter_map(|name| find(scope, name)).collect();
    }
    let asked = |keys: &[&str]| -> Vec<usize> {
        asked_for(manifest, keys)
            .iter()
            .filter_map(|(name, _)| find(0, name))
            .collect()
    };
    sheet.roots = asked(&["dependencies", "optionalDependencies"]);
    sheet.development_roots = asked(&["devDependencies"]);
    Ok(sheet.finish()?)
}
