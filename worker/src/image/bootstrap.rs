//! A Debian tree by mmdebstrap, from the mirrors that this machine itself uses.

use crate::log::{Level, LineCutter, LogSink};
use anyhow::{Context, bail};
use slipway_model::recipe::Recipe;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// A slow mirror takes minutes; more is a mirror that hangs.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Daemons must not start while their packages are installed; and packages link manual pages into folders that they
/// expect although the pages themselves are left out.
const PREPARE: &str = r#"mkdir -p "$1/usr/share/man/man1" "$1/usr/share/man/man7" "$1/usr/share/man/man8"; printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"; chmod 0755 "$1/usr/sbin/policy-rc.d""#;

/// Suites are Debian's own names.
const SUITES: [&str; 7] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid"];

pub async fn bootstrap(recipe: &Recipe, target: &Path, log: &LogSink) -> anyhow::Result<()> {
    if !SUITES.contains(&recipe.suite.as_str()) {
        bail!("'{}' is no suite this platform knows: {}", recipe.suite, SUITES.join(", "));
    }
    let fine = |p: &String| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if let Some(odd) = recipe.packages.iter().find(|p| !fine(p)) {
        bail!("'{odd}' is no name of a Debian package");
    }
    let mirrors = Mirrors::of_this_machine()?;
    let base = recipe.suite.trim_end_matches("-backports");
    let mut command = tokio::process::Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--components=main", "--format=directory"]);
    command.arg(format!("--include={}", recipe.packages.join(",")));
    for option in [
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/locale/*",
        "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright",
    ] {
        command.arg(format!("--dpkgopt={option}"));
    }
    command.arg("--aptopt=Acquire::Languages \"none\"").arg("--aptopt=Acquire::Retries \"3\"");
    command.arg(format!("--essential-hook={PREPARE}"));
    command.arg(base).arg(target);
    for line in mirrors.sources(&recipe.suite) {
        command.arg(line);
    }
    // The same recipe gives the same bytes.
    command.env("SOURCE_DATE_EPOCH", "1700000000").env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("start mmdebstrap (is it installed? `cargo xtask setup` does)")?;
    let mut stderr = child.stderr.take().context("its stderr")?;
    let mut last = Vec::new();
    let watch = async {
        let mut cutter = LineCutter::default();
        let mut bytes = vec![0u8; 8 << 10];
        while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
            cutter.feed(&bytes[..count], |line| note(line, log, &mut last));
        }
        cutter.end(|line| note(line, log, &mut last));
        child.wait().await
    };
    let status = tokio::time::timeout(TIME_MAX, watch).await.map_err(|_| anyhow::anyhow!("the bootstrap took more than 30 minutes"))??;
    if !status.success() {
        bail!("mmdebstrap ended with {status}: {}", last.join(" / "));
    }
    Ok(())
}

/// Steps are shown, chatter is kept for the case of a failure.
fn note(line: &str, log: &LogSink, last: &mut Vec<String>) {
    if let Some(step) = line.strip_prefix("I: ")
        && (step.starts_with("installing") || step.starts_with("downloading") || step.starts_with("running apt"))
    {
        log.indented(1).say(Level::Info, step);
    }
    if line.starts_with("E:") || line.starts_with("Err:") || line.contains("nable to") {
        last.push(line.chars().take(300).collect());
        if last.len() > 6 {
            last.remove(0);
        }
    }
}

/// Where this machine gets Debian's packages from.
struct Mirrors {
    main: String,
    security: Option<String>,
}

impl Mirrors {
    /// From apt's own sources, both forms.
    fn of_this_machine() -> anyhow::Result<Self> {
        let mut uris = Vec::new();
        let mut files = vec![std::path::PathBuf::from("/etc/apt/sources.list")];
        if let Ok(more) = std::fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(more.flatten().map(|entry| entry.path()));
        }
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            for line in text.lines().map(str::trim) {
                if let Some(list) = line.strip_prefix("URIs:") {
                    uris.extend(list.split_whitespace().map(String::from));
                } else if line.starts_with("deb ") {
                    uris.extend(line.split_whitespace().find(|w| w.contains("://")).map(String::from));
                }
            }
        }
        let is_security = |uri: &String| uri.trim_end_matches('/').ends_with("debian-security");
        let main = uris.iter().find(|u| u.trim_end_matches('/').ends_with("/debian")).cloned();
        let main = main.context("this machine's apt sources name no Debian mirror: base images need one")?;
        Ok(Self { main, security: uris.into_iter().find(is_security) })
    }

    fn sources(&self, suite: &str) -> Vec<String> {
        let base = suite.trim_end_matches("-backports");
        let line = |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main");
        let mut lines = vec![line(&self.main, base)];
        if suite != base {
            lines.push(line(&self.main, suite));
        }
        if let Some(security) = &self.security
            && ["bullseye", "bookworm", "trixie"].contains(&base)
        {
            lines.push(line(security, &format!("{base}-security")));
        }
        lines
    }
}
