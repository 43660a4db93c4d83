//! A throwaway repository: the ledger's refs over exactly the ledger's packs.
//!
//! ```text
//! <session>/repo.git/   HEAD config packed-refs hooks/ objects/info/alternates -> ../../base
//! <session>/base/pack/  hard links to the cached packs that the ledger lists, and no others
//! <session>/hook.sock   to the door
//! ```
//!
//! An object that is in the cache and not in the list is invisible here: otherwise git's connectivity
//! check would pass a push whose objects no other node can fetch.

use crate::packs::Packs;
use crate::program;
use crate::service::Service;
use anyhow::Context;
use slipway_model::ids::{BranchName, CommitId, ProjectId};
use slipway_proto::api::Repository;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Removed when dropped.
pub struct Session {
    dir: TempDir,
    pub project: ProjectId,
    pub repository: Repository,
}

/// Makes the folder of sessions and removes what a former process left there.
pub fn prepare_folder(sessions: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(sessions) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove old sessions in {}", sessions.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(sessions).with_context(|| format!("create {}", sessions.display()))?;
    std::fs::set_permissions(sessions, std::fs::Permissions::from_mode(0o700)).context("close the folder of sessions to others")
}

impl Session {
    pub async fn open(
        sessions: &Path,
        packs: &Packs,
        project: ProjectId,
        repository: Repository,
        service: Service,
        hook_program: &[OsString],
        push_bytes_max: u64,
    ) -> anyhow::Result<Session> {
        let dir = tempfile::Builder::new().prefix("session-").tempdir_in(sessions).context("create a session folder")?;
        let session = Session { dir, project, repository };
        let pack_dir = session.dir.path().join("base/pack");
        std::fs::create_dir_all(&pack_dir).context("create the session's pack folder")?;
        packs.link_all(&session.project, &session.repository.packs, &pack_dir).await?;
        session.write_repository(service, hook_program, push_bytes_max).context("write the session repository")?;
        Ok(session)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn git_dir(&self) -> PathBuf {
        self.dir.path().join("repo.git")
    }

    /// Git in this repository; while a push is judged it also sees what was just received.
    pub fn git(&self) -> Command {
        let git_dir = self.git_dir();
        let mut command = program::git(&git_dir);
        if let Some(quarantine) = self.quarantine() {
            command.env("GIT_OBJECT_DIRECTORY", quarantine);
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", git_dir.join("objects"));
        }
        command
    }

    /// Where git keeps the received objects until `pre-receive` has ended.
    pub fn quarantine(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.git_dir().join("objects")).ok()?;
        let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_objdir-incoming-"));
        found.next().map(|entry| entry.path())
    }

    /// The received packs, in quarantine or after it.
    pub fn received_packs(&self) -> std::io::Result<Vec<PathBuf>> {
        let folder = self.quarantine().unwrap_or_else(|| self.git_dir().join("objects")).join("pack");
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut packs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("pack")) {
                packs.push(path);
            }
        }
        packs.sort();
        Ok(packs)
    }

    fn write_repository(&self, service: Service, hook_program: &[OsString], push_bytes_max: u64) -> anyhow::Result<()> {
        let repo = self.git_dir();
        for folder in ["refs/heads", "objects/info", "objects/pack", "hooks", "info"] {
            std::fs::create_dir_all(repo.join(folder))?;
        }
        let default: BranchName = self.repository.default_branch.parse().context("read the default branch")?;
        std::fs::write(repo.join("HEAD"), format!("ref: {}\n", default.as_ref_name()))?;
        std::fs::write(repo.join("objects/info/alternates"), "../../base\n")?;
        std::fs::write(repo.join("packed-refs"), self.packed_refs()?)?;
        std::fs::write(repo.join("config"), config(service, push_bytes_max))?;
        if service == Service::ReceivePack {
            for hook in crate::hook::NAMES {
                let path = repo.join("hooks").join(hook);
                std::fs::write(&path, wrapper(hook_program, hook))?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
            }
        }
        Ok(())
    }

    fn packed_refs(&self) -> anyhow::Result<String> {
        let mut refs = Vec::with_capacity(self.repository.refs.len());
        for entry in &self.repository.refs {
            let branch: BranchName = entry.name.strip_prefix("refs/heads/").context("read a ref")?.parse()?;
            let commit: CommitId = entry.commit.parse()?;
            refs.push((branch.as_ref_name(), commit));
        }
        refs.sort();
        // Branches point at commits, so nothing is to be peeled.
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_string();
        for (name, commit) in refs {
            writeln!(text, "{commit} {name}").expect("a String takes every write");
        }
        Ok(text)
    }
}

fn config(service: Service, push_bytes_max: u64) -> String {
    let mut text = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tlogAllRefUpdates = false\n\
                    [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
                    [pack]\n\tthreads = 1\n\twindowMemory = 64m\n\tpackSizeLimit = 0\n"
        .to_string();
    match service {
        Service::UploadPack => text.push_str("[uploadpack]\n\tallowFilter = true\n\tkeepAlive = 5\n"),
        Service::ReceivePack => {
            text.push_str(
                "[transfer]\n\tunpackLimit = 1\n[receive]\n\tunpackLimit = 1\n\tfsckObjects = true\n\tautogc = false\n\
                 \tupdateServerInfo = false\n\tdenyDeletes = false\n\tdenyNonFastForwards = false\n\
                 \tadvertisePushOptions = true\n\tadvertiseAtomic = true\n\tprocReceiveRefs = refs\n\tkeepAlive = 5\n",
            );
            writeln!(text, "\tmaxInputSize = {push_bytes_max}").expect("a String takes every write");
            // Old and harmless slips that stand in many real histories.
            text.push_str("[receive \"fsck\"]\n\tzeroPaddedFilemode = ignore\n\tbadTimezone = ignore\n\tmissingSpaceBeforeDate = ignore\n");
        }
    }
    text
}

/// The operator's own paths, quoted for the one line of shell that git's way of hooks asks for.
fn wrapper(program: &[OsString], hook: &str) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut line = b"#!/bin/sh\nexec".to_vec();
    for word in program {
        line.extend_from_slice(b" '");
        for byte in word.as_bytes() {
            match byte {
                b'\'' => line.extend_from_slice(b"'\\''"),
                byte => line.push(*byte),
            }
        }
        line.push(b'\'');
    }
    line.extend_from_slice(b" ");
    line.extend_from_slice(hook.as_bytes());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_line_survives_every_character_of_a_path() {
        let text = wrapper(&["/opt/it's $(odd)/slipway".into(), "__git-hook".into()], "pre-receive");
        assert_eq!(text, b"#!/bin/sh\nexec '/opt/it'\\''s $(odd)/slipway' '__git-hook' pre-receive\n");
    }
}
