//! A scheduler as routers see it: hands out tables, collects acknowledgements.

use slipway_model::route::{Gate, HoldLimits, PoolMember, RouteAction, RouteEnvironment, RouteTable, RouterEnvironmentState, RouterState, SiteRoute};
use slipway_model::Epoch;
use slipway_proto::router::router_link_server::{RouterLink, RouterLinkServer};
use slipway_proto::router::router_report::Report;
use slipway_proto::router::{RouterOrder, RouterReport};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub type Acks = HashMap<String, (u64, RouterState)>;

#[derive(Clone)]
pub struct Scheduler {
    table: watch::Sender<RouteTable>,
    acks: watch::Sender<Acks>,
    pub hellos: Arc<Mutex<Vec<String>>>,
    pub address: SocketAddr,
    server: Arc<tokio::task::JoinHandle<()>>,
    connections: tokio_util::sync::CancellationToken,
}

struct Door {
    table: watch::Sender<RouteTable>,
    acks: watch::Sender<Acks>,
    hellos: Arc<Mutex<Vec<String>>>,
    connections: tokio_util::sync::CancellationToken,
}

#[tonic::async_trait]
impl RouterLink for Door {
    type WatchStream = ReceiverStream<Result<RouterOrder, Status>>;

    async fn watch(&self, request: Request<Streaming<RouterReport>>) -> Result<Response<Self::WatchStream>, Status> {
        if slipway_proto::auth::bearer(&request) != Some("secret") {
            return Err(Status::unauthenticated("no token"));
        }
        let mut reports = request.into_inner();
        let Some(RouterReport { report: Some(Report::Hello(hello)) }) = reports.message().await? else {
            return Err(Status::invalid_argument("hello first"));
        };
        self.hellos.lock().unwrap().push(hello.router.clone());
        let (orders, stream) = tokio::sync::mpsc::channel(4);
        let mut tables = self.table.subscribe();
        let (acks, connections) = (self.acks.clone(), self.connections.clone());
        tokio::spawn(async move {
            tables.mark_changed();
            loop {
                tokio::select! {
                    () = connections.cancelled() => return,
                    Ok(()) = tables.changed() => {
                        let table = tables.borrow_and_update().clone();
                        if table.version == 0 { continue; }
                        let order = RouterOrder { table_version: table.version, table_json: serde_json::to_string(&table).unwrap() };
                        if orders.send(Ok(order)).await.is_err() { return; }
                    }
                    report = reports.message() => match report {
                        Ok(Some(RouterReport { report: Some(Report::Ack(ack)) })) => {
                            let state: RouterState = serde_json::from_str(&ack.state_json).unwrap();
                            acks.send_modify(|acks| { acks.insert(hello.router.clone(), (ack.table_version, state)); });
                        }
                        _ => return,
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Scheduler {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let table = watch::Sender::new(RouteTable::default());
        let acks = watch::Sender::new(Acks::new());
        let hellos = Arc::new(Mutex::new(Vec::new()));
        let connections = tokio_util::sync::CancellationToken::new();
        let door = Door { table: table.clone(), acks: acks.clone(), hellos: Arc::clone(&hellos), connections: connections.clone() };
        let end = connections.clone();
        let server = tokio::spawn(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let _ = tonic::transport::Server::builder()
                .add_service(RouterLinkServer::new(door))
                .serve_with_incoming_shutdown(incoming, end.cancelled_owned())
                .await;
        });
        Self { table, acks, hellos, address, server: Arc::new(server), connections }
    }

    /// The control plane is down.
    pub fn stop(&self) {
        self.connections.cancel();
        self.server.abort();
    }

    /// Gives out the next table with these environments; says its version.
    pub fn publish(&self, environments: Vec<RouteEnvironment>) -> u64 {
        let version = self.table.borrow().version + 1;
        self.publish_version(version, environments);
        version
    }

    pub fn publish_version(&self, version: u64, environments: Vec<RouteEnvironment>) {
        self.table.send_replace(RouteTable { version, environments });
    }

    /// Waits until the router's acknowledgement of this environment satisfies the condition.
    pub async fn until(&self, router: &str, environment: &str, what: &str, condition: impl Fn(&RouterEnvironmentState) -> bool) -> RouterEnvironmentState {
        let mut acks = self.acks.subscribe();
        let last = Mutex::new(None);
        let found = async {
            let acks = acks
                .wait_for(|acks| {
                    let state = acks.get(router).and_then(|(_, state)| state.environments.iter().find(|e| e.id.as_str() == environment));
                    *last.lock().unwrap() = state.cloned();
                    state.is_some_and(&condition)
                })
                .await
                .unwrap();
            drop(acks);
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), found).await;
        let last = last.lock().unwrap().clone();
        assert!(waited.is_ok(), "never seen: {what}; last: {last:?}");
        last.unwrap()
    }

    /// Publishes and waits until the router has taken it.
    pub async fn apply(&self, router: &str, environments: Vec<RouteEnvironment>) -> u64 {
        let version = self.publish(environments);
        self.acked(router, version).await;
        version
    }

    pub async fn acked(&self, router: &str, version: u64) {
        let mut acks = self.acks.subscribe();
        let done = acks.wait_for(|acks| acks.get(router).is_some_and(|(acked, _)| *acked >= version));
        let done = tokio::time::timeout(Duration::from_secs(20), done).await;
        assert!(done.is_ok(), "{router} did not acknowledge {version}");
    }
}

/// An environment with one pool `app`, served on `<name>.test` and `*.<name>.test`, http and https.
pub fn environment(name: &str, epoch: u64, gate: Gate, release: &str, members: &[SocketAddr]) -> RouteEnvironment {
    let route = |https: bool, host: String| SiteRoute {
        https,
        host,
        path: "/".into(),
        original_url: format!("{}://{{default}}/", if https { "https" } else { "http" }),
        action: RouteAction::Upstream { pool: "app".into() },
        redirects: vec![],
    };
    let members = members.iter().enumerate().map(|(n, address)| {
        let SocketAddr::V4(address) = address else { panic!("tests use IPv4") };
        PoolMember { instance: format!("i-{release}{n}").parse().unwrap(), address: *address.ip(), port: address.port() }
    });
    let mut routes = Vec::new();
    for https in [false, true] {
        routes.push(route(https, format!("{name}.test")));
        routes.push(route(https, format!("*.{name}.test")));
    }
    RouteEnvironment {
        id: name.parse().unwrap(),
        project: "p1".parse().unwrap(),
        epoch: Epoch(epoch),
        gate,
        release: format!("rel-{release}").parse().unwrap(),
        routes,
        pools: BTreeMap::from([("app".to_string(), members.collect())]),
        hold: HoldLimits::default(),
        cluster: format!("{name}-main"),
        restrict_robots: false,
        shells: vec![],
    }
}
