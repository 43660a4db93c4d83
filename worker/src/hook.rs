//! A hook in a running instance, under a lease: it ends when its time is over, whoever watches it then.
//!
//! The hook is a detached process of the container, and writes to a file: it goes on while the worker's process is
//! away, and is found again by its task's name.

use crate::desk::{Job, unix_ms};
use crate::log::{Level, LineCutter};
use crate::machine::{Containers, Status};
use crate::room::{self, Room, SCRIPT_BYTES_MAX, script_args};
use nix::sys::signal::Signal;
use slipway_model::Epoch;
use slipway_model::task::{Hook, TaskOutcome};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Output is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From SIGTERM to SIGKILL when the lease ends.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the hook, or goes on watching it. `highest_epoch`: of its environment, as this worker has seen it.
pub async fn run(job: &Job, hook: &Hook, containers: &Containers, room: &Room, highest_epoch: Option<Epoch>) -> TaskOutcome {
    if !job.resumed && highest_epoch.is_some_and(|seen| seen > hook.epoch) {
        return failed("it was ordered for an epoch that is over");
    }
    if hook.script.len() > SCRIPT_BYTES_MAX {
        return failed(&format!("the script is longer than {} KiB: put it into a file of the application", SCRIPT_BYTES_MAX >> 10));
    }
    match watch(job, hook, containers, room).await {
        Ok(outcome) => outcome,
        Err(error) => TaskOutcome::InfrastructureFailure { message: format!("the hook could not be run: {error}") },
    }
}

fn failed(message: &str) -> TaskOutcome {
    TaskOutcome::UserFailure { step: "hook".into(), exit_code: None, message: message.into() }
}

async fn watch(job: &Job, hook: &Hook, containers: &Containers, room: &Room) -> crate::machine::Result<TaskOutcome> {
    let exec = format!("hook-{}", job.task.as_str().trim_start_matches("task-"));
    let marker = format!("SLIPWAY_HOOK={}", job.task);
    let output = job.directory.join("output");
    job.running();
    if matches!(containers.exec_status(&room.container, &exec).await?, Status::Absent) {
        if job.resumed && output.exists() {
            // It was begun, and its container has lost it: it is not begun a second time.
            return Ok(TaskOutcome::UserFailure {
                step: "hook".into(),
                exit_code: None,
                message: "its container was ended while it ran".into(),
            });
        }
        let spec = room::exec_spec(room, script_args(&hook.script), std::slice::from_ref(&marker));
        containers.exec_detached(&room.container, &exec, &spec, &output).await?;
    }
    let mut follower = Follower::open(job, hook, room, &output).await;
    let deadline = job.taken_unix_ms + i64::try_from(hook.seconds_max).unwrap_or(i64::MAX / 2000) * 1000;
    let mut ended_for: Option<&str> = None;
    let mut insist = tokio::time::Instant::now();
    let code = loop {
        follower.follow().await;
        match containers.exec_status(&room.container, &exec).await? {
            Status::Stopped { exit_code } => break exit_code,
            Status::Absent => {
                return Ok(TaskOutcome::UserFailure { step: "hook".into(), exit_code: None, message: "its container was ended while it ran".into() });
            }
            _ => {}
        }
        let over = unix_ms() > deadline;
        if ended_for.is_none() && (over || job.cancel.is_cancelled()) {
            ended_for = Some(if over { "time" } else { "cancel" });
            room::kill_marked(containers, &room.container, &marker, Signal::SIGTERM).await;
            insist = tokio::time::Instant::now() + GRACE;
        } else if ended_for.is_some() && tokio::time::Instant::now() > insist {
            room::kill_marked(containers, &room.container, &marker, Signal::SIGKILL).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    // Children that were left behind must not write on in a world that is put back.
    room::kill_marked(containers, &room.container, &marker, Signal::SIGKILL).await;
    follower.end().await;
    containers.exec_delete(&room.container, &exec).await?;
    let ms = u64::try_from(unix_ms() - job.taken_unix_ms).unwrap_or(0);
    Ok(match ended_for {
        Some("time") => TaskOutcome::UserFailure {
            step: "hook".into(),
            exit_code: None,
            message: format!("it did not end within {} s and was ended", hook.seconds_max),
        },
        Some(_) => TaskOutcome::Cancelled,
        None => TaskOutcome::HookEnded { exit_code: code, ms },
    })
}

/// Says what the hook writes, and appends it to the application's own log.
struct Follower<'a> {
    job: &'a Job,
    output: PathBuf,
    /// Bytes said so far, kept on disk beside the task.
    said: u64,
    cutter: LineCutter,
    copy: Option<tokio::fs::File>,
}

impl<'a> Follower<'a> {
    async fn open(job: &'a Job, hook: &Hook, room: &Room, output: &Path) -> Self {
        let said = tokio::fs::read_to_string(job.directory.join("said")).await.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
        let name = if hook.kind == "deploy" { "deploy.log" } else { "post-deploy.log" };
        let copy = match &room.logs {
            Some(folder) => tokio::fs::OpenOptions::new().create(true).append(true).open(folder.join(name)).await.ok(),
            None => None,
        };
        Self { job, output: output.to_path_buf(), said, cutter: LineCutter::default(), copy }
    }

    async fn follow(&mut self) {
        let Ok(mut file) = tokio::fs::File::open(&self.output).await else { return };
        if file.seek(SeekFrom::Start(self.said)).await.is_err() {
            return;
        }
        let mut bytes = vec![0u8; 64 << 10];
        loop {
            let Ok(count @ 1..) = file.read(&mut bytes).await else { break };
            let log = self.job.log.indented(3);
            self.cutter.feed(&bytes[..count], |line| log.say(Level::Info, line));
            if let Some(copy) = &mut self.copy {
                let _ = copy.write_all(&bytes[..count]).await;
            }
            self.said += count as u64;
        }
        let _ = tokio::fs::write(self.job.directory.join("said"), self.said.to_string()).await;
    }

    async fn end(&mut self) {
        self.follow().await;
        let log = self.job.log.indented(3);
        self.cutter.end(|line| log.say(Level::Info, line));
        if let Some(copy) = &mut self.copy {
            let _ = copy.flush().await;
        }
    }
}
