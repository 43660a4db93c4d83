//! `slipway router`: the entry of all traffic, and of SSH into applications.

use super::shutdown_on_signal;
use crate::config::Config;
use anyhow::Context;

pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let token = config.node_token()?;
    let data_dir = config.node.data_dir.clone();
    let options = slipway_router::Options {
        node: format!("{}-router", config.node.name).parse().context("[node] name")?,
        data_dir: data_dir.clone(),
        http_listen: config.router.http_listen.clone(),
        https_listen: config.router.https_listen.clone(),
        ssh_address: config.router.ssh_listen.to_string(),
        schedulers: config.cluster.schedulers.clone(),
        token: token.clone(),
        access_log: config.router.access_log.clone(),
        limits: slipway_router::Limits::default(),
    };
    let router = slipway_router::Router::new(options)?;
    let handle = router.handle();
    let ssh = slipway_router::ssh::Options::plain(
        config.router.ssh_listen,
        config.node.data_dir.join("secrets/ssh_host_key"),
        token,
    );
    let door = slipway_router::ssh::SshDoor::bind(ssh, move || handle.table()).await?;
    crate::secrets::write_public(&config.node.data_dir.join("ssh_host_key.pub"), door.host_key_line())?;
    let ssh = tokio::spawn(door.run(shutdown.clone()));
    router.run(shutdown.clone().cancelled_owned()).await?;
    shutdown.cancel();
    ssh.await.context("the SSH door's task")?
}
