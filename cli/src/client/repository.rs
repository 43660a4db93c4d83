//! The git repository around the current folder: which project it is pushed to, which branch is checked out.

use std::process::{Command, Stdio};

/// Remotes of a repository that are looked at.
const REMOTES_MAX: usize = 50;

/// Project names in the URLs of the remotes, each once.
pub fn remote_projects() -> Vec<String> {
    let mut names = Vec::new();
    for line in git(&["remote", "-v"]).unwrap_or_default().lines().take(2 * REMOTES_MAX) {
        if let Some(name) = line.split_whitespace().nth(1).and_then(project_of)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The branch that is checked out.
pub fn branch() -> Option<String> {
    let text = git(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
    Some(text.trim().to_string()).filter(|name| !name.is_empty())
}

/// `shop` of `ssh://shop@host:7022/shop.git`.
fn project_of(url: &str) -> Option<String> {
    let name = url.trim_end_matches('/').rsplit(['/', ':']).next()?;
    let name = name.strip_suffix(".git")?;
    (!name.is_empty()).then(|| name.to_string())
}

fn git(arguments: &[&str]) -> Option<String> {
    // A repository's own configuration must not have anything run merely because one asks for a name.
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::project_of;

    #[test]
    fn the_project_is_the_last_part_of_a_remote() {
        for (url, project) in [
            ("ssh://shop@localhost:7022/shop.git", Some("shop")),
            ("http://127.0.0.1:7080/k4wtvm7ogzr5s.git", Some("k4wtvm7ogzr5s")),
            ("shop@git.example:shop.git", Some("shop")),
            ("https://example.org/somebody/thing", None),
            ("/srv/.git", None),
        ] {
            assert_eq!(project_of(url).as_deref(), project, "{url}");
        }
    }
}
