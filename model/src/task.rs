//! What a worker shall do once. A task is idempotent by id: asked again, the worker answers with the outcome it has.

use crate::ids::*;
use crate::instance::Limits;
use crate::recipe::Recipe;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskSpec {
    /// Make a base image and put it in the store.
    BuildImage(BuildImage),
    /// Build one application and put its slug in the store.
    BuildApp(BuildApp),
    /// Run a hook in a running instance, under a lease: it is ended when the deadline passes.
    Hook(Hook),
    /// Snapshot volumes, all at one moment.
    Snapshot { snapshot: SnapshotId, volumes: Vec<VolumeId>, quiesce: Vec<InstanceId> },
    /// Put volumes back to a snapshot. Their instances are stopped.
    Restore { snapshot: SnapshotId, volumes: Vec<VolumeId> },
    /// Forget a snapshot.
    DropSnapshot { snapshot: SnapshotId },
    /// Destroy volumes for good.
    DestroyVolumes { volumes: Vec<VolumeId> },
    /// Fetch image and slug and keep them, so that a later start needs no store.
    Prefetch { images: Vec<ImageId>, slugs: Vec<SlugId> },
    /// Empty the memory of a memory-only service, so that no release reads what another one cached.
    Flush { instance: InstanceId },
}

/// See [`TaskSpec::BuildImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildImage {
    pub recipe: Recipe,
    pub activity: ActivityId,
}

/// See [`TaskSpec::BuildApp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildApp {
    pub activity: ActivityId,
    pub project: ProjectId,
    pub app: String,
    pub key: BuildKey,
    pub recipe: Recipe,
    pub image: ImageId,
    /// Packs that hold the tree.
    pub packs: Vec<PackId>,
    /// Git tree of the application's root, with the platform's own files still in it.
    pub tree: CommitId,
    /// Paths below the root that are left out of the slug (the platform's own files).
    pub exclude: Vec<String>,
    /// slipway_manifest::Application as JSON.
    pub app_json: String,
    /// Build environment, complete.
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    pub hook_seconds_max: u64,
    /// Empty directories to be made for mounts, below `/app`.
    pub mount_paths: Vec<String>,
}

/// See [`TaskSpec::Hook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub activity: ActivityId,
    pub instance: InstanceId,
    /// `deploy` or `post_deploy`.
    pub kind: String,
    pub script: String,
    pub seconds_max: u64,
    /// The fence: the hook does not start when the instance's worker has seen a higher epoch of this environment.
    pub epoch: Epoch,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskOutcome {
    Image { image: ImageId, bytes: u64 },
    Built { slug: SlugId, bytes: u64, uploaded_bytes: u64, build_ms: u64, started_unix_ms: i64, warnings: Vec<String> },
    HookEnded { exit_code: i32, ms: u64 },
    Done { ms: u64 },
    /// What the user wrote is at fault (hook, flavour step): not tried again.
    UserFailure { step: String, exit_code: Option<i32>, message: String },
    /// Disk, network, store, machine: may be tried elsewhere.
    InfrastructureFailure { message: String },
    Cancelled,
}

impl TaskSpec {
    /// The activity whose log gets the task's lines.
    pub fn activity(&self) -> Option<&ActivityId> {
        match self {
            TaskSpec::BuildImage(task) => Some(&task.activity),
            TaskSpec::BuildApp(task) => Some(&task.activity),
            TaskSpec::Hook(task) => Some(&task.activity),
            _ => None,
        }
    }
}
