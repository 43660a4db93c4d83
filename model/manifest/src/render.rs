//! Complaints for people (terminal, git side-band) and for programs (JSON).

use crate::problem::{Problem, Severity};
use crate::report::Report;
use serde_json::{Value, json};

const RED: &str = "\x1b[31;1m";
const YELLOW: &str = "\x1b[33;1m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// What people see: place, reason, line and remedy of each, and a count at the end.
pub fn render_terminal(problems: &[Problem], width: usize, colour: bool) -> String {
    let width = width.max(40);
    let paint = |style: &str, text: &str| {
        if colour {
            format!("{style}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    };
    let mut out = String::new();
    for problem in problems {
        let (letter, style) = match problem.severity {
            Severity::Error => ("E:", RED),
            Severity::Warning => ("W:", YELLOW),
        };
        let lines = wrap(&safe(&problem.to_string()), width - 3);
        for (index, line) in lines.iter().enumerate() {
            let lead = if index == 0 {
                paint(style, letter)
            } else {
                "  ".to_owned()
            };
            let place = problem_place(problem);
            let line = match line.strip_prefix(place.as_str()).filter(|_| index == 0) {
                Some(rest) => format!("{}{rest}", paint(BOLD, &place)),
                None => line.clone(),
            };
            out.push_str(&format!("{lead} {line}\n"));
        }
        if let Some(snippet) = problem
            .snippet
            .as_deref()
            .filter(|snippet| !snippet.trim().is_empty())
        {
            let number = problem.line.to_string();
            let room = width.saturating_sub(number.len() + 9);
            let text: String = safe(&snippet.replace('\t', "→   "))
                .chars()
                .take(room)
                .collect();
            out.push_str(&format!(
                "      {} {text}\n",
                paint(DIM, &format!("{number} |"))
            ));
        }
        let remedy = format!("{} ({})", problem.remedy, problem.code);
        for line in wrap(&safe(&remedy), width - 3) {
            out.push_str(&format!("   {}\n", paint(DIM, &line)));
        }
    }
    out.push_str(&summary(problems));
    out
}

fn problem_place(problem: &Problem) -> String {
    if problem.line > 0 {
        format!("{}:{}:{}", problem.file, problem.line, problem.column)
    } else {
        problem.file.clone()
    }
}

fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    match (errors, warnings) {
        (0, 0) => String::new(),
        (0, _) => format!("{}.\n", count(warnings, "warning")),
        (_, 0) => format!(
            "{}. `slipway explain CODE` tells more.\n",
            count(errors, "error")
        ),
        _ => format!(
            "{}, {}. `slipway explain CODE` tells more.\n",
            count(errors, "error"),
            count(warnings, "warning")
        ),
    }
}

/// Without what could move a cursor or turn text around.
pub(crate) fn safe(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if hostile(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Lines of at most `width` characters, broken at spaces where there are any.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(word.iter().collect());
            word = rest;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// One object: `{"valid": …, "problems": […]}`.
pub fn render_json(report: &Report) -> Value {
    json!({"valid": report.is_valid(), "problems": report.problems.iter().map(problem_json).collect::<Vec<_>>()})
}

/// One complaint as programs see it.
pub fn problem_json(problem: &Problem) -> Value {
    json!({
        "code": problem.code,
        "severity": problem.severity,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.key,
        "message": problem.message,
        "expected": problem.expected,
        "suggestion": problem.suggestion,
        "remedy": problem.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked_and_nothing_moves_the_cursor() {
        let problem = Problem {
            code: "SW-202",
            severity: Severity::Error,
            file: "a".repeat(120),
            line: 3,
            column: 1,
            key: "x\u{1b}[2J\u{202e}".to_owned(),
            message: "words and words and words and words and words and words and words and words"
                .to_owned(),
            expected: None,
            suggestion: None,
            remedy: "Remove it.".to_owned(),
            snippet: Some(format!("\t{}", "y".repeat(200))),
        };
        let text = render_terminal(&[problem], 80, false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}
