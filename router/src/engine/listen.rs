//! Listening sockets and the connections that come from them.

use super::answer::{Answer, page};
use super::client::{ClientConnection, StrictStream};
use super::request::{Front, UNREAD_BYTES_HTTP2};
use crate::wire::{HEAD_BYTES_MAX, HEADERS_MAX, Refused};
use futures::FutureExt;
use http::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

/// Every stream can be held with a full window and the connection still has room for the next one: a tenant's held
/// bodies cannot stall another's streams.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * UNREAD_BYTES_HTTP2 as u32;

/// What is read and thrown away after a last answer, so that a reset does not destroy it on its way.
const LINGER_BYTES_MAX: u64 = 4 << 20;
/// How long.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// How long an idle HTTP/1 connection of a router that ends may still bring a request.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// Pause when the machine has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the accept loops share.
#[derive(Debug, Clone)]
pub struct Door {
    /// The router.
    pub front: Arc<Front>,
    /// Room for connections.
    pub room: Arc<Semaphore>,
    /// The connections that live.
    pub tasks: TaskTracker,
}

impl Door {
    /// Accepts until `stop`, then takes what the kernel has accepted already.
    pub async fn accept(self, listener: Arc<TcpListener>, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => match listener.accept().now_or_never() {
                    Some(accepted) => accepted,
                    None => return,
                },
            };
            match accepted {
                Ok((socket, peer)) => {
                    let connection = ClientConnection::new(socket, peer, tls.is_some());
                    let (front, tls) = (Arc::clone(&self.front), tls.clone());
                    self.tasks.spawn(async move {
                        serve(front, connection, tls).await;
                        drop(room);
                    });
                }
                Err(e) => {
                    tracing::debug!("accept: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(front: Arc<Front>, connection: Arc<ClientConnection>, tls: Option<TlsAcceptor>) {
    let stream = connection.stream();
    let Some(tls) = tls else {
        Box::pin(http1(front, Arc::clone(&connection), stream)).await;
        return linger(&connection).await;
    };
    let handshake = Box::pin(tokio::time::timeout(front.limits.handshake_time_max, tls.accept(stream)));
    let Ok(Ok(stream)) = handshake.await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2(front, Arc::clone(&connection), stream)).await;
    } else {
        Box::pin(http1(front, Arc::clone(&connection), stream)).await;
    }
    linger(&connection).await;
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(front: Arc<Front>, connection: Arc<ClientConnection>, stream: S) {
    let drain = front.drain.clone();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(front.limits.head_time_max).max_buf_size(HEAD_BYTES_MAX + 1024).max_headers(HEADERS_MAX);
    let io = TokioIo::new(StrictStream::new(stream, Arc::clone(&connection)));
    let service = service_fn(move |request| Arc::clone(&front).answer(Arc::clone(&connection), request));
    let mut serving = builder.serve_connection(io, service).with_upgrades();
    tokio::select! {
        _ = &mut serving => {}
        () = idle_for(&drain) => {
            std::pin::Pin::new(&mut serving).graceful_shutdown();
            let _ = (&mut serving).await;
        }
    }
    if let Some(parts) = serving.into_parts()
        && let Some((stream, refused)) = parts.io.into_inner().into_refused()
    {
        let _ = last_words(stream, refused).await;
    }
}

/// An idle HTTP/1 connection is not closed at once when the router ends: its client may be sending the next request in
/// this instant. Each answer says `Connection: close` from now on; who is silent longer is closed.
async fn idle_for(drain: &CancellationToken) {
    drain.cancelled().await;
    tokio::time::sleep(IDLE_GRACE).await;
}

/// What is no clear HTTP is answered by hand; the connection ends.
async fn last_words<S: AsyncWrite + Unpin>(mut stream: S, refused: Refused) -> io::Result<()> {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
    let why = format!("The request was refused: {}.", refused.why);
    let text = page_text(&page(status, &why, "This is a defect of the client.")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Refused"),
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&text).await?;
    stream.flush().await?;
    stream.shutdown().await
}

fn page_text(answer: &Answer) -> Option<bytes::Bytes> {
    match answer.body() {
        super::answer::AnswerBody::Page(text) => text.clone(),
        super::answer::AnswerBody::Proxied(_) => None,
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(front: Arc<Front>, connection: Arc<ClientConnection>, stream: S) {
    let drain = front.drain.clone();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(UNREAD_BYTES_HTTP2 as u32)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_send_buf_size(UNREAD_BYTES_HTTP2 as usize)
        .keep_alive_interval(front.limits.head_time_max)
        .keep_alive_timeout(Duration::from_secs(20));
    let service = service_fn(move |request| Arc::clone(&front).answer(Arc::clone(&connection), request));
    let mut serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut serving => {}
        () = drain.cancelled() => {
            std::pin::Pin::new(&mut serving).graceful_shutdown();
            let _ = (&mut serving).await;
        }
    }
}

/// Closing with unread bytes resets the connection, and a reset overtakes the answer: read on for a moment.
async fn linger(connection: &ClientConnection) {
    if connection.has_gone() || Arc::strong_count(connection.socket()) > 1 {
        // Gone, or it lives on as a tunnel.
        return;
    }
    let mut stream = connection.stream();
    let _ = stream.shutdown().await;
    let mut rest = stream.take(LINGER_BYTES_MAX);
    let _ = tokio::time::timeout(LINGER_TIME_MAX, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
