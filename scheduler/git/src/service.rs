//! One run of `git upload-pack` or `git receive-pack` for one guest.

use crate::hook_socket::{self, HookSocket};
use crate::platform::Guest;
use crate::porter::{Porter, Refusal};
use crate::program;
use crate::receive::{Push, Pusher};
use crate::session::Session;
use slipway_model::ids::ProjectId;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::OwnedSemaphorePermit;

/// The two things that git asks a server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    pub fn program(self) -> &'static str {
        match self {
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
        }
    }

    pub fn parse(name: &str) -> Option<Service> {
        match name {
            "git-upload-pack" => Some(Service::UploadPack),
            "git-receive-pack" => Some(Service::ReceivePack),
            _ => None,
        }
    }
}

/// How the conversation is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One connection both ways.
    Stream,
    /// The refs only, for a later request.
    Advertise,
    /// One request, one answer.
    Stateless,
}

/// A request that has passed the door's own syntax.
pub struct Ask {
    pub guest: Guest,
    pub project: ProjectId,
    pub service: Service,
    pub shape: Shape,
    /// `GIT_PROTOCOL` as the client sent it.
    pub protocol: Option<String>,
    pub no_wait: bool,
}

/// A running git; dropping it ends the whole process group.
pub struct Running {
    child: Child,
    group: Option<u32>,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
    pub push: Option<Arc<Push>>,
    /// From here on the run is overdue, unless it is a push that has been recorded.
    pub deadline: tokio::time::Instant,
    pub idle_time_max: Duration,
    _hooks: Option<HookSocket>,
    _session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

/// `version=2` and its kin: what git clients send, and nothing that could mean more.
pub fn is_protocol(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"=:._-".contains(&b))
}

/// Admits the guest and starts git in a session of its own.
pub async fn start(porter: &Porter, ask: Ask) -> Result<Running, Refusal> {
    let permit = porter.session_permit()?;
    let (role, repository) = porter.admit(&ask.guest, &ask.project, ask.service).await?;
    let limits = &porter.limits;
    let push_bytes_max = match repository.push_bytes_max {
        0 => limits.push_bytes_max,
        project => project.min(limits.push_bytes_max),
    };
    let session = Session::open(
        &porter.sessions,
        &porter.packs,
        ask.project.clone(),
        repository,
        ask.service,
        &porter.hook_program,
        push_bytes_max,
    )
    .await
    .map_err(|error| porter.trouble("prepare the repository", &error))?;
    let session = Arc::new(session);

    let mut command = program::git(&session.git_dir());
    command.arg(ask.service.program());
    match ask.shape {
        Shape::Stream => {}
        Shape::Advertise => {
            command.args(["--stateless-rpc", "--http-backend-info-refs"]);
        }
        Shape::Stateless => {
            command.arg("--stateless-rpc");
        }
    }
    if ask.service == Service::UploadPack {
        command.args(["--strict", "--timeout=600"]);
    }
    command.arg(".");
    if let Some(protocol) = ask.protocol.filter(|text| is_protocol(text)) {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut push = None;
    let mut hooks = None;
    if ask.service == Service::ReceivePack && ask.shape != Shape::Advertise {
        let pusher = Pusher { project: ask.project, user: ask.guest.user, role, no_wait: ask.no_wait };
        let judge = Arc::new(Push::new(porter, session.clone(), pusher));
        let socket = hook_socket::serve(&session, judge.clone()).map_err(|error| porter.trouble("open the hook socket", &error))?;
        // Hooks run in the repository's folder; the relative path fits into a socket address everywhere.
        command.env(crate::hook::SOCKET_VARIABLE, "../hook.sock");
        push = Some(judge);
        hooks = Some(socket);
    }
    command.stdin(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| porter.trouble("start git", &error.into()))?;
    let time_max = if ask.service == Service::ReceivePack { limits.push_time_max } else { limits.fetch_time_max };
    Ok(Running {
        group: child.id(),
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        child,
        push,
        deadline: tokio::time::Instant::now() + time_max,
        idle_time_max: limits.idle_time_max,
        _hooks: hooks,
        _session: session,
        _permit: permit,
    })
}

impl Running {
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await;
        // Reaped: the number may belong to another process from now on.
        self.group = None;
        status
    }

    /// True when the run has to be ended; a recorded push may be watched for as long as it lasts.
    pub fn is_overdue(&self) -> bool {
        let recorded = self.push.as_ref().is_some_and(|push| push.is_recorded());
        !recorded && tokio::time::Instant::now() >= self.deadline
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        program::end_group(self.group);
    }
}
