//! Raft between schedulers: openraft's messages over our own small gRPC service.
//!
//! openraft 0.9 has no pre-vote. A node that was cut off keeps standing for election and raises its term; when it comes
//! back, the others refuse it their votes while their leader's lease lasts, but its higher term makes the leader step
//! down, and one election follows. Nothing acknowledged is lost, and proposals wait about one election timeout
//! (`tests/ledger/group.rs` shows it). A removed node disturbs nobody: it lacks the entry that removed it, and nobody
//! votes for a shorter log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, BasicNode, Raft, Vote};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slipway_proto::MESSAGE_BYTES_MAX;
use slipway_proto::auth::{BearerToken, bearer};
use slipway_proto::raft::raft_link_client::RaftLinkClient;
use slipway_proto::raft::raft_link_server::RaftLink;
use slipway_proto::raft::{RaftReply, RaftRequest};
use slipway_raft_store::{LogId, SnapshotMeta, TypeConfig, decode_entry, encode_entry};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::Options;

/// Makes a connection to an address; it must not wait for the peer (`connect_lazy`).
pub type Dial = Arc<dyn Fn(&str) -> anyhow::Result<Channel> + Send + Sync>;

/// A peer that does not answer is tried again this soon: well before its followers lose patience.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// A connection attempt must not outlive several elections.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// HTTP/2 without TLS, for loopback and for networks that are private already.
pub fn plain_dial() -> Dial {
    Arc::new(|address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIME_MAX)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)));
        Ok(endpoint.connect_lazy())
    })
}

/// An append request without its entries.
#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: Vote<u64>,
    prev_log_id: Option<LogId>,
    leader_commit: Option<LogId>,
}

/// A piece of a snapshot without its bytes.
#[derive(Serialize, Deserialize)]
struct ChunkHead {
    vote: Vote<u64>,
    meta: SnapshotMeta,
    offset: u64,
    done: bool,
}

/// Makes the clients to the peers.
pub(super) struct Peers {
    source: u64,
    addresses: BTreeMap<u64, String>,
    token: Option<String>,
    dial: Dial,
}

impl Peers {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            source: options.node_id,
            addresses: options.peers.clone(),
            token: options.token.clone(),
            dial: options.dial.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        let address = self.addresses.get(&target).unwrap_or(&node.addr);
        let connect = || -> anyhow::Result<Client> {
            let token = self.token.as_deref().map(BearerToken::new).transpose().map_err(anyhow::Error::msg)?;
            let client = RaftLinkClient::with_interceptor((self.dial)(address)?, Bearer(token));
            Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
        };
        // An address that cannot be dialled is a peer that is not reached: openraft has no other word for it.
        let client = connect().map_err(|e| format!("cannot dial node {target} at {address}: {e:#}"));
        if let Err(error) = &client {
            tracing::warn!(error, "a peer of the ledger cannot be reached");
        }
        Peer { source: self.source, target, client }
    }
}

#[derive(Clone)]
struct Bearer(Option<BearerToken>);

impl Interceptor for Bearer {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match &mut self.0 {
            Some(token) => token.call(request),
            None => Ok(request),
        }
    }
}

type Client = RaftLinkClient<InterceptedService<Channel, Bearer>>;

/// The way to one peer.
pub(super) struct Peer {
    source: u64,
    target: u64,
    client: Result<Client, String>,
}

enum Call {
    Append,
    Vote,
    InstallSnapshot,
}

type Failure<E> = RPCError<u64, BasicNode, E>;

impl Peer {
    async fn call<T, E>(
        &mut self,
        call: Call,
        head: &impl Serialize,
        entries: Vec<Vec<u8>>,
        chunk: Vec<u8>,
    ) -> Result<T, Failure<E>>
    where
        T: DeserializeOwned,
        E: DeserializeOwned + std::error::Error,
    {
        let client = match &mut self.client {
            Ok(client) => client,
            Err(error) => return Err(Unreachable::new(&AnyError::error(error.clone())).into()),
        };
        let head_json = serde_json::to_vec(head).map_err(|e| NetworkError::new(&e))?;
        let request = RaftRequest { source: self.source, target: self.target, head_json, entries, chunk };
        let answered = match call {
            Call::Append => client.append(request).await,
            Call::Vote => client.vote(request).await,
            Call::InstallSnapshot => client.install_snapshot(request).await,
        };
        let reply = answered.map_err(|status| match status.code() {
            tonic::Code::Unavailable | tonic::Code::Unauthenticated | tonic::Code::FailedPrecondition => {
                RPCError::Unreachable(Unreachable::new(&status))
            }
            _ => RPCError::Network(NetworkError::new(&status)),
        })?;
        let result: Result<T, E> =
            serde_json::from_slice(&reply.into_inner().result_json).map_err(|e| NetworkError::new(&e))?;
        result.map_err(|e| RemoteError::new(self.target, e).into())
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure<RaftError<u64>>> {
        let AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = request;
        let entries = entries.iter().map(encode_entry).collect();
        self.call(Call::Append, &AppendHead { vote, prev_log_id, leader_commit }, entries, Vec::new()).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<RaftError<u64, InstallSnapshotError>>> {
        let InstallSnapshotRequest { vote, meta, offset, data, done } = request;
        self.call(Call::InstallSnapshot, &ChunkHead { vote, meta, offset, done }, Vec::new(), data).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure<RaftError<u64>>> {
        self.call(Call::Vote, &request, Vec::new(), Vec::new()).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_INTERVAL))
    }
}

/// The serving side: one node's door to its peers.
#[derive(Clone)]
pub struct RaftDoor {
    raft: Raft<TypeConfig>,
    node_id: u64,
    token: Option<Arc<str>>,
}

impl RaftDoor {
    pub(super) fn new(raft: Raft<TypeConfig>, options: &Options) -> Self {
        Self { raft, node_id: options.node_id, token: options.token.as_deref().map(Into::into) }
    }

    fn enter(&self, request: Request<RaftRequest>) -> Result<RaftRequest, Status> {
        if let Some(token) = &self.token
            && !bearer(&request).is_some_and(|shown| same(shown.as_bytes(), token.as_bytes()))
        {
            return Err(Status::unauthenticated("the peer's token is not that of this group; give every scheduler the same"));
        }
        let request = request.into_inner();
        if request.target != self.node_id {
            return Err(Status::failed_precondition(format!(
                "node {} sent this to node {}, and here is node {}: correct its address of that node",
                request.source, request.target, self.node_id
            )));
        }
        Ok(request)
    }
}

/// Compares in a time that does not tell how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (x, y)| different | (x ^ y)) == 0
}

fn head<T: DeserializeOwned>(json: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|e| Status::invalid_argument(format!("the head of the message: {e}")))
}

fn reply<T: Serialize, E: Serialize>(result: Result<T, E>) -> Result<Response<RaftReply>, Status> {
    let result_json = serde_json::to_vec(&result).map_err(|e| Status::internal(format!("write the reply: {e}")))?;
    Ok(Response::new(RaftReply { result_json }))
}

#[tonic::async_trait]
impl RaftLink for RaftDoor {
    async fn append(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = self.enter(request)?;
        let AppendHead { vote, prev_log_id, leader_commit } = head(&request.head_json)?;
        let entries = request.entries.iter().map(|bytes| decode_entry(bytes)).collect::<Result<_, _>>();
        let entries = entries.map_err(|e| Status::invalid_argument(format!("an entry of the log: {e}")))?;
        reply(self.raft.append_entries(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }).await)
    }

    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = self.enter(request)?;
        reply(self.raft.vote(head(&request.head_json)?).await)
    }

    async fn install_snapshot(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = self.enter(request)?;
        let ChunkHead { vote, meta, offset, done } = head(&request.head_json)?;
        let chunk = InstallSnapshotRequest { vote, meta, offset, data: request.chunk, done };
        reply(self.raft.install_snapshot(chunk).await)
    }
}
