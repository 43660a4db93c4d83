//! The platform's own containerd: started apart from us, so that it outlives us, and adopted again.

use super::error::{Error, Result};
use super::places::Places;
use containerd_client::services::v1::version_client::VersionClient;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A cold start on a busy machine with many containers to load.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// A healthy containerd answers in a millisecond; after this it counts as dead, and is restarted.
const HANG_TIME_MAX: Duration = Duration::from_secs(30);
/// Between two looks at it.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Its own log; emptied at a start when it has grown beyond.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// Replies with every container's specification in them: 20 kB each, a few thousand containers.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What the daemon needs to know.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    pub places: Places,
    /// `containerd`, or a path to it.
    pub program: PathBuf,
}

/// The private containerd.
#[derive(Debug)]
pub struct Daemon {
    options: DaemonOptions,
    /// One start at a time.
    starting: Mutex<()>,
}

impl Daemon {
    /// Adopt the containerd that runs already, or start one; it answers when this returns.
    pub async fn start(options: DaemonOptions) -> Result<Daemon> {
        let daemon = Daemon { options, starting: Mutex::new(()) };
        daemon.ensure().await?;
        Ok(daemon)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.options.places.run.join("containerd.sock")
    }

    /// The places it serves.
    pub fn places(&self) -> &Places {
        &self.options.places
    }

    /// Its process id, while it lives.
    pub fn pid(&self) -> Option<u32> {
        read_pid_file(&self.pid_file())
    }

    /// Start it when it has died, restart it when it hangs. Containers live on in their shims.
    pub async fn ensure(&self) -> Result<()> {
        let _turn = self.starting.lock().await;
        if let Some(pid) = self.pid() {
            match self.wait_until_it_answers(HANG_TIME_MAX).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(pid, %error, "containerd hangs and is restarted"),
            }
            if self.pid() == Some(pid) {
                end(pid, nix::sys::signal::Signal::SIGKILL).await;
            }
        }
        self.spawn()?;
        self.wait_until_it_answers(START_TIME_MAX).await
    }

    /// Look after it until the future is dropped.
    pub async fn supervise(&self) {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            if let Err(error) = self.ensure().await {
                tracing::error!(%error, "containerd cannot be started: see {}", self.log_file().display());
            }
        }
    }

    /// End it; containers go on.
    pub async fn stop(&self) {
        let _turn = self.starting.lock().await;
        if let Some(pid) = self.pid() {
            end(pid, nix::sys::signal::Signal::SIGTERM).await;
        }
        let _ = std::fs::remove_file(self.pid_file());
    }

    fn pid_file(&self) -> PathBuf {
        self.options.places.run.join("containerd.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.options.places.data.join("containerd.log")
    }

    fn spawn(&self) -> Result<()> {
        let places = &self.options.places;
        let config = places.data.join("containerd.toml");
        std::fs::write(&config, self.config()).map_err(Error::io("write", &config))?;
        let log = self.log_file();
        let sink = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(Error::io("open", &log))?;
        if sink.metadata().is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
            sink.set_len(0).map_err(Error::io("empty", &log))?;
        }
        let sink_too = sink.try_clone().map_err(Error::io("open", &log))?;
        let mut command = std::process::Command::new(&self.options.program);
        command.arg("--config").arg(&config).current_dir("/").env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(sink).stderr(sink_too);
        new_session_before_exec(&mut command);
        let mut child = command.spawn().map_err(Error::io("start", &self.options.program))?;
        let pid = child.id();
        let file = self.pid_file();
        let line = format!("{pid} {}\n", start_time(pid).unwrap_or(0));
        std::fs::write(&file, line).map_err(Error::io("write", &file))?;
        tracing::info!(pid, "containerd was started");
        // Reap it when it ends while we live; when we end first, init does.
        let reaper = std::thread::Builder::new().name("containerd-reaper".into());
        reaper.spawn(move || child.wait()).map_err(Error::io("watch", &self.options.program))?;
        Ok(())
    }

    /// Version 2 of the format is read by 1.6, 1.7 and 2.x. Plug-ins that would touch paths shared with another
    /// containerd of the machine (`nri`, `opt`), or that we do not use, are off; unknown names are ignored.
    fn config(&self) -> String {
        let places = &self.options.places;
        let quoted = |path: &Path| toml_string(&path.to_string_lossy());
        format!(
            "version = 2\nroot = {}\nstate = {}\noom_score = -500\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \
             \"io.containerd.nri.v1.nri\", \"io.containerd.internal.v1.opt\", \"io.containerd.internal.v1.restart\", \
             \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
             \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.erofs\"]\n\
             [grpc]\naddress = {}\nmax_recv_message_size = {MESSAGE_BYTES_MAX}\nmax_send_message_size = {MESSAGE_BYTES_MAX}\n\
             [debug]\nlevel = \"warn\"\n",
            quoted(&places.data.join("containerd")),
            quoted(&places.run.join("containerd")),
            quoted(&self.socket()),
        )
    }

    async fn wait_until_it_answers(&self, time_max: Duration) -> Result<()> {
        let deadline = Instant::now() + time_max;
        let mut why = String::from("it did not answer");
        while Instant::now() < deadline {
            match tokio::time::timeout(Duration::from_secs(5), self.version()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => why = error,
                Err(_) => why = "it did not answer within 5 s".into(),
            }
            if self.pid().is_none() {
                why = format!("it ended at once; its last words are in {}", self.log_file().display());
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Error::Unreachable { socket: self.socket(), why })
    }

    async fn version(&self) -> std::result::Result<String, String> {
        let channel = containerd_client::connect(self.socket()).await.map_err(|e| e.to_string())?;
        let reply = VersionClient::new(channel).version(()).await.map_err(|e| e.to_string())?;
        Ok(reply.into_inner().version)
    }
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A process id is only believed together with the moment its process began: numbers are used again.
fn read_pid_file(file: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let (pid, began) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (start_time(pid)? == began.parse::<u64>().ok()?).then_some(pid)
}

/// When a living process began, in ticks since boot; none for a zombie.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

/// Signal a process until it is gone; SIGKILL when it takes more than 10 s.
async fn end(pid: u32, signal: nix::sys::signal::Signal) {
    let Some(began) = start_time(pid) else { return };
    let target = nix::unistd::Pid::from_raw(pid as i32);
    let _ = nix::sys::signal::kill(target, signal);
    for step in 0..1500 {
        if start_time(pid) != Some(began) {
            return;
        }
        if step == 1000 {
            let _ = nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[allow(unsafe_code, reason = "setsid is async-signal-safe and touches no memory of ours")]
fn new_session_before_exec(command: &mut std::process::Command) {
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_another_process_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let own = std::process::id();
        std::fs::write(&file, format!("{own} {}\n", start_time(own).unwrap())).unwrap();
        assert_eq!(read_pid_file(&file), Some(own));
        std::fs::write(&file, format!("{own} 1\n")).unwrap();
        assert_eq!(read_pid_file(&file), None);
    }
}
