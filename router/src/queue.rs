//! Held requests in the order in which they came.

use crate::moment::Moment;
use std::collections::VecDeque;
use std::net::IpAddr;

/// One held request; never used twice in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldId(pub u64);

/// What the queue knows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whose share it takes.
    pub client: IpAddr,
    /// What it takes of the bytes.
    pub bytes: u64,
    /// When it must have left.
    pub until: Moment,
}

/// First in, first out; one that leaves early leaves a gap that is skipped.
#[derive(Debug, Default)]
pub struct HoldQueue {
    slots: VecDeque<Option<Held>>,
    /// The id of the first slot.
    first: u64,
    live: usize,
}

impl HoldQueue {
    /// Puts a request at the end.
    pub fn push(&mut self, held: Held) -> HeldId {
        self.slots.push_back(Some(held));
        self.live += 1;
        HeldId(self.first + self.slots.len() as u64 - 1)
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<(HeldId, Held)> {
        while let Some(slot) = self.slots.pop_front() {
            let id = HeldId(self.first);
            self.first += 1;
            if let Some(held) = slot {
                self.live -= 1;
                return Some((id, held));
            }
        }
        None
    }

    /// Takes one out of turn: its client has gone, or its time is over.
    pub fn remove(&mut self, id: HeldId) -> Option<Held> {
        let index = usize::try_from(id.0.checked_sub(self.first)?).ok()?;
        let held = self.slots.get_mut(index)?.take()?;
        self.live -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(held)
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_coming_and_gaps_are_skipped() {
        let mut queue = HoldQueue::default();
        let held = |n: u64| Held { client: IpAddr::from([127, 0, 0, 1]), bytes: n, until: Moment(n) };
        let ids: Vec<HeldId> = (0..6).map(|n| queue.push(held(n))).collect();
        assert_eq!(queue.remove(ids[0]).map(|h| h.bytes), Some(0));
        assert_eq!(queue.remove(ids[3]).map(|h| h.bytes), Some(3));
        assert_eq!(queue.remove(ids[3]), None);
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|(_, h)| h.bytes).collect();
        assert_eq!(order, [1, 2, 4, 5]);
        assert!(queue.is_empty());
        let again = queue.push(held(9));
        assert!(!ids.contains(&again));
        assert_eq!(queue.remove(ids[5]), None);
        assert_eq!(queue.len(), 1);
    }
}
