//! A door, a fake worker behind it, and real OpenSSH clients before it.

use super::fake::{FakeWorker, NODE_TOKEN, Seen};
use slipway_model::ids::Epoch;
use slipway_model::route::{Gate, HoldLimits, RouteEnvironment, RouteTable, ShellTarget};
use slipway_router::ssh::{Limits, Options, SshDoor};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

pub const ENVIRONMENT: &str = "shop-main-abc1234";

pub struct Stage {
    pub dir: tempfile::TempDir,
    pub door: SocketAddr,
    pub seen: Arc<Mutex<Seen>>,
    pub table: Arc<Mutex<Arc<RouteTable>>>,
    shutdown: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn key(dir: &Path, name: &str, kind: &str) -> String {
    let path = dir.join(name);
    let status = std::process::Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-C", "ada@home", "-f"]).arg(&path).status();
    assert!(status.unwrap().success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_string()
}

pub async fn stage(containers: &[&str], database: Option<SocketAddr>, limits: Limits) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let keys = [key(dir.path(), "ed", "ed25519"), key(dir.path(), "rsa", "rsa"), key(dir.path(), "ecdsa", "ecdsa")];
    key(dir.path(), "stranger", "ed25519");
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let worker = FakeWorker { seen: seen.clone(), database: database.unwrap_or_else(|| "127.0.0.1:1".parse().unwrap()), home };
    let worker = worker.serve().await.to_string();
    let shells = containers.iter().map(|container| ShellTarget {
        container: container.to_string(),
        instance: format!("i-{container}").parse().unwrap(),
        worker: worker.clone(),
        keys: keys.iter().map(|key| (key.clone(), "ada".to_string())).collect(),
    });
    let environment = RouteEnvironment {
        id: ENVIRONMENT.parse().unwrap(),
        project: "shop".parse().unwrap(),
        epoch: Epoch(1),
        gate: Gate::Open,
        release: "rel-1".parse().unwrap(),
        routes: Vec::new(),
        pools: Default::default(),
        hold: HoldLimits::default(),
        cluster: ENVIRONMENT.into(),
        restrict_robots: false,
        shells: shells.collect(),
    };
    let table = Arc::new(Mutex::new(Arc::new(RouteTable { version: 1, environments: vec![environment] })));
    let current = table.clone();
    let mut options = Options::plain("127.0.0.1:0".parse().unwrap(), dir.path().join("keys/host"), NODE_TOKEN.into());
    options.limits = limits;
    let door = SshDoor::bind(options, move || current.lock().unwrap().clone()).await.unwrap();
    let address = door.address().unwrap();
    let line = format!("[127.0.0.1]:{} {}\n", address.port(), door.host_key_line());
    std::fs::write(dir.path().join("known_hosts"), line).unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(door.run(shutdown.clone()));
    Stage { dir, door: address, seen, table, shutdown }
}

impl Stage {
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Options that every OpenSSH tool understands; `port` is `-p` or `-P`.
    pub fn client_options(&self, key: &str, port: &str) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut options = vec!["-F".into(), "/dev/null".into(), "-i".into(), path(key), port.into(), self.door.port().to_string()];
        for option in [
            "BatchMode=yes".to_string(),
            "IdentitiesOnly=yes".into(),
            "IdentityAgent=none".into(),
            "StrictHostKeyChecking=yes".into(),
            format!("UserKnownHostsFile={}", path("known_hosts")),
            "ConnectTimeout=10".into(),
        ] {
            options.extend(["-o".into(), option]);
        }
        options
    }

    pub fn ssh(&self, key: &str, more: &[&str], user: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.client_options(key, "-p")).args(more).arg(format!("{user}@127.0.0.1"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command over SSH with these bytes as input.
    pub async fn run(&self, user: &str, command: &str, input: &[u8]) -> Output {
        let mut child = self.ssh("ed", &[], user).arg(command).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        tokio::spawn(async move {
            let _ = stdin.write_all(&input).await;
        });
        tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("the client ends").unwrap()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

/// Waits for a condition, at most twenty seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The output of a client tool that has to succeed.
pub async fn succeed(mut command: Command) -> Output {
    let output = tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output()).await.expect("the client ends").unwrap();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}
