//! Names for containers: the links of the one who asks, and the node's resolvers for the rest.

use super::dns::{self, Code, Question};
use super::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Queries of all containers under way; more are dropped, and clients ask again.
const QUERIES_MAX: usize = 1024;
/// Of one container: a flood of one does not silence the others.
const QUERIES_PER_SOURCE_MAX: usize = 64;
/// A question with its options; nobody honest sends more.
const QUERY_BYTES_MAX: usize = 2048;
/// One try at one upstream.
const UPSTREAM_TIME_MAX: Duration = Duration::from_secs(3);
/// A connection may be silent between two queries.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Zones that are never asked upstream: they name inner things of the platform, of the node or of its surroundings.
const INNER_ZONES: &[&str] = &[
    "internal", "local", "localhost", "localdomain", "lan", "intranet", "corp", "home", "home.arpa", "10.in-addr.arpa",
    "168.192.in-addr.arpa", "254.169.in-addr.arpa", "127.in-addr.arpa", "d.f.ip6.arpa",
];

/// How the resolver works.
#[derive(Debug, Clone)]
pub struct ResolverOptions {
    /// The network's gateway, port 53.
    pub listen: SocketAddr,
    /// See [`node_resolvers`].
    pub upstreams: Vec<SocketAddr>,
    /// Zones that are never asked upstream, besides our own list: the operator's.
    pub refused_zones: Vec<String>,
}

/// The names that one source address may resolve, lower case without final dot: its links, its own, its fixed hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
    local: SocketAddr,
    servers: [tokio::task::JoinHandle<()>; 2],
}

#[derive(Debug)]
struct Shared {
    options: ResolverOptions,
    zones: RwLock<HashMap<IpAddr, Arc<Zone>>>,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Resolver {
    /// Listen; the network must be open, because the address is its gateway's.
    pub async fn start(options: ResolverOptions) -> Result<Resolver> {
        let place = PathBuf::from(format!("{} for names", options.listen));
        let udp = UdpSocket::bind(options.listen).await.map_err(Error::io("listen on", &place))?;
        let local = udp.local_addr().map_err(Error::io("listen on", &place))?;
        let tcp = TcpListener::bind(local).await.map_err(Error::io("listen on", &place))?;
        let shared = Arc::new(Shared { options, zones: Default::default(), under_way: Default::default() });
        let servers = [tokio::spawn(serve_udp(shared.clone(), Arc::new(udp))), tokio::spawn(serve_tcp(shared.clone(), tcp))];
        Ok(Resolver { shared, local, servers })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What a source address may resolve; a source without a zone (a build) resolves public names only.
    pub fn set(&self, source: Ipv4Addr, zone: Zone) {
        self.zones_mut().insert(source.into(), Arc::new(zone));
    }

    /// Forget a source.
    pub fn remove(&self, source: Ipv4Addr) {
        self.zones_mut().remove(&IpAddr::V4(source));
    }

    fn zones_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<IpAddr, Arc<Zone>>> {
        self.shared.zones.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.servers.iter().for_each(|server| server.abort());
    }
}

/// The place of one query under way.
struct Turn {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Shared {
    /// A place for a query, while there is one.
    fn turn(self: &Arc<Self>, source: IpAddr) -> Option<Turn> {
        let mut under_way = self.under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let of_source = under_way.by_source.get(&source).copied().unwrap_or(0);
        if under_way.total >= QUERIES_MAX || of_source >= QUERIES_PER_SOURCE_MAX {
            return None;
        }
        under_way.total += 1;
        under_way.by_source.insert(source, of_source + 1);
        Some(Turn { shared: self.clone(), source })
    }

    /// The whole way of a query; none where silence is the answer.
    async fn reply(&self, source: IpAddr, packet: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let question = match dns::read_query(packet) {
            Ok(question) => question,
            Err(code) => return Some(dns::head(packet, code?)),
        };
        let zone = self.zones.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&source).cloned();
        if let Some(addresses) = zone.as_ref().and_then(|zone| zone.names.get(&question.name)) {
            return Some(dns::answer(packet, &question, Code::Fine, addresses));
        }
        if self.is_inner(&question.name) {
            return Some(dns::answer(packet, &question, Code::NoSuchName, &[]));
        }
        let forwarded = self.forward(packet, &question, over_tcp).await;
        Some(forwarded.unwrap_or_else(|| dns::answer(packet, &question, Code::Failed, &[])))
    }

    fn is_inner(&self, name: &str) -> bool {
        let refused = self.options.refused_zones.iter().map(String::as_str).chain(INNER_ZONES.iter().copied());
        !name.contains('.') || refused.into_iter().any(|zone| lies_in(name, zone.trim_matches('.')))
    }

    /// Ask the node's resolvers one after the other.
    async fn forward(&self, packet: &[u8], question: &Question, over_tcp: bool) -> Option<Vec<u8>> {
        for upstream in &self.options.upstreams {
            let query = dns::with_id(packet, random_id());
            let asked = async {
                let reply = if over_tcp { ask_tcp(*upstream, &query).await } else { ask_udp(*upstream, &query, question).await };
                reply.ok().filter(|reply| dns::answers(reply, &query, question))
            };
            if let Ok(Some(reply)) = tokio::time::timeout(UPSTREAM_TIME_MAX, asked).await {
                return Some(dns::with_id(&reply, question.id));
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        under_way.total -= 1;
        if let Some(count) = under_way.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                under_way.by_source.remove(&self.source);
            }
        }
    }
}

fn lies_in(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn random_id() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    // Keyed by the operating system's randomness; enough beside a fresh source port per query.
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = [0u8; QUERY_BYTES_MAX];
    loop {
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(turn) = shared.turn(source.ip()) else { continue };
        let (packet, socket) = (buffer[..length].to_vec(), socket.clone());
        tokio::spawn(async move {
            if let Some(reply) = turn.shared.reply(source.ip(), &packet, false).await {
                let _ = socket.send_to(&reply, source).await;
            }
        });
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((stream, source)) = listener.accept().await else {
            // Out of descriptors: others give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(turn) = shared.turn(source.ip()) else { continue };
        tokio::spawn(async move {
            let _ = converse(&turn.shared, stream, source.ip()).await;
            drop(turn);
        });
    }
}

/// Queries on one connection, one at a time.
async fn converse(shared: &Shared, mut stream: TcpStream, source: IpAddr) -> std::io::Result<()> {
    loop {
        let packet = tokio::time::timeout(IDLE_TIME_MAX, read_framed(&mut stream, QUERY_BYTES_MAX)).await??;
        let Some(reply) = shared.reply(source, &packet, true).await else { return Ok(()) };
        tokio::time::timeout(IDLE_TIME_MAX, write_framed(&mut stream, &reply)).await??;
    }
}

async fn ask_udp(upstream: SocketAddr, query: &[u8], question: &Question) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if upstream.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = vec![0u8; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if dns::answers(&buffer[..length], query, question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(upstream: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_framed(&mut stream, query).await?;
    read_framed(&mut stream, usize::from(u16::MAX)).await
}

async fn read_framed(stream: &mut TcpStream, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > bytes_max {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0u8; length];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn write_framed(stream: &mut TcpStream, packet: &[u8]) -> std::io::Result<()> {
    let mut framed = (packet.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(packet);
    stream.write_all(&framed).await
}

/// The node's own resolvers, from its `/etc/resolv.conf`.
pub fn node_resolvers(file: &Path) -> Result<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        Some(SocketAddr::new(words.next()?.parse().ok()?, 53))
    });
    Ok(servers.collect())
}

/// Write `resolv.conf`, `hosts` and `hostname` for a container into `directory`, to be bound read-only to the places given with them.
pub fn write_name_files(
    directory: &Path,
    hostname: &str,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
) -> Result<[(PathBuf, &'static str); 3]> {
    std::fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        std::fs::write(&file, text).map_err(Error::io("write", &file))?;
        Ok::<_, Error>(file)
    };
    if !hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_') || hostname.len() > 64 {
        return Err(Error::Invalid(format!("'{hostname}' is no host name: up to 64 letters, digits, - . and _")));
    }
    Ok([
        // One try more than the default: the resolver may be restarted with its worker.
        (write("resolv.conf", format!("nameserver {gateway}\noptions timeout:3 attempts:3\n"))?, "/etc/resolv.conf"),
        (write("hosts", format!("127.0.0.1 localhost\n{address} {hostname}\n"))?, "/etc/hosts"),
        (write("hostname", format!("{hostname}\n"))?, "/etc/hostname"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fake_upstream() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0u8; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = dns::read_query(&buffer[..length]).unwrap();
                let reply = dns::answer(&buffer[..length], &question, Code::Fine, &["203.0.113.5".parse().unwrap()]);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        address
    }

    async fn ask(server: SocketAddr, name: &str, kind: u16) -> (u8, u8) {
        let query = dns::query(77, name, kind);
        let reply = ask_udp(server, &query, &dns::read_query(&query).unwrap()).await.unwrap();
        (reply[3] & 15, reply[7])
    }

    #[tokio::test]
    async fn a_container_resolves_its_own_links_and_public_names_and_nothing_inner() {
        let options = ResolverOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            upstreams: vec![fake_upstream().await],
            refused_zones: vec!["example.org.".into()],
        };
        let resolver = Resolver::start(options).await.unwrap();
        let server = resolver.local_address();
        let names = [("database.internal".to_string(), vec!["10.0.0.9".parse().unwrap()])];
        resolver.set(Ipv4Addr::LOCALHOST, Zone { names: names.into() });

        assert_eq!(ask(server, "database.internal", dns::TYPE_A).await, (0, 1));
        assert_eq!(ask(server, "database.internal", dns::TYPE_AAAA).await, (0, 0));
        assert_eq!(ask(server, "cache.internal", dns::TYPE_A).await, (3, 0));
        assert_eq!(ask(server, "node.example.org", dns::TYPE_A).await, (3, 0));
        assert_eq!(ask(server, "myexample.org", dns::TYPE_A).await, (0, 1));
        assert_eq!(ask(server, "single", dns::TYPE_A).await, (3, 0));
        resolver.remove(Ipv4Addr::LOCALHOST);
        assert_eq!(ask(server, "database.internal", dns::TYPE_A).await, (3, 0));
    }

    #[tokio::test]
    async fn one_source_cannot_take_all_places() {
        let options = ResolverOptions { listen: "127.0.0.1:0".parse().unwrap(), upstreams: vec![], refused_zones: vec![] };
        let resolver = Resolver::start(options).await.unwrap();
        let greedy: IpAddr = "10.0.0.1".parse().unwrap();
        let turns: Vec<Turn> = std::iter::from_fn(|| resolver.shared.turn(greedy)).collect();
        assert_eq!(turns.len(), QUERIES_PER_SOURCE_MAX);
        assert!(resolver.shared.turn("10.0.0.2".parse().unwrap()).is_some());
        drop(turns);
        assert!(resolver.shared.turn(greedy).is_some());
    }

    #[test]
    fn a_host_name_cannot_add_lines() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| write_name_files(dir.path(), name, [10, 0, 0, 1].into(), [169, 254, 1, 1].into());
        assert!(write("app.0").is_ok() && write("a\n1.2.3.4 b").is_err());
    }
}
