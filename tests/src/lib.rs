//! The harness of the scenarios: a real platform of real processes, spoken to as its users do.
//!
//! ```text
//! Platform::shared() ── one platform for all scenarios of a run (base images are built once)
//! Platform::start()  ── one of its own, for tests that break things
//!    ├─ .slipway([…])    the command line
//!    ├─ Repository       a git repository that is pushed with plain git
//!    └─ .fetch(url)      a request through the router, certificate checked
//! ```

pub mod client;
pub mod platform;
pub mod repository;
pub mod wait;

pub use client::Answer;
pub use platform::Platform;
pub use repository::Repository;
pub use wait::until;
