//! Thin, typed primitives over the kernel and containerd: nothing here knows of deployments.
//!
//! ```text
//!  Daemon ──socket──▶ Containers ──▶ tasks, execs, logs
//!                         │ netns            │ rootfs, binds
//!  Resolver ◀──53── Network (veth, nftables) rootfs (idmapped mounts) ◀── Volumes (btrfs)
//!                         └───────────── purge ─────────────┘
//! ```
//!
//! Everything is idempotent: a worker that died in the middle asks again and gets the same result.

mod cgroup;
mod containers;
mod daemon;
mod dns;
mod error;
mod exec;
mod nftables;
mod logs;
mod network;
mod peers;
mod places;
mod program;
mod purge;
mod resolver;
pub mod rootfs;
mod seccomp;
mod spec;
mod volume_disk;
mod volumes;

pub use cgroup::Metrics;
pub use containers::{Bind, ContainerSpec, Containers, Event, Status, Tmpfs};
pub use daemon::{Daemon, DaemonOptions};
pub use error::{Error, Result};
pub use exec::{Exec, ExecHandle, ExecInput, ExecOutput, ExecSpec};
pub use logs::bound_log;
pub use network::{Attachment, Network, NetworkOptions};
pub use nftables::{Cidr, LinkRule};
pub use peers::{Overlay, Peer};
pub use places::Places;
pub use program::{Output, run, run_with_input};
pub use purge::{Leftover, leftovers, purge};
pub use resolver::{Resolver, ResolverOptions, Zone, node_resolvers, write_name_files};
pub use volumes::{BtrfsVolumes, DirectoryVolumes, VolumeDriver, VolumeInfo, VolumeOptions, open_volumes};
