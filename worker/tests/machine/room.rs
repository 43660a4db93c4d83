//! A machine room of its own for each test, on a real containerd; taken down whatever happens.

use slipway_model::instance::Limits;
use slipway_worker::machine::rootfs::{self, Access};
use slipway_worker::machine::*;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// First id of the test's containers.
pub const BASE: u32 = 300_000;
/// The user `web` inside.
pub const WEB: u32 = 10_000;

pub struct Room {
    pub places: Places,
    pub daemon: Daemon,
    pub containers: Containers,
    pub network: Network,
    pub resolver: Resolver,
    pub options: NetworkOptions,
    pub scratch: PathBuf,
}

/// Give the test a room, then purge it and look for leftovers, also when the test failed.
pub fn in_room<F, R>(name: &str, test: F)
where
    F: FnOnce(Arc<Room>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places = Places::new(&scratch.path().join("data")).unwrap();
        let scratch_path = scratch.path().to_path_buf();
        let opened = places.clone();
        let outcome = tokio::spawn(async move {
            let room = Arc::new(open(opened, scratch_path).await);
            test(room).await
        });
        let outcome = outcome.await;
        if outcome.is_err() {
            let log = std::fs::read_to_string(places.data.join("containerd.log")).unwrap_or_default();
            eprintln!("containerd said:\n{}", &log[log.len().saturating_sub(3000)..]);
        }
        purge(&places).await.unwrap();
        let left = leftovers(&places).await.unwrap();
        assert!(left.is_empty(), "left behind: {left:?}");
        purge(&places).await.expect("a second purge finds nothing to do");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic.into_panic());
        }
    });
}

async fn open(places: Places, scratch: PathBuf) -> Room {
    let byte = u8::from_str_radix(&places.hash[..2], 16).unwrap();
    let options = NetworkOptions {
        places: places.clone(),
        pool: format!("10.210.{byte}.0/24").parse().unwrap(),
        build_pool: format!("10.211.{byte}.0/24").parse().unwrap(),
        gateway: places.gateway(),
        egress_allow: vec![],
        egress_deny: vec![],
    };
    let daemon = Daemon::start(DaemonOptions { places: places.clone(), program: "containerd".into() }).await.unwrap();
    let containers = Containers::connect(&daemon).await.unwrap();
    let network = Network::open(options.clone()).await.unwrap();
    let resolver = Resolver::start(ResolverOptions {
        listen: SocketAddr::new(options.gateway.into(), 53),
        upstreams: node_resolvers(Path::new("/etc/resolv.conf")).unwrap(),
        refused_zones: vec![],
    });
    let resolver = resolver.await.unwrap();
    Room { places, daemon, containers, network, resolver, options, scratch }
}

impl Room {
    /// An address of the test's pool.
    pub fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.options.pool.address.octets();
        Ipv4Addr::new(a, b, c, last)
    }

    /// A container's specification on the test image, with its network.
    pub async fn spec(&self, id: &str, address: Option<Ipv4Addr>, args: &[&str]) -> ContainerSpec {
        let rootfs = self.places.mounts().join(id);
        std::fs::create_dir_all(&rootfs).unwrap();
        rootfs::bind(&image().await, &rootfs, Access { readonly: true, id_map_base: Some(BASE) }).unwrap();
        let files = self.scratch.join(format!("{id}-files"));
        let address = address.unwrap_or(Ipv4Addr::LOCALHOST);
        let files = write_name_files(&files, "app.0", address, self.options.gateway).unwrap();
        let mut binds: Vec<Bind> =
            files.into_iter().map(|(from, to)| Bind { from, to: to.into(), readonly: true }).collect();
        let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
        binds.push(Bind { from: bundle.into(), to: bundle.display().to_string(), readonly: true });
        let netns = match address {
            Ipv4Addr::LOCALHOST => None,
            address => Some(self.network.attach(id, address, BASE).await.unwrap().netns),
        };
        ContainerSpec {
            id: id.into(),
            rootfs,
            args: args.iter().map(|a| a.to_string()).collect(),
            env: environment(),
            cwd: "/".into(),
            uid: WEB,
            gid: WEB,
            hostname: "app.0".into(),
            binds,
            tmpfs: vec![
                Tmpfs { path: "/tmp".into(), size_mb: 64, mode: 0o1777, uid: 0, gid: 0 },
                Tmpfs { path: "/run".into(), size_mb: 16, mode: 0o755, uid: WEB, gid: WEB },
            ],
            netns,
            limits: Limits { memory_mb: 128, cpu_millis: 1000, pids: 64 },
            id_map_base: BASE,
            labels: Default::default(),
            readonly_rootfs: true,
        }
    }

    /// A running container.
    pub async fn start(&self, id: &str, address: Option<Ipv4Addr>, args: &[&str]) {
        let spec = self.spec(id, address, args).await;
        self.containers.create(&spec).await.unwrap();
        self.containers.start(id, &self.log(id)).await.unwrap();
    }

    /// nginx on port 80 as `web`, saying its id.
    pub async fn start_server(&self, id: &str, address: Ipv4Addr) {
        let config = self.scratch.join(format!("{id}.conf"));
        let text = format!(
            "daemon off; pid /run/nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; \
             uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;\n\
             server {{ listen 80; listen 8080; location / {{ return 200 'this is {id}'; }} }} }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut spec = self.spec(id, Some(address), &["nginx", "-c", "/mnt/nginx.conf"]).await;
        // A file needs a file to cover, so a directory is bound.
        let dir = self.scratch.join(format!("{id}-conf"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::rename(&config, dir.join("nginx.conf")).unwrap();
        spec.binds.push(Bind { from: dir, to: "/mnt".into(), readonly: true });
        self.containers.create(&spec).await.unwrap();
        self.containers.start(id, &self.log(id)).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = tokio::net::TcpStream::connect((address, 80)).await {
            let log = std::fs::read_to_string(self.log(id)).unwrap_or_default();
            assert!(Instant::now() < deadline, "{id} does not listen: {error}; {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self, id: &str) -> PathBuf {
        self.scratch.join("logs").join(format!("{id}.log"))
    }

    /// Run a program in a container as `web`; exit code and everything it said.
    pub async fn run(&self, id: &str, args: &[&str]) -> (i32, String) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let exec_id = format!("e{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let mut exec = self.containers.exec(id, &exec_id, &command(args)).await.unwrap();
        exec.close_stdin().await.unwrap();
        let (mut out, mut err) = (exec.stdout.take().unwrap(), exec.stderr.take().unwrap());
        let (mut said, mut complained) = (String::new(), String::new());
        let read = async { tokio::join!(out.read_to_string(&mut said), err.read_to_string(&mut complained)) };
        let (code, _) = tokio::join!(exec.wait(), read);
        (code.unwrap(), said + &complained)
    }

    /// What curl in a container gets from an address: the body, or curl's exit code.
    pub async fn fetch(&self, id: &str, url: &str) -> std::result::Result<String, i32> {
        let (code, text) = self.run(id, &["curl", "-sS", "-m", "4", "--noproxy", "*", url]).await;
        if code == 0 { Ok(text) } else { Err(code) }
    }
}

pub fn environment() -> Vec<String> {
    vec!["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(), "HOME=/tmp".into()]
}

pub fn command(args: &[&str]) -> ExecSpec {
    let args = args.iter().map(|a| a.to_string()).collect();
    ExecSpec { args, env: environment(), cwd: "/".into(), uid: WEB, gid: WEB, pty: None }
}

/// A small Debian, made once and kept between runs.
pub async fn image() -> PathBuf {
    static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = MAKING.lock().await;
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-test");
    let (image, part) = (place.join("rootfs"), place.join("rootfs.part"));
    if !image.exists() {
        std::fs::create_dir_all(&place).unwrap();
        let _ = std::fs::remove_dir_all(&part);
        let path = part.to_str().unwrap();
        let packages = "--include=nginx-light,curl,python3-minimal,ca-certificates,iproute2";
        // The program may take minutes on a slow mirror, longer than `run` waits.
        let mut program = tokio::process::Command::new("mmdebstrap");
        program.args(["--quiet", "--variant=minbase", packages, "bookworm", path]);
        let status = program.status().await.expect("mmdebstrap is installed");
        assert!(status.success(), "mmdebstrap could not make the test image");
        rootfs::DIRECTORIES_NEEDED.iter().for_each(|dir| std::fs::create_dir_all(part.join(dir)).unwrap());
        for file in rootfs::FILES_NEEDED {
            std::fs::OpenOptions::new().create(true).append(true).open(part.join(file)).unwrap();
        }
        std::fs::rename(&part, &image).unwrap();
    }
    image
}

/// A server in the test itself, on every address of the host.
pub async fn host_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(answer(listener, "this is the host"));
    port
}

/// The least of an HTTP server.
pub async fn answer(listener: tokio::net::TcpListener, body: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut buffer = [0u8; 1024];
        let _ = stream.read(&mut buffer).await;
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(reply.as_bytes()).await;
    }
}
