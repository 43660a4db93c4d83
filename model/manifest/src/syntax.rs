//! Faults of YAML itself: where they began, and the parser's words made plain.

use crate::build::{Builder, Stop};
use crate::codes;
use crate::here::Here;
use crate::node::{At, Mark};
use granit_parser::{ErrorKind, ScanError};

impl Builder<'_, '_> {
    pub(crate) fn syntax(&mut self, error: &ScanError, at: &Here<'_>) -> Stop {
        let info = error.info();
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            self.too_deep(at);
            return Stop;
        }
        let marker = error.marker();
        let mark = Mark {
            file: self.file,
            line: marker.line() as u32,
            column: marker.col() as u32 + 1,
        };
        let place = At::new(
            self.unclosed_quote(error.kind(), mark)
                .unwrap_or_else(|| self.opening(mark)),
            "(yaml)",
        );
        self.loader.error(
            codes::YAML_SYNTAX,
            &place,
            format!("syntax: {}", plain_words(&info)),
        );
        Stop
    }

    /// Where an unclosed bracket opens, when the reader stumbled only later:
    /// at a line that is indented no deeper than the one with the bracket.
    fn opening(&self, mark: Mark) -> Mark {
        let text = &self.loader.files[usize::from(self.file)].text;
        let lines: Vec<&str> = text.lines().collect();
        let indent = |line: u32| {
            lines
                .get(line.saturating_sub(1) as usize)
                .map_or(0, |line| line.len() - line.trim_start().len())
        };
        let unclosed = self
            .flow
            .iter()
            .find(|open| open.line < mark.line && indent(mark.line) <= indent(open.line));
        let found = unclosed.copied().unwrap_or(mark);
        Mark {
            line: found.line.clamp(1, lines.len().max(1) as u32),
            ..found
        }
    }

    /// Where a quote opens that swallowed the lines up to the next quote, and what follows made no sense.
    fn unclosed_quote(&self, kind: &ErrorKind, mark: Mark) -> Option<Mark> {
        let quote = match kind {
            ErrorKind::InvalidTrailingDoubleQuotedScalar => '"',
            ErrorKind::InvalidTrailingSingleQuotedScalar => '\'',
            _ => return None,
        };
        let text = &self.loader.files[usize::from(self.file)].text;
        let before: String = text
            .lines()
            .take(mark.line as usize)
            .collect::<Vec<_>>()
            .join("\n");
        let last_line = before.rfind('\n').map_or(0, |at| at + 1);
        let end = before[last_line..]
            .char_indices()
            .nth(mark.column.saturating_sub(1) as usize)
            .map_or(before.len(), |(at, _)| last_line + at);
        let closing = before[..end].rfind(quote)?;
        let opening = before[..closing].rfind(quote)?;
        let line = 1 + before[..opening].matches('\n').count() as u32;
        let start = before[..opening].rfind('\n').map_or(0, |at| at + 1);
        (line < mark.line).then(|| Mark {
            line,
            column: 1 + before[start..opening].chars().count() as u32,
            ..mark
        })
    }
}

/// What usually stands behind the parser's words.
fn plain_words(info: &str) -> String {
    const MEANINGS: &[(&str, &str)] = &[
        ("simple key expected ':'", "a key without a colon"),
        (
            "mapping values are not allowed",
            "a second `key: value` on one line; text with a colon and a space is quoted",
        ),
        (
            "illegal placement of ':'",
            "a colon where none can be; is a bracket or quote above it open?",
        ),
        (
            "did not find expected key",
            "the indentation fits no open block, or a list is mixed with keys",
        ),
        (
            "tabs disallowed",
            "a tab is used for indentation; use spaces",
        ),
        ("unclosed quote", "quoted text is never closed"),
        (
            "invalid trailing content after",
            "text after a closing quote; is a quote missing, or one too many?",
        ),
        (
            "unknown escape character",
            "unknown escape in a double-quoted text; write \\\\ or use single quotes",
        ),
        (
            "did not find expected ',' or '}'",
            "a brace is never closed, or a comma is missing",
        ),
        (
            "did not find expected ',' or ']'",
            "a bracket is never closed, or a comma is missing",
        ),
        (
            "unexpected character: `@'",
            "text that begins with @ is quoted",
        ),
        (
            "unexpected character: ``'",
            "text that begins with ` is quoted",
        ),
        (
            "unexpected character: `%'",
            "text that begins with % is quoted",
        ),
    ];
    let words: String = info
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(160)
        .collect();
    match MEANINGS.iter().find(|(part, _)| words.contains(part)) {
        Some((_, meaning)) => (*meaning).to_owned(),
        None => words,
    }
}
