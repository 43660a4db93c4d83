//! One request on its way to one release: members, connections, tries.

use super::answer::{Answer, AnswerBody, ProxiedBody, page};
use super::client::ClientConnection;
use super::environment::{Environment, Flight, Released};
use super::fuse::{ForwardedBody, Fuse};
use super::pool::Connection;
use super::request::Front;
use super::tunnel;
use crate::gate::Pass;
use crate::headers::{self, Arrival};
use crate::policy::{Failed, Next, PoolKey, after, member};
use crate::table::Matched;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use std::time::Duration;

/// A request whose members all refuse waits this long for a newer table before it is answered 502: a router that is
/// behind learns in a few milliseconds; an application that has crashed is told soon enough.
const TABLE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Pause between two rounds over the members.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// What stays the same over all tries. The body travels in the fuses.
#[derive(Debug)]
pub struct Outgoing {
    /// As it came.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// As they came; each try rewrites a copy for the application.
    pub headers: HeaderMap,
    /// The client's body; `None` while a try has it.
    pub body: Option<Incoming>,
    /// The client's side of a WebSocket.
    pub upgrade: Option<OnUpgrade>,
    /// It was held: its client is looked at before the first byte.
    pub was_held: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Forwarded {
    /// The application's answer, or a page.
    Answer(Answer, Option<String>),
    /// Nothing was sent, and the table has changed: ask the gate again.
    AskGate,
    /// The client has gone.
    ClientGone,
}

/// Sends a request that was let through.
pub async fn forward(
    front: &Arc<Front>,
    connection: &Arc<ClientConnection>,
    environment: &Arc<Environment>,
    matched: &Matched,
    pass: &Pass,
    arrival: &Arrival<'_>,
    flight: Flight,
    released: Option<Released>,
    outgoing: &mut Outgoing,
) -> Forwarded {
    let offset = environment.next_turn();
    let begun = tokio::time::Instant::now();
    let mut epochs = environment.epochs();
    let mut tries = 0;
    loop {
        let Some(target) = member(matched.members(), offset, tries) else {
            return Forwarded::Answer(super::answer::unavailable("nothing runs behind this address"), None);
        };
        let key = PoolKey::of(&pass.release, pass.epoch, target);
        let client = outgoing.was_held.then(|| Arc::clone(connection));
        let fuse = Fuse::new(Arc::clone(environment), pass.epoch, Arc::clone(&front.clock), client, outgoing.body.take());
        let failed = match attempt(front, environment, key, &fuse, (matched, arrival), outgoing).await {
            Ok((upstream, response)) => {
                drop(released);
                let way = Way { front, connection, environment, matched, pass, instance: target.instance.as_str() };
                return Forwarded::Answer(way.back(upstream, response, flight, outgoing), Some(target.instance.to_string()));
            }
            Err(failed) => failed,
        };
        if fuse.body_failed() {
            return Forwarded::Answer(page(StatusCode::REQUEST_TIMEOUT, "The request's body did not arrive whole.", "Send it again."), None);
        }
        outgoing.body = fuse.take_body();
        match after(failed, tries) {
            Next::TryAnother => tries += 1,
            Next::AskGate => return Forwarded::AskGate,
            Next::Drop => return Forwarded::ClientGone,
            Next::Answer(status) => return Forwarded::Answer(failure(status), None),
            Next::AwaitTable => {
                let waited = tokio::time::timeout(ROUND_PAUSE, epochs.wait_for(|now| *now > pass.epoch)).await;
                match waited {
                    Ok(_) => return Forwarded::AskGate,
                    Err(_) if begun.elapsed() >= TABLE_WAIT_MAX => {
                        let what = "The application does not accept connections; the request was not executed.";
                        return Forwarded::Answer(page(StatusCode::BAD_GATEWAY, what, "Look at <code>slipway log</code> of the application."), None);
                    }
                    Err(_) => tries = 0,
                }
            }
        }
    }
}

fn failure(status: u16) -> Answer {
    match status {
        504 => page(StatusCode::GATEWAY_TIMEOUT, "The application did not answer in time. It may have executed the request.", "Look whether it did before sending it again."),
        _ => page(StatusCode::BAD_GATEWAY, "The application ended the connection without an answer. It may have executed the request.", "Look whether it did before sending it again."),
    }
}

async fn attempt(
    front: &Arc<Front>,
    environment: &Arc<Environment>,
    key: PoolKey,
    fuse: &Arc<Fuse>,
    (matched, arrival): (&Matched, &Arrival<'_>),
    outgoing: &Outgoing,
) -> Result<(Connection, Response<Incoming>), Failed> {
    let mut upstream = match environment.connections.reuse(&key).await {
        Some(connection) => connection,
        None => Connection::open(key, front.limits.connect_time_max).await.map_err(|_| Failed::Unreachable)?,
    };
    let mut request = Request::new(ForwardedBody::new(fuse, front.limits.body_pause_max));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = outgoing.uri.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = outgoing.headers.clone();
    headers::to_application(request.headers_mut(), arrival, matched);
    let answer = {
        let mut sending = std::pin::pin!(upstream.send(fuse, request));
        loop {
            let moved = fuse.moved();
            match tokio::time::timeout(front.limits.answer_time_max, &mut sending).await {
                Ok(answer) => break answer.map_err(|_| fuse.failed()),
                // A slow upload that moves is no silence of the application.
                Err(_) if fuse.moved() != moved => {}
                Err(_) if fuse.sent() => break Err(Failed::TimedOut),
                Err(_) => break Err(fuse.failed()),
            }
        }
    };
    answer.map(|response| (upstream, response))
}

/// The way back of one answer.
struct Way<'a> {
    front: &'a Arc<Front>,
    connection: &'a Arc<ClientConnection>,
    environment: &'a Arc<Environment>,
    matched: &'a Matched,
    pass: &'a Pass,
    instance: &'a str,
}

impl Way<'_> {
    fn back(&self, upstream: Connection, mut response: Response<Incoming>, flight: Flight, outgoing: &mut Outgoing) -> Answer {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching {
            let Some(client) = outgoing.upgrade.take() else {
                return page(StatusCode::BAD_GATEWAY, "The application switched protocols without being asked.", "This is a defect of the application.");
            };
            let application = hyper::upgrade::on(&mut response);
            let epoch = self.pass.epoch;
            self.connection.upgraded();
            tokio::spawn(tunnel::run(client, application, self.environment.epochs(), epoch, self.front.drain.clone(), (flight, upstream)));
            let (mut parts, _) = response.into_parts();
            headers::to_client(&mut parts.headers, self.matched, &self.front.router, self.instance, true);
            return Response::from_parts(parts, AnswerBody::Page(None));
        }
        let (mut parts, incoming) = response.into_parts();
        parts.version = Version::HTTP_11;
        headers::to_client(&mut parts.headers, self.matched, &self.front.router, self.instance, false);
        if hyper::body::Body::is_end_stream(&incoming) {
            self.environment.connections.give_back(upstream);
            return Response::from_parts(parts, AnswerBody::Page(None));
        }
        let stream = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = ProxiedBody {
            incoming,
            flight: Some(flight),
            connection: Some((Arc::clone(self.environment), upstream)),
            until: stream.then(|| self.end_of_epoch()),
            pause_max: self.front.limits.answer_pause_max,
            pause: None,
            line: None,
        };
        Response::from_parts(parts, AnswerBody::Proxied(Box::new(body)))
    }

    /// Event streams never end by themselves: they end with their epoch, and when this router is replaced.
    fn end_of_epoch(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut epochs = self.environment.epochs();
        let (epoch, drain) = (self.pass.epoch, self.front.drain.clone());
        Box::pin(async move {
            tokio::select! {
                _ = epochs.wait_for(|now| *now > epoch) => {}
                () = drain.cancelled() => {}
            }
        })
    }
}
