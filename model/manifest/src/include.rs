//! `!include` and `!archive`: what they name, and that it stays inside the repository.

use crate::build::Builder;
use crate::codes;
use crate::load::{ARCHIVE_BYTES_MAX, join_inside};
use crate::near::nearest;
use crate::node::{Archive, At, Node, Ref, Val};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;

/// Text that a hook or VCL may draw in.
const STRING_BYTES_MAX: usize = 1 << 20;
/// Files of one archive.
const ARCHIVE_FILES_MAX: usize = 2000;

impl Builder<'_, '_> {
    pub(crate) fn include_scalar(&mut self, path: &str, at: &At) -> Ref {
        self.include("yaml", path, at)
    }

    pub(crate) fn include_mapping(&mut self, node: &Ref, at: &At) -> Ref {
        let strange: Vec<_> = node
            .entries()
            .iter()
            .filter(|entry| entry.key != "type" && entry.key != "path")
            .collect();
        for entry in &strange {
            let near = nearest(&entry.key, ["type", "path"]);
            self.loader()
                .error(
                    codes::UNKNOWN_KEY,
                    &at.key(entry),
                    "unknown key of !include",
                )
                .expected("type, path")
                .suggest(near);
        }
        if !strange.is_empty() {
            return Node::broken();
        }
        let kind = match node.get("type") {
            None => "yaml",
            Some(value) => match value.text() {
                Some(kind @ ("yaml" | "string" | "binary" | "archive")) => kind,
                _ => {
                    let at = at.of(node, "type");
                    self.loader()
                        .error(
                            codes::INCLUDE_TYPE,
                            &at,
                            "yaml, string, binary or archive expected",
                        )
                        .expected("yaml, string, binary, archive");
                    return Node::broken();
                }
            },
        };
        match node.get("path").map(|value| value.text()) {
            Some(Some(path)) => self.include(kind, path, at),
            Some(None) => {
                let at = at.of(node, "path");
                self.loader()
                    .error(codes::WRONG_TYPE, &at, "text expected")
                    .expected("text");
                Node::broken()
            }
            None => {
                self.loader()
                    .error(
                        codes::MISSING_KEY,
                        &at.missing("path"),
                        "required key missing",
                    )
                    .expected("path");
                Node::broken()
            }
        }
    }

    fn include(&mut self, kind: &str, path: &str, at: &At) -> Ref {
        if kind == "archive" {
            return self.archive(path, at);
        }
        let Some(target) = self.inside(path, at) else {
            return Node::broken();
        };
        if kind == "yaml" && self.loader().stack.contains(&target) {
            let chain: Vec<_> = self
                .loader()
                .stack
                .iter()
                .chain([&target])
                .map(|path| name_of(path).to_owned())
                .collect();
            let start = chain
                .iter()
                .position(|name| name == name_of(&target))
                .unwrap_or(0);
            let entry = self.loader().entry.clone().unwrap_or_else(|| at.clone());
            let message = format!("include cycle {}", chain[start..].join(" -> "));
            self.loader().error(codes::INCLUDE_CYCLE, &entry, message);
            return Node::broken();
        }
        if !self.loader().exists(&target) {
            self.loader()
                .error(
                    codes::INCLUDE_MISSING,
                    at,
                    format!("file not found: {path}"),
                )
                .expected(target);
            return Node::broken();
        }
        if !self.loader().admit_include(at) {
            return Node::broken();
        }
        if kind == "yaml" {
            return self.include_yaml(&target, at);
        }
        let Some(bytes) = self.loader().read(&target, Some(at)) else {
            return Node::broken();
        };
        self.loader().note_included(&target, &bytes);
        if bytes.len() > STRING_BYTES_MAX {
            self.loader().error(
                codes::HUGE_SCALAR,
                at,
                format!(
                    "{target} has {} bytes, the limit is {STRING_BYTES_MAX}",
                    bytes.len()
                ),
            );
            return Node::broken();
        }
        if kind == "binary" {
            return Node::new(Val::Text(STANDARD.encode(bytes)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Node::new(Val::Text(text)),
            Err(_) => {
                self.loader()
                    .error(codes::NOT_UTF8, at, format!("{target} is not UTF-8"))
                    .remedy("Use `type: binary`.");
                Node::broken()
            }
        }
    }

    fn include_yaml(&mut self, target: &str, at: &At) -> Ref {
        let outermost = self.loader().entry.is_none();
        if outermost {
            self.loader().entry = Some(at.clone());
        }
        let text = self.loader().tree.read(target, 4 << 20).unwrap_or_default();
        self.loader().note_included(target, &text);
        let node = self
            .loader()
            .included_document(target, at)
            .unwrap_or_else(Node::broken);
        if outermost {
            self.loader().entry = None;
        }
        node
    }

    pub(crate) fn archive(&mut self, path: &str, at: &At) -> Ref {
        let Some(directory) = self.inside(path, at) else {
            return Node::broken();
        };
        let below: Vec<(String, u64)> = self
            .loader()
            .below(&directory)
            .map(|(path, size)| (path.clone(), size))
            .collect();
        if below.is_empty() || directory.is_empty() {
            self.loader()
                .error(
                    codes::INCLUDE_MISSING,
                    at,
                    format!("directory not found: {path}"),
                )
                .expected(directory);
            return Node::broken();
        }
        let total = below
            .iter()
            .fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        if total > ARCHIVE_BYTES_MAX || below.len() > ARCHIVE_FILES_MAX {
            let message = format!(
                "{} files with {total} bytes, too many for an archive",
                below.len()
            );
            self.loader()
                .error(codes::INCLUDE_TOO_MANY, at, message)
                .expected(format!("at most {ARCHIVE_BYTES_MAX} bytes"));
            return Node::broken();
        }
        let mut files = IndexMap::new();
        for (path, _) in below {
            let Some(bytes) = self.loader().read(&path, Some(at)) else {
                return Node::broken();
            };
            self.loader().note_included(&path, &bytes);
            files.insert(
                path[directory.len() + 1..].to_owned(),
                STANDARD.encode(bytes),
            );
        }
        Node::new(Val::Archive(Box::new(Archive { directory, files })))
    }

    fn inside(&mut self, path: &str, at: &At) -> Option<String> {
        let base = self.directory().to_owned();
        let target = if path.starts_with('/') {
            None
        } else {
            join_inside(&base, path)
        };
        if target.is_none() {
            self.loader().error(
                codes::INCLUDE_OUTSIDE,
                at,
                format!("'{path}' leaves the repository"),
            );
        }
        target
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
