//! Bytes that must last, addressed by what they are: git packs, slugs and images over one object store.
//!
//! ```text
//!  SourceStore ── git/packs/<sha256>.pack
//!  SlugStore   ── slugs/<id>           manifest and where its files lie (written last)
//!                 blobs/packs/<sha256> frames of many files, compressed together
//!                 blobs/index/<time>   which files a pack holds
//!       └──────────────── Store: a folder, or S3 ────────────────┘
//! ```
//!
//! Nothing here is ever changed in place: an object is written once under a name that tells its content.

mod check;
mod error;
pub mod farm;
mod index;
mod manifest;
mod pack;
mod slugs;
mod source;
mod store;
pub mod verity;
mod walk;

pub use error::{Error, Result};
pub use manifest::{Entry, Kind, Manifest, plausible_mtime};
pub use slugs::{Owners, PutOptions, PutResult, SlugStore};
pub use source::SourceStore;
pub use store::{Counts, S3Options, Store, StoreOptions};
