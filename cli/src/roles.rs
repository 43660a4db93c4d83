//! The roles of a node, each in one module: the only place that names concrete adapters.

pub mod router;
pub mod scheduler;
pub mod up;
pub mod worker;

use crate::config::Config;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

/// Cancelled by SIGTERM or SIGINT.
pub fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}

/// Logs of a role go to stderr; `up` gathers and rotates them.
pub fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLIPWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,h2=warn,hyper=warn,tower=warn,openraft=warn,russh=warn"));
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
}

/// Where a node's object store is.
pub fn store_url(config: &Config) -> String {
    config.store.url.clone().unwrap_or_else(|| format!("file://{}", config.node.data_dir.join("store").display()))
}

/// How it is reached.
pub fn store_options(config: &Config) -> anyhow::Result<slipway_blobs::StoreOptions> {
    let mut options = slipway_blobs::StoreOptions::default();
    if !store_url(config).starts_with("s3://") {
        return Ok(options);
    }
    let secret = match &config.store.secret_access_key_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?.trim().to_string(),
        None => String::new(),
    };
    let endpoint = config.store.endpoint.clone().unwrap_or_default();
    options.s3 = Some(slipway_blobs::S3Options {
        allow_http: endpoint.starts_with("http://"),
        endpoint,
        region: config.store.region.clone().unwrap_or_else(|| "us-east-1".into()),
        access_key_id: config.store.access_key_id.clone().unwrap_or_default(),
        secret_access_key: secret,
        ca_bundle: config.egress.ca_bundle.clone(),
    });
    Ok(options)
}

/// The object store that a node's configuration names.
pub async fn open_store(config: &Config) -> anyhow::Result<slipway_blobs::Store> {
    let url = store_url(config);
    slipway_blobs::Store::open(&url, &store_options(config)?).await.with_context(|| format!("open the object store {url}"))
}
