//! Reads a directory into a manifest: normalised, bounded, hashed by several threads.

use crate::error::{Error, Result};
use crate::manifest::{Entry, Kind, Manifest};
use crate::slugs::{Owners, PutOptions};
use crate::verity::{self, Digest};
use nix::fcntl::OFlag;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many left-out names a result carries; the rest is counted by the log line.
const SKIPPED_MAX: usize = 100;

/// A directory as it was read.
#[derive(Debug)]
pub(crate) struct Walked {
    pub manifest: Manifest,
    /// Devices, fifos and sockets that are not part of it.
    pub skipped: Vec<String>,
}

struct Found {
    entries: Vec<Entry>,
    bytes: u64,
    skipped: Vec<String>,
}

/// Read everything below `root`; blocks.
pub(crate) fn walk(root: &Path, options: &PutOptions) -> Result<Walked> {
    let mut found = Found { entries: vec![], bytes: 0, skipped: vec![] };
    let mut open = vec![Vec::new()];
    while let Some(directory) = open.pop() {
        read_directory(root, directory, options, &mut found, &mut open)?;
    }
    hash_files(root, &mut found.entries)?;
    Ok(Walked { manifest: Manifest::new(found.entries)?, skipped: found.skipped })
}

/// A regular file and nothing else, however the name looks by now.
pub(crate) fn open_file(root: &Path, path: &[u8]) -> Result<File> {
    let full = join(root, path);
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(&full).map_err(Error::disk("open", &full))?;
    if !file.metadata().map_err(Error::disk("look at", &full))?.is_file() {
        return Err(Error::Damaged { what: full.display().to_string(), why: "it changed while it was stored".into() });
    }
    Ok(file)
}

pub(crate) fn join(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}

fn read_directory(root: &Path, directory: Vec<u8>, options: &PutOptions, found: &mut Found, open: &mut Vec<Vec<u8>>) -> Result<()> {
    let full = join(root, &directory);
    for item in std::fs::read_dir(&full).map_err(Error::disk("list", &full))? {
        let item = item.map_err(Error::disk("list", &full))?;
        let mut path = directory.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(item.file_name().as_bytes());
        if options.exclude.iter().any(|excluded| excluded.trim_matches('/').as_bytes() == path) {
            continue;
        }
        let full = item.path();
        let meta = std::fs::symlink_metadata(&full).map_err(Error::disk("look at", &full))?;
        let kind = if meta.is_dir() {
            open.push(path.clone());
            Kind::Directory
        } else if meta.is_symlink() {
            Kind::Link { target: std::fs::read_link(&full).map_err(Error::disk("read link", &full))?.into_os_string().into_vec() }
        } else if meta.is_file() {
            found.bytes += meta.len();
            Kind::File { size: meta.len(), digest: Digest([0; 32]) }
        } else {
            debug_assert!(meta.file_type().is_fifo() || !meta.is_file());
            if found.skipped.len() < SKIPPED_MAX {
                found.skipped.push(String::from_utf8_lossy(&path).into_owned());
            }
            continue;
        };
        found.entries.push(normalise(path, kind, &meta, options.owners));
        if found.entries.len() as u64 > options.files_max {
            return Err(Error::Refused(format!("it has more than {} files and directories", options.files_max)));
        }
        if found.bytes > options.bytes_max {
            return Err(Error::Refused(format!("its files have more than {} MB", options.bytes_max / 1_000_000)));
        }
    }
    Ok(())
}

fn normalise(path: Vec<u8>, kind: Kind, meta: &std::fs::Metadata, owners: Owners) -> Entry {
    let link = matches!(kind, Kind::Link { .. });
    match owners {
        // The application runs as another user than the files' owner: it must be able to read all of them.
        Owners::Root => {
            let executable = meta.mode() & 0o100 != 0 || matches!(kind, Kind::Directory);
            let mode = if link { 0o777 } else if executable { 0o755 } else { 0o644 };
            Entry { path, mode, uid: 0, gid: 0, kind }
        }
        Owners::Keep => {
            let mode = if link { 0o777 } else { meta.mode() & 0o1777 };
            Entry { path, mode, uid: meta.uid(), gid: meta.gid(), kind }
        }
    }
}

/// Threads take the next file until none is left.
fn hash_files(root: &Path, entries: &mut [Entry]) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let next = AtomicUsize::new(0);
    let hash = |entry: &Entry| -> Result<Kind> {
        let full = || join(root, &entry.path);
        let (digest, size) = verity::digest_reader(open_file(root, &entry.path)?).map_err(Error::disk("read", &full()))?;
        Ok(Kind::File { size, digest })
    };
    let found = std::thread::scope(|scope| {
        let work = || {
            let mut mine = vec![];
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(entry) = entries.get(at) else { return Ok(mine) };
                if matches!(entry.kind, Kind::File { .. }) {
                    mine.push((at, hash(entry)?));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<(usize, Kind)>>>| {
            thread.join().unwrap_or_else(|_| Err(Error::Task("a hashing thread".into())))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    for (at, kind) in found.into_iter().flatten() {
        entries[at].kind = kind;
    }
    Ok(())
}
