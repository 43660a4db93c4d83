//! When a request may be tried again, and on which connection it may travel.

use slipway_model::route::PoolMember;
use slipway_model::{Epoch, ReleaseId};
use std::net::SocketAddrV4;

/// Tries of one request on members of its pool, before it waits for a newer table.
pub const TRIES_MAX: usize = 3;

/// Connections are shared under this key alone: one request sees one release (F10).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// The release behind the address.
    pub release: ReleaseId,
    /// The epoch the address was given out for (F1).
    pub epoch: Epoch,
    /// Where it listens.
    pub address: SocketAddrV4,
}

impl PoolKey {
    /// The key of one member.
    pub fn of(release: &ReleaseId, epoch: Epoch, member: &PoolMember) -> Self {
        Self { release: release.clone(), epoch, address: SocketAddrV4::new(member.address, member.port) }
    }
}

/// How one try ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// A newer table closed the way before the first byte.
    Fenced,
    /// No connection came about.
    Unreachable,
    /// The connection ended before the first byte of this request.
    ClosedUnsent,
    /// It ended after the first byte; the application may have begun.
    ClosedAfterSending,
    /// No answer in time after sending.
    TimedOut,
    /// The client has gone.
    ClientGone,
}

/// What to do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask the gate again.
    AskGate,
    /// Take the next member, or a fresh connection to the same one.
    TryAnother,
    /// Wait for a newer table: nothing was sent, and all members refuse (F2 closes them before this router knows).
    AwaitTable,
    /// Answer with this status; it is never sent again.
    Answer(u16),
    /// Nobody is there to be answered.
    Drop,
}

/// A request is tried again only if nothing of it was sent (F9). The method does not matter: a GET can pay, too.
pub fn after(failed: Failed, tries: usize) -> Next {
    match failed {
        Failed::Fenced => Next::AskGate,
        Failed::Unreachable | Failed::ClosedUnsent if tries < TRIES_MAX => Next::TryAnother,
        Failed::Unreachable | Failed::ClosedUnsent => Next::AwaitTable,
        Failed::ClosedAfterSending => Next::Answer(502),
        Failed::TimedOut => Next::Answer(504),
        Failed::ClientGone => Next::Drop,
    }
}

/// The member for a try: round robin, `offset` moves with each request and `tries` with each try.
pub fn member(members: &[PoolMember], offset: usize, tries: usize) -> Option<&PoolMember> {
    (!members.is_empty()).then(|| &members[(offset % members.len() + tries) % members.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_sent_is_tried_again() {
        for tries in 0..10 {
            assert_eq!(after(Failed::ClosedAfterSending, tries), Next::Answer(502));
            assert_eq!(after(Failed::TimedOut, tries), Next::Answer(504));
            assert_eq!(after(Failed::ClientGone, tries), Next::Drop);
            assert_eq!(after(Failed::Fenced, tries), Next::AskGate);
        }
        assert_eq!(after(Failed::Unreachable, 0), Next::TryAnother);
        assert_eq!(after(Failed::ClosedUnsent, TRIES_MAX), Next::AwaitTable);
    }

    #[test]
    fn a_second_try_goes_to_another_member() {
        let members: Vec<PoolMember> = (1..=3)
            .map(|n| PoolMember { instance: format!("i-{n}").parse().unwrap(), address: [10, 0, 0, n].into(), port: 80 })
            .collect();
        assert_ne!(member(&members, usize::MAX, 0), member(&members, usize::MAX, 1));
        assert_eq!(member(&[], 0, 0), None);
    }
}
