//! What the leader does: reconcilers that look at state and world afresh, woken by a bell or a clock.

mod activity;
mod build;
mod deployment;
mod place;
mod release;
mod report;
mod tidy;

use crate::office::Office;
use slipway_core::state::ActivityState;
use slipway_model::ActivityId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Without a bell the world is looked at so often: deadlines pass without anybody reporting.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Activities that are driven at once; more wait their turn.
const DRIVEN_MAX: usize = 64;

/// Leads whenever this node is the leader, until shut down.
pub async fn run(office: Office, shutdown: CancellationToken) {
    let mut leads = office.ledger.leadership();
    loop {
        if leads.borrow_and_update().is_some() {
            lead(&office, &shutdown).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = leads.changed() => if changed.is_err() { return },
        }
    }
}

/// One term of office.
async fn lead(office: &Office, shutdown: &CancellationToken) {
    tracing::info!("this scheduler leads: its duties begin");
    let mut leads = office.ledger.leadership();
    let mut bell = office.world.bell();
    let mut driven: BTreeMap<ActivityId, JoinHandle<()>> = BTreeMap::new();
    loop {
        if shutdown.is_cancelled() || leads.borrow().is_none() {
            break;
        }
        driven.retain(|_, task| !task.is_finished());
        for id in due(office, &driven) {
            driven.insert(id.clone(), tokio::spawn(activity::drive(office.clone(), id)));
        }
        tidy::tidy(office).await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = leads.changed() => {}
            _ = bell.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        bell.mark_unchanged();
    }
    for task in driven.into_values() {
        task.abort();
    }
    tracing::info!("this scheduler no longer leads: its duties end");
}

/// Activities to be driven that are not: under way first, else the oldest of each environment.
fn due(office: &Office, driven: &BTreeMap<ActivityId, JoinHandle<()>>) -> Vec<ActivityId> {
    office.read(|state| {
        let mut due = Vec::new();
        let mut taken = BTreeSet::new();
        let mut open: Vec<_> = state.activities.iter().filter(|(_, a)| !a.state.is_final()).collect();
        open.sort_by_key(|(id, a)| (a.state != ActivityState::InProgress, a.created_at, (*id).clone()));
        for (id, activity) in open {
            if taken.insert(&activity.environment) && !driven.contains_key(id) {
                due.push(id.clone());
            }
        }
        due.truncate(DRIVEN_MAX.saturating_sub(driven.len()));
        due
    })
}
