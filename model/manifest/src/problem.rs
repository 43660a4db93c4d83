//! One complaint: what, where, why, and what helps.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable, `SW-…`; `slipway explain CODE` tells more.
    pub code: &'static str,
    pub severity: Severity,
    /// Path in the repository, or `(repository)`.
    pub file: String,
    /// From 1; 0 when there is no line to point at.
    pub line: u32,
    /// From 1 in characters; 0 when there is no column.
    pub column: u32,
    /// Key path, or `(yaml)`, `(encoding)`, `(document)`, `(project).disk` …
    pub key: String,
    pub message: String,
    pub expected: Option<String>,
    /// The nearest thing that would be right.
    pub suggestion: Option<String>,
    pub remedy: String,
    /// The line of the file, shortened.
    pub snippet: Option<String>,
}

impl Problem {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, " {}: {}", self.key, self.message)
    }
}
