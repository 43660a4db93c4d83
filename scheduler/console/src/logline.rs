//! One record of a log, for the page and for the stream: the same words either way.

use maud::{Markup, html};
use serde::Serialize;
use slipway_proto::api::LogRecord;

/// Levels of indentation that are drawn.
const INDENT_MAX: u32 = 8;

/// A record as a browser shows it.
#[derive(Serialize)]
pub struct Line {
    pub seq: u64,
    pub class: String,
    pub time: String,
    pub source: String,
    pub level: &'static str,
    pub text: String,
}

impl Line {
    pub fn of(record: &LogRecord) -> Self {
        let level = match record.level.as_str() {
            "warning" => "W:",
            "error" => "E:",
            _ => "",
        };
        let kind = match level {
            "W:" => " warning",
            "E:" => " error",
            _ => "",
        };
        Self {
            seq: record.seq,
            class: format!("i{}{kind}", record.indent.min(INDENT_MAX)),
            time: clock(record.unix_ms),
            source: clean(&record.source),
            level,
            text: clean(&record.text),
        }
    }

    pub fn markup(&self) -> Markup {
        html! {
            li id={ "r" (self.seq) } class=(self.class) {
                time.at { (self.time) }
                @if !self.source.is_empty() { b.source { (self.source) } }
                @if !self.level.is_empty() { span.level { (self.level) } }
                span.text { (self.text) }
            }
        }
    }
}

/// `20:48:34` in UTC.
fn clock(unix_ms: i64) -> String {
    let second = unix_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Text of tools without their colours and cursor movements, and without what turns text around.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line_start = 0;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                out.push('\n');
                line_start = out.len();
            }
            '\t' => out.push('\t'),
            '\u{1b}' => {
                if rest.next_if_eq(&'[').is_some() {
                    while rest.next_if(|c| c.is_ascii_digit() || matches!(c, ';' | '?')).is_some() {}
                    rest.next();
                }
            }
            // A progress bar redraws its line: what stood there last is what counts.
            '\r' if rest.peek().is_some_and(|next| *next != '\n') => out.truncate(line_start),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_movements_of_tools_are_left_out() {
        for (text, shown) in [
            ("\u{1b}[32mok\u{1b}[0m", "ok"),
            ("a\u{1b}[2Jb", "ab"),
            ("one\n10%\r20%", "one\n20%"),
            ("line\r", "line"),
            ("a\u{202e}b", "ab"),
        ] {
            assert_eq!(clean(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_hostile_line_is_text_and_nothing_else() {
        let record = LogRecord { text: "<script>alert(1)</script>".into(), level: "error".into(), source: "<b>".into(), indent: 99, ..Default::default() };
        let markup = Line::of(&record).markup().into_string();
        assert!(!markup.contains("<script") && !markup.contains("<b>"), "{markup}");
        assert!(markup.contains("class=\"i8 error\""), "{markup}");
    }
}
