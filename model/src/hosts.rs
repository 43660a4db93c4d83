//! Host names and SSH names: the one place that knows their patterns (routes-yaml §4, lifecycle §8).

use crate::ids::{BranchName, EnvironmentId, ProjectId};
use sha2::{Digest, Sha256};

/// The longest machine name: with `-<project id>` it must fit one DNS label of 63 characters.
const MACHINE_NAME_MAX: usize = 40;

/// The branch as a DNS label part: lower case, everything else a `-`, never empty.
pub fn slugified(branch: &BranchName) -> String {
    let mut out = String::new();
    for c in branch.as_str().chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if !out.ends_with('-') && !out.is_empty() => out.push('-'),
            _ => {}
        }
    }
    let out = out.trim_matches('-').to_string();
    if out.is_empty() { "b".to_string() } else { out }
}

/// `<slugified branch>-<7 characters that depend on the branch alone>`: two branches never share one.
pub fn machine_name(branch: &BranchName) -> String {
    let digest = Sha256::digest(branch.as_str().as_bytes());
    let hash = data_encoding::BASE32_NOPAD.encode(&digest).to_ascii_lowercase();
    let mut slug = slugified(branch);
    slug.truncate(MACHINE_NAME_MAX - 8);
    format!("{}-{}", slug.trim_end_matches('-'), &hash[..7])
}

/// `<project>-<machine name>`.
pub fn environment_id(project: &ProjectId, branch: &BranchName) -> EnvironmentId {
    format!("{project}-{}", machine_name(branch)).parse().expect("a project id and a machine name make an environment id")
}

/// `<machine name>-<project>.<site domain>`.
pub fn environment_domain(project: &ProjectId, branch: &BranchName, site_domain: &str) -> String {
    format!("{}-{project}.{site_domain}", machine_name(branch))
}

/// The SSH user of one app (or `app--worker`) of an environment: `<environment id>--<app>`.
pub fn ssh_user(environment: &EnvironmentId, container: &str) -> String {
    format!("{environment}--{container}")
}

/// `(environment id, app)` of an SSH user name; without `--app` the app is `None`.
pub fn parse_ssh_user(user: &str) -> Option<(EnvironmentId, Option<String>)> {
    let (environment, app) = match user.split_once("--") {
        Some((environment, app)) => (environment, Some(app.to_string())),
        None => (user, None),
    };
    Some((environment.parse().ok()?, app))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_slugify_alike_stay_apart_and_fit_a_dns_label() {
        let a: BranchName = "feature/x".parse().unwrap();
        let b: BranchName = "feature-x".parse().unwrap();
        assert_eq!(slugified(&a), slugified(&b));
        assert_ne!(machine_name(&a), machine_name(&b));
        let long: BranchName = "x".repeat(200).parse().unwrap();
        assert!(machine_name(&long).len() + 1 + 13 <= 63);
        let odd: BranchName = "äöü".parse().unwrap();
        assert!(machine_name(&odd).starts_with("b-"));
    }

    #[test]
    fn an_ssh_user_leads_back_to_its_environment() {
        let project: ProjectId = "k4wtvm7ogzr5s".parse().unwrap();
        let environment = environment_id(&project, &"main".parse().unwrap());
        assert_eq!(parse_ssh_user(&ssh_user(&environment, "app--queue")), Some((environment.clone(), Some("app--queue".into()))));
        assert_eq!(parse_ssh_user(environment.as_str()), Some((environment, None)));
    }
}
