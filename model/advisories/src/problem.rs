//! What is wrong with a lock file, said so that it can be mended.

use std::fmt;

use serde::Serialize;

/// A lock file that could not be looked at, or only in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub file: String,
    pub line: Option<u32>,
    pub message: String,
    pub remedy: String,
}

/// The stable codes of this crate and what they mean.
pub const CODES: [(&str, &str); 6] = [
    (
        "SW-LOCK-SYNTAX",
        "A lock file is not what its tool writes, so its packages were not checked. Mostly a merge left conflict marks in it, or it was edited by hand. Let its tool write it again.",
    ),
    (
        "SW-LOCK-BOUNDS",
        "A lock file is larger than the gate reads (16 MiB a file, 100 000 packages, 500 lock files). Its packages were not checked.",
    ),
    (
        "SW-LOCK-VERSION",
        "A lock file is of a format version that the gate does not know. Its packages were not checked.",
    ),
    ("SW-LOCK-READ", "A lock file of the tree could not be read."),
    (
        "SW-ADVISORY",
        "A package in a lock file has a known vulnerability that is not rated critical, or not rated at all. It is a warning; upgrade when you can.",
    ),
    (
        "SW-ADVISORY-CRITICAL",
        "A package in a lock file has a known critical vulnerability. Upgrade it with the command shown. If your application is not touched by it, name the advisory under `preflight: ignored_rules`, best as {id, reason, until}.",
    ),
];

/// What a code means, for `slipway explain`.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

impl Problem {
    pub(crate) fn syntax(
        file: &str,
        line: Option<u32>,
        what: impl fmt::Display,
        remedy: &str,
    ) -> Problem {
        // Parsers quote what they met; a hostile file must not fill the terminal with it.
        let message = clean(&format!("this lock file is broken: {what}"), 300);
        Problem {
            code: "SW-LOCK-SYNTAX",
            file: file.to_owned(),
            line,
            message,
            remedy: remedy.to_owned(),
        }
    }

    pub(crate) fn bounds(file: &str, message: String) -> Problem {
        Problem {
            code: "SW-LOCK-BOUNDS",
            file: file.to_owned(),
            line: None,
            message,
            remedy: "split the project, or remove generated entries from the lock file".to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&clean(&self.file, 200))?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        write!(
            out,
            ": {} [{}]\n    remedy: {}",
            self.message, self.code, self.remedy
        )
    }
}

/// Text from strangers for one terminal line: no control characters, not too long.
pub(crate) fn clean(text: &str, letters_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(letters_max));
    for (at, letter) in text.chars().enumerate() {
        if at == letters_max {
            line.push('…');
            break;
        }
        // Bidirectional overrides would let a summary rewrite the line it stands in.
        let hostile = letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        line.push(if hostile { ' ' } else { letter });
    }
    line
}
