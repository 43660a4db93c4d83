//! Data volumes.

use super::error::{Error, Result};
use super::places::Places;
use slipway_model::{SnapshotId, VolumeId};
use std::path::PathBuf;
use std::sync::Arc;

/// How volumes are kept.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    pub places: Places,
    /// Size of the loop file, where the data directory is not on btrfs.
    pub loop_file_mb: u64,
    /// Plain directories, whatever the disk is.
    pub force_directories: bool,
    /// Hold each volume to its size.
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
    /// Make it when absent; its root directory, owned by id 0 on disk.
    async fn ensure(&self, volume: &VolumeId, size_mb: u64) -> Result<PathBuf>;
    /// Read-only copies under one name, one right after the other: pause the writers where one moment matters.
    async fn snapshot(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()>;
    /// Put volumes back; nothing may have them mounted. A volume that the snapshot does not know is left alone.
    async fn restore(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<()>;
    async fn drop_snapshot(&self, snapshot: &SnapshotId) -> Result<()>;
    /// The volume and its snapshots, for good.
    async fn destroy(&self, volume: &VolumeId) -> Result<()>;
    async fn list(&self) -> Result<Vec<VolumeInfo>>;
    async fn free_bytes(&self) -> Result<u64>;
    /// Sizes are enforced.
    fn enforces_sizes(&self) -> bool;
}

/// The best driver for this machine.
pub async fn open_volumes(_options: VolumeOptions) -> Result<Arc<dyn VolumeDriver>> {
    Err(Error::Invalid("not yet".into()))
}

#[derive(Debug)]
pub struct BtrfsVolumes {}
#[derive(Debug)]
pub struct DirectoryVolumes {}
