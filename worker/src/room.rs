//! The way into a running instance: what hooks, shells and crons need to know of it.

use slipway_model::instance::{Link, WEB_UID};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// One instance as processes enter it.
#[derive(Debug, Clone)]
pub struct Room {
    /// Containerd's id of its container.
    pub container: String,
    /// `NAME=value`, complete, with `PATH` and `HOME`.
    pub env: Vec<String>,
    pub links: Vec<Link>,
    pub netns: Option<PathBuf>,
    /// The folder of the host that is `/var/log` inside.
    pub logs: Option<PathBuf>,
    /// Cancelled when sessions of people must end: the instance stops, or its release no longer serves.
    pub sessions_end: CancellationToken,
}

/// Who knows the instances of this worker.
pub trait Rooms: Send + Sync + 'static {
    /// The room of a running instance, or why nobody may enter; for people.
    fn enter(&self, instance: &str) -> Result<Room, String>;
}

/// Sources `.environment` as every run-time process does (environment.md §5), then becomes the rest.
pub const PRELUDE: &str = "cd /app || exit 1; if [ -r /app/.environment ]; then . /app/.environment; fi; ";

/// `sh -c` of a user's script as `web`: the script travels as an argument, never as text within text.
pub fn script_args(script: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), format!("{PRELUDE}exec /bin/sh -c \"$1\""), "sh".into(), script.into()]
}

/// The longest script that fits one argument (the kernel takes 128 KiB).
pub const SCRIPT_BYTES_MAX: usize = 120 << 10;

/// A process of `web` in the room.
pub fn exec_spec(room: &Room, args: Vec<String>, more_env: &[String]) -> crate::machine::ExecSpec {
    let mut env = room.env.clone();
    env.extend_from_slice(more_env);
    crate::machine::ExecSpec { args, env, cwd: "/app".into(), uid: WEB_UID, gid: WEB_UID, pty: None }
}

/// Ends every process of a container that carries this environment entry, whatever session it made for itself.
pub async fn kill_marked(containers: &crate::machine::Containers, container: &str, marker: &str, signal: nix::sys::signal::Signal) -> usize {
    let Ok(pids) = containers.pids(container).await else { return 0 };
    let mut killed = 0;
    for pid in pids {
        let Ok(environ) = tokio::fs::read(format!("/proc/{pid}/environ")).await else { continue };
        if environ.split(|b| *b == 0).any(|entry| entry == marker.as_bytes()) {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            killed += usize::from(nix::sys::signal::kill(pid, signal).is_ok());
        }
    }
    killed
}
