//! One environment at run time: its gate, who waits at it, what is under way, and its connections.

use super::client::{ClientConnection, gone};
use super::clock::Clock;
use super::fuse::Fence;
use super::pool::Connections;
use crate::admission::{Budget, Refusal};
use crate::gate::{Change, EnvironmentGate, Pass, Verdict};
use crate::moment::Moment;
use crate::queue::HeldId;
use crate::state::{FlightId, Flights, report};
use crate::table::EnvironmentView;
use http::{Method, Uri};
use slipway_model::route::RouterEnvironmentState;
use slipway_model::{EnvironmentId, Epoch};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// How a wait at the gate ended.
#[derive(Debug)]
pub enum Waited {
    /// Its turn has come. The value travels with the word, so that a wait that was given up gives its turn on.
    Released(Released),
    /// The environment has gone from the table.
    LookAgain,
    /// It is refused now: the router ends.
    Refused(Refusal),
    /// Its client has gone.
    ClientGone,
}

#[derive(Debug)]
struct Waiter {
    wake: oneshot::Sender<Waited>,
    connection: Arc<ClientConnection>,
}

#[derive(Debug)]
struct Inner {
    gate: EnvironmentGate,
    flights: Flights,
    waiters: HashMap<HeldId, Waiter>,
    applied_unix_us: i64,
    timer: bool,
}

/// One environment.
#[derive(Debug)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Closes the way to the epochs that were.
    pub fence: Fence,
    /// Connections to its members.
    pub connections: Connections,
    inner: Mutex<Inner>,
    epochs: watch::Sender<Epoch>,
    turn: AtomicUsize,
    clock: Arc<Clock>,
    budget: Arc<Budget>,
}

impl Environment {
    /// As the first table has it.
    pub fn new(view: &EnvironmentView, clock: Arc<Clock>, budget: Arc<Budget>) -> Arc<Self> {
        let gate = EnvironmentGate::new(view.epoch(), view.release().clone(), view.gate(), view.hold().clone());
        Arc::new(Self {
            id: view.id().clone(),
            fence: Fence::new(view.epoch()),
            connections: Connections::default(),
            inner: Mutex::new(Inner {
                gate,
                flights: Flights::default(),
                waiters: HashMap::new(),
                applied_unix_us: Clock::unix_us(),
                timer: false,
            }),
            epochs: watch::Sender::new(view.epoch()),
            turn: AtomicUsize::new(0),
            clock,
            budget,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entry of a newer table. When this returns, no first byte of an older epoch is written any more.
    pub fn take(self: &Arc<Self>, view: &EnvironmentView) -> Change {
        let change = {
            let mut inner = self.lock();
            let change = inner.gate.take(view.epoch(), view.release(), view.gate(), view.hold());
            if matches!(change, Change::Froze | Change::Opened) {
                inner.applied_unix_us = Clock::unix_us();
            }
            change
        };
        if matches!(change, Change::Froze | Change::Opened) {
            self.fence.raise(view.epoch());
            self.connections.keep_only(view.epoch());
            self.epochs.send_replace(view.epoch());
        }
        if change == Change::Opened {
            self.pump();
        }
        change
    }

    /// The environment is in no table any more: those who wait look again and find nothing, tunnels end.
    pub fn retire(&self) {
        let mut inner = self.lock();
        for id in inner.gate.close() {
            if let Some(waiter) = inner.waiters.remove(&id) {
                let _ = waiter.wake.send(Waited::LookAgain);
            }
        }
        drop(inner);
        self.fence.raise(Epoch(u64::MAX));
        self.connections.keep_only(Epoch(u64::MAX));
        self.epochs.send_replace(Epoch(u64::MAX));
    }

    /// The router ends: those who wait here are answered now.
    pub fn refuse_all(&self) {
        let mut inner = self.lock();
        for id in inner.gate.close() {
            inner.gate.count_refused();
            if let Some(waiter) = inner.waiters.remove(&id) {
                let _ = waiter.wake.send(Waited::Refused(Refusal::RouterEnds));
            }
        }
    }

    /// A request asks to go on. `bytes` of its body may be in memory; `overhead` counts for the whole router only.
    pub fn ask(
        self: &Arc<Self>,
        seen: Epoch,
        since: Option<Moment>,
        connection: &Arc<ClientConnection>,
        bytes: u64,
        overhead: u64,
    ) -> Result<Asked, Refusal> {
        let now = self.clock.now();
        let mut inner = self.lock();
        match inner.gate.ask(now, seen, since, connection.ip(), bytes) {
            Verdict::Pass(pass) => Ok(Asked::Pass(pass)),
            Verdict::Stale => Ok(Asked::Stale),
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::Held(id, until) => {
                let bytes = bytes.saturating_add(overhead);
                if let Err(refusal) = self.budget.take(bytes) {
                    inner.gate.refuse(id);
                    return Err(refusal);
                }
                let (wake, woken) = oneshot::channel();
                inner.waiters.insert(id, Waiter { wake, connection: Arc::clone(connection) });
                let place = Place { environment: Arc::clone(self), id, bytes };
                Ok(Asked::Held(Wait { woken, until, place }))
            }
        }
    }

    /// A released request may go on under the epoch of the table that it was matched with again.
    pub fn pass_released(&self, seen: Epoch) -> Option<Pass> {
        self.lock().gate.pass_released(seen)
    }

    /// Lets those out whose turn it is; a timer asks again when the pace says so.
    pub fn pump(self: &Arc<Self>) {
        let mut inner = self.lock();
        let leaving = inner.gate.release_next(self.clock.now());
        let epoch = inner.gate.epoch();
        let woken: Vec<Option<Waiter>> = leaving.ids.iter().map(|id| inner.waiters.remove(id)).collect();
        if let Some(at) = leaving.again_at
            && !std::mem::replace(&mut inner.timer, true)
        {
            let me = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(me.clock.instant(at)).await;
                me.lock().timer = false;
                me.pump();
            });
        }
        drop(inner);
        // Outside the lock: a turn that nobody takes is given back on the spot, and that needs the lock.
        for waiter in woken {
            let released = Released { environment: Arc::clone(self), epoch };
            if let Some(waiter) = waiter {
                let _ = waiter.wake.send(Waited::Released(released));
            }
        }
    }

    /// A released request has its answer's head, or none will come.
    pub fn answered(self: &Arc<Self>, epoch: Epoch) {
        let more = {
            let mut inner = self.lock();
            inner.gate.answered(epoch);
            inner.gate.held() > 0 && !inner.gate.is_frozen()
        };
        if more {
            self.pump();
        }
    }

    /// Takes out those who wait here and whose client has gone; says how many.
    pub fn sweep(&self) -> usize {
        let waiting: Vec<(HeldId, Arc<ClientConnection>)> = {
            let inner = self.lock();
            inner.waiters.iter().map(|(id, waiter)| (*id, Arc::clone(&waiter.connection))).collect()
        };
        if waiting.is_empty() {
            return 0;
        }
        let left = gone(waiting.iter().map(|(_, connection)| connection.as_ref()));
        for index in &left {
            let mut inner = self.lock();
            let id = waiting[*index].0;
            if inner.gate.leave(id)
                && let Some(waiter) = inner.waiters.remove(&id)
            {
                let _ = waiter.wake.send(Waited::ClientGone);
            }
        }
        left.len()
    }

    /// A request goes on its way.
    pub fn begin(self: &Arc<Self>, epoch: Epoch, begun: Moment, method: Method, uri: Uri) -> Flight {
        let id = self.lock().flights.begin(epoch, begun, method, uri);
        Flight { environment: Arc::clone(self), id }
    }

    /// Its part of an acknowledgement.
    pub fn report(&self) -> RouterEnvironmentState {
        let inner = self.lock();
        report(&self.id, &inner.gate, &inner.flights, inner.applied_unix_us, self.clock.now())
    }

    /// `(held or under way of old epochs, anything under way)`.
    pub fn activity(&self) -> (bool, bool) {
        let inner = self.lock();
        let epoch = inner.gate.epoch();
        (inner.gate.is_frozen() || inner.gate.held() > 0 || inner.flights.older_than(epoch) > 0, !inner.flights.is_empty())
    }

    /// Counts a 503 that was given outside the gate.
    pub fn count_refused(&self) {
        self.lock().gate.count_refused();
    }

    /// Rises with each epoch; tunnels and event streams end then.
    pub fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }

    /// Where round robin stands.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a request hears at the gate.
#[derive(Debug)]
pub enum Asked {
    /// Go on.
    Pass(Pass),
    /// Wait.
    Held(Wait),
    /// Look at the table again.
    Stale,
}

/// A wait at the gate; dropping it leaves the queue.
#[derive(Debug)]
pub struct Wait {
    woken: oneshot::Receiver<Waited>,
    until: Moment,
    place: Place,
}

impl Wait {
    /// Waits for its turn; `Err` when its time is over.
    pub async fn turn(self) -> Result<Waited, Refusal> {
        let Wait { mut woken, until, place } = self;
        let deadline = place.environment.clock.instant(until);
        match tokio::time::timeout_at(deadline, &mut woken).await {
            Ok(Ok(waited)) => Ok(waited),
            // The waiter was dropped without a word only if it had been taken out with its client.
            Ok(Err(_)) => Ok(Waited::ClientGone),
            Err(_) => {
                let expired = {
                    let mut inner = place.environment.lock();
                    inner.waiters.remove(&place.id);
                    inner.gate.expire(place.id)
                };
                // When it was let out in this very instant it may still go.
                if expired { Err(Refusal::TooLong) } else { Ok(woken.await.unwrap_or(Waited::ClientGone)) }
            }
        }
    }
}

#[derive(Debug)]
struct Place {
    environment: Arc<Environment>,
    id: HeldId,
    bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.environment.budget.give_back(self.bytes);
        let mut inner = self.environment.lock();
        let was_waiting = inner.waiters.remove(&self.id).is_some();
        let left = inner.gate.leave(self.id);
        debug_assert!(left || !was_waiting, "a waiter is in the queue as long as it waits");
    }
}

/// One request under way; dropping it ends it.
#[derive(Debug)]
pub struct Flight {
    environment: Arc<Environment>,
    id: FlightId,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.environment.lock().flights.end(self.id);
    }
}

/// Takes part in the pace of a released queue until its answer's head is there.
#[derive(Debug)]
pub struct Released {
    /// Whose queue.
    pub environment: Arc<Environment>,
    /// Under which epoch it was let out.
    pub epoch: Epoch,
}

impl Drop for Released {
    fn drop(&mut self) {
        self.environment.answered(self.epoch);
    }
}
