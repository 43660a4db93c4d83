//! The disk below volumes: btrfs, in a loop file where the machine has none, or plain directories.

use super::error::{Error, Result};
use super::places::Places;
use super::program::run;
use super::rootfs;
use super::volumes::VolumeOptions;
use std::path::{Path, PathBuf};

/// The kernel's number for btrfs.
const BTRFS_MAGIC: i64 = 0x9123_683e;
/// The subvolume's own directory has this inode; by it one is told from a plain directory.
const SUBVOLUME_INODE: u64 = 256;
/// mkfs.btrfs takes no less.
const LOOP_FILE_MB_MIN: u64 = 256;

/// Makes, copies and deletes one volume.
#[async_trait::async_trait]
pub trait Copier: Send + Sync + std::fmt::Debug {
    async fn make(&self, path: &Path) -> Result<()>;
    async fn copy(&self, from: &Path, to: &Path, readonly: bool) -> Result<()>;
    /// False: it is not a volume, and still there.
    async fn delete(&self, path: &Path) -> Result<bool>;
    async fn limit(&self, path: &Path, size_mb: u64) -> Result<()>;
    /// The second gets the limit that the first has.
    async fn inherit_limit(&self, from: &Path, to: &Path) -> Result<()>;
    /// What was done below is on the disk.
    async fn sync(&self, path: &Path) -> Result<()>;
    fn enforces_sizes(&self) -> bool;
}

/// Subvolumes of btrfs.
#[derive(Debug)]
pub struct Btrfs {
    quota: bool,
}

/// Plain directories.
#[derive(Debug)]
pub struct Directories;

/// The loop file of a platform.
pub(crate) fn loop_file(places: &Places) -> PathBuf {
    places.data.join("volumes.img")
}

/// Where volumes live, mounted; and whether quotas may be used there.
pub(crate) async fn prepare(options: &VolumeOptions) -> Result<(PathBuf, bool)> {
    let places = &options.places;
    let root = places.data.join("volumes");
    std::fs::create_dir_all(&root).map_err(Error::io("make", &root))?;
    if rootfs::is_mounted(&root)? {
        grow(options, &root).await?;
        return Ok((root, options.quota));
    }
    if is_btrfs(&places.data)? {
        let on_already = options.quota && run("btrfs", &["qgroup", "show", text(&root)?]).await.is_ok();
        return Ok((root, on_already));
    }
    let file = loop_file(places);
    if !file.exists() {
        make_loop_file(&file, options.loop_file_mb.max(LOOP_FILE_MB_MIN)).await?;
    }
    let device = match loop_devices(&file).await?.into_iter().next() {
        Some(device) => device,
        None => attach(&file).await?,
    };
    let flags = nix::mount::MsFlags::MS_NOATIME | nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOSUID;
    nix::mount::mount(Some(device.as_str()), &root, Some("btrfs"), flags, None::<&str>)
        .map_err(|e| Error::io("mount the volumes on", &root)(e.into()))?;
    grow(options, &root).await?;
    if options.quota {
        run("btrfs", &["quota", "enable", text(&root)?]).await?;
    }
    Ok((root, options.quota))
}

/// Space is taken at once: a volume that fails to write because another file grew is worse than a clear refusal here.
async fn make_loop_file(file: &Path, size_mb: u64) -> Result<()> {
    let part = file.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let made = async {
        run("fallocate", &["--length", &format!("{size_mb}MiB"), text(&part)?]).await?;
        run("mkfs.btrfs", &["--quiet", "--force", text(&part)?]).await?;
        let opened = std::fs::File::open(&part).map_err(Error::io("open", &part))?;
        opened.sync_all().map_err(Error::io("write", &part))?;
        std::fs::rename(&part, file).map_err(Error::io("name", file))
    };
    let result = made.await;
    if result.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    result
}

async fn attach(file: &Path) -> Result<String> {
    let path = text(file)?;
    // Without direct writes the page cache holds everything twice; some file systems cannot.
    let direct = run("losetup", &["--find", "--show", "--direct-io=on", path]).await;
    let device = match direct {
        Ok(output) => output,
        Err(_) => run("losetup", &["--find", "--show", path]).await?,
    };
    Ok(device.stdout.trim().to_string())
}

/// The file is smaller than the option says: make it larger, with everything on it in use.
async fn grow(options: &VolumeOptions, root: &Path) -> Result<()> {
    let file = loop_file(&options.places);
    let wanted = options.loop_file_mb << 20;
    let Ok(length) = std::fs::metadata(&file).map(|m| m.len()) else { return Ok(()) };
    if length >= wanted {
        return Ok(());
    }
    run("fallocate", &["--length", &wanted.to_string(), text(&file)?]).await?;
    for device in loop_devices(&file).await? {
        run("losetup", &["--set-capacity", &device]).await?;
    }
    run("btrfs", &["filesystem", "resize", "max", text(root)?]).await.map(|_| ())
}

/// Loop devices on a file.
pub(crate) async fn loop_devices(file: &Path) -> Result<Vec<String>> {
    if !file.exists() {
        return Ok(vec![]);
    }
    let listed = run("losetup", &["--noheadings", "--output", "NAME", "--associated", text(file)?]).await?;
    Ok(listed.stdout.lines().map(|line| line.trim().to_string()).filter(|name| !name.is_empty()).collect())
}

fn is_btrfs(path: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(path).map_err(|e| Error::io("look at", path)(e.into()))?;
    Ok(stat.filesystem_type().0 as i64 == BTRFS_MAGIC)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::Invalid(format!("{} is not UTF-8", path.display())))
}

impl Btrfs {
    /// `root`: any directory on the file system. Quota groups whose subvolume is gone are swept away.
    pub(crate) async fn new(root: &Path, quota: bool) -> Result<Btrfs> {
        if quota {
            let shown = run("btrfs", &["qgroup", "show", text(root)?]).await?.stdout;
            for line in shown.lines().filter(|line| line.contains("<stale>")) {
                if let Some(group) = line.split_ascii_whitespace().next() {
                    // One that is still being cleaned is busy; the next start takes it.
                    let _ = run("btrfs", &["qgroup", "destroy", group, text(root)?]).await;
                }
            }
        }
        Ok(Btrfs { quota })
    }

    /// Referenced bytes at most, as the quota group has it.
    async fn limit_of(&self, path: &Path) -> Result<Option<String>> {
        let shown = run("btrfs", &["qgroup", "show", "-f", "-r", "--raw", text(path)?]).await?.stdout;
        let last = shown.lines().rfind(|line| line.starts_with("0/"));
        let limit = last.and_then(|line| line.split_ascii_whitespace().nth(3)).filter(|limit| limit.parse::<u64>().is_ok());
        Ok(limit.map(str::to_string))
    }
}

#[async_trait::async_trait]
impl Copier for Btrfs {
    async fn make(&self, path: &Path) -> Result<()> {
        run("btrfs", &["subvolume", "create", text(path)?]).await.map(|_| ())
    }

    async fn copy(&self, from: &Path, to: &Path, readonly: bool) -> Result<()> {
        let mut arguments = vec!["subvolume", "snapshot"];
        if readonly {
            arguments.push("-r");
        }
        arguments.extend([text(from)?, text(to)?]);
        run("btrfs", &arguments).await.map(|_| ())
    }

    async fn delete(&self, path: &Path) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(Error::io("look at", path)(e)),
        };
        if metadata.ino() != SUBVOLUME_INODE {
            return Ok(false);
        }
        run("btrfs", &["subvolume", "delete", text(path)?]).await?;
        Ok(true)
    }

    async fn limit(&self, path: &Path, size_mb: u64) -> Result<()> {
        if self.quota {
            run("btrfs", &["qgroup", "limit", &(size_mb.max(1) << 20).to_string(), text(path)?]).await?;
        }
        Ok(())
    }

    async fn inherit_limit(&self, from: &Path, to: &Path) -> Result<()> {
        if !self.quota || !from.exists() {
            return Ok(());
        }
        match self.limit_of(from).await? {
            Some(limit) => run("btrfs", &["qgroup", "limit", &limit, text(to)?]).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn sync(&self, path: &Path) -> Result<()> {
        run("btrfs", &["filesystem", "sync", text(path)?]).await.map(|_| ())
    }

    fn enforces_sizes(&self) -> bool {
        self.quota
    }
}

#[async_trait::async_trait]
impl Copier for Directories {
    async fn make(&self, path: &Path) -> Result<()> {
        std::fs::create_dir(path).map_err(Error::io("make", path))
    }

    async fn copy(&self, from: &Path, to: &Path, _readonly: bool) -> Result<()> {
        run("cp", &["--archive", "--reflink=auto", "--no-target-directory", "--", text(from)?, text(to)?]).await.map(|_| ())
    }

    async fn delete(&self, path: &Path) -> Result<bool> {
        let path = path.to_path_buf();
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
            _ => Ok(true),
        });
        removed.await.map_err(|e| Error::Invalid(format!("removing a volume was interrupted: {e}")))?
    }

    async fn limit(&self, _path: &Path, _size_mb: u64) -> Result<()> {
        Ok(())
    }

    async fn inherit_limit(&self, _from: &Path, _to: &Path) -> Result<()> {
        Ok(())
    }

    async fn sync(&self, path: &Path) -> Result<()> {
        run("sync", &["--file-system", text(path)?]).await.map(|_| ())
    }

    fn enforces_sizes(&self) -> bool {
        false
    }
}
