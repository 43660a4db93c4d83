//! Both doors, a fake platform behind them, and the real git before them.

use super::fake::{FakePlatform, FakeStore, NODE_TOKEN};
use slipway_git::{GitDoor, Limits, Options};
use slipway_proto::api::{Principal, PushContext};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

pub struct Stage {
    pub dir: tempfile::TempDir,
    pub platform: FakePlatform,
    pub store: Arc<FakeStore>,
    pub limits: Limits,
    pub ssh: SocketAddr,
    pub http: SocketAddr,
    shutdown: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a client command said.
pub struct Said {
    pub ok: bool,
    pub text: String,
}

pub async fn stage() -> Stage {
    stage_with(Limits::default()).await
}

pub async fn stage_with(limits: Limits) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let platform = FakePlatform::default();
    {
        let mut ledger = platform.ledger.lock().unwrap();
        ledger.context = PushContext { active_branches: vec!["main".into()], site_domain: "localhost".into(), strict: true, ..Default::default() };
        for (user, role) in [("ada", "admin"), ("cleo", "contributor"), ("vic", "viewer")] {
            let principal = Principal { user: user.into(), roles: [("shop".to_string(), role.to_string())].into(), ..Default::default() };
            let key = key(dir.path(), user);
            ledger.keys.insert(key, principal.clone());
            ledger.tokens.insert(format!("token-{user}"), principal);
        }
        let outsider = Principal { user: "otto".into(), ..Default::default() };
        let outsiders_key = key(dir.path(), "otto");
        ledger.keys.insert(outsiders_key, outsider.clone());
        ledger.tokens.insert("token-otto".into(), outsider);
        key(dir.path(), "stranger");
    }
    let store = Arc::new(FakeStore::default());
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let mut stage = Stage { dir, platform, store, limits, ssh: nowhere, http: nowhere, shutdown: CancellationToken::new() };
    stage.open_doors().await;
    stage
}

fn key(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let status = std::process::Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-C", name, "-f"]).arg(&path).status();
    assert!(status.unwrap().success());
    let line = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

impl Stage {
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Opens the doors (again): as after a restart of the node.
    pub async fn open_doors(&mut self) {
        self.shutdown.cancel();
        self.shutdown = CancellationToken::new();
        let options = Options {
            ssh_listen: Some("127.0.0.1:0".parse().unwrap()),
            http_listen: Some("127.0.0.1:0".parse().unwrap()),
            data_dir: self.data(),
            host_key: self.dir.path().join("keys/host"),
            api: self.platform.serve().await,
            node_token: NODE_TOKEN.into(),
            sources: self.store.clone(),
            hook_program: vec![env!("CARGO_BIN_EXE_slipway-git-hook").into()],
            advisories: None,
            limits: self.limits.clone(),
        };
        let door = GitDoor::bind(options).await.unwrap();
        (self.ssh, self.http) = (door.ssh_address().unwrap(), door.http_address().unwrap());
        let line = format!("[127.0.0.1]:{} {}\n", self.ssh.port(), door.host_key_line().unwrap());
        std::fs::write(self.dir.path().join("known_hosts"), line).unwrap();
        tokio::spawn(door.run(self.shutdown.clone()));
    }

    pub fn ssh_url(&self) -> String {
        format!("ssh://shop@127.0.0.1:{}/shop.git", self.ssh.port())
    }

    pub fn http_url(&self, user: &str) -> String {
        format!("http://x:token-{user}@127.0.0.1:{}/shop.git", self.http.port())
    }

    pub fn ssh_command(&self, user: &str) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        format!(
            "ssh -F /dev/null -i {} -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes",
            path(user),
            path("known_hosts")
        )
    }

    /// The real git, without the machine's configuration.
    pub fn git_command(&self, user: &str, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(folder).args(["-c", "advice.detachedHead=false"]).args(arguments);
        for (name, value) in [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C.UTF-8")] {
            command.env(name, value);
        }
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "Ada Park").env(format!("{name}_EMAIL"), "ada@example.org");
        }
        command.env("GIT_SSH_COMMAND", self.ssh_command(user)).env_remove("HTTP_PROXY").env_remove("http_proxy");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn git_as(&self, user: &str, folder: &Path, arguments: &[&str]) -> Said {
        let output = self.git_command(user, folder, arguments).output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("git ends").unwrap();
        let text = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Said { ok: output.status.success(), text }
    }

    /// As Ada, and it has to work.
    pub async fn git(&self, folder: &Path, arguments: &[&str]) -> String {
        let said = self.git_as("ada", folder, arguments).await;
        assert!(said.ok, "git {arguments:?}:\n{}", said.text);
        said.text
    }

    /// A clone in the making: a working tree with a small valid project, committed.
    pub async fn project(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        self.git(&folder, &["init", "-q", "-b", "main"]).await;
        write(&folder, ".platform.app.yaml", APP);
        write(&folder, ".platform/routes.yaml", ROUTES);
        write(&folder, ".platform/services.yaml", "{}\n");
        write(&folder, "public/index.html", "hello\n");
        self.commit(&folder, "A site of five lines").await;
        folder
    }

    pub async fn commit(&self, folder: &Path, message: &str) {
        self.git(folder, &["add", "-A"]).await;
        self.git(folder, &["commit", "-q", "--allow-empty", "-m", message]).await;
    }

    pub fn refs(&self) -> Vec<String> {
        self.platform.ledger.lock().unwrap().refs.keys().cloned().collect()
    }

    /// After every push: no session is left, and nothing of a refused one.
    pub async fn nothing_is_left(&self) {
        until("all sessions are gone", || std::fs::read_dir(self.data().join("sessions")).unwrap().count() == 0).await;
        let listed = self.platform.ledger.lock().unwrap().packs.len();
        assert_eq!(self.store.packs.lock().unwrap().len(), listed, "packs in the store and in the ledger");
        let cached = std::fs::read_dir(self.data().join("cache/shop")).map_or(0, |entries| entries.count());
        assert!(cached <= 2 * listed, "{cached} files in the cache, {listed} packs in the ledger");
    }
}

pub const APP: &str = "name: site\ntype: 'nodejs:20'\ndisk: 256\nweb:\n    locations:\n        '/':\n            root: public\n            index: [index.html]\n";
pub const ROUTES: &str = "\"https://{default}/\":\n    type: upstream\n    upstream: \"site:http\"\n";

pub fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Waits for a condition, at most twenty seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
