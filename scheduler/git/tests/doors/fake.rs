//! The platform and the object store as the doors see them, in memory, with the same semantics.

use slipway_git::PackStore;
use slipway_model::ids::{PackId, ProjectId};
use slipway_proto::api::platform_server::{Platform, PlatformServer};
use slipway_proto::api::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

pub const NODE_TOKEN: &str = "node-secret";
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// The ledger's part, and the knobs of the tests.
#[derive(Default)]
pub struct Ledger {
    pub refs: BTreeMap<String, String>,
    pub packs: Vec<PackRef>,
    pub recorded: Vec<RecordPushRequest>,
    pub keys: HashMap<String, Principal>,
    pub tokens: HashMap<String, Principal>,
    pub context: PushContext,
    pub push_bytes_max: u64,
    /// What every activity says, after its heading.
    pub lines: Vec<LogRecord>,
    /// Each stream of a log breaks after so many records.
    pub stream_breaks_after: Option<usize>,
    /// Logs stop before their last line until this is set and `released` rings.
    pub held: bool,
    pub streams: usize,
}

#[derive(Clone, Default)]
pub struct FakePlatform {
    pub ledger: Arc<Mutex<Ledger>>,
    pub released: Arc<Notify>,
}

impl FakePlatform {
    pub async fn serve(&self) -> tonic::transport::Channel {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(PlatformServer::new(self.clone())).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }

    fn of_node<T>(request: &Request<T>) -> Result<(), Status> {
        match slipway_proto::auth::bearer(request) {
            Some(NODE_TOKEN) => Ok(()),
            _ => Err(Status::unauthenticated("not one of us")),
        }
    }
}

macro_rules! absent {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {
        #[tonic::async_trait]
        impl Platform for FakePlatform {
            type FollowLogStream = ReceiverStream<Result<LogRecord, Status>>;
            async fn follow_log(&self, request: Request<FollowLogRequest>) -> Result<Response<Self::FollowLogStream>, Status> {
                Self::of_node(&request)?;
                Ok(Response::new(self.log(request.into_inner())))
            }
            async fn who_am_i(&self, request: Request<Empty>) -> Result<Response<Principal>, Status> {
                Self::of_node(&request)?;
                Ok(Response::new(Principal { user: "node:test".into(), ..Default::default() }))
            }
            async fn authenticate_key(&self, request: Request<AuthenticateKeyRequest>) -> Result<Response<Principal>, Status> {
                Self::of_node(&request)?;
                let line = request.into_inner().public_key;
                let key: Vec<&str> = line.split(' ').take(2).collect();
                let found = self.ledger.lock().unwrap().keys.get(&key.join(" ")).cloned();
                found.map(Response::new).ok_or_else(|| Status::unauthenticated("no such key"))
            }
            async fn authenticate_token(&self, request: Request<AuthenticateTokenRequest>) -> Result<Response<Principal>, Status> {
                Self::of_node(&request)?;
                let found = self.ledger.lock().unwrap().tokens.get(&request.into_inner().token).cloned();
                found.map(Response::new).ok_or_else(|| Status::unauthenticated("no such token"))
            }
            async fn get_repository(&self, request: Request<ProjectRequest>) -> Result<Response<Repository>, Status> {
                Self::of_node(&request)?;
                let project = request.into_inner().project;
                if project != "shop" {
                    return Err(Status::not_found("no such project"));
                }
                let ledger = self.ledger.lock().unwrap();
                Ok(Response::new(Repository {
                    project,
                    default_branch: "main".into(),
                    refs: ledger.refs.iter().map(|(name, commit)| Ref { name: name.clone(), commit: commit.clone() }).collect(),
                    packs: ledger.packs.clone(),
                    pack_generation: 1,
                    push_bytes_max: ledger.push_bytes_max,
                }))
            }
            async fn prepare_push(&self, request: Request<PreparePushRequest>) -> Result<Response<PushContext>, Status> {
                Self::of_node(&request)?;
                Ok(Response::new(self.ledger.lock().unwrap().context.clone()))
            }
            async fn record_push(&self, request: Request<RecordPushRequest>) -> Result<Response<RecordPushReply>, Status> {
                Self::of_node(&request)?;
                Ok(Response::new(self.record(request.into_inner())))
            }
            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$answer>, Status> {
                Err(Status::unimplemented("the doors do not ask for this"))
            })*
        }
    };
}

absent! {
    create_project(CreateProjectRequest) -> Project;
    list_projects(Empty) -> ProjectList;
    get_project(ProjectRequest) -> Project;
    update_project(UpdateProjectRequest) -> Project;
    delete_project(ProjectRequest) -> Empty;
    grant_access(GrantAccessRequest) -> Empty;
    add_key(AddKeyRequest) -> Key;
    list_keys(Empty) -> KeyList;
    remove_key(IdRequest) -> Empty;
    create_token(CreateTokenRequest) -> Token;
    list_tokens(Empty) -> TokenList;
    revoke_token(IdRequest) -> Empty;
    list_variables(VariableScope) -> VariableList;
    set_variable(SetVariableRequest) -> ActivityRef;
    delete_variable(DeleteVariableRequest) -> ActivityRef;
    list_environments(ProjectRequest) -> EnvironmentList;
    get_environment(EnvironmentRequest) -> Environment;
    activate_environment(EnvironmentRequest) -> ActivityRef;
    deactivate_environment(EnvironmentRequest) -> ActivityRef;
    delete_environment(EnvironmentRequest) -> ActivityRef;
    redeploy_environment(EnvironmentRequest) -> ActivityRef;
    rollback(RollbackRequest) -> ActivityRef;
    list_releases(EnvironmentRequest) -> ReleaseList;
    list_activities(ListActivitiesRequest) -> ActivityList;
    get_activity(ActivityRequest) -> Activity;
    cancel_activity(ActivityRequest) -> Activity;
    list_nodes(Empty) -> NodeList;
    drain_worker(IdRequest) -> Empty;
    counters(Empty) -> CounterList;
}

impl FakePlatform {
    /// All refs or none, each compared with what it was.
    fn record(&self, request: RecordPushRequest) -> RecordPushReply {
        let mut ledger = self.ledger.lock().unwrap();
        if ledger.recorded.iter().any(|known| known.push_id == request.push_id) {
            return RecordPushReply::default();
        }
        let moved = request.updates.iter().filter(|update| ledger.refs.get(&update.name).map_or(ZERO, String::as_str) != update.old);
        let refused: Vec<String> = moved.map(|update| format!("{} fetch first", update.name)).collect();
        if !refused.is_empty() {
            return RecordPushReply { refused, ..Default::default() };
        }
        let mut reply = RecordPushReply::default();
        for update in &request.updates {
            if update.new == ZERO {
                ledger.refs.remove(&update.name);
            } else {
                ledger.refs.insert(update.name.clone(), update.new.clone());
            }
            let branch = update.name.trim_start_matches("refs/heads/");
            if branch == "main" && update.new != ZERO {
                reply.activities.push(ActivityRef { activity: format!("act-{}", ledger.recorded.len()), note: String::new() });
            } else {
                reply.notes.push(format!("Environment {branch} is inactive."));
            }
        }
        ledger.packs.extend(request.packs.clone());
        ledger.recorded.push(request);
        reply
    }

    fn log(&self, request: FollowLogRequest) -> ReceiverStream<Result<LogRecord, Status>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let platform = self.clone();
        let breaks_after = {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.streams += 1;
            ledger.stream_breaks_after
        };
        tokio::spawn(async move {
            let mut seq = request.from_seq;
            let mut sent = 0;
            loop {
                let released = platform.released.notified();
                let (record, held) = {
                    let ledger = platform.ledger.lock().unwrap();
                    let text = |text: String| LogRecord { level: "info".into(), text, ..Default::default() };
                    let record = match seq {
                        0 => text("Processing activity: **Ada** pushed to **main**".into()),
                        seq if (seq as usize) <= ledger.lines.len() => ledger.lines[seq as usize - 1].clone(),
                        _ => LogRecord { seal: true, ..Default::default() },
                    };
                    (LogRecord { seq, ..record }, ledger.held && seq as usize > ledger.lines.len().saturating_sub(1))
                };
                if held {
                    released.await;
                    continue;
                }
                let seal = record.seal;
                if sender.send(Ok(record)).await.is_err() || seal {
                    return;
                }
                seq += 1;
                sent += 1;
                if Some(sent) == breaks_after {
                    let _ = sender.send(Err(Status::unavailable("the leader has changed"))).await;
                    return;
                }
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// An object store that can be away.
#[derive(Default)]
pub struct FakeStore {
    pub packs: Mutex<HashMap<String, Vec<u8>>>,
    pub away: std::sync::atomic::AtomicBool,
}

impl FakeStore {
    fn answer(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.away.load(std::sync::atomic::Ordering::SeqCst), "connection refused");
        Ok(())
    }
}

impl PackStore for FakeStore {
    fn put<'a>(&'a self, _: &'a ProjectId, pack: &'a Path) -> futures::future::BoxFuture<'a, anyhow::Result<PackRef>> {
        Box::pin(async move {
            self.answer()?;
            let bytes = std::fs::read(pack)?;
            let id = slipway_git_sha256(&bytes);
            let reference = PackRef { id: id.clone(), bytes: bytes.len() as u64 };
            self.packs.lock().unwrap().insert(id, bytes);
            Ok(reference)
        })
    }

    fn get<'a>(&'a self, _: &'a ProjectId, id: &'a PackId, to: &'a Path) -> futures::future::BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            self.answer()?;
            let bytes = self.packs.lock().unwrap().get(id.as_str()).cloned();
            std::fs::write(to, bytes.ok_or_else(|| anyhow::anyhow!("no such pack"))?)?;
            Ok(())
        })
    }
}

fn slipway_git_sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}
