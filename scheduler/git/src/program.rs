//! The system's git, started with an environment of ours and nothing of the caller's.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// `git` in one repository: no configuration but the repository's own, no prompts, no pager, its own process group.
pub fn git(git_dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    command.env("HOME", git_dir);
    command.env("GIT_DIR", git_dir);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_ATTR_NOSYSTEM", "1");
    command.env("GIT_NO_REPLACE_OBJECTS", "1");
    command.env("GIT_OPTIONAL_LOCKS", "0");
    command.env("GIT_TERMINAL_PROMPT", "0");
    command.env("LC_ALL", "C.UTF-8");
    command.current_dir(git_dir);
    command.args(["-c", "safe.directory=*"]);
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The output of a git command, at most `bytes_max`; a failure carries what git said.
pub async fn output(command: Command, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.map_err(|error| format!("git cannot be started: {error}"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(500).collect();
        return Err(format!("git failed ({}): {}", output.status, said.trim()));
    }
    if output.stdout.len() > bytes_max {
        return Err(format!("git answered more than {bytes_max} bytes"));
    }
    Ok(output.stdout)
}

/// Ends a process group of ours that is still there.
pub fn end_group(id: Option<u32>) {
    if let Some(id) = id.and_then(|id| i32::try_from(id).ok()) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}
