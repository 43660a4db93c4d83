//! The table in force and the environments at run time; a newer table is taken as a whole.

use super::clock::Clock;
use super::environment::Environment;
use crate::admission::Budget;
use crate::gate::Change;
use crate::table::{EnvironmentView, Routing, TableRefused};
use slipway_model::EnvironmentId;
use slipway_model::route::{Gate, RouteTable, RouterState};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// The table and what it governs.
#[derive(Debug)]
pub struct Tables {
    routing: watch::Sender<Arc<Routing>>,
    environments: RwLock<HashMap<EnvironmentId, Arc<Environment>>>,
    /// Out of the table, with requests still under way.
    leaving: Mutex<Vec<Arc<Environment>>>,
    applying: Mutex<()>,
    has_table: AtomicBool,
    /// Hellos that were said to schedulers.
    hellos: AtomicU64,
    /// The newest hello that was answered with a table.
    heard: watch::Sender<u64>,
    clock: Arc<Clock>,
    budget: Arc<Budget>,
    /// Requests since the start.
    pub requests_total: AtomicU64,
}

impl Tables {
    /// Without a table.
    pub fn new(clock: Arc<Clock>, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            routing: watch::Sender::new(Arc::default()),
            environments: RwLock::default(),
            leaving: Mutex::default(),
            applying: Mutex::default(),
            has_table: AtomicBool::new(false),
            hellos: AtomicU64::new(0),
            heard: watch::Sender::new(0),
            clock,
            budget,
            requests_total: AtomicU64::new(0),
        })
    }

    /// Takes a table. When this returns, every request that follows it sees this table or a newer one, and no first
    /// byte is written under an older epoch.
    pub fn apply(&self, table: RouteTable) -> Result<(), TableRefused> {
        let _one_at_a_time = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let (next, ignored) = before.follow(table)?;
        for entry in ignored {
            tracing::error!(environment = %entry.environment, epoch = %entry.epoch, "route table {}: an entry was not taken: {}", next.version(), entry.why);
        }
        let next = Arc::new(next);
        let mut gone = Vec::new();
        {
            let mut environments = self.environments.write().unwrap_or_else(PoisonError::into_inner);
            let mut kept = HashMap::with_capacity(next.environments().len());
            for view in next.environments() {
                let environment = environments.remove(view.id());
                let environment = environment.unwrap_or_else(|| Environment::new(view, Arc::clone(&self.clock), Arc::clone(&self.budget)));
                kept.insert(view.id().clone(), environment);
            }
            gone.extend(environments.drain().map(|(_, environment)| environment));
            *environments = kept;
        }
        // First the table, then the gates: a request that reads the new table at an old gate looks again.
        self.routing.send_replace(Arc::clone(&next));
        for view in next.environments() {
            if let Some(environment) = self.environment(view.id()) {
                note(view, &environment.take(view));
            }
        }
        for environment in &gone {
            environment.retire();
        }
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).extend(gone);
        self.has_table.store(true, Ordering::Release);
        Ok(())
    }

    /// A hello is about to be said; its number.
    pub fn hello(&self) -> u64 {
        self.hellos.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A scheduler has told what is in force, in answer to this hello.
    pub fn heard(&self, hello: u64) {
        self.heard.send_modify(|heard| *heard = hello.max(*heard));
    }

    /// Waits until a hello that is said from now on is answered. A table that was on its way already does not count: it
    /// may have waited in a buffer for as long as this process was stopped.
    pub fn hear_anew(&self) -> impl Future<Output = ()> + Send + 'static {
        // Counted now, not at the first poll.
        let before = self.hellos.load(Ordering::Acquire);
        let mut heard = self.heard.subscribe();
        async move {
            let _ = heard.wait_for(|heard| *heard > before).await;
        }
    }

    /// The table in force.
    pub fn current(&self) -> Arc<Routing> {
        self.routing.borrow().clone()
    }

    /// The table in force, followed; for the SSH door.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Routing>> {
        self.routing.subscribe()
    }

    /// A table was taken.
    pub fn has_table(&self) -> bool {
        self.has_table.load(Ordering::Acquire)
    }

    /// An environment of the table in force.
    pub fn environment(&self, id: &EnvironmentId) -> Option<Arc<Environment>> {
        self.environments.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Environment>> {
        self.environments.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What an acknowledgement says: every environment of the table, sorted by id.
    pub fn state(&self) -> RouterState {
        let mut environments: Vec<_> = self.all().iter().map(|environment| environment.report()).collect();
        environments.sort_by(|a, b| a.id.cmp(&b.id));
        RouterState { environments, requests_total: self.requests_total.load(Ordering::Relaxed) }
    }

    /// Something is frozen, held, or under way under an older epoch.
    pub fn is_busy(&self) -> bool {
        self.all().iter().any(|environment| environment.activity().0)
    }

    /// Requests are under way or held.
    pub fn is_serving(&self) -> bool {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        self.budget.held().0 > 0 || self.all().iter().chain(leaving.iter()).any(|environment| environment.activity().1)
    }

    /// Answers all that are held: the router ends.
    pub fn refuse_all(&self) {
        for environment in self.all() {
            environment.refuse_all();
        }
    }

    /// Takes out held requests whose client has gone, and connections that are idle too long.
    pub fn sweep(&self) {
        for environment in self.all() {
            environment.sweep();
            environment.connections.sweep();
        }
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).retain(|environment| environment.activity().1);
    }
}

fn note(view: &EnvironmentView, change: &Change) {
    match change {
        Change::None => {}
        Change::Froze => tracing::info!(environment = %view.id(), epoch = %view.epoch(), "gate frozen"),
        Change::Opened => tracing::info!(environment = %view.id(), epoch = %view.epoch(), release = %view.release(), "gate open"),
        // `follow` has compared the same two entries; that the gate says otherwise is a defect of ours.
        Change::Ignored(why) => tracing::error!(environment = %view.id(), epoch = %view.epoch(), gate = ?matches!(view.gate(), Gate::Open), "gate did not take what the table took: {why}"),
    }
}
