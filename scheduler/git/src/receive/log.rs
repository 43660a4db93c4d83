//! An activity's records on the pusher's terminal.

use crate::hook_socket::{Gone, Terminal};
use crate::platform::{Platform, is_away};
use slipway_proto::api::{ActivityRef, LogRecord};
use std::time::Duration;
use tokio_stream::StreamExt;

/// The log is looked for so long while the control plane changes hands.
const AWAY_TIME_MAX: Duration = Duration::from_secs(600);

/// Shows one activity until its seal.
pub async fn show(platform: &Platform, activity: &ActivityRef, no_wait: bool, terminal: &Terminal) -> Result<(), Gone> {
    if !activity.note.is_empty() {
        terminal.say(clean(&activity.note)).await?;
    }
    if activity.activity.is_empty() {
        return Ok(());
    }
    let id = &activity.activity;
    if no_wait {
        return terminal.say(format!("Not waiting. Follow it with: slipway activity log {id}")).await;
    }
    let mut next = 0;
    let mut away_since = None;
    loop {
        let mut records = match platform.follow_log(id, next).await {
            Ok(records) => records,
            Err(status) => {
                wait_for_return(&status, &mut away_since, id, terminal).await?;
                continue;
            }
        };
        loop {
            match records.next().await {
                Some(Ok(record)) => {
                    away_since = None;
                    if record.seq < next {
                        continue;
                    }
                    next = record.seq + 1;
                    if record.seal {
                        return Ok(());
                    }
                    terminal.say(line(&record)).await?;
                }
                Some(Err(status)) => {
                    wait_for_return(&status, &mut away_since, id, terminal).await?;
                    break;
                }
                None => {
                    wait_for_return(&tonic::Status::unavailable("the log ended without its seal"), &mut away_since, id, terminal).await?;
                    break;
                }
            }
        }
    }
}

async fn wait_for_return(
    status: &tonic::Status,
    away_since: &mut Option<tokio::time::Instant>,
    id: &str,
    terminal: &Terminal,
) -> Result<(), Gone> {
    let since = *away_since.get_or_insert_with(tokio::time::Instant::now);
    if !is_away(status) || since.elapsed() > AWAY_TIME_MAX {
        terminal
            .say(format!(
                "W: The log cannot be shown any further ({}). The work goes on; follow it with: slipway activity log {id}",
                clean(status.message())
            ))
            .await?;
        return Err(Gone);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(())
}

/// Two spaces per indent, then whose line it is, then how bad it is.
pub fn line(record: &LogRecord) -> String {
    let indent = "  ".repeat(record.indent.min(20) as usize);
    let source = if record.source.is_empty() { String::new() } else { format!("[{}] ", clean(&record.source)) };
    let level = match record.level.as_str() {
        "warning" => "W: ",
        "error" => "E: ",
        _ => "",
    };
    let mut out = String::new();
    // A record is one line; a text that holds several keeps its shape.
    for text in record.text.split('\n') {
        // Who said it may have said how bad it is already.
        let level = if text.starts_with(level) { "" } else { level };
        out.push_str(format!("{indent}{source}{level}{}", clean(text)).trim_end());
        out.push('\n');
    }
    out
}

/// Text for somebody's terminal: colours stay, everything else that steers a terminal goes.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => out.push('\t'),
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                let mut sequence = String::new();
                while let Some(&c) = rest.peek() {
                    if sequence.len() >= 20 || !(c.is_ascii_digit() || c == ';') {
                        break;
                    }
                    sequence.push(c);
                    rest.next();
                }
                // Any other sequence is dropped with its final byte.
                if let Some(last) = rest.next()
                    && last == 'm'
                {
                    out.push_str("\u{1b}[");
                    out.push_str(&sequence);
                    out.push('m');
                }
            }
            // A progress bar redraws its line: what stood there last is what counts.
            '\r' if rest.peek().is_some() => out.clear(),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(indent: u32, level: &str, source: &str, text: &str) -> LogRecord {
        LogRecord { indent, level: level.into(), source: source.into(), text: text.into(), ..Default::default() }
    }

    #[test]
    fn a_record_is_indented_named_and_marked() {
        for (record, shown) in [
            (record(0, "info", "", "Processing activity: **Ada** pushed to **main**"), "Processing activity: **Ada** pushed to **main**\n"),
            (record(2, "info", "shop", "Generating runtime configuration."), "    [shop] Generating runtime configuration.\n"),
            (record(1, "warning", "", "slow"), "  W: slow\n"),
            (record(2, "error", "shop", "a\nb"), "    [shop] E: a\n    [shop] E: b\n"),
            (record(0, "info", "", ""), "\n"),
        ] {
            assert_eq!(line(&record), shown);
        }
    }

    #[test]
    fn colours_stay_and_what_steers_a_terminal_goes() {
        for (text, shown) in [
            ("\u{1b}[32mok\u{1b}[0m", "\u{1b}[32mok\u{1b}[0m"),
            ("a\u{1b}[2Jb", "ab"),
            ("a\u{1b}]0;title\u{7}b", "a]0;titleb"),
            ("10%\r20%\r100%", "100%"),
            ("line\r", "line"),
            ("a\tb\u{8}c", "a\tbc"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(clean(text), shown, "{text:?}");
        }
    }
}
