//! The git doors: SSH and smart HTTP in front of the system's own git.
//!
//! ```text
//! ssh, http --> Porter (who, which project, which service)
//!                  |
//!                  v
//!            session repository (throwaway; alternates = the ledger's packs, refs = the ledger's)
//!                  |                         hooks
//!            git upload-pack / receive-pack <----> hook socket --> receive::Push
//!                                                   pre-receive:  rules, files, advisories, plan, pack to the store
//!                                                   proc-receive: one RecordPush, `ok` or `ng` per ref
//!                                                   post-receive: the activities' log
//! ```
//!
//! What is absent: no ref is ever moved on a local disk, no repository on disk is more than a cache,
//! and no name or option that a client sent meets a shell.

mod command;
mod conversation;
mod door;
mod hook;
mod hook_socket;
mod host_key;
mod http;
mod options;
mod packet;
mod packs;
mod platform;
mod porter;
mod program;
mod receive;
mod service;
mod session;
mod source_store;
mod ssh;

pub use door::GitDoor;
pub use hook::hook_main;
pub use options::{Limits, Options};
pub use packs::PackStore;
