//! Into a running container: shells, commands, sftp, tunnels. Served to the routers, for people.

use crate::machine::{Containers, Exec, ExecHandle, ExecInput};
use crate::room::{self, PRELUDE, Room, Rooms};
use slipway_proto::auth::bearer;
use slipway_proto::worker::shell_server::Shell;
use slipway_proto::worker::*;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Sessions and tunnels at once on one worker.
const SESSIONS_MAX: usize = 512;
/// Pieces that wait for a slow reader.
const PIECES_WAITING_MAX: usize = 16;
/// Bytes of one piece.
const PIECE_BYTES: usize = 32 << 10;
/// A relationship's service accepts at once, or not at all.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// What runs has this long to end once its client has gone.
const HANGUP_GRACE: Duration = Duration::from_secs(3);

/// The door.
pub struct ShellDoor {
    containers: Containers,
    rooms: Arc<dyn Rooms>,
    token: String,
    sessions: Arc<Semaphore>,
    number: AtomicU64,
}

type Out = mpsc::Sender<Result<ShellOutput, Status>>;

impl ShellDoor {
    pub fn new(containers: Containers, rooms: Arc<dyn Rooms>, token: String) -> Self {
        let started = crate::desk::unix_ms().unsigned_abs();
        Self { containers, rooms, token, sessions: Arc::new(Semaphore::new(SESSIONS_MAX)), number: AtomicU64::new(started) }
    }
}

#[tonic::async_trait]
impl Shell for ShellDoor {
    type OpenStream = ReceiverStream<Result<ShellOutput, Status>>;

    async fn open(&self, request: Request<Streaming<ShellInput>>) -> Result<Response<Self::OpenStream>, Status> {
        if bearer(&request) != Some(self.token.as_str()) {
            return Err(Status::unauthenticated("only the platform's routers open shells"));
        }
        let permit = self.sessions.clone().try_acquire_owned().map_err(|_| Status::resource_exhausted("too many sessions on this worker"))?;
        let mut input = request.into_inner();
        let Some(ShellInput { input: Some(shell_input::Input::Open(open)) }) = input.message().await? else {
            return Err(Status::invalid_argument("the first message opens"));
        };
        let (out, stream) = mpsc::channel(PIECES_WAITING_MAX);
        match self.rooms.enter(&open.instance) {
            Err(why) => refuse(&out, why).await,
            Ok(room) => {
                tracing::info!(instance = %open.instance, user = %open.user, "a session begins");
                match open.what {
                    Some(shell_open::What::Command(command)) => self.command(room, command, input, out, permit).await,
                    Some(shell_open::What::Tunnel(tunnel)) => {
                        tokio::spawn(self::tunnel(room, tunnel, input, out, permit));
                    }
                    None => refuse(&out, "nothing was asked for".into()).await,
                }
            }
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn refuse(out: &Out, why: String) {
    let _ = out.send(Ok(ShellOutput { output: Some(shell_output::Output::Refused(why)) })).await;
}

async fn say(out: &Out, output: shell_output::Output) -> bool {
    out.send(Ok(ShellOutput { output: Some(output) })).await.is_ok()
}

impl ShellDoor {
    async fn command(&self, room: Room, command: ShellCommand, input: Streaming<ShellInput>, out: Out, permit: OwnedSemaphorePermit) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let marker = format!("SLIPWAY_SESSION={number}");
        let args = if command.sftp {
            vec!["/usr/lib/openssh/sftp-server".to_string()]
        } else if command.command.is_empty() {
            vec!["/bin/bash".into(), "-c".into(), format!("{PRELUDE}exec /bin/bash -i")]
        } else {
            vec!["/bin/bash".into(), "-c".into(), format!("{PRELUDE}exec /bin/bash -c \"$1\""), "bash".into(), command.command.clone()]
        };
        let term: String = command.term.chars().filter(|c| c.is_ascii_alphanumeric() || "-._+".contains(*c)).take(40).collect();
        let mut spec = room::exec_spec(&room, args, &[marker.clone(), format!("TERM={}", if term.is_empty() { "dumb" } else { &term })]);
        if command.pty {
            let size = command.size.unwrap_or(WindowSize { columns: 80, rows: 24 });
            spec.pty = Some((clamp(size.columns, 80), clamp(size.rows, 24)));
        }
        match self.containers.exec(&room.container, &format!("shell-{number}"), &spec).await {
            Ok(exec) => {
                let session = Session { containers: self.containers.clone(), room, marker, out, _permit: permit };
                tokio::spawn(session.run(exec, input));
            }
            Err(error) => refuse(&out, format!("the container could not be entered: {error}")).await,
        }
    }
}

fn clamp(size: u32, default: u16) -> u16 {
    u16::try_from(size).ok().filter(|s| *s > 0).unwrap_or(default)
}

struct Session {
    containers: Containers,
    room: Room,
    marker: String,
    out: Out,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    async fn run(self, mut exec: Exec, input: Streaming<ShellInput>) {
        let stdout = exec.stdout.take().map(|pipe| tokio::spawn(copy(pipe, self.out.clone(), shell_output::Output::Stdout)));
        let stderr = exec.stderr.take().map(|pipe| tokio::spawn(copy(pipe, self.out.clone(), shell_output::Output::Stderr)));
        let handle = exec.handle();
        let feed = tokio::spawn(feed(input, exec.stdin.take(), handle.clone()));
        let code = tokio::select! {
            code = exec.wait() => code.ok(),
            () = self.out.closed() => None,
            () = self.room.sessions_end.cancelled() => {
                let bye = "\r\nThis release no longer serves: the session ends.\r\n";
                say(&self.out, shell_output::Output::Stderr(bye.into())).await;
                None
            }
        };
        feed.abort();
        if code.is_none() {
            self.hang_up(&handle).await;
        }
        for copy in [stdout, stderr].into_iter().flatten() {
            let _ = tokio::time::timeout(HANGUP_GRACE, copy).await;
        }
        say(&self.out, shell_output::Output::ExitCode(code.unwrap_or(255))).await;
    }

    /// As a terminal that is closed: SIGHUP, then SIGKILL, to whatever the session has started.
    async fn hang_up(&self, handle: &ExecHandle) {
        use nix::sys::signal::Signal;
        room::kill_marked(&self.containers, &self.room.container, &self.marker, Signal::SIGHUP).await;
        if tokio::time::timeout(HANGUP_GRACE, handle.wait()).await.is_err() {
            room::kill_marked(&self.containers, &self.room.container, &self.marker, Signal::SIGKILL).await;
            let _ = tokio::time::timeout(HANGUP_GRACE, handle.wait()).await;
        }
    }
}

async fn copy(mut pipe: impl tokio::io::AsyncRead + Unpin, out: Out, kind: fn(Vec<u8>) -> shell_output::Output) {
    let mut bytes = vec![0u8; PIECE_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut bytes).await {
        if !say(&out, kind(bytes[..count].to_vec())).await {
            return;
        }
    }
}

async fn feed(mut input: Streaming<ShellInput>, mut stdin: Option<ExecInput>, handle: ExecHandle) {
    use shell_input::Input;
    while let Ok(Some(message)) = input.message().await {
        match message.input {
            Some(Input::Stdin(bytes)) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Some(Input::StdinClosed(true)) => {
                if stdin.take().is_some() {
                    let _ = handle.close_stdin().await;
                }
            }
            Some(Input::Resize(size)) => {
                let _ = handle.resize(clamp(size.columns, 80), clamp(size.rows, 24)).await;
            }
            Some(Input::Signal(signal)) => {
                if let Ok(signal @ 1..=31) = i32::try_from(signal) {
                    let _ = handle.signal(signal).await;
                }
            }
            _ => {}
        }
    }
    if stdin.take().is_some() {
        let _ = handle.close_stdin().await;
    }
}

/// Bytes between the client and one of the instance's own relationships, dialled from inside its network.
async fn tunnel(room: Room, ask: Tunnel, mut input: Streaming<ShellInput>, out: Out, _permit: OwnedSemaphorePermit) {
    let allowed = room.links.iter().find(|link| {
        let named = link.name == ask.host || ask.host.parse::<IpAddr>().is_ok_and(|ip| ip == IpAddr::V4(link.address));
        named && u16::try_from(ask.port).is_ok_and(|port| link.ports.contains(&port))
    });
    let Some(link) = allowed else {
        let known: Vec<_> = room.links.iter().flat_map(|l| l.ports.iter().map(move |p| format!("{}:{p}", l.name))).collect();
        let known = if known.is_empty() { "it has none".to_string() } else { known.join(", ") };
        return refuse(&out, format!("only this application's relationships can be reached: {known}")).await;
    };
    let target = SocketAddr::from((link.address, ask.port as u16));
    let mut stream = match dial(room.netns.clone(), target).await {
        Ok(stream) => stream,
        Err(error) => return refuse(&out, format!("{}:{} does not answer: {error}", ask.host, ask.port)).await,
    };
    // An empty piece says that it is open.
    say(&out, shell_output::Output::Stdout(Vec::new())).await;
    let (reader, mut writer) = stream.split();
    let upward = copy(reader, out.clone(), shell_output::Output::Stdout);
    let downward = async {
        while let Ok(Some(message)) = input.message().await {
            match message.input {
                Some(shell_input::Input::Stdin(bytes)) => {
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Some(shell_input::Input::StdinClosed(true)) => {
                    let _ = writer.shutdown().await;
                }
                _ => {}
            }
        }
        let _ = writer.shutdown().await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(upward, downward) } => {}
        () = out.closed() => {}
        () = room.sessions_end.cancelled() => {}
    }
    say(&out, shell_output::Output::ExitCode(0)).await;
}

/// A connection made by a thread that has entered the network namespace; the socket stays in it.
async fn dial(netns: Option<std::path::PathBuf>, target: SocketAddr) -> std::io::Result<TcpStream> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("tunnel".into()).spawn(move || {
        let connect = || -> std::io::Result<std::net::TcpStream> {
            if let Some(path) = netns {
                let namespace = std::fs::File::open(path)?;
                nix::sched::setns(namespace.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)?;
            }
            std::net::TcpStream::connect_timeout(&target, CONNECT_TIME_MAX)
        };
        let _ = send.send(connect());
    })?;
    let stream = receive.await.map_err(|_| std::io::Error::other("the dialling thread died"))??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
