//! Connections to the members of one environment, shared under (release, epoch, address) alone.

use super::fuse::{ForwardedBody, Fuse, FuseSlot, UpstreamStream};
use crate::policy::PoolKey;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use slipway_model::Epoch;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Idle connections kept per member; more than this at once is a burst.
const IDLE_PER_MEMBER_MAX: usize = 64;

/// An idle connection older than this is not used: nginx closes at 75 s, and one that is just being closed would
/// turn a request into a 502, because what was sent once is not sent again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Longest head of an answer, cookies included.
const ANSWER_BUFFER_BYTES_MAX: usize = 64 << 10;

/// One connection that carries one request at a time.
#[derive(Debug)]
pub struct Connection {
    /// What it may carry.
    pub key: PoolKey,
    sender: http1::SendRequest<ForwardedBody>,
    slot: Arc<FuseSlot>,
    socket: Arc<TcpStream>,
}

impl Connection {
    /// Opens a fresh one.
    pub async fn open(key: PoolKey, time_max: Duration) -> io::Result<Self> {
        let socket = tokio::time::timeout(time_max, TcpStream::connect(std::net::SocketAddr::V4(key.address)))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the application did not accept a connection in time"))??;
        let _ = socket.set_nodelay(true);
        let slot = Arc::new(FuseSlot::default());
        let stream = UpstreamStream::new(Arc::new(socket), Arc::clone(&slot));
        let socket = stream.socket();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(ANSWER_BUFFER_BYTES_MAX).preserve_header_case(false);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its end shows itself to whoever uses the connection.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { key, sender, slot, socket })
    }

    /// Sends one request; the fuse knows afterwards whether anything of it went out.
    pub async fn send(&mut self, fuse: &Arc<Fuse>, request: http::Request<ForwardedBody>) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        self.slot.arm(Arc::clone(fuse));
        self.sender.try_send_request(request).await.map_err(hyper::client::conn::TrySendError::into_error)
    }

    async fn is_fresh(&mut self) -> bool {
        if self.sender.is_closed() || !super::client::is_quiet(&self.socket) {
            return false;
        }
        // The end of the last answer reaches its task a moment after it reached us.
        self.sender.is_ready() || matches!(tokio::time::timeout(Duration::from_millis(20), self.sender.ready()).await, Ok(Ok(())))
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug, Default)]
struct Kept {
    lowest: Epoch,
    idle: HashMap<PoolKey, Vec<Idle>>,
}

/// The idle connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Kept>);

impl Connections {
    fn pop(&self, key: &PoolKey) -> Option<Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).idle.get_mut(key)?.pop()
    }

    /// An idle connection that is still open.
    pub async fn reuse(&self, key: &PoolKey) -> Option<Connection> {
        while let Some(mut idle) = self.pop(key) {
            if idle.since.elapsed() < IDLE_TIME_MAX && idle.connection.is_fresh().await {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer has ended; one of an older epoch is closed.
    pub fn give_back(&self, connection: Connection) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.key.epoch < kept.lowest || connection.sender.is_closed() {
            return;
        }
        let idle = kept.idle.entry(connection.key.clone()).or_default();
        if idle.len() < IDLE_PER_MEMBER_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the idle connections of older epochs.
    pub fn keep_only(&self, epoch: Epoch) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lowest = kept.lowest.max(epoch);
        let lowest = kept.lowest;
        kept.idle.retain(|key, _| key.epoch >= lowest);
    }

    /// Closes what has been idle too long.
    pub fn sweep(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.idle.retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_TIME_MAX && !idle.connection.sender.is_closed());
            !idle.is_empty()
        });
    }
}
