//! The application's source: a tree of git objects, written to a directory as `web`'s.

use anyhow::{Context, bail};
use slipway_blobs::SourceStore;
use slipway_model::instance::WEB_UID;
use slipway_model::{CommitId, PackId};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Which tree, and from where.
pub struct Source<'a> {
    pub store: &'a SourceStore,
    pub packs: &'a [PackId],
    pub tree: &'a CommitId,
    /// Below the tree; not written.
    pub exclude: &'a [String],
}

impl Source<'_> {
    /// Write the tree to `target`, which is made; `git` is scratch for the objects.
    pub async fn check_out(&self, git: &Path, target: &Path) -> anyhow::Result<()> {
        self.store.hydrate(self.packs, git).await.context("fetch the sources")?;
        std::fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
        run_git(git, target, &["read-tree", self.tree.as_str()]).await?;
        run_git(git, target, &["checkout-index", "--all", "--force"]).await?;
        let (target, exclude) = (target.to_path_buf(), self.exclude.to_vec());
        tokio::task::spawn_blocking(move || {
            for path in &exclude {
                remove_below(&target, path).with_context(|| format!("leave out {path}"))?;
            }
            give_to_web(&target)
        })
        .await
        .context("prepare the sources")??;
        let _ = tokio::fs::remove_dir_all(git).await;
        Ok(())
    }
}

async fn run_git(git: &Path, work_tree: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = tokio::process::Command::new("git")
        .arg("--git-dir")
        .arg(git)
        .arg("--work-tree")
        .arg(work_tree)
        // The tree is the user's: nothing in it may start a program or lead out of it.
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true", "-c", "core.protectNTFS=true"])
        .args(arguments)
        .current_dir(git)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("HOME", git)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("start git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Remove a path below `root`, if it is there; a link on the way ends it.
fn remove_below(root: &Path, path: &str) -> std::io::Result<()> {
    let mut at = root.to_path_buf();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (number, part) in parts.iter().enumerate() {
        if *part == ".." || *part == "." {
            return Ok(());
        }
        at.push(part);
        let Ok(meta) = std::fs::symlink_metadata(&at) else { return Ok(()) };
        if number + 1 == parts.len() {
            return if meta.is_dir() { std::fs::remove_dir_all(&at) } else { std::fs::remove_file(&at) };
        }
        if !meta.is_dir() {
            return Ok(());
        }
    }
    Ok(())
}

/// Everything becomes `web`'s; nobody else can change it meanwhile.
fn give_to_web(root: &Path) -> anyhow::Result<()> {
    let mut open: Vec<PathBuf> = vec![root.to_path_buf()];
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(WEB_UID), Some(WEB_UID)).with_context(|| format!("give {} to web", path.display()));
    own(root)?;
    while let Some(directory) = open.pop() {
        for item in std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
            let item = item?;
            own(&item.path())?;
            if item.file_type()?.is_dir() {
                open.push(item.path());
            }
        }
    }
    Ok(())
}
