//! How much may be held: count, bytes and a share per client, for one environment and for the whole router (F6).

use slipway_model::route::HoldLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The environment already holds as many requests as it may.
    EnvironmentFull,
    /// The environment already holds as many bytes as it may.
    BytesFull,
    /// This client already has its share of held requests.
    ClientFull,
    /// The router as a whole holds as much as it may.
    RouterFull,
    /// Held for the longest allowed time.
    TooLong,
    /// The router ends before the gate opens.
    RouterEnds,
}

impl Refusal {
    /// For the page and the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::EnvironmentFull => "as many requests wait for this site as it may hold",
            Refusal::BytesFull => "as many bytes wait for this site as it may hold",
            Refusal::ClientFull => "too many requests of this client wait for this site",
            Refusal::RouterFull => "as many requests wait at this router as it may hold",
            Refusal::TooLong => "the deployment takes longer than a request is held",
            Refusal::RouterEnds => "this router ends before the deployment does",
        }
    }
}

/// What one environment holds, against its limits.
#[derive(Debug, Default)]
pub struct Admission {
    requests: u64,
    bytes: u64,
    per_client: HashMap<IpAddr, u64>,
}

impl Admission {
    /// Takes the room of one request, or says which bound it would break.
    pub fn take(&mut self, limits: &HoldLimits, client: IpAddr, bytes: u64) -> Result<(), Refusal> {
        if self.requests >= limits.requests_max {
            return Err(Refusal::EnvironmentFull);
        }
        if self.bytes.saturating_add(bytes) > limits.body_bytes_max {
            return Err(Refusal::BytesFull);
        }
        let mine = self.per_client.get(&client).copied().unwrap_or(0);
        if mine >= limits.requests_per_client_max {
            return Err(Refusal::ClientFull);
        }
        self.requests += 1;
        self.bytes += bytes;
        self.per_client.insert(client, mine + 1);
        Ok(())
    }

    /// Gives the room of one request back.
    pub fn give_back(&mut self, client: IpAddr, bytes: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(count) = self.per_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&client);
            }
        }
    }

    /// Requests held now.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An atomic number; `loom` brings its own for the test of [`Budget`].
pub trait Counter {
    /// Reads it.
    fn load(&self) -> u64;
    /// Replaces `old` by `new`, or gives what stands there.
    fn replace(&self, old: u64, new: u64) -> Result<u64, u64>;
}

impl Counter for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Acquire)
    }
    fn replace(&self, old: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// What all environments of one router hold together; environments do not wait for one another's locks here.
#[derive(Debug)]
pub struct Budget<C = AtomicU64> {
    requests: C,
    bytes: C,
    requests_max: u64,
    bytes_max: u64,
}

impl Budget<AtomicU64> {
    /// An empty budget.
    pub fn new(requests_max: u64, bytes_max: u64) -> Self {
        Self::of(AtomicU64::new(0), AtomicU64::new(0), requests_max, bytes_max)
    }
}

impl<C: Counter> Budget<C> {
    /// An empty budget over the given counters, which must be zero.
    pub fn of(requests: C, bytes: C, requests_max: u64, bytes_max: u64) -> Self {
        Self { requests, bytes, requests_max, bytes_max }
    }

    /// Takes room for one request, or takes nothing.
    pub fn take(&self, bytes: u64) -> Result<(), Refusal> {
        add(&self.requests, 1, self.requests_max).map_err(|()| Refusal::RouterFull)?;
        add(&self.bytes, bytes, self.bytes_max).map_err(|()| {
            subtract(&self.requests, 1);
            Refusal::RouterFull
        })
    }

    /// Gives the room of one request back.
    pub fn give_back(&self, bytes: u64) {
        subtract(&self.bytes, bytes);
        subtract(&self.requests, 1);
    }

    /// `(requests, bytes)` held now.
    pub fn held(&self) -> (u64, u64) {
        (self.requests.load(), self.bytes.load())
    }
}

fn add<C: Counter>(counter: &C, amount: u64, max: u64) -> Result<(), ()> {
    let mut old = counter.load();
    loop {
        let new = old.checked_add(amount).filter(|new| *new <= max).ok_or(())?;
        match counter.replace(old, new) {
            Ok(_) => return Ok(()),
            Err(seen) => old = seen,
        }
    }
}

fn subtract<C: Counter>(counter: &C, amount: u64) {
    let mut old = counter.load();
    loop {
        match counter.replace(old, old.saturating_sub(amount)) {
            Ok(_) => return,
            Err(seen) => old = seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn each_bound_refuses_on_its_own_and_room_that_is_given_back_is_used_again() {
        let limits = HoldLimits { hold_time_max_ms: 1, requests_max: 3, body_bytes_max: 100, requests_per_client_max: 2 };
        let mut held = Admission::default();
        assert_eq!(held.take(&limits, client(1), 10), Ok(()));
        assert_eq!(held.take(&limits, client(1), 10), Ok(()));
        assert_eq!(held.take(&limits, client(1), 10), Err(Refusal::ClientFull));
        assert_eq!(held.take(&limits, client(2), 81), Err(Refusal::BytesFull));
        assert_eq!(held.take(&limits, client(2), 80), Ok(()));
        assert_eq!(held.take(&limits, client(3), 0), Err(Refusal::EnvironmentFull));
        held.give_back(client(1), 10);
        assert_eq!(held.take(&limits, client(3), 10), Ok(()));
        for (who, bytes) in [(1, 10), (2, 80), (3, 10)] {
            held.give_back(client(who), bytes);
        }
        assert_eq!((held.requests(), held.bytes(), held.per_client.len()), (0, 0, 0));
    }

    impl Counter for loom::sync::atomic::AtomicU64 {
        fn load(&self) -> u64 {
            self.load(Ordering::Acquire)
        }
        fn replace(&self, old: u64, new: u64) -> Result<u64, u64> {
            self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        }
    }

    /// Every interleaving of two environments that take and give back at once.
    #[test]
    fn the_budget_is_never_exceeded_and_never_leaks() {
        let mut model = loom::model::Builder::new();
        // Most mistakes of such code need two switches; without a bound the search takes minutes.
        model.preemption_bound = Some(2);
        model.check(|| {
            let counter = || loom::sync::atomic::AtomicU64::new(0);
            let budget = std::sync::Arc::new(Budget::of(counter(), counter(), 2, 10));
            let take = |budget: &Budget<loom::sync::atomic::AtomicU64>, bytes: u64| {
                if budget.take(bytes).is_ok() {
                    let (requests, held) = budget.held();
                    assert!(requests <= 2 && held <= 10, "{requests} {held}");
                    budget.give_back(bytes);
                }
            };
            let other = {
                let budget = std::sync::Arc::clone(&budget);
                loom::thread::spawn(move || take(&budget, 6))
            };
            take(&budget, 5);
            other.join().unwrap();
            assert_eq!(budget.held(), (0, 0));
        });
    }

    #[test]
    fn a_budget_that_lacks_bytes_gives_the_request_back() {
        let budget = Budget::new(2, 10);
        assert_eq!(budget.take(11), Err(Refusal::RouterFull));
        assert_eq!(budget.held(), (0, 0));
        assert_eq!(budget.take(10), Ok(()));
        budget.give_back(10);
        assert_eq!(budget.held(), (0, 0));
    }
}
