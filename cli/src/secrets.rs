//! Files that only their owner reads.

use anyhow::Context;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a secret: mode 0600, aside, fsync, rename.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_mode(path, text, 0o600)
}

/// The same for what everybody may read.
pub fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    write_mode(path, text, 0o644)
}

fn write_mode(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let aside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// 40 random characters.
pub fn random() -> String {
    slipway_scheduler::chance::word(40)
}
