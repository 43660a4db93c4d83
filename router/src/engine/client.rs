//! A client's connection: shared so that its end is seen while it is held, and scanned before it is parsed.

use crate::wire::{Refused, Scanner};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Facts of one connection that its requests share.
#[derive(Debug)]
pub struct ClientConnection {
    socket: Arc<TcpStream>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// It is TLS.
    pub https: bool,
    opaque: AtomicBool,
}

impl ClientConnection {
    /// Takes an accepted socket.
    pub fn new(socket: TcpStream, peer: SocketAddr, https: bool) -> Arc<Self> {
        let _ = socket.set_nodelay(true);
        Arc::new(Self { socket: Arc::new(socket), peer, https, opaque: AtomicBool::new(false) })
    }

    /// The client's address.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// The bytes of this connection.
    pub fn stream(&self) -> SharedStream {
        SharedStream(Arc::clone(&self.socket))
    }

    /// The socket itself.
    pub fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// From now on it is a tunnel.
    pub fn upgraded(&self) {
        self.opaque.store(true, Ordering::Release);
    }

    /// The client has closed its side, also when bytes of it are still unread.
    pub fn has_gone(&self) -> bool {
        !gone(std::iter::once(self)).is_empty()
    }
}

/// POLLRDHUP of Linux, which the library does not name: the other side has closed its half, unread bytes or not.
const CLOSED_BY_PEER: PollFlags = PollFlags::from_bits_retain(0x2000);

/// The indices of those that have gone, in one system call.
pub fn gone<'a>(connections: impl Iterator<Item = &'a ClientConnection>) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> = connections.map(|c| PollFd::new(c.socket.as_fd(), CLOSED_BY_PEER)).collect();
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(n) if n > 0 => {}
        _ => return Vec::new(),
    }
    // Of flags that the library does not name it gives none: that is the one which was asked for.
    let has_gone = |fd: &PollFd<'_>| fd.revents().is_none_or(|flags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
    fds.iter().enumerate().filter(|(_, fd)| has_gone(fd)).map(|(i, _)| i).collect()
}

/// An idle connection that has something to say has closed, or is about to (an upstream never speaks first).
pub fn is_quiet(socket: &TcpStream) -> bool {
    let mut fd = [PollFd::new(socket.as_fd(), PollFlags::POLLIN | CLOSED_BY_PEER)];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(0))
}

/// Reads and writes a socket that others watch.
#[derive(Debug)]
pub struct SharedStream(pub Arc<TcpStream>);

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            // Not `initialize_unfilled`: that would touch all 8 KiB of a buffer that a held request hardly uses.
            match self.0.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_read_ready(cx))?,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // One that has already gone is shut down well enough.
        let _ = nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

/// HTTP/1 bytes that have passed the strict framing.
#[derive(Debug)]
pub struct StrictStream<S> {
    inner: S,
    scanner: Scanner,
    connection: Arc<ClientConnection>,
    refused: Option<Refused>,
}

impl<S> StrictStream<S> {
    /// Scans what `inner` reads.
    pub fn new(inner: S, connection: Arc<ClientConnection>) -> Self {
        Self { inner, scanner: Scanner::new(connection.https), connection, refused: None }
    }

    /// Why reading ended, and the stream for a last answer.
    pub fn into_refused(self) -> Option<(S, Refused)> {
        self.refused.map(|refused| (self.inner, refused))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.inner).poll_read(cx, buf))?;
        if me.connection.opaque.load(Ordering::Acquire) {
            me.scanner.opaque();
        }
        match me.scanner.take(&buf.filled()[before..]) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(refused) => {
                me.refused = Some(refused);
                buf.set_filled(before);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refused)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            // The reason is still to be said.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
