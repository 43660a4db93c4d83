//! Containers of other nodes, through a VXLAN tunnel that takes packets of members only.
//!
//! ```text
//!  container ── host A: sw<hash>vx ══ UDP, node to node ══ sw<hash>vx :host B ── container
//! ```
//!
//! Nothing is learnt from the wire: who has which addresses is told by the platform, and everything else is dropped.

use super::error::{Error, Result};
use super::network::Network;
use super::nftables::{self, Cidr};
use super::places::Places;
use super::program::{run, run_with_input};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What the tunnel takes of every packet.
pub(crate) const TUNNEL_BYTES: u32 = 50;
/// Our mark on routes.
const ROUTE_PROTOCOL: &str = "77";

/// This node's end of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    /// The node's own address, where the others reach it.
    pub node: Ipv4Addr,
    /// The node's address inside the tunnel, from which its router speaks; in no pool.
    pub address: Ipv4Addr,
    /// The same on all nodes of a platform: 1 to 16777215.
    pub network_id: u32,
    /// UDP, the same on all nodes.
    pub port: u16,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub node: Ipv4Addr,
    pub address: Ipv4Addr,
    /// What containers it has: single addresses, or its slice of the pool.
    pub containers: Vec<Cidr>,
}

impl Network {
    /// The complete set of other nodes. Containers reach over there what [`Network::set_links`] of both nodes allows,
    /// routers of peers reach ingress ports here.
    pub async fn set_peers(&self, overlay: &Overlay, peers: &[Peer]) -> Result<()> {
        let _turn = self.changing.lock().await;
        let places = &self.options.places;
        let device = tunnel_name(places);
        // The filter first: the tunnel never carries what it does not know.
        nftables::apply(&peers_script(&places.table(), overlay, peers)).await?;
        ensure_device(&device, overlay).await?;
        let mut addresses = String::new();
        let mut forwarding = String::new();
        let mut wanted = BTreeSet::new();
        for peer in peers {
            let (mac, via, own) = (mac(peer.node), peer.address, overlay.address);
            addresses += &format!("neigh replace {via} lladdr {mac} dev {device} nud permanent\n");
            addresses += &format!("route replace {via}/32 dev {device} src {own} proto {ROUTE_PROTOCOL}\n");
            wanted.insert(via.to_string());
            for range in &peer.containers {
                addresses += &format!("route replace {range} via {via} dev {device} onlink src {own} proto {ROUTE_PROTOCOL}\n");
                wanted.insert(if range.bits == 32 { range.address.to_string() } else { range.to_string() });
            }
            forwarding += &format!("fdb replace {mac} dev {device} dst {}\n", peer.node);
        }
        run_with_input("bridge", &["-batch", "-"], Some(&forwarding)).await?;
        run_with_input("ip", &["-batch", "-"], Some(&addresses)).await?;
        let mut stale = String::new();
        for route in routes(&device).await? {
            if !wanted.contains(&route) {
                stale += &format!("route delete {route} dev {device} proto {ROUTE_PROTOCOL}\n");
            }
        }
        run_with_input("ip", &["-force", "-batch", "-"], Some(&stale)).await?;
        Ok(())
    }
}

/// The tunnel's interface; the filter's base rules know it too.
pub(crate) fn tunnel_name(places: &Places) -> String {
    format!("{}vx", places.interface_prefix())
}

/// Sets of members, and a chain that drops tunnel packets of strangers before they are opened.
fn peers_script(table: &str, overlay: &Overlay, peers: &[Peer]) -> String {
    let mut script = format!(
        "add set inet {table} nodes {{ type ipv4_addr; }}\n\
         add chain inet {table} tunnel {{ type filter hook input priority filter - 1; policy accept; }}\n\
         flush chain inet {table} tunnel\nflush set inet {table} nodes\nflush set inet {table} peers\nflush set inet {table} remote\n\
         add rule inet {table} tunnel udp dport {} ip saddr != @nodes drop\n",
        overlay.port
    );
    script += &nftables::add_elements(table, "nodes", peers.iter().map(|peer| peer.node.to_string()));
    script += &nftables::add_elements(table, "peers", peers.iter().map(|peer| peer.address.to_string()));
    script += &nftables::add_elements(table, "remote", peers.iter().flat_map(|peer| &peer.containers).map(Cidr::to_string));
    script
}

/// Made again when the node's own part of it changed.
async fn ensure_device(device: &str, overlay: &Overlay) -> Result<()> {
    let Overlay { node, address, network_id, port } = overlay;
    let alias = format!("slipway-tunnel:{node}:{address}:{network_id}:{port}");
    let directory = Path::new("/sys/class/net").join(device);
    if directory.exists() {
        let known = std::fs::read_to_string(directory.join("ifalias")).unwrap_or_default();
        if known.trim() == alias {
            return Ok(());
        }
        run("ip", &["link", "delete", device]).await?;
    }
    let (id, port, local, mac) = (network_id.to_string(), port.to_string(), node.to_string(), mac(*node));
    let link = ["link", "add", device, "address", &mac, "type", "vxlan", "id", &id, "dstport", &port, "local", &local, "nolearning"];
    run("ip", &link).await?;
    let ipv6 = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"));
    if ipv6.exists() {
        std::fs::write(&ipv6, "1").map_err(Error::io("write", &ipv6))?;
    }
    let up = format!("address add {address}/32 dev {device}\nlink set {device} up\nlink set {device} alias {alias}\n");
    run_with_input("ip", &["-batch", "-"], Some(&up)).await.map(|_| ())
}

async fn routes(device: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let text = run("ip", &["-j", "route", "show", "dev", device, "proto", ROUTE_PROTOCOL]).await?.stdout;
    if text.trim().is_empty() {
        return Ok(vec![]);
    }
    let routes: Vec<Route> = serde_json::from_str(&text).map_err(|e| Error::Invalid(format!("`ip -j route` is not readable: {e}")))?;
    Ok(routes.into_iter().map(|route| route.dst).collect())
}

/// One per node.
fn mac(node: Ipv4Addr) -> String {
    let [a, b, c, d] = node.octets();
    format!("02:55:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
