//! The control plane: one node of the ledger, the doors of workers, routers and people, and the leader's duties.
//!
//! ```text
//!  people ─api──▶ Office ──propose──▶ ledger ──apply──▶ ClusterState
//!  workers ─link─▶ World ◀─look── duties (leader only): build · release · deploy · tidy
//!  routers ─link─▶ World                │ orders, tables
//!                    ◀──────────────────┘
//! ```

pub mod api;
pub mod catalogue;
pub mod chance;
mod duties;
mod files;
pub mod ledger;
mod link;
pub mod logbook;
mod machine;
mod make;
mod office;
mod seal;
mod world;

use anyhow::Context;
use office::Office;
use slipway_proto::MESSAGE_BYTES_MAX;
use slipway_proto::api::platform_server::PlatformServer;
use slipway_proto::router::router_link_server::RouterLinkServer;
use slipway_proto::worker::worker_link_server::WorkerLinkServer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// What a scheduler is told when it starts.
#[derive(Clone)]
pub struct Options {
    /// This node's number in the ledger's group; never given to another disk.
    pub node: u64,
    /// Members of the group, with their addresses.
    pub peers: BTreeMap<u64, String>,
    pub data_dir: PathBuf,
    /// Where the API, the workers' and the routers' links are served.
    pub listen: SocketAddr,
    /// Shown by the platform's own parts to one another.
    pub node_token: String,
    pub catalogue_dir: PathBuf,
    /// Environments are served below it: `localhost`, `eu.example.site`.
    pub site_domain: String,
    /// `host[:port]` as people write them, for the URLs that are printed.
    pub git_ssh_address: String,
    pub git_http_url: String,
    pub ssh_address: String,
    /// What follows the host in printed URLs when the routers do not listen on 80 and 443: `:8080`, `:8443`.
    pub http_port_suffix: String,
    pub https_port_suffix: String,
    /// Addresses of containers.
    pub instance_pool: (std::net::Ipv4Addr, u8),
    /// Where packs, slugs and logs are.
    pub store: slipway_blobs::Store,
}

/// A running scheduler.
#[derive(Clone)]
pub struct Scheduler {
    office: Office,
    listen: SocketAddr,
}

impl Scheduler {
    /// Opens the ledger and forms the group when it is fresh.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listen = options.listen;
        let office = Office::open(options).await?;
        Ok(Self { office, listen })
    }

    /// Makes a user with a token when the platform has none yet; answers the secret.
    pub async fn first_token(&self, user: &str) -> anyhow::Result<Option<String>> {
        self.office.first_token(user).await
    }

    /// Serves until the shutdown token is cancelled.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let office = self.office;
        let duties = tokio::spawn(duties::run(office.clone(), shutdown.clone()));
        let limit = MESSAGE_BYTES_MAX;
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(std::time::Duration::from_secs(10)))
            .add_service(
                PlatformServer::new(api::Api::new(office.clone()))
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit),
            )
            .add_service(
                WorkerLinkServer::new(link::worker::Door::new(office.clone()))
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit),
            )
            .add_service(
                RouterLinkServer::new(link::router::Door::new(office.clone()))
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit),
            )
            .add_service(office.ledger.door())
            .serve_with_shutdown(self.listen, shutdown.clone().cancelled_owned())
            .await
            .with_context(|| format!("serve the scheduler's API on {}", self.listen));
        shutdown.cancel();
        let _ = duties.await;
        office.ledger.shutdown().await?;
        served
    }
}
