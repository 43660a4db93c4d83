//! What can happen next.

use crate::invariants::invariants;
use crate::mistake::Mistake;
use crate::state::{Endpoint, Fault, Hook, Ledger, Process, Request, State, Step};
use stateright::{Model, Property};

const ROUTER_CRASH: u8 = 1;
const ROUTER_LOST: u8 = 2;
const WORKER_CRASH: u8 = 4;
const BREAK: u8 = 8;
const LEAVE: u8 = 16;
const DRIVER_DEATH: u8 = 32;

/// The model, right or with one mistake.
#[derive(Debug, Clone, Default)]
pub struct FlipModel {
    /// What is built wrong.
    pub mistake: Option<Mistake>,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client's request reaches a router.
    Arrive(u8, u8),
    /// A router sends a request.
    Send(u8),
    /// Its bytes reach the address they were sent to.
    Deliver(u8),
    /// The answer reaches the client.
    Finish(u8),
    /// A router takes a table.
    TakeTable(u8, u8),
    /// A router has its table on disk and acknowledges it.
    Acknowledge(u8),
    /// A router is in contact again, with the table in force.
    Return(u8),
    /// The driver does its next step.
    Drive,
    /// An order of epoch 2 reaches its worker, for the first or the second time.
    Order(Step),
    /// The hook ends, well or not.
    HookEnds(bool),
    /// The watchdog or the driver aborts.
    Abort,
    /// The new instance's worker takes the fence and stops it.
    UndoNew,
    /// The volume's worker takes the fence and restores.
    UndoOld,
    /// The old instance listens on its fresh endpoint.
    Reopen,
    /// The ledger opens the old release again.
    ProposeOld,
    /// Accident: a router dies. It starts with the table in force, or cut off and with the one on its disk.
    RouterCrash(u8, bool),
    /// Accident: a router is cut off or stopped.
    RouterLost(u8),
    /// Accident: the new instance's worker dies.
    WorkerCrash,
    /// Accident: the connection of a request breaks while it is executed.
    Break(u8),
    /// A client leaves.
    Leave(u8),
    /// Accident: the driver dies.
    DriverDies,
}

impl FlipModel {
    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// May this router send a request now, and under which epoch?
    fn may_send(&self, state: &State, router: u8) -> Option<u8> {
        let of = state.routers[usize::from(router)];
        let epoch = match of.table {
            2 if self.is(Mistake::OpenOnTimer) => 1,
            2 => return None,
            table => table,
        };
        // A refused connection sends nothing. A router that is cut off may have a kept connection and not know its end.
        (self.accepts(state, epoch) || of.lost).then_some(epoch)
    }

    fn accepts(&self, state: &State, epoch: u8) -> bool {
        let endpoint = match (epoch, state.ledger) {
            (3, Ledger::New) => state.new.endpoint,
            (3, _) => state.old.after,
            _ => state.old.before,
        };
        endpoint == Endpoint::Open
    }

    /// The bytes of an epoch find somebody who executes them: the epoch of that endpoint.
    fn executes(&self, state: &State, epoch: u8) -> Option<u8> {
        if self.accepts(state, epoch) {
            return Some(epoch);
        }
        let same_address = self.is(Mistake::ReuseAnEndpoint) && epoch == 1 && state.old.after == Endpoint::Open;
        same_address.then_some(3)
    }

    fn may_drive(&self, state: &State) -> bool {
        let held_back = |n: usize| {
            let router = state.routers[n];
            router.lost || (router.saved >= 2 && !state.under_way(n as u8))
        };
        match state.step {
            Step::Freeze => state.ledger == Ledger::Open,
            Step::Close => (0..3).all(held_back),
            Step::Snapshot => {
                let drained = !state.runs(|epoch| epoch == 1) || self.is(Mistake::HookBeforeDrain);
                state.old.before == Endpoint::Closed && drained
            }
            Step::Start => state.old.snapshot || self.is(Mistake::SnapshotAfterStart),
            Step::Hook => state.new.process == Process::Started,
            Step::Open => state.new.hook == Hook::Succeeded,
            Step::Flip => state.ledger == Ledger::Frozen && (state.new.endpoint == Endpoint::Open || self.is(Mistake::ReleaseBeforeAck)),
            Step::Done => false,
        }
    }

    fn drive(&self, state: &mut State) {
        let issue = |state: &mut State, step: Step| state.issued |= 1 << step as u8;
        state.step = match state.step {
            Step::Freeze => {
                state.ledger = Ledger::Frozen;
                Step::Close
            }
            Step::Close => {
                issue(state, Step::Close);
                Step::Snapshot
            }
            Step::Snapshot => {
                issue(state, Step::Snapshot);
                Step::Start
            }
            Step::Start => {
                issue(state, Step::Start);
                Step::Hook
            }
            Step::Hook => {
                issue(state, Step::Hook);
                Step::Open
            }
            Step::Open => {
                issue(state, Step::Open);
                Step::Flip
            }
            Step::Flip => {
                state.ledger = Ledger::New;
                Step::Done
            }
            Step::Done => Step::Done,
        };
    }

    /// An order changes something at its worker.
    fn may_order(&self, state: &State, step: Step) -> bool {
        if state.issued & (1 << step as u8) == 0 {
            return false;
        }
        let fence = !self.is(Mistake::DropTheFence);
        match step {
            Step::Close => !(fence && state.old.fenced) && state.old.before == Endpoint::Open,
            Step::Snapshot => !(state.old.snapshot || fence && state.old.fenced),
            Step::Start => !(fence && state.new.fenced) && (state.new.process == Process::Created || !fence && state.new.process == Process::Stopped && state.new.hook == Hook::Waiting),
            Step::Hook => !(fence && state.new.fenced) && state.new.process == Process::Started && state.new.hook == Hook::Waiting,
            Step::Open => !(fence && state.new.fenced) && state.new.hook == Hook::Succeeded && state.new.process == Process::Started && state.new.endpoint == Endpoint::Unused,
            Step::Freeze | Step::Flip | Step::Done => false,
        }
    }

    fn order(&self, state: &mut State, step: Step) {
        match step {
            Step::Close => state.old.before = Endpoint::Closed,
            Step::Snapshot => state.old.snapshot = true,
            Step::Start => {
                state.new.process = Process::Started;
                state.dirty = true;
            }
            Step::Hook => state.new.hook = Hook::Running,
            Step::Open => state.new.endpoint = Endpoint::Open,
            Step::Freeze | Step::Flip | Step::Done => {}
        }
    }

    /// Everything that goes on by itself; when none of it is left the story is over.
    pub fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        let current = state.ledger.table();
        for (n, (request, _)) in state.requests.iter().enumerate() {
            let n = n as u8;
            match request {
                // Requests are alike: the second one comes after the first.
                Request::Coming if n == 0 || state.requests[0].0 != Request::Coming => actions.extend((0..3).map(|router| Action::Arrive(n, router))),
                Request::Held(router) if self.may_send(state, *router).is_some() => actions.push(Action::Send(n)),
                Request::Gone(router) if self.is(Mistake::ForwardForAGoneClient) && self.may_send(state, *router).is_some() => actions.push(Action::Send(n)),
                Request::Wire { .. } => actions.push(Action::Deliver(n)),
                Request::Running { .. } => actions.push(Action::Finish(n)),
                _ => {}
            }
        }
        for (n, router) in state.routers.iter().enumerate() {
            let n = n as u8;
            let lowest = if self.is(Mistake::TakeALowerVersion) { 1 } else { router.table + 1 };
            if router.saved != router.table {
                actions.push(Action::Acknowledge(n));
            }
            if router.lost {
                actions.push(Action::Return(n));
            } else {
                actions.extend((lowest..=current).filter(|version| *version != router.table).map(|version| Action::TakeTable(n, version)));
            }
        }
        if !state.driver_dead && self.may_drive(state) {
            actions.push(Action::Drive);
        }
        let orders = [Step::Close, Step::Snapshot, Step::Start, Step::Hook, Step::Open];
        actions.extend(orders.into_iter().filter(|step| self.may_order(state, *step)).map(Action::Order));
        if state.new.hook == Hook::Running {
            actions.extend([Action::HookEnds(true), Action::HookEnds(false)]);
        }
        if state.ledger == Ledger::Frozen && !(self.is(Mistake::ForgetTheWatchdog) && state.driver_dead) {
            actions.push(Action::Abort);
        }
        if state.ledger == Ledger::Undoing {
            if !state.new.fenced {
                actions.push(Action::UndoNew);
            } else if !state.old.undone {
                actions.push(Action::UndoOld);
            } else if state.old.after == Endpoint::Unused && !self.is(Mistake::ReleaseBeforeAck) {
                actions.push(Action::Reopen);
            } else {
                actions.push(Action::ProposeOld);
            }
        }
        if self.is(Mistake::ReleaseBeforeAck) && state.ledger == Ledger::Old && state.old.after == Endpoint::Unused {
            actions.push(Action::Reopen);
        }
    }

    fn accidents(&self, state: &State, actions: &mut Vec<Action>) {
        let may = |kind: u8| state.accidents & kind != 0;
        for n in 0..3u8 {
            let router = state.routers[usize::from(n)];
            if may(ROUTER_CRASH) {
                actions.extend([Action::RouterCrash(n, true), Action::RouterCrash(n, false)]);
            }
            if may(ROUTER_LOST) && !router.lost {
                actions.push(Action::RouterLost(n));
            }
        }
        // Once its endpoint is confirmed, losing it is an event of the next operation.
        if may(WORKER_CRASH) && state.new.process == Process::Started && state.new.endpoint != Endpoint::Open {
            actions.push(Action::WorkerCrash);
        }
        for (n, (request, _)) in state.requests.iter().enumerate() {
            match request {
                Request::Running { .. } if may(BREAK) => actions.push(Action::Break(n as u8)),
                Request::Held(_) if may(LEAVE) => actions.push(Action::Leave(n as u8)),
                _ => {}
            }
        }
        if may(DRIVER_DEATH) && !state.driver_dead && state.step != Step::Done {
            actions.push(Action::DriverDies);
        }
    }

    fn request(&self, state: &mut State, action: Action) {
        match action {
            Action::Arrive(n, router) => state.requests[usize::from(n)].0 = Request::Held(router),
            Action::Send(n) => {
                let (Request::Held(router) | Request::Gone(router)) = state.requests[usize::from(n)].0 else { return };
                let Some(epoch) = self.may_send(state, router) else { return };
                if matches!(state.requests[usize::from(n)].0, Request::Gone(_)) {
                    state.note(Fault::SentForGone);
                }
                let of = state.routers[usize::from(router)];
                if of.table == 2 {
                    state.note(Fault::SentWhileFrozen);
                }
                state.requests[usize::from(n)].0 = Request::Wire { router, epoch, excused: of.lost };
            }
            Action::Deliver(n) => {
                let Request::Wire { router, epoch, excused } = state.requests[usize::from(n)].0 else { return };
                let Some(at) = self.executes(state, epoch) else {
                    // Reset by the kernel: nothing was executed, and nothing is sent again.
                    state.requests[usize::from(n)].0 = Request::Lost;
                    if !excused {
                        state.note(Fault::RequestFailed);
                    }
                    return;
                };
                if at != epoch {
                    state.note(Fault::LateBytesExecuted);
                }
                if std::mem::replace(&mut state.requests[usize::from(n)].1, true) {
                    state.note(Fault::ExecutedTwice);
                }
                state.requests[usize::from(n)].0 = Request::Running { router, epoch: at, excused };
            }
            Action::Finish(n) => state.requests[usize::from(n)].0 = Request::Answered,
            Action::Break(n) => {
                state.accidents &= !BREAK;
                let Request::Running { router, .. } = state.requests[usize::from(n)].0 else { return };
                let retry = self.is(Mistake::RetryAfterBytesSent);
                state.requests[usize::from(n)].0 = if retry { Request::Held(router) } else { Request::Lost };
            }
            Action::Leave(n) => {
                state.accidents &= !LEAVE;
                let Request::Held(router) = state.requests[usize::from(n)].0 else { return };
                state.requests[usize::from(n)].0 = Request::Gone(router);
            }
            _ => {}
        }
    }

    fn router(&self, state: &mut State, action: Action) {
        match action {
            Action::TakeTable(n, version) => {
                if version < state.routers[usize::from(n)].table {
                    state.note(Fault::TableFell);
                }
                state.routers[usize::from(n)].table = version;
            }
            Action::Acknowledge(n) => state.routers[usize::from(n)].saved = state.routers[usize::from(n)].table,
            Action::Return(n) => {
                // F8: it learns the table before it sends.
                state.routers[usize::from(n)].lost = false;
                state.routers[usize::from(n)].table = state.ledger.table();
            }
            Action::RouterLost(n) => {
                state.accidents &= !ROUTER_LOST;
                state.routers[usize::from(n)].lost = true;
                Self::excuse(state, n, false);
            }
            Action::RouterCrash(n, in_contact) => {
                state.accidents &= !ROUTER_CRASH;
                let current = state.ledger.table();
                let at_once = self.is(Mistake::ServeTheSavedTableAtOnce);
                let router = &mut state.routers[usize::from(n)];
                router.lost = !in_contact;
                router.table = if in_contact && !at_once { current } else { router.saved };
                Self::excuse(state, n, true);
            }
            _ => {}
        }
    }

    /// What is under way at a router that is lost or crashed may end unknown to its client; what it held dies with it.
    fn excuse(state: &mut State, of: u8, crashed: bool) {
        for (request, _) in &mut state.requests {
            match request {
                Request::Held(router) | Request::Gone(router) if *router == of && crashed => *request = Request::Lost,
                Request::Wire { router, excused, .. } | Request::Running { router, excused, .. } if *router == of => *excused = true,
                _ => {}
            }
        }
    }

    fn undo(&self, state: &mut State, action: Action) {
        match action {
            Action::Abort => state.ledger = Ledger::Undoing,
            Action::UndoNew => {
                state.new.fenced = true;
                state.new.process = Process::Stopped;
                if state.new.hook == Hook::Running {
                    state.new.hook = Hook::Failed;
                }
                if state.new.endpoint == Endpoint::Open {
                    state.new.endpoint = Endpoint::Closed;
                }
            }
            Action::UndoOld => {
                state.old.fenced = true;
                state.old.undone = true;
                if state.old.snapshot {
                    state.dirty = false;
                }
            }
            Action::Reopen => {
                if self.is(Mistake::ReuseAnEndpoint) {
                    state.note(Fault::AddressReused);
                }
                state.old.after = Endpoint::Open;
            }
            Action::ProposeOld => state.ledger = Ledger::Old,
            _ => {}
        }
    }
}

impl Model for FlipModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(ROUTER_CRASH | ROUTER_LOST | WORKER_CRASH | BREAK | LEAVE | DRIVER_DEATH)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.progress(state, actions);
        self.accidents(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Drive => self.drive(&mut next),
            Action::Order(step) => self.order(&mut next, step),
            Action::HookEnds(well) => next.new.hook = if well { Hook::Succeeded } else { Hook::Failed },
            Action::WorkerCrash => {
                next.accidents &= !WORKER_CRASH;
                next.new.process = Process::Stopped;
                next.new.hook = Hook::Failed;
            }
            Action::DriverDies => {
                next.accidents &= !DRIVER_DEATH;
                next.driver_dead = true;
            }
            Action::TakeTable(..) | Action::Return(_) | Action::RouterLost(_) | Action::RouterCrash(..) | Action::Acknowledge(_) => self.router(&mut next, action),
            Action::Abort | Action::UndoNew | Action::UndoOld | Action::Reopen | Action::ProposeOld => self.undo(&mut next, action),
            _ => self.request(&mut next, action),
        }
        Some(next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants()
    }
}
