//! Bodies of answers, and the pages that the router gives itself.

use super::access::AccessLine;
use super::environment::Flight;
use super::pool::Connection;
use crate::redirect::Target;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

use super::environment::Environment;

/// Seconds after which a refused client may try again: most deployments are through by then.
const RETRY_AFTER_SECONDS: u64 = 10;

/// The body of an answer.
pub enum AnswerBody {
    /// Of the router itself.
    Page(Option<Bytes>),
    /// Of an application.
    Proxied(Box<ProxiedBody>),
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AnswerBody::Page(_) => "Page",
            AnswerBody::Proxied(_) => "Proxied",
        })
    }
}

/// An application's body on its way to the client; holds what must stay until its end.
pub struct ProxiedBody {
    /// The bytes.
    pub incoming: Incoming,
    /// Counted as under way until dropped.
    pub flight: Option<Flight>,
    /// Goes back to its pool at the end.
    pub connection: Option<(Arc<Environment>, Connection)>,
    /// An event stream ends in order when its epoch does.
    pub until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Longest silence of the application.
    pub pause_max: Duration,
    /// The current silence.
    pub pause: Option<Pin<Box<Sleep>>>,
    /// Written at the end.
    pub line: Option<AccessLine>,
}

impl ProxiedBody {
    /// The whole answer came: the connection is free again, the request no longer under way.
    fn finish(&mut self) {
        if let Some((environment, connection)) = self.connection.take() {
            environment.connections.give_back(connection);
        }
        self.flight = None;
        self.line = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            // Ended in order; the connection behind it is dropped, which tells the application.
            self.connection = None;
            self.flight = None;
            self.line = None;
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.pause = None;
                if let (Some(line), Some(data)) = (&mut self.line, frame.data_ref()) {
                    line.bytes += data.len() as u64;
                }
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                self.connection = None;
                Poll::Ready(Some(Err(io::Error::other(e))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let pause_max = self.pause_max;
                let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause_max)));
                match pause.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        self.connection = None;
                        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the application stopped sending its answer"))))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            AnswerBody::Page(page) => Poll::Ready(page.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Proxied(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Page(page) => page.is_none(),
            // Not before `poll` has seen the end and given the connection back.
            AnswerBody::Proxied(body) => body.incoming.is_end_stream() && body.flight.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Page(page) => SizeHint::with_exact(page.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            AnswerBody::Proxied(body) if body.until.is_some() => SizeHint::default(),
            AnswerBody::Proxied(body) => body.incoming.size_hint(),
        }
    }
}

/// Answers.
pub type Answer = Response<AnswerBody>;

fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::Page(Some(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A page for people: what happened and what to do. Nothing of the request stands in it.
pub fn page(status: StatusCode, what: &str, then: &str) -> Answer {
    let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{code} {reason}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}}</style>\
         <h1>{code} {reason}</h1><p>{what}</p><p>{then}</p></html>\n"
    );
    plain(status, "text/html; charset=utf-8", text)
}

/// 503 with `Retry-After`: it was not executed.
pub fn unavailable(what: &str) -> Answer {
    let mut answer = page(StatusCode::SERVICE_UNAVAILABLE, &format!("Not executed: {what}."), "Try again in a few seconds.");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    answer
}

/// 404 for a host or path that no environment has.
pub fn unknown_site() -> Answer {
    page(StatusCode::NOT_FOUND, "No site is served under this address.", "Check the address, or the routes of the environment: <code>slipway route list</code>.")
}

/// The robots file of environments that must not be indexed.
pub fn robots() -> Answer {
    plain(StatusCode::OK, "text/plain", "User-agent: *\nDisallow: /\n")
}

/// A redirect.
pub fn redirect(target: &Target) -> Answer {
    let status = StatusCode::from_u16(target.code).unwrap_or(StatusCode::FOUND);
    let Ok(location) = HeaderValue::from_str(&target.location) else {
        return page(StatusCode::INTERNAL_SERVER_ERROR, "The redirect leads to no address.", "Check <code>redirects</code> in the routes file.");
    };
    let mut answer = Response::new(AnswerBody::Page(None));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::LOCATION, location);
    let cache = match target.expires_seconds {
        ..0 => None,
        0 => Some(HeaderValue::from_static("no-cache")),
        seconds => HeaderValue::from_str(&format!("max-age={seconds}")).ok(),
    };
    if let Some(cache) = cache {
        answer.headers_mut().insert(header::CACHE_CONTROL, cache);
    }
    answer
}
