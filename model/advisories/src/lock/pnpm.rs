//! pnpm-lock.yaml, lock file versions 5 to 9.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Broken;
use super::bounded::{Flag, Pairs, Text};
use super::sheet::{Lines, Node, PACKAGES_MAX, Sheet};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

/// Signs that begin a YAML value. The YAML library keeps one record for each, so this bounds its memory.
const YAML_SIGNS_MAX: usize = 600_000;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Lock {
    lockfile_version: Text,
    importers: Pairs<Importer>,
    // A lone project has these at the top. (Flattening would read the whole file past the budget.)
    dependencies: Pairs<Text>,
    optional_dependencies: Pairs<Text>,
    dev_dependencies: Pairs<Text>,
    packages: Pairs<Entry>,
    snapshots: Pairs<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Importer {
    dependencies: Pairs<Text>,
    optional_dependencies: Pairs<Text>,
    dev_dependencies: Pairs<Text>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Text,
    version: Text,
    dev: Option<Flag>,
    dependencies: Pairs<Text>,
    optional_dependencies: Pairs<Text>,
}

/// Brackets inside brackets; the library's time grows with their square. Lock files have one or two.
const YAML_BRACKETS_MAX: usize = 200;

/// Refuses YAML that would take more memory or time than a lock file is worth.
pub(super) fn check_size(text: &str) -> Result<(), Broken> {
    let mut depth: usize = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > YAML_BRACKETS_MAX {
            return Err(Broken::Bounds(format!(
                "more than {YAML_BRACKETS_MAX} brackets inside each other"
            )));
        }
    }
    let signs = text
        .bytes()
        .filter(|byte| matches!(byte, b'\n' | b',' | b'[' | b'{'))
        .count();
    if signs > YAML_SIGNS_MAX {
        return Err(Broken::Bounds(format!(
            "more than {YAML_SIGNS_MAX} YAML entries"
        )));
    }
    Ok(())
}

pub(super) fn read(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    check_size(text)?;
    let mut sheet = Sheet::new(file, Ecosystem::Npm, Manager::Pnpm);
    let mut known = 0;
    // Later pnpm writes a second document for its own tools.
    for document in serde_yaml::Deserializer::from_str(text) {
        let lock = Lock::deserialize(document)?;
        let major: u32 = lock
            .lockfile_version
            .0
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(0);
        if !(5..=9).contains(&major) {
            return Err(Broken::Version(format!(
                "lockfileVersion `{}` is not one of 5 to 9",
                lock.lockfile_version.0
            )));
        }
        known += 1;
        add(&mut sheet, text, &lock, major)?;
    }
    if known == 0 {
        return Err(Broken::Syntax {
            line: None,
            what: "it is empty".to_owned(),
        });
    }
    Ok(sheet.finish()?)
}

fn add(sheet: &mut Sheet<'_>, text: &str, lock: &Lock, major: u32) -> Result<(), Broken> {
    // From version 9 on `packages` has the versions and `snapshots` what each needs.
    let entries = if lock.snapshots.0.is_empty() {
        &lock.packages.0
    } else {
        &lock.snapshots.0
    };
    if entries.len() > PACKAGES_MAX {
        return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
    }
    let mut lines = Lines::new(text);
    let lined: BTreeMap<&str, u32> = lock
        .packages
        .keys()
        .filter_map(|key| {
            let line = lines
                .find(&format!("\n  {key}:"))
                .or_else(|| lines.find(&format!("\n  '{key}':")))?;
            Some((bare(key), line))
        })
        .collect();
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    let first = sheet.nodes.len();
    for (key, entry) in entries {
        let (name, version) = name_and_version(key, major);
        let name = if entry.name.0.is_empty() {
            name
        } else {
            entry.name.0.clone()
        };
        let version = if entry.version.0.is_empty() {
            version
        } else {
            entry.version.0.clone()
        };
        let at = sheet.add(Node {
            name,
            version,
            line: lined.get(bare(key)).copied(),
            development: entry.dev.map(|flag| flag.0),
            ..Node::default()
        });
        by_key.insert(key, at);
    }
    let find = |name: &str, reference: &str| {
        let candidates = if major == 5 {
            [
                format!("/{name}/{reference}"),
                reference.to_owned(),
                format!("/{reference}"),
            ]
        } else {
            [
                format!("{name}@{reference}"),
                format!("/{name}@{reference}"),
                reference.to_owned(),
            ]
        };
        candidates
            .iter()
            .find_map(|key| by_key.get(key.as_str()))
            .copied()
    };
    for (at, (_, entry)) in entries.iter().enumerate() {
        let needs = entry
            .dependencies
            .0
            .iter()
            .chain(&entry.optional_dependencies.0);
        sheet.nodes[first + at].needs = needs
            .filter_map(|(name, reference)| find(name, &reference.0))
            .collect();
    }
    let asked = |pairs: &Pairs<Text>| -> Vec<usize> {
        pairs
            .0
            .iter()
            .filter_map(|(name, reference)| find(name, &reference.0))
            .collect()
    };
    let alone = (
        &lock.dependencies,
        &lock.optional_dependencies,
        &lock.dev_dependencies,
    );
    let importers = lock.importers.0.iter().map(|(_, one)| {
        (
            &one.dependencies,
            &one.optional_dependencies,
            &one.dev_dependencies,
        )
    });
    for (dependencies, optional, development) in importers.chain([alone]) {
        sheet.roots.extend(asked(dependencies));
        sheet.roots.extend(asked(optional));
        sheet.development_roots.extend(asked(development));
    }
    Ok(())
}

/// A key without the peers that follow in brackets.
fn bare(key: &str) -> &str {
    key.split('(').next().unwrap_or(key)
}

/// `/name/1.0.0_peer` (5), `/name@1.0.0(peer)` (6), `name@1.0.0` (9).
fn name_and_version(key: &str, major: u32) -> (String, String) {
    let key = bare(key);
    let (name, version) = if major == 5 {
        let (place, version) = key.rsplit_once('/').unwrap_or((key, ""));
        // A registry other than the first stands before the name.
        let name = match place.rsplit_once('/') {
            Some((scope, _))
                if scope
                    .rsplit('/')
                    .next()
                    .is_some_and(|scope| scope.starts_with('@')) =>
            {
                let begin = scope.rfind('/').map_or(0, |at| at + 1);
                &place[begin..]
            }
            Some((_, name)) => name,
            None => place,
        };
        (name, version.split('_').next().unwrap_or(version))
    } else {
        let key = key.strip_prefix('/').unwrap_or(key);
        match key
            .char_indices()
            .skip(1)
            .find(|(_, letter)| *letter == '@')
        {
            Some((at, _)) => (&key[..at], &key[at + 1..]),
            None => (key, ""),
        }
    };
    (name.to_owned(), version.to_owned())
}
