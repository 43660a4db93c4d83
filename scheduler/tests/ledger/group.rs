//! Three nodes on loopback, with a gate between them.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use slipway_proto::raft::raft_link_server::{RaftLink, RaftLinkServer};
use slipway_proto::raft::{RaftReply, RaftRequest};
use slipway_scheduler::ledger::{Ledger, Machine, Options, ProposeError, RaftDoor};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::journal::{Journal, command, replayed};
use crate::wait::{DEADLINE, leads, until};

/// Refuses what comes from or goes to a node that is cut off.
#[derive(Clone)]
struct Gate {
    door: RaftDoor,
    cut: Arc<Mutex<BTreeSet<u64>>>,
}

impl Gate {
    fn pass(&self, request: Request<RaftRequest>) -> Result<Request<RaftRequest>, Status> {
        let cut = self.cut.lock().unwrap();
        let message = request.get_ref();
        if cut.contains(&message.source) || cut.contains(&message.target) {
            return Err(Status::unavailable("cut off"));
        }
        Ok(request)
    }
}

#[tonic::async_trait]
impl RaftLink for Gate {
    async fn append(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        self.door.append(self.pass(request)?).await
    }
    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        self.door.vote(self.pass(request)?).await
    }
    async fn install_snapshot(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        self.door.install_snapshot(self.pass(request)?).await
    }
}

struct Node {
    ledger: Ledger<Journal>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

/// The nodes of a group, those that are switched off included.
struct Group {
    home: TempDir,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Node>,
    cut: Arc<Mutex<BTreeSet<u64>>>,
    snapshot_every: u64,
}

const TOKEN: &str = "the-token-of-the-group";

impl Group {
    /// Takes addresses for `count` nodes; none of them runs yet.
    async fn new(count: u64, snapshot_every: u64) -> Self {
        let mut addresses = BTreeMap::new();
        let mut held = Vec::new();
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(id, listener.local_addr().unwrap().to_string());
            held.push(listener);
        }
        let (nodes, cut) = (BTreeMap::new(), Arc::default());
        Self { home: TempDir::new().unwrap(), addresses, nodes, cut, snapshot_every }
    }

    async fn of_three(snapshot_every: u64) -> Self {
        let mut group = Self::new(3, snapshot_every).await;
        for id in 1..=3 {
            group.start(id, &[1, 2, 3]).await;
        }
        for node in group.nodes.values() {
            node.ledger.initialize_if_fresh().await.unwrap();
        }
        group
    }

    async fn start(&mut self, id: u64, peers: &[u64]) {
        let address = self.addresses[&id].clone();
        let peers = peers.iter().map(|peer| (*peer, self.addresses[peer].clone())).collect();
        let options = Options {
            peers,
            snapshot_every: self.snapshot_every,
            token: Some(TOKEN.into()),
            propose_time_max: Duration::from_secs(5),
            ..Options::new(self.home.path().join(id.to_string()), id, &address)
        };
        let ledger = Ledger::open(options).await.unwrap();
        let listener = until("the port is free", || TcpListener::bind(&address)).await;
        let gate = Gate { door: ledger.raft_door(), cut: self.cut.clone() };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(RaftLinkServer::new(gate));
            let stopped = async { drop(stopped.await) };
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await.unwrap();
        });
        self.nodes.insert(id, Node { ledger, stop, server });
    }

    async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        // Its calls end first: a server waits for the connections that its peers hold.
        node.ledger.shutdown().await.unwrap();
        let _ = node.stop.send(());
        let ended = tokio::time::timeout(Duration::from_secs(5), node.server).await;
        drop(ended);
    }

    fn ledger(&self, id: u64) -> Ledger<Journal> {
        self.nodes[&id].ledger.clone()
    }

    /// The one node that may act as leader, among those not cut off.
    async fn leader(&self) -> u64 {
        until("one node leads", || async {
            let cut = self.cut.lock().unwrap().clone();
            let leaders: Vec<_> = self
                .nodes
                .iter()
                .filter(|(id, node)| !cut.contains(id) && node.ledger.leadership().borrow().is_some())
                .map(|(id, _)| *id)
                .collect();
            match leaders[..] {
                [leader] => Ok(leader),
                _ => Err(self.nodes.values().map(|node| node.ledger.status()).collect::<Vec<_>>()),
            }
        })
        .await
    }

    /// Proposes where the leader is, again while there is none; gives the reply.
    async fn record(&self, id: u64) -> String {
        let start = Instant::now();
        loop {
            let leader = self.leader().await;
            match self.ledger(leader).propose(command(id)).await {
                Ok(reply) => return String::from_utf8(reply).unwrap(),
                Err(e) if start.elapsed() > DEADLINE => panic!("command {id} is not recorded: {e}"),
                Err(_) => {}
            }
        }
    }

    /// Waits until all running nodes have the same state, and gives it.
    async fn agreed(&self) -> Journal {
        let journal = until("all nodes have the same state", || async {
            let states: Vec<_> = self.nodes.values().map(|node| node.ledger.read_at(|at, m| (at, m.save()))).collect();
            if states.windows(2).all(|pair| pair[0] == pair[1]) {
                Ok(Journal::load(&states[0].1).unwrap())
            } else {
                Err(self.nodes.values().map(|node| node.ledger.status()).collect::<Vec<_>>())
            }
        })
        .await;
        assert_eq!(journal, replayed(&journal));
        journal
    }

    async fn end(mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.stop(id).await;
        }
    }
}

fn assert_holds(journal: &Journal, acknowledged: &BTreeMap<u64, String>) {
    for id in acknowledged.keys() {
        assert!(journal.replies.contains_key(id), "command {id} was acknowledged and is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut group = Group::of_three(5000).await;
    let mut acknowledged = BTreeMap::new();
    for id in 1..=100 {
        acknowledged.insert(id, group.record(id).await);
    }
    let first = group.leader().await;
    let term = leads(&group.ledger(first)).await;
    let follower = if first == 1 { 2 } else { 1 };
    let refused = group.ledger(follower).propose(command(5000)).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(group.addresses[&first].clone()) }));
    assert_eq!(group.ledger(follower).status().leader_address.as_ref(), Some(&group.addresses[&first]));

    group.stop(first).await;
    let lost = Instant::now();
    acknowledged.insert(101, group.record(101).await);
    println!("a new leader took a command {:?} after the loss", lost.elapsed());
    let second = group.leader().await;
    assert_ne!(second, first);
    assert!(leads(&group.ledger(second)).await > term, "a new leader has a higher term");
    for id in 102..=150 {
        acknowledged.insert(id, group.record(id).await);
    }
    group.start(first, &[1, 2, 3]).await;
    let journal = group.agreed().await;
    assert_holds(&journal, &acknowledged);
    assert_eq!(journal.order.len(), 150, "nothing was recorded twice");
    assert_eq!(journal.replies, acknowledged, "the replies are the same on every node and at every time");
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_far_behind_is_caught_up_by_a_snapshot() {
    let mut group = Group::of_three(50).await;
    for id in 1..=20 {
        group.record(id).await;
    }
    let leader = group.leader().await;
    let behind = if leader == 3 { 2 } else { 3 };
    group.stop(behind).await;
    for id in 21..=420 {
        group.record(id).await;
    }
    let leader = group.leader().await;
    let purged = until("the leader no longer has what the node lacks", || async {
        let status = group.ledger(leader).status();
        if status.purged_entry > Some(100) { Ok(status.purged_entry.unwrap()) } else { Err(status) }
    })
    .await;
    group.start(behind, &[1, 2, 3]).await;
    assert!(group.ledger(behind).status().last_entry < Some(purged), "the node had it all");
    let journal = group.agreed().await;
    assert_eq!(journal.order.len(), 420);
    let status = group.ledger(behind).status();
    assert!(status.snapshot_entry > Some(purged), "it came entry by entry: {status:?}");
    // What was installed is on its disk, whole: the node starts with it.
    group.stop(behind).await;
    group.start(behind, &[1, 2, 3]).await;
    group.record(421).await;
    assert_eq!(group.agreed().await.order.len(), 421);
    group.end().await;
}

/// openraft 0.9 has no pre-vote: the node that returns costs one election. This shows that it costs no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_costs_one_election_when_it_returns() {
    let group = Group::of_three(5000).await;
    let mut acknowledged = BTreeMap::new();
    acknowledged.insert(1, group.record(1).await);
    let leader = group.leader().await;
    let away = if leader == 3 { 2 } else { 3 };
    let term = leads(&group.ledger(leader)).await;
    group.cut.lock().unwrap().insert(away);
    until("the node stands for election again and again", || async {
        let status = group.ledger(away).status();
        if status.term >= term + 2 { Ok(()) } else { Err(status) }
    })
    .await;
    for id in 2..=20 {
        acknowledged.insert(id, group.record(id).await);
    }
    assert_eq!(group.leader().await, leader, "the others did not notice");
    assert_eq!(*group.ledger(leader).leadership().borrow(), Some(term));
    let raised = group.ledger(away).status().term;

    group.cut.lock().unwrap().clear();
    let returned = Instant::now();
    // The raised term ends the leader's; all three must then agree on one again.
    until("all nodes are in one term beyond the raised one", || async {
        let terms: Vec<_> = group.nodes.values().map(|node| node.ledger.status().term).collect();
        if terms.iter().all(|term| *term >= raised) { Ok(()) } else { Err(terms) }
    })
    .await;
    for id in 21..=40 {
        acknowledged.insert(id, group.record(id).await);
    }
    println!("20 commands were recorded {:?} after the return, terms {term} -> {}", returned.elapsed(), group.ledger(1).status().term);
    assert_holds(&group.agreed().await, &acknowledged);
    // From here on the group is quiet: the term does not rise any more.
    let settled = leads(&group.ledger(group.leader().await)).await;
    for id in 41..=140 {
        acknowledged.insert(id, group.record(id).await);
    }
    assert_eq!(leads(&group.ledger(group.leader().await)).await, settled);
    assert_holds(&group.agreed().await, &acknowledged);
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_stops_acting_before_another_begins() {
    let group = Group::of_three(5000).await;
    let mut acknowledged = BTreeMap::new();
    acknowledged.insert(1, group.record(1).await);
    let old = group.leader().await;
    // Watches from before the cut: at no time may two nodes hold themselves for the leader.
    let watching = tokio::spawn({
        let watched: Vec<_> = group.nodes.values().map(|node| node.ledger.leadership()).collect();
        async move {
            loop {
                let acting = watched.iter().filter(|leadership| leadership.borrow().is_some()).count();
                assert!(acting <= 1, "{acting} nodes act as leader");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    group.cut.lock().unwrap().insert(old);
    let lost = group.ledger(old);
    let pending = tokio::spawn({
        let lost = lost.clone();
        async move { lost.propose(command(1000)).await }
    });
    let mut leadership = lost.leadership();
    tokio::time::timeout(DEADLINE, leadership.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert!(lost.read_barrier().await.is_err(), "a leader without a quorum vouches for nothing");
    for id in 2..=20 {
        acknowledged.insert(id, group.record(id).await);
    }
    let error = pending.await.unwrap().unwrap_err();
    assert!(matches!(error, ProposeError::Unavailable(_) | ProposeError::NotLeader { .. }), "{error:?}");
    group.cut.lock().unwrap().clear();
    let journal = group.agreed().await;
    assert_holds(&journal, &acknowledged);
    assert!(!journal.replies.contains_key(&1000), "what the cut-off leader could not decide was decided by nobody");
    assert!(!watching.is_finished(), "{:?}", watching.await);
    watching.abort();
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_and_leave_and_an_id_never_comes_back() {
    let mut group = Group::new(4, 50).await;
    group.start(1, &[1]).await;
    group.ledger(1).initialize_if_fresh().await.unwrap();
    for id in 1..=200 {
        group.record(id).await;
    }
    for id in [2, 3] {
        group.start(id, &[id]).await;
        group.ledger(1).add_learner(id, &group.addresses[&id]).await.unwrap();
    }
    group.ledger(1).change_membership([1, 2, 3].into()).await.unwrap();
    let voters = |ledger: &Ledger<Journal>| -> Vec<u64> {
        ledger.status().members.iter().filter(|member| member.votes).map(|member| member.node).collect()
    };
    assert_eq!(voters(&group.ledger(1)), [1, 2, 3]);
    assert_eq!(group.agreed().await.order.len(), 200);

    // The first node may go: the others have it all.
    group.ledger(1).change_membership([2, 3].into()).await.unwrap();
    group.stop(1).await;
    group.record(201).await;
    let leader = group.leader().await;
    assert_eq!(voters(&group.ledger(leader)), [2, 3]);
    let refused = group.ledger(leader).add_learner(1, &group.addresses[&1]).await.unwrap_err().to_string();
    assert!(refused.contains("never reused"), "{refused}");
    group.start(4, &[4]).await;
    group.ledger(leader).add_learner(4, &group.addresses[&4]).await.unwrap();
    group.ledger(leader).change_membership([2, 3, 4].into()).await.unwrap();
    group.record(202).await;
    assert_eq!(group.agreed().await.order.len(), 202);
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_and_a_mistaken_address_are_refused_at_the_door() {
    use slipway_proto::{auth::BearerToken, raft::raft_link_client::RaftLinkClient};
    use tonic::service::Interceptor as _;
    let mut group = Group::new(1, 5000).await;
    group.start(1, &[1]).await;
    let ask = async |token: Option<&str>, target: u64| {
        let mut client = RaftLinkClient::connect(format!("http://{}", group.addresses[&1])).await.unwrap();
        let vote = br#"{"vote":{"leader_id":{"term":9,"voted_for":2},"committed":false},"last_log_id":null}"#;
        let message = RaftRequest { source: 2, target, head_json: vote.to_vec(), entries: vec![], chunk: vec![] };
        let mut request = Request::new(message);
        if let Some(token) = token {
            let bearer = BearerToken::new(token).unwrap().call(Request::new(())).unwrap();
            *request.metadata_mut() = bearer.metadata().clone();
        }
        client.vote(request).await.map_err(|status| status.code())
    };
    assert_eq!(ask(None, 1).await.unwrap_err(), tonic::Code::Unauthenticated);
    assert_eq!(ask(Some("the-token-of-the-grouq"), 1).await.unwrap_err(), tonic::Code::Unauthenticated);
    assert_eq!(ask(Some(TOKEN), 7).await.unwrap_err(), tonic::Code::FailedPrecondition);
    assert_eq!(group.ledger(1).status().term, 0, "nothing of it reached the ledger");
    ask(Some(TOKEN), 1).await.unwrap();
    until("the right one is heard", || async {
        let status = group.ledger(1).status();
        if status.term == 9 { Ok(()) } else { Err(status) }
    })
    .await;
    group.end().await;
}
