//! Crons of one application's container: by their schedule, one at a time, only while the background may run.

use crate::machine::{Containers, Status};
use crate::room::{self, Room, kill_marked, script_args};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use nix::sys::signal::Signal;
use slipway_model::instance::CronSpec;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A running cron is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The clock may be set while we wait: never sleep past this without looking at it.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// A job that is due waits for the running one; more than these of one container is a schedule that cannot be kept.
const WAITING_MAX: usize = 64;

/// The next moment after `now` at which the spec is due, in its time zone (UTC when none is named).
pub fn next_due(spec: &CronSpec, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let cron = Cron::from_str(&spec.spec).ok()?;
    let zone: Tz = spec.timezone.as_deref().unwrap_or("UTC").parse().unwrap_or(chrono_tz::UTC);
    cron.find_next_occurrence(&now.with_timezone(&zone), false).ok().map(|at| at.with_timezone(&Utc))
}

/// The crons of a container, until the token is cancelled; then the running one is ended in good order.
pub struct Crons {
    pub containers: Containers,
    pub room: Room,
    pub specs: Vec<CronSpec>,
    /// Output of all, one after the other; `/var/log/cron.log` inside.
    pub log: PathBuf,
}

impl Crons {
    /// `running` is 1 while one runs.
    pub async fn run(self, running: &AtomicU32, stop: CancellationToken) {
        // What a former worker process left running is ended first: two at a time are never wanted.
        kill_marked(&self.containers, &self.room.container, "SLIPWAY_CRON=1", Signal::SIGTERM).await;
        let mut due: Vec<Option<DateTime<Utc>>> = self.specs.iter().map(|s| next_due(s, Utc::now())).collect();
        let mut waiting: Vec<usize> = Vec::new();
        loop {
            let now = Utc::now();
            for (n, at) in due.iter_mut().enumerate() {
                if at.is_some_and(|at| at <= now) {
                    if !waiting.contains(&n) && waiting.len() < WAITING_MAX {
                        waiting.push(n);
                    }
                    *at = next_due(&self.specs[n], now);
                }
            }
            if !waiting.is_empty() {
                let n = waiting.remove(0);
                running.store(1, Ordering::SeqCst);
                if let Err(error) = self.once(&self.specs[n], &stop).await {
                    tracing::warn!(container = %self.room.container, cron = %self.specs[n].name, %error, "a cron could not be run");
                }
                running.store(0, Ordering::SeqCst);
                if stop.is_cancelled() {
                    return;
                }
                continue;
            }
            let soonest = due.iter().flatten().min().map_or(SLEEP_MAX, |at| (*at - now).to_std().unwrap_or_default());
            tokio::select! {
                () = tokio::time::sleep(soonest.min(SLEEP_MAX)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn once(&self, spec: &CronSpec, stop: &CancellationToken) -> crate::machine::Result<()> {
        let exec = format!("cron-{}", crate::desk::unix_ms());
        let env = [format!("SLIPWAY_CRON_NAME={}", spec.name), "SLIPWAY_CRON=1".to_string()];
        let process = room::exec_spec(&self.room, script_args(&spec.start), &env);
        self.containers.exec_detached(&self.room.container, &exec, &process, &self.log).await?;
        let latest = Instant::now() + Duration::from_secs(spec.timeout_seconds.max(1));
        let mut kill_at = None;
        loop {
            match self.containers.exec_status(&self.room.container, &exec).await? {
                Status::Stopped { .. } => break,
                Status::Absent => return Ok(()),
                _ => {}
            }
            match kill_at {
                None if stop.is_cancelled() || Instant::now() > latest => {
                    self.ask_to_stop(spec, &exec).await;
                    kill_at = Some(Instant::now() + Duration::from_secs(spec.shutdown_timeout_seconds));
                }
                Some(at) if Instant::now() > at => {
                    kill_marked(&self.containers, &self.room.container, "SLIPWAY_CRON=1", Signal::SIGKILL).await;
                }
                _ => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // Left-behind children end with their cron.
        kill_marked(&self.containers, &self.room.container, "SLIPWAY_CRON=1", Signal::SIGKILL).await;
        self.containers.exec_delete(&self.room.container, &exec).await
    }

    /// The cron's own stop command, or SIGTERM.
    async fn ask_to_stop(&self, spec: &CronSpec, exec: &str) {
        if let Some(stop) = &spec.stop {
            let process = room::exec_spec(&self.room, script_args(stop), &[]);
            let name = format!("{exec}-stop");
            if self.containers.exec_detached(&self.room.container, &name, &process, &self.log).await.is_ok() {
                return;
            }
        }
        kill_marked(&self.containers, &self.room.container, "SLIPWAY_CRON=1", Signal::SIGTERM).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(spec: &str, zone: Option<&str>) -> CronSpec {
        CronSpec {
            name: "x".into(),
            spec: spec.into(),
            start: String::new(),
            stop: None,
            timeout_seconds: 1,
            shutdown_timeout_seconds: 1,
            timezone: zone.map(String::from),
        }
    }

    #[test]
    fn a_cron_is_due_by_its_own_time_zone() {
        let now: DateTime<Utc> = "2026-01-15T10:03:00Z".parse().unwrap();
        let at = |s: CronSpec| next_due(&s, now).unwrap().to_rfc3339();
        assert_eq!(at(spec("*/5 * * * *", None)), "2026-01-15T10:05:00+00:00");
        assert_eq!(at(spec("0 12 * * *", Some("Europe/Berlin"))), "2026-01-15T11:00:00+00:00");
        assert_eq!(at(spec("7-59/15 * * * *", None)), "2026-01-15T10:07:00+00:00");
        assert!(next_due(&spec("nonsense", None), now).is_none());
    }
}
