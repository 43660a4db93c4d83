//! The nouns of Slipway. Pure values: no IO, no clock, no chance.
//!
//! ```text
//! ids · names ── who is who, one printed form and one parser each
//! recipe      ── what an image is made of (deploy/catalogue)
//! instance    ── what a worker shall run      → observed ── what it sees
//! task        ── what a worker shall do once  → its outcome
//! route       ── what a router shall serve    → what it holds
//! phase       ── where a deployment stands
//! ```

pub mod hosts;
pub mod ids;
pub mod instance;
pub mod observed;
pub mod phase;
pub mod recipe;
pub mod route;
pub mod task;

pub use ids::*;
