//! Files from a package registry, fetched by the registry's own client and checked against the recipe's digest.

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use slipway_model::recipe::Artefact;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// 150 MB over a slow line.
const FETCH_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Puts an artefact into the tree.
pub async fn place(artefact: &Artefact, downloads: &Path, tree: &Path) -> anyhow::Result<()> {
    if artefact.sha256.len() != 64 || !artefact.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("artefact {}: sha256 is 64 hex digits", artefact.package);
    }
    let file = downloads.join(&artefact.sha256);
    if !file.exists() {
        tokio::fs::create_dir_all(downloads).await?;
        let folder = tempfile::tempdir_in(downloads).context("make a folder for the download")?;
        let fetched = fetch(artefact, folder.path()).await.with_context(|| format!("fetch {}", artefact.package))?;
        check(&fetched, &artefact.sha256).await.with_context(|| format!("artefact {}", artefact.package))?;
        tokio::fs::rename(&fetched, &file).await?;
    }
    check(&file, &artefact.sha256).await?;
    let target = inside(tree, &artefact.to)?;
    unpack(artefact, &file, &target).await.with_context(|| format!("unpack {}", artefact.package))
}

/// A path of the recipe below the tree; `..` leads nowhere.
fn inside(tree: &Path, to: &str) -> anyhow::Result<PathBuf> {
    let relative = Path::new(to.trim_start_matches('/'));
    if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
        bail!("'{to}' is no place in an image");
    }
    Ok(tree.join(relative))
}

async fn check(file: &Path, sha256: &str) -> anyhow::Result<()> {
    let path = file.to_path_buf();
    let found = tokio::task::spawn_blocking(move || -> anyhow::Result<String> {
        let mut file = std::fs::File::open(&path)?;
        let mut hasher = Sha256::new();
        let mut bytes = vec![0u8; 256 << 10];
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(data_encoding::HEXLOWER.encode(&hasher.finalize())),
                count => hasher.update(&bytes[..count]),
            }
        }
    })
    .await??;
    if !found.eq_ignore_ascii_case(sha256) {
        bail!("its digest is {found}, the recipe says {sha256}: not used");
    }
    Ok(())
}

async fn fetch(artefact: &Artefact, folder: &Path) -> anyhow::Result<PathBuf> {
    let word = |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "@/._-:".contains(c));
    if !word(&artefact.package) || !(artefact.version.is_empty() || word(&artefact.version)) {
        bail!("'{}' is no package name", artefact.package);
    }
    match artefact.registry.as_str() {
        "npm" => {
            let named = format!("{}@{}", artefact.package, artefact.version);
            run(Command::new("npm").args(["pack", "--silent", "--pack-destination"]).arg(folder).arg(named)).await?;
        }
        "maven" => {
            let mut dependency = Command::new("mvn");
            dependency.args(["--batch-mode", "--quiet", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"]);
            dependency.arg(format!("-Dartifact={}", artefact.package)).arg("-Dmdep.stripVersion=false");
            dependency.arg(format!("-DoutputDirectory={}", folder.display()));
            run(&mut dependency).await?;
        }
        "pypi" => {
            let named = format!("{}=={}", artefact.package, artefact.version);
            run(Command::new("python3").args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(folder).arg(named)).await?;
        }
        other => bail!("'{other}' is no registry: npm, maven or pypi"),
    }
    let mut files = std::fs::read_dir(folder)?.flatten().map(|e| e.path());
    files.next().context("the client brought nothing")
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).current_dir("/");
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = tokio::time::timeout(FETCH_TIME_MAX, command.output())
        .await
        .map_err(|_| anyhow::anyhow!("{program} took more than 15 minutes"))?
        .with_context(|| format!("start {program} (is it installed? `cargo xtask setup` does)"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).chars().rev().take(500).collect::<Vec<_>>();
        bail!("{program} ended with {}: {}", output.status, words.into_iter().rev().collect::<String>().trim());
    }
    Ok(())
}

/// By the system's own tar and unzip; the digest says that the archive is the one that was looked at.
async fn unpack(artefact: &Artefact, file: &Path, target: &Path) -> anyhow::Result<()> {
    match artefact.unpack.as_str() {
        "" => {
            if let Some(parent) = target.parent() {
                tokio::fs::create_dir_all(parent).await?;
            }
            tokio::fs::copy(file, target).await?;
            Ok(())
        }
        "tar.gz" => {
            tokio::fs::create_dir_all(target).await?;
            let mut tar = Command::new("tar");
            tar.arg("-xzf").arg(file).arg("-C").arg(target).arg(format!("--strip-components={}", artefact.strip));
            run(tar.args(["--no-same-owner", "--no-same-permissions"])).await
        }
        "zip" => {
            let aside = target.with_extension("unzip");
            tokio::fs::create_dir_all(&aside).await?;
            run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(file).arg(&aside)).await?;
            let mut from = aside.clone();
            for _ in 0..artefact.strip {
                let mut entries = std::fs::read_dir(&from)?.flatten().map(|e| e.path()).filter(|p| p.is_dir());
                from = entries.next().context("the archive has fewer levels than the recipe strips")?;
            }
            tokio::fs::rename(&from, target).await?;
            let _ = tokio::fs::remove_dir_all(&aside).await;
            Ok(())
        }
        other => bail!("'{other}' is no kind of archive: zip, tar.gz or nothing"),
    }
}
