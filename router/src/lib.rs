//! The router tier: the entry of every application, and the gate that a deployment closes and opens.
//!
//! ```text
//!                     ┌──────────── pure core: no clock, no socket, no task ────────────┐
//! wire ─► request ─►  │ table ─► redirect ─► gate (queue · admission) ─► policy · state │ ─► first byte under the fence
//!                     └──────────────────────────────────────────────────────────────────┘
//! link (tables down, acknowledgements up) · saved (the last table) · tls · handover (planned restarts)
//! ```
//!
//! What is absent: the router never reads the ledger, never opens a gate by itself, never sends anything twice, and
//! knows nothing of other routers. `docs/flip-protocol.md` has the contract F1–F12 that this crate keeps its side of.

pub mod admission;
pub mod engine;
pub mod gate;
pub mod handover;
pub mod headers;
pub mod link;
pub mod moment;
pub mod options;
pub mod policy;
pub mod queue;
pub mod redirect;
pub mod router;
pub mod saved;
pub mod ssh;
pub mod state;
pub mod table;
pub mod tls;
pub mod websocket;
pub mod wire;

pub use options::{Limits, Options};
pub use router::{Addresses, Router, RouterError, RouterHandle};
