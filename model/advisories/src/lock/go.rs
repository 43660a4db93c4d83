//! go.mod with go.sum; and gradle.lockfile, which is as plain.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use super::sheet::{Node, PACKAGES_MAX, Sheet};
use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package};
use crate::version::Version;

/// A module path or version longer than this is none.
const WORD_BYTES_MAX: usize = 512;

#[derive(Default)]
struct Module<'a> {
    /// Path, version, line, only needed by others.
    requires: Vec<(&'a str, &'a str, u32, bool)>,
    /// From a path (and perhaps one version) to another module, or to a folder (`None`).
    replaces: BTreeMap<(&'a str, Option<&'a str>), Option<(&'a str, &'a str)>>,
    /// `go 1.22.3` or `toolchain go1.22.3`: the least toolchain that builds it, and its line.
    toolchain: Option<(&'a str, u32)>,
    /// From go 1.17 on go.mod names every module of the build.
    complete: bool,
}

/// The versions that the build selects: those of go.mod and, before go 1.17, the highest ones of go.sum.
pub(super) fn read_mod(file: &str, text: &str, sum: Option<&str>) -> Result<Vec<Package>, Broken> {
    let module = parse(text)?;
    let mut sheet = Sheet::new(file, Ecosystem::Go, Manager::Go);
    let app = sheet.add(Node {
        own: true,
        ..Node::default()
    });
    sheet.roots.push(app);
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for (path, version, line, indirect) in &module.requires {
        named.insert(path);
        let replaced = module
            .replaces
            .get(&(*path, Some(*version)))
            .or_else(|| module.replaces.get(&(*path, None)));
        let (path, version) = match replaced {
            Some(Some(other)) => *other,
            // A folder of the tree has no version.
            Some(None) => continue,
            None => (*path, *version),
        };
        let node = sheet.add(Node {
            name: path.to_owned(),
            version: version.to_owned(),
            line: Some(*line),
            ..Node::default()
        });
        if !indirect {
            sheet.nodes[app].needs.push(node);
        }
    }
    if let Some((version, line)) = module.toolchain {
        let node = sheet.add(Node {
            name: "stdlib".to_owned(),
            version: toolchain(version),
            line: Some(line),
            ..Node::default()
        });
        sheet.nodes[app].needs.push(node);
    }
    if !module.complete {
        for (path, version) in sum.map(selected).transpose()?.unwrap_or_default() {
            let replaced = module.replaces.contains_key(&(path, None))
                || module.replaces.contains_key(&(path, Some(version)));
            if !named.contains(path) && !replaced {
                sheet.add(Node {
                    name: path.to_owned(),
                    version: version.to_owned(),
                    ..Node::default()
                });
            }
        }
    }
    Ok(sheet.finish()?)
}

/// Without go.mod the highest version of each module is the selected one.
pub(super) fn read_sum(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let mut sheet = Sheet::new(file, Ecosystem::Go, Manager::Go);
    for (path, version) in selected(text)? {
        sheet.add(Node {
            name: path.to_owned(),
            version: version.to_owned(),
            ..Node::default()
        });
    }
    Ok(sheet.finish()?)
}

/// Lines with `/go.mod` are modules that were only asked for their needs.
fn selected(text: &str) -> Result<BTreeMap<&str, &str>, Broken> {
    let mut highest: BTreeMap<&str, (&str, Option<Version>)> = BTreeMap::new();
    for (at, raw) in text.lines().enumerate() {
        let words: Vec<&str> = raw.split_whitespace().take(4).collect();
        let (path, version) = match words[..] {
            [] => continue,
            [path, version, hash] if hash.starts_with("h1:") && path.len() <= WORD_BYTES_MAX => {
                (path, version)
            }
            _ => {
                return Err(Broken::at(
                    u32::try_from(at + 1).unwrap_or(u32::MAX),
                    "a line that is not `module version h1:hash`",
                ));
            }
        };
        if version.ends_with("/go.mod") {
            continue;
        }
        let parsed = Version::parse(Ecosystem::Go, version);
        if highest.get(path).is_none_or(|(_, known)| *known < parsed) {
            highest.insert(path, (version, parsed));
        }
        if highest.len() > PACKAGES_MAX {
            return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
        }
    }
    Ok(highest
        .into_iter()
        .map(|(path, (version, _))| (path, version))
        .collect())
}

fn parse(text: &str) -> Result<Module<'_>, Broken> {
    let mut module = Module::default();
    let mut block: Option<&str> = None;
    for (at, raw) in text.lines().enumerate() {
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let (code, comment) = raw.split_once("//").unwrap_or((raw, ""));
        let words: Vec<&str> = code
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '`']))
            .take(6)
            .collect();
        let (verb, rest) = match (block, &words[..]) {
            (_, []) => continue,
            (Some(_), [")"]) => {
                block = None;
                continue;
            }
            (Some(verb), rest) => (verb, rest),
            (None, [verb, "("]) => {
                block = Some(verb);
                continue;
            }
            (None, [verb, rest @ ..]) => (*verb, rest),
        };
        if rest.iter().any(|word| word.len() > WORD_BYTES_MAX)
            || module.requires.len() + module.replaces.len() > PACKAGES_MAX
        {
            return Err(Broken::Bounds(
                "a word that is too long, or too many modules".to_owned(),
            ));
        }
        match (verb, rest) {
            ("require", [path, version]) => {
                module
                    .requires
                    .push((path, version, line, comment.trim().starts_with("indirect")))
            }
            ("replace", [from, "=>", to @ ..]) => {
                let _ = module.replaces.insert((from, None), target(to));
            }
            ("replace", [from, version, "=>", to @ ..]) => {
                let _ = module.replaces.insert((from, Some(version)), target(to));
            }
            ("require" | "replace", _) => {
                return Err(Broken::at(line, format!("`{verb}` that is not understood")));
            }
            ("go", [version]) => {
                let minor = version
                    .split('.')
                    .nth(1)
                    .and_then(|minor| minor.parse::<u32>().ok())
                    .unwrap_or(0);
                module.complete = minor >= 17;
                // Since 1.21 a line with a patch level is a true minimum.
                if version.split('.').count() == 3 && module.toolchain.is_none() {
                    module.toolchain = Some((version, line));
                }
            }
            ("toolchain", [name]) => {
                if let Some(version) = name.strip_prefix("go") {
                    module.toolchain = Some((version, line));
                }
            }
            _ => {}
        }
    }
    if block.is_some() {
        return Err(Broken::Syntax {
            line: None,
            what: "a block without its closing bracket".to_owned(),
        });
    }
    Ok(module)
}

fn target<'a>(words: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match words {
        [path, version] => Some((path, version)),
        _ => None,
    }
}

/// `1.21rc2` is written `1.21.0-rc.2` in advisories; `1.22.3-custom` is 1.22.3.
fn toolchain(version: &str) -> String {
    let version = version.split('-').next().unwrap_or(version);
    match ["rc", "beta"].iter().find_map(|word| {
        version
            .split_once(word)
            .map(|(number, count)| (number, word, count))
    }) {
        Some((number, word, count)) => {
            let zeros = if number.split('.').count() < 3 {
                ".0"
            } else {
                ""
            };
            format!("{number}{zeros}-{word}.{count}")
        }
        None => version.to_owned(),
    }
}

/// `group:artifact:version=configurations`.
pub(super) fn read_gradle(file: &str, text: &str) -> Result<Vec<Package>, Broken> {
    let mut sheet = Sheet::new(file, Ecosystem::Maven, Manager::Gradle);
    for (at, raw) in text.lines().enumerate() {
        let line = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let content = raw.trim();
        if content.is_empty() || content.starts_with('#') || content.starts_with("empty=") {
            continue;
        }
        let coordinates = content.split('=').next().unwrap_or(content);
        let (name, version) = coordinates
            .rsplit_once(':')
            .filter(|(name, _)| name.contains(':'))
            .ok_or_else(|| Broken::at(line, "a line that is not `group:artifact:version=…`"))?;
        if sheet.nodes.len() == PACKAGES_MAX {
            return Err(Broken::Bounds(format!("more than {PACKAGES_MAX} packages")));
        }
        sheet.add(Node {
            name: name.to_owned(),
            version: version.to_owned(),
            line: Some(line),
            ..Node::default()
        });
    }
    Ok(sheet.finish()?)
}
