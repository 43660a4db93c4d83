//! Who calls, and what they may do. No handler gets at an object without passing here.

use super::Api;
use crate::office::token_digest;
use slipway_core::state::Role;
use slipway_model::ProjectId;
use std::collections::BTreeMap;
use tonic::{Request, Status};

/// A caller whose token was good.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: String,
    /// Of the whole platform.
    pub admin: bool,
    /// A part of the platform itself, which may act for users it has authenticated.
    pub node: bool,
    pub roles: BTreeMap<ProjectId, Role>,
}

/// Compares without telling by its time how much was right.
pub fn same_secret(shown: &str, known: &str) -> bool {
    let (shown, known) = (token_digest(shown), token_digest(known));
    shown.bytes().zip(known.bytes()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

impl Api {
    /// The caller of a request.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let secret = slipway_proto::auth::bearer(request).ok_or_else(|| {
            Status::unauthenticated("no token: set SLIPWAY_TOKEN, or make a token with `slipway token create`")
        })?;
        if same_secret(secret, &self.office.options.node_token) {
            return Ok(Caller { user: "node".into(), admin: true, node: true, roles: BTreeMap::new() });
        }
        self.by_token(secret)
            .ok_or_else(|| Status::unauthenticated("the token is unknown or was revoked; make another with `slipway token create`"))
    }

    /// The owner of a token.
    pub(super) fn by_token(&self, secret: &str) -> Option<Caller> {
        let digest = token_digest(secret);
        let user = self.office.read(|state| state.tokens.values().find(|t| t.digest == digest).map(|t| t.user.clone()))?;
        self.by_user(&user)
    }

    /// A user as the ledger knows it.
    pub(super) fn by_user(&self, user: &str) -> Option<Caller> {
        self.office.read(|state| {
            let found = state.users.get(user)?;
            Some(Caller { user: user.to_string(), admin: found.admin, node: false, roles: found.roles.clone() })
        })
    }

    /// For a node: the user that it acts for; for anybody else: themselves.
    pub(super) fn acting(&self, caller: Caller, acting_for: &str) -> Result<Caller, Status> {
        if acting_for.is_empty() {
            return Ok(caller);
        }
        if !caller.node {
            return Err(Status::permission_denied("only the platform's own parts act for others"));
        }
        self.by_user(acting_for).ok_or_else(|| Status::permission_denied(format!("there is no user '{acting_for}'")))
    }
}

impl Caller {
    /// Their role in a project, if any.
    pub fn role(&self, project: &ProjectId) -> Option<Role> {
        if self.admin { Some(Role::Admin) } else { self.roles.get(project).copied() }
    }

    /// At least this role, or a refusal. A stranger is not told whether the project exists.
    pub fn at_least(&self, project: &ProjectId, least: Role) -> Result<(), Status> {
        match self.role(project) {
            Some(role) if role >= least => Ok(()),
            Some(role) => Err(Status::permission_denied(format!(
                "this needs the role '{}' in project '{project}'; yours is '{}'. Ask one of its admins for `slipway project grant`",
                name(least),
                name(role)
            ))),
            None => Err(Status::not_found(format!("there is no project '{project}', or it is not yours; `slipway project list` shows yours"))),
        }
    }

    /// An admin of the whole platform.
    pub fn platform_admin(&self) -> Result<(), Status> {
        if self.admin { Ok(()) } else { Err(Status::permission_denied("this needs an admin of the platform")) }
    }

    /// A part of the platform.
    pub fn node_only(&self) -> Result<(), Status> {
        if self.node { Ok(()) } else { Err(Status::permission_denied("only the platform's own parts may ask this")) }
    }
}

/// A role as printed.
pub fn name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Contributor => "contributor",
        Role::Admin => "admin",
    }
}
