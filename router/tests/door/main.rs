//! The router through its public doors: real sockets, applications and a scheduler of our own.

mod app;
mod client;
mod flip;
mod hold;
mod lifecycle;
mod process;
mod protocol;
mod routes;
mod scheduler;
mod secure;

use app::App;
use scheduler::{Scheduler, environment};
use slipway_model::route::{Gate, RouteEnvironment};
use slipway_router::{Limits, Options, Router, RouterHandle};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;

pub const ROUTER: &str = "router-1";

/// One running router.
pub struct Running {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub handle: RouterHandle,
    shutdown: Option<oneshot::Sender<()>>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Asks it to end, and waits for it.
    pub async fn stop(&mut self) {
        self.ask_to_stop();
        tokio::time::timeout(Duration::from_secs(30), &mut self.task).await.expect("the router does not end").unwrap();
    }

    pub fn ask_to_stop(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
    }
}

pub fn options(folder: &Path, schedulers: &[SocketAddr]) -> Options {
    Options {
        node: ROUTER.parse().unwrap(),
        data_dir: folder.to_path_buf(),
        http_listen: vec!["127.0.0.1:0".parse().unwrap()],
        https_listen: vec!["127.0.0.1:0".parse().unwrap()],
        ssh_address: String::new(),
        schedulers: schedulers.iter().map(|address| format!("http://{address}")).collect(),
        token: "secret".into(),
        access_log: Some(folder.join("access.log")),
        limits: Limits { drain_time_max: Duration::from_secs(10), table_wait_max: Duration::from_millis(700), ..Limits::default() },
    }
}

pub async fn start(options: Options) -> Running {
    let router = Router::new(options).unwrap();
    let mut handle = router.handle();
    let (shutdown, asked) = oneshot::channel();
    let task = tokio::spawn(async move {
        // `select` in the router drops what it does not need; the future need not be `Send` for that.
        router.run(async { let _ = asked.await; }).await.unwrap();
    });
    let addresses = tokio::time::timeout(Duration::from_secs(20), handle.addresses()).await.expect("the router does not begin").unwrap();
    Running { http: addresses.http[0], https: addresses.https[0], handle, shutdown: Some(shutdown), task }
}

/// A scheduler, a router, and two applications: the old release and the new one.
pub struct Stage {
    pub scheduler: Scheduler,
    pub router: Running,
    pub old: App,
    pub new: App,
    pub folder: tempfile::TempDir,
}

impl Stage {
    /// The environment `shop` open on the old release at epoch 1.
    pub async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scheduler = Scheduler::start().await;
        let (old, new) = (App::start("old").await, App::start("new").await);
        scheduler.publish(vec![environment("shop", 1, Gate::Open, "old", &[old.address])]);
        let router = start(options(folder.path(), &[scheduler.address])).await;
        Self { scheduler, router, old, new, folder }
    }

    pub fn open_old(&self, epoch: u64) -> RouteEnvironment {
        environment("shop", epoch, Gate::Open, "old", &[self.old.address])
    }

    pub fn frozen(&self, epoch: u64) -> RouteEnvironment {
        environment("shop", epoch, Gate::Frozen, "old", &[self.old.address])
    }

    pub fn frozen_new(&self, epoch: u64) -> RouteEnvironment {
        environment("shop", epoch, Gate::Frozen, "new", &[self.new.address])
    }

    pub fn open_new(&self, epoch: u64) -> RouteEnvironment {
        environment("shop", epoch, Gate::Open, "new", &[self.new.address])
    }

    /// Publishes the only environment and waits for the acknowledgement.
    pub async fn apply(&self, environment: RouteEnvironment) -> u64 {
        self.scheduler.apply(ROUTER, vec![environment]).await
    }

    pub async fn until_held(&self, n: u64) {
        self.scheduler.until(ROUTER, "shop", &format!("{n} held"), |state| state.held == n).await;
    }
}

/// Waits for a condition, with a deadline and a name.
pub async fn eventually(condition: impl Fn() -> bool, what: &str) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
