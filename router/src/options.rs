//! What a router is told when it begins.

use slipway_model::NodeId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Bounds of a router; the hold limits of each environment come with its table.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// Requests held over all environments.
    pub held_requests_max: u64,
    /// Memory of what is held over all environments, bodies included.
    pub held_bytes_max: u64,
    /// Until an application accepts a connection. On one network it is milliseconds or never.
    pub connect_time_max: Duration,
    /// Until the head of an answer, after the last byte of the request: the platform's published 300 s.
    pub answer_time_max: Duration,
    /// Longest silence within an answer.
    pub answer_pause_max: Duration,
    /// Longest silence within a request's body.
    pub body_pause_max: Duration,
    /// Until a request's head is whole; also how long an idle connection is kept.
    pub head_time_max: Duration,
    /// Until TLS is agreed on.
    pub handshake_time_max: Duration,
    /// How long a router that ends waits for what is under way.
    pub drain_time_max: Duration,
    /// How long a starting router waits for a scheduler before it serves the table that it saved.
    pub table_wait_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 24_000,
            held_requests_max: 20_000,
            held_bytes_max: 512 << 20,
            connect_time_max: Duration::from_secs(3),
            answer_time_max: Duration::from_secs(300),
            answer_pause_max: Duration::from_secs(300),
            body_pause_max: Duration::from_secs(60),
            head_time_max: Duration::from_secs(60),
            handshake_time_max: Duration::from_secs(10),
            // The hold limit and the drain time of a deployment lie below it: what is held may still be served.
            drain_time_max: Duration::from_secs(75),
            table_wait_max: Duration::from_secs(3),
        }
    }
}

/// Options of one router.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name; also `X-Platform-Router`.
    pub node: NodeId,
    /// Table, certificates and the hand-over socket live here.
    pub data_dir: PathBuf,
    /// Plain HTTP.
    pub http_listen: Vec<SocketAddr>,
    /// TLS with HTTP/2 and HTTP/1.1.
    pub https_listen: Vec<SocketAddr>,
    /// Where applications' shells are reached; only told to the scheduler.
    pub ssh_address: String,
    /// `http://host:port` of every scheduler known at the start.
    pub schedulers: Vec<String>,
    /// The node's bearer token.
    pub token: String,
    /// Written when given.
    pub access_log: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
}
