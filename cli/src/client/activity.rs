//! `slipway activity`.

use super::Done;
use super::arguments::{Common, InEnvironment};
use super::door::Door;
use super::failure::Failure;
use super::follow;
use super::table::{Table, duration, moment, say_fields, short};
use super::terminal::{Paint, clean, note, say, say_json};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Activity {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, the newest first; with -e those of one environment.
    List {
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER")]
        count: u32,
    },
    /// Show one: phases, builds, freeze, URLs. By default the newest.
    Show { id: Option<String> },
    /// Print a log. By default the newest activity's.
    Log {
        id: Option<String>,
        /// Go on until the activity has ended; its failure is then the exit status.
        #[arg(long, short = 'f')]
        follow: bool,
    },
    /// Ask an activity to end. Possible until its freeze.
    Cancel { id: String },
}

impl Activity {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let (common, place) = (&self.common, &self.place);
        match self.command {
            Command::List { count } => {
                let activities = list(&mut door, place, count).await?;
                say_list(common, &activities);
            }
            Command::Show { id } => {
                let id = newest(&mut door, place, id).await?;
                let activity = follow::activity(&mut door, &id).await?;
                answer(common, &activity);
            }
            Command::Log { id, follow } => {
                let id = newest(&mut door, place, id).await?;
                return log(&mut door, common, &id, follow).await;
            }
            Command::Cancel { id } => {
                let ask = api::ActivityRequest { activity: id.clone() };
                let activity = door.client.cancel_activity(ask).await.map_err(door.failed(format!("cancel activity '{id}'")))?.into_inner();
                if common.json() {
                    say_json(&activity_json(&activity));
                } else {
                    say(format!("Asked activity {id} to end; it is {} now.\n", activity.state));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(door: &mut Door, place: &InEnvironment, count: u32) -> Result<Vec<api::Activity>, Failure> {
    let project = door.project(&place.project).await?.id;
    let ask = api::ListActivitiesRequest { project, environment: place.environment.clone().unwrap_or_default(), count };
    Ok(door.client.list_activities(ask).await.map_err(door.failed("list the activities"))?.into_inner().activities)
}

async fn newest(door: &mut Door, place: &InEnvironment, id: Option<String>) -> Result<String, Failure> {
    match id {
        Some(id) => Ok(id),
        None => list(door, place, 1).await?.into_iter().next().map(|activity| activity.id).ok_or_else(|| {
            Failure::blind("there is no activity yet", "nothing was pushed or asked for here").help("slipway activity list")
        }),
    }
}

async fn log(door: &mut Door, common: &Common, id: &str, follow: bool) -> Done {
    let mut records = Vec::new();
    let json = common.json();
    follow::records(door, id, follow, &mut |record| {
        if json {
            records.push(record_json(record));
        } else {
            say(log_line(record, Paint::stdout()));
        }
    })
    .await?;
    if json {
        say_json(&json!({"activity": id, "records": records}));
    }
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    let activity = follow::activity(door, id).await?;
    Ok(follow::verdict(&activity))
}

/// A record as the push's terminal shows it, its level in colour.
pub fn log_line(record: &api::LogRecord, paint: Paint) -> String {
    let indent = "  ".repeat(record.indent.min(20) as usize);
    let source = if record.source.is_empty() { String::new() } else { paint.dim(&format!("[{}] ", clean(&record.source))) };
    let level = match record.level.as_str() {
        "warning" => paint.yellow("W: "),
        "error" => paint.red("E: "),
        _ => String::new(),
    };
    let mut out = String::new();
    for text in record.text.split('\n') {
        out.push_str(format!("{indent}{source}{level}{}", log_text(text, paint)).trim_end());
        out.push('\n');
    }
    out
}

/// Tools colour their output: colours stay on a terminal, everything else that steers one goes.
fn log_text(text: &str, paint: Paint) -> String {
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => out.push('\t'),
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                let mut sequence = String::new();
                while let Some(&c) = rest.peek()
                    && sequence.len() < 20
                    && (c.is_ascii_digit() || c == ';')
                {
                    sequence.push(c);
                    rest.next();
                }
                if rest.next() == Some('m') && paint.is_on() {
                    coloured = true;
                    out.push_str(&format!("\u{1b}[{sequence}m"));
                }
            }
            // A progress bar redraws its line: what stood there last is what counts.
            '\r' if rest.peek().is_some() => out.clear(),
            '\r' => {}
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    // A tool that ends without taking its colour back must not paint what follows.
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

fn word(activity: &api::Activity) -> &str {
    if activity.result.is_empty() { &activity.state } else { &activity.result }
}

fn say_list(common: &Common, activities: &[api::Activity]) {
    if common.json() {
        return say_json(&activities.iter().map(activity_json).collect());
    }
    if activities.is_empty() {
        return note("No activity yet: a push makes the first one.");
    }
    let mut table = Table::new(["ID", "STATE", "ENVIRONMENT", "CREATED", "WHAT"]);
    for a in activities {
        let what = a.text.lines().next().unwrap_or_default().to_string();
        table.row([a.id.clone(), word(a).into(), a.environment.clone(), moment(&a.created_at), what]);
    }
    table.print();
}

fn answer(common: &Common, a: &api::Activity) {
    if common.json() {
        return say_json(&activity_json(a));
    }
    say_fields(&[
        ("activity", a.id.clone()),
        ("state", word(a).to_string()),
        ("what", a.text.trim().to_string()),
        ("why", a.failure.clone()),
        ("project", a.project.clone()),
        ("environment", a.environment.clone()),
        ("commit", a.commit.clone()),
        ("release", a.release.clone()),
        ("created", moment(&a.created_at)),
        ("started", moment(&a.started_at)),
        ("ended", moment(&a.completed_at)),
        ("URLs", a.urls.join("\n")),
        ("phases", a.phases.iter().map(|p| format!("{:<12} {:>10} {}", p.name, duration(p.ms), p.note)).collect::<Vec<_>>().join("\n")),
        ("builds", a.builds.iter().map(build_line).collect::<Vec<_>>().join("\n")),
        ("freeze", a.freeze.as_ref().filter(|f| f.freeze_ms > 0).map(freeze_line).unwrap_or_default()),
    ]);
    for failed in &a.failed {
        let paint = Paint::stdout();
        say(format!("\n{} {} ended with status {}; restored: {}\n", paint.red("failed"), clean(&failed.name), failed.exit_code, clean(&failed.restored)));
        for line in &failed.log_tail {
            say(format!("  {}\n", log_text(line, paint)));
        }
    }
}

fn build_line(b: &api::BuildReport) -> String {
    if b.reused {
        return format!("{} reused {}", b.app, short(&b.slug));
    }
    format!("{} built in {} on {} ({} KB, {} KB uploaded)", b.app, duration(b.ms), b.worker, b.bytes >> 10, b.uploaded_bytes >> 10)
}

fn freeze_line(f: &api::FreezeReport) -> String {
    format!("{}, of it the hook {}; {} requests held, {} refused, {} routers", duration(f.freeze_ms), duration(f.hook_ms), f.held, f.rejected, f.routers)
}

pub fn activity_json(a: &api::Activity) -> Value {
    let build = |b: &api::BuildReport| {
        json!({
            "app": b.app, "reused": b.reused, "slug": b.slug, "worker": b.worker, "started_unix_ms": b.started_unix_ms,
            "ms": b.ms, "bytes": b.bytes, "uploaded_bytes": b.uploaded_bytes,
        })
    };
    let freeze = |f: &api::FreezeReport| {
        json!({
            "freeze_ms": f.freeze_ms, "hook_ms": f.hook_ms, "start_ms": f.start_ms, "held": f.held, "rejected": f.rejected,
            "routers": f.routers, "skew_us": f.skew_us,
        })
    };
    let failed = |f: &api::FailedInstance| {
        json!({"name": f.name, "exit_code": f.exit_code, "log_tail": f.log_tail, "restored": f.restored, "undo_ms": f.undo_ms})
    };
    json!({
        "id": a.id,
        "type": a.r#type,
        "project": a.project,
        "environment": a.environment,
        "user": a.user,
        "state": a.state,
        "result": a.result,
        "failure": a.failure,
        "created_at": a.created_at,
        "started_at": a.started_at,
        "completed_at": a.completed_at,
        "text": a.text,
        "commit": a.commit,
        "release": a.release,
        "urls": a.urls,
        "phases": a.phases.iter().map(|p| json!({"name": p.name, "ms": p.ms, "note": p.note})).collect::<Vec<_>>(),
        "builds": a.builds.iter().map(build).collect::<Vec<_>>(),
        "freeze": a.freeze.as_ref().map(freeze),
        "failed": a.failed.iter().map(failed).collect::<Vec<_>>(),
    })
}

fn record_json(r: &api::LogRecord) -> Value {
    json!({"seq": r.seq, "unix_ms": r.unix_ms, "indent": r.indent, "level": r.level, "source": r.source, "text": r.text})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_as_in_the_push() {
        let record = |indent, level: &str, source: &str, text: &str| api::LogRecord {
            indent,
            level: level.into(),
            source: source.into(),
            text: text.into(),
            ..Default::default()
        };
        for (record, shown) in [
            (record(2, "info", "shop", "Generating runtime configuration."), "    [shop] Generating runtime configuration.\n"),
            (record(1, "warning", "", "slow"), "  W: slow\n"),
            (record(2, "error", "shop", "a\nb"), "    [shop] E: a\n    [shop] E: b\n"),
            (record(0, "info", "", "\u{1b}[31mred\u{1b}[0m 1%\r100%\u{1b}[2J"), "100%\n"),
            (record(0, "info", "", ""), "\n"),
        ] {
            assert_eq!(log_line(&record, Paint::plain()), shown);
        }
    }
}
