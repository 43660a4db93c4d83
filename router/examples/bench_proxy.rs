//! The router beside nginx and HAProxy on loopback, in one run: requests per second and CPU per request, as ratios.
//!
//! `cargo run --release -p slipway-router --example bench_proxy [requests]`; needs nginx, takes HAProxy along when it is
//! there. All proxies have two threads, keep-alive on both sides, and the same origin: an nginx that answers 1 KiB.

use anyhow::{Context, Result, ensure};
use slipway_model::Epoch;
use slipway_model::route::{Gate, HoldLimits, PoolMember, RouteAction, RouteEnvironment, RouteTable, SiteRoute};
use slipway_router::{Limits, Options, Router};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests per proxy and round, unless told otherwise.
const REQUESTS: i64 = 40_000;
/// Longest round; what was not done by then is not counted.
const ROUND_TIME_MAX: Duration = Duration::from_secs(15);
/// Rounds; the proxies take turns, the median counts.
const ROUNDS: usize = 3;
/// Clients at once, each with one connection.
const CLIENTS: usize = 64;
/// What the kernel counts CPU time in.
const TICKS_PER_SECOND: f64 = 100.0;

struct Proxy {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    results: Vec<(f64, f64)>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for pid in family(self.child.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.get(1).map(String::as_str) {
        Some("router") => runtime.block_on(router(Path::new(&arguments[2]), arguments[3].parse()?)),
        Some(requests) => runtime.block_on(bench(requests.parse().context("the number of requests")?)),
        None => runtime.block_on(bench(REQUESTS)),
    }
}

/// The process that is measured: a router that serves the table on its disk.
async fn router(folder: &Path, address: SocketAddr) -> Result<()> {
    let options = Options {
        node: "bench".parse()?,
        data_dir: folder.to_path_buf(),
        http_listen: vec![address],
        https_listen: vec![],
        ssh_address: String::new(),
        schedulers: vec![],
        token: "none".into(),
        access_log: None,
        limits: Limits { table_wait_max: Duration::ZERO, ..Limits::default() },
    };
    Ok(Router::new(options)?.run(std::future::pending()).await?)
}

async fn bench(requests: i64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let origin_address = free_port()?;
    let body = "x".repeat(1024);
    let origin = nginx(folder.path(), "origin", &format!("server {{ listen {origin_address} backlog=4096; location / {{ default_type text/plain; return 200 \"{body}\"; }} }}"))?;
    let origin = Proxy { name: "origin", address: origin_address, child: origin, results: vec![] };
    let mut proxies = vec![start_router(folder.path(), origin_address)?, start_nginx(folder.path(), origin_address)?];
    if let Some(haproxy) = start_haproxy(folder.path(), origin_address)? {
        proxies.push(haproxy);
    }
    for proxy in proxies.iter().chain([&origin]) {
        until_up(proxy.address).await.with_context(|| format!("{} does not answer", proxy.name))?;
    }
    load(origin.address, requests / 4).await?;
    for _ in 0..ROUNDS {
        for proxy in &mut proxies {
            load(proxy.address, requests / 10).await?;
            let before = cpu_seconds(proxy.child.id());
            let (done, time) = load(proxy.address, requests).await?;
            let cpu = cpu_seconds(proxy.child.id()) - before;
            proxy.results.push((done as f64 / time.as_secs_f64(), cpu * 1e6 / done as f64));
        }
    }
    report(&proxies);
    Ok(())
}

fn report(proxies: &[Proxy]) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let rows: Vec<(&str, f64, f64)> = proxies
        .iter()
        .map(|proxy| {
            let rate = median(proxy.results.iter().map(|(rate, _)| *rate).collect());
            let cpu = median(proxy.results.iter().map(|(_, cpu)| *cpu).collect());
            (proxy.name, rate, cpu)
        })
        .collect();
    let best_rate = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    let best_cpu = rows.iter().map(|row| row.2).fold(f64::MAX, f64::min);
    println!("{:<10} {:>12} {:>8} {:>16} {:>8}", "proxy", "requests/s", "ratio", "CPU µs/request", "ratio");
    for (name, rate, cpu) in rows {
        println!("{name:<10} {rate:>12.0} {:>8.2} {cpu:>16.1} {:>8.2}", rate / best_rate, cpu / best_cpu);
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn start_router(folder: &Path, origin: SocketAddr) -> Result<Proxy> {
    let address = free_port()?;
    let route = SiteRoute {
        https: false,
        host: "bench.test".into(),
        path: "/".into(),
        original_url: "http://{default}/".into(),
        action: RouteAction::Upstream { pool: "app".into() },
        redirects: vec![],
    };
    let member = PoolMember { instance: "i-origin".parse()?, address: Ipv4Addr::LOCALHOST, port: origin.port() };
    let environment = RouteEnvironment {
        id: "bench-main".parse()?,
        project: "bench".parse()?,
        epoch: Epoch(1),
        gate: Gate::Open,
        release: "rel-1".parse()?,
        routes: vec![route],
        pools: BTreeMap::from([("app".to_string(), vec![member])]),
        hold: HoldLimits::default(),
        cluster: "bench-main".into(),
        restrict_robots: false,
        shells: vec![],
    };
    let table = RouteTable { version: 1, environments: vec![environment] };
    slipway_router::saved::SavedTable::in_folder(&folder.join("router"))?.save(&serde_json::to_vec(&table)?)?;
    let child = Command::new(std::env::current_exe()?).arg("router").arg(folder).arg(address.to_string()).spawn()?;
    Ok(Proxy { name: "slipway", address, child, results: vec![] })
}

fn nginx(folder: &Path, name: &str, http: &str) -> Result<Child> {
    let here = folder.join(name);
    std::fs::create_dir_all(&here)?;
    let configuration = format!(
        "daemon off; worker_processes 2; pid {here}/pid; error_log stderr crit; events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s; {http} }}\n",
        here = here.display()
    );
    std::fs::write(here.join("nginx.conf"), configuration)?;
    Command::new("nginx").arg("-c").arg(here.join("nginx.conf")).stdin(Stdio::null()).spawn().context("nginx is needed: apt-get install nginx-light")
}

fn start_nginx(folder: &Path, origin: SocketAddr) -> Result<Proxy> {
    let address = free_port()?;
    let http = format!(
        "upstream app {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {address} backlog=4096; location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Client-IP $remote_addr; }} }}"
    );
    Ok(Proxy { name: "nginx", address, child: nginx(folder, "proxy", &http)?, results: vec![] })
}

fn start_haproxy(folder: &Path, origin: SocketAddr) -> Result<Option<Proxy>> {
    let address = free_port()?;
    let configuration = format!(
        "global\n  nbthread 2\n  maxconn 8192\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  http-reuse always\n  option forwardfor\n\
         frontend f\n  bind {address}\n  http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Client-IP %[src]\n  default_backend b\nbackend b\n  server s {origin} pool-max-conn 64\n"
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, configuration)?;
    match Command::new("haproxy").arg("-db").arg("-f").arg(&path).stdin(Stdio::null()).spawn() {
        Ok(child) => Ok(Some(Proxy { name: "haproxy", address, child, results: vec![] })),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("HAProxy is not installed and is left out");
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

async fn until_up(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    loop {
        match load(address, 1).await {
            Ok(_) => return Ok(()),
            Err(e) if begun.elapsed() > Duration::from_secs(10) => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Sends so many requests over 64 connections; how many were answered, and in which time.
async fn load(address: SocketAddr, requests: i64) -> Result<(i64, Duration)> {
    let left = Arc::new(AtomicI64::new(requests));
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS.min(requests as usize) {
        let left = Arc::clone(&left);
        clients.spawn(async move {
            let mut socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let mut buffer = Vec::with_capacity(8192);
            let mut done = 0;
            while left.fetch_sub(1, Ordering::Relaxed) > 0 && begun.elapsed() < ROUND_TIME_MAX {
                one(&mut socket, &mut buffer).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(client) = clients.join_next().await {
        done += client??;
    }
    ensure!(done > 0, "nothing was answered");
    Ok((done, begun.elapsed()))
}

async fn one(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    socket.write_all(b"GET /some/path?with=query HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=b\r\n\r\n").await?;
    buffer.clear();
    loop {
        ensure!(socket.read_buf(buffer).await? > 0, "the connection was closed");
        let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..at]));
        if buffer.len() >= at + 4 + 1024 {
            return Ok(());
        }
    }
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    if let Ok(children) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    pids
}

fn cpu_seconds(pid: u32) -> f64 {
    let of = |pid: u32| -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / TICKS_PER_SECOND)
    };
    family(pid).into_iter().filter_map(of).sum()
}
