//! What to do next for one instance: a pure function of what shall be and what is.

use super::record::{FrontRecord, Record};
use crate::machine::Status;
use slipway_model::Epoch;
use slipway_model::instance::{InstanceSpec, Process, Target};

/// The world as it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub status: Status,
    /// Root filesystem, mounts and network are made, and the container is recorded.
    pub prepared: bool,
    /// The main process answers and `post_start` is over.
    pub ready: bool,
    /// Processes of the fronts in the record, in its order.
    pub fronts: Vec<Status>,
    /// The supervised main process of a worker runs.
    pub main_runs: bool,
}

/// One step; every one may be interrupted and taken again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Fetch trees, make mounts and network, record the container.
    Prepare,
    Start,
    /// End the processes in good order; keep everything else.
    Stop,
    /// Take everything away.
    Remove,
    /// Start (or start again) the front of this epoch.
    OpenFront { epoch: Epoch, port: u16 },
    /// No more connections; what is under way ends.
    CloseFront(Epoch),
    /// It has ended: forget it.
    ForgetFront(Epoch),
    /// A worker's loop.
    StartMain,
    StopMain,
}

/// The next steps in their order; empty when the world is as it shall be. `want` is none when nothing shall be left.
pub fn next(want: Option<&InstanceSpec>, record: &Record, seen: &Seen) -> Vec<Step> {
    let Some(want) = want else {
        // Requests under way have ended before the scheduler takes an instance away.
        return if runs(seen) { vec![Step::Stop, Step::Remove] } else { vec![Step::Remove] };
    };
    let mut steps = fronts(want, record, seen);
    match want.target {
        Target::Running if runs(seen) => background(want, seen, &mut steps),
        Target::Running => steps.extend([Step::Prepare, Step::Start]),
        Target::Created | Target::Stopped if runs(seen) => steps.push(Step::Stop),
        Target::Created | Target::Stopped if !seen.prepared => steps.push(Step::Prepare),
        Target::Created | Target::Stopped => {}
    }
    steps
}

fn runs(seen: &Seen) -> bool {
    matches!(seen.status, Status::Running { .. } | Status::Paused { .. })
}

fn fronts(want: &InstanceSpec, record: &Record, seen: &Seen) -> Vec<Step> {
    let wanted = want.ingress.filter(|_| want.target == Target::Running);
    let mut steps = vec![];
    for (front, status) in record.fronts.iter().zip(&seen.fronts) {
        let alive = matches!(status, Status::Running { .. } | Status::Paused { .. });
        let is_wanted = wanted.is_some_and(|ingress| ingress.epoch == front.epoch);
        match (front.closed_unix_ms, alive) {
            (Some(_), false) => steps.push(Step::ForgetFront(front.epoch)),
            (Some(_), true) => {}
            (None, true) if is_wanted => {}
            (None, true) => steps.push(Step::CloseFront(front.epoch)),
            (None, false) if is_wanted && runs(seen) => steps.push(Step::OpenFront { epoch: front.epoch, port: front.port }),
            (None, false) if is_wanted => {}
            (None, false) => steps.push(Step::ForgetFront(front.epoch)),
        }
    }
    let begun = |epoch| record.fronts.iter().any(|front: &FrontRecord| front.epoch == epoch);
    let over = |epoch| record.closed_epoch.is_some_and(|closed| epoch <= closed);
    if let Some(ingress) = wanted.filter(|ingress| runs(seen) && seen.ready && !begun(ingress.epoch) && !over(ingress.epoch)) {
        steps.push(Step::OpenFront { epoch: ingress.epoch, port: ingress.port });
    }
    steps
}

fn background(want: &InstanceSpec, seen: &Seen, steps: &mut Vec<Step>) {
    if !matches!(want.process, Process::Worker { .. }) {
        return;
    }
    match (want.background, seen.main_runs) {
        (true, false) => steps.push(Step::StartMain),
        (false, true) => steps.push(Step::StopMain),
        _ => {}
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
