//! Placement: which worker, which containers anew, which stay.

use super::activity::{Drive, Ends};
use crate::chance;
use crate::make::instances::{Made, Making, make};
use crate::make::relationships::generated_passwords;
use crate::make::variables::Plain;
use slipway_core::Command;
use slipway_core::state::*;
use slipway_model::instance::Target;
use slipway_model::phase::Phase;
use slipway_model::recipe::{Recipe, RecipeKind};
use slipway_model::{DeploymentId, InstanceId, NodeId, ReleaseId, SnapshotId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// An environment's worker may be away for so long before a deployment gives up on it.
const WORKER_WAIT: Duration = Duration::from_secs(60);
/// Characters of a generated password.
const PASSWORD_CHARACTERS: usize = 32;

/// How a release comes to its environment.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Deploy,
    Rollback { run_hooks: bool, with_data: bool },
}

/// Places a release's containers and begins its deployment.
pub async fn begin(drive: &Drive, release_id: &ReleaseId, way: Way) -> anyhow::Result<DeploymentId> {
    let office = &drive.office;
    let release = office
        .read(|s| s.releases.get(release_id).cloned())
        .ok_or_else(|| Ends(format!("release {release_id} is gone")))?;
    let recipes = recipes(drive, &release)?;
    let passwords = passwords(drive, &release, &recipes).await?;
    let worker = worker(drive).await?;
    // Addresses are chosen and recorded by one at a time.
    let _placing = office.placing.lock().await;
    let environment = drive.env()?;
    let id: DeploymentId = chance::id("dep");
    let levels: BTreeMap<String, Plain> =
        serde_json::from_str(&office.sealer.open_text(&release.sealed_variables).map_err(|e| Ends(format!("{e:#}")))?)?;
    let made = make_instances(drive, &environment, release_id, &release, &id, &worker, &recipes, &levels, &passwords, way)
        .map_err(|e| Ends(format!("the containers cannot be placed: {e:#}")))?;
    for (volume_id, volume) in &made.volumes {
        office.record(Command::AddVolume { id: volume_id.clone(), volume: volume.clone() }).await?;
    }
    let (new, instances) = reserve_or_new(drive, &environment, release_id, &made, way);
    let deployment = deployment(drive, &environment, release_id, &release, &made, new, way);
    office
        .record(Command::BeginDeployment { id: id.clone(), deployment, instances })
        .await
        .map_err(|e| Ends(format!("the deployment cannot begin: {e:#}")))?;
    Ok(id)
}

fn recipes(drive: &Drive, release: &Release) -> anyhow::Result<BTreeMap<String, Recipe>> {
    let project = &release.tree.project;
    let named = project
        .applications
        .iter()
        .map(|a| (&a.name, RecipeKind::Runtime, &a.kind))
        .chain(project.services.iter().map(|s| (&s.name, RecipeKind::Service, &s.kind)));
    named
        .map(|(name, kind, type_name)| {
            let recipe = drive
                .office
                .catalogue
                .find(kind, type_name)
                .ok_or_else(|| Ends(format!("this platform has no recipe for '{type_name}' any more")))?;
            Ok((name.clone(), recipe.clone()))
        })
        .collect()
}

/// Passwords are made once and stay for the environment's life.
async fn passwords(
    drive: &Drive,
    release: &Release,
    recipes: &BTreeMap<String, Recipe>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let office = &drive.office;
    for name in generated_passwords(&release.tree.project, recipes) {
        if !drive.env()?.credentials.contains_key(&name) {
            let sealed = office.sealer.seal(&chance::word(PASSWORD_CHARACTERS));
            office.record(Command::SetCredential { environment: drive.environment.clone(), name, sealed }).await?;
        }
    }
    let environment = drive.env()?;
    environment
        .credentials
        .into_iter()
        .map(|(name, sealed)| Ok((name, office.sealer.open_text(&sealed).map_err(|e| Ends(format!("{e:#}")))?)))
        .collect()
}

/// The environment's own worker, which has its data; else the connected one with the fewest containers.
async fn worker(drive: &Drive) -> anyhow::Result<NodeId> {
    let office = &drive.office;
    let deadline = tokio::time::Instant::now() + WORKER_WAIT;
    let mut bell = office.world.bell();
    loop {
        bell.mark_unchanged();
        let connected = office.world.connected_workers();
        let own = drive.env()?.worker;
        let chosen = match &own {
            Some(own) => connected.contains(own).then(|| own.clone()),
            None => office.read(|s| {
                let load = |w: &NodeId| s.instances.values().filter(|i| &i.worker == w).count();
                let usable = |w: &&NodeId| s.workers.get(*w).is_some_and(|r| !r.draining);
                connected.iter().filter(usable).min_by_key(|w| (load(w), (*w).clone())).cloned()
            }),
        };
        if let Some(worker) = chosen {
            return Ok(worker);
        }
        if tokio::time::timeout_at(deadline, bell.changed()).await.is_err() {
            return Err(Ends(match own {
                Some(own) => format!("worker {own}, which has the environment's data, is away; see `slipway node list`"),
                None => "no worker is connected; see `slipway node list`".into(),
            })
            .into());
        }
    }
}

fn make_instances(
    drive: &Drive,
    environment: &Environment,
    release_id: &ReleaseId,
    release: &Release,
    deployment: &DeploymentId,
    worker: &NodeId,
    recipes: &BTreeMap<String, Recipe>,
    levels: &BTreeMap<String, Plain>,
    passwords: &BTreeMap<String, String>,
    way: Way,
) -> anyhow::Result<Made> {
    let office = &drive.office;
    let (project, present, used) = office.read(|s| {
        let present: BTreeMap<InstanceId, Instance> =
            s.instances_of(&drive.environment).map(|(id, i)| (id.clone(), i.clone())).collect();
        let used: BTreeSet<Ipv4Addr> = s.instances.values().map(|i| i.spec.address).collect();
        (s.projects.get(&environment.project).cloned(), present, used)
    });
    let project = project.ok_or_else(|| Ends("the project is gone".into()))?;
    let pool = RefCell::new(Pool { pool: office.options.instance_pool, used });
    make(&Making {
        environment_id: &drive.environment,
        environment,
        project: &project,
        release_id,
        release,
        deployment,
        worker,
        recipes,
        levels,
        passwords,
        present: &present,
        seal: &|text| office.sealer.seal(text),
        address: &|| pool.borrow_mut().next(),
        instance_id: &|| chance::id("i"),
        volume_id: &|| chance::id("vol"),
        keep_services: matches!(way, Way::Rollback { .. }),
    })
}

/// Addresses of containers that nobody has.
struct Pool {
    pool: (Ipv4Addr, u8),
    used: BTreeSet<Ipv4Addr>,
}

impl Pool {
    fn next(&mut self) -> Option<Ipv4Addr> {
        let (base, bits) = self.pool;
        let size = 1u32 << (32 - u32::from(bits.min(30)));
        // A random start: an address comes back late, when every trace of its former owner is gone.
        let start = chance::number(size);
        let free = (0..size)
            .map(|n| (start + n) % size)
            // The first and the last few are left to networks and gateways.
            .filter(|n| *n >= 16 && *n < size - 1)
            .map(|n| Ipv4Addr::from(u32::from(base) + n))
            .find(|address| !self.used.contains(address))?;
        self.used.insert(free);
        Some(free)
    }
}

/// A rollback takes the old release's own instances, which are kept at rest, where they still fit: it then needs
/// neither store nor disk.
fn reserve_or_new(
    drive: &Drive,
    environment: &Environment,
    release: &ReleaseId,
    made: &Made,
    way: Way,
) -> (BTreeMap<String, InstanceId>, BTreeMap<InstanceId, Instance>) {
    let fresh = || {
        let new = made.new.iter().map(|(name, (id, _))| (name.clone(), id.clone())).collect();
        (new, made.new.values().cloned().collect())
    };
    let services_are_new = made.new.values().any(|(_, i)| i.kind == ContainerKind::Service);
    if matches!(way, Way::Deploy) || services_are_new {
        return fresh();
    }
    let (reserve, addresses) = drive.office.read(|s| {
        let reserve: BTreeMap<String, (InstanceId, Instance)> = s
            .instances_of(&drive.environment)
            .filter(|(_, i)| &i.release == release && i.kind != ContainerKind::Service && i.spec.target == Target::Stopped)
            .map(|(id, i)| (i.spec.name.clone(), (id.clone(), i.clone())))
            .collect();
        let kept: BTreeSet<Ipv4Addr> = made.kept.values().filter_map(|id| s.instances.get(id)).map(|i| i.spec.address).collect();
        (reserve, kept)
    });
    let all_there = made.new.keys().all(|name| reserve.contains_key(name)) && !reserve.is_empty();
    let own: BTreeSet<Ipv4Addr> = reserve.values().map(|(_, i)| i.spec.address).collect();
    let links_hold = reserve
        .values()
        .flat_map(|(_, i)| &i.spec.links)
        .all(|link| addresses.contains(&link.address) || own.contains(&link.address));
    if !(all_there && links_hold) || environment.worker.is_none() {
        return fresh();
    }
    (reserve.into_iter().map(|(name, (id, _))| (name, id)).collect(), BTreeMap::new())
}

fn deployment(
    drive: &Drive,
    environment: &Environment,
    release_id: &ReleaseId,
    release: &Release,
    made: &Made,
    new: BTreeMap<String, InstanceId>,
    way: Way,
) -> Deployment {
    let (run_hooks, with_data) = match way {
        Way::Deploy => (true, false),
        Way::Rollback { run_hooks, with_data } => (run_hooks, with_data),
    };
    let hooks: Vec<(String, String)> = release
        .tree
        .project
        .applications
        .iter()
        .filter(|_| run_hooks)
        .filter_map(|app| app.hooks.deploy.clone().map(|script| (app.name.clone(), script)))
        .collect();
    let old: BTreeMap<String, InstanceId> = environment
        .serving
        .iter()
        .filter(|(name, id)| made.kept.get(*name) != Some(id))
        .map(|(name, id)| (name.clone(), id.clone()))
        .collect();
    let data_changes = drive.office.read(|s| {
        // Two containers never share a database's files: the old one stops before the new one starts.
        new.keys().filter_map(|name| old.get(name)).filter_map(|id| s.instances.get(id)).any(|i| i.persistent)
    });
    let restore: Option<SnapshotId> = if with_data { environment.snapshot.clone() } else { None };
    let ignore = drive.office.read(|s| {
        let setting = s.projects.get(&environment.project).and_then(|p| p.settings.get("deploy_hook_failure"));
        setting.is_some_and(|v| v == "ignore")
    });
    Deployment {
        activity: drive.id.clone(),
        environment: drive.environment.clone(),
        release: release_id.clone(),
        previous: environment.release.clone(),
        phase: Phase::Placing,
        phase_since: chance::now_ms(),
        freezes: !hooks.is_empty() || data_changes || restore.is_some(),
        restore,
        hooks,
        hooks_done: 0,
        ignore_hook_failure: ignore,
        new,
        kept: made.kept.clone(),
        old,
        snapshot: None,
        snapshot_taken: false,
        dirtied: false,
        undo: UndoStep::None,
        frozen_at: None,
        opened_at: None,
        failure: None,
        history: Vec::new(),
        hook_ms: 0,
        generation: 0,
    }
}
