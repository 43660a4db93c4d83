//! `slipway scheduler`: a node of the ledger, the git doors and the console.

use super::{open_store, shutdown_on_signal};
use crate::config::Config;
use anyhow::Context;
use std::sync::Arc;

pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let token = config.node_token()?;
    let store = open_store(&config).await?;
    let (http_port_suffix, https_port_suffix) = config.port_suffixes();
    let host = &config.git.public_host;
    let options = slipway_scheduler::Options {
        node: config.scheduler.number,
        peers: config.scheduler.peers.iter().map(|(n, a)| Ok((n.parse::<u64>()?, a.clone()))).collect::<anyhow::Result<_>>().context("[scheduler] peers")?,
        data_dir: config.node.data_dir.join("scheduler"),
        listen: config.scheduler.listen,
        node_token: token.clone(),
        catalogue_dir: config.catalogue_dir()?,
        site_domain: config.cluster.site_domain.clone(),
        git_ssh_address: format!("{host}:{}", config.git.ssh_listen.port()),
        git_http_url: format!("http://{host}:{}", config.git.http_listen.port()),
        ssh_address: format!("{host}:{}", config.router.ssh_listen.port()),
        http_port_suffix,
        https_port_suffix,
        instance_pool: config.instance_pool(),
        store: store.clone(),
    };
    let scheduler = slipway_scheduler::Scheduler::start(options).await?;
    let first = config.node.data_dir.join("secrets/admin.token");
    let serving = tokio::spawn(scheduler.clone().run(shutdown.clone()));
    if let Some(secret) = scheduler.first_token("admin").await? {
        crate::secrets::write(&first, &secret)?;
        tracing::info!(file = %first.display(), "the first token was made for user admin");
    }
    let api = channel(&config)?;
    let doors = git_door(&config, &token, api.clone(), store, shutdown.clone()).await?;
    let console = console(&config, api, shutdown.clone());
    let (served, doors, console) = tokio::join!(serving, doors, console);
    served.context("the scheduler's own task")??;
    doors.context("the git doors' task")??;
    console
}

/// The API of this very node; the doors are its clients like everybody else.
pub fn channel(config: &Config) -> anyhow::Result<tonic::transport::Channel> {
    let address = format!("http://{}", config.scheduler.listen);
    Ok(tonic::transport::Endpoint::from_shared(address)?.connect_lazy())
}

async fn git_door(
    config: &Config,
    token: &str,
    api: tonic::transport::Channel,
    store: slipway_blobs::Store,
    shutdown: tokio_util::sync::CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<()>>> {
    let options = slipway_git::Options {
        ssh_listen: Some(config.git.ssh_listen),
        http_listen: Some(config.git.http_listen),
        data_dir: config.node.data_dir.join("git"),
        host_key: config.node.data_dir.join("secrets/git_host_key"),
        api,
        node_token: token.to_string(),
        sources: Arc::new(slipway_blobs::SourceStore::new(store, &config.node.data_dir.join("git/packs"))),
        hook_program: vec![std::env::current_exe()?.into(), "__git-hook".into()],
        advisories: config.git.advisories.clone(),
        limits: slipway_git::Limits::default(),
    };
    let door = slipway_git::GitDoor::bind(options).await?;
    if let Some(line) = door.host_key_line() {
        crate::secrets::write_public(&config.node.data_dir.join("git_host_key.pub"), &line)?;
    }
    Ok(tokio::spawn(door.run(shutdown)))
}

async fn console(config: &Config, api: tonic::transport::Channel, shutdown: tokio_util::sync::CancellationToken) -> anyhow::Result<()> {
    let options = slipway_console::Options { listen: config.console.listen, api };
    slipway_console::Console::bind(options).await?.run(shutdown).await
}
