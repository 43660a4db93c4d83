//! Which ref updates are taken, judged without looking into trees.

use super::Pusher;
use crate::hook::RawUpdate;
use crate::platform::Role;
use slipway_model::ids::{BranchName, CommitId};
use slipway_proto::api::{PushContext, Repository};

/// One ref update, as far as it could be parsed.
#[derive(Debug, Clone)]
pub struct Update {
    pub name: String,
    pub old: Option<CommitId>,
    pub new: Option<CommitId>,
}

impl From<RawUpdate> for Update {
    fn from(raw: RawUpdate) -> Update {
        let id = |text: &str| if text.bytes().all(|b| b == b'0') { None } else { text.parse().ok() };
        Update { old: id(&raw.old), new: id(&raw.new), name: raw.name }
    }
}

impl Update {
    pub fn branch(&self) -> Option<BranchName> {
        self.name.strip_prefix("refs/heads/")?.parse().ok()
    }
}

/// A branch update that may go on to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub branch: BranchName,
    pub old: Option<CommitId>,
    pub new: Option<CommitId>,
    pub forced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Taken(Change),
    /// Answered `ok` and not stored.
    Ignored(String),
    /// `short` stands beside the ref in git's own table, `long` is for people.
    Refused { short: String, long: String },
}

pub fn decide(update: &Update, forced: bool, pusher: &Pusher, repository: &Repository, context: &PushContext) -> Decision {
    let shown = super::log::clean(&update.name);
    let refused = |short: &str, long: String| Decision::Refused { short: short.into(), long };
    if update.name.starts_with("refs/tags/") {
        return Decision::Ignored(format!("Tags are ignored: {shown} is not stored."));
    }
    let Some(name) = update.name.strip_prefix("refs/heads/") else {
        return refused("only branches are taken", format!("{shown} is no branch: Slipway takes refs/heads/… only. Push it as `git push <remote> HEAD:<branch>`."));
    };
    let branch: BranchName = match name.parse() {
        Ok(branch) => branch,
        Err(error) => return refused("not a branch name", format!("{}. Rename it: git branch -m <name>.", super::log::clean(&format!("{error}")))),
    };
    if pusher.role < Role::Contributor {
        return refused("role contributor needed", format!("{} may read this project, not push to it.", pusher.user));
    }
    match (&update.old, &update.new) {
        (_, None) => {
            if branch.as_str() == repository.default_branch {
                return refused("the default branch stays", format!("{branch} is the default branch of this project and cannot be deleted."));
            }
            if pusher.role < Role::Admin {
                return refused("role admin needed", format!("Deleting branch {branch} deletes its environment: that needs the role admin."));
            }
            if context.active_branches.iter().any(|active| active == branch.as_str()) {
                return refused(
                    "environment is active",
                    format!("Environment {branch} is active. Deactivate it first: slipway environment deactivate {branch}"),
                );
            }
        }
        (_, Some(_)) if forced => {
            if pusher.role < Role::Admin {
                return refused(
                    "non-fast-forward: role admin needed",
                    format!("This push would throw away commits of {branch}: that needs the role admin. Merge what is there: git pull --no-rebase"),
                );
            }
        }
        _ => {}
    }
    if update.old.is_none() && update.new.is_none() {
        return Decision::Ignored(format!("{shown} does not exist: there is nothing to delete."));
    }
    Decision::Taken(Change { branch, old: update.old.clone(), new: update.new.clone(), forced })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn check(role: Role, name: &str, old: &str, new: &str, forced: bool) -> &'static str {
        let pusher = Pusher { project: "shop".parse().unwrap(), user: "ada".into(), role, no_wait: false };
        let repository = Repository { default_branch: "main".into(), ..Default::default() };
        let context = PushContext { active_branches: vec!["main".into(), "live".into()], ..Default::default() };
        let update = Update::from(RawUpdate { name: name.into(), old: old.into(), new: new.into() });
        match decide(&update, forced, &pusher, &repository, &context) {
            Decision::Taken(_) => "taken",
            Decision::Ignored(_) => "ignored",
            Decision::Refused { .. } => "refused",
        }
    }

    #[test]
    fn each_role_may_do_its_own_and_no_more() {
        use Role::*;
        for (role, name, old, new, forced, answer) in [
            (Viewer, "refs/heads/x", A, B, false, "refused"),
            (Contributor, "refs/heads/x", NONE, B, false, "taken"),
            (Contributor, "refs/heads/x", A, B, false, "taken"),
            (Contributor, "refs/heads/x", A, B, true, "refused"),
            (Contributor, "refs/heads/x", A, NONE, false, "refused"),
            (Admin, "refs/heads/x", A, B, true, "taken"),
            (Admin, "refs/heads/x", A, NONE, false, "taken"),
            (Admin, "refs/heads/main", A, NONE, false, "refused"),
            (Admin, "refs/heads/live", A, NONE, false, "refused"),
            (Contributor, "refs/tags/v1", NONE, B, false, "ignored"),
            (Admin, "refs/for/main", NONE, B, false, "refused"),
            (Admin, "HEAD", A, B, false, "refused"),
            (Admin, "refs/heads/--upload-pack=x", NONE, B, false, "refused"),
            (Admin, "refs/heads/a b", NONE, B, false, "refused"),
            (Admin, "refs/heads/$(id)", NONE, B, false, "taken"),
        ] {
            assert_eq!(check(role, name, old, new, forced), answer, "{role:?} {name} {old} {new} {forced}");
        }
    }
}
