//! The heart of the control plane, pure: no clock, no chance, no IO, no hash-ordered maps.
//!
//! ```text
//! Command ──apply──▶ ClusterState ──┬─▶ desired_set(worker)   what a worker shall run
//!                                   ├─▶ route_table()         what the routers shall serve
//!                                   └─▶ deploy::plan(observed, now) ─▶ Step   what to do next, and why
//! ```
//!
//! The leader carries steps out; what they lead to comes back as commands. Followers only apply.

pub mod apply;
pub mod command;
pub mod deploy;
pub mod desired;
pub mod observed;
pub mod state;
pub mod table;

pub use apply::apply;
pub use command::{Command, Entry, Reply};
pub use state::ClusterState;
