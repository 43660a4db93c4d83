//! What may be asked of the ledger, and what it answers. Ids, secrets and time are made by the leader and passed in.

use crate::state::*;
use serde::{Deserialize, Serialize};
use slipway_model::instance::Target;
use slipway_model::phase::Phase;
use slipway_model::*;
use std::collections::BTreeMap;

/// One ledger entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Moment,
    pub command: Command,
}

/// A change. A wrong one is `Refused`, the same on every node; none can make `apply` panic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    // People.
    PutUser { user: String, admin: bool },
    Grant { user: String, project: ProjectId, role: Option<Role> },
    AddKey { id: String, key: Key },
    RemoveKey { id: String, user: Option<String> },
    AddToken { id: String, token: Token },
    RemoveToken { id: String, user: Option<String> },

    // Projects.
    CreateProject { id: ProjectId, project: Project, creator: String },
    UpdateProject { id: ProjectId, title: Option<String>, settings: BTreeMap<String, String> },
    DeleteProject { id: ProjectId },
    SetVariable { project: ProjectId, branch: Option<BranchName>, name: String, variable: Variable },
    DeleteVariable { project: ProjectId, branch: Option<BranchName>, name: String },

    // Pushes and operations.
    RecordPush(RecordPush),
    Ask { activity: ActivityId, environment: EnvironmentId, user: String, intent: Intent },
    AskCancel { activity: ActivityId },

    // The leader's own reports.
    StartActivity { activity: ActivityId },
    FinishActivity { activity: ActivityId, state: ActivityState, failure: Option<String>, timings: Vec<(String, u64)>, failed: Vec<FailedInstance> },
    RegisterWorker { id: NodeId, record: WorkerRecord },
    DrainWorker { id: NodeId },
    SetCredential { environment: EnvironmentId, name: String, sealed: String },
    RecordImage { digest: String, image: Image },
    AssignBuild { key: BuildKey, worker: NodeId, attempt: u32 },
    ReleaseBuild { key: BuildKey, attempt: u32 },
    RecordBuild { key: BuildKey, slug: SlugId, bytes: u64, worker: NodeId },
    ReportBuild { activity: ActivityId, report: BuildReport },
    CreateRelease { id: ReleaseId, release: Release },
    AddVolume { id: VolumeId, volume: Volume },
    ForgetVolumes { ids: Vec<VolumeId> },
    /// Refused unless no other deployment of the environment is under way.
    BeginDeployment { id: DeploymentId, deployment: Deployment, instances: BTreeMap<InstanceId, Instance> },
    /// Moves a deployment on, all changes at once. Refused when its phase is no longer `from`.
    Advance { deployment: DeploymentId, from: Phase, to: Phase, changes: Vec<Change> },
    /// Takes retired instances out of the ledger, once their worker no longer has them.
    ForgetInstances { ids: Vec<InstanceId> },
    RetireRelease { environment: EnvironmentId, release: ReleaseId },
    Deactivated { environment: EnvironmentId, activity: ActivityId },
    EnvironmentDeleted { environment: EnvironmentId },
}

/// One push: old ids are compared, refs moved, packs added, activities made, in one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordPush {
    pub push_id: String,
    pub project: ProjectId,
    pub user: String,
    pub updates: Vec<RefUpdate>,
    pub packs: BTreeMap<PackId, u64>,
    pub pack_generation: u64,
    /// By branch.
    pub trees: BTreeMap<BranchName, PushedTree>,
    pub flavour: Option<String>,
    /// One for each update, made by the leader; used where an activity is due.
    pub activity_ids: Vec<ActivityId>,
    /// `environment.status=active` …
    pub options: BTreeMap<String, String>,
}

/// One ref; `None` is git's zero id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefUpdate {
    pub branch: BranchName,
    pub old: Option<CommitId>,
    pub new: Option<CommitId>,
}

/// One thing that an `Advance` changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    SetTarget { instance: InstanceId, target: Target },
    SetBackground { instance: InstanceId, on: bool },
    /// A fresh endpoint for the environment's next epoch: the one at which its gate opens on it.
    OpenIngress { instance: InstanceId },
    CloseIngress { instance: InstanceId },
    /// Routers hold; a new epoch.
    Freeze,
    /// Routers serve `release` on `serving`; a new epoch. None: there is nothing to serve (a first deployment undone).
    Open { release: Option<ReleaseId>, serving: BTreeMap<String, InstanceId> },
    /// The snapshot taken before the release that serves now.
    RememberSnapshot { snapshot: Option<SnapshotId> },
    SnapshotTaken { snapshot: SnapshotId },
    Dirtied,
    HookDone { ms: u64 },
    SetUndo { step: UndoStep },
    Fail { reason: String },
    /// The instance goes away.
    Retire { instance: InstanceId },
    /// The release can be gone back to; beyond the bound the oldest is let go.
    Keep { release: ReleaseId },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    /// An activity was made (or, by the same push id, had been).
    Activities { ids: Vec<ActivityId>, notes: Vec<String> },
    /// For people.
    Refused { reason: String },
    /// A push: `(ref, reason)` for each that could not be moved; nothing was.
    RefsRefused { refs: Vec<(String, String)> },
}

impl Reply {
    /// Shorthand for a refusal.
    pub fn refused(reason: impl Into<String>) -> Self {
        Reply::Refused { reason: reason.into() }
    }
}
