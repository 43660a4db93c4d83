//! Base images and application builds: only what changed, in parallel, each once.

use super::activity::{Drive, Ends};
use crate::logbook::Level;
use crate::make::key::{build_key, recipe_digest};
use crate::make::variables::{self, Plain, seen};
use crate::make::environment;
use anyhow::Context as _;
use futures::future::join_all;
use slipway_core::Command;
use slipway_core::state::*;
use slipway_manifest::Application;
use slipway_model::instance::Limits;
use slipway_model::recipe::{Recipe, RecipeKind};
use slipway_model::task::{BuildApp, BuildImage, TaskOutcome, TaskSpec};
use slipway_model::{BuildKey, ImageId, NodeId, SlugId, TaskId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Attempts when machines, disks or networks fail; what users wrote is tried once.
const ATTEMPTS_MAX: u32 = 3;
/// A worker that is silent for so long is lost, and its builds are done elsewhere.
const LOST_AFTER_MS: i64 = 10_000;
/// A machine that failed is given a moment.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Memory of a build container (lifecycle §4 has 2048 MB).
const BUILD_MEMORY_MB: u64 = 3072;
/// Cores of a build container.
const BUILD_CPU_MILLIS: u32 = 2000;
/// A build hook may take an hour (lifecycle §4).
const HOOK_SECONDS_MAX: u64 = 3600;

/// What building came to.
pub struct Built {
    pub images: BTreeMap<String, ImageId>,
    pub slugs: BTreeMap<String, SlugId>,
}

/// Builds what the tree needs: images of all applications and services, slugs of all applications.
pub async fn build_all(drive: &Drive, tree: &PushedTree) -> anyhow::Result<Built> {
    let environment = drive.env()?;
    let office = &drive.office;
    let levels = office
        .read(|s| variables::of_environment(s, &environment, &|sealed| office.sealer.open_text(sealed)))
        .map_err(|e| Ends(format!("the variables cannot be read: {e:#}")))?;
    let services = tree.project.services.iter().map(|service| async {
        let recipe = recipe(drive, RecipeKind::Service, &service.kind)?;
        Ok::<_, anyhow::Error>((service.name.clone(), image(drive, &recipe).await?))
    });
    let applications = tree.project.applications.iter().map(|app| application(drive, tree, app, &levels));
    let (services, applications) = tokio::join!(join_all(services), join_all(applications));
    let mut built = Built { images: BTreeMap::new(), slugs: BTreeMap::new() };
    let mut failures = Vec::new();
    for result in services {
        match result {
            Ok((name, image)) => drop(built.images.insert(name, image)),
            Err(error) => failures.push(error),
        }
    }
    for result in applications {
        match result {
            Ok((name, image, slug)) => {
                built.images.insert(name.clone(), image);
                built.slugs.insert(name, slug);
            }
            Err(error) => failures.push(error),
        }
    }
    // The others were let finish, so that their slugs are there next time. One that this leader cannot judge goes first.
    match failures.into_iter().min_by_key(|e| e.downcast_ref::<Ends>().is_some()) {
        Some(error) => Err(error),
        None => Ok(built),
    }
}

fn recipe(drive: &Drive, kind: RecipeKind, type_name: &str) -> anyhow::Result<Recipe> {
    drive.office.catalogue.find(kind, type_name).cloned().ok_or_else(|| {
        Ends(format!("this platform has no recipe for '{type_name}'; an operator adds one to its catalogue folder")).into()
    })
}

async fn application(
    drive: &Drive,
    tree: &PushedTree,
    app: &Application,
    levels: &BTreeMap<String, Plain>,
) -> anyhow::Result<(String, ImageId, SlugId)> {
    let recipe = recipe(drive, RecipeKind::Runtime, &app.kind)?;
    let image = image(drive, &recipe).await?;
    let tree_id = tree.app_trees.get(&app.name).map_or("", String::as_str);
    let environment = drive.env()?;
    let key = build_key(environment.project.as_str(), app, tree_id, levels, &image, architecture());
    let short = tree_id.get(..7).unwrap_or(tree_id);
    drive.log.say(1, Level::Info, &app.name, format!("Building application '{}' (runtime type: {}, tree: {short})", app.name, app.kind));
    let known = drive.office.read(|s| match s.builds.get(&key) {
        Some(Build::Done { slug, bytes, .. }) => Some((slug.clone(), *bytes)),
        _ => None,
    });
    if let Some((slug, bytes)) = known {
        drive.log.say(2, Level::Info, &app.name, "Reusing existing build for this tree ID.");
        let report = BuildReport {
            app: app.name.clone(),
            reused: true,
            slug: slug.clone(),
            worker: None,
            started_at: crate::chance::now_ms(),
            ms: 0,
            bytes,
            uploaded_bytes: 0,
        };
        drive.office.record(Command::ReportBuild { activity: drive.id.clone(), report }).await?;
        return Ok((app.name.clone(), image, slug));
    }
    let spec = build_spec(drive, tree, app, levels, &recipe, &image, &key, tree_id)?;
    let order = Order { key: key.clone(), what: "build", label: format!("application '{}'", app.name), source: app.name.clone() };
    let (outcome, worker) = order.carry_out(drive, spec).await?;
    let TaskOutcome::Built { slug, bytes, uploaded_bytes, build_ms, started_unix_ms, .. } = outcome else {
        anyhow::bail!("a build ended oddly: {outcome:?}");
    };
    drive.office.record(Command::RecordBuild { key: key.clone(), slug: slug.clone(), bytes, worker: worker.clone() }).await?;
    // The first recorded result wins: it may be another one's.
    let slug = drive.office.read(|s| match s.builds.get(&key) {
        Some(Build::Done { slug, .. }) => slug.clone(),
        _ => slug.clone(),
    });
    let report = BuildReport {
        app: app.name.clone(),
        reused: false,
        slug: slug.clone(),
        worker: Some(worker),
        started_at: started_unix_ms,
        ms: build_ms,
        bytes,
        uploaded_bytes,
    };
    drive.office.record(Command::ReportBuild { activity: drive.id.clone(), report }).await?;
    Ok((app.name.clone(), image, slug))
}

fn build_spec(
    drive: &Drive,
    tree: &PushedTree,
    app: &Application,
    levels: &BTreeMap<String, Plain>,
    recipe: &Recipe,
    image: &ImageId,
    key: &BuildKey,
    tree_id: &str,
) -> anyhow::Result<TaskSpec> {
    let environment = drive.env()?;
    let (entropy, packs) = drive
        .office
        .read(|s| s.projects.get(&environment.project).map(|p| (p.entropy.clone(), p.packs.keys().cloned().collect())))
        .ok_or_else(|| Ends("the project is gone".into()))?;
    let context = environment::Context {
        flavour: tree.project.flavour,
        project: environment.project.as_str(),
        entropy: &entropy,
        tree_id,
    };
    let user = seen(&app.name, &app.variables, levels, true);
    let mut env = environment::of_build(&context, &app.name, &app.application_variable(true), &user);
    let runtime = recipe.runtime.as_ref().context("the recipe is not of a runtime")?;
    for (name, value) in &runtime.env {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let mounts = app.mounts.keys().chain(app.web.overrides.mounts.iter().flatten().map(|(path, _)| path));
    let workers = app.workers.values().filter_map(|w| w.overrides.mounts.as_ref()).flat_map(|m| m.keys());
    Ok(TaskSpec::BuildApp(BuildApp {
        activity: drive.id.clone(),
        project: environment.project.clone(),
        app: app.name.clone(),
        key: key.clone(),
        recipe: recipe.clone(),
        image: image.clone(),
        packs,
        tree: tree.app_tree_sources.get(&app.name).cloned().context("the application's tree is not recorded")?,
        exclude: app.config_files.clone(),
        app_json: serde_json::to_string(app)?,
        env,
        limits: Limits { memory_mb: BUILD_MEMORY_MB, cpu_millis: BUILD_CPU_MILLIS, pids: 4096 },
        hook_seconds_max: HOOK_SECONDS_MAX,
        mount_paths: mounts.chain(workers).cloned().collect(),
    }))
}

/// The image of a recipe, built on first use.
async fn image(drive: &Drive, recipe: &Recipe) -> anyhow::Result<ImageId> {
    let digest = recipe_digest(recipe, architecture());
    let known = || drive.office.read(|s| s.images.get(digest.as_str()).map(|i| i.image.clone()));
    if let Some(image) = known() {
        return Ok(image);
    }
    drive.log.say(1, Level::Info, &recipe.type_name(), format!("Building base image {} (first use on this platform)", recipe.type_name()));
    let spec = TaskSpec::BuildImage(BuildImage { recipe: recipe.clone(), activity: drive.id.clone() });
    let order = Order { key: digest.clone(), what: "image", label: format!("base image {}", recipe.type_name()), source: recipe.type_name() };
    let outcome = order.carry_out(drive, spec).await;
    if let Some(image) = known() {
        return Ok(image);
    }
    let (TaskOutcome::Image { image, bytes }, _) = outcome? else { anyhow::bail!("an image build ended oddly") };
    drive
        .office
        .record(Command::RecordImage { digest: digest.to_string(), image: Image { name: recipe.type_name(), image: image.clone(), bytes } })
        .await?;
    Ok(known().unwrap_or(image))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// One order to some worker, by key: whoever needs the same joins it.
struct Order {
    key: BuildKey,
    what: &'static str,
    label: String,
    source: String,
}

impl Order {
    fn task(&self, attempt: u32) -> TaskId {
        format!("task-{}-{}-{attempt}", self.what, &self.key.as_str()[..24]).parse().expect("a key makes a task id")
    }

    /// Has it done, up to three times where machines fail; answers the outcome and who did it.
    async fn carry_out(&self, drive: &Drive, spec: TaskSpec) -> anyhow::Result<(TaskOutcome, NodeId)> {
        let office = &drive.office;
        let mut bell = office.world.bell();
        let mut failures = 0;
        loop {
            if drive.cancelled() {
                return Err(Ends("cancelled".into()).into());
            }
            let (worker, attempt) = self.assigned(drive).await?;
            let task = self.task(attempt);
            office.world.order_task(&task, &worker, attempt, &spec);
            let outcome = loop {
                bell.mark_unchanged();
                if let Some(outcome) = office.world.look(|w| w.tasks.get(&task).cloned()) {
                    break outcome;
                }
                if drive.cancelled() {
                    office.world.abandon_task(&task, "cancelled");
                    office.record(Command::ReleaseBuild { key: self.key.clone(), attempt }).await?;
                    return Err(Ends("cancelled".into()).into());
                }
                if self.lost(drive, &worker) {
                    break TaskOutcome::InfrastructureFailure { message: format!("worker {worker} was lost") };
                }
                let _ = tokio::time::timeout(Duration::from_secs(1), bell.changed()).await;
            };
            match outcome {
                TaskOutcome::UserFailure { step, exit_code, message } => {
                    office.record(Command::ReleaseBuild { key: self.key.clone(), attempt }).await?;
                    office.world.forget_task(&task, &worker);
                    let code = exit_code.map(|c| format!(" with status code {c}")).unwrap_or_default();
                    return Err(Ends(format!("Error building {}: {step} failed{code}: {message} Aborted build.", self.label)).into());
                }
                TaskOutcome::InfrastructureFailure { message } => {
                    office.record(Command::ReleaseBuild { key: self.key.clone(), attempt }).await?;
                    office.world.abandon_task(&task, "given up");
                    failures += 1;
                    if failures >= ATTEMPTS_MAX {
                        return Err(Ends(format!("Error building {}: {message} (tried {failures} times)", self.label)).into());
                    }
                    drive.log.say(2, Level::Warning, &self.source, format!("{message}; it is tried again ({failures} of {ATTEMPTS_MAX})"));
                    // Attempts are numbered by the second.
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                TaskOutcome::Cancelled => {
                    office.record(Command::ReleaseBuild { key: self.key.clone(), attempt }).await?;
                    return Err(Ends("cancelled".into()).into());
                }
                outcome => {
                    if self.what == "image" {
                        office.record(Command::ReleaseBuild { key: self.key.clone(), attempt }).await?;
                    }
                    return Ok((outcome, worker));
                }
            }
        }
    }

    /// Who does it: as the ledger says, or a worker with a free slot, written down first.
    async fn assigned(&self, drive: &Drive) -> anyhow::Result<(NodeId, u32)> {
        let office = &drive.office;
        let mut bell = office.world.bell();
        let mut told = false;
        loop {
            bell.mark_unchanged();
            if let Some(Build::Assigned { worker, attempt, .. }) = office.read(|s| s.builds.get(&self.key).cloned()) {
                return Ok((worker, attempt));
            }
            if let Some(worker) = free_worker(drive) {
                // Attempts rise over restarts too: seconds do.
                let attempt = u32::try_from(crate::chance::now_ms() / 1000).unwrap_or(u32::MAX);
                office.propose(Command::AssignBuild { key: self.key.clone(), worker, attempt }).await?;
                continue;
            }
            if !told {
                told = true;
                let none = office.world.connected_workers().is_empty();
                let why = if none { "no worker is connected (`slipway node list`)" } else { "all workers are busy" };
                drive.log.say(2, Level::Info, &self.source, format!("Waiting for a worker: {why}."));
            }
            if drive.cancelled() {
                return Err(Ends("cancelled".into()).into());
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), bell.changed()).await;
        }
    }

    fn lost(&self, drive: &Drive, worker: &NodeId) -> bool {
        let silent_since = drive.office.world.silent_since(worker);
        silent_since.is_some_and(|since| crate::chance::now_ms() - since > LOST_AFTER_MS)
    }
}

/// The connected worker with the most free slots.
fn free_worker(drive: &Drive) -> Option<NodeId> {
    let connected = drive.office.world.connected_workers();
    drive.office.read(|state| {
        let busy = |worker: &NodeId| {
            state.builds.values().filter(|b| matches!(b, Build::Assigned { worker: w, .. } if w == worker)).count() as i64
        };
        connected
            .iter()
            .filter_map(|id| state.workers.get(id).filter(|w| !w.draining).map(|w| (id, i64::from(w.build_slots) - busy(id))))
            .filter(|(_, free)| *free > 0)
            .max_by_key(|(id, free)| (*free, std::cmp::Reverse((*id).clone())))
            .map(|(id, _)| id.clone())
    })
}
