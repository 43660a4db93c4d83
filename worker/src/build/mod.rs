//! Builds: an application's tree becomes a slug, in a container that reaches package registries and nothing of ours.
//!
//! ```text
//! packs ─▶ source (checkout) ─▶ berth (container) ─▶ steps: dependencies, flavour, hook ─▶ seal ─▶ SlugStore
//!                                   ▲ tools: environment, certificates, caches
//! ```
//!
//! What the user wrote fails as `UserFailure`, everything else as `InfrastructureFailure`. Nothing half-done stays:
//! a build's folder, mounts and network go at its end, and those of a killed worker when the next one settles.

mod berth;
mod caches;
mod source;
mod steps;
#[cfg(test)]
mod tests;
mod tools;
mod truststore;

use crate::log::LogSink;
use crate::machine::{Containers, Network};
use crate::slug::SlugCache;
use anyhow::Context;
use berth::Berth;
use slipway_blobs::{PutOptions, SlugStore, SourceStore};
use slipway_manifest::Application;
use slipway_model::TaskId;
use slipway_model::task::{BuildApp, TaskOutcome};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Builds at a time on one worker that have ids of their own; more wait.
const SLOTS: u32 = 16;

/// What the operator decides about builds.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Folder of builds under way; emptied by [`BuildRoom::settle`].
    pub work: PathBuf,
    /// Folder of kept caches, by project and application.
    pub caches: PathBuf,
    /// `[egress] ca_bundle`: certificates (PEM) that builds trust instead of the image's.
    pub ca_bundle: Option<PathBuf>,
    /// `[build] env`: settings of package clients; what the project sets is stronger.
    pub env: BTreeMap<String, String>,
    /// `[build] config_dir`: `pip.conf`, `npmrc`, `settings.xml`, `composer.json`, `gemrc`, `gitconfig` of package clients.
    pub config_dir: Option<PathBuf>,
    /// Ids of build containers begin here; [`SLOTS`] ranges of 65536.
    pub id_map_base: u32,
}

/// Where builds happen; a cheap clone.
#[derive(Debug, Clone)]
pub struct BuildRoom {
    pub containers: Containers,
    pub network: Arc<Network>,
    pub places: crate::machine::Places,
    pub cache: SlugCache,
    pub slugs: SlugStore,
    pub sources: SourceStore,
    pub options: Arc<BuildOptions>,
    pub slots: Arc<berth::Slots>,
}

/// Why a build ended without a slug.
#[derive(Debug)]
pub(crate) enum Stop {
    User { step: String, exit_code: Option<i32>, message: String },
    Cancelled,
    Machine(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Stop::Machine(error)
    }
}

impl BuildRoom {
    /// A room over the machine; call [`BuildRoom::settle`] before the first build.
    pub fn new(
        containers: Containers,
        network: Arc<Network>,
        places: crate::machine::Places,
        cache: SlugCache,
        slugs: SlugStore,
        sources: SourceStore,
        options: BuildOptions,
    ) -> BuildRoom {
        let slots = Arc::new(berth::Slots::new(options.id_map_base, SLOTS));
        BuildRoom { containers, network, places, cache, slugs, sources, options: Arc::new(options), slots }
    }

    /// Take away what builds of a killed worker left.
    pub async fn settle(&self) -> anyhow::Result<()> {
        for (id, _) in self.containers.list().await.context("list containers")? {
            if id.starts_with(berth::PREFIX) {
                berth::remove(self, &id).await?;
            }
        }
        for attachment in self.network.list().await.context("list networks")? {
            if attachment.id.starts_with(berth::PREFIX) {
                berth::remove(self, &attachment.id).await?;
            }
        }
        let left = std::fs::read_dir(&self.options.work).into_iter().flatten().flatten();
        for item in left.collect::<Vec<_>>() {
            berth::remove(self, &item.file_name().to_string_lossy()).await?;
        }
        Ok(())
    }

    /// Build it and store its slug.
    pub async fn run(&self, id: &TaskId, task: &BuildApp, log: &LogSink, cancel: &CancellationToken) -> TaskOutcome {
        let started = (Instant::now(), SystemTime::now());
        let name = berth::name_of(id);
        let result = self.build(&name, task, log, cancel, started).await;
        if let Err(error) = berth::remove(self, &name).await {
            tracing::warn!(build = %name, error = format!("{error:#}"), "a build could not be cleared away; the next start will");
        }
        match result {
            Ok(outcome) => outcome,
            Err(Stop::Cancelled) => TaskOutcome::Cancelled,
            Err(Stop::User { step, exit_code, message }) => {
                log.indented(2).error(format!("E: Error building project: {message} Aborted build."));
                TaskOutcome::UserFailure { step, exit_code, message }
            }
            Err(Stop::Machine(error)) => {
                let message = format!("application '{}' could not be built here: {error:#}", task.app);
                log.indented(2).error(format!("E: {message}"));
                TaskOutcome::InfrastructureFailure { message }
            }
        }
    }

    async fn build(
        &self,
        name: &str,
        task: &BuildApp,
        log: &LogSink,
        cancel: &CancellationToken,
        (began, wall): (Instant, SystemTime),
    ) -> Result<TaskOutcome, Stop> {
        let app: Application = serde_json::from_str(&task.app_json).context("read the application's configuration")?;
        berth::remove(self, name).await?;
        let _lease = self.cache.lease(task.image.as_str());
        let folder = self.options.work.join(name);
        let source = source::Source { store: &self.sources, packs: &task.packs, tree: &task.tree, exclude: &task.exclude };
        let (git_dir, app_dir) = (folder.join("git"), folder.join("app"));
        tokio::select! {
            checked_out = source.check_out(&git_dir, &app_dir) => checked_out?,
            () = cancel.cancelled() => return Err(Stop::Cancelled),
        }
        let image = self.cache.ensure_image(&task.image).await.context("fetch the base image")?;
        log.indented(2).info("Generating runtime configuration.");
        let berth = Berth::open(self, name, task, &image, &folder).await?;
        let steps = steps::Steps { berth: &berth, app: &app, task, log: log.indented(2), cancel, app_dir: &app_dir };
        steps.run().await?;
        // From here on no process of the user's can change what is stored.
        berth.close().await?;
        log.indented(2).info("Compressing application.");
        let sealed = self.seal(task, &app_dir, cancel).await?;
        log.indented(2).info("Beaming package to its final destination.");
        let mut warnings = vec![];
        for path in &sealed.skipped {
            warnings.push(format!("'{path}' is a device, fifo or socket and is not part of the slug"));
            log.indented(2).warning(format!("W: {}", warnings[warnings.len() - 1]));
        }
        let started_unix_ms = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let build_ms = began.elapsed().as_millis() as u64;
        Ok(TaskOutcome::Built { slug: sealed.slug, bytes: sealed.bytes, uploaded_bytes: sealed.uploaded_bytes, build_ms, started_unix_ms, warnings })
    }

    async fn seal(&self, task: &BuildApp, app_dir: &std::path::Path, cancel: &CancellationToken) -> Result<slipway_blobs::PutResult, Stop> {
        let options = PutOptions { exclude: task.exclude.clone(), ..PutOptions::default() };
        let put = tokio::select! {
            put = self.slugs.put_tree(app_dir, &options) => put,
            () = cancel.cancelled() => return Err(Stop::Cancelled),
        };
        put.map_err(|error| match error.is_refusal() {
            true => Stop::User { step: "slug".into(), exit_code: None, message: format!("The built application cannot be stored: {error}.") },
            false => Stop::Machine(anyhow::Error::new(error).context("store the slug")),
        })
    }
}
