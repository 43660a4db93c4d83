//! What one connection has still to send.

use super::{Desk, spool::SpooledLine};
use crate::log::Level;
use slipway_model::TaskId;
use slipway_proto::worker::{LogChunk, LogLevel, LogLine, TaskReport, TaskState, WorkerReport, worker_report::Report};
use std::collections::BTreeMap;

/// One message carries so much, so that heartbeats get through between two.
const CHUNK_LINES_MAX: usize = 500;
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Remembers what a connection was told; a new connection begins with a new one.
#[derive(Debug, Default)]
pub struct Outbox {
    told: BTreeMap<TaskId, Told>,
}

#[derive(Debug, Default)]
struct Told {
    attempt: u32,
    /// Lines sent, counted from the attempt's first.
    lines: u64,
    state: TaskState,
}

impl Outbox {
    /// The next messages, in the order in which they must arrive; empty when all is told.
    pub fn next(&mut self, desk: &Desk) -> Vec<WorkerReport> {
        let tasks = desk.lock();
        self.told.retain(|task, _| tasks.contains_key(task));
        let mut out = vec![];
        for (task, spool) in tasks.iter() {
            let told = self.told.entry(task.clone()).or_default();
            if told.attempt != spool.attempt {
                *told = Told { attempt: spool.attempt, ..Told::default() };
            }
            told.lines = told.lines.max(spool.acknowledged);
            let skipped = (told.lines - spool.acknowledged) as usize;
            let chunk = chunk(spool.lines.iter().skip(skipped));
            let whole = skipped + chunk.len() == spool.lines.len();
            if !chunk.is_empty() {
                let first_line = told.lines;
                told.lines += chunk.len() as u64;
                out.push(report(Report::Log(LogChunk { task: task.to_string(), attempt: spool.attempt, first_line, lines: chunk })));
            }
            // The outcome comes after the last line: who hears it may close the log.
            let state = match (&spool.outcome, spool.running) {
                (Some(_), _) if whole => TaskState::Done,
                (_, true) | (Some(_), _) => TaskState::Running,
                (None, false) => TaskState::Accepted,
            };
            if told.state != state {
                told.state = state;
                let outcome = spool.outcome.as_ref().filter(|_| state == TaskState::Done);
                let outcome_json = outcome.map_or(String::new(), |o| serde_json::to_string(o).unwrap_or_default());
                let told = TaskReport { task: task.to_string(), attempt: spool.attempt, state: state.into(), outcome_json };
                out.push(report(Report::Task(told)));
            }
        }
        out
    }

    /// The order came again: tell the state again.
    pub fn repeat(&mut self, task: &TaskId) {
        if let Some(told) = self.told.get_mut(task) {
            told.state = TaskState::Unspecified;
        }
    }
}

fn chunk<'a>(lines: impl Iterator<Item = &'a SpooledLine>) -> Vec<LogLine> {
    let mut bytes = 0;
    let fits = |line: &&SpooledLine| {
        bytes += line.text.len() + 32;
        bytes <= CHUNK_BYTES_MAX
    };
    lines.take(CHUNK_LINES_MAX).take_while(fits).map(wire).collect()
}

fn wire(line: &SpooledLine) -> LogLine {
    let level = match line.level {
        Level::Info => LogLevel::Info,
        Level::Warning => LogLevel::Warning,
        Level::Error => LogLevel::Error,
    };
    LogLine { unix_ms: line.unix_ms, indent: line.indent, level: level.into(), text: line.text.clone() }
}

fn report(report: Report) -> WorkerReport {
    WorkerReport { report: Some(report) }
}
