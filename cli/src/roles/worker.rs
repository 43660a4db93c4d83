//! `slipway worker`: builds and runs.

use super::shutdown_on_signal;
use crate::config::Config;
use anyhow::Context;

pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let worker = slipway_worker::Worker::open(options(&config)?).await?;
    worker.run(shutdown).await
}

fn options(config: &Config) -> anyhow::Result<slipway_worker::Options> {
    let data_dir = config.node.data_dir.join("worker");
    Ok(slipway_worker::Options {
        node: config.node.name.parse().context("[node] name")?,
        cache_dir: config.worker.cache_dir.clone().unwrap_or_else(|| config.node.data_dir.join("cache")),
        data_dir,
        schedulers: config.cluster.schedulers.clone(),
        token: config.node_token()?,
        shell_listen: config.worker.shell_listen,
        shell_address: String::new(),
        build_slots: config.worker.build_slots,
        instance_pool: config.network.instance_pool.clone(),
        build_pool: config.network.build_pool.clone(),
        egress_allow: config.egress.allow.clone(),
        egress_deny: Vec::new(),
        ca_bundle: config.egress.ca_bundle.clone(),
        store_url: super::store_url(config),
        store: super::store_options(config)?,
        volumes_gb: config.worker.volumes_gb,
        force_plain_volumes: config.worker.force_plain_volumes,
        build_config_dir: config.build.config_dir.clone(),
        build_env: config.build.env.clone(),
        containerd: "containerd".into(),
    })
}

/// Takes away everything that the worker made in the kernel: containers, networks, mounts, volumes' loop device.
pub async fn purge(config: &Config) -> anyhow::Result<()> {
    let places = slipway_worker::machine::Places::new(&config.node.data_dir.join("worker")).context("the worker's folder")?;
    slipway_worker::machine::purge(&places).await.context("take away what the worker made")
}
