//! The packet filter's rules, as one script that the kernel takes whole or not at all.
//!
//! Every value in a script is an address, a number or a name made by [`Places`]: nothing that users wrote.

use super::error::{Error, Result};
use super::network::{Attachment, NetworkOptions};
use super::peers;
use super::places::Places;
use super::program;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A range of addresses: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    pub address: Ipv4Addr,
    pub bits: u8,
}

/// Who may open connections to whom, TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkRule {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub port: u16,
}

/// What the internet is not: "this" network, private, shared, loopback, link-local with the metadata services, IETF,
/// benchmarking, multicast, reserved, broadcast.
const NOT_PUBLIC: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// Ports that the host's unprivileged processes (a router of its own user) may open: the internal front, and ingress.
const FRONT_PORTS: &str = "{ 80, 10000-65535 }";
/// A container hears at once that it may not, instead of waiting for its own patience to end.
const REJECT: &str = "reject with icmp type admin-prohibited";
/// Connections of one container at a time: the kernel's table of all connections is everybody's.
const CONNECTIONS_MAX: u32 = 4096;
/// Elements in one line of a script.
const ELEMENTS_PER_LINE: usize = 200;

impl Cidr {
    /// One address.
    pub fn single(address: Ipv4Addr) -> Cidr {
        Cidr { address, bits: 32 }
    }

    /// The range holds it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
    }

    /// Its addresses, in order, without the first and the last of a range.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let size = 1u64 << (32 - self.bits);
        let (base, skip) = (u64::from(self.address.to_bits()), u64::from(size > 2));
        (base + skip..base + size - skip).map(|bits| Ipv4Addr::from_bits(bits as u32))
    }
}

impl FromStr for Cidr {
    type Err = Error;

    /// An address alone is a range of one.
    fn from_str(text: &str) -> Result<Cidr> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let read = || {
            let (address, bits): (Ipv4Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            let mask = u32::MAX.checked_shl(32u32.checked_sub(bits.into())?).unwrap_or(0);
            (address.to_bits() & !mask == 0).then_some(Cidr { address, bits })
        };
        read().ok_or_else(|| Error::Invalid(format!("'{text}' is no range of IPv4 addresses: write it like 10.0.0.0/8, without bits after the prefix")))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Table, sets and chains; what is in the set of links stays, so that a restart closes nothing.
/// `counting`: the kernel can count connections (its module may be missing).
pub(crate) fn base_script(options: &NetworkOptions, attachments: &[(String, Attachment)], counting: bool) -> String {
    let table = options.places.table();
    let ours = format!("\"{}*\"", options.places.interface_prefix());
    let gateway = options.gateway;
    let tunnel = format!("\"{}\"", peers::tunnel_name(&options.places));
    let mut script = format!(
        "add table inet {table}\n\
         add set inet {table} members {{ type ifname . ipv4_addr; }}\n\
         add set inet {table} links {{ type ipv4_addr . ipv4_addr . inet_service; }}\n\
         add set inet {table} allow {{ type ipv4_addr; flags interval; auto-merge; }}\n\
         add set inet {table} deny {{ type ipv4_addr; flags interval; auto-merge; }}\n\
         add set inet {table} peers {{ type ipv4_addr; }}\n\
         add set inet {table} remote {{ type ipv4_addr; flags interval; auto-merge; }}\n\
         flush set inet {table} members\nflush set inet {table} allow\nflush set inet {table} deny\n\
         add chain inet {table} forward {{ type filter hook forward priority filter; policy accept; }}\n\
         add chain inet {table} input {{ type filter hook input priority filter; policy accept; }}\n\
         add chain inet {table} output {{ type filter hook output priority filter; policy accept; }}\n\
         add chain inet {table} nat {{ type nat hook postrouting priority srcnat; policy accept; }}\n"
    );
    if counting {
        script += &format!("add set inet {table} connections {{ type ipv4_addr; flags dynamic; size 65535; }}\n");
    }
    let counted = match counting {
        true => format!("ct state new add @connections {{ ip saddr ct count over {CONNECTIONS_MAX} }} {REJECT}"),
        false => String::new(),
    };
    let mut chain = |name: &str, rules: &[String]| {
        script += &format!("flush chain inet {table} {name}\n");
        for rule in rules.iter().filter(|rule| !rule.is_empty()) {
            script += &format!("add rule inet {table} {name} {rule}\n");
        }
    };
    let pinned = format!("iifname {ours} iifname != {tunnel} iifname . ip saddr != @members drop");
    let members_only = format!("iifname {tunnel} ip saddr != @remote ip saddr != @peers drop");
    chain(
        "forward",
        &[
            format!("iifname != {ours} oifname != {ours} accept"),
            "meta nfproto ipv6 drop".into(),
            pinned.clone(),
            members_only.clone(),
            // What came through the tunnel has arrived: no node is another one's way out.
            format!("iifname {tunnel} oifname != {ours} drop"),
            "ct state related accept".into(),
            "ct direction reply ct state established accept".into(),
            counted.clone(),
            // Checked for every packet of the opening side, not only the first: a link that is withdrawn is cut.
            // From interfaces of ours or of a sister platform on this machine only: those pin their source addresses.
            "iifname \"sw*\" meta l4proto { tcp, udp } ip saddr . ip daddr . th dport @links accept".into(),
            format!("iifname {tunnel} ip saddr @peers tcp dport {FRONT_PORTS} accept"),
            format!("iifname \"sw*\" oifname {ours} {REJECT}"),
            format!("oifname {ours} drop"),
            "tcp dport 25 reject with tcp reset".into(),
            "ip daddr @allow accept".into(),
            format!("ip daddr @deny {REJECT}"),
            "accept".into(),
        ],
    );
    chain(
        "input",
        &[
            format!("iifname != {ours} accept"),
            "meta nfproto ipv6 drop".into(),
            pinned,
            members_only,
            "ct state related accept".into(),
            "ct direction reply ct state established accept".into(),
            counted.clone(),
            format!("ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept"),
            REJECT.into(),
        ],
    );
    chain(
        "output",
        &[
            format!("oifname != {ours} accept"),
            "meta nfproto ipv6 drop".into(),
            "ct state established,related accept".into(),
            "meta skuid 0 accept".into(),
            format!("tcp dport {FRONT_PORTS} accept"),
            "drop".into(),
        ],
    );
    let sources = [options.pool, options.build_pool].map(|pool| pool.to_string()).join(", ");
    chain("nat", &[format!("ip saddr {{ {sources} }} iifname {ours} oifname != \"sw*\" masquerade")]);

    let private = NOT_PUBLIC.iter().map(|(address, bits)| Cidr { address: *address, bits: *bits });
    let deny = private.chain([options.pool, options.build_pool]).chain(options.egress_deny.iter().copied());
    script += &add_elements(&table, "deny", deny.map(|range| range.to_string()));
    script += &add_elements(&table, "allow", options.egress_allow.iter().map(Cidr::to_string));
    script += &add_elements(&table, "members", attachments.iter().map(|(interface, a)| member(interface, a.address)));
    script
}

/// Replace all links at once.
pub(crate) fn links_script(table: &str, links: &[LinkRule]) -> String {
    let elements = links.iter().map(|link| format!("{} . {} . {}", link.from, link.to, link.port));
    format!("flush set inet {table} links\n{}", add_elements(table, "links", elements))
}

/// An interface and the one source address it may use.
pub(crate) fn member(interface: &str, address: Ipv4Addr) -> String {
    format!("\"{interface}\" . {address}")
}

/// Put elements into a set.
pub(crate) fn add_elements(table: &str, set: &str, elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    let lines = elements.chunks(ELEMENTS_PER_LINE);
    lines.map(|line| format!("add element inet {table} {set} {{ {} }}\n", line.join(", "))).collect()
}

/// Give the kernel a script.
pub(crate) async fn apply(script: &str) -> Result<()> {
    program::run_with_input("nft", &["-f", "-"], Some(script)).await.map(|_| ())
}

/// Take the table away.
pub(crate) async fn delete(places: &Places) -> Result<()> {
    if exists(places).await? {
        program::run("nft", &["delete", "table", "inet", &places.table()]).await?;
    }
    Ok(())
}

/// Our table is there.
pub(crate) async fn exists(places: &Places) -> Result<bool> {
    let tables = program::run("nft", &["list", "tables", "inet"]).await?.stdout;
    let line = format!("table inet {}", places.table());
    Ok(tables.lines().any(|known| known.trim() == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_written_and_sloppy_ones_are_refused() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32"] {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        assert_eq!("192.0.2.7".parse::<Cidr>().unwrap().to_string(), "192.0.2.7/32");
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "::/0", "x", "10.0.0.0/8; flush ruleset"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_knows_its_addresses() {
        let range: Cidr = "10.1.2.0/30".parse().unwrap();
        let hosts: Vec<String> = range.hosts().map(|a| a.to_string()).collect();
        assert_eq!(hosts, ["10.1.2.1", "10.1.2.2"]);
        assert!(range.contains("10.1.2.3".parse().unwrap()) && !range.contains("10.1.2.4".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn links_are_replaced_in_one_script() {
        let link = |from: [u8; 4], port| LinkRule { from: from.into(), to: [10, 0, 0, 9].into(), port };
        let script = links_script("t", &[link([10, 0, 0, 1], 3306), link([10, 0, 0, 2], 6379)]);
        let expected = "flush set inet t links\nadd element inet t links { 10.0.0.1 . 10.0.0.9 . 3306, 10.0.0.2 . 10.0.0.9 . 6379 }\n";
        assert_eq!(script, expected);
        assert_eq!(links_script("t", &[]), "flush set inet t links\n");
    }
}
