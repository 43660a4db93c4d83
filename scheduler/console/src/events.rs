//! The live log as server-sent events: `id:` is the record's number, so that a browser goes on where it was.

use crate::House;
use crate::logline::Line;
use crate::refusal::Refusal;
use crate::visitor::{Client, Visitor};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::Deserialize;
use slipway_proto::api::{ActivityRequest, FollowLogRequest, LogRecord};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Streaming;

/// Comments that keep proxies from ending a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// An ended activity's log is complete, or its last records come within this time.
const LAST_RECORDS_TIME_MAX: Duration = Duration::from_secs(3);
/// Browsers come back after so long.
const RETRY: Duration = Duration::from_millis(1000);

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    from: u64,
}

/// A log on its way, and what it holds while it is shown.
struct Live {
    records: Streaming<LogRecord>,
    first: Option<LogRecord>,
    next: u64,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

/// The log from the record after `Last-Event-ID`, or from `from` on, up to the seal.
pub async fn stream(
    State(house): State<House>,
    mut visitor: Visitor,
    Path(activity): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let next = last.map_or(asked.from, |seq| seq.saturating_add(1));
    let permit = house.live_logs.clone().try_acquire_owned().map_err(|_| Refusal::TooManyLogs)?;
    let request = ActivityRequest { activity: activity.clone() };
    let state = visitor.client.get_activity(request).await.map_err(|s| visitor.refused(s))?.into_inner().state;
    let ended = matches!(state.as_str(), "complete" | "cancelled");
    let mut records = open(&mut visitor.client, activity, next).await.map_err(|s| visitor.refused(s))?;
    let mut first = None;
    if ended {
        first = tokio::time::timeout(LAST_RECORDS_TIME_MAX, records.message()).await.ok().and_then(Result::ok).flatten();
        if first.is_none() {
            // Tells a browser not to come back.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let live = Live { records, first, next, ended, _permit: permit };
    let events = stream::unfold(Some(live), step).take_until(house.shutdown.clone().cancelled_owned());
    let retry = stream::once(async { Ok::<_, Infallible>(Event::default().retry(RETRY).comment("the log")) });
    let answer = Sse::new(retry.chain(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here"));
    Ok(([("x-accel-buffering", "no")], answer).into_response())
}

async fn open(client: &mut Client, activity: String, from_seq: u64) -> Result<Streaming<LogRecord>, tonic::Status> {
    Ok(client.follow_log(FollowLogRequest { activity, from_seq, no_follow: false }).await?.into_inner())
}

/// One event; none after the seal, or when the API's stream breaks: the browser then comes back for the rest.
async fn step(live: Option<Live>) -> Option<(Result<Event, Infallible>, Option<Live>)> {
    let mut live = live?;
    loop {
        let record = match live.first.take() {
            Some(record) => record,
            None if live.ended => tokio::time::timeout(LAST_RECORDS_TIME_MAX, live.records.message()).await.ok()?.ok()??,
            None => live.records.message().await.ok()??,
        };
        if record.seq < live.next {
            continue;
        }
        live.next = record.seq + 1;
        if record.seal {
            return Some((Ok(Event::default().event("seal").id(record.seq.to_string()).data("ended")), None));
        }
        let Ok(event) = Event::default().id(record.seq.to_string()).json_data(Line::of(&record)) else { return None };
        return Some((Ok(event), Some(live)));
    }
}
