//! The first byte of a request towards an application, and everything that may still forbid it.
//!
//! The core lets a request pass under an epoch. Between that decision and the first byte on the wire lie a connection
//! and a task switch. So the decision is repeated at the write itself, under a lock that [`Fence::raise`] takes, too:
//! when a table was applied, no first byte of an older epoch follows.

use super::client::ClientConnection;
use super::clock::Clock;
use super::environment::Environment;
use crate::policy::Failed;
use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use slipway_model::Epoch;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The lowest epoch whose requests may still be sent.
#[derive(Debug)]
pub struct Fence(RwLock<Epoch>);

impl Fence {
    /// Open for this epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self(RwLock::new(epoch))
    }

    /// Closes the way for all lower epochs; waits for writes that have begun.
    pub fn raise(&self, epoch: Epoch) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *now = (*now).max(epoch);
    }

    fn guarded<R>(&self, epoch: Epoch, write: impl FnOnce() -> R) -> Option<R> {
        let now = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (*now == epoch).then(write)
    }
}

const UNSENT: u8 = 0;
const SENT: u8 = 1;
const FENCED: u8 = 2;
const CLIENT_GONE: u8 = 3;
const STALLED: u8 = 4;

/// One try of one request.
#[derive(Debug)]
pub struct Fuse {
    environment: Arc<Environment>,
    epoch: Epoch,
    clock: Arc<Clock>,
    /// Looked at before the first byte of a request that was held.
    client: Option<Arc<ClientConnection>>,
    state: AtomicU8,
    body: Mutex<Option<Incoming>>,
    body_failed: AtomicBool,
    moved: AtomicU64,
    waker: AtomicWaker,
}

impl Fuse {
    /// For one try.
    pub fn new(environment: Arc<Environment>, epoch: Epoch, clock: Arc<Clock>, client: Option<Arc<ClientConnection>>, body: Option<Incoming>) -> Arc<Self> {
        Arc::new(Self {
            environment,
            epoch,
            clock,
            client,
            state: AtomicU8::new(UNSENT),
            body: Mutex::new(body),
            body_failed: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        })
    }

    /// Something of it is on the wire.
    pub fn sent(&self) -> bool {
        self.state.load(Ordering::Acquire) == SENT
    }

    /// The client's body broke off.
    pub fn body_failed(&self) -> bool {
        self.body_failed.load(Ordering::Acquire)
    }

    /// Rises with each piece of the body.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// The body again, for another try; only useful when nothing was sent.
    pub fn take_body(&self) -> Option<Incoming> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What a failure of this try means.
    pub fn failed(&self) -> Failed {
        match self.state.load(Ordering::Acquire) {
            SENT => Failed::ClosedAfterSending,
            FENCED | STALLED => Failed::Fenced,
            CLIENT_GONE => Failed::ClientGone,
            _ => Failed::ClosedUnsent,
        }
    }

    /// The first write; `None` when it must not happen.
    fn first(&self, write: impl FnOnce() -> Poll<io::Result<usize>>) -> Option<Poll<io::Result<usize>>> {
        if self.clock.was_away() {
            self.state.store(STALLED, Ordering::Release);
            return None;
        }
        if self.client.as_ref().is_some_and(|client| client.has_gone()) {
            self.state.store(CLIENT_GONE, Ordering::Release);
            return None;
        }
        let done = self.environment.fence.guarded(self.epoch, || {
            let done = write();
            if matches!(done, Poll::Ready(Ok(n)) if n > 0) {
                self.state.store(SENT, Ordering::Release);
            }
            done
        });
        match &done {
            None => self.state.store(FENCED, Ordering::Release),
            Some(_) if self.sent() => self.waker.wake(),
            Some(_) => {}
        }
        done
    }
}

/// The fuse of the request that a connection carries now.
#[derive(Debug, Default)]
pub struct FuseSlot {
    armed: AtomicBool,
    fuse: Mutex<Option<Arc<Fuse>>>,
}

impl FuseSlot {
    /// The next write is the first one of this request.
    pub fn arm(&self, fuse: Arc<Fuse>) {
        *self.fuse.lock().unwrap_or_else(PoisonError::into_inner) = Some(fuse);
        self.armed.store(true, Ordering::Release);
    }

    fn write(&self, write: impl FnOnce() -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if !self.armed.load(Ordering::Acquire) {
            return write();
        }
        let mut slot = self.fuse.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fuse) = slot.as_ref() else { return write() };
        let Some(done) = fuse.first(write) else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, "the way was closed before the first byte")));
        };
        if fuse.sent() {
            *slot = None;
            self.armed.store(false, Ordering::Release);
        }
        done
    }
}

/// A connection to an application.
#[derive(Debug)]
pub struct UpstreamStream {
    socket: Arc<TcpStream>,
    inner: super::client::SharedStream,
    slot: Arc<FuseSlot>,
}

impl UpstreamStream {
    /// Guards the writes of a socket.
    pub fn new(socket: Arc<TcpStream>, slot: Arc<FuseSlot>) -> Self {
        Self { inner: super::client::SharedStream(Arc::clone(&socket)), socket, slot }
    }

    /// The socket, to see whether it is still open.
    pub fn socket(&self) -> Arc<TcpStream> {
        Arc::clone(&self.socket)
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let inner = &mut me.inner;
        me.slot.write(|| Pin::new(inner).poll_write(cx, bytes))
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let inner = &mut me.inner;
        me.slot.write(|| Pin::new(inner).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// The client's body on its way. It is not asked for before the head is on the wire: so a try that sent nothing has
/// consumed nothing, and a client that expects `100 Continue` gets it only when an application listens.
#[derive(Debug)]
pub struct ForwardedBody {
    fuse: Option<Arc<Fuse>>,
    hint: SizeHint,
    pause_max: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ForwardedBody {
    /// The body that `fuse` holds; `pause_max` is the longest silence of the client.
    pub fn new(fuse: &Arc<Fuse>, pause_max: Duration) -> Self {
        let body = fuse.body.lock().unwrap_or_else(PoisonError::into_inner);
        let hint = body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let empty = body.as_ref().is_none_or(Body::is_end_stream);
        drop(body);
        Self { fuse: (!empty).then(|| Arc::clone(fuse)), hint, pause_max, pause: None }
    }
}

impl Body for ForwardedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let me = self.get_mut();
        let Some(fuse) = &me.fuse else { return Poll::Ready(None) };
        if !fuse.sent() {
            fuse.waker.register(cx.waker());
            if !fuse.sent() {
                return Poll::Pending;
            }
        }
        let mut body = fuse.body.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(incoming) = body.as_mut() else {
            return Poll::Ready(Some(Err(io::Error::other("the body was taken back"))));
        };
        let frame = match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                fuse.moved.fetch_add(1, Ordering::Relaxed);
                Some(Ok(frame))
            }
            Poll::Ready(Some(Err(e))) => {
                fuse.body_failed.store(true, Ordering::Release);
                Some(Err(io::Error::other(e)))
            }
            Poll::Ready(None) => None,
            Poll::Pending => {
                let pause = me.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(me.pause_max)));
                ready!(pause.as_mut().poll(cx));
                fuse.body_failed.store(true, Ordering::Release);
                Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped sending its body")))
            }
        };
        me.pause = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.fuse.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Budget;
    use crate::engine::tables::Tables;
    use slipway_model::route::{Gate, HoldLimits, RouteEnvironment, RouteTable};
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;

    fn table(version: u64, epoch: u64, gate: Gate) -> RouteTable {
        let environment = RouteEnvironment {
            id: "shop".parse().unwrap(),
            project: "p1".parse().unwrap(),
            epoch: Epoch(epoch),
            gate,
            release: "rel-a".parse().unwrap(),
            routes: vec![],
            pools: BTreeMap::new(),
            hold: HoldLimits::default(),
            cluster: String::new(),
            restrict_robots: false,
            shells: vec![],
        };
        RouteTable { version, environments: vec![environment] }
    }

    /// Many connections race with the table: when `apply` has returned, none of them writes a first byte any more.
    #[test]
    fn after_a_table_was_applied_no_first_byte_of_an_older_epoch_is_written() {
        let clock = Arc::new(Clock::default());
        clock.beat();
        let tables = Tables::new(Arc::clone(&clock), Arc::new(Budget::new(10, 1000)));
        tables.apply(table(1, 1, Gate::Open)).unwrap();
        let environment = tables.environment(&"shop".parse().unwrap()).unwrap();
        let (applied, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let slot = FuseSlot::default();
                        let fuse = Fuse::new(Arc::clone(&environment), Epoch(1), Arc::clone(&clock), None, None);
                        slot.arm(Arc::clone(&fuse));
                        let write = slot.write(|| {
                            assert!(!applied.load(Ordering::SeqCst), "a first byte after the table");
                            written.fetch_add(1, Ordering::SeqCst);
                            Poll::Ready(Ok(1))
                        });
                        match write {
                            Poll::Ready(Ok(_)) => assert!(fuse.sent()),
                            _ => {
                                assert_eq!(fuse.failed(), Failed::Fenced);
                                return;
                            }
                        }
                    }
                });
            }
            while written.load(Ordering::SeqCst) < 1000 {
                std::thread::yield_now();
            }
            tables.apply(table(2, 2, Gate::Frozen)).unwrap();
            applied.store(true, Ordering::SeqCst);
        });
    }
}
