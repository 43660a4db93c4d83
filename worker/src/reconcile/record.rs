//! What is kept of an instance between two lives of this process.

use crate::desk::write_durably;
use serde::{Deserialize, Serialize};
use slipway_model::Epoch;
use slipway_model::instance::InstanceSpec;
use std::path::Path;

const FILE: &str = "record.json";

/// One instance as this worker has last worked on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub spec: InstanceSpec,
    /// First id outside of the ids inside; no two instances share it.
    pub id_map_base: u32,
    /// Fronts that were begun and are not known to have ended.
    pub fronts: Vec<FrontRecord>,
    /// The highest epoch whose front was closed: neither it nor an earlier one opens again (F1).
    pub closed_epoch: Option<Epoch>,
    /// When its container was last started.
    pub started_unix_ms: i64,
    /// It has been ready since then.
    pub was_ready: bool,
    /// Its `post_start` has run since then.
    pub post_started: bool,
}

/// One front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontRecord {
    pub epoch: Epoch,
    pub port: u16,
    /// It was told to end; it never opens again.
    pub closed_unix_ms: Option<i64>,
}

impl Record {
    pub fn new(spec: InstanceSpec, id_map_base: u32) -> Record {
        Record { spec, id_map_base, fronts: vec![], closed_epoch: None, started_unix_ms: 0, was_ready: false, post_started: false }
    }

    /// Blocking.
    pub fn save(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        write_durably(&directory.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Blocking.
    pub fn load(directory: &Path) -> Option<Record> {
        let bytes = std::fs::read(directory.join(FILE)).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "the record of an instance cannot be read");
                None
            }
        }
    }
}
