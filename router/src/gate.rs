//! The gate of one environment: open, frozen, or open with a queue that still leaves.
//!
//! ```text
//!            take(k+1, Frozen)                take(k+2, Open)            queue empty
//!   Open(k) ───────────────────► Frozen(k+1) ────────────────► Releasing ───────────► Open(k+2)
//!      └──────────── take(k+1, Open): nothing is held ─────────────────────────────────►
//! ```
//!
//! Pure: time is passed in, wake-ups are returned. Only a table opens a gate (F7): no call here does it by the clock.

use crate::admission::{Admission, Refusal};
use crate::moment::Moment;
use crate::queue::{Held, HeldId, HoldQueue};
use slipway_model::route::{Gate, HoldLimits};
use slipway_model::{Epoch, ReleaseId};
use std::net::IpAddr;

/// Released requests that may be under way unanswered before the next ones wait for an answer:
/// a fresh PHP pool has tens of processes and nginx a backlog of 511; more would only move the queue there.
const RELEASED_UNANSWERED_MAX: u64 = 128;

/// One more leaves after this time even when none is answered, so that long polls cannot stop the queue.
const RELEASE_PAUSE_US: u64 = 2_000;

/// Most that leave in one step, so that one environment's release does not hold its lock for long.
const RELEASE_STEP_MAX: usize = 64;

/// May be sent, under this epoch and to this release only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The fence of the request's first byte.
    pub epoch: Epoch,
    /// Part of every pool key (F10).
    pub release: ReleaseId,
}

/// The answer to a request at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass(Pass),
    /// It waits, at most until then.
    Held(HeldId, Moment),
    /// Beyond the bounds: 503, never executed.
    Refused(Refusal),
    /// The caller looked at another table than the gate; look again.
    Stale,
}

/// What a table did to the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Same epoch.
    None,
    /// New requests are held from now on.
    Froze,
    /// Requests flow, the queue leaves.
    Opened,
    /// The entry breaks the rules and was not taken; the sentence says why.
    Ignored(&'static str),
}

/// Who may leave the queue now, and when to ask again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// In order.
    pub ids: Vec<HeldId>,
    /// Ask again then; `None`: only an answer or a table changes anything.
    pub again_at: Option<Moment>,
}

/// The pure gate.
#[derive(Debug)]
pub struct EnvironmentGate {
    epoch: Epoch,
    release: ReleaseId,
    gate: Gate,
    limits: HoldLimits,
    queue: HoldQueue,
    admission: Admission,
    held_total: u64,
    rejected_total: u64,
    released_unanswered: u64,
    last_release: Moment,
}

impl EnvironmentGate {
    /// The gate as the first table has it.
    pub fn new(epoch: Epoch, release: ReleaseId, gate: Gate, limits: HoldLimits) -> Self {
        Self {
            epoch,
            release,
            gate,
            limits,
            queue: HoldQueue::default(),
            admission: Admission::default(),
            held_total: 0,
            rejected_total: 0,
            released_unanswered: 0,
            last_release: Moment::default(),
        }
    }

    /// May this entry follow what the gate has? Epochs only rise, and one epoch means one gate and one release.
    pub fn may_take(&self, epoch: Epoch, release: &ReleaseId, gate: Gate) -> Result<(), &'static str> {
        if epoch < self.epoch {
            return Err("its epoch is lower than the one this router has");
        }
        if epoch == self.epoch && (gate != self.gate || *release != self.release) {
            return Err("it changes the gate or the release without a new epoch");
        }
        Ok(())
    }

    /// Takes an entry of a newer table.
    pub fn take(&mut self, epoch: Epoch, release: &ReleaseId, gate: Gate, limits: &HoldLimits) -> Change {
        if let Err(why) = self.may_take(epoch, release, gate) {
            return Change::Ignored(why);
        }
        self.limits = limits.clone();
        if epoch == self.epoch {
            return Change::None;
        }
        if gate == Gate::Frozen && self.gate == Gate::Open {
            (self.held_total, self.rejected_total) = (self.queue.len() as u64, 0);
        }
        self.epoch = epoch;
        self.release = release.clone();
        self.gate = gate;
        // Of what was released under an older epoch no answer is awaited any more.
        self.released_unanswered = 0;
        match gate {
            Gate::Frozen => Change::Froze,
            Gate::Open => Change::Opened,
        }
    }

    /// A request asks to go on. `seen` is the epoch of the table it was matched with, `since` when it was first held.
    pub fn ask(&mut self, now: Moment, seen: Epoch, since: Option<Moment>, client: IpAddr, bytes: u64) -> Verdict {
        if seen != self.epoch {
            return Verdict::Stale;
        }
        // Behind a queue that still leaves nobody overtakes.
        if self.gate == Gate::Open && self.queue.is_empty() {
            return Verdict::Pass(self.pass());
        }
        let until = since.unwrap_or(now).after_ms(self.limits.hold_time_max_ms);
        let taken = if until <= now { Err(Refusal::TooLong) } else { self.admission.take(&self.limits, client, bytes) };
        match taken {
            Ok(()) => {
                self.held_total += 1;
                Verdict::Held(self.queue.push(Held { client, bytes, until }), until)
            }
            Err(refusal) => {
                self.rejected_total += 1;
                Verdict::Refused(refusal)
            }
        }
    }

    /// A request was refused by a bound outside this gate after it had been let in.
    pub fn refuse(&mut self, id: HeldId) {
        if self.leave(id) {
            self.held_total = self.held_total.saturating_sub(1);
            self.rejected_total += 1;
        }
    }

    /// Its time is over: it is taken out and counted as answered 503. False when it had left already.
    pub fn expire(&mut self, id: HeldId) -> bool {
        let left = self.leave(id);
        self.rejected_total += u64::from(left);
        left
    }

    /// Its client has gone: it is taken out. False when it had left already.
    pub fn leave(&mut self, id: HeldId) -> bool {
        match self.queue.remove(id) {
            Some(held) => {
                self.admission.give_back(held.client, held.bytes);
                true
            }
            None => false,
        }
    }

    /// Who leaves now. A frozen gate lets nobody out, whatever the clock says.
    pub fn release_next(&mut self, now: Moment) -> Leaving {
        let mut leaving = Leaving::default();
        if self.gate == Gate::Frozen {
            return leaving;
        }
        while !self.queue.is_empty() {
            let window = self.released_unanswered < RELEASED_UNANSWERED_MAX;
            let pause = now.since(self.last_release) >= RELEASE_PAUSE_US;
            if leaving.ids.len() >= RELEASE_STEP_MAX || !(window || pause) {
                leaving.again_at = Some(Moment(self.last_release.0 + RELEASE_PAUSE_US));
                break;
            }
            let Some((id, held)) = self.queue.pop() else { break };
            self.admission.give_back(held.client, held.bytes);
            self.released_unanswered += 1;
            self.last_release = now;
            leaving.ids.push(id);
        }
        leaving
    }

    /// A request that was held may go on, if the gate is still as when it was let out.
    pub fn pass_released(&self, seen: Epoch) -> Option<Pass> {
        (seen == self.epoch && self.gate == Gate::Open).then(|| self.pass())
    }

    /// A released request of this epoch has its answer's head, or has failed.
    pub fn answered(&mut self, epoch: Epoch) {
        if epoch == self.epoch {
            self.released_unanswered = self.released_unanswered.saturating_sub(1);
        }
    }

    /// All that wait leave to look at the table again: the environment has gone.
    pub fn close(&mut self) -> Vec<HeldId> {
        let mut ids = Vec::new();
        while let Some((id, held)) = self.queue.pop() {
            self.admission.give_back(held.client, held.bytes);
            ids.push(id);
        }
        ids
    }

    /// The epoch it has.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// New requests are held.
    pub fn is_frozen(&self) -> bool {
        self.gate == Gate::Frozen
    }

    /// Held now.
    pub fn held(&self) -> u64 {
        self.queue.len() as u64
    }

    /// `(held, refused)` since the last freeze began.
    pub fn totals(&self) -> (u64, u64) {
        (self.held_total, self.rejected_total)
    }

    /// Adds a refusal that another part of the router gave.
    pub fn count_refused(&mut self) {
        self.rejected_total += 1;
    }

    fn pass(&self) -> Pass {
        Pass { epoch: self.epoch, release: self.release.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str) -> ReleaseId {
        format!("rel-{name}").parse().unwrap()
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn gate() -> EnvironmentGate {
        EnvironmentGate::new(Epoch(1), release("old"), Gate::Open, HoldLimits::default())
    }

    fn hold(gate: &mut EnvironmentGate, now: Moment, who: u8) -> HeldId {
        let seen = gate.epoch();
        match gate.ask(now, seen, None, client(who), 0) {
            Verdict::Held(id, _) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_freeze_holds_and_an_open_lets_out_in_order_with_nobody_overtaking() {
        let mut gate = gate();
        assert!(matches!(gate.ask(Moment(0), Epoch(1), None, client(1), 0), Verdict::Pass(p) if p.release == release("old")));
        assert_eq!(gate.take(Epoch(2), &release("old"), Gate::Frozen, &HoldLimits::default()), Change::Froze);
        let ids: Vec<HeldId> = (0..200).map(|n| hold(&mut gate, Moment(n), 1)).collect();
        assert_eq!(gate.release_next(Moment(u64::MAX / 2)), Leaving::default());
        assert_eq!(gate.take(Epoch(3), &release("new"), Gate::Open, &HoldLimits::default()), Change::Opened);
        let late = hold(&mut gate, Moment(1_000_000), 2);
        let mut order = Vec::new();
        let mut now = Moment(1_000_000);
        loop {
            let step = gate.release_next(now);
            order.extend(step.ids);
            match step.again_at {
                Some(at) => now = at,
                None => break,
            }
        }
        let expected: Vec<HeldId> = ids.into_iter().chain([late]).collect();
        assert_eq!(order, expected);
        // 128 leave at once in the window, the other 73 one pause apart.
        assert!(now.since(Moment(1_000_000)) >= 70 * RELEASE_PAUSE_US, "{now:?}");
        assert!(matches!(gate.ask(now, Epoch(3), None, client(1), 0), Verdict::Pass(p) if p.release == release("new")));
    }

    #[test]
    fn no_clock_opens_a_frozen_gate() {
        let mut gate = gate();
        gate.take(Epoch(2), &release("old"), Gate::Frozen, &HoldLimits::default());
        let id = hold(&mut gate, Moment(0), 1);
        for hours in 0..1000 {
            let now = Moment(hours * 3_600_000_000);
            assert!(gate.release_next(now).ids.is_empty());
            assert!(!matches!(gate.ask(now, Epoch(2), None, client(1), 0), Verdict::Pass(_)));
        }
        assert!(gate.expire(id));
        assert!(!gate.expire(id));
        assert!(gate.is_frozen());
    }

    #[test]
    fn epochs_only_rise_and_one_epoch_means_one_gate_and_one_release() {
        let mut gate = gate();
        gate.take(Epoch(5), &release("old"), Gate::Frozen, &HoldLimits::default());
        for (epoch, name, state) in [(4, "old", Gate::Open), (5, "old", Gate::Open), (5, "new", Gate::Frozen)] {
            assert!(matches!(gate.take(Epoch(epoch), &release(name), state, &HoldLimits::default()), Change::Ignored(_)));
            assert!(gate.is_frozen() && gate.epoch() == Epoch(5));
        }
        assert_eq!(gate.take(Epoch(5), &release("old"), Gate::Frozen, &HoldLimits::default()), Change::None);
    }

    #[test]
    fn time_in_the_queue_counts_from_the_first_hold_and_refusals_are_counted() {
        let limits = HoldLimits { hold_time_max_ms: 100, requests_max: 1, ..HoldLimits::default() };
        let mut gate = EnvironmentGate::new(Epoch(1), release("old"), Gate::Frozen, limits);
        let first = Some(Moment(0));
        assert_eq!(gate.ask(Moment(100_000), Epoch(1), first, client(1), 0), Verdict::Refused(Refusal::TooLong));
        assert!(matches!(gate.ask(Moment(40_000), Epoch(1), first, client(1), 0), Verdict::Held(_, Moment(100_000))));
        assert_eq!(gate.ask(Moment(0), Epoch(1), None, client(2), 0), Verdict::Refused(Refusal::EnvironmentFull));
        assert_eq!(gate.totals(), (1, 2));
        assert_eq!(gate.ask(Moment(0), Epoch(7), None, client(2), 0), Verdict::Stale);
    }

    #[test]
    fn what_was_released_is_refused_by_the_next_freeze() {
        let mut gate = gate();
        gate.take(Epoch(2), &release("old"), Gate::Frozen, &HoldLimits::default());
        hold(&mut gate, Moment(0), 1);
        gate.take(Epoch(3), &release("new"), Gate::Open, &HoldLimits::default());
        assert_eq!(gate.release_next(Moment(10)).ids.len(), 1);
        assert!(gate.pass_released(Epoch(3)).is_some());
        gate.take(Epoch(4), &release("new"), Gate::Frozen, &HoldLimits::default());
        assert!(gate.pass_released(Epoch(3)).is_none());
        assert!(gate.pass_released(Epoch(4)).is_none());
    }
}
