//! Finds the shared corpus, reads a folder as a tree, tells the time a thread has worked.

use slipway_manifest::{Tree, TreeEntry, TreeError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `SLIPWAY_SHARED`, or the folder `shared` beside one of the folders above this crate.
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn shared() -> PathBuf {
    if let Some(path) = std::env::var_os("SLIPWAY_SHARED") {
        let path = PathBuf::from(path);
        assert!(
            path.join("corpus").is_dir(),
            "SLIPWAY_SHARED={} holds no folder corpus",
            path.display()
        );
        return path;
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared"))
        .find(|folder| folder.join("corpus").is_dir())
        .expect("no folder shared/corpus above this crate: set SLIPWAY_SHARED to the shared folder")
}

/// A folder on disk.
#[allow(dead_code, reason = "each test takes what it needs")]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<String, u64>,
}

#[allow(dead_code, reason = "each test takes what it needs")]
impl Folder {
    pub fn open(root: &Path) -> Folder {
        let mut files = BTreeMap::new();
        let mut pending = vec![root.to_path_buf()];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                let entry = entry.expect("entry");
                let kind = entry.file_type().expect("type");
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if kind.is_file() {
                    let path = entry.path();
                    let name = path
                        .strip_prefix(root)
                        .expect("below the root")
                        .to_str()
                        .expect("UTF-8")
                        .to_owned();
                    files.insert(name, entry.metadata().expect("metadata").len());
                }
            }
        }
        Folder {
            root: root.to_path_buf(),
            files,
        }
    }
}

impl Tree for Folder {
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self
            .files
            .iter()
            .map(|(path, size)| TreeEntry {
                path: path.clone(),
                size: *size,
            })
            .collect())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        let size = *self.files.get(path).ok_or(TreeError::NotFound)?;
        if size > limit {
            return Err(TreeError::TooLarge { limit });
        }
        std::fs::read(self.root.join(path))
            .map_err(|error| TreeError::Unreadable(error.to_string()))
    }
}

/// How long this thread has worked.
#[allow(dead_code, reason = "each test takes what it needs")]
pub fn processor_time() -> std::time::Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let nanoseconds = statistics
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .expect("nanoseconds");
    std::time::Duration::from_nanos(nanoseconds)
}
