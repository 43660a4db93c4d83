//! A platform in this process, as far as the console asks: a shop, its environments, and a log that grows.

use slipway_proto::api::platform_server::{Platform, PlatformServer};
use slipway_proto::api::*;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

pub const ADMIN: &str = "slt-admin";
pub const VIEWER: &str = "slt-viewer";
/// A name that would run if it were not text.
pub const HOSTILE: &str = "<script>alert('x')</script>";

/// What the tests change and look at.
#[derive(Clone)]
pub struct Fake {
    pub log: Arc<watch::Sender<Vec<LogRecord>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub async fn start() -> (Self, SocketAddr) {
        let fake = Self { log: Arc::new(watch::channel(Vec::new()).0), asked: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(PlatformServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (fake, address)
    }

    pub fn write(&self, level: &str, indent: u32, source: &str, text: &str) {
        self.log.send_modify(|log| {
            let seq = log.len() as u64;
            let unix_ms = 1_764_000_000_000 + seq as i64 * 350;
            log.push(LogRecord { seq, unix_ms, indent, level: level.into(), source: source.into(), text: text.into(), seal: false });
        });
    }

    pub fn seal(&self) {
        self.log.send_modify(|log| log.push(LogRecord { seq: log.len() as u64, level: "info".into(), seal: true, ..Default::default() }));
    }

    fn is_sealed(&self) -> bool {
        self.log.borrow().last().is_some_and(|record| record.seal)
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

fn user<T>(request: &Request<T>) -> Result<&'static str, Status> {
    match slipway_proto::auth::bearer(request) {
        Some(ADMIN) => Ok("ada"),
        Some(VIEWER) => Ok("vic"),
        _ => Err(Status::unauthenticated("the token is unknown or was revoked")),
    }
}

fn admin<T>(request: &Request<T>) -> Result<(), Status> {
    if user(request)? == "ada" { Ok(()) } else { Err(Status::permission_denied("this needs the role 'admin' in project 'shop'; yours is 'viewer'")) }
}

fn project(role: &str) -> Project {
    Project {
        id: "shop".into(),
        title: "The corner shop".into(),
        default_branch: "main".into(),
        flavour: "platform".into(),
        git_ssh_url: "ssh://shop@localhost:7022/shop.git".into(),
        git_http_url: "http://localhost:7080/shop.git".into(),
        created_at: "2026-11-20T10:00:00.000Z".into(),
        settings: HashMap::from([("plan_storage_mb".to_string(), "8192".to_string())]),
        role: role.into(),
    }
}

fn container(name: &str, kind: &str, r#type: &str, disk_mb: u64) -> Container {
    Container {
        name: name.into(),
        kind: kind.into(),
        r#type: r#type.into(),
        size: "S".into(),
        disk_mb,
        memory_mb: 84,
        state: if name == "queue" { "starting".into() } else { "ready".into() },
        worker: "one".into(),
        instance: format!("ins-{name}"),
        slug: if kind == "service" { String::new() } else { "sha256:4be01c9d2f6a7788".into() },
        image: "sha256:90aa1f3b11223344".into(),
        ..Default::default()
    }
}

fn environment(name: &str) -> Environment {
    let edge = |from: &str, name: &str, to: &str| RelationshipEdge { from: from.into(), name: name.into(), to: to.into(), endpoint: "mysql".into() };
    let mut e = Environment {
        project: "shop".into(),
        name: name.into(),
        machine_name: format!("{}-kmx3q2a", name.replace('/', "-")),
        r#type: "production".into(),
        status: "active".into(),
        head_commit: "2548c67f00112233445566778899aabbccddeeff".into(),
        release: "rel-7".into(),
        updated_at: "2026-11-24T20:48:34.123Z".into(),
        gate: "open".into(),
        ..Default::default()
    };
    if name != "main" {
        e.status = "inactive".into();
        e.r#type = "development".into();
        e.parent = "main".into();
        return e;
    }
    e.urls = vec!["https://main-kmx3q2a-shop.localhost:8443/".into(), "https://search.main-kmx3q2a-shop.localhost:8443/".into()];
    e.ssh_url = "ssh://shop-main-kmx3q2a--front@localhost:7023".into();
    e.routes = vec![
        "https://main-kmx3q2a-shop.localhost/ is served by application `front`".into(),
        "http://main-kmx3q2a-shop.localhost/ redirects to https://main-kmx3q2a-shop.localhost/".into(),
        "https://search.main-kmx3q2a-shop.localhost/ is served by application `search`".into(),
    ];
    e.containers = vec![
        container("front", "application", "php:8.2", 512),
        container("search", "application", "nodejs:22", 0),
        container("queue", "application", "python:3.11", 0),
        container("database", "service", "mariadb:10.11", 2048),
        container("cache", "service", "redis:7.0", 0),
        container("finder", "service", "elasticsearch:6.8", 1024),
    ];
    e.relationships = vec![
        edge("front", "db", "database"),
        edge("front", "cache", "cache"),
        edge("front", "search", "search"),
        edge("search", "finder", "finder"),
        edge("queue", "db", "database"),
    ];
    e
}

impl Fake {
    fn activity(&self, id: &str) -> Activity {
        let ended = id == "act-failed" || (id == "act-live" && self.is_sealed());
        let phase = |name: &str, ms: u64| PhaseTiming { name: name.into(), ms, note: String::new() };
        let build = |app: &str, reused: bool, ms: u64| BuildReport { app: app.into(), reused, slug: "sha256:4be01c9d2f6a7788".into(), worker: "one".into(), ms, bytes: 9_000_000, uploaded_bytes: 1_572_864, ..Default::default() };
        let mut a = Activity {
            id: id.into(),
            r#type: "environment.push".into(),
            project: "shop".into(),
            environment: "main".into(),
            user: "ada".into(),
            state: if ended { "complete".into() } else { "in_progress".into() },
            result: if ended { "success".into() } else { String::new() },
            created_at: "2026-11-24T20:48:30.000Z".into(),
            started_at: "2026-11-24T20:48:31.000Z".into(),
            completed_at: if ended { "2026-11-24T20:48:59.000Z".into() } else { String::new() },
            text: format!("ada pushed to main: A page for winter {HOSTILE}"),
            commit: "2548c67f00112233445566778899aabbccddeeff".into(),
            phases: vec![phase("validate", 41), phase("build", 18_204), phase("place", 612)],
            builds: vec![build("front", false, 18_204), build("search", true, 0), build("queue", true, 0)],
            ..Default::default()
        };
        if ended {
            a.release = "rel-7".into();
            a.urls = environment("main").urls;
            a.phases.extend([phase("freeze", 88), phase("hook", 1400), phase("flip", 12)]);
            a.freeze = Some(FreezeReport { freeze_ms: 1511, hook_ms: 1400, held: 23, rejected: 0, routers: 1, ..Default::default() });
        }
        if id == "act-failed" {
            a.result = "failure".into();
            a.failure = "The deploy hook of application 'front' ended with status 3; the old release serves on.".into();
            a.failed = vec![FailedInstance { name: "front".into(), exit_code: 3, log_tail: vec!["Migrating …".into(), "\u{1b}[31mSQLSTATE[42S02]\u{1b}[0m".into()], restored: "volumes, services and the old release".into(), undo_ms: 640 }];
        }
        a
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("the console does not ask this"))
}

#[tonic::async_trait]
impl Platform for Fake {
    async fn who_am_i(&self, request: Request<Empty>) -> Answer<Principal> {
        let user = user(&request)?;
        Ok(Response::new(Principal { user: user.into(), admin: user == "ada", roles: HashMap::new() }))
    }
    async fn list_projects(&self, request: Request<Empty>) -> Answer<ProjectList> {
        let projects = if user(&request)? == "ada" { vec![project("admin"), Project { id: "blog".into(), title: HOSTILE.into(), default_branch: "main".into(), role: "admin".into(), ..Default::default() }] } else { Vec::new() };
        Ok(Response::new(ProjectList { projects }))
    }
    async fn get_project(&self, request: Request<ProjectRequest>) -> Answer<Project> {
        let role = if user(&request)? == "ada" { "admin" } else { "viewer" };
        match request.get_ref().project.as_str() {
            "shop" => Ok(Response::new(project(role))),
            other => Err(Status::not_found(format!("there is no project '{other}', or it is not yours"))),
        }
    }
    async fn list_environments(&self, request: Request<ProjectRequest>) -> Answer<EnvironmentList> {
        user(&request)?;
        Ok(Response::new(EnvironmentList { environments: vec![environment("sprint/4"), environment("main")] }))
    }
    async fn get_environment(&self, request: Request<EnvironmentRequest>) -> Answer<Environment> {
        user(&request)?;
        Ok(Response::new(environment(&request.get_ref().environment)))
    }
    async fn list_releases(&self, request: Request<EnvironmentRequest>) -> Answer<ReleaseList> {
        user(&request)?;
        let release = |id: &str, current: bool, message: &str| Release { id: id.into(), current, kept: true, commit: "2548c67f00112233".into(), created_at: "2026-11-24T20:48:34.123Z".into(), message: message.into(), ..Default::default() };
        let releases = if request.get_ref().environment == "main" { vec![release("rel-7", true, "A page for winter"), release("rel-6", false, "A page for autumn")] } else { Vec::new() };
        Ok(Response::new(ReleaseList { releases }))
    }
    async fn list_activities(&self, request: Request<ListActivitiesRequest>) -> Answer<ActivityList> {
        user(&request)?;
        Ok(Response::new(ActivityList { activities: vec![self.activity("act-live"), self.activity("act-failed")] }))
    }
    async fn get_activity(&self, request: Request<ActivityRequest>) -> Answer<Activity> {
        user(&request)?;
        Ok(Response::new(self.activity(&request.get_ref().activity)))
    }
    type FollowLogStream = ReceiverStream<Result<LogRecord, Status>>;
    async fn follow_log(&self, request: Request<FollowLogRequest>) -> Answer<Self::FollowLogStream> {
        user(&request)?;
        let ask = request.into_inner();
        let mut log = self.log.subscribe();
        let (out, stream) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let mut next = usize::try_from(ask.from_seq).unwrap();
            loop {
                let fresh: Vec<LogRecord> = log.borrow_and_update().get(next..).map(<[_]>::to_vec).unwrap_or_default();
                for record in fresh {
                    next += 1;
                    let seal = record.seal;
                    if out.send(Ok(record)).await.is_err() || seal {
                        return;
                    }
                }
                if ask.no_follow {
                    return;
                }
                tokio::select! {
                    changed = log.changed() => if changed.is_err() { return },
                    () = out.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
    async fn cancel_activity(&self, request: Request<ActivityRequest>) -> Answer<Activity> {
        admin(&request)?;
        self.note(format!("cancel {}", request.get_ref().activity));
        Ok(Response::new(self.activity(&request.get_ref().activity)))
    }
    async fn activate_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        admin(&request)?;
        self.note(format!("activate {}", request.get_ref().environment));
        Ok(Response::new(ActivityRef { activity: String::new(), note: "It is active already.".into() }))
    }
    async fn redeploy_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        admin(&request)?;
        self.note(format!("redeploy {}", request.get_ref().environment));
        Ok(Response::new(ActivityRef { activity: "act-live".into(), note: String::new() }))
    }
    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<ActivityRef> {
        admin(&request)?;
        self.note(format!("rollback {} {}", request.get_ref().environment, request.get_ref().release));
        Ok(Response::new(ActivityRef { activity: "act-live".into(), note: String::new() }))
    }
    async fn list_nodes(&self, request: Request<Empty>) -> Answer<NodeList> {
        admin(&request)?;
        let node = |id: &str, role: &str, state: &str| Node { id: id.into(), role: role.into(), state: state.into(), address: "127.0.0.1:7070".into(), version: "0.1.0".into(), ..Default::default() };
        Ok(Response::new(NodeList { nodes: vec![node("scheduler-1", "scheduler", "leader"), node("one", "worker", "ready"), node("one", "router", "ready")] }))
    }
    async fn counters(&self, request: Request<Empty>) -> Answer<CounterList> {
        admin(&request)?;
        Ok(Response::new(CounterList { counters: vec![Counter { name: "builds".into(), value: 12 }, Counter { name: "flips".into(), value: 31 }] }))
    }

    async fn authenticate_key(&self, _: Request<AuthenticateKeyRequest>) -> Answer<Principal> { unasked() }
    async fn authenticate_token(&self, _: Request<AuthenticateTokenRequest>) -> Answer<Principal> { unasked() }
    async fn create_project(&self, _: Request<CreateProjectRequest>) -> Answer<Project> { unasked() }
    async fn update_project(&self, _: Request<UpdateProjectRequest>) -> Answer<Project> { unasked() }
    async fn delete_project(&self, _: Request<ProjectRequest>) -> Answer<Empty> { unasked() }
    async fn grant_access(&self, _: Request<GrantAccessRequest>) -> Answer<Empty> { unasked() }
    async fn add_key(&self, _: Request<AddKeyRequest>) -> Answer<Key> { unasked() }
    async fn list_keys(&self, _: Request<Empty>) -> Answer<KeyList> { unasked() }
    async fn remove_key(&self, _: Request<IdRequest>) -> Answer<Empty> { unasked() }
    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Answer<Token> { unasked() }
    async fn list_tokens(&self, _: Request<Empty>) -> Answer<TokenList> { unasked() }
    async fn revoke_token(&self, _: Request<IdRequest>) -> Answer<Empty> { unasked() }
    async fn list_variables(&self, _: Request<VariableScope>) -> Answer<VariableList> { unasked() }
    async fn set_variable(&self, _: Request<SetVariableRequest>) -> Answer<ActivityRef> { unasked() }
    async fn delete_variable(&self, _: Request<DeleteVariableRequest>) -> Answer<ActivityRef> { unasked() }
    async fn get_repository(&self, _: Request<ProjectRequest>) -> Answer<Repository> { unasked() }
    async fn prepare_push(&self, _: Request<PreparePushRequest>) -> Answer<PushContext> { unasked() }
    async fn record_push(&self, _: Request<RecordPushRequest>) -> Answer<RecordPushReply> { unasked() }
    async fn deactivate_environment(&self, _: Request<EnvironmentRequest>) -> Answer<ActivityRef> { unasked() }
    async fn delete_environment(&self, _: Request<EnvironmentRequest>) -> Answer<ActivityRef> { unasked() }
    async fn drain_worker(&self, _: Request<IdRequest>) -> Answer<Empty> { unasked() }
}
