//! Where a deployment stands.

use serde::{Deserialize, Serialize};

/// The phases of one deployment, in order; up to `Flipping` it may turn to `Undoing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A worker is chosen, containers are created, slugs mounted; traffic flows.
    Placing,
    /// New instances start. Without a deploy hook: before the flip, while traffic flows.
    Starting,
    /// Routers hold new requests; the old endpoints are closed and requests under way end.
    Freezing,
    /// Volumes are snapshot, old processes stopped, changed services upgraded, new processes started.
    Snapshotting,
    /// The deploy hooks run.
    Hooking,
    /// The gate opens on the new release.
    Flipping,
    /// Old instances end what they began.
    Draining,
    /// It serves. Final.
    Live,
    /// Everything is put back; the gate opens on the old release.
    Undoing,
    /// Nothing has happened. Final.
    Undone,
}

impl Phase {
    /// No step follows.
    pub fn is_final(self) -> bool {
        matches!(self, Phase::Live | Phase::Undone)
    }
}
