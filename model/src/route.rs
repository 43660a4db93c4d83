//! What a router shall serve, and what it answers.

use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The whole table. Versions only rise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    pub version: u64,
    /// Sorted by id.
    pub environments: Vec<RouteEnvironment>,
}

/// One active environment at the entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteEnvironment {
    pub id: EnvironmentId,
    pub project: ProjectId,
    /// Of the gate; a router never goes back to a lower one.
    pub epoch: Epoch,
    pub gate: Gate,
    /// Served when the gate is open. Part of every pool key.
    pub release: ReleaseId,
    pub routes: Vec<SiteRoute>,
    /// Application or service name -> where it listens in this epoch.
    pub pools: BTreeMap<String, Vec<PoolMember>>,
    pub hold: HoldLimits,
    /// `X-Platform-Cluster`.
    pub cluster: String,
    /// Serve a disallowing robots.txt.
    pub restrict_robots: bool,
    pub shells: Vec<ShellTarget>,
}

/// The gate of one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Requests flow to the pools.
    Open,
    /// New requests are held, within the hold limits.
    Frozen,
}

/// Bounds of what is held (F6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldLimits {
    pub hold_time_max_ms: u64,
    pub requests_max: u64,
    pub body_bytes_max: u64,
    pub requests_per_client_max: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        // 60 s is the published limit (P6); 10 000 requests in 256 MiB is the router's stated size.
        Self { hold_time_max_ms: 60_000, requests_max: 10_000, body_bytes_max: 64 << 20, requests_per_client_max: 1_000 }
    }
}

/// One resolved route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRoute {
    pub https: bool,
    /// Lower case, without port; a leading `*.` is a wildcard.
    pub host: String,
    /// Begins and ends with `/`.
    pub path: String,
    /// `http://{default}/`: sent as `X-Original-Route`.
    pub original_url: String,
    pub action: RouteAction,
    /// Partial redirects, evaluated before the action, in order.
    pub redirects: Vec<PathRedirect>,
}

/// What happens to a request on a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RouteAction {
    Upstream { pool: String },
    /// The request's path and query are carried over onto `to`.
    Redirect { to: String, code: u16 },
}

/// One rule of `redirects.paths`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRedirect {
    pub from: String,
    pub to: String,
    pub regexp: bool,
    pub prefix: bool,
    pub append_suffix: bool,
    pub code: u16,
    pub expires_seconds: i64,
}

/// One ingress endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolMember {
    pub instance: InstanceId,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// An application that SSH may enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellTarget {
    /// `app` or `app--worker`.
    pub container: String,
    pub instance: InstanceId,
    /// The worker's Shell service, host:port.
    pub worker: String,
    /// OpenSSH one-line public keys that may enter, with the user each belongs to.
    pub keys: Vec<(String, String)>,
}

/// What a router has and holds. Sent with each acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterState {
    pub environments: Vec<RouterEnvironmentState>,
    pub requests_total: u64,
}

/// One environment in a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterEnvironmentState {
    pub id: EnvironmentId,
    pub epoch: Epoch,
    /// When this epoch's table was taken, for the skew between routers.
    pub applied_unix_us: i64,
    /// Held now.
    pub held: u64,
    /// Held at all since the last freeze began.
    pub held_total: u64,
    /// Answered 503 since the last freeze began.
    pub rejected_total: u64,
    /// Forwarded under an older epoch and not answered yet.
    pub in_flight_old: u64,
    /// The longest of them, for people: `POST /checkout, 12.3 s`.
    pub slowest: Vec<String>,
}
