//! Takes connections and watches over them.

use super::door::{Door, Shared};
use super::flow::{PACKETS_WAITING_MAX, Pulse, WINDOW_BYTES};
use super::options::Options;
use super::worker::Workers;
use super::host_key;
use anyhow::Context;
use russh::server::Config;
use russh::{MethodKind, MethodSet};
use slipway_model::route::RouteTable;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Bound and ready; `run` serves.
pub struct SshDoor {
    listener: TcpListener,
    config: Arc<Config>,
    options: Options,
    shared: Arc<Shared>,
    host_key_line: String,
}

impl SshDoor {
    /// `table` gives the router's current table at any time.
    pub async fn bind(options: Options, table: impl Fn() -> Arc<RouteTable> + Send + Sync + 'static) -> anyhow::Result<SshDoor> {
        let listener = TcpListener::bind(options.listen).await.with_context(|| format!("listen for SSH on {}", options.listen))?;
        let key = host_key::load_or_create(&options.host_key)?;
        let host_key_line = key.public_key().to_openssh().context("print the host key")?;
        let config = Config {
            server_id: russh::SshId::Standard("SSH-2.0-Slipway".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Keys cannot be guessed: a short pause is enough, and people offer many keys.
            auth_rejection_time: Duration::from_millis(50),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![key],
            max_auth_attempts: 20,
            window_size: WINDOW_BYTES,
            channel_buffer_size: PACKETS_WAITING_MAX,
            // A client that is gone without a word is noticed by unanswered keepalives.
            inactivity_timeout: None,
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_max: 4,
            nodelay: true,
            ..Config::default()
        };
        let workers = Workers::new(options.clone()).map_err(anyhow::Error::msg)?;
        let shared = Arc::new(Shared { table: Box::new(table), workers, limits: options.limits.clone() });
        Ok(SshDoor { listener, config: Arc::new(config), options, shared, host_key_line })
    }

    /// Where it really listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The host key's public line, for people's `known_hosts`.
    pub fn host_key_line(&self) -> &str {
        &self.host_key_line
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(self.options.limits.connections_max));
        let counts: Counts = Arc::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return Ok(()),
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors: wait for some to come back instead of spinning.
                    tracing::warn!(%error, "an SSH connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let Some(count) = Counted::new(&counts, peer.ip(), self.options.limits.connections_per_client_max) else { continue };
            let (config, shared, shutdown) = (self.config.clone(), self.shared.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _held = (place, count);
                watch_over(socket, config, shared, shutdown).await;
            });
        }
    }
}

async fn watch_over(socket: TcpStream, config: Arc<Config>, shared: Arc<Shared>, shutdown: CancellationToken) {
    let _ = socket.set_nodelay(true);
    let login_time_max = shared.limits.login_time_max;
    let idle_time_max = shared.limits.idle_time_max;
    let pulse = Pulse::default();
    let (logged_in, mut login) = watch::channel(false);
    let door = Door::new(shared, pulse.clone(), logged_in);
    let Ok(Ok(session)) = tokio::time::timeout(login_time_max, russh::server::run_stream(config, socket, door)).await else { return };
    let handle = session.handle();
    tokio::pin!(session);
    tokio::select! {
        _ = &mut session => return,
        () = tokio::time::sleep(login_time_max) => {}
        _ = login.wait_for(|logged_in| *logged_in) => {}
    }
    let logged_in = *login.borrow();
    let reason = if !logged_in {
        "nobody logged in in time"
    } else {
        pulse.beat();
        let idle = async {
            while pulse.silence() < idle_time_max {
                tokio::time::sleep((idle_time_max - pulse.silence().min(idle_time_max)).max(Duration::from_millis(50))).await;
            }
        };
        tokio::select! {
            _ = &mut session => return,
            () = shutdown.cancelled() => "this node is shutting down",
            () = idle => "nothing moved for a long time",
        }
    };
    let _ = handle.disconnect(russh::Disconnect::ByApplication, reason.into(), "en".into()).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), session).await;
}

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection of a client, counted.
struct Counted {
    counts: Counts,
    client: IpAddr,
}

impl Counted {
    fn new(counts: &Counts, client: IpAddr, most: usize) -> Option<Counted> {
        let mut map = counts.lock().expect("the count is never left half-done");
        let count = map.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { counts: counts.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut map = self.counts.lock().expect("the count is never left half-done");
        if let Some(count) = map.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                map.remove(&self.client);
            }
        }
    }
}
