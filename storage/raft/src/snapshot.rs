//! Snapshots: one file each, whole or absent, the last two kept.
//!
//! A file is `slipway-snapshot 1\n`, the length of the header (u32, big-endian), the header (JSON), the state.
//! The same bytes travel to a node that lags, in chunks, to disk. The name begins with the index, so that names sort.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::home::sync_dir;
use crate::{SnapshotMeta, StoreError};

const MAGIC: &[u8] = b"slipway-snapshot 1\n";
/// A header names the members of the group, no more.
const HEADER_BYTES_MAX: u32 = 1 << 20;
/// The newest, and the one before it in case the newest is damaged.
const KEPT: usize = 2;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub meta: SnapshotMeta,
    /// Small facts that the state machine's keeper stores beside the state.
    pub extra: serde_json::Value,
    pub length: u64,
    /// SHA-256 of the state, in hexadecimal.
    pub digest: String,
}

/// The snapshots of one node; clones share them.
#[derive(Clone)]
pub struct Shelf(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    node: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    stored: Vec<Stored>,
    sequence: u64,
}

#[derive(Clone)]
struct Stored {
    path: PathBuf,
    header: Header,
}

impl Shelf {
    /// Lists what is there; a damaged newest snapshot gives way to the one before it, if the log reaches back that far.
    pub(crate) fn open(dir: &Path, node: u64, purged: Option<u64>) -> Result<Self, StoreError> {
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
            let path = entry.map_err(StoreError::io("list", dir))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("snapshot") => names.push(path),
                // Left by a stop in the middle of a write or of a transfer: nobody knows of them.
                Some("part") => fs::remove_file(&path).map_err(StoreError::io("remove", &path))?,
                _ => {}
            }
        }
        names.sort();
        let sequence = names.iter().filter_map(|path| sequence_of(path)).max().unwrap_or(0);
        let mut stored = Vec::new();
        let mut damage = None;
        for path in names {
            match verify(&path) {
                Ok(header) => stored.push(Stored { path, header }),
                Err(e @ StoreError::Corrupt { .. }) => {
                    tracing::warn!(error = %e, "a snapshot is damaged and set aside");
                    let aside = path.with_extension("damaged");
                    fs::rename(&path, &aside).map_err(StoreError::io("rename", &path))?;
                    damage = Some(e);
                }
                Err(e) => return Err(e),
            }
        }
        let newest = stored.last().and_then(|s| s.header.meta.last_log_id).map(|id| id.index);
        // Without the entries between the snapshot and the log the state would silently miss them.
        if purged > newest {
            return Err(damage.unwrap_or(StoreError::Corrupt {
                path: dir.into(),
                detail: format!("the log begins after entry {}, and no snapshot holds it", purged.unwrap_or(0)),
            }));
        }
        Ok(Self(Arc::new(Inner { dir: dir.into(), node, state: Mutex::new(State { stored, sequence }) })))
    }

    /// Writes a snapshot of the state, durably, and removes all but the last two.
    ///
    /// `meta.snapshot_id` is chosen here. It blocks: call it where blocking is allowed.
    pub fn write(&self, mut meta: SnapshotMeta, extra: serde_json::Value, state: &[u8]) -> Result<SnapshotMeta, StoreError> {
        let (index, term) = meta.last_log_id.map_or((0, 0), |id| (id.index, id.leader_id.term));
        let path = self.next_path(index);
        let sequence = sequence_of(&path).expect("the name was just made");
        meta.snapshot_id = format!("{}-{term}-{index}-{sequence}", self.0.node);
        let header = Header { meta, extra, length: state.len() as u64, digest: hex(&Sha256::digest(state)) };
        let json = serde_json::to_vec(&header).expect("plain data");
        let part = path.with_extension("part");
        let write = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(MAGIC)?;
            file.write_all(&u32::try_from(json.len()).expect("a small header").to_be_bytes())?;
            file.write_all(&json)?;
            file.write_all(state)?;
            file.sync_all()
        };
        write().map_err(StoreError::io("write", &part))?;
        self.accept(&part, path, header.clone())?;
        Ok(header.meta)
    }

    /// The newest snapshot, to be read from its beginning.
    pub fn newest(&self) -> Result<Option<(SnapshotMeta, SnapshotFile)>, StoreError> {
        let Some(stored) = self.newest_stored() else { return Ok(None) };
        let file = File::open(&stored.path).map_err(StoreError::io("open", &stored.path))?;
        Ok(Some((stored.header.meta, SnapshotFile { file: file.into(), path: stored.path, incoming: false })))
    }

    /// The newest snapshot's header and state; it blocks.
    pub fn load(&self) -> Result<Option<(Header, Vec<u8>)>, StoreError> {
        self.newest_stored().map(|stored| read_state(&stored.path)).transpose()
    }

    /// An empty file for a snapshot that comes from another node; it goes when it is dropped before [`Shelf::install`].
    pub fn receive(&self) -> Result<SnapshotFile, StoreError> {
        let part = self.next_path(0).with_extension("part");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(StoreError::io("create", &part))?;
        Ok(SnapshotFile { file: file.into(), path: part, incoming: true })
    }

    /// Checks a snapshot that came, keeps it, and gives its state; it blocks.
    pub fn install(&self, meta: &SnapshotMeta, mut received: SnapshotFile) -> Result<(Header, Vec<u8>), StoreError> {
        let part = if received.incoming {
            received.incoming = false;
            received.path.clone()
        } else {
            // A snapshot of another store on this machine stays where it is.
            let part = self.next_path(0).with_extension("part");
            fs::copy(&received.path, &part).map_err(StoreError::io("copy", &received.path))?;
            part
        };
        let done = self.install_part(meta, &part);
        if done.is_err() {
            let _ = fs::remove_file(&part);
        }
        done
    }

    fn install_part(&self, meta: &SnapshotMeta, part: &Path) -> Result<(Header, Vec<u8>), StoreError> {
        let (header, state) = read_state(part)?;
        if header.meta != *meta {
            let detail = format!("it holds {}, and the leader announced {meta}", header.meta);
            return Err(StoreError::Corrupt { path: part.into(), detail });
        }
        File::open(part).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", part))?;
        let path = self.next_path(meta.last_log_id.map_or(0, |id| id.index));
        self.accept(part, path, header.clone())?;
        Ok((header, state))
    }

    /// Copies the kept snapshots into a new directory.
    pub(crate) fn copy_to(&self, target: &Path) -> Result<(), StoreError> {
        fs::create_dir(target).map_err(StoreError::io("create", target))?;
        // Under the lock, so that none is removed meanwhile.
        let state = self.0.state.lock().unwrap_or_else(|e| e.into_inner());
        for stored in &state.stored {
            let to = target.join(stored.path.file_name().expect("a snapshot has a name"));
            // A snapshot never changes: a second name for the same bytes is a copy, where the file system allows one.
            if fs::hard_link(&stored.path, &to).is_err() {
                fs::copy(&stored.path, &to).map_err(StoreError::io("copy to", &to))?;
                File::open(&to).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", &to))?;
            }
        }
        sync_dir(target)
    }

    fn newest_stored(&self) -> Option<Stored> {
        self.0.state.lock().unwrap_or_else(|e| e.into_inner()).stored.last().cloned()
    }

    fn next_path(&self, index: u64) -> PathBuf {
        let mut state = self.0.state.lock().unwrap_or_else(|e| e.into_inner());
        state.sequence += 1;
        self.0.dir.join(format!("{index:020}-{:010}.snapshot", state.sequence))
    }

    fn accept(&self, part: &Path, path: PathBuf, header: Header) -> Result<(), StoreError> {
        let mut state = self.0.state.lock().unwrap_or_else(|e| e.into_inner());
        fs::rename(part, &path).map_err(StoreError::io("rename", part))?;
        sync_dir(&self.0.dir)?;
        state.stored.push(Stored { path, header });
        state.stored.sort_by(|a, b| a.path.cmp(&b.path));
        while state.stored.len() > KEPT {
            let old = state.stored.remove(0);
            if let Err(e) = fs::remove_file(&old.path) {
                tracing::warn!(path = %old.path.display(), error = %e, "an old snapshot stays");
            }
        }
        Ok(())
    }
}

/// `INDEX-SEQUENCE.snapshot`
fn sequence_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn corrupt(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::Corrupt { path: path.into(), detail: detail.into() }
}

fn read_header(path: &Path, file: &mut impl Read) -> Result<Header, StoreError> {
    let short = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => corrupt(path, "the file ends too early"),
        _ => StoreError::io("read", path)(e),
    };
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(short)?;
    if magic != MAGIC {
        return Err(corrupt(path, "the file does not begin as a snapshot of format 1"));
    }
    let mut length = [0; 4];
    file.read_exact(&mut length).map_err(short)?;
    let length = u32::from_be_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(corrupt(path, format!("the header claims {length} bytes")));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(short)?;
    serde_json::from_slice(&json).map_err(|e| corrupt(path, format!("the header does not read: {e}")))
}

fn open(path: &Path) -> Result<BufReader<File>, StoreError> {
    Ok(BufReader::with_capacity(1 << 18, File::open(path).map_err(StoreError::io("open", path))?))
}

/// Reads the file through once, in pieces, and compares length and digest.
fn verify(path: &Path) -> Result<Header, StoreError> {
    let mut file = open(path)?;
    let header = read_header(path, &mut file)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer).map_err(StoreError::io("read", path))?;
        if n == 0 {
            break;
        }
        length += n as u64;
        digest.update(&buffer[..n]);
    }
    if length != header.length || hex(&digest.finalize()) != header.digest {
        return Err(corrupt(path, "its digest does not fit its bytes"));
    }
    Ok(header)
}

fn read_state(path: &Path) -> Result<(Header, Vec<u8>), StoreError> {
    let mut file = open(path)?;
    let header = read_header(path, &mut file)?;
    let mut state = Vec::new();
    file.read_to_end(&mut state).map_err(StoreError::io("read", path))?;
    if state.len() as u64 != header.length || hex(&Sha256::digest(&state)) != header.digest {
        return Err(corrupt(path, "its digest does not fit its bytes"));
    }
    Ok((header, state))
}

/// The file of a snapshot that is being sent or received.
pub struct SnapshotFile {
    file: tokio::fs::File,
    path: PathBuf,
    /// It is being received, and goes when it is not installed.
    incoming: bool,
}


impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if self.incoming {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsyncRead for SnapshotFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

impl AsyncWrite for SnapshotFile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.file).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}

impl AsyncSeek for SnapshotFile {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }
    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
