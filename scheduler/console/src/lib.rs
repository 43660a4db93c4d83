//! The console: the platform in a browser, drawn by the server, a client of the API like any other.
//!
//! ```text
//! browser --cookie--> session (token kept here) --bearer token--> Platform API
//!         <---HTML, SSE with `id: seq`---
//! ```
//!
//! It keeps nothing but sessions: who signs in again sees the same. It never acts with rights of its own.

mod activity;
mod assets;
mod environment;
mod events;
mod logline;
mod nodes;
mod page;
mod project;
mod refusal;
mod session;
mod sign_in;
mod topology;
mod visitor;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use session::Sessions;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Forms hold a token or a release's name.
const FORM_BYTES_MAX: usize = 16 << 10;
/// Live logs at once: each costs a stream of the API.
const LIVE_LOGS_MAX: usize = 512;

/// What the console needs.
pub struct Options {
    pub listen: SocketAddr,
    pub api: Channel,
}

/// A console that listens.
pub struct Console {
    listener: TcpListener,
    api: Channel,
}

/// What every page has at hand.
#[derive(Clone)]
struct House {
    api: Channel,
    sessions: Sessions,
    live_logs: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Console {
    pub async fn bind(options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.listen).await.with_context(|| format!("the console cannot listen on {}", options.listen))?;
        Ok(Self { listener, api: options.api })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Serves until shutdown; live logs end then, and browsers come back by themselves.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let house = House {
            api: self.api,
            sessions: Sessions::default(),
            live_logs: Arc::new(Semaphore::new(LIVE_LOGS_MAX)),
            shutdown: shutdown.clone(),
        };
        axum::serve(self.listener, router(house)).with_graceful_shutdown(shutdown.cancelled_owned()).await.context("the console's server")
    }
}

fn router(house: House) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/projects") }))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/projects", get(project::list))
        .route("/projects/{project}", get(project::show))
        .route("/projects/{project}/environments/{environment}", get(environment::show))
        .route("/projects/{project}/environments/{environment}/redeploy", post(environment::redeploy))
        .route("/projects/{project}/environments/{environment}/activate", post(environment::activate))
        .route("/projects/{project}/environments/{environment}/rollback", post(environment::rollback))
        .route("/activities/{activity}", get(activity::show))
        .route("/activities/{activity}/summary", get(activity::summary))
        .route("/activities/{activity}/events", get(events::stream))
        .route("/activities/{activity}/cancel", post(activity::cancel))
        .route("/nodes", get(nodes::list))
        .route(assets::STYLE_PATH, get(assets::style))
        .route(assets::SCRIPT_PATH, get(assets::script))
        .fallback(refusal::no_page)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(axum::middleware::from_fn(guarded))
        .with_state(house)
}

/// Nothing from elsewhere, nothing inline, in nobody's frame, in nobody's cache.
async fn guarded(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
