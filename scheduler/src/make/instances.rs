//! The containers of a release: which are made anew, which services stay.

use super::environment::{Context, Running};
use super::relationships::Directory;
use super::variables::{Plain, seen};
use super::{crons, environment};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway_core::state::*;
use slipway_manifest::{Application, MountSource as FileSource, Mounts, Relationship, Service, Variables, Worker};
use slipway_model::hosts::machine_name;
use slipway_model::instance::*;
use slipway_model::recipe::Recipe;
use slipway_model::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Processes and threads of one container: enough for a busy PHP or Java application, too few for a fork bomb.
const PIDS_MAX: u32 = 2048;
/// Cores of one container: it may use the whole of a small machine while nobody else wants it.
const CPU_MILLIS: u32 = 2000;
/// A volume whose size nothing says (Upsun files have no `disk`).
const DISK_MB: u64 = 2048;
/// A temporary mount, in memory or on the worker's disk (app-yaml §13 caps it at 8 GB).
const TEMPORARY_MB: u64 = 1024;
/// An application must accept connections by then (lifecycle §0).
const START_SECONDS_MAX: u64 = 60;

/// What is sealed apart from an instance's spec.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Secrets {
    pub env: BTreeMap<String, String>,
    pub config_json: String,
    pub endpoints_json: String,
    pub php_ini: BTreeMap<String, String>,
}

/// Puts the secrets back where they belong, for the worker alone.
pub fn opened(spec: &InstanceSpec, secrets: Secrets) -> InstanceSpec {
    let mut spec = spec.clone();
    spec.env = secrets.env;
    spec.config_json = secrets.config_json;
    match &mut spec.process {
        Process::Application { php_ini, .. } | Process::Worker { php_ini, .. } => *php_ini = secrets.php_ini,
        Process::Service { endpoints_json, .. } => *endpoints_json = secrets.endpoints_json,
    }
    spec
}

/// All that instances are made from.
pub struct Making<'a> {
    pub environment_id: &'a EnvironmentId,
    pub environment: &'a Environment,
    pub project: &'a Project,
    pub release_id: &'a ReleaseId,
    pub release: &'a Release,
    pub deployment: &'a DeploymentId,
    pub worker: &'a NodeId,
    /// Container name (application or service) -> recipe.
    pub recipes: &'a BTreeMap<String, Recipe>,
    /// The release's own runtime variables.
    pub levels: &'a BTreeMap<String, Plain>,
    /// `service/endpoint` -> password.
    pub passwords: &'a BTreeMap<String, String>,
    /// Instances of the environment now, for services that stay.
    pub present: &'a BTreeMap<InstanceId, Instance>,
    pub seal: &'a dyn Fn(&str) -> String,
    /// Fresh addresses and ids.
    pub address: &'a dyn Fn() -> Option<Ipv4Addr>,
    pub instance_id: &'a dyn Fn() -> InstanceId,
    pub volume_id: &'a dyn Fn() -> VolumeId,
    /// A rollback keeps the services as they are, whatever the old release asked of them.
    pub keep_services: bool,
}

/// What they come to.
#[derive(Default)]
pub struct Made {
    pub new: BTreeMap<String, (InstanceId, Instance)>,
    pub kept: BTreeMap<String, InstanceId>,
    pub volumes: BTreeMap<VolumeId, Volume>,
}

/// Makes the containers of a release.
pub fn make(making: &Making<'_>) -> anyhow::Result<Made> {
    let mut made = Made::default();
    let mut addresses = BTreeMap::new();
    let manifest = &making.release.tree.project;
    for service in &manifest.services {
        let print = fingerprint(making, service)?;
        if let Some((id, instance)) = staying(making, service, &print) {
            addresses.insert(service.name.clone(), instance.spec.address);
            made.kept.insert(service.name.clone(), id.clone());
        } else {
            addresses.insert(service.name.clone(), address(making)?);
        }
    }
    for app in &manifest.applications {
        addresses.insert(app.name.clone(), address(making)?);
    }
    let directory = Directory {
        project: manifest,
        cluster: making.environment_id.as_str(),
        addresses: &addresses,
        recipes: making.recipes,
        passwords: making.passwords,
    };
    for service in manifest.services.iter().filter(|s| !made.kept.contains_key(&s.name)).collect::<Vec<_>>() {
        let instance = service_instance(making, &directory, service, addresses[&service.name], &mut made.volumes)?;
        made.new.insert(service.name.clone(), ((making.instance_id)(), instance));
    }
    for app in &manifest.applications {
        let instance = application_instance(making, &directory, app, addresses[&app.name], &mut made.volumes)?;
        made.new.insert(app.name.clone(), ((making.instance_id)(), instance));
        for (name, worker) in &app.workers {
            let address = address(making)?;
            let instance = worker_instance(making, &directory, app, name, worker, address, &mut made.volumes)?;
            made.new.insert(format!("{}--{name}", app.name), ((making.instance_id)(), instance));
        }
    }
    for (id, instance) in made.new.values_mut() {
        instance.spec.id = id.clone();
    }
    Ok(made)
}

fn address(making: &Making<'_>) -> anyhow::Result<Ipv4Addr> {
    (making.address)().context("the pool of container addresses is used up: widen `[network] instance_pool`")
}

/// The digest of what makes a service container what it is.
fn fingerprint(making: &Making<'_>, service: &Service) -> anyhow::Result<String> {
    let image = making.release.images.get(&service.name).context("the service's image is not built")?;
    let text = json!({
        "image": image,
        "configuration": service.configuration,
        "size": service.size,
        "disk": service.disk,
        "relationships": service.relationships,
    })
    .to_string();
    Ok(data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes())))
}

fn staying<'a>(making: &Making<'a>, service: &Service, print: &str) -> Option<(&'a InstanceId, &'a Instance)> {
    // What serves comes first; else one at rest that a newer release had taken out.
    let serving = making.environment.serving.get(&service.name);
    making
        .present
        .iter()
        .filter(|(_, i)| !i.retired && i.kind == ContainerKind::Service && i.spec.name == service.name)
        .filter(|(id, i)| {
            let is_serving = serving == Some(id);
            (is_serving && (making.keep_services || i.fingerprint == print))
                || (serving.is_none() && i.fingerprint == print)
        })
        .next_back()
}

fn service_instance(
    making: &Making<'_>,
    directory: &Directory<'_>,
    service: &Service,
    address: Ipv4Addr,
    volumes: &mut BTreeMap<VolumeId, Volume>,
) -> anyhow::Result<Instance> {
    let recipe = making.recipes.get(&service.name).context("the service has no recipe")?;
    let kind = recipe.service.as_ref().context("the recipe is not of a service")?;
    let (_, links) = directory.of(&service.relationships)?;
    let source = if kind.persistent {
        let size_mb = service.disk.unwrap_or(DISK_MB);
        MountSource::Volume { volume: volume(making, &service.name, size_mb, volumes), sub_path: String::new(), size_mb }
    } else {
        MountSource::Temporary { size_mb: kind.memory_mb }
    };
    let endpoints_json = directory.endpoints_json(service);
    let configuration_json = service.configuration.to_string();
    let env = BTreeMap::from([
        ("SLIPWAY_DATA".to_string(), "/data".to_string()),
        ("SLIPWAY_CONFIG".to_string(), configuration_json.clone()),
        ("SLIPWAY_ENDPOINTS".to_string(), endpoints_json.clone()),
        ("SLIPWAY_MEMORY_MB".to_string(), kind.memory_mb.to_string()),
        ("SLIPWAY_PORT".to_string(), kind.port.to_string()),
    ]);
    let secrets = Secrets { env, config_json: "{}".into(), endpoints_json, php_ini: BTreeMap::new() };
    let process = Process::Service { configuration_json, endpoints_json: String::new() };
    let mut instance = instance(making, &service.name, recipe, address, &secrets, process)?;
    instance.spec.links = links;
    instance.spec.mounts = vec![MountSpec { path: "/data".into(), source }];
    instance.spec.limits.memory_mb = kind.memory_mb;
    instance.fingerprint = fingerprint(making, service)?;
    instance.persistent = kind.persistent;
    instance.service_port = Some(kind.port);
    instance.kind = ContainerKind::Service;
    Ok(instance)
}

/// What of an application a web container and a worker share.
struct Parts<'a> {
    container: String,
    mounts: &'a Mounts,
    relationships: &'a BTreeMap<String, Relationship>,
    variables: &'a Variables,
    disk: Option<u64>,
    hosts: &'a BTreeMap<String, String>,
    start: Option<&'a str>,
}

fn application_instance(
    making: &Making<'_>,
    directory: &Directory<'_>,
    app: &Application,
    address: Ipv4Addr,
    volumes: &mut BTreeMap<VolumeId, Volume>,
) -> anyhow::Result<Instance> {
    let over = &app.web.overrides;
    let parts = Parts {
        container: app.name.clone(),
        mounts: over.mounts.as_ref().unwrap_or(&app.mounts),
        relationships: over.relationships.as_ref().unwrap_or(&app.relationships),
        variables: over.variables.as_ref().unwrap_or(&app.variables),
        disk: over.disk.or(app.disk),
        hosts: over.additional_hosts.as_ref().unwrap_or(&app.additional_hosts),
        start: app.web.commands.start.as_deref(),
    };
    let seed = format!("{}/{}", making.environment_id, app.name);
    let cron = |(name, cron): (&String, &slipway_manifest::Cron)| CronSpec {
        name: name.clone(),
        spec: crons::settled(&cron.spec, &format!("{seed}/{name}")),
        start: cron.start.clone(),
        stop: cron.stop.clone(),
        timeout_seconds: cron.timeout,
        shutdown_timeout_seconds: cron.shutdown_timeout,
        timezone: app.timezone.clone(),
    };
    let process = Process::Application {
        web_json: serde_json::to_string(&app.web)?,
        runtime_json: serde_json::to_string(&app.runtime)?,
        php_ini: BTreeMap::new(),
        crons: app.crons.iter().map(cron).collect(),
        start_seconds_max: START_SECONDS_MAX,
    };
    let mut made = of_application(making, directory, app, parts, process, address, volumes)?;
    made.kind = ContainerKind::Application;
    Ok(made)
}

fn worker_instance(
    making: &Making<'_>,
    directory: &Directory<'_>,
    app: &Application,
    name: &str,
    worker: &Worker,
    address: Ipv4Addr,
    volumes: &mut BTreeMap<VolumeId, Volume>,
) -> anyhow::Result<Instance> {
    let over = &worker.overrides;
    let parts = Parts {
        container: format!("{}--{name}", app.name),
        mounts: over.mounts.as_ref().unwrap_or(&app.mounts),
        relationships: over.relationships.as_ref().unwrap_or(&app.relationships),
        variables: over.variables.as_ref().unwrap_or(&app.variables),
        disk: over.disk.or(app.disk),
        hosts: over.additional_hosts.as_ref().unwrap_or(&app.additional_hosts),
        start: worker.commands.start.as_deref(),
    };
    let process = Process::Worker {
        pre_start: worker.commands.pre_start.clone(),
        start: worker.commands.start.clone().context("the worker has no start command")?,
        runtime_json: serde_json::to_string(&app.runtime)?,
        php_ini: BTreeMap::new(),
    };
    let mut made = of_application(making, directory, app, parts, process, address, volumes)?;
    made.kind = ContainerKind::Worker;
    Ok(made)
}

fn of_application(
    making: &Making<'_>,
    directory: &Directory<'_>,
    app: &Application,
    parts: Parts<'_>,
    process: Process,
    address: Ipv4Addr,
    volumes: &mut BTreeMap<VolumeId, Volume>,
) -> anyhow::Result<Instance> {
    let recipe = making.recipes.get(&app.name).context("the application has no recipe")?;
    let runtime = recipe.runtime.as_ref().context("the recipe is not of a runtime")?;
    let (relationships, links) = directory.of(parts.relationships)?;
    let machine = machine_name(&making.environment.branch);
    let mut user = seen(&app.name, parts.variables, making.levels, false);
    let php_ini = std::mem::take(&mut user.php);
    let tree = making.release.tree.app_trees.get(&app.name).map_or("", String::as_str);
    let context = Context {
        flavour: making.release.tree.project.flavour,
        project: making.environment.project.as_str(),
        entropy: &making.project.entropy,
        tree_id: tree,
    };
    let start = parts.start.or((!runtime.start.is_empty()).then_some(runtime.start.as_str()));
    let running = Running {
        branch: making.environment.branch.as_str(),
        machine_name: &machine,
        kind: &making.environment.kind,
        relationships: &relationships,
        routes: &making.release.routes_variable,
        document_root: document_root(app),
        start,
    };
    let (mut env, config_json) =
        environment::of_running(&context, &app.name, &app.application_variable(false), &user, &running);
    for (name, value) in &runtime.env {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let secrets = Secrets { env, config_json, endpoints_json: String::new(), php_ini };
    let mut made = instance(making, &parts.container, recipe, address, &secrets, process)?;
    made.spec.slug = Some(making.release.slugs.get(&app.name).context("the application is not built")?.clone());
    made.spec.links = links;
    made.spec.hosts = parts.hosts.clone();
    made.spec.mounts = mount_specs(making, &parts, volumes);
    made.spec.limits.memory_mb = runtime.memory_mb;
    Ok(made)
}

fn document_root(app: &Application) -> Option<String> {
    let root = app.web.locations.get("/").and_then(|l| l.root.as_deref())?;
    Some(format!("/app/{}", root.trim_matches('/')).trim_end_matches('/').to_string())
}

fn mount_specs(making: &Making<'_>, parts: &Parts<'_>, volumes: &mut BTreeMap<VolumeId, Volume>) -> Vec<MountSpec> {
    let mut specs: Vec<MountSpec> = parts
        .mounts
        .iter()
        .map(|(path, mount)| {
            let size_mb = parts.disk.unwrap_or(DISK_MB);
            let persistent = |owner: &str, volumes: &mut BTreeMap<VolumeId, Volume>| MountSource::Volume {
                volume: volume(making, owner, size_mb, volumes),
                sub_path: mount.source_path.clone(),
                size_mb,
            };
            let source = match (mount.source, &mount.service) {
                (FileSource::Local | FileSource::Storage, _) => persistent(&parts.container, volumes),
                (FileSource::Service, Some(service)) => persistent(service, volumes),
                (FileSource::Service, None) | (FileSource::Instance | FileSource::Temporary, _) => {
                    MountSource::Temporary { size_mb: TEMPORARY_MB }
                }
            };
            MountSpec { path: format!("/app/{path}"), source }
        })
        .collect();
    // An outer mount comes before one inside it.
    specs.sort_by(|a, b| a.path.cmp(&b.path));
    specs
}

/// The volume of a container name: the environment's own, or a fresh one.
fn volume(making: &Making<'_>, container: &str, size_mb: u64, volumes: &mut BTreeMap<VolumeId, Volume>) -> VolumeId {
    if let Some(id) = making.environment.volumes.get(container) {
        return id.clone();
    }
    if let Some((id, _)) = volumes.iter().find(|(_, v)| v.container == container) {
        return id.clone();
    }
    let id = (making.volume_id)();
    let volume = Volume {
        environment: making.environment_id.clone(),
        container: container.to_string(),
        worker: making.worker.clone(),
        size_mb,
        condemned: false,
    };
    volumes.insert(id.clone(), volume);
    id
}

fn instance(
    making: &Making<'_>,
    name: &str,
    recipe: &Recipe,
    address: Ipv4Addr,
    secrets: &Secrets,
    process: Process,
) -> anyhow::Result<Instance> {
    // Workers use their application's image; a service its own.
    let owner = name.split_once("--").map_or(name, |(app, _)| app);
    let image = making.release.images.get(owner).with_context(|| format!("the image of '{owner}' is not built"))?;
    Ok(Instance {
        worker: making.worker.clone(),
        release: making.release_id.clone(),
        spec: InstanceSpec {
            id: (making.instance_id)(),
            project: making.environment.project.clone(),
            environment: making.environment_id.clone(),
            deployment: making.deployment.clone(),
            name: name.to_string(),
            recipe: recipe.type_name(),
            image: image.clone(),
            slug: None,
            env: BTreeMap::new(),
            config_json: String::new(),
            mounts: Vec::new(),
            limits: Limits { memory_mb: 512, cpu_millis: CPU_MILLIS, pids: PIDS_MAX },
            address,
            hostname: format!("{}.0", name.replace('_', "-")),
            links: Vec::new(),
            hosts: BTreeMap::new(),
            process,
            target: Target::Created,
            ingress: None,
            background: false,
        },
        sealed: (making.seal)(&serde_json::to_string(secrets)?),
        fingerprint: String::new(),
        next_port: INGRESS_PORT_FIRST,
        persistent: false,
        service_port: None,
        kind: ContainerKind::Application,
        retired: false,
    })
}
