//! What a worker is told when it starts.

use slipway_blobs::StoreOptions;
use slipway_model::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Every choice of an operator that a worker knows.
#[derive(Debug, Clone)]
pub struct Options {
    pub node: NodeId,
    /// Everything that it keeps.
    pub data_dir: PathBuf,
    /// Base image trees and downloads; several platforms of one machine may share it.
    pub cache_dir: PathBuf,
    /// `http://host:port` of every scheduler.
    pub schedulers: Vec<String>,
    /// The secret that the platform's own parts show one another.
    pub token: String,
    /// Where routers reach shells in containers.
    pub shell_listen: SocketAddr,
    /// The same as routers call it; `shell_listen` when empty.
    pub shell_address: String,
    /// Builds at once; 0: one per core.
    pub build_slots: u32,
    /// `10.213.0.0/16`: addresses of containers.
    pub instance_pool: String,
    /// Addresses of build containers.
    pub build_pool: String,
    /// Private networks that containers may reach all the same.
    pub egress_allow: Vec<String>,
    /// Further networks that they must not reach: the platform's own nodes.
    pub egress_deny: Vec<String>,
    /// Certificates that containers trust beside the public ones.
    pub ca_bundle: Option<PathBuf>,
    /// A folder, or `s3://bucket/prefix`.
    pub store_url: String,
    pub store: StoreOptions,
    /// Size of the volumes' loop file where the disk is no btrfs.
    pub volumes_gb: u64,
    /// Plain directories for volumes, whatever the disk is.
    pub force_plain_volumes: bool,
    /// Files for the home of every build.
    pub build_config_dir: Option<PathBuf>,
    /// Variables of every build.
    pub build_env: BTreeMap<String, String>,
    /// `containerd`, or a path to it.
    pub containerd: PathBuf,
}
