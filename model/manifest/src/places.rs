//! Where the things of a project stand in its files.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// Key path as complaints show it, `store.configuration.schemas`.
    pub key: String,
    /// The line itself, shortened.
    pub snippet: Option<String>,
}

/// Key within the project (`services/store/type`) to its place.
///
/// Two projects are the same whatever file and line they were written on:
/// equality is always true.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, Place>);

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl Places {
    pub fn put(&mut self, of: String, place: Place) {
        self.0.insert(of, place);
    }

    pub fn get(&self, of: &str) -> Option<&Place> {
        self.0.get(of)
    }
}
