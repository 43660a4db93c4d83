//! Builds and runs: the desired set becomes containers.
//!
//! ```text
//! scheduler ⇄ link ─┬─ DesiredSet ─▶ reconcile ─▶ app, service ─▶ machine (containerd, network, volumes)
//!                   ├─ tasks ─▶ desk ─▶ tasks ─▶ build, image, hook, snapshots
//!                   └─ observed, outcomes, log lines
//! routers ──▶ shell
//! ```
//!
//! When this process ends, containers go on; when it begins, it adopts them. With no scheduler in reach it keeps the
//! last desired set.

pub mod app;
pub mod build;
pub mod desk;
pub mod hook;
pub mod image;
pub mod inside;
pub mod link;
pub mod log;
pub mod machine;
pub mod mask;
mod options;
pub mod reconcile;
pub mod room;
pub mod service;
pub mod shell;
pub mod slug;
pub mod tasks;
mod worker;

pub use options::Options;
pub use worker::Worker;
