//! The normalised project: what every other tier programs against.
//!
//! ```text
//! files of a tree --check--> Report { problems, project: Some(Project) }
//! Project --expand_routes--> ResolvedRoute …   (needs an environment)
//! Project x Project --plan::diff--> TopologyPlan
//! ```
//!
//! A `Project` is stored in the ledger as JSON. Where the order of the file
//! means something (rules, routes, crons) the maps keep it.

use crate::flavour::Flavour;
use crate::places::Places;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// All of a repository's configuration with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub flavour: Flavour,
    pub applications: Vec<Application>,
    pub services: Vec<Service>,
    pub routes: Vec<RouteTemplate>,
    /// Where each thing stands in the files; never stored, never compared.
    #[serde(skip)]
    pub places: Places,
}

/// One application: one slug, one web container kind, any number of workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    pub name: String,
    /// `runtime:version` as written, or `composable:YY.MM`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Directory in the repository without outer slashes; empty is the repository root.
    pub root: String,
    /// The file (and, for `.upsun` and `applications.yaml`, shared file) that declares it.
    pub declared_in: String,
    /// The platform's own files below `root`, relative to `root`, to be left out of the application's tree.
    pub config_files: Vec<String>,
    /// Files drawn in by `!include` and `!archive`: repository path to SHA-256. Their content is inlined.
    pub included: BTreeMap<String, String>,
    pub build: Build,
    pub dependencies: IndexMap<String, IndexMap<String, Value>>,
    pub runtime: Runtime,
    pub variables: Variables,
    pub hooks: Hooks,
    pub relationships: BTreeMap<String, Relationship>,
    pub access: Access,
    pub size: String,
    /// Megabytes (10^6 bytes).
    pub disk: Option<u64>,
    pub mounts: Mounts,
    pub web: Web,
    pub workers: IndexMap<String, Worker>,
    pub crons: IndexMap<String, Cron>,
    pub timezone: Option<String>,
    pub source: Source,
    pub preflight: Preflight,
    pub firewall: Option<Firewall>,
    pub additional_hosts: BTreeMap<String, String>,
    pub operations: IndexMap<String, Operation>,
    pub resources: Option<Resources>,
    pub container_profile: Option<String>,
    pub stack: Option<Stack>,
}

/// Prefix to name to value, `variables.<prefix>.<name>`.
pub type Variables = BTreeMap<String, BTreeMap<String, Value>>;

/// Mount path without outer slashes to what is mounted there, in the order of the file.
pub type Mounts = IndexMap<String, Mount>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// `composer`, `drupal`, `symfony`, `default` or `none`; the runtime's default when not written.
    pub flavor: String,
    pub caches: BTreeMap<String, BuildCache>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildCache {
    pub directory: String,
    pub watch: Vec<String>,
    pub allow_stale: bool,
    pub share_between_apps: bool,
}

/// Settings of the language runtime; PHP in practice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    pub extensions: Vec<Extension>,
    pub disabled_extensions: Vec<String>,
    pub request_memory: u64,
    pub reserved_memory: u64,
    pub request_terminate_timeout: Option<u64>,
    pub xdebug: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    pub name: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub configuration: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    pub build: Option<String>,
    pub deploy: Option<String>,
    pub post_deploy: Option<String>,
}

/// Who is reached, and through which endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Relationship {
    /// A service or an application of the project.
    pub service: String,
    pub endpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Contributor,
    Admin,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// The least role that may log in.
    pub ssh: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// Persistent, one volume per application (and per worker).
    Local,
    /// Persistent, shared by the instances of the application.
    Storage,
    /// Kept per instance, lost with it.
    Instance,
    /// Ephemeral (`tmp` is written back as this).
    #[serde(rename = "tmp")]
    Temporary,
    /// A `network-storage` service, named by `service`.
    Service,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    /// Sub-path of the volume without outer slashes; empty is the whole volume.
    pub source_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Web {
    pub locations: IndexMap<String, Location>,
    pub commands: Commands,
    pub upstream: Upstream,
    pub move_to_root: bool,
    /// Web-only restatements of top-level properties.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

/// Commands of a web container, a worker, a cron or an operation; null means the image's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Commands {
    pub pre_start: Option<String>,
    pub start: Option<String>,
    pub post_start: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketFamily {
    Tcp,
    Unix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    Http,
    Fastcgi,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub socket_family: SocketFamily,
    pub protocol: UpstreamProtocol,
}

/// `passthru`: no, yes, or the URI of a front controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Passthru {
    Flag(bool),
    Uri(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Relative to the application; `None` serves no files.
    pub root: Option<String>,
    pub passthru: Passthru,
    pub index: Vec<String>,
    /// `-1s`, `300s`, `2w` …
    pub expires: String,
    pub scripts: bool,
    pub allow: bool,
    pub headers: BTreeMap<String, String>,
    /// PCRE searched in the whole request path; the first match in this order wins.
    pub rules: IndexMap<String, LocationRule>,
    pub request_buffering: RequestBuffering,
}

/// What a rule changes; `None` keeps the location's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LocationRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passthru: Option<Passthru>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestBuffering {
    pub enabled: bool,
    pub max_request_size: String,
}

/// Properties that `web` and workers may restate; each replaces the whole property.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Mounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationships: Option<BTreeMap<String, Relationship>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Variables>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_hosts: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_profile: Option<String>,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }
}

/// A container kind beside web, from the same slug, without traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    pub commands: Commands,
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cron {
    pub spec: String,
    /// `cmd` of old files and `commands.start` of new ones.
    pub start: String,
    pub stop: Option<String>,
    /// Seconds.
    pub shutdown_timeout: u64,
    /// Seconds.
    pub timeout: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// As written; `Application::root` is the resolved one.
    pub root: Option<String>,
    /// Name to command.
    pub operations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    pub enabled: bool,
    pub ignored_rules: Vec<IgnoredRule>,
}

/// An advisory that the project accepts, for a reason and until a date where it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IgnoredRule {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Firewall {
    /// Empty allows all.
    pub outbound: Vec<OutboundRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundRule {
    pub protocol: String,
    pub ips: Vec<String>,
    pub domains: Vec<String>,
    pub ports: Vec<u16>,
}

/// A command that people run in the application's container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub role: Role,
    pub start: String,
    pub stop: Option<String>,
    /// Seconds.
    pub timeout: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub base_memory: u64,
    pub memory_ratio: u64,
}

/// Composable image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub runtimes: Vec<StackItem>,
    pub packages: Vec<StackItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackItem {
    /// `python@3.12`, `yarn` …
    pub name: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub options: Value,
}

/// A database, cache, queue … of the project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    /// `mysql:10.0` as written.
    #[serde(rename = "type")]
    pub kind: String,
    pub disk: Option<u64>,
    pub size: String,
    /// Normalised: schemas, endpoints and policies with defaults filled in;
    /// `!include`d text stands inline, an `!archive` is `{"archive": {"directory", "files": {path: base64}}}`.
    pub configuration: Value,
    pub relationships: BTreeMap<String, Relationship>,
    pub access: BTreeMap<String, Role>,
    pub firewall: Option<Firewall>,
    pub resources: Option<Resources>,
    pub container_profile: Option<String>,
}

/// One way into a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub name: String,
    pub scheme: String,
    pub port: u16,
    /// Database, core … that the endpoint opens by default.
    pub path: Option<String>,
    /// Schema to level (`ro`, `rw`, `admin`, `replication`, …).
    pub privileges: BTreeMap<String, String>,
    /// The endpoint of a relationship that names none.
    pub default: bool,
}

/// A route as written, placeholders unresolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTemplate {
    /// The key as written, `https://www.{default}`.
    pub url: String,
    #[serde(flatten)]
    pub kind: RouteKind,
    pub primary: Option<bool>,
    pub id: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub cache: RouteCache,
    pub ssi: bool,
    pub tls: RouteTls,
    pub redirects: Option<PartialRedirects>,
    pub sticky: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RouteKind {
    Upstream {
        /// An application or a service.
        upstream: String,
        /// As written: `http`, or the older `php`.
        endpoint: String,
    },
    Redirect {
        to: String,
        code: u16,
    },
    Proxy {
        to: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteCache {
    pub enabled: bool,
    pub default_ttl: u64,
    pub cookies: Vec<String>,
    pub headers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteTls {
    /// `TLSv1.2` …
    pub min_version: Option<String>,
    pub strict_transport_security: StrictTransportSecurity,
    /// `request` or `require`.
    pub client_authentication: Option<String>,
    pub client_certificate_authorities: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StrictTransportSecurity {
    pub enabled: Option<bool>,
    pub include_subdomains: Option<bool>,
    pub preload: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialRedirects {
    pub expires: String,
    /// Path or PCRE to rule, in the order of the file.
    pub paths: IndexMap<String, PartialRedirect>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialRedirect {
    pub to: String,
    pub regexp: bool,
    pub prefix: bool,
    pub append_suffix: bool,
    pub code: u16,
    pub expires: Option<String>,
}

/// A route with a real address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedRoute {
    /// `https://www.example.com/`; a host of `*.example.com` catches all sub-domains.
    pub url: String,
    pub scheme: String,
    pub host: String,
    /// Begins and, for routes of this platform, ends as written, at least `/`.
    pub path: String,
    /// The template, with the scheme of the twin where this route is a generated twin.
    pub original_url: String,
    /// Made by the completion of http and https, not written in the file.
    pub generated: bool,
    #[serde(flatten)]
    pub kind: RouteKind,
    pub primary: bool,
    pub id: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub cache: RouteCache,
    pub ssi: bool,
    pub tls: RouteTls,
    pub redirects: Option<PartialRedirects>,
    pub sticky: bool,
    /// Settings of the environment, echoed into `*_ROUTES`.
    pub restrict_robots: bool,
    pub http_access: Value,
}
