//! Containers over containerd: records, tasks and events; the root filesystem is mounted by us.

use super::cgroup::{self, Metrics};
use super::daemon::{Daemon, MESSAGE_BYTES_MAX};
use super::error::{Error, Result};
use super::logs::{self, Logs};
use super::places::Places;
use super::rootfs;
use super::spec;
use containerd_client::events::{TaskExit, TaskOom};
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateNamespaceRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest,
    GetContainerRequest, GetRequest, KillRequest, ListContainersRequest, ListPidsRequest, ListTasksRequest, Namespace,
    PauseTaskRequest, PublishRequest, ResumeTaskRequest, StartRequest, SubscribeRequest, WaitRequest, container::Runtime,
};
use prost_types::Any;
use sha2::{Digest, Sha256};
use slipway_model::instance::Limits;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// After SIGKILL the kernel may still write back pages; more than this is a broken machine.
const KILL_TIME_MAX: Duration = Duration::from_secs(30);
/// Events wait here for a slow reader; then the stream waits, and containerd buffers.
const EVENTS_QUEUED_MAX: usize = 1024;
/// The runtime: runc through containerd's shim.
const RUNTIME: &str = "io.containerd.runc.v2";
/// Label with the digest of what a container was made from.
const DIGEST_LABEL: &str = "slipway.spec";

/// What a container is made from.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The instance's or task's id; containerd takes letters, digits and single `-`, `_`, `.` between them, up to 76.
    pub id: String,
    /// Where we mounted its root filesystem; every parent directory must be searchable by others (see [`Places::mounts`]).
    pub rootfs: PathBuf,
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    pub hostname: String,
    /// In this order; their targets exist in the root filesystem.
    pub binds: Vec<Bind>,
    pub tmpfs: Vec<Tmpfs>,
    /// As [`super::Network::attach`] gave it, for the same `id_map_base`; without one the container has no network at all.
    pub netns: Option<PathBuf>,
    pub limits: Limits,
    /// Ids 0 to 65535 inside are these outside.
    pub id_map_base: u32,
    pub labels: BTreeMap<String, String>,
    pub readonly_rootfs: bool,
}

/// A directory or file of the host in a container; mount it idmapped first where its owner matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub from: PathBuf,
    /// Absolute path inside.
    pub to: String,
    pub readonly: bool,
}

/// Memory as a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path inside.
    pub path: String,
    pub size_mb: u64,
    /// Like `0o1777`.
    pub mode: u32,
    /// Owner, as seen inside.
    pub uid: u32,
    pub gid: u32,
}

/// How a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not known to containerd.
    Absent,
    /// It has a record and no process.
    Created,
    Running { pid: u32 },
    Paused { pid: u32 },
    /// Its first process ended; its task is kept until it is deleted.
    Stopped { exit_code: i32 },
}

/// What containerd told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process ended; `exec` is none for the container's first process.
    Exited { id: String, exec: Option<String>, exit_code: i32 },
    /// The kernel killed something in it because memory ran out.
    OutOfMemory { id: String },
}

/// The containers of one platform; a cheap handle.
#[derive(Debug, Clone)]
pub struct Containers {
    channel: Channel,
    pub(crate) places: Arc<Places>,
    namespace: tonic::metadata::MetadataValue<tonic::metadata::Ascii>,
    logs: Arc<Logs>,
}

impl Containers {
    /// Connect to the daemon; the connection mends itself when containerd was restarted.
    pub async fn connect(daemon: &Daemon) -> Result<Containers> {
        let socket = daemon.socket();
        let unreachable = |why: String| Error::Unreachable { socket: socket.clone(), why };
        let channel = containerd_client::connect(&socket).await.map_err(|e| unreachable(e.to_string()))?;
        let places = Arc::new(daemon.places().clone());
        let namespace = places.namespace().parse().map_err(|_| unreachable("the namespace is not ASCII".into()))?;
        let containers = Containers { channel, places, namespace, logs: Arc::default() };
        containers.make_namespace().await?;
        containers.adopt().await?;
        Ok(containers)
    }

    /// Record a container; nothing runs yet. The same specification again is fine, another one replaces a container without task.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let user_namespace = rootfs::pinned_user_namespace(&self.places, spec.id_map_base)?;
        let oci = spec::container(spec, &self.places.cgroup(), &user_namespace, cgroup::counts_swap()).to_string();
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&oci));
        let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
        labels.insert(DIGEST_LABEL.into(), digest.clone());
        let container = Container {
            id: spec.id.clone(),
            labels,
            runtime: Some(Runtime { name: RUNTIME.into(), options: None }),
            spec: Some(Any { type_url: spec::SPEC_TYPE.into(), value: oci.into_bytes() }),
            ..Default::default()
        };
        match self.create_record(container.clone()).await {
            Err(error) if error.is_present() => {}
            other => return other,
        }
        if self.record(&spec.id).await?.is_some_and(|known| known.labels.get(DIGEST_LABEL) == Some(&digest)) {
            return Ok(());
        }
        if self.status(&spec.id).await? != Status::Created {
            return Err(Error::Invalid(format!("container {} runs with another specification: stop it first", spec.id)));
        }
        self.delete(&spec.id).await?;
        self.create_record(container).await
    }

    /// Start its first process; output is appended to `log`. A running container is left alone, a stopped one starts again.
    pub async fn start(&self, id: &str, log: &Path) -> Result<()> {
        match self.status(id).await? {
            Status::Running { .. } | Status::Paused { .. } => return Ok(()),
            Status::Stopped { .. } => self.delete_task(id).await?,
            // A start that was interrupted leaves a task that was created and never started.
            Status::Created => self.delete_task(id).await?,
            Status::Absent => return Err(Error::Invalid(format!("container {id} does not exist: create it first"))),
        }
        let url = self.log_url(log)?;
        let request = CreateTaskRequest { container_id: id.into(), stdout: url.clone(), stderr: url, ..Default::default() };
        self.tasks().create(self.request(request)).await.map_err(Error::call(format!("create the process of {id}")))?;
        let request = StartRequest { container_id: id.into(), ..Default::default() };
        match self.tasks().start(self.request(request)).await {
            Ok(_) => Ok(()),
            Err(status) => {
                let _ = self.delete_task(id).await;
                Err(Error::call(format!("start {id}"))(status))
            }
        }
    }

    /// Send a signal to the first process, or to all. A process that is gone is no error.
    pub async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        self.signal(id, "", signal, all).await
    }

    /// Ask it to end, insist after `grace`, and forget the task. Its record stays, so that it starts again at once.
    pub async fn stop_and_delete_task(&self, id: &str, signal: i32, grace: Duration) -> Result<Option<i32>> {
        let mut status = self.status(id).await?;
        if matches!(status, Status::Paused { .. }) {
            self.resume(id).await?;
            status = self.status(id).await?;
        }
        if matches!(status, Status::Running { .. }) {
            self.kill(id, signal, false).await?;
            if tokio::time::timeout(grace, self.wait(id)).await.is_err() {
                self.kill(id, nix::libc::SIGKILL, true).await?;
                let late = |_| Error::Invalid(format!("container {id} did not end within {} s of SIGKILL", KILL_TIME_MAX.as_secs()));
                tokio::time::timeout(KILL_TIME_MAX, self.wait(id)).await.map_err(late)??;
            }
            status = self.status(id).await?;
        }
        self.delete_task(id).await?;
        Ok(match status {
            Status::Stopped { exit_code } => Some(exit_code),
            _ => None,
        })
    }

    /// Wait until its first process has ended.
    pub async fn wait(&self, id: &str) -> Result<i32> {
        self.wait_process(id, "").await
    }

    /// Forget a container without a running process.
    pub async fn delete(&self, id: &str) -> Result<()> {
        self.delete_task(id).await?;
        let request = DeleteContainerRequest { id: id.into() };
        absent_is_fine(self.records().delete(self.request(request)).await, format!("delete container {id}"))
    }

    /// Hold every process of it still, so that volumes are quiet while they are copied.
    pub async fn pause(&self, id: &str) -> Result<()> {
        let request = PauseTaskRequest { container_id: id.into() };
        self.tasks().pause(self.request(request)).await.map_err(Error::call(format!("pause {id}")))?;
        Ok(())
    }

    /// Let it go on.
    pub async fn resume(&self, id: &str) -> Result<()> {
        let request = ResumeTaskRequest { container_id: id.into() };
        self.tasks().resume(self.request(request)).await.map_err(Error::call(format!("resume {id}")))?;
        Ok(())
    }

    /// How it stands.
    pub async fn status(&self, id: &str) -> Result<Status> {
        match self.process(id, "").await? {
            Some(process) => Ok(task_status(process.status, process.pid, process.exit_status)),
            None if self.record(id).await?.is_some() => Ok(Status::Created),
            None => Ok(Status::Absent),
        }
    }

    /// All containers with their labels.
    pub async fn list(&self) -> Result<BTreeMap<String, (Status, BTreeMap<String, String>)>> {
        let records = self.records().list(self.request(ListContainersRequest::default())).await;
        let records = records.map_err(Error::call("list containers"))?.into_inner().containers;
        let tasks = self.tasks().list(self.request(ListTasksRequest::default())).await;
        let tasks = tasks.map_err(Error::call("list tasks"))?.into_inner().tasks;
        // The list names the container in `id`, a single reply in `container_id`.
        let tasks: HashMap<String, Status> =
            tasks.into_iter().map(|t| (t.id, task_status(t.status, t.pid, t.exit_status))).collect();
        let known = records.into_iter().map(|record| {
            let status = tasks.get(&record.id).copied().unwrap_or(Status::Created);
            (record.id, (status, record.labels.into_iter().collect()))
        });
        Ok(known.collect())
    }

    /// Processes in it, as the host numbers them.
    pub async fn pids(&self, id: &str) -> Result<Vec<u32>> {
        let request = ListPidsRequest { container_id: id.into() };
        let reply = self.tasks().list_pids(self.request(request)).await.map_err(Error::call(format!("list processes of {id}")))?;
        Ok(reply.into_inner().processes.into_iter().map(|process| process.pid).collect())
    }

    /// What it uses, from the control groups' files.
    pub fn metrics(&self, id: &str) -> Result<Metrics> {
        cgroup::metrics(Path::new("/sys/fs/cgroup"), &format!("{}/{id}", self.places.cgroup()))
    }

    /// Exits and memory kills from now on. The channel closes when containerd goes away: subscribe again and look at everything afresh.
    pub async fn events(&self) -> Result<mpsc::Receiver<Event>> {
        let filter = format!("namespace=={}", self.places.namespace());
        let request = SubscribeRequest { filters: vec![filter] };
        let mut client = EventsClient::new(self.channel.clone());
        // containerd answers a subscription only with its first event: we make one, so that we know that we hear.
        let mut stream = tokio::select! {
            reply = client.subscribe(request) => reply.map_err(Error::call("tell its events"))?.into_inner(),
            error = self.knock() => return Err(error),
        };
        let (send, receive) = mpsc::channel(EVENTS_QUEUED_MAX);
        tokio::spawn(async move {
            while let Ok(Some(envelope)) = stream.message().await {
                let Some(event) = envelope.event.as_ref().and_then(read_event) else { continue };
                if send.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok(receive)
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    /// Wrap a message with the namespace that containerd wants in the header.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }

    pub(crate) async fn signal(&self, id: &str, exec: &str, signal: i32, all: bool) -> Result<()> {
        let request = KillRequest { container_id: id.into(), exec_id: exec.into(), signal: signal as u32, all };
        absent_is_fine(self.tasks().kill(self.request(request)).await, format!("signal {id} {exec}"))
    }

    pub(crate) async fn wait_process(&self, id: &str, exec: &str) -> Result<i32> {
        loop {
            let request = WaitRequest { container_id: id.into(), exec_id: exec.into() };
            match self.tasks().wait(self.request(request)).await {
                Ok(reply) => return Ok(reply.into_inner().exit_status as i32),
                // containerd was restarted meanwhile; the process lives on in its shim.
                Err(status) if went_away(&status) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(status) => return Err(Error::call(format!("wait for {id} {exec}"))(status)),
            }
        }
    }

    pub(crate) async fn process(&self, id: &str, exec: &str) -> Result<Option<containerd_client::types::v1::Process>> {
        let request = GetRequest { container_id: id.into(), exec_id: exec.into() };
        match self.tasks().get(self.request(request)).await {
            Ok(reply) => Ok(reply.into_inner().process),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(Error::call(format!("look at {id} {exec}"))(status)),
        }
    }

    fn records(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Publish an event that means nothing, again and again; returns only when that fails.
    async fn knock(&self) -> Error {
        loop {
            let event = Any { type_url: "slipway.Knock".into(), value: vec![] };
            let request = PublishRequest { topic: "/slipway/knock".into(), event: Some(event) };
            if let Err(status) = EventsClient::new(self.channel.clone()).publish(self.request(request)).await {
                return Error::call("take an event")(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Watch the logs that exist, and end what a worker before us left behind.
    async fn adopt(&self) -> Result<()> {
        let tasks = self.tasks().list(self.request(ListTasksRequest::default())).await.map_err(Error::call("list tasks"))?;
        for task in tasks.into_inner().tasks {
            // The list leaves the outputs out; a look at each has them.
            // A task that cannot be looked at is the reconciler's trouble.
            let process = self.process(&task.id, "").await.ok().flatten();
            if let Some(log) = process.and_then(|p| p.stdout.strip_prefix("file://").map(PathBuf::from)) {
                self.logs.add(log);
            }
        }
        tokio::spawn(logs::watch(Arc::downgrade(&self.logs)));
        let containers = self.clone();
        tokio::spawn(async move {
            if let Err(error) = containers.end_abandoned().await {
                tracing::warn!(%error, "processes of a former worker could not be ended");
            }
        });
        Ok(())
    }

    /// `file:///path`, which the shim opens itself, so that output needs no worker; from now on its length is watched.
    pub(crate) fn log_url(&self, log: &Path) -> Result<String> {
        let url = logs::file_url(log)?;
        self.logs.add(log.to_path_buf());
        Ok(url)
    }

    async fn make_namespace(&self) -> Result<()> {
        let namespace = Namespace { name: self.places.namespace(), labels: HashMap::new() };
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        match NamespacesClient::new(self.channel.clone()).create(self.request(request)).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
            Err(status) => Err(Error::call("make our namespace")(status)),
        }
    }

    async fn create_record(&self, container: Container) -> Result<()> {
        let what = format!("create container {}", container.id);
        let request = CreateContainerRequest { container: Some(container) };
        self.records().create(self.request(request)).await.map_err(Error::call(what))?;
        Ok(())
    }

    async fn record(&self, id: &str) -> Result<Option<Container>> {
        match self.records().get(self.request(GetContainerRequest { id: id.into() })).await {
            Ok(reply) => Ok(reply.into_inner().container),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(Error::call(format!("look at container {id}"))(status)),
        }
    }

    async fn delete_task(&self, id: &str) -> Result<()> {
        let request = DeleteTaskRequest { container_id: id.into() };
        absent_is_fine(self.tasks().delete(self.request(request)).await, format!("delete the task of {id}"))
    }
}

/// The connection broke, not the request.
pub(crate) fn went_away(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unavailable | Code::Cancelled)
        || (status.code() == Code::Unknown && status.message().contains("transport"))
}

pub(crate) fn absent_is_fine<T>(reply: std::result::Result<T, tonic::Status>, what: String) -> Result<()> {
    match reply {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound || status.message().contains("process already finished") => Ok(()),
        Err(status) => Err(Error::call(what)(status)),
    }
}

pub(crate) fn task_status(status: i32, pid: u32, exit_status: u32) -> Status {
    use containerd_client::types::v1::Status as Task;
    match Task::try_from(status) {
        Ok(Task::Running) => Status::Running { pid },
        Ok(Task::Paused | Task::Pausing) => Status::Paused { pid },
        Ok(Task::Stopped) => Status::Stopped { exit_code: exit_status as i32 },
        _ => Status::Created,
    }
}

fn read_event(event: &Any) -> Option<Event> {
    fn decode<M: prost::Message + Default>(value: &[u8]) -> Option<M> {
        M::decode(value).ok()
    }
    if event.type_url.ends_with("TaskExit") {
        let exit: TaskExit = decode(&event.value)?;
        // The first process carries the container's own id.
        let exec = (exit.id != exit.container_id).then_some(exit.id);
        return Some(Event::Exited { id: exit.container_id, exec, exit_code: exit.exit_status as i32 });
    }
    if event.type_url.ends_with("TaskOOM") {
        let oom: TaskOom = decode(&event.value)?;
        return Some(Event::OutOfMemory { id: oom.container_id });
    }
    None
}
