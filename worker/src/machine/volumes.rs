//! Data volumes: made, copied at a moment, put back, destroyed; every step may be interrupted and asked for again.
//!
//! ```text
//!  <root>/volumes/<volume>              what containers write to
//!  <root>/volumes/.<volume>.other       on its way in before a swap, on its way out after it
//!  <root>/snapshots/<snapshot>/<volume> read-only; the directory gets its name when the set is complete
//! ```

use super::error::{Error, Result};
use super::places::Places;
use super::volume_disk::{self, Btrfs, Copier, Directories};
use slipway_model::{SnapshotId, VolumeId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// How volumes are kept.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    pub places: Places,
    /// Size of the loop file, where the data directory is not on btrfs; it grows when this grows, and never shrinks.
    pub loop_file_mb: u64,
    /// Plain directories, whatever the disk is.
    pub force_directories: bool,
    /// Hold each volume to its size (on the loop file; on the operator's btrfs only where quotas are on already).
    pub quota: bool,
}

/// One volume as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    pub id: VolumeId,
    pub path: PathBuf,
    pub snapshots: Vec<SnapshotId>,
}

/// Keeps volumes. Every call may be repeated after a crash.
#[async_trait::async_trait]
pub trait VolumeDriver: Send + Sync + std::fmt::Debug {
    /// Make it when absent, set its size; its root directory, owned by id 0 on disk.
    async fn ensure(&self, volume: &VolumeId, size_mb: u64) -> Result<PathBuf>;
    /// Read-only copies under one name, one right after the other: pause the writers where one moment matters.
    async fn snapshot(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()>;
    /// Put volumes back, all or none; nothing may have them mounted. A volume that the snapshot does not know is left alone.
    async fn restore(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()>;
    /// Forget a snapshot of all its volumes.
    async fn drop_snapshot(&self, snapshot: &SnapshotId) -> Result<()>;
    /// The volume and its snapshots, for good.
    async fn destroy(&self, volume: &VolumeId) -> Result<()>;
    /// What there is.
    async fn list(&self) -> Result<Vec<VolumeInfo>>;
    /// What the disk has left.
    async fn free_bytes(&self) -> Result<u64>;
    /// Sizes are enforced.
    fn enforces_sizes(&self) -> bool;
}

/// Copies share their bytes and cost milliseconds.
pub type BtrfsVolumes = Volumes<Btrfs>;
/// The fallback: copies are copies (reflinks where the disk can).
pub type DirectoryVolumes = Volumes<Directories>;

/// The best driver for this machine; mounts what must be mounted.
pub async fn open_volumes(options: VolumeOptions) -> Result<Arc<dyn VolumeDriver>> {
    if options.force_directories {
        let root = options.places.data.join("volume-directories");
        return Ok(Arc::new(Volumes::open(root, Directories).await?));
    }
    let (root, quota) = volume_disk::prepare(&options).await?;
    Ok(Arc::new(Volumes::open(root.clone(), Btrfs::new(&root, quota).await?).await?))
}

/// The layout on disk, whatever makes the copies.
#[derive(Debug)]
pub struct Volumes<C> {
    root: PathBuf,
    copier: C,
    /// One change at a time; they are short.
    changing: Mutex<()>,
}

impl<C: Copier> Volumes<C> {
    /// Make the layout, and finish what a crash interrupted.
    async fn open(root: PathBuf, copier: C) -> Result<Volumes<C>> {
        let volumes = Volumes { root, copier, changing: Mutex::new(()) };
        for part in ["volumes", "snapshots"] {
            let dir = volumes.root.join(part);
            std::fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
            for name in names(&dir)?.into_iter().filter(|name| name.starts_with('.')) {
                volumes.remove(&dir.join(name)).await?;
            }
        }
        Ok(volumes)
    }

    fn volume(&self, id: &VolumeId) -> PathBuf {
        self.root.join("volumes").join(id.as_str())
    }

    fn other(&self, id: &VolumeId) -> PathBuf {
        self.root.join("volumes").join(format!(".{id}.other"))
    }

    fn set(&self, id: &SnapshotId) -> PathBuf {
        self.root.join("snapshots").join(id.as_str())
    }

    /// A volume, or a directory of volumes, which may be half made.
    async fn remove(&self, path: &Path) -> Result<()> {
        if !path.exists() || self.copier.delete(path).await? {
            return Ok(());
        }
        for name in names(path)? {
            self.copier.delete(&path.join(name)).await?;
        }
        std::fs::remove_dir_all(path).map_err(Error::io("remove", path))
    }

    /// Hide it first, so that nobody finds half of it.
    async fn hide_and_remove(&self, path: &Path) -> Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".gone");
        let hidden = path.with_file_name(hidden);
        self.remove(&hidden).await?;
        match std::fs::rename(path, &hidden) {
            Ok(()) => self.remove(&hidden).await,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove", path)(e)),
        }
    }
}

#[async_trait::async_trait]
impl<C: Copier> VolumeDriver for Volumes<C> {
    async fn ensure(&self, volume: &VolumeId, size_mb: u64) -> Result<PathBuf> {
        let _turn = self.changing.lock().await;
        let path = self.volume(volume);
        if !path.exists() {
            self.copier.make(&path).await?;
        }
        self.copier.limit(&path, size_mb).await?;
        Ok(path)
    }

    async fn snapshot(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()> {
        let _turn = self.changing.lock().await;
        let set = self.set(snapshot);
        if set.exists() {
            return match volumes.iter().find(|id| !set.join(id.as_str()).exists()) {
                Some(id) => Err(Error::Invalid(format!("snapshot {snapshot} exists without volume {id}: take another name"))),
                None => Ok(()),
            };
        }
        let part = set.with_file_name(format!(".{snapshot}.part"));
        self.remove(&part).await?;
        std::fs::create_dir(&part).map_err(Error::io("make", &part))?;
        for id in volumes {
            self.copier.copy(&self.volume(id), &part.join(id.as_str()), true).await?;
        }
        self.copier.sync(&part).await?;
        std::fs::rename(&part, &set).map_err(Error::io("name", &set))?;
        self.copier.sync(&set).await
    }

    async fn restore(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()> {
        let _turn = self.changing.lock().await;
        let set = self.set(snapshot);
        if !set.exists() {
            return Err(Error::Invalid(format!("snapshot {snapshot} does not exist on this node")));
        }
        let known: Vec<&VolumeId> = volumes.iter().filter(|id| set.join(id.as_str()).exists()).collect();
        for id in &known {
            self.remove(&self.other(id)).await?;
            self.copier.copy(&set.join(id.as_str()), &self.other(id), false).await?;
            self.copier.inherit_limit(&self.volume(id), &self.other(id)).await?;
        }
        self.copier.sync(&self.root).await?;
        for id in &known {
            swap(&self.other(id), &self.volume(id))?;
        }
        self.copier.sync(&self.root).await?;
        for id in &known {
            self.remove(&self.other(id)).await?;
        }
        Ok(())
    }

    async fn drop_snapshot(&self, snapshot: &SnapshotId) -> Result<()> {
        let _turn = self.changing.lock().await;
        self.hide_and_remove(&self.set(snapshot)).await
    }

    async fn destroy(&self, volume: &VolumeId) -> Result<()> {
        let _turn = self.changing.lock().await;
        self.hide_and_remove(&self.volume(volume)).await?;
        let sets = self.root.join("snapshots");
        for name in names(&sets)? {
            let set = sets.join(name);
            self.remove(&set.join(volume.as_str())).await?;
            // Only an empty one goes.
            let _ = std::fs::remove_dir(&set);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>> {
        let sets = self.root.join("snapshots");
        let known: Vec<SnapshotId> = names(&sets)?.iter().filter_map(|name| name.parse().ok()).collect();
        let ids = names(&self.root.join("volumes"))?.into_iter().filter_map(|name| name.parse::<VolumeId>().ok());
        Ok(ids
            .map(|id| VolumeInfo {
                path: self.volume(&id),
                snapshots: known.iter().filter(|set| self.set(set).join(id.as_str()).exists()).cloned().collect(),
                id,
            })
            .collect())
    }

    async fn free_bytes(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root).map_err(|e| Error::io("look at", &self.root)(e.into()))?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }

    fn enforces_sizes(&self) -> bool {
        self.copier.enforces_sizes()
    }
}

/// Exchange two names in one step; where the second does not exist, the first takes it.
fn swap(new: &Path, old: &Path) -> Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    if !old.exists() {
        return std::fs::rename(new, old).map_err(Error::io("put back", old));
    }
    renameat2(AT_FDCWD, new, AT_FDCWD, old, RenameFlags::RENAME_EXCHANGE).map_err(|e| Error::io("put back", old)(e.into()))
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn driver(dir: &Path) -> DirectoryVolumes {
        Volumes::open(dir.to_path_buf(), Directories).await.unwrap()
    }

    #[tokio::test]
    async fn a_restored_volume_has_the_snapshots_content_and_a_torso_is_swept_away() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = driver(dir.path()).await;
        let (a, b): (VolumeId, VolumeId) = ("vol-a".parse().unwrap(), "vol-b".parse().unwrap());
        let before: SnapshotId = "snap-1".parse().unwrap();
        let path = volumes.ensure(&a, 10).await.unwrap();
        std::fs::write(path.join("file"), "old").unwrap();
        volumes.ensure(&b, 10).await.unwrap();
        volumes.snapshot(&before, &[a.clone(), b.clone()]).await.unwrap();
        volumes.snapshot(&before, &[a.clone(), b.clone()]).await.unwrap();
        std::fs::write(path.join("file"), "new").unwrap();
        // As after a kill in the middle of a restore and of a snapshot.
        std::fs::create_dir_all(dir.path().join("volumes/.vol-a.other/x")).unwrap();
        std::fs::create_dir_all(dir.path().join("snapshots/.snap-2.part/vol-a")).unwrap();
        let volumes = driver(dir.path()).await;
        volumes.restore(&before, &[a.clone(), b.clone()]).await.unwrap();
        assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), "old");
        let listed = volumes.list().await.unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].snapshots, std::slice::from_ref(&before));
        volumes.destroy(&a).await.unwrap();
        volumes.destroy(&a).await.unwrap();
        assert_eq!(volumes.list().await.unwrap().len(), 1);
        volumes.drop_snapshot(&before).await.unwrap();
        volumes.drop_snapshot(&before).await.unwrap();
        assert!(volumes.restore(&before, &[b]).await.is_err());
        assert_eq!(names(&dir.path().join("volumes")).unwrap(), ["vol-b"]);
        assert!(names(&dir.path().join("snapshots")).unwrap().is_empty());
    }
}
