//! The OCI specification of a container: everything closed that an application does not need.

use super::containers::{Bind, ContainerSpec, Tmpfs};
use super::exec::ExecSpec;
use super::rootfs::ID_COUNT;
use super::seccomp;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use std::path::Path;

/// Files an application keeps open: sockets of a busy server.
const OPEN_FILES_MAX: u64 = 65_536;
/// Pages that cannot be swapped: what the kernel itself gives an ordinary user.
const LOCKED_BYTES_MAX: u64 = 8 << 20;
/// Applications go before the platform when memory runs out.
const OOM_SCORE: i32 = 500;
/// Processor time is dealt out in slices of 100 ms.
const CPU_PERIOD_US: u64 = 100_000;
/// containerd's names of our two JSON payloads.
pub(crate) const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
pub(crate) const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// What of the kernel may be seen, but tells too much or can be written.
const MASKED: &[&str] = &[
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/config.gz", "/proc/kallsyms", "/proc/modules",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The whole specification. `swap_limit`: the kernel counts swap, so that it can be limited too.
pub(crate) fn container(spec: &ContainerSpec, cgroup: &str, user_namespace: &Path, swap_limit: bool) -> Value {
    let id_map = json!([{ "containerID": 0, "hostID": spec.id_map_base, "size": ID_COUNT }]);
    let mut namespaces = vec![
        json!({ "type": "pid" }),
        json!({ "type": "ipc" }),
        json!({ "type": "uts" }),
        json!({ "type": "mount" }),
        json!({ "type": "user", "path": user_namespace }),
        json!({ "type": "cgroup" }),
    ];
    // Without a path the container gets an empty network of its own; the host's it never gets.
    namespaces.push(match &spec.netns {
        Some(path) => json!({ "type": "network", "path": path }),
        None => json!({ "type": "network" }),
    });
    let memory_bytes = spec.limits.memory_mb.max(16) << 20;
    let mut memory = json!({ "limit": memory_bytes });
    if swap_limit {
        memory["swap"] = json!(memory_bytes);
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": { "path": spec.rootfs, "readonly": spec.readonly_rootfs },
        "process": process(&spec.args, &spec.env, &spec.cwd, spec.uid, spec.gid, None),
        "mounts": mounts(spec),
        "linux": {
            "uidMappings": id_map,
            "gidMappings": id_map,
            "namespaces": namespaces,
            "cgroupsPath": format!("{cgroup}/{}", spec.id),
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": memory,
                "cpu": {
                    "shares": (u64::from(spec.limits.cpu_millis) * 1024 / 1000).max(2),
                    "quota": (u64::from(spec.limits.cpu_millis) * CPU_PERIOD_US / 1000).max(1000),
                    "period": CPU_PERIOD_US,
                },
                "pids": { "limit": spec.limits.pids.max(1) },
            },
            "seccomp": seccomp::profile(),
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    })
}

/// A process in it, the first one or a later one: no capabilities, none to be had.
pub(crate) fn process(args: &[String], env: &[String], cwd: &str, uid: u32, gid: u32, pty: Option<(u16, u16)>) -> Value {
    let mut process = json!({
        "terminal": pty.is_some(),
        "user": { "uid": uid, "gid": gid },
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
        "noNewPrivileges": true,
        "oomScoreAdj": OOM_SCORE,
        "rlimits": [
            rlimit("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, OPEN_FILES_MAX),
            rlimit("RLIMIT_CORE", Resource::RLIMIT_CORE, 0),
            rlimit("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK, LOCKED_BYTES_MAX),
        ],
    });
    if let Some((columns, rows)) = pty {
        process["consoleSize"] = json!({ "width": columns, "height": rows });
    }
    process
}

/// A limit, no higher than we may set it: on some machines even root cannot raise its own.
fn rlimit(name: &str, resource: Resource, wanted: u64) -> Value {
    let own = getrlimit(resource).map_or(wanted, |(_, hard)| hard);
    let value = if may_raise_limits() { wanted } else { wanted.min(own) };
    json!({ "type": name, "soft": value, "hard": value })
}

/// We hold CAP_SYS_RESOURCE.
fn may_raise_limits() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set >> CAP_SYS_RESOURCE & 1 == 1)
}

/// The process of an exec.
pub(crate) fn exec(spec: &ExecSpec) -> Value {
    process(&spec.args, &spec.env, &spec.cwd, spec.uid, spec.gid, spec.pty)
}

fn mounts(spec: &ContainerSpec) -> Vec<Value> {
    let mount = |to: &str, kind: &str, from: &str, options: &[&str]| {
        json!({ "destination": to, "type": kind, "source": from, "options": options })
    };
    let shm_mb = (spec.limits.memory_mb / 4).max(64);
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={shm_mb}m")]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        // No sysfs: it would show the host's. Runtimes look for two things in it, how many processors there are
        // and what memory they may use.
        mount("/sys", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=64k", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    let processors = "/sys/devices/system/cpu";
    if Path::new(processors).is_dir() {
        mounts.push(mount(processors, "bind", processors, &["bind", "nosuid", "noexec", "nodev", "ro"]));
    }
    mounts.extend(spec.tmpfs.iter().map(tmpfs));
    mounts.extend(spec.binds.iter().map(bind));
    mounts
}

fn tmpfs(place: &Tmpfs) -> Value {
    json!({
        "destination": place.path,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": [
            "nosuid", "nodev",
            format!("mode={:o}", place.mode),
            format!("size={}m", place.size_mb.max(1)),
            format!("uid={}", place.uid),
            format!("gid={}", place.gid),
        ],
    })
}

fn bind(bind: &Bind) -> Value {
    let access = if bind.readonly { "ro" } else { "rw" };
    json!({
        "destination": bind.to,
        "type": "bind",
        "source": bind.from,
        "options": ["bind", "private", "nosuid", "nodev", access],
    })
}
