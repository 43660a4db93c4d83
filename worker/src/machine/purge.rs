//! Leave nothing behind: processes first, then what they held.

use super::cgroup;
use super::daemon::start_time;
use super::error::{Error, Result};
use super::network;
use super::nftables;
use super::places::Places;
use super::program::run;
use super::rootfs;
use super::volume_disk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Killed processes are gone within milliseconds; their control groups follow.
const PURGE_TIME_MAX: Duration = Duration::from_secs(20);
/// Where containerd's shim keeps the runtime's state and its own sockets, whatever containerd's directories are.
const RUNTIME_STATE: &str = "/run/containerd/runc";
const SHIM_SOCKETS: &str = "/run/containerd/s";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Something of ours that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub kind: &'static str,
    pub name: String,
}

/// Take everything away that is ours in the kernel: processes, mounts, interfaces, rules, groups, loop devices.
/// Data stays on disk; delete the data directory afterwards.
pub async fn purge(places: &Places) -> Result<()> {
    let sockets = shim_sockets(places);
    // containerd first: it would clean up after its shims at the same time as we do.
    let deadline = Instant::now() + PURGE_TIME_MAX;
    loop {
        let living = processes(places);
        if living.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            return Err(Error::Invalid(format!("processes {living:?} do not end: look at them with `ps -p`, then purge again")));
        }
        for pid in living {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for directory in [&places.run, &places.data] {
        for mount in rootfs::mounts_below(directory)? {
            rootfs::unmount(&mount)?;
        }
    }
    for device in volume_disk::loop_devices(&volume_disk::loop_file(places)).await? {
        run("losetup", &["--detach", &device]).await?;
    }
    network::purge(places, places.gateway()).await?;
    remove_groups(places, deadline).await?;
    for socket in sockets {
        let _ = std::fs::remove_file(socket);
    }
    for directory in [Path::new(RUNTIME_STATE).join(places.namespace()), places.run.clone()] {
        match std::fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &directory)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// What of us is still in the kernel; empty after [`purge`].
pub async fn leftovers(places: &Places) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let mut add = |kind: &'static str, names: Vec<String>| found.extend(names.into_iter().map(|name| Leftover { kind, name }));
    let shown = |paths: Vec<PathBuf>| paths.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    add("process", processes(places).iter().map(u32::to_string).collect());
    for directory in [&places.run, &places.data] {
        add("mount", shown(rootfs::mounts_below(directory)?));
    }
    add("loop device", volume_disk::loop_devices(&volume_disk::loop_file(places)).await?);
    add("interface", network::interface_names(places).await?);
    add("network namespace", network::namespaces(places));
    if nftables::exists(places).await? {
        add("nftables table", vec![places.table()]);
    }
    if network::has_gateway(places.gateway()).await? {
        add("address", vec![places.gateway().to_string()]);
    }
    add("control group", shown(cgroup::directories(Path::new(CGROUPS), &places.cgroup())));
    let state = [Path::new(RUNTIME_STATE).join(places.namespace()), places.run.clone()];
    add("directory", shown(state.into_iter().filter(|path| path.exists()).collect()));
    Ok(found)
}

/// Our containerd, its shims, and everything in our control groups. Never ourselves.
fn processes(places: &Places) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    for directory in cgroup::directories(Path::new(CGROUPS), &places.cgroup()) {
        for group in below(&directory) {
            let list = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(list.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    }
    let config = places.data.join("containerd.toml").display().to_string();
    let namespace = places.namespace();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&str> = line.split(|b| *b == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
        let program = words.first().map(|word| word.rsplit('/').next().unwrap_or(word)).unwrap_or_default();
        let follows = |option: &str, value: &str| words.windows(2).any(|pair| pair == [option, value]);
        let ours = match program {
            "containerd" => follows("--config", &config),
            name if name.starts_with("containerd-shim") => follows("-namespace", &namespace),
            _ => false,
        };
        if ours {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found.dedup();
    // A process with id 0 lives in a pid namespace that we do not see into.
    found.retain(|pid| *pid > 1 && *pid != std::process::id() && start_time(*pid).is_some());
    found
}

/// A group and all groups in it, deepest last.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_path_buf()];
    let mut at = 0;
    while let Some(next) = all.get(at).cloned() {
        let entries = std::fs::read_dir(&next).into_iter().flatten().flatten();
        all.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
        at += 1;
    }
    all
}

/// A group can be removed a moment after its last process ended.
async fn remove_groups(places: &Places, deadline: Instant) -> Result<()> {
    loop {
        let mut busy = None;
        for directory in cgroup::directories(Path::new(CGROUPS), &places.cgroup()) {
            for group in below(&directory).iter().rev() {
                if let Err(e) = std::fs::remove_dir(group) {
                    busy = Some(Error::io("remove", group)(e));
                }
            }
        }
        match busy {
            None => return Ok(()),
            Some(error) if Instant::now() > deadline => return Err(error),
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Each bundle says where its shim listens.
fn shim_sockets(places: &Places) -> Vec<PathBuf> {
    let bundles = places.run.join("containerd/io.containerd.runtime.v2.task").join(places.namespace());
    let entries = std::fs::read_dir(bundles).into_iter().flatten().flatten();
    let addresses = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("address")).ok());
    let sockets = addresses.filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)));
    sockets.filter(|socket| socket.starts_with(SHIM_SOCKETS)).collect()
}
