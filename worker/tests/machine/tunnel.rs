//! Two nodes of one platform: each is this program again, in a network namespace of its own.

use crate::room::answer;
use slipway_worker::machine::*;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

const ROLE: &str = "SLIPWAY_TUNNEL_TEST_NODE";
const POOL: &str = "10.222.0.0/16";

#[test]
#[ignore = "needs root and containerd"]
fn containers_of_two_nodes_reach_one_another_by_links_only() {
    let tag = std::process::id();
    let names = [format!("tun-{tag}-a"), format!("tun-{tag}-b")];
    let ip = |words: &str| assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
    let _tidy = Tidy(names.clone());
    for name in &names {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
    }
    let [a, b] = &names;
    ip(&format!("-n {a} link add eth0 type veth peer name eth0 netns {b}"));
    for (name, last) in [(a, 1), (b, 2)] {
        ip(&format!("-n {name} address add 10.99.0.{last}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} route add default dev eth0"));
    }
    let node = |name: &str, role: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", "tunnel::one_node_of_the_tunnel_test"]).env(ROLE, role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut second = node(b, "b");
    let mut output = std::io::BufReader::new(second.stdout.take().unwrap());
    let ready = std::io::BufRead::lines(&mut output).any(|line| line.unwrap().ends_with("ready"));
    assert!(ready, "the second node failed");
    let first = node(a, "a").wait_with_output().unwrap();
    drop(second.stdin.take());
    let ended = second.wait().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stdout));
    assert!(ended.success());
}

/// Removes the namespaces whatever happens.
struct Tidy([String; 2]);

impl Drop for Tidy {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

#[test]
#[ignore = "is started by the test of the tunnel"]
fn one_node_of_the_tunnel_test() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places = Places::new(scratch.path()).unwrap();
        let opened = places.clone();
        let outcome = tokio::spawn(async move { node(opened, &role).await }).await;
        purge(&places).await.unwrap();
        let left = leftovers(&places).await.unwrap();
        assert!(left.is_empty(), "left behind: {left:?}");
        outcome.unwrap();
    });
}

async fn node(places: Places, role: &str) {
    let (own, other) = if role == "a" { (1, 2) } else { (2, 1) };
    let container = |node: u8| Ipv4Addr::new(10, 222, node, 9);
    let options = NetworkOptions {
        gateway: places.gateway(),
        places,
        pool: POOL.parse().unwrap(),
        build_pool: "10.223.0.0/24".parse().unwrap(),
        egress_allow: vec![],
        egress_deny: vec![],
    };
    let network = Network::open(options).await.unwrap();
    let attachment = network.attach(&format!("i-{role}"), container(own), 300_000).await.unwrap();
    let address = |node: u8| (Ipv4Addr::new(10, 99, 0, node), Ipv4Addr::new(10, 224, 0, node));
    let overlay = Overlay { node: address(own).0, address: address(own).1, network_id: 4242, port: 4790 };
    let (node, inner) = address(other);
    let peer = Peer { node, address: inner, containers: vec![format!("10.222.{other}.0/24").parse().unwrap()] };
    network.set_links(&[LinkRule { from: container(1), to: container(2), port: 80 }]).await.unwrap();
    for _ in 0..2 {
        network.set_peers(&overlay, std::slice::from_ref(&peer)).await.unwrap();
    }
    if role == "b" {
        serve(&attachment.netns, &[80, 8080, 10_001]).await;
        println!("ready");
        let mut end = String::new();
        tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut end)).await.unwrap().unwrap();
        return;
    }
    let netns = attachment.netns.file_name().unwrap().to_str().unwrap().to_string();
    let url = |port: u16| format!("http://{}:{port}/", container(2));
    let inside = async |port| run("ip", &["netns", "exec", &netns, "curl", "-sS", "-m", "3", &url(port)]).await.map(|o| o.stdout);
    let outside = async |port| run("curl", &["-sS", "-m", "3", &url(port)]).await.map(|o| o.stdout);
    assert_eq!(inside(80).await.unwrap(), "over there", "a link");
    assert!(inside(8080).await.is_err(), "another port");
    assert!(inside(10_001).await.is_err(), "ingress is for routers");
    assert_eq!(outside(10_001).await.unwrap(), "over there", "the router of this node reaches ingress over there");
    assert!(outside(8080).await.is_err(), "and nothing else");
    // A node that left the platform has no way any more.
    network.set_peers(&overlay, &[]).await.unwrap();
    assert!(inside(80).await.is_err() && outside(10_001).await.is_err());
    network.set_peers(&overlay, &[peer]).await.unwrap();
    assert_eq!(inside(80).await.unwrap(), "over there");
}

/// Servers in a network namespace, on a thread that ends with the program.
async fn serve(netns: &Path, ports: &'static [u16]) {
    let (ready, listening) = tokio::sync::oneshot::channel();
    let path = netns.to_path_buf();
    std::thread::spawn(move || {
        nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for port in ports {
                let listener = tokio::net::TcpListener::bind(("0.0.0.0", *port)).await.unwrap();
                tokio::spawn(answer(listener, "over there"));
            }
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    listening.await.unwrap();
}
