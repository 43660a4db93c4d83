//! Packs: their lasting place is the object store; this disk only keeps copies.

use crate::program;
use crate::session::Session;
use anyhow::{Context, bail, ensure};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use slipway_model::ids::{PackId, ProjectId};
use slipway_proto::api::PackRef;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Where packs live for good. The doors ask for no more than this of an object store.
pub trait PackStore: Send + Sync + 'static {
    /// Durable when it returns; the id is the SHA-256 of the file.
    fn put<'a>(&'a self, project: &'a ProjectId, pack: &'a Path) -> BoxFuture<'a, anyhow::Result<PackRef>>;

    /// Writes the pack to a new file.
    fn get<'a>(&'a self, project: &'a ProjectId, id: &'a PackId, to: &'a Path) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// The cache on this disk, in front of the store.
#[derive(Clone)]
pub struct Packs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    store: Arc<dyn PackStore>,
    bytes_max: u64,
    /// One at a time per project fetches or evicts.
    locks: Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Packs {
    pub fn new(folder: PathBuf, store: Arc<dyn PackStore>, bytes_max: u64) -> anyhow::Result<Packs> {
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        remove_unfinished(&folder);
        Ok(Packs(Arc::new(Inner { folder, store, bytes_max, locks: Mutex::default() })))
    }

    fn lock(&self, project: &ProjectId) -> Arc<tokio::sync::Mutex<()>> {
        self.0.locks.lock().expect("a lock is added in one step").entry(project.clone()).or_default().clone()
    }

    /// Hard links exactly these packs into `to`, fetching what is not cached.
    pub async fn link_all(&self, project: &ProjectId, packs: &[PackRef], to: &Path) -> anyhow::Result<()> {
        let lock = self.lock(project);
        let fetched;
        {
            let _held = lock.lock().await;
            let folder = self.0.folder.join(project.as_str());
            std::fs::create_dir_all(&folder).context("create the project's cache folder")?;
            if let Ok(file) = std::fs::File::open(&folder) {
                // Remembers when the project was last used, for eviction.
                let _ = file.set_modified(SystemTime::now());
            }
            let mut missing = Vec::new();
            let mut wanted = Vec::new();
            for pack in packs {
                let id: PackId = pack.id.parse()?;
                let cached = folder.join(format!("pack-{id}.pack"));
                let whole = std::fs::metadata(&cached).is_ok_and(|metadata| metadata.len() == pack.bytes) && cached.with_extension("idx").exists();
                if !whole {
                    missing.push((id.clone(), cached.clone()));
                }
                wanted.push((id, cached));
            }
            fetched = !missing.is_empty();
            for (id, cached) in &missing {
                self.fetch(project, id, cached).await.with_context(|| format!("fetch pack {id}"))?;
            }
            for (id, cached) in wanted {
                for extension in ["idx", "pack"] {
                    let target = to.join(format!("pack-{id}.{extension}"));
                    std::fs::hard_link(cached.with_extension(extension), target).context("link a pack")?;
                }
            }
        }
        if fetched {
            self.evict();
        }
        Ok(())
    }

    async fn fetch(&self, project: &ProjectId, id: &PackId, cached: &Path) -> anyhow::Result<()> {
        let folder = cached.parent().context("the cache has a folder")?;
        let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(folder)?;
        let pack = work.path().join("pack-new.pack");
        self.0.store.get(project, id, &pack).await?;
        let (path, wanted) = (pack.clone(), id.clone());
        tokio::task::spawn_blocking(move || {
            let found = digest(&path)?;
            ensure!(found == wanted, "the object store gave a pack with digest {found}");
            std::fs::File::open(&path)?.sync_all().context("sync the pack")
        })
        .await??;
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", work.path()).current_dir(work.path());
        command.args(["index-pack", "--threads=1", "pack-new.pack"]);
        program::output(command, 1 << 20).await.map_err(anyhow::Error::msg).context("index the pack")?;
        std::fs::rename(pack.with_extension("idx"), cached.with_extension("idx"))?;
        std::fs::rename(&pack, cached)?;
        Ok(())
    }

    /// Puts a received pack where it lasts.
    pub async fn store(&self, project: &ProjectId, pack: &Path) -> anyhow::Result<PackRef> {
        self.0.store.put(project, pack).await
    }

    /// Keeps recorded packs of a session for the next ones.
    pub async fn adopt(&self, session: &Session, recorded: &[PackRef]) -> anyhow::Result<()> {
        let lock = self.lock(&session.project);
        let _held = lock.lock().await;
        let folder = self.0.folder.join(session.project.as_str());
        std::fs::create_dir_all(&folder)?;
        let paths = session.received_packs()?.into_iter().filter(|path| !is_empty_pack(path).unwrap_or(true));
        // One pack per push, so the two lists pair up.
        for (path, pack) in paths.zip(recorded) {
            let id: PackId = pack.id.parse()?;
            if std::fs::metadata(&path)?.len() != pack.bytes {
                bail!("pack {id} and {} differ", path.display());
            }
            for extension in ["idx", "pack"] {
                match std::fs::hard_link(path.with_extension(extension), folder.join(format!("pack-{id}.{extension}"))) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes whole projects, those that were not used for longest first. Sessions have links of their own.
    fn evict(&self) {
        let mut projects = Vec::new();
        let mut total = 0;
        let Ok(entries) = std::fs::read_dir(&self.0.folder) else { return };
        for entry in entries.flatten() {
            let bytes: u64 = std::fs::read_dir(entry.path())
                .map(|files| files.flatten().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum())
                .unwrap_or(0);
            let used = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            total += bytes;
            projects.push((used, bytes, entry.path()));
        }
        projects.sort();
        for (_, bytes, path) in projects {
            if total <= self.0.bytes_max {
                return;
            }
            let Some(project) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else { continue };
            let lock = self.lock(&project);
            let Ok(_held) = lock.try_lock() else { continue };
            if std::fs::remove_dir_all(&path).is_ok() {
                total = total.saturating_sub(bytes);
            }
        }
    }
}

/// Half-fetched packs of a former process.
fn remove_unfinished(folder: &Path) {
    let projects = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in projects.flat_map(|project| std::fs::read_dir(project.path()).into_iter().flatten().flatten()) {
        if entry.file_name().to_string_lossy().starts_with("fetch-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// True for the pack that git makes of a push without new objects.
pub fn is_empty_pack(path: &Path) -> std::io::Result<bool> {
    let mut header = [0; 12];
    std::fs::File::open(path)?.read_exact(&mut header)?;
    Ok(header[8..12] == [0; 4])
}

fn digest(path: &Path) -> anyhow::Result<PackId> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    Ok(data_encoding::HEXLOWER.encode(&digest.finalize()).parse()?)
}
