//! Output of containers in files: the shim appends to them, we keep them short.

use super::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};
use std::time::Duration;

/// A container's output; the shim appends to it and we empty it beyond, keeping the tail.
pub const LOG_BYTES_MAX: u64 = 100 << 20;
/// What is kept when a log is emptied.
const LOG_TAIL_BYTES: u64 = 1 << 20;
/// Between two looks at the logs' sizes.
const LOG_WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Files that are watched.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    paths: Mutex<BTreeSet<PathBuf>>,
}

impl Logs {
    pub(crate) fn add(&self, path: PathBuf) {
        self.paths.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(path);
    }

    /// Shorten what is too long, forget what is gone.
    fn look(&self, bytes_max: u64) {
        let paths = self.paths.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for path in paths {
            match bound_log(&path, bytes_max) {
                Ok(_) => {}
                Err(error) if error.is_absent() => {
                    self.paths.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&path);
                }
                Err(error) => tracing::warn!(%error, "a log could not be shortened"),
            }
        }
    }
}

/// Until nobody uses these logs any more.
pub(crate) async fn watch(logs: Weak<Logs>) {
    loop {
        tokio::time::sleep(LOG_WATCH_INTERVAL).await;
        let Some(logs) = logs.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || logs.look(LOG_BYTES_MAX)).await;
        if let Err(error) = looked {
            tracing::warn!(%error, "the logs could not be looked at");
        }
    }
}

/// `file:///path`, which the shim opens itself, so that output needs no worker.
pub(crate) fn file_url(log: &Path) -> Result<String> {
    let text = log.to_str().filter(|text| text.starts_with('/') && !text.contains(['?', '#', '%', ' ']));
    let text = text.ok_or_else(|| Error::Invalid(format!("{} cannot be a log file: it must be a plain absolute path", log.display())))?;
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(Error::io("make", log))?;
    Ok(format!("file://{text}"))
}

/// Shorten a file that others append to: its tail is kept. Lines written in between may be lost.
pub fn bound_log(path: &Path, bytes_max: u64) -> Result<bool> {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut file = std::fs::OpenOptions::new().read(true).append(true).open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("look at", path))?.len();
    if length <= bytes_max {
        return Ok(false);
    }
    let keep = LOG_TAIL_BYTES.min(bytes_max / 2);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length - keep)).map_err(Error::io("read", path))?;
    (&mut file).take(keep).read_to_end(&mut tail).map_err(Error::io("read", path))?;
    let from = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(0).map_err(Error::io("shorten", path))?;
    file.write_all(&tail[from..]).map_err(Error::io("write", path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_too_long_keeps_whole_lines_of_its_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "0123456789\n".repeat(100)).unwrap();
        assert!(!bound_log(&path, 2000).unwrap());
        assert!(bound_log(&path, 100).unwrap());
        let rest = std::fs::read_to_string(&path).unwrap();
        assert!(rest.len() <= 50 && rest.lines().all(|line| line == "0123456789"), "{rest}");
    }

    #[test]
    fn a_log_path_that_a_url_would_misread_is_refused() {
        for bad in ["relative", "/a?b", "/a b", "/a%20b"] {
            assert!(file_url(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
