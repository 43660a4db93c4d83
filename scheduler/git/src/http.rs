//! The smart HTTP door: three requests of git, a token as password.

use crate::command::project_of_path;
use crate::conversation::{self, Input, Outlet, Pulse};
use crate::packet;
use crate::platform::{Guest, Unknown};
use crate::porter::{Porter, Refusal, RefusalKind, away};
use crate::service::{self, Ask, Service, Shape};
use base64::Engine;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Chunks that may wait for a slow client.
const CHUNKS_WAITING_MAX: usize = 16;

type Body = BoxBody<Bytes, Infallible>;

/// Serves until shutdown.
pub async fn serve(listener: TcpListener, porter: Arc<Porter>, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(connection) = porter.connection(peer.ip()) else { continue };
        let (porter, shutdown) = (porter.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _connection = connection;
            let _ = socket.set_nodelay(true);
            let login_time_max = porter.limits.login_time_max;
            let service = hyper::service::service_fn(move |request| {
                let porter = porter.clone();
                async move { Ok::<_, Infallible>(answer(porter, request).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(login_time_max)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(socket), service);
            tokio::pin!(serving);
            tokio::select! {
                _ = &mut serving => {}
                () = shutdown.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(Duration::from_secs(2), serving).await;
                }
            }
        });
    }
}

/// What a request asks for.
enum Wanted {
    Refs(Service),
    Rpc(Service),
}

async fn answer(porter: Arc<Porter>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_string();
    let (repository, wanted) = match route(request.method(), &path, request.uri().query()) {
        Ok(route) => route,
        Err(response) => return *response,
    };
    let guest = match guest(&porter, &request).await {
        Ok(Some(guest)) => guest,
        Ok(None) => return challenge(),
        Err(refusal) => return refused(&refusal),
    };
    let Some(project) = project_of_path(repository) else {
        return text(StatusCode::NOT_FOUND, "This is no path of a repository: it looks like /<project>.git.");
    };
    let protocol = request.headers().get("git-protocol").and_then(|value| value.to_str().ok()).map(str::to_string);
    let (service, shape) = match wanted {
        Wanted::Refs(service) => (service, Shape::Advertise),
        Wanted::Rpc(service) => (service, Shape::Stateless),
    };
    if shape == Shape::Stateless {
        let expected = format!("application/x-git-{}-request", service.program());
        if request.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != expected.as_bytes()) {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This address speaks git: use git clone, git fetch or git push.");
        }
    }
    let gzip = match request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only gzip is understood as content encoding."),
    };
    let ask = Ask { guest, project, service, shape, protocol: protocol.clone(), no_wait: false };
    let running = match service::start(&porter, ask).await {
        Ok(running) => running,
        Err(refusal) => return refused(&refusal),
    };
    let bytes_max = match service {
        Service::UploadPack => porter.limits.fetch_request_bytes_max,
        // Git itself counts the pack; this bounds what a bomb may unfold to.
        Service::ReceivePack => porter.limits.push_bytes_max.saturating_add(64 << 20),
    };
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    if shape == Shape::Advertise && !protocol.as_deref().is_some_and(|text| text.split(':').any(|part| part == "version=2") && service == Service::UploadPack) {
        let mut head = packet::framed(format!("# service=git-{}\n", service.program()).as_bytes());
        head.extend_from_slice(packet::FLUSH);
        let _ = sender.send(Ok(Bytes::from(head))).await;
    }
    let body = request.into_body();
    tokio::spawn(async move {
        let input = |stdin, pulse| take_input(body, stdin, gzip, bytes_max, pulse);
        if let Err(error) = conversation::hold(running, input, Outlet::Body(sender), Outlet::Journal).await {
            tracing::error!(%error, "a git session broke");
        }
    });
    let kind = match shape {
        Shape::Advertise => format!("application/x-git-{}-advertisement", service.program()),
        _ => format!("application/x-git-{}-result", service.program()),
    };
    let stream = ReceiverStream::new(receiver).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&kind).expect("a service's name is plain text"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"));
    response
}

fn route<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Result<(&'a str, Wanted), Box<Response<Body>>> {
    let not_found = || Box::new(text(StatusCode::NOT_FOUND, "This address speaks git: use git clone, git fetch or git push."));
    if let Some(repository) = path.strip_suffix("/info/refs") {
        if method != Method::GET {
            return Err(not_found());
        }
        let service = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("service="));
        let Some(service) = service.and_then(Service::parse) else {
            return Err(Box::new(text(StatusCode::FORBIDDEN, "Only git's smart protocol is spoken here: update your git.")));
        };
        return Ok((repository, Wanted::Refs(service)));
    }
    let (repository, name) = path.rsplit_once('/').ok_or_else(not_found)?;
    match Service::parse(name) {
        Some(service) if method == Method::POST => Ok((repository, Wanted::Rpc(service))),
        _ => Err(not_found()),
    }
}

/// `Ok(None)`: nobody, or nobody we know.
async fn guest(porter: &Porter, request: &Request<Incoming>) -> Result<Option<Guest>, Refusal> {
    let Some(token) = request.headers().get(header::AUTHORIZATION).and_then(token) else { return Ok(None) };
    match porter.platform.guest_of_token(&token).await {
        Ok(guest) => Ok(Some(guest)),
        Err(Unknown::Stranger) => Ok(None),
        Err(Unknown::Away(status)) => {
            tracing::warn!(%status, "a token could not be looked up");
            Err(away())
        }
    }
}

/// The password of `Basic`, whatever the user; or a bearer token.
fn token(value: &HeaderValue) -> Option<String> {
    let (scheme, value) = value.to_str().ok()?.split_once(' ')?;
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        value.trim().to_string()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
        String::from_utf8(bytes).ok()?.split_once(':')?.1.to_string()
    } else {
        return None;
    };
    (!token.is_empty() && token.len() <= 512).then_some(token)
}

async fn take_input(mut body: Incoming, mut stdin: ChildStdin, gzip: bool, bytes_max: u64, pulse: Pulse) -> Input {
    let mut decoder = gzip.then(|| GzDecoder::new(Unfolded { bytes: Vec::new(), room: bytes_max }));
    let mut room = bytes_max;
    let mut git_listens = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Input::Gone };
        let Ok(data) = frame.into_data() else { continue };
        pulse.beat();
        if !git_listens {
            // Read on: an answer before the end of the request would confuse the client.
            continue;
        }
        let plain = match &mut decoder {
            None => data,
            Some(decoder) => {
                if decoder.write_all(&data).is_err() {
                    return Input::Gone;
                }
                Bytes::from(std::mem::take(&mut decoder.get_mut().bytes))
            }
        };
        match room.checked_sub(plain.len() as u64) {
            Some(rest) => room = rest,
            None => return Input::Gone,
        }
        git_listens = stdin.write_all(&plain).await.is_ok();
    }
    if let Some(decoder) = decoder {
        match decoder.finish() {
            Ok(rest) if git_listens => {
                let _ = stdin.write_all(&rest.bytes).await;
            }
            Ok(_) => {}
            Err(_) => return Input::Gone,
        }
    }
    Input::Ended
}

/// Takes what a gzip stream unfolds to, up to a bound.
struct Unfolded {
    bytes: Vec<u8>,
    room: u64,
}

impl Write for Unfolded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.room = self.room.checked_sub(bytes.len() as u64).ok_or_else(|| std::io::Error::other("the request unfolds to too much"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let status = match refusal.kind {
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Forbidden => StatusCode::FORBIDDEN,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, &refusal.message)
}

fn challenge() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "Give any user name and, as password, a token of yours: slipway token create.");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Slipway git\", charset=\"UTF-8\""));
    response
}

/// Git shows plain text of an error as `remote:` lines.
fn text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{message}\n"))).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
