//! What the operator decides about the git doors.

use crate::packs::PackStore;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the doors need from outside.
#[derive(Clone)]
pub struct Options {
    /// Where git over SSH listens; `None`: no such door.
    pub ssh_listen: Option<SocketAddr>,
    /// Where git over HTTP listens; `None`: no such door.
    pub http_listen: Option<SocketAddr>,
    /// Sessions and the pack cache; all of it may be lost at any time.
    pub data_dir: PathBuf,
    /// The SSH host key; made once (ed25519) when absent.
    pub host_key: PathBuf,
    /// The platform's API. The caller decides about addresses and TLS.
    pub api: tonic::transport::Channel,
    /// The bearer token of this node.
    pub node_token: String,
    /// Where the packs lie.
    pub sources: Arc<dyn PackStore>,
    /// Program and first arguments that reach [`crate::hook_main`]: `[/usr/bin/slipway, __git-hook]`.
    pub hook_program: Vec<OsString>,
    /// The imported advisory database; `None` or absent: pushes are not judged by it, and say so.
    pub advisories: Option<PathBuf>,
    pub limits: Limits,
}

/// Bounds; each protects the node from one client.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions of git at once; each is a process or two.
    pub sessions_max: usize,
    /// Connections of one client address at once.
    pub connections_per_client_max: usize,
    /// From the connection to a known key.
    pub login_time_max: Duration,
    /// From the start of a push to its record in the ledger.
    pub push_time_max: Duration,
    /// A clone or fetch as a whole.
    pub fetch_time_max: Duration,
    /// Nothing moves in either direction for so long.
    pub idle_time_max: Duration,
    /// Of one push when the project says nothing.
    pub push_bytes_max: u64,
    /// Of a request for a fetch, after decompression.
    pub fetch_request_bytes_max: u64,
    /// Refs in one push; a mirror of a large repository stays below.
    pub updates_max: usize,
    /// Disk that cached packs may take.
    pub cache_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 64,
            connections_per_client_max: 32,
            login_time_max: Duration::from_secs(30),
            push_time_max: Duration::from_secs(3600),
            fetch_time_max: Duration::from_secs(3600),
            // Receiving prints keepalives every five seconds, so silence means a dead peer.
            idle_time_max: Duration::from_secs(600),
            push_bytes_max: 4 << 30,
            fetch_request_bytes_max: 64 << 20,
            updates_max: 1000,
            cache_bytes_max: 20 << 30,
        }
    }
}
