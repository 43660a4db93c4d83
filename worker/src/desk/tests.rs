//! Tests of the module beside this file.

use super::*;
use crate::log::Level;
use slipway_model::SnapshotId;
use slipway_proto::worker::{TaskState, worker_report::Report};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Semaphore;

/// Says what it is told to and ends when it is let go.
struct Script {
    says: fn(&Job),
    gate: Semaphore,
    carried: AtomicU32,
}

#[async_trait::async_trait]
impl Carrier for Script {
    async fn carry(&self, job: Job) -> TaskOutcome {
        self.carried.fetch_add(1, Ordering::SeqCst);
        job.running();
        (self.says)(&job);
        tokio::select! {
            permit = self.gate.acquire() => { permit.unwrap().forget(); TaskOutcome::Done { ms: 1 } }
            () = job.cancel.cancelled() => TaskOutcome::Cancelled,
        }
    }
}

fn script(says: fn(&Job), open: usize) -> Arc<Script> {
    Arc::new(Script { says, gate: Semaphore::new(open), carried: AtomicU32::new(0) })
}

fn spec() -> TaskSpec {
    TaskSpec::DropSnapshot { snapshot: "snap-1".parse::<SnapshotId>().unwrap() }
}

fn task() -> TaskId {
    "task-1".parse().unwrap()
}

/// Everything a new connection hears, until the task is done.
async fn heard(desk: &Desk) -> (Vec<String>, Option<TaskOutcome>) {
    let mut outbox = Outbox::default();
    let mut lines: Vec<String> = vec![];
    let mut first = None;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut changed = desk.changed();
    loop {
        let reports = outbox.next(desk);
        let all_told = reports.is_empty();
        for report in reports {
            match report.report.unwrap() {
                Report::Log(chunk) => {
                    let first = *first.get_or_insert(chunk.first_line);
                    assert_eq!(chunk.first_line, first + lines.len() as u64, "lines are numbered without gap");
                    lines.extend(chunk.lines.into_iter().map(|l| l.text));
                }
                Report::Task(told) if told.state == TaskState::Done as i32 => {
                    return (lines, serde_json::from_str(&told.outcome_json).ok());
                }
                _ => {}
            }
        }
        if all_told {
            tokio::time::timeout_at(deadline, changed.changed()).await.expect("the task ends").unwrap();
        }
    }
}

#[tokio::test]
async fn an_order_that_comes_again_is_answered_and_not_redone() {
    let dir = tempfile::tempdir().unwrap();
    let carrier = script(|job| job.log.info("one\ntwo"), 1);
    let desk = Desk::open(dir.path(), carrier.clone()).await.unwrap();
    desk.order(task(), 1, spec()).await.unwrap();
    assert_eq!(heard(&desk).await, (vec!["one".into(), "two".into()], Some(TaskOutcome::Done { ms: 1 })));
    desk.order(task(), 1, spec()).await.unwrap();
    desk.order(task(), 0, spec()).await.unwrap();
    assert_eq!(carrier.carried.load(Ordering::SeqCst), 1);

    // Another process with the same directory gives the same answer, less what was acknowledged.
    desk.acknowledge(&task(), 1, 1);
    let second = script(|_| {}, 1);
    let desk = Desk::open(dir.path(), second.clone()).await.unwrap();
    assert_eq!(heard(&desk).await, (vec!["two".into()], Some(TaskOutcome::Done { ms: 1 })));
    assert_eq!(second.carried.load(Ordering::SeqCst), 0);
    desk.forget(&task()).await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_task_in_the_middle_is_resumed_and_its_lines_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path(), script(|job| job.log.info("before"), 0)).await.unwrap();
    desk.order(task(), 3, spec()).await.unwrap();
    let mut changed = desk.changed();
    while desk.with(&task(), 3, |spool| spool.lines.len()) != Some(1) {
        tokio::time::timeout(Duration::from_secs(10), changed.changed()).await.expect("the line is kept").unwrap();
    }
    // The process dies in the middle of a line.
    let log = dir.path().join("task-1/log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend(b"{\"t\":1,\"l\":\"info\",\"x\":\"ha");
    std::fs::write(&log, bytes).unwrap();
    let desk = Desk::open(dir.path(), script(|job| job.log.say(Level::Info, format!("resumed {}", job.resumed)), 1)).await.unwrap();
    assert_eq!(heard(&desk).await.0, ["before", "resumed true"]);
}

#[tokio::test]
async fn a_later_attempt_replaces_the_former() {
    let dir = tempfile::tempdir().unwrap();
    let carrier = script(|job| job.log.info(format!("attempt {}", job.attempt)), 0);
    let desk = Desk::open(dir.path(), carrier.clone()).await.unwrap();
    desk.order(task(), 1, spec()).await.unwrap();
    desk.order(task(), 2, spec()).await.unwrap();
    desk.cancel(&task(), 1);
    carrier.gate.add_permits(1);
    assert_eq!(heard(&desk).await, (vec!["attempt 2".into()], Some(TaskOutcome::Done { ms: 1 })));
}

#[tokio::test]
async fn a_flood_is_cut_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path(), script(|job| (0..50_000).for_each(|n| job.log.info(format!("line {n}"))), 1)).await.unwrap();
    desk.order(task(), 1, spec()).await.unwrap();
    let (lines, _) = heard(&desk).await;
    assert!(lines.len() < 20_000, "{}", lines.len());
    let wide = script(|job| job.log.info("x".repeat(LINES_PER_SECOND_MAX as usize * 10)), 1);
    let desk = Desk::open(&dir.path().join("b"), wide).await.unwrap();
    desk.order(task(), 1, spec()).await.unwrap();
    assert_eq!(heard(&desk).await.0[0].len(), crate::log::LINE_BYTES_MAX);
}

#[test]
fn a_whole_log_has_an_end() {
    let pending = Arc::new(spool_of(BYTES_MAX - 10));
    let sink = pending.sink();
    sink.info("a");
    sink.info("much more than ten bytes");
    sink.info("b");
    let texts: Vec<String> = pending.taken().into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["a", "log cut: it has reached 16 MiB, what follows is not kept"]);
}

fn spool_of(bytes: usize) -> spool::Pending {
    spool::Pending::starting_at(bytes)
}
