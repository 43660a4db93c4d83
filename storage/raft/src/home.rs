//! The directory of one node: whose it is, what wrote it, and who holds it now.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Raised when the layout of the directory changes in a way that older programs cannot read.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u64,
    node: u64,
}

/// The opened directory; the lock goes with it.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    _lock: Flock<File>,
}

impl Home {
    /// Takes the lock, then checks that the directory is this node's and of a format we read.
    pub(crate) fn open(dir: &Path, node: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let lock = lock(dir)?;
        let path = dir.join("FORMAT");
        match fs::read(&path) {
            Ok(bytes) => check(dir, &path, &bytes, node)?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                refuse_strangers(dir)?;
                let marker = serde_json::to_vec(&Marker { format: FORMAT, node }).expect("plain data");
                write_whole(&path, &marker)?;
            }
            Err(e) => return Err(StoreError::io("read", &path)(e)),
        }
        for folder in [dir.join("log"), dir.join("snapshots")] {
            fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        }
        sync_dir(dir)?;
        // The directory itself is an entry of its parent: without this a power cut may take it whole.
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(Self { dir: dir.into(), _lock: lock })
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, StoreError> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut held) => {
            let write = |file: &mut File| {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(std::process::id().to_string().as_bytes())
            };
            write(&mut held).map_err(StoreError::io("write", &path))?;
            Ok(held)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut pid);
            let holder = match pid.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            };
            Err(StoreError::Locked { dir: dir.into(), lock: path, holder })
        }
        Err((_, errno)) => Err(StoreError::io("lock", &path)(errno.into())),
    }
}

fn check(dir: &Path, path: &Path, bytes: &[u8], node: u64) -> Result<(), StoreError> {
    let marker: Marker = serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Corrupt { path: path.into(), detail: format!("its FORMAT file does not read: {e}") })?;
    if marker.format != FORMAT {
        return Err(StoreError::Format { path: path.into(), found: marker.format, known: FORMAT });
    }
    if marker.node != node {
        return Err(StoreError::OtherNode { dir: dir.into(), stored: marker.node, asked: node });
    }
    Ok(())
}

/// A mistyped path must not fill somebody else's directory.
fn refuse_strangers(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        // `lost+found`: a ledger may have a file system of its own. `FORMAT.part`: a power cut at the first start.
        if !["LOCK", "lost+found", "FORMAT.part"].iter().any(|ours| name == *ours) {
            return Err(StoreError::NotALedger { dir: dir.into(), found: name.to_string_lossy().into_owned() });
        }
    }
    Ok(())
}

/// Writes a file so that it is either absent or whole, also after a power cut.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let part = path.with_extension("part");
    let mut file = File::create(&part).map_err(StoreError::io("create", &part))?;
    file.write_all(bytes).map_err(StoreError::io("write", &part))?;
    file.sync_all().map_err(StoreError::io("sync", &part))?;
    fs::rename(&part, path).map_err(StoreError::io("rename", &part))?;
    sync_dir(path.parent().expect("a file has a directory"))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))
}
