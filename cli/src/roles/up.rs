//! `slipway up`: all roles of one machine as child processes, watched, their logs gathered and rotated.
//!
//! Nothing works only here: the children are the roles of any cluster, started from the same file.

mod children;
mod logs;

use super::{shutdown_on_signal, start_logging};
use crate::config::Config;
use crate::secrets;
use anyhow::{Context, bail};
use children::Child;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The roles, in the order in which they are started.
const ROLES: [&str; 3] = ["scheduler", "worker", "router"];
/// All doors answer by then on a machine that is not broken.
const READY_TIME_MAX: Duration = Duration::from_secs(90);

/// Prepares the data folder and runs until it is told to end. Applications run on when it ends.
pub async fn run(data_dir: &Path, config_file: Option<PathBuf>, catalogue: Option<PathBuf>) -> anyhow::Result<()> {
    start_logging();
    std::fs::create_dir_all(data_dir).with_context(|| format!("make {}", data_dir.display()))?;
    let data_dir = &data_dir.canonicalize()?;
    let file = config_file.unwrap_or_else(|| data_dir.join("slipway.toml"));
    let config = prepare(data_dir, &file, catalogue)?;
    let _lock = lock(data_dir)?;
    let shutdown = shutdown_on_signal()?;
    let mut children = Vec::new();
    for role in ROLES {
        children.push(tokio::spawn(Child::new(role, &file, data_dir)?.watch(shutdown.clone())));
    }
    let ready = tokio::select! {
        ready = wait_ready(&config) => ready,
        () = shutdown.cancelled() => Ok(()),
    };
    match ready {
        Ok(()) if !shutdown.is_cancelled() => greet(&config, &file),
        Ok(()) => {}
        Err(error) => {
            shutdown.cancel();
            for child in children {
                let _ = child.await;
            }
            return Err(error.context(format!("logs are in {}", data_dir.join("log").display())));
        }
    }
    for child in children {
        child.await.context("a role's watcher")?;
    }
    Ok(())
}

/// Writes what is missing: configuration, node token, catalogue.
fn prepare(data_dir: &Path, file: &Path, catalogue: Option<PathBuf>) -> anyhow::Result<Config> {
    if !file.exists() {
        let text = toml::to_string(&Config::fresh(data_dir)).context("write a configuration")?;
        std::fs::write(file, format!("# Made by `slipway up`; deploy/slipway.toml documents every key.\n{text}"))
            .with_context(|| format!("write {}", file.display()))?;
    }
    let config = Config::read(file)?;
    let token = config.token_file();
    if !token.exists() {
        secrets::write(&token, &format!("node-{}", secrets::random()))?;
    }
    if let Some(from) = catalogue {
        copy_catalogue(&from, &config.node.data_dir.join("catalogue"))?;
    }
    config.catalogue_dir()?;
    Ok(config)
}

/// Recipes as this version ships them; files of the operator's own stay.
fn copy_catalogue(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            std::fs::copy(&path, to.join(path.file_name().expect("a listed file has a name")))?;
        }
    }
    Ok(())
}

/// One platform per data folder.
fn lock(data_dir: &Path) -> anyhow::Result<std::fs::File> {
    let path = data_dir.join("up.lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    if file.try_lock().is_err() {
        let pid = std::fs::read_to_string(data_dir.join("up.pid")).unwrap_or_default();
        bail!("a platform runs in {} already (process {}); `slipway down --data-dir {}` ends it", data_dir.display(), pid.trim(), data_dir.display());
    }
    std::fs::write(data_dir.join("up.pid"), format!("{}\n", std::process::id()))?;
    Ok(file)
}

/// Until the API leads, a worker and a router are attached, and the git doors listen.
async fn wait_ready(config: &Config) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + READY_TIME_MAX;
    loop {
        let missing = match missing(config).await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => missing.join(", "),
            Err(error) => format!("{error:#}"),
        };
        if tokio::time::Instant::now() > deadline {
            bail!("the platform was not ready within {} s: {missing}", READY_TIME_MAX.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn missing(config: &Config) -> anyhow::Result<Vec<&'static str>> {
    use slipway_proto::api::{Empty, platform_client::PlatformClient};
    let token = slipway_proto::auth::BearerToken::new(&config.node_token()?).map_err(|e| anyhow::anyhow!(e))?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", config.scheduler.listen))?.connect().await.context("the scheduler's API")?;
    let mut client = PlatformClient::with_interceptor(channel, token);
    let nodes = client.list_nodes(Empty {}).await.context("the scheduler's API")?.into_inner().nodes;
    let has = |role: &str| nodes.iter().any(|n| n.role == role && ["ready", "leader"].contains(&n.state.as_str()));
    let mut missing: Vec<&'static str> = ROLES.into_iter().filter(|role| !has(role)).collect();
    for (what, address) in [("git over SSH", config.git.ssh_listen), ("git over HTTP", config.git.http_listen), ("the console", config.console.listen)] {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            missing.push(what);
        }
    }
    Ok(missing)
}

fn greet(config: &Config, file: &Path) {
    let dir = config.node.data_dir.display();
    println!("Slipway is up.");
    println!("  console   http://{}/   (token: {dir}/secrets/admin.token)", config.console.listen);
    println!("  git       ssh://PROJECT@{}:{}/PROJECT.git", config.git.public_host, config.git.ssh_listen.port());
    println!("  sites     https://<environment>-<project>.{}{}/", config.cluster.site_domain, config.port_suffixes().1);
    println!("  trust     {dir}/router/tls/ca.pem is the certificate authority of its HTTPS");
    println!("  config    {}", file.display());
    println!("Next: `slipway project create`, then push. `slipway down` ends it; applications run on until `slipway down --purge`.");
}
