//! Reads files of the tree into nodes, within bounds, and collects complaints.

use crate::build::Builder;
use crate::codes;
use crate::node::{At, Mark, Ref};
use crate::problem::{Problem, Severity};
use crate::tree::{Tree, TreeError};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Real files have up to 100 KB; more than this is data, not configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// All files together, so that many medium ones cannot fill memory either.
const TOTAL_BYTES_MAX: u64 = 12 << 20;
/// Values of all files; a node costs about 150 bytes and half a microsecond.
/// Twenty thousand redirects fit.
pub(crate) const NODES_MAX: usize = 80_000;
/// Included files of a project; the most seen in the wild is a dozen.
const INCLUDES_MAX: usize = 100;
/// One archive, which is copied into the service's container.
pub(crate) const ARCHIVE_BYTES_MAX: u64 = 4 << 20;
/// Complaints of one project: nobody reads more, and each costs memory.
const PROBLEMS_MAX: usize = 500;
/// Characters of a line that are shown.
const SNIPPET_CHARS: usize = 120;
/// Beyond this column a line is no longer searched for what to show.
const WINDOW_COLUMNS_MAX: u32 = 4000;

/// A file that was read.
pub(crate) struct SourceFile {
    pub path: String,
    pub text: String,
    /// Byte offset of each line; empty until a snippet is asked for.
    lines: Vec<usize>,
}

pub(crate) struct Loader<'a> {
    pub tree: &'a dyn Tree,
    /// Path to size of every file of the tree.
    pub paths: BTreeMap<String, u64>,
    pub files: Vec<SourceFile>,
    pub problems: Vec<Problem>,
    pub nodes: usize,
    /// Files being included now, outermost first.
    pub stack: Vec<String>,
    /// Where the outermost include stands.
    pub entry: Option<At>,
    pub includes: usize,
    bytes: u64,
    /// Included file to digest, of the file that is being loaded.
    pub included: BTreeMap<String, String>,
    reported: BTreeSet<(Mark, String)>,
    /// The store failed.
    pub accident: Option<String>,
}

impl<'a> Loader<'a> {
    pub fn new(tree: &'a dyn Tree) -> Result<Loader<'a>, TreeError> {
        let paths = tree
            .list()?
            .into_iter()
            .map(|entry| (entry.path, entry.size))
            .collect();
        Ok(Loader {
            tree,
            paths,
            files: Vec::new(),
            problems: Vec::new(),
            nodes: 0,
            stack: Vec::new(),
            entry: None,
            includes: 0,
            bytes: 0,
            included: BTreeMap::new(),
            reported: BTreeSet::new(),
            accident: None,
        })
    }

    pub fn exists(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// Files below a directory, as paths of the repository.
    pub fn below<'b>(
        &'b self,
        directory: &str,
    ) -> impl Iterator<Item = (&'b String, u64)> + use<'b, 'a> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let from = prefix.clone();
        self.paths
            .range(from..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, size)| (path, *size))
    }

    /// A configuration file as nodes; `None` when it is empty or was complained about.
    pub fn document(&mut self, path: &str) -> Option<(u16, Ref)> {
        self.stack = vec![path.to_owned()];
        self.entry = None;
        self.included.clear();
        let (file, text) = self.read_text(path, None)?;
        let node = Builder::new(self, file, directory_of(path)).document(&text, "")?;
        Some((file, node))
    }

    /// An included YAML file, in the midst of another document.
    pub fn included_document(&mut self, path: &str, at: &At) -> Option<Ref> {
        let (file, text) = self.read_text(path, Some(at))?;
        self.stack.push(path.to_owned());
        let node = Builder::new(self, file, directory_of(path)).document(&text, &at.path);
        self.stack.pop();
        node
    }

    fn read_text(&mut self, path: &str, at: Option<&At>) -> Option<(u16, String)> {
        let bytes = self.read(path, at)?;
        let file = self.files.len() as u16;
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            self.files.push(SourceFile {
                path: path.to_owned(),
                text: String::new(),
                lines: Vec::new(),
            });
            let at = At::new(
                Mark {
                    file,
                    line: 1,
                    column: 1,
                },
                "(encoding)",
            );
            self.error(
                codes::NOT_UTF8,
                &at,
                "not UTF-8: the file begins with a UTF-16 byte order mark",
            )
            .expected("UTF-8");
            return None;
        }
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = match text.strip_prefix('\u{feff}') {
                    Some(rest) => rest.to_owned(),
                    None => text,
                };
                self.files.push(SourceFile {
                    path: path.to_owned(),
                    text: text.clone(),
                    lines: Vec::new(),
                });
                Some((file, text))
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let bytes = error.into_bytes();
                let line = 1 + bytes[..good].iter().filter(|byte| **byte == b'\n').count() as u32;
                let start = bytes[..good]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                let column =
                    1 + String::from_utf8_lossy(&bytes[start..good]).chars().count() as u32;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.files.push(SourceFile {
                    path: path.to_owned(),
                    text,
                    lines: Vec::new(),
                });
                let at = At::new(Mark { file, line, column }, "(encoding)");
                self.error(
                    codes::NOT_UTF8,
                    &at,
                    format!("not UTF-8: byte 0x{:02X}", bytes[good]),
                )
                .expected("UTF-8");
                None
            }
        }
    }

    /// Bytes of a file within the bounds of size and number.
    pub fn read(&mut self, path: &str, at: Option<&At>) -> Option<Vec<u8>> {
        let size = self.paths.get(path).copied().unwrap_or(0);
        let here = |loader: &mut Loader<'_>| match at {
            Some(at) => at.clone(),
            None => {
                let file = loader.files.len() as u16;
                loader.files.push(SourceFile {
                    path: path.to_owned(),
                    text: String::new(),
                    lines: Vec::new(),
                });
                At::new(
                    Mark {
                        file,
                        line: 1,
                        column: 1,
                    },
                    "(document)",
                )
            }
        };
        if size > FILE_BYTES_MAX
            || self.bytes + size > TOTAL_BYTES_MAX
            || self.files.len() >= usize::from(u16::MAX)
        {
            let at = here(self);
            self.error(
                codes::FILE_TOO_LARGE,
                &at,
                format!("{path} has {size} bytes, too many for configuration"),
            )
            .expected(format!(
                "at most {FILE_BYTES_MAX} bytes a file, {TOTAL_BYTES_MAX} in all"
            ));
            return None;
        }
        self.bytes += size;
        match self.tree.read(path, FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                if matches!(error, TreeError::Unreadable(_)) {
                    self.accident = Some(format!("{path} {error}"));
                }
                let at = here(self);
                self.error(codes::INCLUDE_MISSING, &at, format!("{path}: {error}"));
                None
            }
        }
    }

    /// Counts one more included file; false, with one complaint, when there are too many.
    pub fn admit_include(&mut self, at: &At) -> bool {
        self.includes += 1;
        if self.includes == INCLUDES_MAX + 1 {
            self.error(
                codes::INCLUDE_TOO_MANY,
                at,
                format!("more than {INCLUDES_MAX} included files"),
            );
        }
        self.includes <= INCLUDES_MAX
    }

    pub fn note_included(&mut self, path: &str, bytes: &[u8]) {
        self.included.insert(
            path.to_owned(),
            data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)),
        );
    }

    pub fn error(&mut self, code: &'static str, at: &At, message: impl Into<String>) -> Draft<'_> {
        self.report(code, Severity::Error, at, message.into())
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        at: &At,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.report(code, Severity::Warning, at, message.into())
    }

    /// A second complaint about the same key is folded into the first.
    fn report(
        &mut self,
        code: &'static str,
        severity: Severity,
        at: &At,
        message: String,
    ) -> Draft<'_> {
        let first =
            self.problems.len() < PROBLEMS_MAX && self.reported.insert((at.mark, at.path.clone()));
        if !first {
            return Draft { problem: None };
        }
        let file = self
            .files
            .get(usize::from(at.mark.file))
            .map_or_else(String::new, |file| file.path.clone());
        let snippet = self.snippet(at.mark);
        self.problems.push(Problem {
            code,
            severity,
            file,
            line: at.mark.line,
            column: at.mark.column,
            key: at.path.clone(),
            message,
            expected: None,
            suggestion: None,
            remedy: codes::remedy(code).to_owned(),
            snippet,
        });
        Draft {
            problem: self.problems.last_mut(),
        }
    }

    /// A complaint about the repository as a whole.
    pub fn repository_error(
        &mut self,
        code: &'static str,
        key: &str,
        message: impl Into<String>,
    ) -> Draft<'_> {
        self.problems.push(Problem {
            code,
            severity: Severity::Error,
            file: "(repository)".to_owned(),
            line: 0,
            column: 0,
            key: key.to_owned(),
            message: message.into(),
            expected: None,
            suggestion: None,
            remedy: codes::remedy(code).to_owned(),
            snippet: None,
        });
        Draft {
            problem: self.problems.last_mut(),
        }
    }

    pub fn path_of(&self, mark: Mark) -> &str {
        self.files
            .get(usize::from(mark.file))
            .map_or("", |file| &file.path)
    }

    /// The line of a place, shortened, without its line end.
    pub fn snippet(&mut self, mark: Mark) -> Option<String> {
        let file = self.files.get_mut(usize::from(mark.file))?;
        if file.lines.is_empty() {
            file.lines.push(0);
            file.lines.extend(
                file.text
                    .bytes()
                    .enumerate()
                    .filter(|(_, byte)| *byte == b'\n')
                    .map(|(at, _)| at + 1),
            );
        }
        let start = *file.lines.get(mark.line.checked_sub(1)? as usize)?;
        // Of a long line the part around the column, of an endless one the beginning.
        let skipped = if (SNIPPET_CHARS as u32..WINDOW_COLUMNS_MAX).contains(&mark.column) {
            mark.column as usize - SNIPPET_CHARS / 2
        } else {
            0
        };
        let mut rest = file.text[start..]
            .chars()
            .take_while(|c| !matches!(c, '\n' | '\r'))
            .skip(skipped);
        let shown: String = rest
            .by_ref()
            .take(SNIPPET_CHARS)
            .map(|c| {
                if c.is_control() && c != '\t' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect();
        let lead = if skipped > 0 { "…" } else { "" };
        Some(if rest.next().is_some() {
            format!("{lead}{shown}…")
        } else {
            format!("{lead}{shown}")
        })
    }

    /// Few enough complaints that a search through a long list for "did you mean" is still worth it.
    pub fn has_patience(&self) -> bool {
        self.problems.len() < 40
    }

    /// So many complaints that no further one would be kept.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// A complaint just made, to which more can be said; nothing when it was folded away.
pub(crate) struct Draft<'a> {
    problem: Option<&'a mut Problem>,
}

impl Draft<'_> {
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        if let Some(problem) = &mut self.problem {
            problem.expected = Some(expected.into());
        }
        self
    }

    /// Adds "did you mean" when there is something near.
    pub fn suggest(mut self, suggestion: Option<String>) -> Self {
        if let (Some(problem), Some(suggestion)) = (&mut self.problem, suggestion) {
            problem
                .message
                .push_str(&format!(", did you mean {suggestion}?"));
            problem.remedy = format!("Write `{suggestion}`.");
            problem.suggestion = Some(suggestion);
        }
        self
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Some(problem) = &mut self.problem {
            problem.remedy = remedy.into();
        }
        self
    }
}

/// The directory part of a path; empty for the root.
pub(crate) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// `base` + `path` with `.` and `..` resolved; `None` when it leaves the root.
pub(crate) fn join_inside(base: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}
