//! What is shown where: width, colour, and text that cannot steer the terminal.

use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;

/// Columns of the terminal.
pub fn width() -> usize {
    match terminal_size::terminal_size() {
        Some((terminal_size::Width(columns), _)) if std::io::stdout().is_terminal() => usize::from(columns).max(40),
        _ => WIDTH,
    }
}

/// Prints text for people or programs. A reader that has gone (`| head`) ends the command quietly.
pub fn say(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref().as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => eprintln!("slipway: the output could not be written: {error}"),
        Ok(()) => {}
    }
}

/// The one document of `--format json`.
pub fn say_json(value: &Value) {
    say(format!("{value:#}\n"));
}

/// A word about what goes on, beside the answer.
pub fn note(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn stdout() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }

    pub fn stderr() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Self(false)
    }

    pub fn is_on(self) -> bool {
        self.0
    }

    fn with(self, style: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    pub fn red(self, text: &str) -> String {
        self.with("31;1", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.with("33;1", text)
    }

    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A state, in the colour of how well things are.
    pub fn state(self, state: &str) -> String {
        match state {
            "active" | "success" | "complete" | "ready" | "leader" | "running" => self.green(state),
            "failure" | "failed" | "exited" | "lost" | "deleting" => self.red(state),
            "dirty" | "pending" | "in_progress" | "draining" | "frozen" | "starting" => self.yellow(state),
            "inactive" | "cancelled" => self.dim(state),
            other => other.to_string(),
        }
    }
}

/// <https://no-color.org>: any value that is not empty.
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text of somebody else's without what could move a cursor or turn text around.
pub fn clean(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
    };
    text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(clean("Grüße"), "Grüße");
    }
}
