//! Where the machine room keeps things: one hash of the data directory names them all.

use super::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Paths and names of one platform on this machine; two platforms never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What must survive a reboot.
    pub data: PathBuf,
    /// What need not: sockets, named network namespaces, pipes. Short, because a socket's path has 107 bytes.
    pub run: PathBuf,
    /// Eight hex digits; part of every kernel object's name.
    pub hash: String,
}

impl Places {
    /// The places of the platform that lives in `data`; makes both directories.
    pub fn new(data: &Path) -> Result<Places> {
        std::fs::create_dir_all(data).map_err(Error::io("make", data))?;
        let data = data.canonicalize().map_err(Error::io("resolve", data))?;
        let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
        let hash = data_encoding::HEXLOWER.encode(&digest[..4]);
        let run = Path::new("/run/slipway").join(&hash);
        std::fs::create_dir_all(&run).map_err(Error::io("make", &run))?;
        Ok(Places { data, run, hash })
    }

    /// Containers of this platform have their control groups below it.
    pub fn cgroup(&self) -> String {
        format!("/slipway-{}", self.hash)
    }

    /// containerd's namespace.
    pub fn namespace(&self) -> String {
        format!("slipway-{}", self.hash)
    }

    /// The nftables table.
    pub fn table(&self) -> String {
        format!("slipway_{}", self.hash)
    }

    /// Beginning of our network interfaces' names, which have 15 bytes at most.
    pub fn interface_prefix(&self) -> String {
        format!("sw{}", &self.hash[..4])
    }

    /// Beginning of our network namespaces' names below `/run/netns`.
    pub fn netns_prefix(&self) -> String {
        format!("slipway-{}-", self.hash)
    }

    /// The host's end of every container's network: link-local, another one for each platform on a machine, and never
    /// the metadata address of a cloud.
    pub fn gateway(&self) -> Ipv4Addr {
        let byte = |at: usize| u8::from_str_radix(&self.hash[at..at + 2], 16).unwrap_or(0);
        Ipv4Addr::new(169, 254, 1 + byte(0) % 160, 1 + byte(2) % 250)
    }

    /// Pipes of attached processes, in one directory per worker process.
    pub fn pipes(&self) -> PathBuf {
        self.run.join("io")
    }

    /// Root filesystems are mounted below it: here every parent is searchable by the container's shifted ids,
    /// which a data directory need not be.
    pub fn mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }
}
