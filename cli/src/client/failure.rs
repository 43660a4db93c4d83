//! Why a command could not do what it was asked: what, where, why, and the one command that helps.

use super::terminal::{Paint, clean};
use std::fmt::Display;
use std::process::ExitCode;

/// The platform said no, or something broke.
const REFUSED: u8 = 1;
/// Wrong usage, or nothing could be looked at.
const BLIND: u8 = 2;

/// One failure, told to a person.
#[derive(Debug)]
pub struct Failure {
    what: String,
    place: String,
    why: String,
    help: String,
    exit: u8,
}

impl Failure {
    pub fn new(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), place: String::new(), why: why.to_string(), help: String::new(), exit: REFUSED }
    }

    /// Wrong usage, or what should be judged cannot be read: exit status 2.
    pub fn blind(what: impl Into<String>, why: impl Display) -> Self {
        Self { exit: BLIND, ..Self::new(what, why) }
    }

    /// The file, address or project that it is about.
    pub fn at(self, place: impl Display) -> Self {
        Self { place: place.to_string(), ..self }
    }

    /// The one command that helps.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// Says it on stderr and gives the exit status.
    pub fn report(&self) -> ExitCode {
        let paint = Paint::stderr();
        eprint!("{}", self.text(paint));
        ExitCode::from(self.exit)
    }

    fn text(&self, paint: Paint) -> String {
        let mut out = format!("{} {}\n", paint.red("slipway:"), clean(&self.what));
        for (name, text) in [("at", &self.place), ("why", &self.why), ("try", &self.help)] {
            if text.is_empty() {
                continue;
            }
            let mut lines = text.lines();
            out.push_str(&format!("  {} {}\n", paint.dim(&format!("{name:<4}")), clean(lines.next().unwrap_or_default())));
            for line in lines {
                out.push_str(&format!("       {}\n", clean(line)));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_where_why_and_what_helps() {
        let failure = Failure::new("could not list the projects", "connection refused").at("http://127.0.0.1:7070").help("slipway up");
        assert_eq!(
            failure.text(Paint::plain()),
            "slipway: could not list the projects\n  at   http://127.0.0.1:7070\n  why  connection refused\n  try  slipway up\n"
        );
    }
}
