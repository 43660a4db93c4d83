//! A router as a process of its own: stopped and resumed, killed, and weighed.

use crate::client::{Client, get};
use crate::scheduler::{Scheduler, environment};
use crate::{App, ROUTER, options, start};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slipway_model::route::{Gate, HoldLimits};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Not a test: the process that the tests below start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by other tests as a process of its own"]
async fn router_process() {
    let Ok(folder) = std::env::var("ROUTER_TEST_FOLDER") else { return };
    let scheduler = std::env::var("ROUTER_TEST_SCHEDULER").unwrap().parse().unwrap();
    let running = start(options(Path::new(&folder), &[scheduler])).await;
    std::fs::write(Path::new(&folder).join("http.next"), running.http.to_string()).unwrap();
    std::fs::rename(Path::new(&folder).join("http.next"), Path::new(&folder).join("http")).unwrap();
    running.task.await.unwrap();
}

struct Process {
    child: Child,
    http: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(scheduler: &Scheduler) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(folder.path(), scheduler);
        let http = Self::address(folder.path()).await;
        Self { child, http, folder }
    }

    fn spawn(folder: &Path, scheduler: &Scheduler) -> Child {
        let _ = std::fs::remove_file(folder.join("http"));
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::router_process", "--ignored", "--nocapture"])
            .env("ROUTER_TEST_FOLDER", folder)
            .env("ROUTER_TEST_SCHEDULER", scheduler.address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn address(folder: &Path) -> SocketAddr {
        let read = || std::fs::read_to_string(folder.join("http")).ok();
        crate::eventually(|| read().is_some(), "the router's address").await;
        read().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// A signal is carried out by the process itself, thread by thread: wait until the last one stands.
    async fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stands = |stat: &str| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'));
        let all_stand = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            threads.flatten().all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stands(&stat)))
        };
        crate::eventually(all_stand, "a stopped router").await;
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_router_that_is_resumed_after_the_flip_sends_nothing_to_the_old_release() {
    let scheduler = Scheduler::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    scheduler.publish(vec![environment("shop", 1, Gate::Open, "old", &[old.address])]);
    let process = Process::start(&scheduler).await;
    // A kept connection to the old application, and a request that is half sent when the router stops.
    assert_eq!(get(process.http, "shop.test", "/before").await.body, "old");
    let mut half = Client::connect(process.http).await;
    half.send("POST /half HTTP/1.1\r\nHost: shop.test\r\nContent-Le").await;
    let mut whole = Client::connect(process.http).await;
    process.stop().await;
    half.send("ngth: 2\r\n\r\nhi").await;
    whole.send("GET /whole HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    scheduler.publish(vec![environment("shop", 2, Gate::Frozen, "old", &[old.address])]);
    scheduler.publish(vec![environment("shop", 3, Gate::Open, "new", &[new.address])]);
    // The old application stays as it is: its kept connection would still execute what comes.
    // This is the stop itself, longer than the router's heartbeat may be late.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    process.signal(Signal::SIGCONT);
    assert_eq!(half.answer().await.unwrap().body, "new");
    assert_eq!(whole.answer().await.unwrap().body, "new");
    assert_eq!(old.targets(), ["/before"]);
    old.until_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_starts_again_with_the_table_in_force() {
    let scheduler = Scheduler::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    scheduler.publish(vec![environment("shop", 1, Gate::Open, "old", &[old.address])]);
    let mut process = Process::start(&scheduler).await;
    assert_eq!(get(process.http, "shop.test", "/").await.body, "old");
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    scheduler.publish(vec![environment("shop", 2, Gate::Open, "new", &[new.address])]);
    process.child = Process::spawn(process.folder.path(), &scheduler);
    process.http = Process::address(process.folder.path()).await;
    assert_eq!(get(process.http, "shop.test", "/").await.body, "new");
    assert_eq!(old.targets(), ["/"]);
}

/// Issue: 10 000 held requests in under 256 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_held_requests_fit_and_all_are_answered() {
    const HELD: usize = 10_000;
    raise_descriptors();
    let scheduler = Scheduler::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    let hold = HoldLimits { hold_time_max_ms: 600_000, requests_max: 20_000, requests_per_client_max: 20_000, ..HoldLimits::default() };
    let entry = |epoch, gate, name, app: &App| {
        let mut entry = environment("shop", epoch, gate, name, &[app.address]);
        entry.hold = hold.clone();
        entry
    };
    scheduler.publish(vec![entry(1, Gate::Open, "old", &old)]);
    let process = Process::start(&scheduler).await;
    scheduler.apply(ROUTER, vec![entry(2, Gate::Frozen, "old", &old)]).await;
    let before = process.resident_kib();
    let mut clients = Vec::new();
    let fields: String = (0..12).map(|n| format!("X-Field-{n}: some value of a usual length {n}\r\n")).collect();
    for n in 0..HELD {
        let mut client = Client::connect(process.http).await;
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: someone/1.0\r\nCookie: session={n}\r\n{fields}\r\n")).await;
        clients.push(client);
    }
    scheduler.until(ROUTER, "shop", "all held", |state| state.held == HELD as u64).await;
    let after = process.resident_kib();
    let each = (after - before) * 1024 / HELD as u64;
    println!("{HELD} held: {} MiB resident, {each} bytes per held request", after / 1024);
    assert!(after < 256 << 10, "{after} KiB");
    let begun = std::time::Instant::now();
    scheduler.apply(ROUTER, vec![entry(3, Gate::Open, "new", &new)]).await;
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().await.unwrap().body, "new");
        if n == 999 {
            println!("the first 1000 answered {:?} after the flip", begun.elapsed());
        }
    }
    println!("all answered {:?} after the flip", begun.elapsed());
    assert_eq!(new.seen().len(), HELD);
}

fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert!(hard >= 12_000, "this test needs 12 000 file descriptors; the hard limit is {hard}");
}
