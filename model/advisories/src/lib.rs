//! The vulnerability gate: lock files against an advisory database.
//!
//! ```text
//! lock files --lock::collect--> [Package] --\
//! OSV zip, folder, FriendsOfPHP tree         >-- gate::judge --> Verdict { refused, warned, ignored }
//!   --load::import--> Database (one file) --/
//!                               [Package] ------- sbom::cyclonedx --> CycloneDX JSON
//! ```
//!
//! Everything takes bytes and gives values; only [`load`] touches the file system.
//! Nothing here knows the time: the caller passes `today`.

pub mod advisory;
pub mod archive;
pub mod database;
pub mod date;
pub mod ecosystem;
pub mod friends;
pub mod gate;
pub mod load;
pub mod lock;
pub mod osv;
pub mod package;
pub mod problem;
mod render;
pub mod sbom;
pub mod severity;
pub mod version;

pub use advisory::{Advisory, Affected, Event, EventKind};
pub use database::{Builder, Database, DatabaseError};
pub use date::Date;
pub use ecosystem::Ecosystem;
pub use gate::{Finding, Ignore, Preflight, Verdict, judge};
pub use lock::{Locks, collect, is_wanted};
pub use package::{Manager, Package, Reach};
pub use problem::{Problem, explain};
pub use severity::Severity;
pub use version::Version;
