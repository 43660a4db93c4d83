//! The worker: everything put together, run until the shutdown.

use crate::build::{BuildOptions, BuildRoom};
use crate::desk::Desk;
use crate::image::ImageRoom;
use crate::link::{Link, LinkOptions};
use crate::machine::{Containers, Daemon, DaemonOptions, Network, NetworkOptions, Places, Resolver, ResolverOptions, VolumeOptions, node_resolvers, open_volumes};
use crate::options::Options;
use crate::reconcile::{ID_MAP_BUILDS, Machine, Reconciler, Trees, Trouble};
use crate::shell::ShellDoor;
use crate::slug::SlugCache;
use crate::tasks::Tasks;
use anyhow::{Context, Result};
use slipway_blobs::{SlugStore, SourceStore, Store};
use slipway_model::{ImageId, SlugId};
use slipway_proto::MESSAGE_BYTES_MAX;
use slipway_proto::worker::shell_server::ShellServer;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A worker that has adopted its machine.
pub struct Worker {
    link: Link,
    daemon: Arc<Daemon>,
    door: ShellDoor,
    shell_listen: SocketAddr,
    trees: SlugCache,
    rest: CancellationToken,
}

impl Worker {
    /// Start or adopt containerd, network, volumes and instances.
    pub async fn open(options: Options) -> Result<Worker> {
        let places = Places::new(&options.data_dir).context("open the data directory")?;
        let daemon = Daemon::start(DaemonOptions { places: places.clone(), program: options.containerd.clone() }).await.context("start containerd")?;
        let containers = Containers::connect(&daemon).await.context("connect to containerd")?;
        let network = Arc::new(Network::open(network_options(&options, &places)?).await.context("open the network")?);
        let resolver = ResolverOptions {
            listen: SocketAddr::new(network.gateway().into(), 53),
            upstreams: node_resolvers(Path::new("/etc/resolv.conf")).context("read the node's resolvers")?,
            refused_zones: vec![],
        };
        let resolver = Arc::new(Resolver::start(resolver).await.context("start the resolver")?);
        let volumes = VolumeOptions {
            places: places.clone(),
            loop_file_mb: options.volumes_gb * 1024,
            force_directories: options.force_plain_volumes,
            quota: true,
        };
        let volumes = open_volumes(volumes).await.context("open the volumes")?;
        let store = Store::open(&options.store_url, &options.store).await.context("open the object store")?;
        let sources = SourceStore::new(store.clone(), &places.data.join("sources"));
        let slugs = SlugStore::new(store);
        let cache = SlugCache::open(&places.data.join("slugs"), slugs.clone()).await.context("open the slugs of this node")?;
        let trees: Arc<dyn Trees> = Arc::new(cache.clone());
        let builds = BuildOptions {
            work: places.data.join("builds"),
            caches: options.cache_dir.join("builds"),
            ca_bundle: options.ca_bundle.clone(),
            env: options.build_env.clone(),
            config_dir: options.build_config_dir.clone(),
            id_map_base: ID_MAP_BUILDS,
        };
        let builds = BuildRoom::new(containers.clone(), network.clone(), places.clone(), cache.clone(), slugs.clone(), sources, builds);
        builds.settle().await.context("clear away former builds")?;
        let rest = CancellationToken::new();
        let machine = Machine {
            directory: places.data.join("instances"),
            places: places.clone(),
            containers: containers.clone(),
            network,
            resolver,
            volumes: volumes.clone(),
            trees: trees.clone(),
            rest: rest.clone(),
        };
        let reconciler = Reconciler::open(machine).await.context("adopt the instances")?;
        let build_slots = match options.build_slots {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            slots => slots,
        };
        let tasks = Tasks {
            containers: containers.clone(),
            volumes,
            reconciler: reconciler.clone(),
            trees,
            images: ImageRoom { cache: options.cache_dir.clone(), slugs },
            builds,
            slots: Arc::new(Semaphore::new(build_slots as usize)),
        };
        let desk = Desk::open(&places.data.join("tasks"), Arc::new(tasks)).await.context("open the task desk")?;
        let door = ShellDoor::new(containers, Arc::new(reconciler.clone()), options.token.clone());
        let shell_address = if options.shell_address.is_empty() { options.shell_listen.to_string() } else { options.shell_address.clone() };
        let link = LinkOptions {
            node: options.node,
            schedulers: options.schedulers,
            token: options.token,
            build_slots,
            shell_address,
            data_dir: options.data_dir,
        };
        let link = Link { options: link, desk, reconciler };
        Ok(Worker { link, daemon: Arc::new(daemon), door, shell_listen: options.shell_listen, trees: cache, rest })
    }

    /// What is seen of the instances; for tests and for who has no scheduler.
    pub fn reconciler(&self) -> Reconciler {
        self.link.reconciler.clone()
    }

    /// What tasks are carried out.
    pub fn desk(&self) -> Desk {
        self.link.desk.clone()
    }

    /// Until the shutdown; containers are left running.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
            .add_service(ShellServer::new(self.door).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .serve_with_shutdown(self.shell_listen, shutdown.clone().cancelled_owned());
        let served = tokio::select! {
            served = server => served.with_context(|| format!("serve shells on {}", self.shell_listen)),
            () = self.link.run(shutdown.clone()) => Ok(()),
            () = self.daemon.supervise() => Ok(()),
        };
        self.rest.cancel();
        // Without this mark the next start verifies every file again.
        if let Err(error) = self.trees.close().await {
            tracing::warn!(error = format!("{error:#}"), "the slugs of this node could not be written back");
        }
        served
    }
}

fn network_options(options: &Options, places: &Places) -> Result<NetworkOptions> {
    let range = |text: &String| text.parse().with_context(|| format!("'{text}' is no range of addresses"));
    Ok(NetworkOptions {
        places: places.clone(),
        pool: range(&options.instance_pool)?,
        build_pool: range(&options.build_pool)?,
        gateway: places.gateway(),
        egress_allow: options.egress_allow.iter().map(range).collect::<Result<_>>()?,
        egress_deny: options.egress_deny.iter().map(range).collect::<Result<_>>()?,
    })
}

#[async_trait::async_trait]
impl Trees for SlugCache {
    async fn image(&self, image: &ImageId) -> Result<PathBuf, Trouble> {
        self.ensure_image(image).await.map_err(|error| Trouble::Infrastructure(format!("image {image} cannot be fetched: {error:#}")))
    }

    async fn slug(&self, slug: &SlugId) -> Result<PathBuf, Trouble> {
        self.ensure(slug).await.map_err(|error| Trouble::Infrastructure(format!("slug {slug} cannot be fetched: {error:#}")))
    }
}
