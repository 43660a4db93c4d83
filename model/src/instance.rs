//! What a worker shall run.

use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Everything one worker shall have; whatever is not named goes away, except volumes, which only a task destroys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredSet {
    /// Sorted by id.
    pub instances: Vec<InstanceSpec>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    pub id: InstanceId,
    pub project: ProjectId,
    pub environment: EnvironmentId,
    /// The deployment that made it; a service container that is kept unchanged keeps its first one.
    pub deployment: DeploymentId,
    /// The name in the configuration: `app`, `app--worker`, `mysql`.
    pub name: String,
    /// `php:8.2`: the recipe's type name.
    pub recipe: String,
    /// The base image's tree, in the store's slug form.
    pub image: ImageId,
    /// The application; mounted read-only at `/app`.
    pub slug: Option<SlugId>,
    /// Complete environment of every process in it.
    pub env: BTreeMap<String, String>,
    /// Also written to `/run/config.json`.
    pub config_json: String,
    /// Writable places.
    pub mounts: Vec<MountSpec>,
    pub limits: Limits,
    /// Its own address, /32, for as long as the instance exists.
    pub address: Ipv4Addr,
    /// `app.0`-like stable host name.
    pub hostname: String,
    /// Names it may resolve and reach.
    pub links: Vec<Link>,
    /// Names answered with fixed addresses (`additional_hosts`).
    pub hosts: BTreeMap<String, String>,
    pub process: Process,
    /// What state it shall be in.
    pub target: Target,
    /// Some: its front listens for this epoch. None: no ingress; requests under way end, then the front is gone.
    pub ingress: Option<Ingress>,
    /// Crons and worker loops may run now.
    pub background: bool,
}

/// How far an instance shall be brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Root filesystem, network and mounts are ready; no process.
    Created,
    /// Its processes run.
    Running,
    /// Its processes are ended in good order; everything else is kept, so that it starts again at once.
    Stopped,
}

/// An ingress endpoint: an (instance, epoch) pair owns its port, and no port of an address is ever used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    pub epoch: Epoch,
    pub port: u16,
}

/// A writable place in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    /// Absolute path in the container: `/app/var`, or the data directory of a service.
    pub path: String,
    pub source: MountSource,
}

/// Where a mount's bytes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A directory of a volume; made when absent.
    Volume { volume: VolumeId, sub_path: String, size_mb: u64 },
    /// Kept as long as the instance.
    Temporary { size_mb: u64 },
}

/// What a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub memory_mb: u64,
    /// 1000 = one core.
    pub cpu_millis: u32,
    pub pids: u32,
}

/// One relationship, seen from the container that declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// `database.internal`.
    pub name: String,
    pub address: Ipv4Addr,
    /// The only ports that are open. For an application target: its internal front's port.
    pub ports: Vec<u16>,
}

/// What runs in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Process {
    Application {
        /// `web` of the normalised app (slipway_manifest::Web as JSON): locations, commands, upstream.
        web_json: String,
        /// `runtime` of the normalised app: extensions, sizing hints …
        runtime_json: String,
        /// `php:` variables: php.ini directives.
        php_ini: BTreeMap<String, String>,
        crons: Vec<CronSpec>,
        start_seconds_max: u64,
    },
    Worker { pre_start: Option<String>, start: String, runtime_json: String, php_ini: BTreeMap<String, String> },
    Service {
        /// Normalised `configuration` of the service, JSON.
        configuration_json: String,
        /// Credentials by endpoint: JSON list of `{name, username, password, …}`.
        endpoints_json: String,
    },
}

/// One cron; it runs in the application's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronSpec {
    pub name: String,
    /// Five fields, `H` already replaced.
    pub spec: String,
    pub start: String,
    pub stop: Option<String>,
    pub timeout_seconds: u64,
    pub shutdown_timeout_seconds: u64,
    pub timezone: Option<String>,
}

/// The port on which an application's front always listens for other applications of its environment.
pub const INTERNAL_FRONT_PORT: u16 = 80;
/// First of the ports that ingress endpoints take; the last is 65535, then the instance must be replaced.
pub const INGRESS_PORT_FIRST: u16 = 10_000;
/// The user `web` in every image.
pub const WEB_UID: u32 = 10_000;
