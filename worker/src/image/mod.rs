//! Base images: a recipe becomes a tree in the store.
//!
//! ```text
//! recipe ─▶ mmdebstrap (suite, packages) ─▶ artefacts (digest-checked) ─▶ setup (chroot, no network) ─▶ user, mount points ─▶ store
//! ```

mod artefact;
mod bootstrap;
mod finish;

use crate::log::LogSink;
use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use slipway_blobs::{Owners, PutOptions, SlugStore};
use slipway_model::recipe::Recipe;
use slipway_model::task::TaskOutcome;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Bytes of one image: the largest of the catalogue has 900 MB.
const IMAGE_BYTES_MAX: u64 = 6 << 30;
/// Files of one image.
const IMAGE_FILES_MAX: u64 = 500_000;

/// Where images are made.
#[derive(Debug, Clone)]
pub struct ImageRoom {
    /// Finished trees and downloads, shared by the platforms of this machine.
    pub cache: PathBuf,
    pub slugs: SlugStore,
}

impl ImageRoom {
    /// Builds the image and puts it into the store.
    pub async fn run(&self, recipe: &Recipe, log: &LogSink, cancel: &CancellationToken) -> TaskOutcome {
        let log = &log.indented(2);
        let work = self.build(recipe, log);
        let result = tokio::select! {
            result = work => result,
            () = cancel.cancelled() => return TaskOutcome::Cancelled,
        };
        match result {
            Ok(outcome) => outcome,
            Err(error) => {
                let message = format!("base image {} could not be built: {error:#}", recipe.type_name());
                log.error(format!("E: {message}"));
                TaskOutcome::InfrastructureFailure { message }
            }
        }
    }

    async fn build(&self, recipe: &Recipe, log: &LogSink) -> anyhow::Result<TaskOutcome> {
        let folder = self.cache.join("images");
        tokio::fs::create_dir_all(&folder).await.with_context(|| format!("make {}", folder.display()))?;
        let name = format!("{}-{}", recipe.type_name().replace(':', "-"), digest(recipe));
        let tree = folder.join(&name);
        let _one_at_a_time = lock(folder.join(format!("{name}.lock"))).await?;
        if tree.is_dir() {
            log.info("It stands in this machine's cache.");
        } else {
            self.make_tree(recipe, &folder.join(format!("{name}.new")), &tree, log).await?;
        }
        log.info("Storing the image.");
        let options = PutOptions { exclude: Vec::new(), owners: Owners::Keep, bytes_max: IMAGE_BYTES_MAX, files_max: IMAGE_FILES_MAX };
        let put = self.slugs.put_tree(&tree, &options).await.context("store the image")?;
        log.info(format!("{} MB, {} MB of them new in the store.", put.bytes >> 20, put.uploaded_bytes >> 20));
        Ok(TaskOutcome::Image { image: put.slug.as_str().parse().context("a slug id is an image id")?, bytes: put.bytes })
    }

    /// The tree under its final name only when it is complete.
    async fn make_tree(&self, recipe: &Recipe, new: &Path, tree: &Path, log: &LogSink) -> anyhow::Result<()> {
        remove(new).await?;
        log.info(format!("Bootstrapping Debian {} with {} packages", recipe.suite, recipe.packages.len()));
        let result = async {
            bootstrap::bootstrap(recipe, new, log).await?;
            for artefact in &recipe.artefacts {
                log.info(format!("Fetching {} {}", artefact.package, artefact.version));
                artefact::place(artefact, &self.cache.join("artefacts"), new).await?;
            }
            finish::finish(recipe, new, log).await
        }
        .await;
        if let Err(error) = result {
            remove(new).await?;
            return Err(error);
        }
        tokio::fs::rename(new, tree).await.context("give the finished tree its name")
    }
}

/// What names a recipe's tree in the cache.
fn digest(recipe: &Recipe) -> String {
    use sha2::{Digest, Sha256};
    let json = serde_json::to_string(recipe).expect("a recipe is JSON");
    data_encoding::HEXLOWER.encode(&Sha256::digest(json.as_bytes())[..8])
}

/// Waits for whoever builds the same image now; the lock goes with its holder.
async fn lock(path: PathBuf) -> anyhow::Result<Flock<std::fs::File>> {
    tokio::task::spawn_blocking(move || {
        let file = std::fs::File::create(&path).with_context(|| format!("open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(lock),
            Err((_, errno)) => bail!("lock {}: {errno}", path.display()),
        }
    })
    .await?
}

async fn remove(path: &Path) -> anyhow::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
