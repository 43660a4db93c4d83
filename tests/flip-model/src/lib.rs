//! The flip protocol as a model: every order of events of one deployment with a hook is tried.
//!
//! ```text
//! clients ─► 3 routers ─► endpoints of 2 workers        one driver, one ledger
//! ```
//!
//! Three routers, an old instance with its volume on one worker, a new instance on another, two requests. Messages are
//! not states but enabled actions: a table, an order or a byte on the wire may arrive at any later time, again, after
//! younger ones, or never. Routers crash (and start with a saved table that may be one behind), are cut off or stopped;
//! a worker crashes; connections break; clients leave; the driver dies, or is taken for dead and goes on as a zombie.
//! `docs/flip-protocol.md` has the contract F1–F12 in words.

mod invariants;
mod mistake;
mod model;
mod state;

pub use invariants::invariants;
pub use mistake::Mistake;
pub use model::{Action, FlipModel};
pub use state::{Fault, Ledger, Request, Router, State};
