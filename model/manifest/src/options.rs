//! What the platform sets and the files cannot know.

use crate::flavour::Flavour;
use std::collections::BTreeMap;

/// Megabytes that a project may declare when nothing else is set.
pub const PLAN_STORAGE_MB: u64 = 5120;

#[derive(Debug, Clone)]
pub struct Options {
    /// `None`: the first of `.upsun`, `.platform`, `.magento` that exists.
    pub flavour: Option<Flavour>,
    /// `None`: lenient for `.magento`, strict otherwise.
    pub strict: Option<bool>,
    pub plan_storage_mb: u64,
    /// What this platform can build and run; `None` judges by the tables of the language.
    pub catalogue: Option<CatalogueIndex>,
    /// Judge a type by its name alone.
    pub any_version: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            flavour: None,
            strict: None,
            plan_storage_mb: PLAN_STORAGE_MB,
            catalogue: None,
            any_version: false,
        }
    }
}

/// Runtimes and services for which a recipe exists, with their versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogueIndex {
    pub runtimes: BTreeMap<String, Vec<String>>,
    pub services: BTreeMap<String, Vec<String>>,
}
