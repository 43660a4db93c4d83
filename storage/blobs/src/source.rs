//! Git packs, kept for good, and repositories made of exactly the packs that somebody names.

use crate::error::{Error, Result};
use crate::store::Store;
use futures::{StreamExt, TryStreamExt};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use slipway_model::PackId;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

/// Packs fetched at a time; each index-pack takes a core.
const FETCHES_AT_ONCE: usize = 2;

/// The shelf of sources; a cheap handle. The cache may be lost at any time.
#[derive(Debug, Clone)]
pub struct SourceStore {
    store: Store,
    cache: PathBuf,
}

impl SourceStore {
    /// `cache` is this node's folder of packs with their indexes.
    pub fn new(store: Store, cache: &Path) -> SourceStore {
        SourceStore { store, cache: cache.to_path_buf() }
    }

    /// Its object store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keep a pack for good; when this returns it is durable, was read back, and may be named in the ledger.
    pub async fn put_pack(&self, path: &Path) -> Result<PackId> {
        let (owned, id) = (path.to_path_buf(), hash_file(path.to_path_buf()).await?);
        let object = object_of(&id);
        if self.verify(&id).await.is_ok() {
            return Ok(id);
        }
        let file = tokio::fs::File::open(&owned).await.map_err(Error::disk("open", path))?;
        self.store.put_reader(&object, file).await?;
        self.verify(&id).await?;
        Ok(id)
    }

    /// The pack is there and whole.
    pub async fn verify(&self, id: &PackId) -> Result<()> {
        let mut stream = self.store.get_stream(&object_of(id)).await?;
        let mut hash = Sha256::new();
        while let Some(bytes) = stream.try_next().await? {
            hash.update(&bytes);
        }
        check(id, hash)
    }

    /// The pack's file in this node's cache, with its index beside it; fetched when it is not there.
    pub async fn fetch_pack(&self, id: &PackId) -> Result<PathBuf> {
        let folder = self.cache.join(&id.as_str()[..2]);
        let pack = folder.join(format!("pack-{id}.pack"));
        // The index is made last.
        if pack.with_extension("idx").exists() && pack.exists() {
            return Ok(pack);
        }
        std::fs::create_dir_all(&folder).map_err(Error::disk("make", &folder))?;
        let _lock = lock(folder.join(format!("{id}.lock"))).await?;
        if pack.with_extension("idx").exists() && pack.exists() {
            return Ok(pack);
        }
        let scratch = tempfile::Builder::new().prefix("tmp-").tempdir_in(&folder).map_err(Error::disk("make a folder in", &folder))?;
        let part = scratch.path().join("part.pack");
        self.download(id, &part).await?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        git(scratch.path(), &["index-pack".into(), text(&part)]).await?;
        std::fs::rename(&part, &pack).map_err(Error::disk("name", &pack))?;
        let index = pack.with_extension("idx");
        std::fs::rename(part.with_extension("idx"), &index).map_err(Error::disk("name", &index))?;
        let _ = std::fs::remove_file(folder.join(format!("{id}.lock")));
        Ok(pack)
    }

    /// Make `dir` a bare repository whose objects are exactly those of these packs. The caller owns `dir`.
    ///
    /// Packs are links into the cache: cheap, and another caller's list never shows here.
    pub async fn hydrate(&self, packs: &[PackId], dir: &Path) -> Result<()> {
        if !dir.join("HEAD").exists() {
            std::fs::create_dir_all(dir).map_err(Error::disk("make", dir))?;
            let arguments = ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."].map(String::from);
            git(dir, &arguments).await?;
        }
        let folder = dir.join("objects/pack");
        std::fs::create_dir_all(&folder).map_err(Error::disk("make", &folder))?;
        let wanted: BTreeSet<&PackId> = packs.iter().collect();
        let mut linked = futures::stream::iter(wanted.iter().map(|id| self.link(id, &folder))).buffer_unordered(FETCHES_AT_ONCE);
        while linked.try_next().await?.is_some() {}
        remove_others(&folder, &wanted)
    }

    async fn link(&self, id: &PackId, folder: &Path) -> Result<()> {
        let name = format!("pack-{id}.pack");
        let target = folder.join(&name);
        if target.exists() && target.with_extension("idx").exists() {
            return Ok(());
        }
        let cached = self.fetch_pack(id).await?;
        link_or_copy(&cached, &target)?;
        link_or_copy(&cached.with_extension("idx"), &target.with_extension("idx"))
    }

    async fn download(&self, id: &PackId, part: &Path) -> Result<()> {
        let mut stream = self.store.get_stream(&object_of(id)).await?;
        let mut file = tokio::fs::File::create(part).await.map_err(Error::disk("write", part))?;
        let mut hash = Sha256::new();
        while let Some(bytes) = stream.try_next().await? {
            hash.update(&bytes);
            file.write_all(&bytes).await.map_err(Error::disk("write", part))?;
        }
        file.sync_all().await.map_err(Error::disk("write", part))?;
        check(id, hash)
    }
}

fn object_of(id: &PackId) -> String {
    format!("git/packs/{}/{id}.pack", &id.as_str()[..2])
}

fn check(id: &PackId, hash: Sha256) -> Result<()> {
    let found = data_encoding::HEXLOWER.encode(&hash.finalize());
    if found != id.as_str() {
        return Err(Error::Damaged { what: format!("git pack {id}"), why: format!("its bytes hash to {found}") });
    }
    Ok(())
}

async fn hash_file(path: PathBuf) -> Result<PackId> {
    tokio::task::spawn_blocking(move || {
        let mut file = File::open(&path).map_err(Error::disk("open", &path))?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0u8; 256 << 10]);
        loop {
            match file.read(&mut buffer).map_err(Error::disk("read", &path))? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        let hex = data_encoding::HEXLOWER.encode(&hash.finalize());
        hex.parse().map_err(|e: slipway_model::ids::IdError| Error::Task(e.to_string()))
    })
    .await?
}

/// Held until dropped; the kernel lets go when we die. Whoever waited looks whether the file is still the one with the name.
async fn lock(path: PathBuf) -> Result<Flock<File>> {
    tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::MetadataExt;
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::disk("open", &path))?;
            let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::disk("lock", &path)(e.into()))?;
            let held = lock.metadata().map_err(Error::disk("look at", &path))?;
            if std::fs::metadata(&path).is_ok_and(|named| named.ino() == held.ino()) {
                return Ok(lock);
            }
        }
    })
    .await?
}

fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_file(to);
    if std::fs::hard_link(from, to).is_err() {
        // Another filesystem, or too many links.
        std::fs::copy(from, to).map_err(Error::disk("copy", to))?;
    }
    Ok(())
}

fn remove_others(folder: &Path, wanted: &BTreeSet<&PackId>) -> Result<()> {
    for item in std::fs::read_dir(folder).map_err(Error::disk("list", folder))? {
        let path = item.map_err(Error::disk("list", folder))?.path();
        let id = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.strip_prefix("pack-")).and_then(|s| s.parse::<PackId>().ok());
        if !id.is_some_and(|id| wanted.contains(&id)) {
            std::fs::remove_file(&path).map_err(Error::disk("remove", &path))?;
        }
    }
    Ok(())
}

/// git without the machine's and the user's settings.
async fn git(dir: &Path, arguments: &[String]) -> Result<()> {
    let output = tokio::process::Command::new("git")
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", dir)
        .env_remove("GIT_DIR")
        .env_remove("GIT_OBJECT_DIRECTORY")
        .env_remove("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        .env_remove("GIT_QUARANTINE_PATH")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::disk("start", Path::new("git")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().chars().take(2000).collect();
        return Err(Error::Git { arguments: arguments.join(" "), stderr });
    }
    Ok(())
}
