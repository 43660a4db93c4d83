//! One instant of one deployment.

/// The ledger's entry for the environment. Table versions: 1 open, 2 frozen (also while undoing), 3 open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ledger {
    /// `Open(old)` at epoch 1.
    Open,
    /// `Frozen` at epoch 2.
    Frozen,
    /// Aborted: everything is put back under the fence of epoch 3; routers still have table 2.
    Undoing,
    /// `Open(new)` at epoch 3.
    New,
    /// `Open(old)` at epoch 3.
    Old,
}

impl Ledger {
    /// The newest table that routers can learn.
    pub fn table(self) -> u8 {
        match self {
            Ledger::Open => 1,
            Ledger::Frozen | Ledger::Undoing => 2,
            Ledger::New | Ledger::Old => 3,
        }
    }
}

/// How far the driver has got; each step waits for what workers and routers report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Propose the freeze.
    Freeze,
    /// All routers in contact hold, and nothing of theirs is under way: order the close.
    Close,
    /// Closed and drained: order the snapshot.
    Snapshot,
    /// Snapshot taken: order the start.
    Start,
    /// Started: order the hook.
    Hook,
    /// Hook done: order the opening of the endpoint.
    Open,
    /// Endpoint open: propose `Open(new)`.
    Flip,
    /// Nothing more to do.
    Done,
}

/// One router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Router {
    /// The table that it serves.
    pub table: u8,
    /// The table that is on its disk; only then it is acknowledged.
    pub saved: u8,
    /// Cut off from the scheduler or stopped; the driver does not wait for it.
    pub lost: bool,
}

/// One request; the number is its router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// Not yet.
    Coming,
    /// Taken by a router, nothing sent.
    Held(u8),
    /// Its client has left while it was held.
    Gone(u8),
    /// Bytes on the wire, sent under this epoch. Excused: its router was lost or crashed, so its end is unknown to the client.
    Wire { router: u8, epoch: u8, excused: bool },
    /// Executed now, at an endpoint of this epoch.
    Running { router: u8, epoch: u8, excused: bool },
    /// Answered.
    Answered,
    /// Its client got no answer because a process or a connection died.
    Lost,
}

/// Where an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Never opened.
    Unused,
    /// Accepts.
    Open,
    /// Closed for good.
    Closed,
}

/// The deploy hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Not started.
    Waiting,
    /// It writes.
    Running,
    /// Exit 0.
    Succeeded,
    /// Failed, killed, or its worker died.
    Failed,
}

/// The new instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// Container there, process not.
    Created,
    /// It may write.
    Started,
    /// For good.
    Stopped,
}

/// The worker of the old instance and of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OldWorker {
    /// Took the fence of epoch 3.
    pub fenced: bool,
    /// The endpoint of epoch 1.
    pub before: Endpoint,
    /// The endpoint of epoch 3 after an undo.
    pub after: Endpoint,
    /// Of the volume.
    pub snapshot: bool,
    /// Everything is put back.
    pub undone: bool,
}

/// The worker of the new instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NewWorker {
    /// Took the fence of epoch 3: the new instance is stopped.
    pub fenced: bool,
    /// The new instance.
    pub process: Process,
    /// Its hook.
    pub hook: Hook,
    /// Its endpoint, of epoch 3.
    pub endpoint: Endpoint,
}

/// What must never happen, noted when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// F1: an address was opened a second time.
    AddressReused = 0,
    /// F2: bytes of an older epoch were executed.
    LateBytesExecuted = 1,
    /// F6: sent for a client that has gone.
    SentForGone = 2,
    /// F7: sent although the router's table is frozen.
    SentWhileFrozen = 3,
    /// F9: executed twice.
    ExecutedTwice = 4,
    /// F10: a router went back to an older table.
    TableFell = 5,
    /// P6: failed although no process and no connection died.
    RequestFailed = 6,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// One truth.
    pub ledger: Ledger,
    /// Where the driver stands.
    pub step: Step,
    /// It has died.
    pub driver_dead: bool,
    /// Sorted: routers are alike.
    pub routers: [Router; 3],
    /// Sorted: requests are alike.
    pub requests: [(Request, bool); 2],
    /// Worker A.
    pub old: OldWorker,
    /// Worker B.
    pub new: NewWorker,
    /// The volume holds what the new release wrote.
    pub dirty: bool,
    /// Orders of epoch 2 that are on their way, for ever: bit per [`Step`].
    pub issued: u8,
    /// Accidents that may still happen: bit per kind.
    pub accidents: u8,
    /// Bit per [`Fault`].
    pub faults: u8,
}

impl State {
    /// Open on the old release.
    pub fn first(accidents: u8) -> Self {
        Self {
            ledger: Ledger::Open,
            step: Step::Freeze,
            driver_dead: false,
            routers: [Router { table: 1, saved: 1, lost: false }; 3],
            requests: [(Request::Coming, false); 2],
            old: OldWorker { fenced: false, before: Endpoint::Open, after: Endpoint::Unused, snapshot: false, undone: false },
            new: NewWorker { fenced: false, process: Process::Created, hook: Hook::Waiting, endpoint: Endpoint::Unused },
            dirty: false,
            issued: 0,
            accidents,
            faults: 0,
        }
    }

    /// Notes what must never happen.
    pub fn note(&mut self, fault: Fault) {
        self.faults |= 1 << fault as u8;
    }

    /// It has happened.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults & (1 << fault as u8) != 0
    }

    /// Some request is executed now that satisfies this.
    pub fn runs(&self, which: impl Fn(u8) -> bool) -> bool {
        self.requests.iter().any(|(request, _)| matches!(request, Request::Running { epoch, .. } if which(*epoch)))
    }

    /// Bytes or executions of this router are under way.
    pub fn under_way(&self, of: u8) -> bool {
        self.requests.iter().any(|(request, _)| match request {
            Request::Wire { router, .. } | Request::Running { router, .. } => *router == of,
            _ => false,
        })
    }

    /// The same state with routers and requests in a fixed order: both are interchangeable.
    pub fn canonical(mut self) -> Self {
        self.requests.sort_unstable();
        let mut order: [u8; 3] = [0, 1, 2];
        let at = |request: &Request, n: u8| match request {
            Request::Held(r) => (1, *r == n),
            Request::Gone(r) => (2, *r == n),
            Request::Wire { router, .. } => (3, *router == n),
            Request::Running { router, .. } => (4, *router == n),
            _ => (0, false),
        };
        order.sort_by_key(|n| (self.routers[usize::from(*n)], at(&self.requests[0].0, *n), at(&self.requests[1].0, *n)));
        let routers = order.map(|n| self.routers[usize::from(n)]);
        let place = |router: u8| order.iter().position(|n| *n == router).map_or(router, |at| at as u8);
        for (request, _) in &mut self.requests {
            match request {
                Request::Held(router) | Request::Gone(router) | Request::Wire { router, .. } | Request::Running { router, .. } => *router = place(*router),
                _ => {}
            }
        }
        self.routers = routers;
        self.requests.sort_unstable();
        self
    }
}
