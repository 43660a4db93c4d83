//! What to do next for a deployment, and why.
//!
//! ```text
//!              no hook                         with a hook
//! Placing ──▶ Starting ──────────────┐   Placing ──▶ Freezing ──▶ Snapshotting ──▶ Hooking ─┐
//!                                    ▼                                                      ▼
//!                                Flipping ──▶ Draining ──▶ Live                         Flipping …
//! any of these up to Flipping ──▶ Undoing ──▶ Undone
//! ```
//!
//! `plan` looks at the world afresh each time and takes no other input: the same world gives the same step.
//! After the flip it goes forward only.

mod forward;
mod freeze;
mod undo;
mod view;

use crate::command::Change;
use crate::observed::Observed;
use crate::state::*;
use slipway_model::phase::Phase;
use slipway_model::task::TaskSpec;
use slipway_model::{DeploymentId, NodeId, TaskId};
use std::fmt;
use view::View;

/// Creating containers: slugs and images may have to be fetched from the store.
const CREATE_TIME_MAX_MS: i64 = 10 * 60 * 1000;
/// Requests under way at a freeze may take this long (lifecycle §0), then the deployment is aborted.
pub const DRAIN_TIME_MAX_MS: i64 = 10_000;
/// Background processes end within their own `shutdown_timeout` (10 s by default) and a margin.
const BACKGROUND_TIME_MAX_MS: i64 = 45_000;
/// A router that has not taken a table by then is not waited for (F8).
const ROUTER_ACK_TIME_MAX_MS: i64 = 2_000;
/// Stopping: SIGTERM, 15 s, SIGKILL (lifecycle §6), and a margin.
const STOP_TIME_MAX_MS: i64 = 40_000;
/// Starting services and applications; each has its own, shorter limit at the worker.
const START_TIME_MAX_MS: i64 = 6 * 60 * 1000;
/// Snapshots take milliseconds; a worker that restarts takes seconds.
const SNAPSHOT_TIME_MAX_MS: i64 = 60_000;
/// After the flip, requests of the old release may go on this long; then their connections are cut.
const OLD_REQUESTS_TIME_MAX_MS: i64 = 60_000;
/// An undo that takes longer has lost its worker: the gate stays closed and the operator is told, F7 keeps it so.
const UNDO_NOTICE_MS: i64 = 120_000;

/// One step of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing to do until something is reported, or until the moment.
    Wait { what: String, until: Option<Moment> },
    /// Propose this to the ledger.
    Advance { from: Phase, to: Phase, changes: Vec<Change>, because: String },
    /// Have a worker do this; the outcome is looked for in `Observed::tasks`.
    Task { id: TaskId, worker: NodeId, spec: TaskSpec, because: String },
    /// Live or undone.
    Ended,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Wait { what, .. } => write!(f, "waiting for {what}"),
            Step::Advance { from, to, because, .. } => write!(f, "{from:?} -> {to:?}: {because}"),
            Step::Task { id, because, .. } => write!(f, "task {id}: {because}"),
            Step::Ended => f.write_str("ended"),
        }
    }
}

/// The next step of a deployment.
pub fn plan(state: &ClusterState, id: &DeploymentId, observed: &Observed, now: Moment) -> Step {
    let Some(view) = View::of(state, id, observed, now) else { return Step::Ended };
    match view.deployment.phase {
        Phase::Placing => forward::placing(&view),
        Phase::Starting => forward::starting(&view),
        Phase::Freezing => freeze::freezing(&view),
        Phase::Snapshotting => freeze::snapshotting(&view),
        Phase::Hooking => forward::hooking(&view),
        Phase::Flipping => forward::flipping(&view),
        Phase::Draining => forward::draining(&view),
        Phase::Undoing => undo::undoing(&view),
        Phase::Live | Phase::Undone => Step::Ended,
    }
}
