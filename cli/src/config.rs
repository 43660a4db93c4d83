//! The one file of a node: what it is, where it keeps things, whom it knows. Every key is documented in
//! `deploy/slipway.toml`; unknown ones are refused with a suggestion.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub node: Node,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub scheduler: Scheduler,
    #[serde(default)]
    pub git: Git,
    #[serde(default)]
    pub console: Console,
    #[serde(default)]
    pub worker: Worker,
    #[serde(default)]
    pub router: Router,
    #[serde(default)]
    pub store: Store,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub egress: Egress,
    #[serde(default)]
    pub build: Build,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Names the node's worker and router; unique in the cluster.
    pub name: String,
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// `http://host:port` of every scheduler.
    pub schedulers: Vec<String>,
    /// The secret of the platform's own parts; made by `up` when absent.
    pub node_token_file: Option<PathBuf>,
    /// Environments are served below it.
    pub site_domain: String,
    pub catalogue_dir: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            schedulers: vec!["http://127.0.0.1:7070".into()],
            node_token_file: None,
            site_domain: "localhost".into(),
            catalogue_dir: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// Number in the ledger's group; never reused for another disk.
    pub number: u64,
    pub listen: SocketAddr,
    /// Number -> host:port of the group's other members.
    pub peers: BTreeMap<String, String>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { number: 1, listen: local(7070), peers: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    pub ssh_listen: SocketAddr,
    pub http_listen: SocketAddr,
    /// Host that people write; the ports are those above.
    pub public_host: String,
    /// Imported advisory database (`slipway advisories import`).
    pub advisories: Option<PathBuf>,
}

impl Default for Git {
    fn default() -> Self {
        Self { ssh_listen: local(7022), http_listen: local(7080), public_host: "localhost".into(), advisories: None }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    pub listen: SocketAddr,
}

impl Default for Console {
    fn default() -> Self {
        Self { listen: local(7090) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Where routers reach the containers' shells.
    pub shell_listen: SocketAddr,
    /// Builds at once; 0: one per core.
    pub build_slots: u32,
    /// Size of the volumes' file where the disk is no btrfs.
    pub volumes_gb: u64,
    /// Hard links instead of the kernel's composefs for slugs.
    pub force_hardlinks: bool,
    /// Plain directories instead of btrfs for volumes.
    pub force_plain_volumes: bool,
    /// Base images and downloads that may be shared by several platforms on one machine.
    pub cache_dir: Option<PathBuf>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            shell_listen: local(7071),
            build_slots: 0,
            volumes_gb: 20,
            force_hardlinks: false,
            force_plain_volumes: false,
            cache_dir: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Router {
    pub http_listen: Vec<SocketAddr>,
    pub https_listen: Vec<SocketAddr>,
    /// SSH into applications.
    pub ssh_listen: SocketAddr,
    pub access_log: Option<PathBuf>,
}

impl Default for Router {
    fn default() -> Self {
        Self { http_listen: vec![local(8080)], https_listen: vec![local(8443)], ssh_listen: local(7023), access_log: None }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `file:///path` or `s3://bucket[/prefix]`; absent: a folder below `data_dir`.
    pub url: Option<String>,
    /// Of an S3-compatible store: `http://host:port`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    /// File with the secret key.
    pub secret_access_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Addresses of containers, `base/bits`.
    pub instance_pool: String,
    /// Addresses of build containers, on each worker.
    pub build_pool: String,
}

impl Default for Network {
    fn default() -> Self {
        Self { instance_pool: "10.213.0.0/16".into(), build_pool: "10.214.0.0/16".into() }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Networks that containers may reach although they are private.
    pub allow: Vec<String>,
    /// Certificates that containers trust beside the public ones (an inspecting proxy's).
    pub ca_bundle: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Files for the home of builds: `.npmrc`, `pip.conf`, `.m2/settings.xml` …
    pub config_dir: Option<PathBuf>,
    /// Variables of every build: `GOPROXY`, `PIP_INDEX_URL` …
    pub env: BTreeMap<String, String>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Config {
    /// Reads and judges a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read {}; `slipway up` writes one, deploy/slipway.toml documents every key", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not right", path.display()))
    }

    pub fn parse(text: &str) -> anyhow::Result<Self> {
        match toml::from_str::<Self>(text) {
            Ok(config) => {
                pool(&config.network.instance_pool)?;
                pool(&config.network.build_pool)?;
                config.node.name.parse::<slipway_model::NodeId>().context("[node] name")?;
                Ok(config)
            }
            Err(error) => bail!("{error}{}", suggestion(&error.to_string()).unwrap_or_default()),
        }
    }

    /// A fresh one-machine file.
    pub fn fresh(data_dir: &Path) -> Self {
        Self {
            node: Node { name: "one".into(), data_dir: data_dir.to_path_buf() },
            cluster: Cluster::default(),
            scheduler: Scheduler::default(),
            git: Git::default(),
            console: Console::default(),
            worker: Worker::default(),
            router: Router::default(),
            store: Store::default(),
            network: Network::default(),
            egress: Egress::default(),
            build: Build::default(),
        }
    }

    pub fn token_file(&self) -> PathBuf {
        self.cluster.node_token_file.clone().unwrap_or_else(|| self.node.data_dir.join("secrets/node.token"))
    }

    pub fn node_token(&self) -> anyhow::Result<String> {
        let path = self.token_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read the node token {}", path.display()))?;
        Ok(text.trim().to_string())
    }

    pub fn instance_pool(&self) -> (Ipv4Addr, u8) {
        pool(&self.network.instance_pool).expect("judged by parse")
    }

    /// `:8443`, or nothing for the scheme's own port.
    pub fn port_suffixes(&self) -> (String, String) {
        let suffix = |listen: &[SocketAddr], own: u16| match listen.first().map(SocketAddr::port) {
            Some(port) if port != own => format!(":{port}"),
            _ => String::new(),
        };
        (suffix(&self.router.http_listen, 80), suffix(&self.router.https_listen, 443))
    }

    /// The catalogue: as configured, beside the data, or as the build knew it.
    pub fn catalogue_dir(&self) -> anyhow::Result<PathBuf> {
        let candidates = [
            self.cluster.catalogue_dir.clone(),
            Some(self.node.data_dir.join("catalogue")),
            Some(PathBuf::from("/usr/share/slipway/catalogue")),
        ];
        candidates
            .into_iter()
            .flatten()
            .find(|dir| dir.is_dir())
            .context("there is no catalogue of recipes: set `[cluster] catalogue_dir` to a copy of deploy/catalogue")
    }
}

/// `10.213.0.0/16`, at least 256 addresses.
pub fn pool(text: &str) -> anyhow::Result<(Ipv4Addr, u8)> {
    let parsed = text.split_once('/').and_then(|(base, bits)| Some((base.parse().ok()?, bits.parse().ok()?)));
    match parsed {
        Some((base, bits)) if (8..=24).contains(&bits) => Ok((base, bits)),
        _ => bail!("[network] '{text}' is no pool of addresses: write one like 10.213.0.0/16, between /8 and /24"),
    }
}

/// `did you mean` for an unknown key, out of serde's own list of those it knows.
fn suggestion(message: &str) -> Option<String> {
    let unknown = message.split("unknown field `").nth(1)?.split('`').next()?;
    let known = message.split("expected").nth(1)?;
    let candidates = known.split('`').skip(1).step_by(2);
    let nearest = candidates.map(|c| (distance(unknown, c), c)).min()?;
    (nearest.0 <= 3).then(|| format!("\ndid you mean `{}`?", nearest.1))
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let error = Config::parse("[node]\nname = \"a\"\ndata_dir = \"/x\"\n[worker]\nbuild_slot = 2\n").unwrap_err().to_string();
        assert!(error.contains("did you mean `build_slots`?"), "{error}");
    }

    #[test]
    fn a_fresh_file_reads_back() {
        let text = toml::to_string(&Config::fresh(Path::new("/var/lib/slipway"))).unwrap();
        Config::parse(&text).unwrap();
        let documented = include_str!("../../deploy/slipway.toml");
        Config::parse(documented).unwrap();
    }
}
