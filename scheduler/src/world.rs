//! What is seen just now: workers, routers, tasks. Rung by every report, looked at afresh by every reconciler.

use slipway_core::observed::{Observed, RouterObserved, WorkerObserved};
use slipway_core::state::Moment;
use slipway_model::observed::InstanceObserved;
use slipway_model::route::RouterState;
use slipway_model::task::{TaskOutcome, TaskSpec};
use slipway_model::{InstanceId, NodeId, TaskId};
use slipway_proto::worker::{TaskForget, TaskOrder, WorkerOrder, worker_order};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Orders that may wait for one worker's connection; one that takes none for so long is disconnected.
pub const ORDERS_WAITING_MAX: usize = 1024;

/// A cheap handle to what is seen.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    bell: watch::Sender<u64>,
    /// When this process began to look: nobody is silent for longer.
    since: Moment,
}

#[derive(Default)]
struct Inner {
    observed: Observed,
    links: BTreeMap<NodeId, (u64, mpsc::Sender<WorkerOrder>)>,
    next_link: u64,
    /// Orders not answered yet: sent again at each new connection.
    tasks: BTreeMap<TaskId, Ordered>,
    details: BTreeMap<NodeId, NodeDetail>,
    router_links: BTreeMap<NodeId, u64>,
    /// Which worker reported an instance last.
    seen_by: BTreeMap<InstanceId, NodeId>,
}

struct Ordered {
    worker: NodeId,
    attempt: u32,
    spec_json: String,
}

/// What a node said of itself, for people.
#[derive(Debug, Clone, Default)]
pub struct NodeDetail {
    pub role: &'static str,
    pub version: String,
    pub address: String,
    pub text: String,
    pub last_seen: Moment,
}

impl Default for World {
    fn default() -> Self {
        Self { inner: Arc::default(), bell: watch::channel(0).0, since: crate::chance::now_ms() }
    }
}

impl World {
    /// Rings whenever something was reported.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Wakes everybody who waits for the world to change.
    pub fn ring(&self) {
        self.bell.send_modify(|n| *n += 1);
    }

    /// Looks at the world; keep it short.
    pub fn look<R>(&self, look: impl FnOnce(&Observed) -> R) -> R {
        look(&self.inner.lock().expect("no holder panics").observed)
    }

    /// Nodes with what they said of themselves.
    pub fn nodes(&self) -> BTreeMap<NodeId, NodeDetail> {
        self.inner.lock().expect("no holder panics").details.clone()
    }

    /// A worker has connected; answers its link's number. Unanswered orders are sent again.
    pub fn worker_connected(&self, worker: &NodeId, orders: mpsc::Sender<WorkerOrder>, detail: NodeDetail) -> u64 {
        let mut inner = self.inner.lock().expect("no holder panics");
        inner.next_link += 1;
        let link = inner.next_link;
        for (id, ordered) in inner.tasks.iter().filter(|(_, o)| &o.worker == worker) {
            let _ = orders.try_send(order(id, ordered));
        }
        inner.links.insert(worker.clone(), (link, orders));
        let seen = inner.observed.workers.entry(worker.clone()).or_default();
        seen.connected = true;
        seen.last_seen = crate::chance::now_ms();
        inner.details.insert(worker.clone(), detail);
        drop(inner);
        self.ring();
        link
    }

    /// A worker's connection has ended; a newer connection of the same worker is left alone.
    pub fn worker_gone(&self, worker: &NodeId, link: u64) {
        let mut inner = self.inner.lock().expect("no holder panics");
        if inner.links.get(worker).is_some_and(|(l, _)| *l == link) {
            inner.links.remove(worker);
            if let Some(seen) = inner.observed.workers.get_mut(worker) {
                seen.connected = false;
            }
        }
        drop(inner);
        self.ring();
    }

    /// A heartbeat.
    pub fn worker_alive(&self, worker: &NodeId, builds_running: u32, text: String) {
        let mut inner = self.inner.lock().expect("no holder panics");
        let now = crate::chance::now_ms();
        let seen = inner.observed.workers.entry(worker.clone()).or_insert_with(WorkerObserved::default);
        seen.last_seen = now;
        seen.builds_running = builds_running;
        if let Some(detail) = inner.details.get_mut(worker) {
            detail.text = text;
            detail.last_seen = now;
        }
    }

    /// A worker's whole view of its instances.
    pub fn worker_saw(&self, worker: &NodeId, generation: u64, instances: Vec<InstanceObserved>) {
        let mut inner = self.inner.lock().expect("no holder panics");
        let seen = inner.observed.workers.entry(worker.clone()).or_default();
        seen.generation = generation;
        seen.last_seen = crate::chance::now_ms();
        let gone: Vec<_> = inner.seen_by.iter().filter(|(_, w)| *w == worker).map(|(id, _)| id.clone()).collect();
        for id in gone {
            inner.seen_by.remove(&id);
            inner.observed.instances.remove(&id);
        }
        for instance in instances {
            inner.seen_by.insert(instance.id.clone(), worker.clone());
            inner.observed.instances.insert(instance.id.clone(), instance);
        }
        drop(inner);
        self.ring();
    }

    /// Sends to a worker, if it is connected.
    pub fn send(&self, worker: &NodeId, order: worker_order::Order) -> bool {
        let inner = self.inner.lock().expect("no holder panics");
        inner.links.get(worker).is_some_and(|(_, link)| link.try_send(WorkerOrder { order: Some(order) }).is_ok())
    }

    /// Since when a worker is not connected; `None` while it is.
    pub fn silent_since(&self, worker: &NodeId) -> Option<Moment> {
        let inner = self.inner.lock().expect("no holder panics");
        match inner.observed.workers.get(worker) {
            Some(seen) if seen.connected => None,
            Some(seen) => Some(seen.last_seen.max(self.since)),
            None => Some(self.since),
        }
    }

    /// Connected workers.
    pub fn connected_workers(&self) -> Vec<NodeId> {
        self.inner.lock().expect("no holder panics").links.keys().cloned().collect()
    }

    /// Has a worker do a task, unless it was told so already. The outcome appears in `Observed::tasks`.
    pub fn order_task(&self, id: &TaskId, worker: &NodeId, attempt: u32, spec: &TaskSpec) {
        let mut inner = self.inner.lock().expect("no holder panics");
        if inner.observed.tasks.contains_key(id) {
            return;
        }
        if inner.tasks.get(id).is_some_and(|o| o.attempt >= attempt && &o.worker == worker) {
            return;
        }
        let spec_json = serde_json::to_string(spec).expect("a task is JSON");
        let ordered = Ordered { worker: worker.clone(), attempt, spec_json };
        if let Some((_, link)) = inner.links.get(worker) {
            let _ = link.try_send(order(id, &ordered));
        }
        inner.tasks.insert(id.clone(), ordered);
    }

    /// A task has ended. An outcome of another attempt than the one asked for changes nothing.
    pub fn task_done(&self, id: &TaskId, attempt: u32, outcome: TaskOutcome) {
        let mut inner = self.inner.lock().expect("no holder panics");
        match inner.tasks.get(id) {
            Some(ordered) if ordered.attempt == attempt => {
                inner.tasks.remove(id);
                inner.observed.tasks.insert(id.clone(), outcome);
            }
            _ => return,
        }
        drop(inner);
        self.ring();
    }

    /// The activity a running task belongs to, and how its lines are prefixed, as its spec says.
    pub fn task_spec(&self, id: &TaskId) -> Option<TaskSpec> {
        let inner = self.inner.lock().expect("no holder panics");
        inner.tasks.get(id).and_then(|o| serde_json::from_str(&o.spec_json).ok())
    }

    /// Takes an order back: it is not sent again, its outcome is not waited for.
    pub fn abandon_task(&self, id: &TaskId, reason: &str) {
        let removed = {
            let mut inner = self.inner.lock().expect("no holder panics");
            inner.observed.tasks.remove(id);
            inner.tasks.remove(id)
        };
        if let Some(ordered) = removed {
            let cancel = slipway_proto::worker::TaskCancel {
                task: id.to_string(),
                attempt: ordered.attempt,
                reason: reason.to_string(),
            };
            self.send(&ordered.worker, worker_order::Order::Cancel(cancel));
        }
    }

    /// The outcome is in the ledger: worker and world may forget it.
    pub fn forget_task(&self, id: &TaskId, worker: &NodeId) {
        self.inner.lock().expect("no holder panics").observed.tasks.remove(id);
        self.send(worker, worker_order::Order::Forget(TaskForget { task: id.to_string() }));
    }

    /// A router has connected; answers its link's number.
    pub fn router_connected(&self, router: &NodeId, detail: NodeDetail) -> u64 {
        let mut inner = self.inner.lock().expect("no holder panics");
        inner.next_link += 1;
        let link = inner.next_link;
        inner.router_links.insert(router.clone(), link);
        let seen = inner.observed.routers.entry(router.clone()).or_insert_with(RouterObserved::default);
        // What it said on a former connection is no acknowledgement on this one.
        *seen = RouterObserved { connected: true, ..RouterObserved::default() };
        inner.details.insert(router.clone(), detail);
        drop(inner);
        self.ring();
        link
    }

    /// A router's connection has ended; a newer connection of the same router is left alone.
    pub fn router_gone(&self, router: &NodeId, link: u64) {
        let mut inner = self.inner.lock().expect("no holder panics");
        if inner.router_links.get(router) == Some(&link) {
            inner.router_links.remove(router);
            inner.observed.routers.entry(router.clone()).or_default().connected = false;
        }
        drop(inner);
        self.ring();
    }

    /// A router's acknowledgement.
    pub fn router_acked(&self, router: &NodeId, table_version: u64, state: RouterState) {
        let mut inner = self.inner.lock().expect("no holder panics");
        let seen = inner.observed.routers.entry(router.clone()).or_default();
        seen.table_version = table_version;
        seen.environments = state.environments.into_iter().map(|e| (e.id.clone(), e)).collect();
        if let Some(detail) = inner.details.get_mut(router) {
            detail.last_seen = crate::chance::now_ms();
            detail.text = format!("table {table_version}, {} requests", state.requests_total);
        }
        drop(inner);
        self.ring();
    }
}

fn order(id: &TaskId, ordered: &Ordered) -> WorkerOrder {
    WorkerOrder {
        order: Some(worker_order::Order::Task(TaskOrder {
            task: id.to_string(),
            attempt: ordered.attempt,
            spec_json: ordered.spec_json.clone(),
        })),
    }
}
