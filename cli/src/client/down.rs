//! `slipway down`: ends what `slipway up` began, and with `--purge` all that it made.

use super::Done;
use super::arguments::Common;
use super::failure::Failure;
use super::project::{confirmed, done};
use super::terminal::note;
use crate::config::Config;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `up` gives its roles 85 s to serve what is under way.
const END_TIME_MAX: Duration = Duration::from_secs(100);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    common: Common,
    /// Also end the applications and remove all data, mounts, links and rules.
    #[arg(long)]
    purge: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Down {
    pub async fn run(self) -> Done {
        let dir = match self.common.data_dir.canonicalize() {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("There is no platform in {}.", self.common.data_dir.display());
                done(&self.common, json!({"ended": false, "purged": false}), &text);
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(Failure::blind("could not look at the data folder", error).at(self.common.data_dir.display())),
        };
        let config = if self.purge { Some(own_config(&dir)?) } else { None };
        if self.purge && !self.yes && !confirmed(&format!("End all applications and remove {} with all data?", dir.display())) {
            return Err(Failure::new("nothing was ended", "you did not agree").help("--yes does not ask"));
        }
        let ended = end(&dir)?;
        if let Some(config) = &config {
            crate::roles::worker::purge(config).await.map_err(|error| {
                Failure::new("could not remove everything", format!("{error:#}")).at(dir.display()).help("slipway down --purge, again")
            })?;
            remove(&dir)?;
        }
        let text = match (ended, self.purge) {
            (_, true) => format!("The platform in {} is removed.", dir.display()),
            (true, false) => "The platform has ended. Applications run on; `slipway up` takes them back, `slipway down --purge` removes them.".into(),
            (false, false) => format!("No platform runs in {}.", dir.display()),
        };
        done(&self.common, json!({"ended": ended, "purged": self.purge}), &text);
        Ok(ExitCode::SUCCESS)
    }
}

/// Only a folder that a platform made is ever removed.
fn own_config(dir: &Path) -> Result<Config, Failure> {
    let path = dir.join("slipway.toml");
    let config = Config::read(&path).map_err(|error| {
        Failure::blind("this is no platform's data folder", format!("{error:#}")).at(dir.display()).help("name it with --data-dir")
    })?;
    let named = config.node.data_dir.canonicalize().unwrap_or_else(|_| config.node.data_dir.clone());
    if named != dir {
        return Err(Failure::blind("this file is of another folder", format!("its [node] data_dir is {}", named.display())).at(path.display()));
    }
    Ok(config)
}

/// Whether something had to be ended. The lock says if a platform runs; the file says which process it is.
fn end(dir: &Path) -> Result<bool, Failure> {
    if is_free(dir)? {
        return Ok(false);
    }
    let file = dir.join("up.pid");
    let pid: i32 = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).filter(|pid| *pid > 1).ok_or_else(|| {
        Failure::blind("a platform runs, but not which process it is", "its process file is missing or damaged").at(file.display())
    })?;
    if !is_slipway(pid) {
        return Err(Failure::blind("a platform runs, but its process file names another program", format!("process {pid} is no slipway"))
            .at(file.display())
            .help("end the platform by hand: SIGTERM to its `slipway up`"));
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .map_err(|error| Failure::blind(format!("could not end process {pid}"), error).help("run it as the user of the platform (root)"))?;
    let begun = Instant::now();
    let mut said = false;
    while !is_free(dir)? {
        if begun.elapsed() > END_TIME_MAX {
            return Err(Failure::new(format!("process {pid} did not end within {} s", END_TIME_MAX.as_secs()), "a role still serves or hangs")
                .at(dir.join("log").display()));
        }
        if !said && begun.elapsed() > Duration::from_secs(2) {
            said = true;
            note("Waiting for requests under way …");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}

/// Whether no `up` holds the folder.
fn is_free(dir: &Path) -> Result<bool, Failure> {
    let path = dir.join("up.lock");
    let file = match std::fs::OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => {
            return Err(Failure::blind("could not look whether a platform runs", error).at(path.display()).help("run it as the user of the platform (root)"));
        }
    };
    // Let go at once: the file is closed here.
    Ok(file.try_lock().is_ok())
}

/// A process number may have been given to another program since.
fn is_slipway(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().map(|word| PathBuf::from(String::from_utf8_lossy(word).into_owned())).unwrap_or_default();
    program.file_name().is_some_and(|name| name == "slipway") && words.any(|word| word == b"up")
}

fn remove(dir: &Path) -> Result<(), Failure> {
    let mounts = mounts_below(dir);
    if let Some(mount) = mounts.first() {
        return Err(Failure::new("the data folder is not removed: something is mounted in it", format!("{} mounts are left", mounts.len()))
            .at(mount.display())
            .help("umount it, then slipway down --purge"));
    }
    std::fs::remove_dir_all(dir).map_err(|error| Failure::new("could not remove the data folder", error).at(dir.display()))
}

/// Removing through a mount would remove what is not ours.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|place| PathBuf::from(unescaped(place)));
    places.filter(|place| place.starts_with(dir) && place != dir).collect()
}

/// mountinfo writes a space as `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let octal = more.get(..3).filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_mounts_are_read_as_they_are() {
        assert_eq!(unescaped("/a\\040b/c"), "/a b/c");
        assert_eq!(unescaped("/a\\xb"), "/a\\xb");
    }

    #[test]
    fn another_program_is_not_taken_for_the_platform() {
        assert!(!is_slipway(std::process::id() as i32));
        assert!(!is_slipway(i32::MAX));
    }
}
