//! The node's slugs and images: complete read-only trees, fetched once and verified.
//!
//! ```text
//!  dir/objects/…    verified files, each once             (slipway_blobs::farm)
//!  dir/trees/<id>/  hard links into them; complete or absent
//!  dir/boot         the boot in which this was last used
//! ```
//!
//! Files lie with the ids of their manifest (slugs: root's); whoever mounts a tree does it read-only and maps the ids.
//! Hard links are the one way on every kernel.

#[cfg(test)]
mod tests;

use slipway_blobs::{Error, Result, SlugStore, farm};
use slipway_model::{ImageId, SlugId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::{Mutex as Turn, RwLock};

/// Names the running boot of this machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Begins the name of a tree that is being made or taken away.
const SCRATCH: &str = "tmp-";

/// One process owns a directory; a cheap handle.
#[derive(Debug, Clone)]
pub struct SlugCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    store: SlugStore,
    leases: Mutex<BTreeMap<String, usize>>,
    /// One fetch of an id at a time; the others wait for its tree.
    turns: Mutex<BTreeMap<String, Arc<Turn<()>>>>,
    /// Fetching reads, collecting writes: an object that no tree uses yet must not be collected.
    collecting: RwLock<()>,
}

/// As long as it lives, the tree stays.
#[derive(Debug)]
pub struct Lease {
    inner: Arc<Inner>,
    id: String,
}

impl SlugCache {
    /// Adopt a directory. After a stop of the machine that nobody announced, every object is verified again.
    pub async fn open(dir: &Path, store: SlugStore) -> Result<SlugCache> {
        let inner = Inner {
            dir: dir.to_path_buf(),
            store,
            leases: Mutex::default(),
            turns: Mutex::default(),
            collecting: RwLock::default(),
        };
        let cache = SlugCache { inner: Arc::new(inner) };
        let inner = cache.inner.clone();
        tokio::task::spawn_blocking(move || inner.settle()).await??;
        Ok(cache)
    }

    /// The slug's tree, fetched when it is not here.
    pub async fn ensure(&self, slug: &SlugId) -> Result<PathBuf> {
        self.ensure_id(slug).await
    }

    /// The image's tree; images are stored like slugs.
    pub async fn ensure_image(&self, image: &ImageId) -> Result<PathBuf> {
        self.ensure_id(&as_slug(image)?).await
    }

    /// It is here: a start needs no store.
    pub fn has(&self, id: &str) -> bool {
        self.inner.tree(id).is_dir()
    }

    /// Hold a slug or image (by its printed id), whether it is here already or comes later.
    pub fn lease(&self, id: &str) -> Lease {
        *self.inner.leases().entry(id.to_string()).or_default() += 1;
        Lease { inner: self.inner.clone(), id: id.to_string() }
    }

    /// Remove what is neither leased nor named; returns the bytes freed.
    pub async fn collect(&self, keep: &BTreeSet<String>) -> Result<u64> {
        let _alone = self.inner.collecting.write().await;
        let (inner, keep) = (self.inner.clone(), keep.clone());
        tokio::task::spawn_blocking(move || inner.collect(&keep)).await?
    }

    /// Write everything to the disk, so that the next start need not verify it.
    pub async fn close(&self) -> Result<()> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || {
            let directory = std::fs::File::open(&inner.dir).map_err(disk("open", &inner.dir))?;
            nix::unistd::syncfs(&directory).map_err(|e| disk("write back", &inner.dir)(e.into()))?;
            let clean = inner.dir.join("clean");
            let file = std::fs::File::create(&clean).map_err(disk("write", &clean))?;
            file.sync_all().map_err(disk("write", &clean))
        })
        .await?
    }

    async fn ensure_id(&self, id: &SlugId) -> Result<PathBuf> {
        let tree = self.inner.tree(id.as_str());
        if tree.is_dir() {
            return Ok(tree);
        }
        let turn = self.inner.turns.lock().unwrap_or_else(|p| p.into_inner()).entry(id.to_string()).or_default().clone();
        let result = {
            let _turn = turn.lock().await;
            self.make(id, &tree).await
        };
        // The last one who waited forgets the turn.
        let mut turns = self.inner.turns.lock().unwrap_or_else(|p| p.into_inner());
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(id.as_str());
        }
        result.map(|()| tree)
    }

    async fn make(&self, id: &SlugId, tree: &Path) -> Result<()> {
        let _fetching = self.inner.collecting.read().await;
        if tree.is_dir() {
            return Ok(());
        }
        let objects = self.inner.objects();
        let manifest = self.inner.store.fetch(id, &objects).await?;
        let (trees, tree) = (self.inner.trees(), tree.to_path_buf());
        tokio::task::spawn_blocking(move || {
            let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&trees).map_err(disk("make a folder in", &trees))?;
            let new = scratch.path().join("tree");
            farm::build(&manifest, &objects, &new)?;
            std::fs::rename(&new, &tree).map_err(disk("name", &tree))
        })
        .await?
    }
}

impl Inner {
    fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    fn trees(&self) -> PathBuf {
        self.dir.join("trees")
    }

    fn tree(&self, id: &str) -> PathBuf {
        self.trees().join(id)
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.leases.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// What the last owner left: scratch goes, and after a crash of the machine nothing is believed.
    fn settle(&self) -> Result<()> {
        for dir in [&self.trees(), &self.objects()] {
            std::fs::create_dir_all(dir).map_err(disk("make", dir))?;
        }
        let now = std::fs::read_to_string(BOOT_ID).map_err(disk("read", Path::new(BOOT_ID)))?;
        let (boot, clean) = (self.dir.join("boot"), self.dir.join("clean"));
        let same_boot = std::fs::read_to_string(&boot).is_ok_and(|then| then == now);
        if !same_boot && boot.exists() && !clean.exists() {
            tracing::info!(dir = %self.dir.display(), "the machine stopped unannounced: every object is verified");
            self.remove_trees(|_| true)?;
            let damaged = farm::verify_all(&self.objects())?;
            if damaged > 0 {
                tracing::warn!(damaged, "objects of slugs were damaged and are fetched again");
            }
        }
        self.remove_trees(|name| name.starts_with(SCRATCH))?;
        let _ = std::fs::remove_file(&clean);
        std::fs::write(&boot, now).map_err(disk("write", &boot))
    }

    fn collect(&self, keep: &BTreeSet<String>) -> Result<u64> {
        self.remove_trees(|name| !keep.contains(name) && !self.leases().contains_key(name))?;
        farm::collect(&self.objects())
    }

    fn remove_trees(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        let trees = self.trees();
        for item in std::fs::read_dir(&trees).map_err(disk("list", &trees))? {
            let item = item.map_err(disk("list", &trees))?;
            let name = item.file_name().to_string_lossy().into_owned();
            if !which(&name) {
                continue;
            }
            // Aside first: a tree under its name is complete.
            let mut aside = item.path();
            if !name.starts_with(SCRATCH) {
                aside = trees.join(format!("{SCRATCH}gone-{name}"));
                std::fs::rename(item.path(), &aside).map_err(disk("move aside", &aside))?;
            }
            std::fs::remove_dir_all(&aside).map_err(disk("remove", &aside))?;
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.inner.leases();
        if let Some(count) = leases.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                leases.remove(&self.id);
            }
        }
    }
}

/// Both are the digest of a manifest.
pub fn as_slug(image: &ImageId) -> Result<SlugId> {
    image.as_str().parse().map_err(|e: slipway_model::ids::IdError| Error::Task(e.to_string()))
}

fn disk(deed: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Disk { deed, path, source }
}
