//! The SSH door into running applications.
//!
//! ```text
//! ssh client --channel--> Door --target of the current route table--> worker's Shell.Open --> container
//! ```
//!
//! It knows keys and targets from the router's own table, so it works while the whole control plane is down.
//! What is absent: it runs nothing itself, and it opens no connection but to the worker that the table names.

mod door;
mod flow;
mod host_key;
mod listen;
mod options;
mod shell;
mod signal;
mod target;
mod tunnel;
mod worker;

pub use listen::SshDoor;
pub use options::{Limits, Options};
