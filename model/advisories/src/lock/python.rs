//! requirements.txt with pinned versions, and Pipfile.lock.

use serde::Deserialize;

use super::Broken;
use super::bounded::{Pairs, Text};
use super::sheet::{Lines, Node, PACKAGES_MAX, Sheet};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

/// Only `name==version` says what is installed; ranges, links and options are read over.
pub(super) fn requirements(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let mut sheet = Sheet::new(file, Ecosystem::PyPI, Manager::Pip);
    let development = ["dev", "test"].iter().any(|word| {
        file.rsplit('/')
            .next()
            .is_some_and(|name| name.contains(word))
    });
    let mut continued = false;
    for (at, raw) in text.lines().enumerate() {
        let is_continuation = std::mem::replace(&mut continued, raw.trim_end().ends_with('\\'));
        let content = raw
            .split(" #")
            .next()
            .unwrap_or(raw)
            .trim()
            .trim_end_matches('\\')
            .trim();
        // Options and comments are no requirements; what a line goes on with is a hash or a marker.
        if is_continuation || content.is_empty() || content.starts_with(['#', '-']) {
            continue;
        }
        let Some((name, version)) = content.split_once("==") else {
            continue;
        };
        let name = name.split('[').next().unwrap_or(name).trim();
        let version = version.trim_start_matches('=').trim();
        let version = version
            .split([';', ' ', '\t', ',', '#'])
            .next()
            .unwrap_or(version);
        let proper = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty()
            || !name.bytes().all(proper)
            || version.contains('*')
            || version.is_empty()
        {
            continue;
        }
        if sheet.nodes.len() == PACKAGES_MAX {
            return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
        }
        sheet.add(Node {
            name: name.to_owned(),
            version: version.to_owned(),
            line: u32::try_from(at + 1).ok(),
            development: Some(development),
            ..Node::default()
        });
    }
    Ok(sheet.finish()?)
}

#[derive(Deserialize)]
struct Pipfile {
    #[serde(default)]
    default: Option<Pairs<Text>>,
    #[serde(default)]
    develop: Pairs<Text>,
}

pub(super) fn pipfile(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let lock: Pipfile = serde_json::from_str(text)?;
    let Some(production) = lock.default else {
        return Err(Broken::Syntax {
            line: None,
            what: "it has no `default`".to_owned(),
        });
    };
    let mut sheet = Sheet::new(file, Ecosystem::PyPI, Manager::Pipenv);
    let mut lines = Lines::new(text);
    for (pairs, development) in [(production, false), (lock.develop, true)] {
        for (name, version) in pairs.0 {
            // The version of a git or path entry is not in the file.
            let Some(version) = version.0.strip_prefix("==") else {
                continue;
            };
            let line = lines.find(&format!("\"{name}\": {{"));
            sheet.add(Node {
                name,
                version: version.to_owned(),
                line,
                development: Some(development),
                ..Node::default()
            });
        }
    }
    Ok(sheet.finish()?)
}
