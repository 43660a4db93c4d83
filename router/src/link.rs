//! The router's side of `RouterLink.Watch`: tables come down, acknowledgements go up.
//!
//! A table is taken, saved, and then acknowledged. The other way round a router that dies after its acknowledgement, and
//! starts while no scheduler answers, would serve the table before the one that it had acknowledged: no contract about
//! data is broken then (F2), but what it sends dies at a closed endpoint.

use crate::engine::request::Front;
use crate::saved::SavedTable;
use slipway_model::route::{RouteTable, RouterState};
use slipway_proto::auth::BearerToken;
use slipway_proto::router::router_link_client::RouterLinkClient;
use slipway_proto::router::router_report::Report;
use slipway_proto::router::{RouteAck, RouterHello, RouterOrder, RouterReport};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// How often what is held and under way is looked at while a deployment waits for it.
const ACK_PAUSE: Duration = Duration::from_millis(20);

/// Pause after a failed connection, doubled up to the second one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A scheduler that does not answer a ping in this time is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Reports that wait for the network; each is the whole state, so a lost place is made up by the next.
const REPORTS_WAITING_MAX: usize = 4;

/// Who this router is to the schedulers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Node id; a process that drains beside its successor has a name of its own.
    pub router: String,
    /// Told in the hello.
    pub http_address: String,
    /// Told in the hello.
    pub https_address: String,
    /// Told in the hello.
    pub ssh_address: String,
}

/// Follows the schedulers until it is dropped.
pub struct Link {
    front: Arc<Front>,
    saved: Option<SavedTable>,
    schedulers: Vec<String>,
    token: BearerToken,
    identity: watch::Receiver<Identity>,
}

impl Link {
    /// Fails when the token can be none. Without `saved` nothing is written.
    pub fn new(
        front: Arc<Front>,
        saved: Option<SavedTable>,
        schedulers: Vec<String>,
        token: &str,
        identity: watch::Receiver<Identity>,
    ) -> Result<Self, String> {
        Ok(Self { front, saved, schedulers, token: BearerToken::new(token)?, identity })
    }

    /// Connects, follows, and connects again, for ever.
    pub async fn run(mut self) {
        let mut pause = BACKOFF.0;
        let mut told = false;
        for turn in 0usize.. {
            let Some(scheduler) = self.schedulers.get(turn % self.schedulers.len().max(1)).cloned() else {
                tracing::warn!("no scheduler is known to this router; it serves the table that it has");
                return std::future::pending().await;
            };
            match self.follow(&scheduler).await {
                Ok(Followed::Asked) => {
                    (pause, told) = (BACKOFF.0, false);
                    continue;
                }
                Ok(Followed::Ended(why)) => {
                    tracing::warn!(scheduler, "the scheduler ended the link: {why}; the router serves on and connects again");
                    (pause, told) = (BACKOFF.0, false);
                }
                Err(why) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(scheduler, "no link to a scheduler: {why}; the router serves the table that it has");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn follow(&mut self, scheduler: &str) -> Result<Followed, String> {
        let channel = Endpoint::from_shared(scheduler.to_string())
            .map_err(|e| format!("'{scheduler}' is no address: {e}"))?
            .connect_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(SILENCE_MAX)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(|e| e.to_string())?;
        let mut client = RouterLinkClient::with_interceptor(channel, self.token.clone())
            .max_decoding_message_size(slipway_proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(slipway_proto::MESSAGE_BYTES_MAX);
        let (reports, waiting) = mpsc::channel(REPORTS_WAITING_MAX);
        let number = self.front.tables.hello();
        let hello = self.hello();
        reports.send(hello).await.map_err(|e| e.to_string())?;
        let opened = tokio::time::timeout(SILENCE_MAX, client.watch(ReceiverStream::new(waiting))).await;
        let mut orders = opened.map_err(|_| "it does not answer".to_string())?.map_err(|e| e.to_string())?.into_inner();
        let (mut last, mut was_busy): (Option<RouterState>, bool) = (None, false);
        let mut tick = tokio::time::interval(ACK_PAUSE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.message() => match order.map_err(|e| e.to_string())? {
                    Some(order) => {
                        let json = self.take(order, number).await;
                        self.save(json).await;
                        last = Some(self.acknowledge(&reports).await?);
                        was_busy = true;
                    }
                    None => return Ok(Followed::Ended("it closed the stream".into())),
                },
                _ = tick.tick(), if last.is_some() => {
                    let busy = self.front.tables.is_busy();
                    // Once more after the last: that nothing is under way any more is what the driver waits for.
                    if (busy || was_busy) && last.as_ref().is_some_and(|last| last.environments != self.front.tables.state().environments) {
                        last = Some(self.acknowledge(&reports).await?);
                    }
                    was_busy = busy;
                }
                () = self.front.catch_up.notified() => return Ok(Followed::Asked),
                Ok(()) = self.identity.changed() => return Ok(Followed::Asked),
            }
        }
    }

    fn hello(&self) -> RouterReport {
        let identity = self.identity.borrow().clone();
        let hello = RouterHello {
            router: identity.router,
            version: env!("CARGO_PKG_VERSION").to_string(),
            table_version: self.front.tables.current().version(),
            http_address: identity.http_address,
            https_address: identity.https_address,
            ssh_address: identity.ssh_address,
        };
        RouterReport { report: Some(Report::Hello(hello)) }
    }

    /// The table to be saved, when it was taken.
    async fn take(&self, order: RouterOrder, hello: u64) -> Option<String> {
        let front = Arc::clone(&self.front);
        // A table of 10 000 environments takes half a second to read; the proxy goes on meanwhile.
        let taken = tokio::task::spawn_blocking(move || {
            let table: RouteTable = serde_json::from_str(&order.table_json).map_err(|e| format!("it cannot be read: {e}"))?;
            if table.version != order.table_version {
                return Err(format!("it says {} inside and {} outside", table.version, order.table_version));
            }
            front.tables.apply(table).map_err(|e| e.to_string())?;
            front.tables.heard(hello);
            Ok(order.table_json)
        });
        match taken.await.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(json) => Some(json),
            Err(why) => {
                tracing::error!("a route table was not taken: {why}");
                None
            }
        }
    }

    async fn acknowledge(&self, reports: &mpsc::Sender<RouterReport>) -> Result<RouterState, String> {
        let state = self.front.tables.state();
        let state_json = serde_json::to_string(&state).map_err(|e| e.to_string())?;
        let ack = RouteAck { table_version: self.front.tables.current().version(), state_json };
        reports.send(RouterReport { report: Some(Report::Ack(ack)) }).await.map_err(|_| "the stream is closed".to_string())?;
        Ok(state)
    }

    async fn save(&self, json: Option<String>) {
        let (Some(json), Some(saved)) = (json, self.saved.clone()) else { return };
        let path = saved.path().to_path_buf();
        let done = tokio::task::spawn_blocking(move || saved.save(json.as_bytes())).await;
        if let Err(e) = done.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            tracing::error!("saved table {}: {e}; after a restart this router needs a scheduler", path.display());
        }
    }
}

enum Followed {
    /// The router itself wants to say hello again.
    Asked,
    /// By the scheduler.
    Ended(String),
}
