//! The log of an activity as it goes on, without gap or repeat, also over a change of leader.

use super::activity::{activity_json, log_line};
use super::arguments::Common;
use super::door::Door;
use super::failure::Failure;
use super::terminal::{Paint, note, say, say_json};
use super::{Done, terminal};
use serde_json::json;
use slipway_proto::api::{Activity, ActivityRef, ActivityRequest, FollowLogRequest, LogRecord};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tonic::Code;

/// The log is looked for so long while the control plane changes hands.
const AWAY_TIME_MAX: Duration = Duration::from_secs(600);
const AWAY_PAUSE: Duration = Duration::from_millis(300);

/// What an operation began: follows it to its end, unless nobody waits.
pub async fn operation(door: &mut Door, common: &Common, begun: ActivityRef, wait: bool) -> Done {
    if begun.activity.is_empty() {
        if common.json() {
            say_json(&json!({"activity": null, "note": begun.note}));
        } else {
            say(format!("{}\n", if begun.note.is_empty() { "Nothing to do." } else { &begun.note }));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !wait {
        if common.json() {
            say_json(&json!({"activity": begun.activity, "note": begun.note}));
        } else {
            say(format!("Activity {}. Follow it with: slipway activity log {} --follow\n", begun.activity, begun.activity));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !begun.note.is_empty() {
        note(terminal::clean(&begun.note));
    }
    // Programs get the activity when it has ended; people, and their logs, see it go on.
    let json = common.json();
    records(door, &begun.activity, true, &mut |record| {
        if json {
            eprint!("{}", log_line(record, Paint::stderr()));
        } else {
            say(log_line(record, Paint::stdout()));
        }
    })
    .await?;
    let activity = activity(door, &begun.activity).await?;
    if json {
        say_json(&activity_json(&activity));
    }
    Ok(verdict(&activity))
}

/// 0 when it succeeded; says so when it did not.
pub fn verdict(activity: &Activity) -> ExitCode {
    if activity.state == "complete" && activity.result == "success" {
        return ExitCode::SUCCESS;
    }
    let state = if activity.result.is_empty() { &activity.state } else { &activity.result };
    let why = if activity.failure.is_empty() { format!("it ended as: {state}") } else { activity.failure.clone() };
    Failure::new(format!("activity {} did not succeed", activity.id), why)
        .help(format!("slipway activity show {}", activity.id))
        .report()
}

pub async fn activity(door: &mut Door, id: &str) -> Result<Activity, Failure> {
    let request = ActivityRequest { activity: id.to_string() };
    Ok(door.client.get_activity(request).await.map_err(door.failed(format!("find activity '{id}'")))?.into_inner())
}

/// Each record once and in order, up to the seal, or with `follow` off up to the last there is.
pub async fn records(door: &mut Door, id: &str, follow: bool, show: &mut dyn FnMut(&LogRecord)) -> Result<(), Failure> {
    let mut next = 0;
    let mut away_since: Option<Instant> = None;
    loop {
        let status = match stream(door, id, follow, &mut next, &mut away_since, show).await {
            Ok(()) => return Ok(()),
            Err(status) => status,
        };
        let passing = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Aborted | Code::Internal | Code::Cancelled);
        let since = *away_since.get_or_insert_with(Instant::now);
        if !passing || since.elapsed() > AWAY_TIME_MAX {
            return Err(door.failed(format!("show the log of {id} any further; the work goes on"))(status));
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

async fn stream(
    door: &mut Door,
    id: &str,
    follow: bool,
    next: &mut u64,
    away_since: &mut Option<Instant>,
    show: &mut dyn FnMut(&LogRecord),
) -> Result<(), tonic::Status> {
    let request = FollowLogRequest { activity: id.to_string(), from_seq: *next, no_follow: !follow };
    let mut records = door.client.follow_log(request).await?.into_inner();
    while let Some(record) = records.message().await? {
        *away_since = None;
        if record.seq < *next {
            continue;
        }
        *next = record.seq + 1;
        if record.seal {
            return Ok(());
        }
        show(&record);
    }
    if follow { Err(tonic::Status::unavailable("the log ended without its seal")) } else { Ok(()) }
}
