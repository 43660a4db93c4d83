//! A log file that never grows without end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// Bytes of one file; there are two of each role.
const FILE_BYTES_MAX: u64 = 20 << 20;

/// Appends lines; beyond the bound the file becomes `<name>.1` and a fresh one begins.
pub struct RotatingLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl RotatingLog {
    pub fn open(path: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    /// A line that cannot be written is lost: a full disk must not stop the role.
    pub fn write_line(&mut self, line: &[u8]) {
        if self.bytes > FILE_BYTES_MAX {
            let _ = std::fs::rename(&self.path, self.path.with_extension("log.1"));
            if let Ok(fresh) = Self::open(self.path.clone()) {
                *self = fresh;
            }
        }
        let mut bytes = line.to_vec();
        bytes.push(b'\n');
        if self.file.write_all(&bytes).is_ok() {
            self.bytes += bytes.len() as u64;
        }
    }
}
