//! Gemfile.lock.

use std::collections::BTreeMap;

use super::Broken;
use super::bounded::ENTRIES_MAX;
use super::sheet::{Node, PACKAGES_MAX, Sheet};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};

/// Sections begin at the margin; `specs:` list gems at four spaces and their needs at six.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let mut sheet = Sheet::new(file, Ecosystem::RubyGems, Manager::Bundler);
    let mut section = "";
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needs: Vec<(usize, &str)> = Vec::new();
    let mut asked: Vec<&str> = Vec::new();
    let mut current = None;
    for (at, raw) in text.lines().enumerate() {
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let content = raw.trim();
        if content.is_empty() {
            continue;
        }
        if needs.len() + asked.len() >= ENTRIES_MAX as usize {
            return Err(Broken::Bounds(format!("more than {ENTRIES_MAX} lines")));
        }
        let indent = raw.len() - raw.trim_start_matches(' ').len();
        let listed = matches!(section, "GEM" | "GIT" | "PATH" | "PLUGIN SOURCE");
        match indent {
            0 => {
                let proper = |byte: u8| byte.is_ascii_uppercase() || byte == b' ';
                if !content.bytes().all(proper) {
                    return Err(Broken::at(line, "a line that begins no section"));
                }
                section = content;
            }
            4 if listed => {
                let (name, version) = content
                    .split_once(" (")
                    .ok_or_else(|| Broken::at(line, "a gem without a version"))?;
                let version = version
                    .strip_suffix(')')
                    .ok_or_else(|| Broken::at(line, "a version without its closing bracket"))?;
                // What follows the first hyphen is the platform.
                let version = version.split('-').next().unwrap_or(version);
                if sheet.nodes.len() == PACKAGES_MAX {
                    return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
                }
                let own = section == "PATH";
                let node = sheet.add(Node {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    line: Some(line),
                    own,
                    ..Node::default()
                });
                by_name.entry(name).or_insert(node);
                current = Some(node);
            }
            6 if listed => {
                let Some(node) = current else {
                    return Err(Broken::at(line, "a need before the first gem"));
                };
                needs.push((node, content.split(" (").next().unwrap_or(content)));
            }
            2 if section == "DEPENDENCIES" => asked.push(
                content
                    .split(" (")
                    .next()
                    .unwrap_or(content)
                    .trim_end_matches('!'),
            ),
            _ => {}
        }
    }
    if section.is_empty() && !text.trim().is_empty() {
        return Err(Broken::at(1, "it has no sections"));
    }
    for (node, name) in needs {
        if let Some(need) = by_name.get(name) {
            sheet.nodes[node].needs.push(*need);
        }
    }
    sheet.roots = asked
        .iter()
        .filter_map(|name| by_name.get(name).copied())
        .collect();
    Ok(sheet.finish()?)
}
