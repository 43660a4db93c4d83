//! One type per id, one printed form, one parser.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}: {rule}")]
pub struct IdError {
    /// The kind of id that was asked for.
    pub what: &'static str,
    /// What stood there.
    pub text: String,
    /// What it must look like.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The printed form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_string()))
                } else {
                    let text = text.chars().take(80).collect();
                    Err(IdError { what: $what, text, rule: $rule })
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn lower_word(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && !text.starts_with('-')
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

id!(
    /// A project: 13 lower-case base32-like characters, or a name the operator chose.
    ProjectId, "project id", "1 to 32 of a-z 0-9 -, starting with a letter or digit",
    |t| lower_word(t, 32) && !t.contains('_') && !t.contains("--") && !t.ends_with('-')
);
id!(
    /// An environment is a branch; this is the branch's name as git has it.
    BranchName, "branch name", "a git branch name of at most 200 bytes without white space or control characters",
    branch_name
);
id!(
    /// `<project>-<machine name>`: the name of an environment outside git, unique on the platform.
    EnvironmentId, "environment id", "at most 120 of a-z 0-9 -", |t| lower_word(t, 120)
);
id!(
    /// One operation with a log.
    ActivityId, "activity id", "like act-k3f…", |t| t.starts_with("act-") && lower_word(t, 40)
);
id!(
    /// An immutable set of slugs, images and configuration.
    ReleaseId, "release id", "like rel-k3f…", |t| t.starts_with("rel-") && lower_word(t, 40)
);
id!(
    /// One way of a release to its environment.
    DeploymentId, "deployment id", "like dep-k3f…", |t| t.starts_with("dep-") && lower_word(t, 40)
);
id!(
    /// One container of one deployment.
    InstanceId, "instance id", "like i-k3f…", |t| t.starts_with("i-") && lower_word(t, 40)
);
id!(
    /// One order to one worker.
    TaskId, "task id", "like task-k3f…", |t| t.starts_with("task-") && lower_word(t, 60)
);
id!(
    /// One data volume; it stays when instances go.
    VolumeId, "volume id", "like vol-k3f…", |t| t.starts_with("vol-") && lower_word(t, 60)
);
id!(
    /// One snapshot of a volume.
    SnapshotId, "snapshot id", "like snap-k3f…", |t| t.starts_with("snap-") && lower_word(t, 60)
);
id!(
    /// One process of a tier.
    NodeId, "node id", "at most 40 of a-z 0-9 -", |t| lower_word(t, 40)
);
id!(
    /// A slug: the SHA-256 of its canonical manifest, in hex.
    SlugId, "slug id", "64 hex digits", |t| hex(t, 64)
);
id!(
    /// A base image as built: the slug-form digest of its tree.
    ImageId, "image id", "64 hex digits", |t| hex(t, 64)
);
id!(
    /// The digest of everything a build depends on.
    BuildKey, "build key", "64 hex digits", |t| hex(t, 64)
);
id!(
    /// A pack of git objects: the SHA-256 of the pack file.
    PackId, "pack id", "64 hex digits", |t| hex(t, 64)
);
id!(
    /// A commit, tree or blob of git.
    CommitId, "git object id", "40 hex digits", |t| hex(t, 40)
);

/// Git's own rules for a branch name (git-check-ref-format), with a bound, and without a leading `-`:
/// such a name would be taken for an option by a program of ours that forgot `--`.
fn branch_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && name != "@"
        && name != "HEAD"
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.contains("/.")
        && !name.contains(".lock/")
        && !name.chars().any(|c| c.is_control() || " ~^:?*[\\\u{7f}".contains(c))
}

impl BranchName {
    /// `refs/heads/<name>`.
    pub fn as_ref_name(&self) -> String {
        format!("refs/heads/{}", self.as_str())
    }
}

/// A fence: each change of an environment's gate has its own, and they only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_name_follows_gits_rules_and_is_never_an_option() {
        for good in ["main", "feature/x", "äöü", "a.b", "sprint-4"] {
            assert!(good.parse::<BranchName>().is_ok(), "{good}");
        }
        for bad in ["", "-x", "--upload-pack=x", "a..b", "a b", "a\nb", "x.lock", "a/.b", "@", "a~1", "a:b", "/a", "a/", "HEAD"] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_read_back_from_what_it_prints_and_a_foreign_one_is_refused() {
        let id: ReleaseId = "rel-abc123".parse().unwrap();
        assert_eq!(id.to_string().parse::<ReleaseId>().unwrap(), id);
        assert!(serde_json::from_str::<ReleaseId>("\"dep-abc\"").is_err());
        assert!("rel-a;rm -rf".parse::<ReleaseId>().is_err());
    }
}
