//! Lock files to packages.

mod bounded;
mod bundler;
mod composer;
mod go;
mod npm;
mod pnpm;
mod python;
mod sheet;
mod toml_locks;
mod yarn;

use std::collections::BTreeMap;

use crate::package::Package;
use crate::problem::Problem;

/// The largest lock file that is read; the largest seen in public projects are near 6 MiB.
pub const LOCK_BYTES_MAX: usize = 16 << 20;

/// All lock files of a tree together.
pub const TREE_BYTES_MAX: usize = 64 << 20;

/// Lock files of one tree. A monorepo of a hundred applications has some two hundred.
pub const LOCK_FILES_MAX: usize = 500;

/// Packages of all lock files together.
pub const TREE_PACKAGES_MAX: usize = 200_000;

/// What the lock files of a tree say.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// Sorted by ecosystem, name and version.
    pub packages: Vec<Package>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
    /// The lock files that were looked at.
    pub files: Vec<String>,
}

/// The formats, told apart by file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Composer,
    Npm,
    Yarn,
    Pnpm,
    Requirements,
    Pipfile,
    Poetry,
    Uv,
    Bundler,
    GoMod,
    GoSum,
    Gradle,
    Cargo,
}

impl Format {
    fn of(path: &str) -> Option<Format> {
        let name = path.rsplit('/').next().unwrap_or(path);
        Some(match name {
            "composer.lock" => Format::Composer,
            "package-lock.json" | "npm-shrinkwrap.json" => Format::Npm,
            "yarn.lock" => Format::Yarn,
            "pnpm-lock.yaml" => Format::Pnpm,
            "Pipfile.lock" => Format::Pipfile,
            "poetry.lock" => Format::Poetry,
            "uv.lock" => Format::Uv,
            "Gemfile.lock" | "gems.locked" => Format::Bundler,
            "go.mod" => Format::GoMod,
            "go.sum" => Format::GoSum,
            "gradle.lockfile" => Format::Gradle,
            "Cargo.lock" => Format::Cargo,
            _ if name.starts_with("requirements") && name.ends_with(".txt") => Format::Requirements,
            _ if name.ends_with(".txt") && path.rsplit('/').nth(1) == Some("requirements") => {
                Format::Requirements
            }
            _ => return None,
        })
    }

    /// The file beside it that says what the application asks for.
    fn companion(self) -> Option<&'static str> {
        match self {
            Format::Composer => Some("composer.json"),
            Format::Npm | Format::Yarn => Some("package.json"),
            Format::GoMod => Some("go.sum"),
            Format::GoSum => Some("go.mod"),
            _ => None,
        }
    }

    fn tool_again(self) -> &'static str {
        match self {
            Format::Composer => "run `composer update --lock` and commit composer.lock",
            Format::Npm => "run `npm install --package-lock-only` and commit the lock file",
            Format::Yarn => "run `yarn install` and commit yarn.lock",
            Format::Pnpm => "run `pnpm install --lockfile-only` and commit pnpm-lock.yaml",
            Format::Requirements => "write one `name==version` a line, as `pip freeze` does",
            Format::Pipfile => "run `pipenv lock` and commit Pipfile.lock",
            Format::Poetry => "run `poetry lock` and commit poetry.lock",
            Format::Uv => "run `uv lock` and commit uv.lock",
            Format::Bundler => "run `bundle lock` and commit Gemfile.lock",
            Format::GoMod | Format::GoSum => "run `go mod tidy` and commit go.mod and go.sum",
            Format::Gradle => "run `gradle dependencies --write-locks` and commit gradle.lockfile",
            Format::Cargo => "run `cargo generate-lockfile` and commit Cargo.lock",
        }
    }
}

/// Why a lock file gave no packages.
enum Broken {
    Syntax { line: Option<u32>, what: String },
    Version(String),
    Bounds(String),
}

impl Broken {
    fn at(line: u32, what: impl Into<String>) -> Broken {
        Broken::Syntax {
            line: Some(line),
            what: what.into(),
        }
    }
}

impl From<String> for Broken {
    fn from(what: String) -> Broken {
        Broken::Bounds(what)
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Broken {
        Broken::Syntax {
            line: u32::try_from(error.line()).ok().filter(|line| *line > 0),
            what: error.to_string(),
        }
    }
}

impl From<serde_yaml::Error> for Broken {
    fn from(error: serde_yaml::Error) -> Broken {
        let line = error
            .location()
            .and_then(|location| u32::try_from(location.line()).ok());
        Broken::Syntax {
            line,
            what: error.to_string(),
        }
    }
}

/// Whether [`collect`] wants to read this file: a lock file, or the file beside one.
///
/// What lies in `node_modules`, `vendor` and the like is a package's own, never installed by it.
pub fn is_wanted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let foreign = |folder: &str| {
        matches!(
            folder,
            "node_modules" | "vendor" | "bower_components" | ".git" | "site-packages"
        )
    };
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    !folders.split('/').any(foreign)
        && (Format::of(path).is_some() || matches!(name, "composer.json" | "package.json"))
}

/// Reads the lock files among the files of a tree.
///
/// Each file is its path and a way to its bytes, which is taken only for files that are wanted. The text of an
/// error says why reading failed. The answer does not depend on the order of the files.
pub fn collect<P, F, E>(files: impl IntoIterator<Item = (P, F)>) -> Locks
where
    P: AsRef<str>,
    F: FnOnce() -> Result<Vec<u8>, E>,
    E: std::fmt::Display,
{
    let mut locks = Locks::default();
    let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut bytes_left = TREE_BYTES_MAX;
    for (path, read) in files {
        let path = path.as_ref();
        if !is_wanted(path) {
            continue;
        }
        if texts.len() >= 2 * LOCK_FILES_MAX {
            locks.problems.push(Problem::bounds(
                path,
                format!(
                    "more than {LOCK_FILES_MAX} lock files; this and later ones were not checked"
                ),
            ));
            break;
        }
        match read() {
            Err(error) => locks.problems.push(Problem {
                code: "SW-LOCK-READ",
                file: path.to_owned(),
                line: None,
                message: format!("the file could not be read: {error}"),
                remedy: "push again; if it stays, the repository is damaged: run `git fsck`"
                    .to_owned(),
            }),
            Ok(bytes) if bytes.len() > LOCK_BYTES_MAX => {
                locks.problems.push(Problem::bounds(
                    path,
                    format!(
                        "the lock file has {} bytes, more than {LOCK_BYTES_MAX}",
                        bytes.len()
                    ),
                ));
            }
            Ok(bytes) if bytes.len() > bytes_left => {
                locks.problems.push(Problem::bounds(
                    path,
                    format!("the lock files together have more than {TREE_BYTES_MAX} bytes"),
                ));
            }
            Ok(bytes) => {
                bytes_left -= bytes.len();
                texts.insert(path.to_owned(), bytes);
            }
        }
    }
    for (path, bytes) in &texts {
        let Some(format) = Format::of(path) else {
            continue;
        };
        let beside = |name: &str| match path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{name}"),
            None => name.to_owned(),
        };
        // npm itself ignores the lock file beside a shrinkwrap.
        let shadowed = path.ends_with("package-lock.json")
            && texts.contains_key(&beside("npm-shrinkwrap.json"));
        if shadowed || (format == Format::GoSum && texts.contains_key(&beside("go.mod"))) {
            continue;
        }
        let companion = format
            .companion()
            .and_then(|name| texts.get(&beside(name)))
            .map(Vec::as_slice);
        match read_format(format, path, bytes, companion) {
            Ok(packages) if locks.packages.len() + packages.len() > TREE_PACKAGES_MAX => {
                locks.problems.push(Problem::bounds(
                    path,
                    format!("the lock files name more than {TREE_PACKAGES_MAX} packages"),
                ));
            }
            Ok(packages) => {
                locks.files.push(path.clone());
                locks.packages.extend(packages);
            }
            Err(problem) => locks.problems.push(problem),
        }
    }
    locks.packages.sort();
    locks
        .problems
        .sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
    locks
}

/// Reads one lock file; `companion` is the manifest beside it, if there is one.
pub fn read(path: &str, bytes: &[u8], companion: Option<&[u8]>) -> Result<Vec<Package>, Problem> {
    let Some(format) = Format::of(path) else {
        return Err(Problem::syntax(
            path,
            None,
            "its name is that of no known lock file",
            "see the list of lock files in the documentation",
        ));
    };
    if bytes.len() > LOCK_BYTES_MAX {
        return Err(Problem::bounds(
            path,
            format!(
                "the lock file has {} bytes, more than {LOCK_BYTES_MAX}",
                bytes.len()
            ),
        ));
    }
    read_format(format, path, bytes, companion)
}

fn read_format(
    format: Format,
    path: &str,
    bytes: &[u8],
    companion: Option<&[u8]>,
) -> Result<Vec<Package>, Problem> {
    let remedy = format.tool_again();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Problem::syntax(path, u32::try_from(line).ok(), "it is not UTF-8", remedy)
    })?;
    if let Some(line) = conflict(text) {
        return Err(Problem::syntax(
            path,
            Some(line),
            "marks of an unfinished merge",
            remedy,
        ));
    }
    bounded::refill();
    let companion = companion.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let packages = match format {
        Format::Composer => composer::read(path, text, companion),
        Format::Npm => npm::read(path, text, companion),
        Format::Yarn => yarn::read(path, text, companion),
        Format::Pnpm => pnpm::read(path, text),
        Format::Requirements => python::requirements(path, text),
        Format::Pipfile => python::pipfile(path, text),
        Format::Poetry => toml_locks::poetry(path, text),
        Format::Uv => toml_locks::uv(path, text),
        Format::Bundler => bundler::read(path, text),
        Format::GoMod => go::read_mod(path, text, companion),
        Format::GoSum => go::read_sum(path, text),
        Format::Gradle => go::read_gradle(path, text),
        Format::Cargo => toml_locks::cargo(path, text),
    };
    packages.map_err(|broken| match broken {
        Broken::Syntax { line, what } => Problem::syntax(path, line, what, remedy),
        Broken::Bounds(what) => Problem::bounds(path, what),
        Broken::Version(what) => Problem {
            code: "SW-LOCK-VERSION",
            ..Problem::syntax(path, None, what, remedy)
        },
    })
}

/// The line of a mark that git leaves for a conflict.
fn conflict(text: &str) -> Option<u32> {
    let at = text
        .lines()
        .position(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "))?;
    u32::try_from(at + 1).ok()
}

/// The names under the given keys of a JSON manifest; a broken manifest is somebody else's complaint.
fn asked_for(manifest: Option<&str>, keys: &[&str]) -> Vec<(String, String)> {
    let Some(manifest) = manifest else {
        return Vec::new();
    };
    let Ok(bounded::Pairs(pairs)) = serde_json::from_str::<bounded::Pairs<Dependencies>>(manifest)
    else {
        return Vec::new();
    };
    pairs
        .into_iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .flat_map(|(_, value)| value.0)
        .collect()
}

/// A map of names to ranges; any other JSON value is read over.
struct Dependencies(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Dependencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dependencies, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let pairs = value.as_object().map(|map| {
            map.iter()
                .map(|(name, range)| (name.clone(), range.as_str().unwrap_or_default().to_owned()))
                .collect()
        });
        Ok(Dependencies(pairs.unwrap_or_default()))
    }
}
