//! One request from its arrival to its answer.

use super::access::{AccessLine, AccessLog};
use super::answer::{self, Answer, AnswerBody};
use super::client::ClientConnection;
use super::clock::Clock;
use super::environment::{Asked, Environment, Released, Waited};
use super::forward::{Forwarded, Outgoing, forward};
use super::tables::Tables;
use crate::admission::Refusal;
use crate::gate::Pass;
use crate::headers::{self, Arrival};
use crate::moment::Moment;
use crate::options::Limits;
use crate::redirect::whole_route;
use crate::table::Matched;
use crate::wire::is_authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use hyper::body::{Body, Incoming};
use slipway_model::route::RouteAction;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Bytes of an unread body that the router may have in memory: one TLS record and one read of HTTP/1.
const UNREAD_BYTES_HTTP1: u64 = 16 << 10;

/// The same for HTTP/2: the window of one stream.
pub const UNREAD_BYTES_HTTP2: u64 = 64 << 10;

/// What a held request takes besides its body, for the bound of the whole router; measured by
/// `ten_thousand_held_requests_fit_and_all_are_answered`: 22.7 kB.
const HELD_BYTES: u64 = 24 << 10;

/// Longest wait for a scheduler's word after this process was stopped; then the last table is served on (P9).
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// Pace of the heartbeat.
const BEAT: Duration = Duration::from_millis(100);

/// How soon a held client's end is seen while its body is unread.
const SWEEP: Duration = Duration::from_millis(500);

/// The client has gone; there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
pub struct ClientGone;

/// What all requests share.
#[derive(Debug)]
pub struct Front {
    /// Tables and environments.
    pub tables: Arc<Tables>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Bounds.
    pub limits: Limits,
    /// `X-Platform-Router`.
    pub router: HeaderValue,
    /// When it is switched on.
    pub access: Option<AccessLog>,
    /// This router shall end.
    pub drain: CancellationToken,
    /// Rung when this process finds that it was stopped: the link connects anew.
    pub catch_up: tokio::sync::Notify,
}

/// Where a request wants to go.
struct Destination {
    authority: String,
    host: String,
    path: String,
    query: Option<String>,
    https: bool,
}

impl Front {
    /// Answers one request.
    pub async fn answer(self: Arc<Self>, connection: Arc<ClientConnection>, request: Request<Incoming>) -> Result<Answer, ClientGone> {
        self.tables.requests_total.fetch_add(1, Ordering::Relaxed);
        let destination = match destination(&request, connection.https) {
            Ok(destination) => destination,
            Err(answer) => return Ok(*answer),
        };
        let mut line = self.access.as_ref().map(|log| log.line(connection.ip(), request.method(), &destination.host, &destination.path));
        let http1 = request.version() <= Version::HTTP_11;
        let mut answer = self.route(&connection, request, &destination, &mut line).await?;
        if http1 && self.drain.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(logged(answer, line))
    }

    async fn route(
        self: &Arc<Self>,
        connection: &Arc<ClientConnection>,
        mut request: Request<Incoming>,
        destination: &Destination,
        line: &mut Option<AccessLine>,
    ) -> Result<Answer, ClientGone> {
        if !self.tables.has_table() {
            return Ok(answer::unavailable("this router has no route table yet"));
        }
        let websocket = request.version() == Version::HTTP_11 && headers::wants_websocket(request.headers());
        let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
        let unread = unread_bytes(&request);
        let begun = self.clock.now();
        let (parts, body) = request.into_parts();
        let mut outgoing =
            Outgoing { method: parts.method, uri: origin_form(&parts.uri), headers: parts.headers, body: Some(body), upgrade, was_held: false };
        let mut held_since = None;
        loop {
            let Some((matched, environment)) = self.find(destination) else { return Ok(answer::unknown_site()) };
            if let Some(answer) = self.own_answer(&matched, destination) {
                return Ok(answer);
            }
            let (pass, released) = match self.pass_gate(connection, &matched, &environment, unread, &mut held_since).await {
                Ok(Some(passed)) => passed,
                Ok(None) => continue,
                Err(refused) => return refused.map(|refusal| refuse(&matched, refusal)).ok_or(ClientGone),
            };
            outgoing.was_held = held_since.is_some();
            let matched = match released {
                None => matched,
                // While it waited the table has changed.
                Some(_) => match self.find(destination).filter(|(again, _)| again.environment.epoch() == pass.epoch) {
                    Some((again, _)) => again,
                    None => continue,
                },
            };
            if matched.members().is_empty() {
                environment.count_refused();
                return Ok(with_environment(answer::unavailable("nothing runs behind this address"), &matched));
            }
            let arrival =
                Arrival { client: connection.ip(), https: connection.https, authority: &destination.authority, websocket };
            let flight = environment.begin(pass.epoch, begun, outgoing.method.clone(), outgoing.uri.clone());
            // On the heap: a request that is held must not carry the room of one that is sent.
            let sending = Box::pin(forward(self, connection, &environment, &matched, &pass, &arrival, flight, released, &mut outgoing));
            match sending.await {
                Forwarded::Answer(answer, instance) => {
                    if let Some(line) = line {
                        line.by(environment.id.as_str(), pass.release.as_str(), instance.as_deref().unwrap_or("-"));
                        line.held(held_since.map_or(0, |since| self.clock.now().since(since)));
                    }
                    return Ok(answer);
                }
                Forwarded::AskGate => self.catch_up().await,
                Forwarded::ClientGone => return Err(ClientGone),
            }
        }
    }

    fn find(&self, destination: &Destination) -> Option<(Matched, Arc<Environment>)> {
        let matched = self.tables.current().find(destination.https, &destination.host, &destination.path)?;
        let environment = self.tables.environment(matched.environment.id())?;
        Some((matched, environment))
    }

    /// Robots, redirects: what needs no application, and is never held.
    fn own_answer(&self, matched: &Matched, destination: &Destination) -> Option<Answer> {
        let entry = matched.environment.entry();
        let answer = if entry.restrict_robots && destination.path == "/robots.txt" {
            answer::robots()
        } else if let Some(target) = matched.route().redirects.find(&destination.path, destination.query.as_deref()) {
            answer::redirect(&target)
        } else if let RouteAction::Redirect { to, code } = &matched.route().site.action {
            let target = whole_route(to, *code, &matched.route().site.path, &destination.path, destination.query.as_deref())?;
            answer::redirect(&target)
        } else {
            return None;
        };
        Some(with_environment(answer, matched))
    }

    /// `Ok(None)`: look at the table again. `Err(None)`: the client has gone.
    async fn pass_gate(
        &self,
        connection: &Arc<ClientConnection>,
        matched: &Matched,
        environment: &Arc<Environment>,
        unread: u64,
        held_since: &mut Option<Moment>,
    ) -> Result<Option<(Pass, Option<Released>)>, Option<Refusal>> {
        let seen = matched.environment.epoch();
        let wait = match environment.ask(seen, *held_since, connection, unread, HELD_BYTES) {
            Err(refusal) => return Err(Some(refusal)),
            Ok(Asked::Pass(pass)) => return Ok(Some((pass, None))),
            Ok(Asked::Stale) => {
                tokio::task::yield_now().await;
                return Ok(None);
            }
            Ok(Asked::Held(wait)) => wait,
        };
        held_since.get_or_insert_with(|| self.clock.now());
        match wait.turn().await {
            Err(refusal) => Err(Some(refusal)),
            Ok(Waited::ClientGone) => Err(None),
            Ok(Waited::LookAgain) => Ok(None),
            Ok(Waited::Refused(refusal)) => Err(Some(refusal)),
            Ok(Waited::Released(released)) if connection.has_gone() => {
                drop(released);
                Err(None)
            }
            Ok(Waited::Released(released)) => Ok(environment.pass_released(released.epoch).map(|pass| (pass, Some(released)))),
        }
    }

    /// After a way was closed: when this process had been stopped, it first hears what is in force (F8).
    async fn catch_up(&self) {
        if !self.clock.was_away() {
            return;
        }
        let hearing = self.tables.hear_anew();
        self.catch_up.notify_one();
        let _ = tokio::time::timeout(CATCH_UP_MAX, hearing).await;
    }

    /// The heartbeat. After a stall it beats again only when a scheduler was heard, or cannot be.
    pub async fn beat(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BEAT).await;
            if self.clock.was_away() {
                tracing::warn!("this router was stopped for a while; it asks for the table in force before it sends");
                self.catch_up().await;
            }
            self.clock.beat();
        }
    }

    /// Looks after the held and the idle.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.tables.sweep();
        }
    }
}

fn logged(mut answer: Answer, line: Option<AccessLine>) -> Answer {
    if let Some(mut line) = line {
        line.status(answer.status());
        if let AnswerBody::Proxied(body) = answer.body_mut() {
            body.line = Some(line);
        }
    }
    answer
}

fn with_environment(mut answer: Answer, matched: &Matched) -> Answer {
    headers::of_environment(answer.headers_mut(), matched);
    answer
}

fn refuse(matched: &Matched, refusal: Refusal) -> Answer {
    with_environment(answer::unavailable(refusal.reason()), matched)
}

/// Path and query alone: applications get no absolute targets.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_string() };
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

fn unread_bytes(request: &Request<Incoming>) -> u64 {
    let most = if request.version() == Version::HTTP_2 { UNREAD_BYTES_HTTP2 } else { UNREAD_BYTES_HTTP1 };
    match request.body() {
        body if body.is_end_stream() => 0,
        body => body.size_hint().upper().unwrap_or(most).min(most),
    }
}

fn refuse_request(status: StatusCode, what: &str) -> Box<Answer> {
    Box::new(answer::page(status, what, "This is a defect of the client."))
}

/// Host and path; refuses what HTTP/1 framing has let through or HTTP/2 does not check.
fn destination(request: &Request<Incoming>, https: bool) -> Result<Destination, Box<Answer>> {
    if *request.method() == Method::CONNECT || *request.method() == Method::TRACE {
        return Err(refuse_request(StatusCode::METHOD_NOT_ALLOWED, "This method is not served."));
    }
    let expects = request.headers().get(header::EXPECT);
    if expects.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(refuse_request(StatusCode::EXPECTATION_FAILED, "Only the expectation '100-continue' is understood."));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let authority = match (target, host) {
        _ if hosts.next().is_some() => None,
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => None,
        (Some(authority), _) | (None, Some(authority)) => Some(authority),
        (None, None) => None,
    };
    let authority = authority.filter(|authority| is_authority(authority)).and_then(|authority| std::str::from_utf8(authority).ok());
    let Some(authority) = authority else {
        return Err(refuse_request(StatusCode::BAD_REQUEST, "The request does not say clearly for which host it is."));
    };
    let authority = authority.to_ascii_lowercase();
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => &authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_string();
    let path = request.uri().path();
    let path = if path.is_empty() || path == "*" { "/" } else { path };
    if !path.starts_with('/') {
        return Err(refuse_request(StatusCode::BAD_REQUEST, "The path does not begin with a slash."));
    }
    Ok(Destination { host, path: path.to_string(), query: request.uri().query().map(str::to_string), https, authority })
}
