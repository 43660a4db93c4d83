//! One push, one entry.

use super::activities::fresh;
use crate::command::{RecordPush, RefUpdate, Reply};
use crate::state::*;
use slipway_model::hosts::environment_id;
use slipway_model::route::Gate;
use slipway_model::*;
use std::collections::BTreeMap;

/// Branches of one project.
const BRANCHES_MAX: usize = 1_000;

pub(super) fn record(state: &mut ClusterState, push: RecordPush) -> Reply {
    if let Some(ids) = state.push_ids.get(&push.push_id) {
        // The answer to the first was lost on its way: the same answer again.
        return Reply::Activities { ids: ids.clone(), notes: Vec::new() };
    }
    let Some(project) = state.projects.get(&push.project) else {
        return Reply::refused("there is no such project");
    };
    let refused = refusals(state, project, &push);
    if !refused.is_empty() {
        return Reply::RefsRefused { refs: refused };
    }
    move_refs(state, &push);
    let mut notes = Vec::new();
    let mut ids = Vec::new();
    let mut activity_ids = push.activity_ids.iter();
    for update in &push.updates {
        let Some(id) = activity_ids.next() else { break };
        if let Some(activity) = settle(state, &push, update, id, &mut notes) {
            ids.push(activity);
        }
    }
    state.push_ids.insert(push.push_id, ids.clone());
    Reply::Activities { ids, notes }
}

/// `(ref, reason)` for each ref that cannot be moved.
fn refusals(state: &ClusterState, project: &Project, push: &RecordPush) -> Vec<(String, String)> {
    let mut refused = Vec::new();
    let new_branches = push.updates.iter().filter(|u| u.old.is_none()).count();
    for update in &push.updates {
        let name = update.branch.as_ref_name();
        let reason = if project.refs.get(&name) != update.old.as_ref() {
            Some("fetch first".to_string())
        } else if push.pack_generation != project.pack_generation {
            Some("the repository was repacked meanwhile, push again".to_string())
        } else if update.new.is_none() && update.branch == project.default_branch {
            Some("the default branch cannot be deleted".to_string())
        } else if update.new.is_none() && active(state, &push.project, &update.branch) {
            Some(format!("environment is active; first `slipway environment deactivate {}`", update.branch))
        } else if update.old.is_none() && project.refs.len() + new_branches > BRANCHES_MAX {
            Some(format!("a project has at most {BRANCHES_MAX} branches"))
        } else if update.new.is_some() && !push.trees.contains_key(&update.branch) {
            Some("its tree was not judged".to_string())
        } else {
            None
        };
        refused.extend(reason.map(|reason| (name, reason)));
    }
    refused
}

fn active(state: &ClusterState, project: &ProjectId, branch: &BranchName) -> bool {
    state.environments.get(&environment_id(project, branch)).is_some_and(|e| e.active)
}

fn move_refs(state: &mut ClusterState, push: &RecordPush) {
    let project = state.projects.get_mut(&push.project).expect("looked up by record");
    for update in &push.updates {
        match &update.new {
            Some(new) => project.refs.insert(update.branch.as_ref_name(), new.clone()),
            None => project.refs.remove(&update.branch.as_ref_name()),
        };
    }
    project.packs.extend(push.packs.iter().map(|(id, bytes)| (id.clone(), *bytes)));
    if project.flavour.is_none() {
        project.flavour = push.flavour.clone();
    }
}

/// Makes or changes the branch's environment; the activity that is due, if one is.
fn settle(
    state: &mut ClusterState,
    push: &RecordPush,
    update: &RefUpdate,
    activity_id: &ActivityId,
    notes: &mut Vec<String>,
) -> Option<ActivityId> {
    let now = state.now;
    let id = environment_id(&push.project, &update.branch);
    if update.new.is_none() {
        if state.environments.contains_key(&id) {
            super::environments::deleted(state, &id);
            notes.push(format!("Environment {} deleted.", update.branch));
        }
        return None;
    }
    let tree = push.trees.get(&update.branch)?.clone();
    let default_branch = state.projects[&push.project].default_branch.clone();
    let is_default = update.branch == default_branch;
    let wants_active = push.options.get("environment.status").is_some_and(|s| s == "active");
    let environment = state.environments.entry(id.clone()).or_insert_with(|| {
        let parent = push.options.get("environment.parent").and_then(|p| p.parse().ok()).unwrap_or(default_branch);
        Environment {
            project: push.project.clone(),
            branch: update.branch.clone(),
            title: push.options.get("environment.title").cloned().unwrap_or_else(|| update.branch.to_string()),
            kind: match push.options.get("environment.type") {
                _ if is_default => "production".to_string(),
                Some(kind) if kind == "staging" => "staging".to_string(),
                _ => "development".to_string(),
            },
            parent: (!is_default).then_some(parent),
            active: is_default,
            deleting: false,
            created_at: now,
            updated_at: now,
            head: None,
            release: None,
            kept: Vec::new(),
            epoch: Epoch(0),
            gate: Gate::Open,
            worker: None,
            variables: BTreeMap::new(),
            credentials: BTreeMap::new(),
            volumes: BTreeMap::new(),
            serving: BTreeMap::new(),
            snapshot: None,
        }
    });
    environment.head = Some(tree.clone());
    environment.updated_at = now;
    environment.active |= wants_active;
    if !environment.active {
        notes.push(format!(
            "Environment {} is inactive: the code is stored, nothing is deployed. \
             Bring it up with `slipway environment activate {}` or push with `-o environment.status=active`.",
            update.branch, update.branch
        ));
        return None;
    }
    supersede(state, &id);
    let activity = fresh(push.project.clone(), id, push.user.clone(), Intent::Push { tree }, now);
    state.activities.insert(activity_id.clone(), activity);
    Some(activity_id.clone())
}

/// Pushes of the environment that have not begun are overtaken by this one.
fn supersede(state: &mut ClusterState, environment: &EnvironmentId) {
    let now = state.now;
    for activity in state.activities.values_mut() {
        if &activity.environment == environment
            && activity.state == ActivityState::Pending
            && matches!(activity.intent, Intent::Push { .. })
        {
            activity.state = ActivityState::Superseded;
            activity.completed_at = Some(now);
        }
    }
}
