//! What the operator decides about the SSH door.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;

/// Everything that the door needs from outside.
#[derive(Clone)]
pub struct Options {
    pub listen: SocketAddr,
    /// The SSH host key; made once (ed25519) when absent.
    pub host_key: PathBuf,
    /// The bearer token of this node.
    pub node_token: String,
    /// From a worker's `host:port` to how it is reached; the caller decides about TLS.
    pub endpoint: Arc<dyn Fn(&str) -> Result<Endpoint, String> + Send + Sync>,
    pub limits: Limits,
}

/// Bounds; each protects the node from one client.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections_max: usize,
    /// Connections of one client address at once.
    pub connections_per_client_max: usize,
    /// Shells, commands and tunnels of one connection at once; a browser through `-L` opens dozens.
    pub channels_max: usize,
    /// From the connection to a known key.
    pub login_time_max: Duration,
    /// Nothing moves on any channel for so long.
    pub idle_time_max: Duration,
    /// To the worker's first answer.
    pub open_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_client_max: 64,
            channels_max: 64,
            login_time_max: Duration::from_secs(30),
            // People leave a shell open over lunch.
            idle_time_max: Duration::from_secs(4 * 3600),
            open_time_max: Duration::from_secs(15),
        }
    }
}

impl Options {
    /// Workers are reached in the clear: on one machine, or inside a network of the operator's.
    pub fn plain(listen: SocketAddr, host_key: PathBuf, node_token: String) -> Options {
        let endpoint = |worker: &str| Endpoint::from_shared(format!("http://{worker}")).map_err(|error| error.to_string());
        Options { listen, host_key, node_token, endpoint: Arc::new(endpoint), limits: Limits::default() }
    }
}
