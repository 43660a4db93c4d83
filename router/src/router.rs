//! Options → Router → run.

use crate::admission::Budget;
use crate::engine::access::AccessLog;
use crate::engine::clock::Clock;
use crate::engine::listen::Door;
use crate::engine::request::Front;
use crate::engine::tables::Tables;
use crate::handover::{self, Purpose, Sockets, Taken};
use crate::link::{Identity, Link};
use crate::options::Options;
use crate::saved::SavedTable;
use crate::tls::{Authority, HostCertificates, TlsError};
use http::HeaderValue;
use slipway_model::route::RouteTable;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that the kernel keeps ready for accepting; a release storm of 10 000 clients arrives within a second.
const BACKLOG: u32 = 4096;

/// Why a router does not begin.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The data folder.
    #[error("router data in {path}: {source}; the router needs a folder that it may write")]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A listening address.
    #[error("cannot listen on {address}: {source}; see `ss -ltnp` for who does, or choose another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
}

/// Where a router listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// TLS.
    pub https: Vec<SocketAddr>,
}

/// What others may have of a router; cheap to clone.
#[derive(Debug, Clone)]
pub struct RouterHandle {
    /// The table in force, for the SSH door and for tests.
    pub tables: Arc<Tables>,
    certificates: Arc<HostCertificates>,
    addresses: watch::Receiver<Option<Addresses>>,
}

impl RouterHandle {
    /// The table in force, for the SSH door.
    pub fn table(&self) -> Arc<RouteTable> {
        self.tables.current().to_table()
    }

    /// Where it listens, as soon as it accepts.
    pub async fn addresses(&mut self) -> Option<Addresses> {
        self.addresses.wait_for(Option::is_some).await.ok().and_then(|addresses| addresses.clone())
    }

    /// The authority's certificate, to be trusted by browsers of this machine.
    pub fn ca_certificate(&self) -> PathBuf {
        self.certificates.authority().certificate_path()
    }

    /// How to trust it, for people.
    pub fn how_to_trust(&self) -> String {
        self.certificates.authority().how_to_trust()
    }
}

/// One router, before it runs.
#[derive(Debug)]
pub struct Router {
    options: Options,
    folder: PathBuf,
    front: Arc<Front>,
    saved: SavedTable,
    certificates: Arc<HostCertificates>,
    addresses: watch::Sender<Option<Addresses>>,
}

impl Router {
    /// Reads the data folder; opens no socket.
    pub fn new(options: Options) -> Result<Self, RouterError> {
        let folder = options.data_dir.join("router");
        let data = |source| RouterError::Data { path: folder.clone(), source };
        let saved = SavedTable::in_folder(&folder).map_err(data)?;
        let clock = Arc::new(Clock::default());
        let budget = Arc::new(Budget::new(options.limits.held_requests_max, options.limits.held_bytes_max));
        let tables = Tables::new(Arc::clone(&clock), budget);
        let certificates = HostCertificates::new(Authority::open(&folder.join("tls"))?, Arc::clone(&tables));
        let access = options.access_log.as_deref().map(AccessLog::open).transpose().map_err(data)?;
        let router = HeaderValue::from_str(options.node.as_str()).map_err(|e| RouterError::Option(e.to_string()))?;
        let front = Arc::new(Front {
            tables,
            clock,
            limits: options.limits.clone(),
            router,
            access,
            drain: CancellationToken::new(),
            catch_up: Notify::new(),
        });
        Ok(Self { options, folder, front, saved, certificates, addresses: watch::Sender::new(None) })
    }

    /// For others, also while it runs.
    pub fn handle(&self) -> RouterHandle {
        RouterHandle {
            tables: Arc::clone(&self.front.tables),
            certificates: Arc::clone(&self.certificates),
            addresses: self.addresses.subscribe(),
        }
    }

    /// Serves until `shutdown`, or until a successor has taken over; then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RouterError> {
        raise_descriptors(self.front.limits.connections_max);
        self.front.clock.beat();
        let background = Background::default();
        background.keep(tokio::spawn(Arc::clone(&self.front).beat()));
        background.keep(tokio::spawn(Arc::clone(&self.front).sweep()));
        let (identity, link) = self.link(self.identity(self.options.node.to_string()), Some(self.saved.clone()))?;
        let hearing = self.front.tables.hear_anew();
        // The saved table is the floor of versions and epochs, and what is served when no scheduler answers.
        if let Some(table) = self.saved.load() {
            let _ = self.front.tables.apply(table);
        }
        let link = background.keep(tokio::spawn(link.run()));
        tokio::pin!(shutdown);
        tokio::select! {
            heard = tokio::time::timeout(self.front.limits.table_wait_max, hearing) => if heard.is_err() {
                tracing::warn!(version = self.front.tables.current().version(), "no scheduler answers; the router serves the table that it saved");
            },
            () = &mut shutdown => return Ok(()),
        }
        let (sockets, taken) = self.sockets().await?;
        let addresses = addresses_of(&sockets);
        identity.send_if_modified(|identity| name_addresses(identity, &addresses));
        let door = Door {
            front: Arc::clone(&self.front),
            room: Arc::new(Semaphore::new(self.front.limits.connections_max)),
            tasks: TaskTracker::new(),
        };
        let (stop, accepting) = (CancellationToken::new(), TaskTracker::new());
        self.accept(&door, &sockets, &stop, &accepting)?;
        self.addresses.send_replace(Some(addresses));
        if let Some(taken) = taken {
            let _ = taken.accepting().await;
        }
        let replaced = tokio::select! {
            () = &mut shutdown => false,
            handed = handover::offer(&self.folder, &sockets) => match handed {
                Ok(()) => true,
                Err(e) => {
                    tracing::warn!("no hand-over socket: {e}; a restart of this router will not be seamless");
                    shutdown.await;
                    false
                }
            },
        };
        stop.cancel();
        accepting.close();
        accepting.wait().await;
        drop(sockets);
        let _draining = if replaced {
            // The successor has this router's name now; what is held here still waits for the gate.
            link.abort();
            let name = format!("{:.31}-{}", self.options.node.as_str(), std::process::id() % 100_000_000);
            let (identity, link) = self.link(self.identity(name), None)?;
            background.keep(tokio::spawn(link.run()));
            Some(identity)
        } else {
            let _ = std::fs::remove_file(handover::socket_path(&self.folder));
            None
        };
        self.drain(&door).await;
        Ok(())
    }

    fn identity(&self, router: String) -> Identity {
        Identity {
            router,
            http_address: self.options.http_listen.first().map(ToString::to_string).unwrap_or_default(),
            https_address: self.options.https_listen.first().map(ToString::to_string).unwrap_or_default(),
            ssh_address: self.options.ssh_address.clone(),
        }
    }

    fn link(&self, identity: Identity, saved: Option<SavedTable>) -> Result<(watch::Sender<Identity>, Link), RouterError> {
        let identity = watch::Sender::new(identity);
        let schedulers = self.options.schedulers.clone();
        let link = Link::new(Arc::clone(&self.front), saved, schedulers, &self.options.token, identity.subscribe());
        link.map(|link| (identity, link)).map_err(RouterError::Option)
    }

    /// Those of a router that runs already in this folder, else fresh ones.
    async fn sockets(&self) -> Result<(Sockets, Option<Taken>), RouterError> {
        match handover::take(&self.folder).await {
            Ok(Some(mut taken)) => {
                let sockets = std::mem::take(&mut taken.sockets);
                tracing::info!(sockets = sockets.len(), "the sockets of the running router are taken over");
                return Ok((sockets, Some(taken)));
            }
            Ok(None) => {}
            Err(e) => tracing::warn!("the running router does not hand over: {e}; fresh sockets are opened"),
        }
        let wanted = self.options.http_listen.iter().map(|address| (Purpose::Http, *address));
        let wanted = wanted.chain(self.options.https_listen.iter().map(|address| (Purpose::Https, *address)));
        let sockets: Result<Sockets, RouterError> = wanted
            .map(|(purpose, address)| listen(address).map(|socket| (purpose, socket)).map_err(|source| RouterError::Listen { address, source }))
            .collect();
        Ok((sockets?, None))
    }

    fn accept(&self, door: &Door, sockets: &Sockets, stop: &CancellationToken, accepting: &TaskTracker) -> Result<(), RouterError> {
        let tls = TlsAcceptor::from(self.certificates.server_config()?);
        for (purpose, socket) in sockets {
            let data = |source| RouterError::Data { path: self.folder.clone(), source };
            let socket = socket.try_clone().map_err(data)?;
            socket.set_nonblocking(true).map_err(data)?;
            let listener = Arc::new(TcpListener::from_std(socket).map_err(data)?);
            let tls = (*purpose == Purpose::Https).then(|| tls.clone());
            accepting.spawn(door.clone().accept(listener, tls, stop.clone()));
        }
        Ok(())
    }

    /// Ends idle connections, event streams and tunnels; waits for the rest; at the end answers what is still held.
    async fn drain(&self, door: &Door) {
        self.front.drain.cancel();
        door.tasks.close();
        if tokio::time::timeout(self.front.limits.drain_time_max, door.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(connections = door.tasks.len(), "the drain time is over; what is still held is answered 503");
        self.front.tables.refuse_all();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), door.tasks.wait()).await;
    }
}

/// Each client has a descriptor, and each request under way one towards its application.
fn raise_descriptors(connections_max: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = connections_max as u64 * 2 + 1024;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft >= wanted { Ok(soft) } else { setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).map(|()| wanted.min(hard)) }
    });
    match raised {
        Ok(limit) if limit < wanted => tracing::warn!(limit, wanted, "the limit of open files is below what this router may need; raise it in its unit (LimitNOFILE)"),
        Ok(_) => {}
        Err(e) => tracing::warn!("the limit of open files cannot be raised: {e}"),
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn addresses_of(sockets: &Sockets) -> Addresses {
    let of = |wanted: Purpose| {
        let mine = sockets.iter().filter(move |(purpose, _)| *purpose == wanted);
        mine.filter_map(|(_, socket)| socket.local_addr().ok()).collect()
    };
    Addresses { http: of(Purpose::Http), https: of(Purpose::Https) }
}

/// True when it says something else than before: port 0 becomes a real one.
fn name_addresses(identity: &mut Identity, addresses: &Addresses) -> bool {
    let before = identity.clone();
    if let Some(address) = addresses.http.first() {
        identity.http_address = address.to_string();
    }
    if let Some(address) = addresses.https.first() {
        identity.https_address = address.to_string();
    }
    *identity != before
}

/// Tasks that end with the router.
#[derive(Debug, Default)]
struct Background(std::cell::RefCell<Vec<tokio::task::AbortHandle>>);

impl Background {
    fn keep(&self, task: tokio::task::JoinHandle<()>) -> tokio::task::AbortHandle {
        self.0.borrow_mut().push(task.abort_handle());
        task.abort_handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for task in self.0.borrow().iter() {
            task.abort();
        }
    }
}
