//! What the ledger knows: intent and pointers. Bytes live in the object store, heartbeats nowhere.

use serde::{Deserialize, Serialize};
use slipway_model::instance::InstanceSpec;
use slipway_model::phase::Phase;
use slipway_model::route::{Gate, SiteRoute};
use slipway_model::*;
use std::collections::BTreeMap;

/// Milliseconds since 1970, stamped by the leader into each command.
pub type Moment = i64;

/// The whole state. Equal applied index means byte-equal JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Of this form; raised with a migration in `load`.
    pub format: u32,
    pub now: Moment,
    pub users: BTreeMap<String, User>,
    pub keys: BTreeMap<String, Key>,
    pub tokens: BTreeMap<String, Token>,
    pub projects: BTreeMap<ProjectId, Project>,
    pub environments: BTreeMap<EnvironmentId, Environment>,
    pub activities: BTreeMap<ActivityId, Activity>,
    pub releases: BTreeMap<ReleaseId, Release>,
    pub deployments: BTreeMap<DeploymentId, Deployment>,
    pub builds: BTreeMap<BuildKey, Build>,
    /// By recipe digest.
    pub images: BTreeMap<String, Image>,
    pub instances: BTreeMap<InstanceId, Instance>,
    pub volumes: BTreeMap<VolumeId, Volume>,
    pub workers: BTreeMap<NodeId, WorkerRecord>,
    /// Raised whenever something that routers see changes.
    pub table_version: u64,
    /// Raised whenever something that workers see changes.
    pub generation: u64,
    /// The next address to try in the instance pool.
    pub address_cursor: u32,
    pub push_ids: BTreeMap<String, Vec<ActivityId>>,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self {
            format: 1,
            now: 0,
            users: BTreeMap::new(),
            keys: BTreeMap::new(),
            tokens: BTreeMap::new(),
            projects: BTreeMap::new(),
            environments: BTreeMap::new(),
            activities: BTreeMap::new(),
            releases: BTreeMap::new(),
            deployments: BTreeMap::new(),
            builds: BTreeMap::new(),
            images: BTreeMap::new(),
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            workers: BTreeMap::new(),
            table_version: 1,
            generation: 1,
            address_cursor: 0,
            push_ids: BTreeMap::new(),
        }
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct User {
    /// Of the whole platform.
    pub admin: bool,
    pub roles: BTreeMap<ProjectId, Role>,
}

/// What a user may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Contributor,
    Admin,
}

/// A public SSH key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub title: String,
    pub user: String,
    /// `type base64`, without comment.
    pub public_key: String,
    pub fingerprint: String,
    pub created_at: Moment,
}

/// An API token; only its digest is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub title: String,
    pub user: String,
    /// Hex SHA-256 of the secret.
    pub digest: String,
    pub created_at: Moment,
}

/// A repository with its environments and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub title: String,
    pub default_branch: BranchName,
    /// Known from the first push on, unless the operator set it.
    pub flavour: Option<String>,
    pub created_at: Moment,
    pub settings: BTreeMap<String, String>,
    /// 56 random characters, for the project's life.
    pub entropy: String,
    pub refs: BTreeMap<String, CommitId>,
    pub packs: BTreeMap<PackId, u64>,
    /// Raised when packs are taken away (repack); added packs leave it alone.
    pub pack_generation: u64,
    pub variables: BTreeMap<String, Variable>,
}

/// A variable; its value is sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    /// Sealed by the scheduler's key.
    pub sealed: String,
    pub json: bool,
    pub sensitive: bool,
    pub visible_build: bool,
    pub visible_runtime: bool,
    pub inheritable: bool,
    pub enabled: bool,
    pub application_scope: Vec<String>,
}

/// A branch and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub project: ProjectId,
    pub branch: BranchName,
    pub title: String,
    /// `production`, `staging`, `development`.
    pub kind: String,
    pub parent: Option<BranchName>,
    pub active: bool,
    pub deleting: bool,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// What the branch's head holds; redeploy takes it.
    pub head: Option<PushedTree>,
    /// What serves.
    pub release: Option<ReleaseId>,
    /// Newest first: releases that can be gone back to.
    pub kept: Vec<ReleaseId>,
    pub epoch: Epoch,
    pub gate: Gate,
    /// The worker that has its volumes.
    pub worker: Option<NodeId>,
    pub variables: BTreeMap<String, Variable>,
    /// `service/endpoint` -> sealed password.
    pub credentials: BTreeMap<String, String>,
    /// `container` -> its volume.
    pub volumes: BTreeMap<String, VolumeId>,
    /// Instances of the release that serves, by container name.
    pub serving: BTreeMap<String, InstanceId>,
    /// Snapshot that was taken before the deployment that serves now.
    pub snapshot: Option<SnapshotId>,
}

/// The judged content of one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushedTree {
    pub commit: CommitId,
    pub message: String,
    pub author: String,
    pub new_commits: u32,
    /// slipway_manifest::Project, normalised.
    pub project: slipway_manifest::Project,
    /// Application -> tree without the platform's own files: the identity.
    pub app_trees: BTreeMap<String, String>,
    /// Application -> tree as in git: what is checked out.
    pub app_tree_sources: BTreeMap<String, CommitId>,
    pub warnings: Vec<String>,
    pub plan_text: String,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    pub project: ProjectId,
    pub environment: EnvironmentId,
    pub user: String,
    pub intent: Intent,
    pub state: ActivityState,
    pub created_at: Moment,
    pub started_at: Option<Moment>,
    pub completed_at: Option<Moment>,
    /// Why it failed; for people.
    pub failure: Option<String>,
    pub deployment: Option<DeploymentId>,
    pub release: Option<ReleaseId>,
    pub builds: Vec<BuildReport>,
    /// `build`, `deploy` … -> milliseconds.
    pub timings: Vec<(String, u64)>,
    pub cancel_asked: bool,
    /// Last lines, exit codes of what failed, and what was restored.
    pub failed: Vec<FailedInstance>,
}

/// What an activity is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    Push { tree: PushedTree },
    Redeploy,
    Activate,
    Deactivate,
    Delete,
    Rollback { release: ReleaseId, run_hooks: bool, with_data: bool },
}

/// Where an activity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityState {
    Pending,
    InProgress,
    Succeeded,
    Failed,
    Cancelled,
    /// A newer push of the same environment took its place while it waited.
    Superseded,
}

impl ActivityState {
    /// Nothing more comes.
    pub fn is_final(self) -> bool {
        !matches!(self, ActivityState::Pending | ActivityState::InProgress)
    }
}

/// One application's build in one activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    pub app: String,
    pub reused: bool,
    pub slug: SlugId,
    pub worker: Option<NodeId>,
    pub started_at: Moment,
    pub ms: u64,
    pub bytes: u64,
    pub uploaded_bytes: u64,
}

/// An instance that made a deployment fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedInstance {
    pub name: String,
    pub exit_code: Option<i32>,
    pub log_tail: Vec<String>,
}

/// A build and its slug.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Build {
    Assigned { worker: NodeId, attempt: u32, since: Moment },
    Done { slug: SlugId, bytes: u64, worker: NodeId },
}

/// A base image as built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub image: ImageId,
    pub bytes: u64,
}

/// An immutable set of slugs, images and configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub environment: EnvironmentId,
    pub activity: ActivityId,
    pub created_at: Moment,
    pub tree: PushedTree,
    /// Application -> slug.
    pub slugs: BTreeMap<String, SlugId>,
    /// Application or service -> image.
    pub images: BTreeMap<String, ImageId>,
    pub routes: Vec<SiteRoute>,
    /// slipway_manifest::routes_variable of the resolved routes.
    pub routes_variable: serde_json::Value,
    /// What people open, primary first.
    pub urls: Vec<String>,
    /// Runtime variables at its making, sealed as one JSON.
    pub sealed_variables: String,
    pub deployed: bool,
}

/// One way of a release to its environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub activity: ActivityId,
    pub environment: EnvironmentId,
    pub release: ReleaseId,
    /// What served before.
    pub previous: Option<ReleaseId>,
    pub phase: Phase,
    pub phase_since: Moment,
    /// Traffic is frozen around it: a hook runs, or a service that holds data changes.
    pub freezes: bool,
    /// Snapshot to be put back instead of the hooks' work (rollback with data).
    pub restore: Option<SnapshotId>,
    /// `(container, script)` still to run, in order.
    pub hooks: Vec<(String, String)>,
    pub hooks_done: usize,
    /// A failing hook does not undo (compatibility switch of the project).
    pub ignore_hook_failure: bool,
    /// Made for this deployment, by container name.
    pub new: BTreeMap<String, InstanceId>,
    /// Services that stay as they are.
    pub kept: BTreeMap<String, InstanceId>,
    /// What it takes the place of.
    pub old: BTreeMap<String, InstanceId>,
    pub snapshot: Option<SnapshotId>,
    /// The snapshot exists at the worker.
    pub snapshot_taken: bool,
    /// Something that can write has been started since the snapshot.
    pub dirtied: bool,
    pub undo: UndoStep,
    pub frozen_at: Option<Moment>,
    pub opened_at: Option<Moment>,
    pub failure: Option<String>,
    /// `(phase, when it was entered)`.
    pub history: Vec<(Phase, Moment)>,
    pub hook_ms: u64,
    /// Of the desired sets, after this deployment's last change to instances: what workers must reflect.
    pub generation: u64,
}

/// How far an undo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStep {
    None,
    /// New instances stop; services whose data goes back stop.
    Stopping,
    /// Volumes are put back.
    Restoring,
    /// Services and old applications start.
    Starting,
}

/// One container as the ledger wants it. Secrets of its environment are sealed apart from the spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub worker: NodeId,
    pub release: ReleaseId,
    /// `env`, `config_json` and a service's `endpoints_json` are empty here and stand in `sealed`.
    pub spec: InstanceSpec,
    pub sealed: String,
    /// Digest of what makes a service container what it is: equal means it can be kept.
    pub fingerprint: String,
    /// The next ingress port: none is used twice.
    pub next_port: u16,
    /// Keeps data on a volume.
    pub persistent: bool,
    /// Where a service listens; routes may lead to it.
    pub service_port: Option<u16>,
    pub kind: ContainerKind,
    /// Not counted on any more: removed from the worker at the next chance.
    pub retired: bool,
}

/// What a container is in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    Application,
    Worker,
    Service,
}

/// Data of one container name of one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub environment: EnvironmentId,
    pub container: String,
    pub worker: NodeId,
    pub size_mb: u64,
    /// To be destroyed.
    pub condemned: bool,
}

/// A worker that has ever said hello.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub joined_at: Moment,
    pub build_slots: u32,
    pub memory_mb: u64,
    pub shell_address: String,
    pub architecture: String,
    pub draining: bool,
}

impl ClusterState {
    /// The deployment under way in an environment.
    pub fn active_deployment(&self, environment: &EnvironmentId) -> Option<(&DeploymentId, &Deployment)> {
        self.deployments.iter().find(|(_, d)| &d.environment == environment && !d.phase.is_final())
    }

    /// Activities of an environment that are not final, oldest first.
    pub fn open_activities<'a>(&'a self, environment: &'a EnvironmentId) -> impl Iterator<Item = (&'a ActivityId, &'a Activity)> {
        let mut open: Vec<_> =
            self.activities.iter().filter(|(_, a)| &a.environment == environment && !a.state.is_final()).collect();
        open.sort_by_key(|(id, a)| (a.created_at, (*id).clone()));
        open.into_iter()
    }

    /// Instances of an environment that are not retired.
    pub fn instances_of<'a>(&'a self, environment: &'a EnvironmentId) -> impl Iterator<Item = (&'a InstanceId, &'a Instance)> {
        self.instances.iter().filter(move |(_, i)| &i.spec.environment == environment && !i.retired)
    }
}
