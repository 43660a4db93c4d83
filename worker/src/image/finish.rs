//! The last steps of an image: setup, the user `web`, mount points, what is not needed.

use crate::log::LogSink;
use anyhow::{Context, bail};
use slipway_model::instance::WEB_UID;
use slipway_model::recipe::Recipe;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Setup scripts link and copy; they do not build.
const SETUP_TIME_MAX: Duration = Duration::from_secs(600);
/// Mount points and places that containers need; the root filesystem is read-only when they run.
const FOLDERS: [&str; 12] =
    ["app", "data", "mnt", "run", "tmp", "proc", "sys", "dev", "dev/shm", "var/log", "var/cache/slipway", "etc/slipway"];
/// Files that are bound over when a container runs.
const FILES: [&str; 3] = ["etc/resolv.conf", "etc/hosts", "etc/hostname"];

pub async fn finish(recipe: &Recipe, tree: &Path, log: &LogSink) -> anyhow::Result<()> {
    for folder in FOLDERS {
        std::fs::create_dir_all(tree.join(folder)).with_context(|| format!("make /{folder}"))?;
    }
    std::fs::set_permissions(tree.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    add_user(tree).context("add the user web")?;
    if !recipe.setup.is_empty() {
        log.info("Running the recipe's setup");
        setup(recipe, tree).await?;
    }
    for file in FILES {
        let path = tree.join(file);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, "").with_context(|| format!("make /{file}"))?;
    }
    std::fs::write(tree.join("etc/slipway/recipe.json"), serde_json::to_vec(recipe)?)?;
    for waste in ["var/lib/apt/lists", "var/cache/apt", "usr/sbin/policy-rc.d", "var/log", "usr/share/doc-base"] {
        empty(&tree.join(waste));
    }
    std::fs::create_dir_all(tree.join("var/log"))?;
    Ok(())
}

/// Recipes are the operator's: their setup runs as root in the tree, but reaches no network.
async fn setup(recipe: &Recipe, tree: &Path) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--net", "--mount", "chroot"]).arg(tree).args(["/bin/sh", "-e", "-c"]).arg(&recipe.setup);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(SETUP_TIME_MAX, command.output()).await.map_err(|_| anyhow::anyhow!("the setup took more than 10 minutes"))??;
    if !output.status.success() {
        bail!("the setup ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn add_user(tree: &Path) -> anyhow::Result<()> {
    append(&tree.join("etc/passwd"), &format!("web:x:{WEB_UID}:{WEB_UID}:web:/app:/bin/bash\n"))?;
    append(&tree.join("etc/group"), &format!("web:x:{WEB_UID}:\n"))?;
    append(&tree.join("etc/shadow"), "web:*:19000:0:99999:7:::\n")
}

fn append(path: &Path, line: &str) -> anyhow::Result<()> {
    let mut text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    if !text.contains("\nweb:") {
        text.push_str(line);
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn empty(path: &Path) {
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}
