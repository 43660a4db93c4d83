//! A folder on disk as the checker sees a pushed tree.

use super::failure::Failure;
use slipway_manifest::{Tree, TreeEntry, TreeError};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// As many as a push may have.
const FILES_MAX: usize = 500_000;
/// No repository nests deeper, and a path must fit the kernel's 4096 bytes.
const DEPTH_MAX: usize = 128;

/// The regular files below a folder.
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<String, u64>,
    /// Repositories inside the repository: a push refuses them.
    pub submodules: Vec<String>,
}

impl Folder {
    /// Looks around. In a git repository what git ignores is left out, since it is not pushed.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let mut folder = Self { root: root.to_path_buf(), files: BTreeMap::new(), submodules: Vec::new() };
        let unreadable = |error: std::io::Error| Failure::blind("could not look at the folder", error).at(root.display());
        if !fs::metadata(root).map_err(unreadable)?.is_dir() {
            return Err(Failure::blind("could not look at the folder", "it is a file").at(root.display()).help("name the folder that holds it"));
        }
        match listed_by_git(root) {
            Some(paths) => folder.take(paths)?,
            None => folder.walk()?,
        }
        Ok(folder)
    }

    fn take(&mut self, paths: Vec<String>) -> Result<(), Failure> {
        for path in paths {
            let whole = self.root.join(path.trim_end_matches('/'));
            // What git knows and the disk has no more is being deleted.
            let Ok(metadata) = fs::symlink_metadata(&whole) else { continue };
            if metadata.is_dir() {
                self.submodules.push(path.trim_end_matches('/').to_string());
            } else if metadata.is_file() {
                self.add(path, metadata.len())?;
            }
        }
        Ok(())
    }

    fn walk(&mut self) -> Result<(), Failure> {
        let mut pending = vec![(self.root.clone(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = pending.pop() {
            let failed = |error: std::io::Error| Failure::blind("could not look at a folder", error).at(folder.display());
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                // A name that is no text cannot be a file that is looked for.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = format!("{prefix}{name}");
                if name == ".git" {
                    continue;
                }
                if kind.is_dir() {
                    if entry.path().join(".git").symlink_metadata().is_ok() {
                        self.submodules.push(path);
                    } else if depth == DEPTH_MAX {
                        return Err(Failure::blind("could not look at the whole folder", format!("it nests deeper than {DEPTH_MAX}")).at(folder.display()));
                    } else {
                        pending.push((entry.path(), format!("{path}/"), depth + 1));
                    }
                } else if kind.is_file() {
                    self.add(path, entry.metadata().map_err(failed)?.len())?;
                }
            }
        }
        self.submodules.sort();
        Ok(())
    }

    fn add(&mut self, path: String, size: u64) -> Result<(), Failure> {
        if self.files.len() == FILES_MAX {
            return Err(Failure::blind("could not look at the whole folder", format!("it holds more than {FILES_MAX} files"))
                .at(self.root.display())
                .help("name the folder of the project"));
        }
        self.files.insert(path, size);
        Ok(())
    }
}

impl Tree for Folder {
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self.files.iter().map(|(path, size)| TreeEntry { path: path.clone(), size: *size }).collect())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        let size = *self.files.get(path).ok_or(TreeError::NotFound)?;
        if size > limit {
            return Err(TreeError::TooLarge { limit });
        }
        let unreadable = |error: std::io::Error| TreeError::Unreadable(error.to_string());
        // A link put there since the listing is not followed, and a pipe does not hang the reader.
        let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(self.root.join(path)).map_err(unreadable)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > limit { Err(TreeError::TooLarge { limit }) } else { Ok(bytes) }
    }
}

/// What a commit of everything would hold; `None` where the folder is no repository of its own or git cannot tell.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    root.join(".git").symlink_metadata().ok()?;
    let output = Command::new("git")
        // The repository's own configuration must not have anything run.
        .args(["-c", "core.fsmonitor=false", "-C"])
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let paths = output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Some(paths.filter_map(|path| std::ffi::OsStr::from_bytes(path).to_str().map(str::to_string)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("slipway-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("sub/.hidden")).unwrap();
        dir
    }

    #[test]
    fn links_are_not_followed_and_repositories_inside_are_named() {
        let dir = scratch("walk");
        fs::write(dir.join("sub/.hidden/a"), "x").unwrap();
        fs::create_dir_all(dir.join("inner/.git")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("passwd")).unwrap();
        let folder = Folder::open(&dir).unwrap();
        assert_eq!(folder.list().unwrap(), [TreeEntry { path: "sub/.hidden/a".into(), size: 1 }]);
        assert_eq!(folder.submodules, ["inner"]);
        assert!(matches!(folder.read("passwd", 9), Err(TreeError::NotFound)));
        fs::write(dir.join("sub/.hidden/a"), "xyz").unwrap();
        assert!(matches!(folder.read("sub/.hidden/a", 2), Err(TreeError::TooLarge { limit: 2 })));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn in_a_repository_what_git_ignores_is_not_judged() {
        let dir = scratch("git");
        assert!(Command::new("git").args(["init", "-q"]).arg(&dir).status().unwrap().success());
        fs::write(dir.join(".gitignore"), "sub/\n").unwrap();
        fs::write(dir.join("sub/ignored"), "x").unwrap();
        fs::write(dir.join("new"), "x").unwrap();
        let paths: Vec<String> = Folder::open(&dir).unwrap().list().unwrap().into_iter().map(|entry| entry.path).collect();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(paths, [".gitignore", "new"]);
    }
}
