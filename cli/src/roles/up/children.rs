//! One role as a child process: started, started again when it ends, ended in good order.

use super::logs::RotatingLog;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// A role that ends at once again and again is given ever longer pauses, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A role that ran for so long begins with a short pause again.
const STEADY_AFTER: Duration = Duration::from_secs(20);
/// A router may take this long to serve what is under way, and a little more.
const END_TIME_MAX: Duration = Duration::from_secs(85);

/// A role to be kept running.
pub struct Child {
    role: &'static str,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Child {
    pub fn new(role: &'static str, config: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let folder = data_dir.join("log");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            role,
            program: std::env::current_exe().context("find the own program")?,
            config: config.to_path_buf(),
            log: folder.join(format!("{role}.log")),
            pid_file: data_dir.join(format!("{role}.pid")),
        })
    }

    /// Until shutdown; then SIGTERM, and SIGKILL after the bound.
    pub async fn watch(self, shutdown: CancellationToken) {
        let mut pause = Duration::from_millis(100);
        while !shutdown.is_cancelled() {
            let begun = tokio::time::Instant::now();
            if let Err(error) = self.once(&shutdown).await {
                tracing::error!(role = self.role, error = format!("{error:#}"), "a role could not be run");
            }
            if shutdown.is_cancelled() {
                return;
            }
            if begun.elapsed() > STEADY_AFTER {
                pause = Duration::from_millis(100);
            }
            tracing::warn!(role = self.role, log = %self.log.display(), "a role has ended; it is started again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn once(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg(self.role).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // An own group: Ctrl-C reaches `up` alone, which ends the roles in order.
        command.process_group(0);
        parent_death_signal(&mut command);
        let mut child = command.spawn().with_context(|| format!("start the role {}", self.role))?;
        let pid = child.id().context("a fresh child has a pid")?;
        std::fs::write(&self.pid_file, format!("{pid}\n"))?;
        let stderr = child.stderr.take().context("the child's stderr")?;
        let log = self.log.clone();
        let copy = tokio::spawn(async move {
            let Ok(mut log) = RotatingLog::open(log) else { return };
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                log.write_line(&line);
            }
        });
        let end = tokio::select! {
            end = child.wait() => end?,
            () = shutdown.cancelled() => {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGTERM);
                match tokio::time::timeout(END_TIME_MAX, child.wait()).await {
                    Ok(end) => end?,
                    Err(_) => {
                        child.kill().await?;
                        child.wait().await?
                    }
                }
            }
        };
        let _ = copy.await;
        let _ = std::fs::remove_file(&self.pid_file);
        if !shutdown.is_cancelled() {
            tracing::warn!(role = self.role, status = %end, "a role ended");
        }
        Ok(())
    }
}

/// A role whose `up` was killed ends too, so that the next `up` finds its ports free.
#[allow(unsafe_code, reason = "prctl between fork and exec is async-signal-safe and touches nothing of ours")]
fn parent_death_signal(command: &mut Command) {
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
            Ok(())
        });
    }
}
