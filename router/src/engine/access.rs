//! The access log: one JSON line per request, bounded and rotated; a slow disk loses lines, never requests.

use super::clock::Clock;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Lines that wait for the disk.
const LINES_WAITING_MAX: usize = 4096;

/// Size at which a file is put aside.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Files put aside that are kept.
const FILES_KEPT: u32 = 3;

/// Longest path in a line.
const PATH_BYTES_MAX: usize = 2048;

#[derive(Debug, Default, Serialize)]
struct Fields {
    unix_us: i64,
    client: Option<IpAddr>,
    method: String,
    host: String,
    path: String,
    status: u16,
    bytes: u64,
    duration_us: u64,
    held_us: u64,
    environment: String,
    release: String,
    instance: String,
}

/// The log; cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// Appends to this file from a thread of its own.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = Rotated::open(path.to_path_buf())?;
        let (lines, receiver) = sync_channel(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(file, &receiver, &counter))?;
        Ok(Self { lines, lost })
    }

    /// Begins the line of a request.
    pub fn line(&self, client: IpAddr, method: &http::Method, host: &str, path: &str) -> AccessLine {
        let mut end = path.len().min(PATH_BYTES_MAX);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        let fields = Fields {
            unix_us: Clock::unix_us(),
            client: Some(client),
            method: method.to_string(),
            host: host.to_string(),
            path: path[..end].to_string(),
            ..Fields::default()
        };
        AccessLine { log: self.clone(), fields, begun: std::time::Instant::now(), bytes: 0 }
    }
}

/// One line; written when it is dropped, at the end of the answer.
#[derive(Debug)]
pub struct AccessLine {
    log: AccessLog,
    fields: Fields,
    begun: std::time::Instant,
    /// Bytes of the answer's body so far.
    pub bytes: u64,
}

impl AccessLine {
    /// The answer's status.
    pub fn status(&mut self, status: http::StatusCode) {
        self.fields.status = status.as_u16();
    }
    /// How long it was held.
    pub fn held(&mut self, us: u64) {
        self.fields.held_us = us;
    }
    /// Who answered.
    pub fn by(&mut self, environment: &str, release: &str, instance: &str) {
        self.fields.environment = environment.to_string();
        self.fields.release = release.to_string();
        self.fields.instance = instance.to_string();
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        self.fields.bytes = self.bytes;
        self.fields.duration_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Ok(line) = serde_json::to_string(&self.fields) else { return };
        if let Err(TrySendError::Full(_)) = self.log.lines.try_send(line) {
            self.log.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut file: Rotated, lines: &Receiver<String>, lost: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        let mut written = file.write(&line);
        for line in lines.try_iter().take(LINES_WAITING_MAX) {
            written = written.and_then(|()| file.write(&line));
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            written = written.and_then(|()| file.write(&format!("{{\"lines_lost\":{missing}}}")));
        }
        if let Err(e) = written.and_then(|()| file.flush()) {
            tracing::warn!("access log {}: {e}; the line is lost", file.path.display());
        }
    }
}

#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: io::BufWriter<File>,
    bytes: u64,
}

impl Rotated {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file: io::BufWriter::new(file), bytes })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.rotate()?;
        }
        self.bytes += line.len() as u64 + 1;
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn aside(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for n in (1..FILES_KEPT).rev() {
            let _ = std::fs::rename(self.aside(n), self.aside(n + 1));
        }
        std::fs::rename(&self.path, self.aside(1))?;
        *self = Self::open(self.path.clone())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_and_only_some_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = Rotated::open(path.clone()).unwrap();
        for n in 0..5 {
            file.bytes = FILE_BYTES_MAX;
            file.write(&format!("line {n}")).unwrap();
        }
        file.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 4\n");
        assert_eq!(std::fs::read_to_string(file.aside(1)).unwrap(), "line 3\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1 + FILES_KEPT as usize);
    }
}
