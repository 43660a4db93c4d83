//! What the git doors ask.

use super::caller::Caller;
use super::{Api, parse};
use crate::chance;
use slipway_core::command::{RecordPush, RefUpdate};
use slipway_core::state::{PushedTree, Role};
use slipway_core::{Command, Reply};
use slipway_model::hosts::environment_id;
use slipway_model::{BranchName, CommitId, PackId, ProjectId};
use slipway_proto::api;
use std::collections::BTreeMap;
use tonic::Status;

/// Bytes of one push when the project sets nothing.
const PUSH_MB_MAX: u64 = 500;
/// Refs of one push.
const UPDATES_MAX: usize = 100;
/// Git's id for "there is none".
const ZERO: &str = "0000000000000000000000000000000000000000";

impl Api {
    pub(super) fn repository(&self, caller: &Caller, id: &ProjectId) -> Result<api::Repository, Status> {
        caller.at_least(id, Role::Viewer)?;
        self.office
            .read(|state| {
                state.projects.get(id).map(|project| api::Repository {
                    project: id.to_string(),
                    default_branch: project.default_branch.to_string(),
                    refs: project.refs.iter().map(|(name, c)| api::Ref { name: name.clone(), commit: c.to_string() }).collect(),
                    packs: project.packs.iter().map(|(id, bytes)| api::PackRef { id: id.to_string(), bytes: *bytes }).collect(),
                    pack_generation: project.pack_generation,
                    push_bytes_max: setting(&project.settings, "push_size_hard_limit_mb").unwrap_or(PUSH_MB_MAX) << 20,
                })
            })
            .ok_or_else(|| Status::not_found(format!("there is no project '{id}'")))
    }

    pub(super) async fn prepare_push(&self, caller: Caller, ask: api::PreparePushRequest) -> Result<api::PushContext, Status> {
        let id: ProjectId = parse(&ask.project)?;
        let caller = self.acting(caller, &ask.acting_for)?;
        caller.at_least(&id, Role::Contributor)?;
        let not_ready = match self.office.options.store.health().await {
            Ok(()) => String::new(),
            Err(error) => format!("the object store does not answer ({error:#}); nothing was taken. Sites are unaffected; push again later"),
        };
        let branches: Vec<BranchName> = ask.branches.iter().filter_map(|b| b.parse().ok()).collect();
        let catalogue_json = self.office.catalogue.index_json();
        let site_domain = self.office.options.site_domain.clone();
        self.office
            .read(|state| {
                let project = state.projects.get(&id)?;
                let flavour = project.flavour.clone().unwrap_or_default();
                let lenient = flavour == "magento";
                let strict = project.settings.get("strict_configuration").map_or(!lenient, |s| s != "false");
                let mut deployed = BTreeMap::new();
                let mut active = Vec::new();
                for branch in &branches {
                    let Some(environment) = state.environments.get(&environment_id(&id, branch)) else { continue };
                    if environment.active {
                        active.push(branch.to_string());
                    }
                    if let Some(release) = environment.release.as_ref().and_then(|r| state.releases.get(r)) {
                        let json = serde_json::to_string(&release.tree.project).expect("a project is JSON");
                        deployed.insert(branch.to_string(), json);
                    }
                }
                let consented = project.settings.get("consent").is_some_and(|c| c == "destroy");
                let protected =
                    if consented { Vec::new() } else { branches.iter().map(ToString::to_string).collect() };
                Some(api::PushContext {
                    flavour,
                    strict,
                    plan_storage_mb: setting(&project.settings, "plan_storage_mb").unwrap_or(slipway_manifest::PLAN_STORAGE_MB),
                    catalogue_json,
                    deployed_json: deployed.into_iter().collect(),
                    active_branches: active,
                    protected_branches: protected,
                    site_domain,
                    not_ready,
                })
            })
            .ok_or_else(|| Status::not_found(format!("there is no project '{id}'")))
    }

    pub(super) async fn record_push(&self, caller: Caller, ask: api::RecordPushRequest) -> Result<api::RecordPushReply, Status> {
        let project: ProjectId = parse(&ask.project)?;
        caller.node_only()?;
        let user = self.acting(caller, &ask.acting_for)?;
        user.at_least(&project, Role::Contributor)?;
        if ask.updates.len() > UPDATES_MAX {
            return Err(Status::invalid_argument(format!("one push moves at most {UPDATES_MAX} refs")));
        }
        if ask.updates.iter().any(|u| u.forced || u.new == ZERO) {
            user.at_least(&project, Role::Admin)?;
        }
        let mut updates = Vec::new();
        for update in &ask.updates {
            let branch = update.name.strip_prefix("refs/heads/").unwrap_or(&update.name);
            updates.push(RefUpdate { branch: parse(branch)?, old: object(&update.old)?, new: object(&update.new)? });
        }
        let mut packs = BTreeMap::new();
        for pack in &ask.packs {
            packs.insert(parse::<PackId>(&pack.id)?, pack.bytes);
        }
        let (trees, flavour) = trees(ask.trees)?;
        let push = RecordPush {
            push_id: ask.push_id,
            project,
            user: user.user.clone(),
            activity_ids: updates.iter().map(|_| chance::id("act")).collect(),
            updates,
            packs,
            pack_generation: ask.pack_generation,
            trees,
            flavour,
            options: ask.options.into_iter().collect(),
        };
        match self.ask(Command::RecordPush(push)).await? {
            Reply::RefsRefused { refs } => Ok(api::RecordPushReply {
                refused: refs.into_iter().map(|(name, reason)| format!("{name} {reason}")).collect(),
                ..Default::default()
            }),
            Reply::Activities { ids, notes } => Ok(api::RecordPushReply {
                refused: Vec::new(),
                activities: ids.iter().map(|id| api::ActivityRef { activity: id.to_string(), note: String::new() }).collect(),
                notes,
            }),
            _ => Ok(api::RecordPushReply::default()),
        }
    }
}

fn setting(settings: &BTreeMap<String, String>, key: &str) -> Option<u64> {
    settings.get(key)?.parse().ok()
}

fn object(id: &str) -> Result<Option<CommitId>, Status> {
    if id == ZERO || id.is_empty() { Ok(None) } else { Ok(Some(parse(id)?)) }
}

fn trees(given: Vec<api::PushedTree>) -> Result<(BTreeMap<BranchName, PushedTree>, Option<String>), Status> {
    let mut trees = BTreeMap::new();
    let mut flavour = None;
    for tree in given {
        let project: slipway_manifest::Project = serde_json::from_str(&tree.project_json)
            .map_err(|e| Status::invalid_argument(format!("a configuration that cannot be read: {e}")))?;
        flavour = Some(project.flavour.name().to_string());
        let mut sources = BTreeMap::new();
        for (app, id) in tree.app_tree_sources {
            sources.insert(app, parse::<CommitId>(&id)?);
        }
        for app in &project.applications {
            if !sources.contains_key(&app.name) || !tree.app_trees.contains_key(&app.name) {
                return Err(Status::invalid_argument(format!("the tree of application '{}' is missing", app.name)));
            }
        }
        let pushed = PushedTree {
            commit: parse(&tree.commit)?,
            message: tree.message.chars().take(500).collect(),
            author: tree.author.chars().take(200).collect(),
            new_commits: tree.new_commits,
            project,
            app_trees: tree.app_trees.into_iter().collect(),
            app_tree_sources: sources,
            warnings: tree.warnings.into_iter().take(500).collect(),
            plan_text: tree.plan_text.chars().take(20_000).collect(),
        };
        trees.insert(parse(&tree.branch)?, pushed);
    }
    Ok((trees, flavour))
}
