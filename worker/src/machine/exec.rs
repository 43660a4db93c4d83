//! Further processes in a container: attached through pipes, or detached with a log file.

use super::containers::{Containers, Status, absent_is_fine, task_status};
use super::daemon::start_time;
use super::error::{Error, Result};
use super::spec;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, ResizePtyRequest, StartRequest,
};
use prost_types::Any;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe;

/// A child that was left behind may hold the output open for ever; no longer than this is it waited for.
const OUTPUT_TIME_MAX: Duration = Duration::from_secs(2);

/// What the process writes, until it and its children have closed it.
pub type ExecOutput = pipe::Receiver;
/// What it reads.
pub type ExecInput = pipe::Sender;

/// A process to run in a running container.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    pub args: Vec<String>,
    /// `NAME=value`; nothing is inherited from the container.
    pub env: Vec<String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// Columns and rows: it gets a terminal.
    pub pty: Option<(u16, u16)>,
}

/// A running process with its pipes; it is killed when this is dropped before it was awaited.
#[derive(Debug)]
pub struct Exec {
    /// None after [`Exec::close_stdin`].
    pub stdin: Option<ExecInput>,
    pub stdout: Option<ExecOutput>,
    /// None with a terminal: all comes on `stdout`.
    pub stderr: Option<ExecOutput>,
    handle: ExecHandle,
}

/// Commands to a running process, apart from its pipes; a cheap clone.
#[derive(Debug, Clone)]
pub struct ExecHandle {
    containers: Containers,
    id: String,
    exec_id: String,
    pipes: PathBuf,
    ended: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Containers {
    /// Run a process in a running container and talk to it. `exec_id` is the caller's, once per container.
    pub async fn exec(&self, id: &str, exec_id: &str, spec: &ExecSpec) -> Result<Exec> {
        let pipes = self.own_pipes().join(id);
        std::fs::create_dir_all(&pipes).map_err(Error::io("make", &pipes))?;
        let pipes = pipes.join(exec_id);
        let (input, output, errors) = (pipe_path(&pipes, "in"), pipe_path(&pipes, "out"), pipe_path(&pipes, "err"));
        let result = async {
            let stdin = make_pipe(&input)?;
            let stdout = make_pipe(&output)?;
            let stderr = if spec.pty.is_none() { Some(make_pipe(&errors)?) } else { None };
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let request = ExecProcessRequest {
                container_id: id.into(),
                stdin: text(&input),
                stdout: text(&output),
                stderr: if spec.pty.is_none() { text(&errors) } else { String::new() },
                terminal: spec.pty.is_some(),
                spec: Some(process(spec)),
                exec_id: exec_id.into(),
            };
            self.launch(request).await?;
            Ok::<_, Error>((stdin, stdout, stderr))
        };
        let handle = ExecHandle {
            containers: self.clone(),
            id: id.into(),
            exec_id: exec_id.into(),
            pipes: pipes.clone(),
            ended: Default::default(),
        };
        let (stdin, stdout, stderr) = match result.await {
            Ok(pipes) => pipes,
            Err(error) => {
                handle.remove_pipes();
                return Err(error);
            }
        };
        // The shim holds its ends now; ours of the wrong direction would hide the end of the stream.
        let reopen = |pipe: Pipe| pipe.into_receiver();
        Ok(Exec {
            stdin: Some(stdin.into_sender()?),
            stdout: Some(reopen(stdout)?),
            stderr: stderr.map(reopen).transpose()?,
            handle,
        })
    }

    /// Run a process whose output is appended to `log`; it needs no worker to go on. Asked again, the running one is kept.
    pub async fn exec_detached(&self, id: &str, exec_id: &str, spec: &ExecSpec, log: &Path) -> Result<()> {
        let url = self.log_url(log)?;
        match self.exec_status(id, exec_id).await? {
            Status::Absent => {}
            Status::Created => self.exec_delete(id, exec_id).await?,
            _ => return Ok(()),
        }
        let request = ExecProcessRequest {
            container_id: id.into(),
            stdout: url.clone(),
            stderr: if spec.pty.is_none() { url } else { String::new() },
            terminal: spec.pty.is_some(),
            spec: Some(process(spec)),
            exec_id: exec_id.into(),
            ..Default::default()
        };
        self.launch(request).await
    }

    /// End attached processes whose worker died: nobody reads them any more, and they would wait on full pipes for ever.
    pub(crate) async fn end_abandoned(&self) -> Result<()> {
        for worker in directories(&self.places.pipes()) {
            let owner = worker.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
            let alive = owner.and_then(|(pid, began)| Some(start_time(pid.parse().ok()?)? == began.parse::<u64>().ok()?));
            if alive == Some(true) {
                continue;
            }
            for container in directories(&worker) {
                let Some(id) = container.file_name().and_then(|name| name.to_str()) else { continue };
                for pipe in std::fs::read_dir(&container).into_iter().flatten().flatten() {
                    let Ok(name) = pipe.file_name().into_string() else { continue };
                    let Some(exec_id) = name.strip_suffix(".in") else { continue };
                    self.exec_signal(id, exec_id, nix::libc::SIGKILL).await?;
                    if self.exec_status(id, exec_id).await? != Status::Absent {
                        self.exec_wait(id, exec_id).await?;
                        self.exec_delete(id, exec_id).await?;
                        tracing::info!(container = id, process = exec_id, "an abandoned process was ended");
                    }
                }
            }
            std::fs::remove_dir_all(&worker).map_err(Error::io("remove", &worker))?;
        }
        Ok(())
    }

    /// Pipes of this process of ours.
    fn own_pipes(&self) -> PathBuf {
        let pid = std::process::id();
        self.places.pipes().join(format!("{pid}.{}", start_time(pid).unwrap_or(0)))
    }

    /// How a process stands; the answer is kept until [`Containers::exec_delete`].
    /// A detached one counts as running until its last output is in its log.
    pub async fn exec_status(&self, id: &str, exec_id: &str) -> Result<Status> {
        let Some(process) = self.process(id, exec_id).await? else { return Ok(Status::Absent) };
        let status = task_status(process.status, process.pid, process.exit_status);
        let log = process.stdout.strip_prefix("file://");
        if let (Status::Stopped { .. }, Some(log)) = (status, log)
            && process.exited_at.is_some_and(|at| is_recent(&at))
            && self.shim_writes(id, Path::new(log)).await?
        {
            return Ok(Status::Running { pid: process.pid });
        }
        Ok(status)
    }

    /// Wait until it has ended, and its output is written.
    pub async fn exec_wait(&self, id: &str, exec_id: &str) -> Result<i32> {
        let code = self.wait_process(id, exec_id).await?;
        while matches!(self.exec_status(id, exec_id).await?, Status::Running { .. }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(code)
    }

    /// The shim, parent of the container's first process, holds a log open while it copies into it.
    async fn shim_writes(&self, id: &str, log: &Path) -> Result<bool> {
        let Some(first) = self.process(id, "").await? else { return Ok(false) };
        let status = std::fs::read_to_string(format!("/proc/{}/status", first.pid)).unwrap_or_default();
        let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
        let open = shim.and_then(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok()).into_iter().flatten().flatten();
        Ok(open.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == log)))
    }

    /// Send it a signal; one that is gone is no error.
    pub async fn exec_signal(&self, id: &str, exec_id: &str, signal: i32) -> Result<()> {
        self.signal(id, exec_id, signal, false).await
    }

    /// Forget an ended process.
    pub async fn exec_delete(&self, id: &str, exec_id: &str) -> Result<()> {
        let request = DeleteProcessRequest { container_id: id.into(), exec_id: exec_id.into() };
        absent_is_fine(self.tasks().delete_process(self.request(request)).await, format!("forget {id} {exec_id}"))
    }

    async fn launch(&self, request: ExecProcessRequest) -> Result<()> {
        let (id, exec_id) = (request.container_id.clone(), request.exec_id.clone());
        let made = self.tasks().exec(self.request(request)).await;
        made.map_err(Error::call(format!("prepare {exec_id} in {id}")))?;
        let start = StartRequest { container_id: id.clone(), exec_id: exec_id.clone() };
        if let Err(status) = self.tasks().start(self.request(start)).await {
            let _ = self.exec_delete(&id, &exec_id).await;
            return Err(Error::call(format!("start {exec_id} in {id}"))(status));
        }
        Ok(())
    }
}

impl Exec {
    /// Wait until it has ended, and forget it. Read the outputs at the same time, or it may wait for you.
    pub async fn wait(&mut self) -> Result<i32> {
        self.handle.wait().await
    }

    /// Send it a signal.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        self.handle.signal(signal).await
    }

    /// The terminal's window changed.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        self.handle.resize(columns, rows).await
    }

    /// Tell it that no more input comes.
    pub async fn close_stdin(&mut self) -> Result<()> {
        self.stdin = None;
        self.handle.close_stdin().await
    }

    /// For a task that commands it while others hold its pipes.
    pub fn handle(&self) -> ExecHandle {
        self.handle.clone()
    }
}

impl ExecHandle {
    /// See [`Exec::wait`].
    pub async fn wait(&self) -> Result<i32> {
        let code = self.containers.wait_process(&self.id, &self.exec_id).await?;
        self.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        self.containers.exec_delete(&self.id, &self.exec_id).await?;
        self.remove_pipes();
        Ok(code)
    }

    /// See [`Exec::signal`].
    pub async fn signal(&self, signal: i32) -> Result<()> {
        self.containers.exec_signal(&self.id, &self.exec_id, signal).await
    }

    /// See [`Exec::resize`].
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let request = ResizePtyRequest {
            container_id: self.id.clone(),
            exec_id: self.exec_id.clone(),
            width: columns.into(),
            height: rows.into(),
        };
        absent_is_fine(self.containers.tasks().resize_pty(self.containers.request(request)).await, "resize a terminal".into())
    }

    /// The shim holds the pipe open on purpose; it lets go when told. Drop the sender too.
    pub async fn close_stdin(&self) -> Result<()> {
        let request = CloseIoRequest { container_id: self.id.clone(), exec_id: self.exec_id.clone(), stdin: true };
        absent_is_fine(self.containers.tasks().close_io(self.containers.request(request)).await, "close an input".into())
    }

    fn remove_pipes(&self) {
        for end in ["in", "out", "err"] {
            let _ = std::fs::remove_file(pipe_path(&self.pipes, end));
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        if handle.ended.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = handle.signal(nix::libc::SIGKILL).await;
                let _ = handle.wait().await;
            });
        }
    }
}

fn directories(parent: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir())
}

fn is_recent(moment: &prost_types::Timestamp) -> bool {
    let Ok(moment) = std::time::SystemTime::try_from(*moment) else { return false };
    moment.elapsed().is_ok_and(|age| age < OUTPUT_TIME_MAX)
}

fn pipe_path(stem: &Path, end: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(".");
    path.push(end);
    path.into()
}

fn process(spec: &ExecSpec) -> Any {
    Any { type_url: spec::PROCESS_TYPE.into(), value: spec::exec(spec).to_string().into_bytes() }
}

/// A named pipe, held open in both directions until the shim has opened its ends.
struct Pipe {
    path: PathBuf,
    both: pipe::Receiver,
}

fn make_pipe(path: &Path) -> Result<Pipe> {
    let _ = std::fs::remove_file(path);
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).map_err(|e| Error::io("make pipe", path)(e.into()))?;
    let both = pipe::OpenOptions::new().read_write(true).open_receiver(path).map_err(Error::io("open", path))?;
    Ok(Pipe { path: path.to_path_buf(), both })
}

impl Pipe {
    fn into_receiver(self) -> Result<pipe::Receiver> {
        let one = pipe::OpenOptions::new().open_receiver(&self.path).map_err(Error::io("open", &self.path));
        drop(self.both);
        one
    }

    fn into_sender(self) -> Result<pipe::Sender> {
        let one = pipe::OpenOptions::new().open_sender(&self.path).map_err(Error::io("open", &self.path));
        drop(self.both);
        one
    }
}
