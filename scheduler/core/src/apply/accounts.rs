//! People, keys and tokens.

use crate::command::Reply;
use crate::state::*;
use slipway_model::ProjectId;

/// Keys of one user: more than anybody has, few enough to send to every router.
const KEYS_PER_USER_MAX: usize = 100;
/// Tokens of one user.
const TOKENS_PER_USER_MAX: usize = 100;

pub(super) fn put_user(state: &mut ClusterState, user: String, admin: bool) -> Reply {
    state.users.entry(user).or_default().admin = admin;
    state.table_version += 1;
    Reply::Done
}

pub(super) fn grant(state: &mut ClusterState, user: String, project: ProjectId, role: Option<Role>) -> Reply {
    if !state.projects.contains_key(&project) {
        return Reply::refused(format!("there is no project '{project}'"));
    }
    let roles = &mut state.users.entry(user).or_default().roles;
    match role {
        Some(role) => {
            roles.insert(project, role);
        }
        None => {
            roles.remove(&project);
        }
    }
    state.table_version += 1;
    Reply::Done
}

pub(super) fn add_key(state: &mut ClusterState, id: String, key: Key) -> Reply {
    if let Some(other) = state.keys.values().find(|k| k.public_key == key.public_key) {
        return if other.user == key.user {
            Reply::refused("you have added this key already")
        } else {
            Reply::refused("this key belongs to another user; make a new one with `ssh-keygen -t ed25519`")
        };
    }
    if state.keys.values().filter(|k| k.user == key.user).count() >= KEYS_PER_USER_MAX {
        return Reply::refused(format!("a user has at most {KEYS_PER_USER_MAX} keys; remove one with `slipway key remove`"));
    }
    state.users.entry(key.user.clone()).or_default();
    state.keys.insert(id, key);
    state.table_version += 1;
    Reply::Done
}

pub(super) fn remove_key(state: &mut ClusterState, id: &str, user: Option<String>) -> Reply {
    match state.keys.get(id) {
        Some(key) if user.as_ref().is_none_or(|u| *u == key.user) => {
            state.keys.remove(id);
            state.table_version += 1;
            Reply::Done
        }
        _ => Reply::refused(format!("there is no key '{id}'; `slipway key list` shows yours")),
    }
}

pub(super) fn add_token(state: &mut ClusterState, id: String, token: Token) -> Reply {
    if state.tokens.values().filter(|t| t.user == token.user).count() >= TOKENS_PER_USER_MAX {
        return Reply::refused(format!("a user has at most {TOKENS_PER_USER_MAX} tokens; revoke one with `slipway token revoke`"));
    }
    state.users.entry(token.user.clone()).or_default();
    state.tokens.insert(id, token);
    Reply::Done
}

pub(super) fn remove_token(state: &mut ClusterState, id: &str, user: Option<String>) -> Reply {
    match state.tokens.get(id) {
        Some(token) if user.as_ref().is_none_or(|u| *u == token.user) => {
            state.tokens.remove(id);
            Reply::Done
        }
        _ => Reply::refused(format!("there is no token '{id}'; `slipway token list` shows yours")),
    }
}
