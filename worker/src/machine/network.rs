//! Every container on its own routed veth: no bridge, so every packet meets the host's filter.
//!
//! ```text
//!  container: eth0 10.x.y.z/32, default via gateway ──veth── host: sw<hash><id>, route 10.x.y.z/32
//!                                                             gateway 169.254.a.b/32 on lo, resolver on port 53
//! ```
//!
//! The state is in the kernel alone: an interface's alias says whose it is, so a restarted worker finds it again.

use super::error::{Error, Result};
use super::nftables::{self, Cidr, LinkRule};
use super::peers::TUNNEL_BYTES;
use super::places::Places;
use super::program::{run, run_with_input};
use super::rootfs;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;

/// Where `ip netns` keeps names.
const NETNS_DIRECTORY: &str = "/run/netns";
/// Beginning of the alias of every interface of ours.
const ALIAS: &str = "slipway";

/// How the network is laid out.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    pub places: Places,
    /// Every instance's address is in it.
    pub pool: Cidr,
    /// Build containers get theirs from it; apart from `pool`.
    pub build_pool: Cidr,
    /// The host's end as containers see it: their gateway and their resolver (port 53). See [`Places::gateway`].
    pub gateway: Ipv4Addr,
    /// `[egress] allow`.
    pub egress_allow: Vec<Cidr>,
    /// Further addresses that containers must not reach: the platform's other nodes.
    pub egress_deny: Vec<Cidr>,
}

/// A container's end of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub id: String,
    pub address: Ipv4Addr,
    /// For [`super::ContainerSpec::netns`].
    pub netns: PathBuf,
}

/// The network of one platform on this machine.
#[derive(Debug)]
pub struct Network {
    pub(crate) options: NetworkOptions,
    /// One change at a time: build addresses are dealt out by looking at what is there.
    pub(crate) changing: Mutex<()>,
}

/// What `ip -j link` tells of an interface.
#[derive(Debug, Deserialize)]
struct Interface {
    ifname: String,
    #[serde(default)]
    ifalias: Option<String>,
}

impl Network {
    /// Make or adopt table and gateway; attachments and links that exist stay in force.
    pub async fn open(options: NetworkOptions) -> Result<Network> {
        write_sysctl(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
        let gateway = format!("{}/32", options.gateway);
        run("ip", &["address", "replace", &gateway, "dev", "lo", "scope", "link"]).await?;
        let known = attachments(&options.places).await?;
        if let Err(error) = nftables::apply(&nftables::base_script(&options, &known, true)).await {
            nftables::apply(&nftables::base_script(&options, &known, false)).await?;
            tracing::warn!(%error, "this kernel cannot count connections: a container may fill the table of all");
        }
        Ok(Network { options, changing: Mutex::new(()) })
    }

    /// The host's end as containers see it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.options.gateway
    }

    /// Give a container its network; asked again it answers the same, asked for another address it starts anew.
    /// The namespace belongs to the user namespace of `id_map_base`, which must be the container's.
    pub async fn attach(&self, id: &str, address: Ipv4Addr, id_map_base: u32) -> Result<Attachment> {
        let _turn = self.changing.lock().await;
        self.attach_in_turn(id, address, id_map_base).await
    }

    /// Outbound only, with an address of the build pool.
    pub async fn attach_build(&self, id: &str, id_map_base: u32) -> Result<Attachment> {
        let _turn = self.changing.lock().await;
        let known = attachments(&self.options.places).await?;
        if let Some((_, attachment)) = known.iter().find(|(_, attachment)| attachment.id == id) {
            return Ok(attachment.clone());
        }
        // Another worker on this machine may have the same build pool.
        let taken: BTreeSet<Ipv4Addr> = all_interfaces().await?.iter().filter_map(address_of).collect();
        let free = self.options.build_pool.hosts().find(|address| !taken.contains(address));
        let full = || Error::Invalid(format!("no address is free in the build pool {}: builds wait for one another", self.options.build_pool));
        self.attach_in_turn(id, free.ok_or_else(full)?, id_map_base).await
    }

    /// Take it away; its connections end.
    pub async fn detach(&self, id: &str) -> Result<()> {
        let _turn = self.changing.lock().await;
        self.detach_in_turn(id).await
    }

    /// What is attached.
    pub async fn list(&self) -> Result<Vec<Attachment>> {
        Ok(attachments(&self.options.places).await?.into_iter().map(|(_, attachment)| attachment).collect())
    }

    /// The complete set of links; replaces the former one in one step, and cuts what is no longer in it.
    pub async fn set_links(&self, links: &[LinkRule]) -> Result<()> {
        nftables::apply(&nftables::links_script(&self.options.places.table(), links)).await
    }

    async fn attach_in_turn(&self, id: &str, address: Ipv4Addr, id_map_base: u32) -> Result<Attachment> {
        check_id(id)?;
        let places = &self.options.places;
        let known = attachments(places).await?;
        if let Some((_, attachment)) = known.iter().find(|(_, a)| a.id == id && a.address == address) {
            return Ok(attachment.clone());
        }
        if let Some((_, other)) = known.iter().find(|(_, a)| a.address == address && a.id != id) {
            return Err(Error::Invalid(format!("{address} cannot be given to {id}: {} has it", other.id)));
        }
        self.detach_in_turn(id).await?;
        let netns = netns_name(places, id);
        let host = interface_name(places, id);
        std::fs::create_dir_all(NETNS_DIRECTORY).map_err(Error::io("make", Path::new(NETNS_DIRECTORY)))?;
        let path = Path::new(NETNS_DIRECTORY).join(&netns);
        rootfs::make_network_namespace(places, id_map_base, &path)?;
        quiet_namespace(path.clone()).await?;
        let mtu = uplink_mtu().await;
        let (host_mac, own_mac) = (mac(0x54, address), mac(0x53, address));
        let link = [
            "link", "add", &host, "mtu", &mtu, "address", &host_mac, "type", "veth", "peer", "name", "eth0", "mtu", &mtu, "address",
            &own_mac, "netns", &netns,
        ];
        run("ip", &link).await?;
        // Before an address works anywhere, the filter knows whose it is.
        let table = places.table();
        let member = std::iter::once(nftables::member(&host, address));
        nftables::apply(&nftables::add_elements(&table, "members", member)).await?;
        for (key, value) in [("ipv4", "rp_filter=1"), ("ipv4", "forwarding=1"), ("ipv6", "disable_ipv6=1")] {
            let (name, value) = value.split_once('=').unwrap_or((value, "1"));
            let file = PathBuf::from(format!("/proc/sys/net/{key}/conf/{host}/{name}"));
            if key == "ipv4" || file.exists() {
                write_sysctl(&file, value)?;
            }
        }
        let gateway = self.options.gateway;
        let inside = format!(
            "link set lo up\naddress add {address}/32 dev eth0\nlink set eth0 up\n\
             route add {gateway}/32 dev eth0 scope link src {address}\n\
             route add default via {gateway} dev eth0 src {address}\n\
             neigh replace {gateway} lladdr {host_mac} dev eth0 nud permanent\n"
        );
        run_with_input("ip", &["-n", &netns, "-batch", "-"], Some(&inside)).await?;
        // The alias comes last: without it the whole is taken for a torso and made again.
        let outside = format!(
            "link set {host} up\nroute replace {address}/32 dev {host} src {gateway}\n\
             neigh replace {address} lladdr {own_mac} dev {host} nud permanent\n\
             link set {host} alias {ALIAS}:{id}:{address}\n"
        );
        run_with_input("ip", &["-batch", "-"], Some(&outside)).await?;
        Ok(Attachment { id: id.to_string(), address, netns: path })
    }

    async fn detach_in_turn(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let places = &self.options.places;
        let host = interface_name(places, id);
        let known = attachments(places).await?;
        remove(places, id, &host).await?;
        if let Some((_, attachment)) = known.iter().find(|(_, a)| a.id == id) {
            let element = format!("{{ {} }}", nftables::member(&host, attachment.address));
            let _ = run("nft", &["delete", "element", "inet", &places.table(), "members", &element]).await;
        }
        Ok(())
    }
}

/// Interface and namespace of one container.
async fn remove(places: &Places, id: &str, host: &str) -> Result<()> {
    if Path::new("/sys/class/net").join(host).exists() {
        run("ip", &["link", "delete", host]).await?;
    }
    let netns = netns_name(places, id);
    if Path::new(NETNS_DIRECTORY).join(&netns).exists() {
        run("ip", &["netns", "delete", &netns]).await?;
    }
    Ok(())
}

/// Everything of this platform, whoever made it.
pub(crate) async fn purge(places: &Places, gateway: Ipv4Addr) -> Result<()> {
    for interface in interfaces(places).await? {
        run("ip", &["link", "delete", &interface.ifname]).await?;
    }
    for name in namespaces(places) {
        run("ip", &["netns", "delete", &name]).await?;
    }
    nftables::delete(places).await?;
    if has_gateway(gateway).await? {
        run("ip", &["address", "delete", &format!("{gateway}/32"), "dev", "lo"]).await?;
    }
    Ok(())
}

/// The gateway's address is on this machine.
pub(crate) async fn has_gateway(gateway: Ipv4Addr) -> Result<bool> {
    let addresses = run("ip", &["-o", "-4", "address", "show", "dev", "lo"]).await?.stdout;
    Ok(addresses.contains(&format!(" {gateway}/32 ")))
}

/// Our names below `/run/netns`.
pub(crate) fn namespaces(places: &Places) -> Vec<String> {
    let prefix = places.netns_prefix();
    let entries = std::fs::read_dir(NETNS_DIRECTORY).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&prefix)).collect()
}

/// Names of our interfaces.
pub(crate) async fn interface_names(places: &Places) -> Result<Vec<String>> {
    Ok(interfaces(places).await?.into_iter().map(|interface| interface.ifname).collect())
}

async fn all_interfaces() -> Result<Vec<Interface>> {
    let text = run("ip", &["-j", "link", "show"]).await?.stdout;
    serde_json::from_str(&text).map_err(|e| Error::Invalid(format!("`ip -j link show` is not readable: {e}")))
}

/// The container's address behind an interface of any Slipway on this machine.
fn address_of(interface: &Interface) -> Option<Ipv4Addr> {
    let (mark, rest) = interface.ifalias.as_deref()?.split_once(':')?;
    (mark == ALIAS).then(|| rest.rsplit_once(':')?.1.parse().ok()).flatten()
}

async fn interfaces(places: &Places) -> Result<Vec<Interface>> {
    let all = all_interfaces().await?;
    let prefix = places.interface_prefix();
    Ok(all.into_iter().filter(|interface| interface.ifname.starts_with(&prefix)).collect())
}

async fn attachments(places: &Places) -> Result<Vec<(String, Attachment)>> {
    let all = interfaces(places).await?;
    Ok(all.into_iter().filter_map(|interface| Some((interface.ifname.clone(), read_alias(places, &interface)?))).collect())
}

fn read_alias(places: &Places, interface: &Interface) -> Option<Attachment> {
    let mut parts = interface.ifalias.as_deref()?.split(':');
    let (mark, id, address) = (parts.next()?, parts.next()?, parts.next()?);
    let netns = Path::new(NETNS_DIRECTORY).join(netns_name(places, id));
    (mark == ALIAS && netns.exists()).then_some(())?;
    Some(Attachment { id: id.to_string(), address: address.parse().ok()?, netns })
}

fn netns_name(places: &Places, id: &str) -> String {
    format!("{}{id}", places.netns_prefix())
}

/// 15 bytes: 6 of the platform, 9 of the id's digest.
fn interface_name(places: &Places, id: &str) -> String {
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(id)[..5]);
    format!("{}{}", places.interface_prefix(), &digest[..9])
}

/// Locally administered; one per address and end.
fn mac(end: u8, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:{end:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Ids become names of kernel objects and words of a batch file: letters, digits, `-`, `_`.
fn check_id(id: &str) -> Result<()> {
    let plain = !id.is_empty() && id.len() <= 76 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { Ok(()) } else { Err(Error::Invalid(format!("'{id}' cannot name a container: up to 76 letters, digits, - and _"))) }
}

fn write_sysctl(file: &Path, value: &str) -> Result<()> {
    std::fs::write(file, value).map_err(Error::io("write", file))
}

/// Settings inside a namespace, written by a thread that enters it and ends: IPv6 off before an interface exists,
/// and every port may be listened on, because nothing in a container has capabilities.
async fn quiet_namespace(netns: PathBuf) -> Result<()> {
    let enter = move || {
        let file = std::fs::File::open(&netns).map_err(Error::io("open", &netns))?;
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| Error::io("enter", &netns)(e.into()))?;
        write_sysctl(Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0")?;
        for scope in ["all", "default", "lo"] {
            let file = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"));
            if file.exists() {
                write_sysctl(&file, "1")?;
            }
        }
        Ok(())
    };
    // A thread of its own, not one of a pool: it stays in the namespace.
    let (send, receive) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("netns".into());
    thread.spawn(move || send.send(enter())).map_err(Error::io("start a thread for", Path::new(NETNS_DIRECTORY)))?;
    receive.await.map_err(|_| Error::Invalid("the thread in a network namespace ended early".into()))?
}

/// Packets of containers are no longer than what leaves the machine, through the tunnel to another node too.
async fn uplink_mtu() -> String {
    #[derive(Deserialize)]
    struct Route {
        dev: Option<String>,
    }
    let routes = run("ip", &["-j", "route", "show", "default"]).await.map(|o| o.stdout).unwrap_or_default();
    let device = serde_json::from_str::<Vec<Route>>(&routes).ok().and_then(|routes| routes.into_iter().find_map(|r| r.dev));
    let mtu = device.and_then(|device| std::fs::read_to_string(Path::new("/sys/class/net").join(device).join("mtu")).ok());
    let mtu = mtu.and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(1500);
    // No path carries less than 576, and loopback as the way out carries 65536.
    (mtu.clamp(626, 9000) - TUNNEL_BYTES).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_ids_cannot_carry_words() {
        let places = Places { data: "/d".into(), run: "/r".into(), hash: "0123abcd".into() };
        assert_eq!(interface_name(&places, "i-abc").len(), 15);
        assert_ne!(interface_name(&places, "i-abc"), interface_name(&places, "i-abd"));
        for bad in ["", "a b", "a\nlink delete eth0", "../x", "a:b"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }
}
