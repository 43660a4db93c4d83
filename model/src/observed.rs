//! What a worker sees of its instances.

use crate::ids::*;
use serde::{Deserialize, Serialize};

/// One instance as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceObserved {
    pub id: InstanceId,
    pub state: InstanceState,
    /// Its port or socket accepts, or the recipe's `ready` succeeded; stays true while it does.
    pub ready: bool,
    /// The front that listens now.
    pub ingress: Option<Epoch>,
    /// Fronts that are closed to new connections and still end requests.
    pub draining: Vec<DrainingFront>,
    /// Background processes (crons, worker loop) that run now.
    pub background_running: u32,
    /// Exit code of the main process when it failed.
    pub exit_code: Option<i32>,
    /// Why it failed or cannot start; for people.
    pub message: Option<String>,
    /// Last lines of its output, when it failed.
    pub log_tail: Vec<String>,
    /// Restarts of the main process since it was started.
    pub restarts: u32,
    pub memory_bytes: u64,
}

/// A front that was told to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainingFront {
    pub epoch: Epoch,
    /// Requests that the application still executes.
    pub executing: u32,
    pub since_unix_ms: i64,
}

/// The life of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Image and slug are fetched, mounts and network made.
    Creating,
    Created,
    Starting,
    Running,
    Stopping,
    Stopped,
    /// It could not be created or started, or keeps exiting.
    Failed,
}
