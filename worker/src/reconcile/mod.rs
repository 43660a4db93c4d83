//! The desired set becomes containers: one task per instance, so that a slow one holds up nobody.
//!
//! ```text
//! DesiredSet ─▶ Reconciler ─(what each shall be)─▶ Instance ─look─▶ plan::next ─▶ step ─▶ look …
//!                    └▶ links, names                   └▶ InstanceObserved
//! ```

mod instance;
mod plan;
mod prepare;
mod record;

pub use plan::{Seen, Step, next};
pub use record::{FrontRecord, Record};

use crate::desk::write_durably;
use crate::machine::{self, Containers, LinkRule, Network, Places, Resolver, VolumeDriver, Zone};
use crate::room::{Room, Rooms};
use instance::Instance;
use serde::{Deserialize, Serialize};
use slipway_model::instance::{DesiredSet, InstanceSpec};
use slipway_model::observed::InstanceObserved;
use slipway_model::{EnvironmentId, Epoch, ImageId, InstanceId, SlugId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// First id outside of the first container; below are the machine's own users and other tools' ranges.
const ID_MAP_FIRST: u32 = 1 << 20;
/// Containers that can have ids of their own.
const ID_MAPS_MAX: u32 = 60_000;
/// First id outside of build containers, beyond those of instances.
pub const ID_MAP_BUILDS: u32 = ID_MAP_FIRST + ID_MAPS_MAX * machine::rootfs::ID_COUNT;
const DESIRED: &str = "desired.json";

/// Read-only trees of images and slugs, fetched when they are not here yet.
#[async_trait::async_trait]
pub trait Trees: Send + Sync + 'static {
    async fn image(&self, image: &ImageId) -> Result<PathBuf, Trouble>;
    async fn slug(&self, slug: &SlugId) -> Result<PathBuf, Trouble>;
}

/// Why an instance cannot be brought further.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It will not get better by itself.
    #[error("{0}")]
    Configuration(String),
    /// The store, the disk, the kernel: tried again.
    #[error("{0}")]
    Infrastructure(String),
    #[error(transparent)]
    Machine(#[from] machine::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The primitives that instances are made with.
pub struct Machine {
    pub places: Places,
    pub containers: Containers,
    pub network: Arc<Network>,
    pub resolver: Arc<Resolver>,
    pub volumes: Arc<dyn VolumeDriver>,
    pub trees: Arc<dyn Trees>,
    /// Records and configuration of instances.
    pub directory: PathBuf,
    /// Instances are no longer looked after; they go on.
    pub rest: CancellationToken,
}

impl Machine {
    fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.directory.join(id.as_str())
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    generation: u64,
    set: DesiredSet,
    /// Highest epoch seen of each environment: the fence of hooks.
    epochs: BTreeMap<EnvironmentId, Epoch>,
}

/// A cheap handle.
#[derive(Clone)]
pub struct Reconciler {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Arc<Machine>,
    state: Mutex<State>,
    /// One desired set at a time.
    taking: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
}

struct State {
    kept: Kept,
    /// Every instance has been told of it.
    told_generation: u64,
    instances: BTreeMap<InstanceId, Instance>,
}

impl Reconciler {
    /// Adopt what a former process left, and go on towards the last desired set.
    pub async fn open(machine: Machine) -> Result<Reconciler, Trouble> {
        std::fs::create_dir_all(&machine.directory)?;
        let kept = match std::fs::read(machine.directory.join(DESIRED)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(_) => Kept::default(),
        };
        let records = load_records(&machine.directory)?;
        end_strays(&machine, &records).await?;
        let state = State { told_generation: kept.generation, kept, instances: BTreeMap::new() };
        let inner = Inner { machine: Arc::new(machine), state: Mutex::new(state), taking: Default::default(), changed: watch::channel(0).0 };
        let reconciler = Reconciler { inner: Arc::new(inner) };
        {
            let mut state = reconciler.lock();
            for record in records {
                let want = state.kept.set.instances.iter().find(|spec| spec.id == record.spec.id).cloned();
                let instance = reconciler.launch(record, want);
                state.instances.insert(instance.id().clone(), instance);
            }
        }
        let set = reconciler.lock().kept.set.clone();
        reconciler.spread(&set).await?;
        Ok(reconciler)
    }

    /// Take a desired set; one of a lower generation than the highest seen is ignored.
    pub async fn desire(&self, generation: u64, set: DesiredSet) -> Result<(), Trouble> {
        let _turn = self.inner.taking.lock().await;
        {
            let mut state = self.lock();
            if generation < state.kept.generation {
                return Ok(());
            }
            state.kept.generation = generation;
            state.kept.set = set.clone();
            for spec in &set.instances {
                if let Some(ingress) = spec.ingress {
                    let highest = state.kept.epochs.entry(spec.environment.clone()).or_default();
                    *highest = (*highest).max(ingress.epoch);
                }
            }
            let bytes = serde_json::to_vec(&state.kept).map_err(std::io::Error::other)?;
            write_durably(&self.inner.machine.directory.join(DESIRED), &bytes)?;
        }
        self.spread(&set).await?;
        self.lock().told_generation = generation;
        Ok(())
    }

    /// Tell each instance what it shall be, and the network who may reach whom.
    async fn spread(&self, set: &DesiredSet) -> Result<(), Trouble> {
        let mut links: Vec<LinkRule> = vec![];
        for spec in &set.instances {
            links.extend(spec.links.iter().flat_map(|link| link.ports.iter().map(|port| LinkRule { from: spec.address, to: link.address, port: *port })));
            self.inner.machine.resolver.set(spec.address, zone(spec));
        }
        links.sort();
        links.dedup();
        self.inner.machine.network.set_links(&links).await?;
        let mut state = self.lock();
        state.instances.retain(|_, instance| !instance.is_over());
        for spec in &set.instances {
            match state.instances.get(&spec.id) {
                Some(instance) => instance.want(Some(spec.clone())),
                None => {
                    let base = free_base(&state)?;
                    let instance = self.launch(Record::new(spec.clone(), base), Some(spec.clone()));
                    state.instances.insert(spec.id.clone(), instance);
                }
            }
        }
        let wanted: BTreeSet<&InstanceId> = set.instances.iter().map(|spec| &spec.id).collect();
        for (id, instance) in &state.instances {
            if !wanted.contains(id) {
                instance.want(None);
            }
        }
        Ok(())
    }

    fn launch(&self, record: Record, want: Option<InstanceSpec>) -> Instance {
        let inner = Arc::downgrade(&self.inner);
        let ring = move || {
            if let Some(inner) = inner.upgrade() {
                inner.changed.send_modify(|count| *count += 1);
            }
        };
        Instance::launch(self.inner.machine.clone(), record, want, ring)
    }

    /// The generation that is worked on, and what is seen of each instance, sorted by id.
    pub fn observed(&self) -> (u64, Vec<InstanceObserved>) {
        let mut state = self.lock();
        state.instances.retain(|_, instance| !instance.is_over());
        (state.told_generation, state.instances.values().map(Instance::observed).collect())
    }

    /// Rings when something observed has changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// The highest epoch that was seen of an instance's environment.
    pub fn highest_epoch(&self, instance: &InstanceId) -> Option<Epoch> {
        let state = self.lock();
        let environment = &state.kept.set.instances.iter().find(|spec| spec.id == *instance)?.environment;
        state.kept.epochs.get(environment).copied()
    }

    /// What it shall be, as last heard.
    pub fn spec(&self, instance: &InstanceId) -> Option<InstanceSpec> {
        self.lock().kept.set.instances.iter().find(|spec| spec.id == *instance).cloned()
    }

    /// The recipe of its image, once it is prepared.
    pub fn recipe(&self, instance: &InstanceId) -> Option<slipway_model::recipe::Recipe> {
        self.lock().instances.get(instance)?.recipe()
    }

    /// Instances that have any of the volumes mounted.
    pub fn holders(&self, volumes: &BTreeSet<slipway_model::VolumeId>) -> Vec<InstanceId> {
        self.lock().instances.values().filter(|i| i.mounts_any(volumes)).map(|i| i.id().clone()).collect()
    }

    /// Let go of a volume's mounts in instances that do not run; names one that does.
    pub async fn release(&self, volumes: &BTreeSet<slipway_model::VolumeId>) -> Result<(), Trouble> {
        let holders: Vec<Instance> = self.lock().instances.values().filter(|i| i.mounts_any(volumes)).cloned().collect();
        for holder in holders {
            holder.release_data().await?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Rooms for Reconciler {
    fn enter(&self, instance: &str) -> Result<Room, String> {
        let state = self.lock();
        let instance = instance.parse::<InstanceId>().ok().and_then(|id| state.instances.get(&id));
        instance.ok_or_else(|| "there is no such instance on this worker".to_string())?.room()
    }
}

fn zone(spec: &InstanceSpec) -> Zone {
    let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for link in &spec.links {
        names.entry(link.name.to_ascii_lowercase()).or_default().push(link.address.into());
    }
    for (name, address) in &spec.hosts {
        if let Ok(address) = address.parse() {
            names.entry(name.to_ascii_lowercase()).or_default().push(address);
        }
    }
    Zone { names }
}

fn free_base(state: &State) -> Result<u32, Trouble> {
    let taken: BTreeSet<u32> = state.instances.values().map(Instance::id_map_base).collect();
    let bases = (0..ID_MAPS_MAX).map(|slot| ID_MAP_FIRST + slot * machine::rootfs::ID_COUNT);
    bases.into_iter().find(|base| !taken.contains(base)).ok_or_else(|| Trouble::Infrastructure("no user ids are left for another container".into()))
}

/// Containers of instances whose record was lost: nobody would ever end them.
async fn end_strays(machine: &Machine, records: &[Record]) -> Result<(), Trouble> {
    for (id, _) in machine.containers.list().await? {
        if id.starts_with("i-") && !records.iter().any(|record| record.spec.id.as_str() == id) {
            tracing::warn!(instance = %id, "a container without a record is taken away");
            machine.containers.stop_and_delete_task(&id, nix::libc::SIGKILL, std::time::Duration::ZERO).await?;
            machine.containers.delete(&id).await?;
            machine.network.detach(&id).await?;
        }
    }
    Ok(())
}

fn load_records(directory: &Path) -> std::io::Result<Vec<Record>> {
    let entries = std::fs::read_dir(directory)?.flatten().filter(|entry| entry.path().is_dir());
    Ok(entries.filter_map(|entry| Record::load(&entry.path())).collect())
}
