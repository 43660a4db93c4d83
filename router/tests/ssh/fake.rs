//! A worker's Shell service that runs the local bash instead of one in a container.

use nix::pty::openpty;
use slipway_proto::worker::shell_server::{Shell, ShellServer};
use slipway_proto::worker::*;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub const NODE_TOKEN: &str = "node-secret";

/// What a test can see of the worker.
#[derive(Default)]
pub struct Seen {
    pub opens: Vec<ShellOpen>,
    pub resizes: Vec<(u32, u32)>,
    pub signals: Vec<u32>,
    /// Lines that have ended on the worker's side.
    pub ended: usize,
}

#[derive(Clone)]
pub struct FakeWorker {
    pub seen: Arc<Mutex<Seen>>,
    /// Where `database.internal` leads.
    pub database: SocketAddr,
    pub home: std::path::PathBuf,
}

impl FakeWorker {
    pub async fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(ShellServer::new(self)).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        address
    }
}

type Outputs = mpsc::Sender<Result<ShellOutput, Status>>;

fn out(output: shell_output::Output) -> Result<ShellOutput, Status> {
    Ok(ShellOutput { output: Some(output) })
}

#[tonic::async_trait]
impl Shell for FakeWorker {
    type OpenStream = ReceiverStream<Result<ShellOutput, Status>>;

    async fn open(&self, request: Request<Streaming<ShellInput>>) -> Result<Response<Self::OpenStream>, Status> {
        if slipway_proto::auth::bearer(&request) != Some(NODE_TOKEN) {
            return Err(Status::unauthenticated("not one of us"));
        }
        let mut inputs = request.into_inner();
        let Some(ShellInput { input: Some(shell_input::Input::Open(open)) }) = inputs.message().await? else {
            return Err(Status::invalid_argument("open comes first"));
        };
        self.seen.lock().unwrap().opens.push(open.clone());
        let (sender, receiver) = mpsc::channel(16);
        let worker = self.clone();
        tokio::spawn(async move {
            match open.what {
                Some(shell_open::What::Command(command)) => worker.command(command, inputs, sender).await,
                Some(shell_open::What::Tunnel(tunnel)) => worker.tunnel(tunnel, inputs, sender).await,
                None => {}
            }
            worker.seen.lock().unwrap().ended += 1;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl FakeWorker {
    async fn command(&self, wanted: ShellCommand, inputs: Streaming<ShellInput>, outputs: Outputs) {
        let mut arguments: Vec<String> = if wanted.sftp {
            vec!["/usr/lib/openssh/sftp-server".into()]
        } else if wanted.command.is_empty() {
            vec!["bash".into(), "--norc".into()]
        } else {
            vec!["bash".into(), "-c".into(), wanted.command.clone()]
        };
        let mut tty = None;
        let mut command;
        let (stdin, stdout, stderr): (Box<dyn AsyncWrite + Send + Unpin>, Box<dyn AsyncRead + Send + Unpin>, Option<_>);
        let mut child;
        if wanted.pty {
            let size = wanted.size.unwrap_or_default();
            let size = nix::pty::Winsize { ws_row: size.rows as u16, ws_col: size.columns as u16, ws_xpixel: 0, ws_ypixel: 0 };
            let pty = openpty(Some(&size), None).unwrap();
            tty = Some(nix::unistd::ttyname(&pty.slave).unwrap());
            arguments.splice(0..0, ["setsid".to_string(), "-c".into(), "-w".into()]);
            command = Command::new(&arguments[0]);
            command.stdin(pty.slave.try_clone().unwrap()).stdout(pty.slave.try_clone().unwrap()).stderr(pty.slave);
            child = command.args(&arguments[1..]).env("TERM", &wanted.term).current_dir(&self.home).kill_on_drop(true).spawn().unwrap();
            drop(command);
            let master = std::fs::File::from(pty.master);
            stdin = Box::new(tokio::fs::File::from_std(master.try_clone().unwrap()));
            stdout = Box::new(tokio::fs::File::from_std(master));
            stderr = None;
        } else {
            command = Command::new(&arguments[0]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            child = command.args(&arguments[1..]).env("TERM", &wanted.term).current_dir(&self.home).kill_on_drop(true).spawn().unwrap();
            stdin = Box::new(child.stdin.take().unwrap());
            stdout = Box::new(child.stdout.take().unwrap());
            stderr = child.stderr.take();
        }
        let pid = child.id();
        let seen = self.seen.clone();
        let mut feeding = tokio::spawn(feed(inputs, stdin, tty, pid, seen));
        let giving = tokio::spawn(give(stdout, outputs.clone(), false));
        let errors = stderr.map(|stderr| tokio::spawn(give(stderr, outputs.clone(), true)));
        let status = tokio::select! {
            status = child.wait() => status.unwrap(),
            // The router has let go: the command ends with it.
            Ok(true) = &mut feeding => return,
        };
        feeding.abort();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), giving).await;
        if let Some(errors) = errors {
            let _ = errors.await;
        }
        let _ = outputs.send(out(shell_output::Output::ExitCode(status.code().unwrap_or(255)))).await;
    }

    async fn tunnel(&self, wanted: Tunnel, inputs: Streaming<ShellInput>, outputs: Outputs) {
        if wanted.host != "database.internal" {
            let _ = outputs.send(out(shell_output::Output::Refused(format!("{} is no relationship", wanted.host)))).await;
            return;
        }
        let (read, write) = TcpStream::connect(self.database).await.unwrap().into_split();
        let feeding = tokio::spawn(feed(inputs, Box::new(write), None, None, self.seen.clone()));
        give(Box::new(read), outputs.clone(), false).await;
        feeding.abort();
        let _ = outputs.send(out(shell_output::Output::ExitCode(0))).await;
    }
}

/// True when the inputs ended without a closed stdin: the router is gone.
async fn feed(
    mut inputs: Streaming<ShellInput>,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    tty: Option<std::path::PathBuf>,
    pid: Option<u32>,
    seen: Arc<Mutex<Seen>>,
) -> bool {
    let mut stdin = Some(stdin);
    while let Ok(Some(input)) = inputs.message().await {
        match input.input {
            Some(shell_input::Input::Stdin(bytes)) => {
                if let Some(pipe) = &mut stdin
                    && (pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Some(shell_input::Input::StdinClosed(_)) => {
                if let Some(mut pipe) = stdin.take() {
                    let _ = pipe.shutdown().await;
                }
            }
            Some(shell_input::Input::Resize(size)) => {
                seen.lock().unwrap().resizes.push((size.columns, size.rows));
                if let Some(tty) = &tty {
                    let (columns, rows) = (size.columns.to_string(), size.rows.to_string());
                    Command::new("stty").arg("-F").arg(tty).args(["cols", &columns, "rows", &rows]).status().await.unwrap();
                }
            }
            Some(shell_input::Input::Signal(number)) => {
                seen.lock().unwrap().signals.push(number);
                if let Some(pid) = pid {
                    let signal = nix::sys::signal::Signal::try_from(number as i32).unwrap();
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal);
                }
            }
            Some(shell_input::Input::Open(_)) | None => {}
        }
    }
    true
}

async fn give(mut source: impl AsyncRead + Unpin, outputs: Outputs, is_stderr: bool) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match source.read(&mut buffer).await {
            // A terminal whose last process has gone answers with an error.
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let bytes = buffer[..count].to_vec();
                let output = if is_stderr { shell_output::Output::Stderr(bytes) } else { shell_output::Output::Stdout(bytes) };
                if outputs.send(out(output)).await.is_err() {
                    return;
                }
            }
        }
    }
}
