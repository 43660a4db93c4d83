//! A platform on this machine, with ports and folders of its own.

use crate::client::{Answer, request};
use crate::wait::until;
use serde_json::Value;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Ports of one platform.
struct Ports {
    api: u16,
    git_ssh: u16,
    git_http: u16,
    console: u16,
    shell: u16,
    http: u16,
    https: u16,
    ssh: u16,
}

/// A running platform; ended and purged when dropped.
pub struct Platform {
    pub data_dir: PathBuf,
    ports: Ports,
    up: Mutex<Option<Child>>,
    _folder: Option<tempfile::TempDir>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("SLIPWAY_BIN").map_or_else(
        || {
            let mut path = std::env::current_exe().expect("the test's own path");
            path.pop();
            path.pop();
            path.join("slipway")
        },
        PathBuf::from,
    )
}

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_path_buf()
}

impl Platform {
    /// A fresh platform. `number` keeps the networks of platforms that run at once apart.
    pub fn start(number: u8) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-").tempdir_in("/var/tmp").expect("a folder");
        let data_dir = folder.path().join("data");
        std::fs::create_dir_all(&data_dir).expect("make the data folder");
        let ports = Ports {
            api: free_port(),
            git_ssh: free_port(),
            git_http: free_port(),
            console: free_port(),
            shell: free_port(),
            http: free_port(),
            https: free_port(),
            ssh: free_port(),
        };
        let platform = Self { data_dir, ports, up: Mutex::new(None), _folder: Some(folder) };
        platform.write_config(number);
        platform.up();
        platform
    }

    fn write_config(&self, number: u8) {
        let p = &self.ports;
        let cache = std::env::var("SLIPWAY_CACHE_DIR").unwrap_or_else(|_| "/var/cache/slipway".into());
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let egress = if Path::new(bundle).exists() { format!("[egress]\nca_bundle = \"{bundle}\"\n") } else { String::new() };
        let text = format!(
            "[node]\nname = \"t{number}\"\ndata_dir = \"{}\"\n\
             [cluster]\nschedulers = [\"http://127.0.0.1:{}\"]\ncatalogue_dir = \"{}\"\n\
             [scheduler]\nlisten = \"127.0.0.1:{}\"\n\
             [git]\nssh_listen = \"127.0.0.1:{}\"\nhttp_listen = \"127.0.0.1:{}\"\n\
             [console]\nlisten = \"127.0.0.1:{}\"\n\
             [worker]\nshell_listen = \"127.0.0.1:{}\"\ncache_dir = \"{cache}\"\nvolumes_gb = 8\nbuild_slots = 3\n\
             [router]\nhttp_listen = [\"127.0.0.1:{}\"]\nhttps_listen = [\"127.0.0.1:{}\"]\nssh_listen = \"127.0.0.1:{}\"\n\
             [network]\ninstance_pool = \"10.{}.0.0/16\"\nbuild_pool = \"10.{}.0.0/16\"\n{egress}",
            self.data_dir.display(),
            p.api,
            checkout().join("deploy/catalogue").display(),
            p.api,
            p.git_ssh,
            p.git_http,
            p.console,
            p.shell,
            p.http,
            p.https,
            p.ssh,
            100 + 2 * u16::from(number),
            101 + 2 * u16::from(number),
        );
        std::fs::write(self.data_dir.join("slipway.toml"), text).expect("write the configuration");
    }

    /// Starts `slipway up` and waits for its greeting.
    pub fn up(&self) {
        let log = File::create(self.data_dir.join("up.log")).expect("make the log");
        let child = Command::new(binary())
            .args(["up", "--data-dir"])
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}; build it with `cargo build --release -p slipway-cli`", binary().display()));
        *self.up.lock().expect("no holder panics") = Some(child);
        until("the platform to be up", Duration::from_secs(120), || {
            let text = std::fs::read_to_string(self.data_dir.join("up.log")).unwrap_or_default();
            if text.contains("Slipway is up.") { Ok(()) } else { Err(text.lines().last().unwrap_or("nothing said").to_string()) }
        });
    }

    /// The process id of a role (`scheduler`, `worker`, `router`, `up`).
    pub fn pid(&self, role: &str) -> i32 {
        until("the role's process", Duration::from_secs(30), || {
            let path = self.data_dir.join(format!("{role}.pid"));
            std::fs::read_to_string(&path).ok().and_then(|t| t.trim().parse().ok()).ok_or_else(|| format!("no {}", path.display()))
        })
    }

    /// `kill -9` of a role; `up` starts it again.
    pub fn kill(&self, role: &str) {
        let pid = self.pid(role);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("the role runs");
        if role == "up" {
            if let Some(mut child) = self.up.lock().expect("no holder panics").take() {
                let _ = child.wait();
            }
            return;
        }
        until("another process of the role", Duration::from_secs(60), || {
            let text = std::fs::read_to_string(self.data_dir.join(format!("{role}.pid"))).unwrap_or_default();
            match text.trim().parse::<i32>() {
                Ok(other) if other != pid => Ok(()),
                _ => Err("still the old one".into()),
            }
        });
    }

    /// The command line; its output whatever its exit status.
    pub fn try_slipway(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .args(["--data-dir"])
            .arg(&self.data_dir)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    /// The command line, which must succeed; what it prints.
    pub fn slipway(&self, arguments: &[&str]) -> String {
        let output = self.try_slipway(arguments);
        assert!(
            output.status.success(),
            "slipway {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same with `--format json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        serde_json::from_str(&self.slipway(&all)).expect("--format json prints JSON")
    }

    /// A project with this id.
    pub fn project(&self, id: &str) -> String {
        self.slipway(&["project", "create", "--id", id, "--title", id]);
        self.git_url(id)
    }

    /// Where a project is pushed over HTTP, the first token in it.
    pub fn git_url(&self, project: &str) -> String {
        let token = std::fs::read_to_string(self.data_dir.join("secrets/admin.token")).expect("the first token");
        format!("http://git:{}@127.0.0.1:{}/{project}.git", token.trim(), self.ports.git_http)
    }

    /// An environment as the API knows it.
    pub fn environment(&self, project: &str, branch: &str) -> Value {
        self.json(&["environment", "show", branch, "--project", project])
    }

    /// The first URL of an environment.
    pub fn url(&self, project: &str, branch: &str) -> String {
        let environment = self.environment(project, branch);
        environment["urls"][0].as_str().unwrap_or_else(|| panic!("no URL: {environment}")).to_string()
    }

    /// A request through the router.
    pub fn fetch(&self, url: &str, more: &[&str]) -> Result<Answer, String> {
        request(&self.data_dir.join("router/tls/ca.pem"), url, more)
    }

    /// A counter of the scheduler.
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.json(&["counters"]);
        counters[name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {counters}"))
    }

    /// Where the console is.
    pub fn console(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.console)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            for role in ["scheduler", "worker", "router"] {
                let text = std::fs::read_to_string(self.data_dir.join(format!("log/{role}.log"))).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                eprintln!("--- {role}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
        let output = self.try_slipway(&["down", "--purge"]);
        if !output.status.success() {
            eprintln!("down --purge: {}", String::from_utf8_lossy(&output.stderr));
        }
        if let Some(mut child) = self.up.lock().expect("no holder panics").take() {
            let _ = child.wait();
        }
    }
}

/// The platform that scenarios share; it is purged by the last test of the run.
pub fn shared() -> &'static Platform {
    static SHARED: OnceLock<Platform> = OnceLock::new();
    SHARED.get_or_init(|| Platform::start(1))
}
