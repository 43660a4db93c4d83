//! A worker of its own for each test, without a scheduler; taken down whatever happens.

use slipway_blobs::{PutOptions, SlugStore, Store};
use slipway_model::instance::*;
use slipway_model::observed::InstanceObserved;
use slipway_model::recipe::Recipe;
use slipway_model::task::{BuildImage, TaskOutcome, TaskSpec};
use slipway_model::{Epoch, ImageId, InstanceId, SlugId, TaskId};
use slipway_proto::worker::worker_report::Report;
use slipway_worker::desk::{Desk, Outbox};
use slipway_worker::machine::{Places, leftovers, purge};
use slipway_worker::reconcile::Reconciler;
use slipway_worker::{Options, Worker};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A cold image, a busy machine.
const TIME_MAX: Duration = Duration::from_secs(90);
const IMAGE_TIME_MAX: Duration = Duration::from_secs(1200);

pub const FILES_WEB: &str = r#"{"locations":{"/":{"root":"public","passthru":false,"index":["index.html"],"expires":"60s","scripts":false,"allow":true,"headers":{},"rules":{},"request_buffering":{"enabled":true,"max_request_size":"250m"}}},"commands":{"pre_start":null,"start":null,"post_start":null},"upstream":{"socket_family":"tcp","protocol":"http"},"move_to_root":false}"#;
pub const PHP_WEB: &str = r#"{"locations":{"/":{"root":"public","passthru":"/index.php","index":["index.php"],"expires":"-1s","scripts":true,"allow":true,"headers":{},"rules":{},"request_buffering":{"enabled":true,"max_request_size":"250m"}}},"commands":{"pre_start":null,"start":null,"post_start":null},"upstream":{"socket_family":"unix","protocol":"fastcgi"},"move_to_root":false}"#;
pub const EXITS_WEB: &str = r#"{"locations":{},"commands":{"pre_start":null,"start":"echo no database >&2; exit 3","post_start":null},"upstream":{"socket_family":"tcp","protocol":"http"},"move_to_root":false}"#;

pub struct Site {
    options: Options,
    places: Places,
    worker: Option<(CancellationToken, JoinHandle<()>)>,
    /// None between two workers.
    seats: Option<(Reconciler, Desk)>,
    generation: u64,
    tasks: u32,
}

pub fn on_worker<F, R>(name: &str, test: F)
where
    F: FnOnce(Site) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places = Places::new(&scratch.path().join("worker")).unwrap();
        let options = options(scratch.path(), &places);
        let opened = places.clone();
        let outcome = tokio::spawn(async move {
            let worker = Worker::open(options.clone()).await.unwrap();
            let seats = Some((worker.reconciler(), worker.desk()));
            let site = Site { options, places: opened, worker: Some(start(worker)), seats, generation: 0, tasks: 0 };
            test(site).await
        });
        let outcome = outcome.await;
        if outcome.is_err() {
            show(&places);
        }
        purge(&places).await.unwrap();
        let left = leftovers(&places).await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic.into_panic());
        }
        assert!(left.is_empty(), "left behind: {left:?}");
    });
}

/// What containers said, for who reads a failure.
fn show(places: &Places) {
    let places = [places.data.join("instances"), places.data.join("volume-directories/volumes")];
    let mut stack: Vec<PathBuf> = places.to_vec();
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "log") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                eprintln!("--- {}\n{}", path.display(), &text[text.len().saturating_sub(2000)..]);
            }
        }
    }
}

fn start(worker: Worker) -> (CancellationToken, JoinHandle<()>) {
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    (shutdown, tokio::spawn(async move { worker.run(token).await.unwrap() }))
}

fn options(scratch: &Path, places: &Places) -> Options {
    let byte = u8::from_str_radix(&places.hash[..2], 16).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Options {
        node: "one".parse().unwrap(),
        data_dir: scratch.join("worker"),
        cache_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtime-cache"),
        schedulers: vec![],
        token: "token".into(),
        shell_listen: port,
        shell_address: String::new(),
        build_slots: 2,
        instance_pool: format!("10.216.{byte}.0/24"),
        build_pool: format!("10.217.{byte}.0/24"),
        egress_allow: vec![],
        egress_deny: vec![],
        ca_bundle: None,
        store_url: format!("file://{}", scratch.join("store").display()),
        store: Default::default(),
        volumes_gb: 1,
        force_plain_volumes: true,
        build_config_dir: None,
        build_env: Default::default(),
        containerd: "containerd".into(),
    }
}

impl Site {
    fn reconciler(&self) -> &Reconciler {
        &self.seats.as_ref().unwrap().0
    }

    fn desk(&self) -> &Desk {
        &self.seats.as_ref().unwrap().1
    }

    /// The catalogue's image, without what only people in shells need.
    pub async fn image(&mut self, name: &str) -> ImageId {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/catalogue/{name}.toml"));
        let mut recipe: Recipe = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let needed = ["bash", "dash", "runit", "nginx-light", "ca-certificates", "procps", "php8.2-cli", "php8.2-fpm", "php8.2-opcache", "php8.2-mbstring"];
        recipe.packages.retain(|package| needed.contains(&package.as_str()));
        let spec = TaskSpec::BuildImage(BuildImage { recipe, activity: "act-1".parse().unwrap() });
        let work = tokio::time::timeout(IMAGE_TIME_MAX, self.task(spec));
        match work.await.expect("the image is made in time") {
            (_, TaskOutcome::Image { image, .. }) => image,
            (lines, outcome) => panic!("{outcome:?}\n{}", lines.join("\n")),
        }
    }

    pub async fn slug(&self, files: &[(&str, &str)]) -> SlugId {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let store = Store::open(&self.options.store_url, &self.options.store).await.unwrap();
        SlugStore::new(store).put_tree(dir.path(), &PutOptions::default()).await.unwrap().slug
    }

    pub fn application(&self, id: &str, recipe: &str, image: ImageId, slug: SlugId, web: &str) -> InstanceSpec {
        let [a, b, c, _] = self.options.instance_pool.split('/').next().unwrap().parse::<std::net::Ipv4Addr>().unwrap().octets();
        InstanceSpec {
            id: id.parse().unwrap(),
            project: "p".parse().unwrap(),
            environment: "p-main".parse().unwrap(),
            deployment: "dep-1".parse().unwrap(),
            name: "app".into(),
            recipe: recipe.into(),
            image,
            slug: Some(slug),
            env: Default::default(),
            config_json: "{}".into(),
            mounts: vec![],
            limits: Limits { memory_mb: 256, cpu_millis: 1000, pids: 128 },
            address: std::net::Ipv4Addr::new(a, b, c, 10),
            hostname: "app.0".into(),
            links: vec![],
            hosts: Default::default(),
            process: Process::Application {
                web_json: web.into(),
                runtime_json: r#"{"extensions":[],"disabled_extensions":[],"request_memory":45,"reserved_memory":70,"request_terminate_timeout":null,"xdebug":null}"#.into(),
                php_ini: [("memory_limit".to_string(), "256M".to_string())].into(),
                crons: vec![],
                start_seconds_max: 60,
            },
            target: Target::Running,
            ingress: None,
            background: true,
        }
    }

    pub async fn desire(&mut self, specs: &[InstanceSpec]) {
        self.generation += 1;
        self.reconciler().desire(self.generation, DesiredSet { instances: specs.to_vec() }).await.unwrap();
    }

    pub async fn until(&self, id: &str, what: &str, is: impl Fn(&InstanceObserved) -> bool) -> InstanceObserved {
        let id: InstanceId = id.parse().unwrap();
        let mut changed = self.reconciler().changed();
        let deadline = tokio::time::Instant::now() + TIME_MAX;
        loop {
            let seen = self.reconciler().observed().1.into_iter().find(|o| o.id == id);
            if let Some(seen) = seen.clone().filter(|o| is(o)) {
                return seen;
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                panic!("not in time: {what}; last seen {seen:?}");
            }
        }
    }

    pub async fn until_gone(&self, id: &str) {
        let id: InstanceId = id.parse().unwrap();
        let mut changed = self.reconciler().changed();
        let deadline = tokio::time::Instant::now() + TIME_MAX;
        while self.reconciler().observed().1.iter().any(|o| o.id == id) {
            tokio::time::timeout_at(deadline, changed.changed()).await.expect("it goes").unwrap();
        }
    }

    /// Lines and outcome of a task.
    pub async fn task(&mut self, spec: TaskSpec) -> (Vec<String>, TaskOutcome) {
        self.tasks += 1;
        let id: TaskId = format!("task-{}", self.tasks).parse().unwrap();
        self.desk().order(id.clone(), 1, spec).await.unwrap();
        let (mut outbox, mut lines, mut changed) = (Outbox::default(), vec![], self.desk().changed());
        loop {
            for report in outbox.next(self.desk()) {
                match report.report.unwrap() {
                    Report::Log(chunk) if chunk.task == id.as_str() => lines.extend(chunk.lines.into_iter().map(|l| l.text)),
                    Report::Task(told) if told.task == id.as_str() && !told.outcome_json.is_empty() => {
                        return (lines, serde_json::from_str(&told.outcome_json).unwrap());
                    }
                    _ => {}
                }
            }
            changed.changed().await.unwrap();
        }
    }

    pub async fn get(&self, spec: &InstanceSpec, target: &str) -> std::io::Result<(u16, String)> {
        get(spec.address, spec.ingress.unwrap().port, target.into()).await
    }

    pub fn get_later(&self, spec: &InstanceSpec, target: &str) -> JoinHandle<std::io::Result<(u16, String)>> {
        tokio::spawn(get(spec.address, spec.ingress.unwrap().port, target.into()))
    }

    pub async fn send_half(&self, spec: &InstanceSpec, bytes: &str) -> Half {
        let mut stream = TcpStream::connect((spec.address, spec.ingress.unwrap().port)).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        Half(stream)
    }

    /// The process ends as with SIGTERM and another one begins; the site answers in between.
    pub async fn restart_worker(&mut self, spec: &InstanceSpec) {
        let (shutdown, task) = self.worker.take().unwrap();
        shutdown.cancel();
        self.seats = None;
        task.await.unwrap();
        assert_eq!(self.get(spec, "/").await.unwrap().0, 200);
        self.options.shell_listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let worker = Worker::open(self.options.clone()).await.unwrap();
        self.seats = Some((worker.reconciler(), worker.desk()));
        self.worker = Some(start(worker));
        assert_eq!(self.get(spec, "/").await.unwrap().0, 200);
        assert!(self.places.data.is_dir());
    }
}

/// A request that was sent in part.
pub struct Half(TcpStream);

impl Half {
    pub async fn ended_without_answer(mut self) -> bool {
        let mut bytes = vec![];
        let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_to_end(&mut bytes)).await;
        read.is_ok() && bytes.is_empty()
    }
}

async fn get(address: std::net::Ipv4Addr, port: u16, target: String) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((address, port)).await?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    // php-fpm's answer has no length, so that it comes in one chunk.
    let body = match text.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => body.split_once("\r\n").map_or("", |(_, rest)| rest).split("\r\n").next().unwrap_or(""),
        false => body,
    };
    Ok((status, body.to_string()))
}

pub fn ingress(epoch: u64) -> Option<Ingress> {
    Some(Ingress { epoch: Epoch(epoch), port: INGRESS_PORT_FIRST + epoch as u16 })
}

pub fn data_mount() -> MountSpec {
    let source = MountSource::Volume { volume: "vol-data".parse().unwrap(), sub_path: "data".into(), size_mb: 128 };
    MountSpec { path: "/app/data".into(), source }
}
