//! The container of one build: its mounts, its network, and the processes in it.

use super::{BuildRoom, Stop, tools};
use crate::log::{Level, LineCutter, LogSink};
use crate::machine::rootfs::{self, Access};
use crate::machine::{Bind, ContainerSpec, ExecOutput, ExecSpec, Tmpfs, write_name_files};
use anyhow::Context;
use sha2::{Digest, Sha256};
use slipway_model::TaskId;
use slipway_model::instance::WEB_UID;
use slipway_model::task::BuildApp;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// Begins the names of containers, networks, mounts and folders of builds.
pub const PREFIX: &str = "build-";
/// A child that outlives its step may hold its output open; its words after this are not waited for.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);
/// The first process does nothing but reap; it ends at once.
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// Copying kept directories and making mount points.
const OWN_SCRIPT_TIME_MAX: Duration = Duration::from_secs(600);
/// Below this much free space a failure is the disk's, not the user's.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Waits and reaps until it is told to end.
const FIRST_PROCESS: &str = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done";

/// Ranges of ids: builds at the same time share none.
#[derive(Debug)]
pub struct Slots {
    base: u32,
    taken: Mutex<Vec<bool>>,
    free: tokio::sync::Semaphore,
}

impl Slots {
    pub fn new(base: u32, count: u32) -> Slots {
        Slots { base, taken: Mutex::new(vec![false; count as usize]), free: tokio::sync::Semaphore::new(count as usize) }
    }

    async fn take(&self) -> Slot<'_> {
        // The semaphore is never closed.
        if let Ok(permit) = self.free.acquire().await {
            permit.forget();
        }
        let mut taken = self.taken.lock().unwrap_or_else(|p| p.into_inner());
        let number = taken.iter().position(|taken| !taken).unwrap_or_default();
        taken[number] = true;
        Slot { slots: self, number }
    }
}

struct Slot<'a> {
    slots: &'a Slots,
    number: usize,
}

impl Slot<'_> {
    fn id_map_base(&self) -> u32 {
        self.slots.base + self.number as u32 * rootfs::ID_COUNT
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.taken.lock().unwrap_or_else(|p| p.into_inner())[self.number] = false;
        self.slots.free.add_permits(1);
    }
}

/// An open build container.
pub struct Berth<'a> {
    room: &'a BuildRoom,
    name: String,
    env: Vec<String>,
    memory_mb: u64,
    steps: AtomicU32,
    _slot: Slot<'a>,
}

/// How a step ended.
pub enum Ended {
    Code(i32),
    TooLong,
}

/// The name of a task's build everywhere on the machine.
pub fn name_of(id: &TaskId) -> String {
    format!("{PREFIX}{}", data_encoding::HEXLOWER.encode(&Sha256::digest(id.as_str())[..10]))
}

impl<'a> Berth<'a> {
    /// Mounts, network, container; its first process runs. `folder` has the checked-out `app`.
    pub async fn open(room: &'a BuildRoom, name: &str, task: &BuildApp, image: &Path, folder: &Path) -> anyhow::Result<Berth<'a>> {
        let slot = room.slots.take().await;
        let base = slot.id_map_base();
        let settings = folder.join("settings");
        tools::write_settings(&room.options, &settings)?;
        let attachment = room.network.attach_build(name, base).await.context("give the build a network")?;
        let rootfs = mount(room, name, "root", image, base, true)?;
        let cache = room.options.caches.join(task.project.as_str()).join(&task.app);
        let shared = room.options.caches.join(task.project.as_str()).join(".shared");
        let tmp = folder.join("tmp");
        for (directory, mode) in [(&cache, 0o755), (&shared, 0o755), (&tmp, 0o1777)] {
            make_for_web(directory, mode)?;
        }
        make_for_web(&cache.join("app"), 0o755)?;
        make_for_web(&cache.join("shared"), 0o755)?;
        let mut binds = vec![];
        for (kind, from, to, readonly) in [
            ("app", folder.join("app"), "/app", false),
            ("cache", cache, tools::CACHE, false),
            ("shared", shared, "/var/cache/slipway/shared", false),
            ("tmp", tmp, "/tmp", false),
            ("settings", settings.clone(), tools::SETTINGS, true),
        ] {
            let from = mount(room, name, kind, &from, base, readonly)?;
            binds.push(Bind { from, to: to.into(), readonly });
        }
        let names = write_name_files(&folder.join("names"), "build", attachment.address, room.network.gateway())?;
        binds.extend(names.into_iter().map(|(from, to)| Bind { from, to: to.into(), readonly: true }));
        for (file, over) in [("ca.crt", tools::BUNDLE), ("java-truststore", tools::JAVA_BUNDLE), ("settings.xml", tools::MAVEN_SETTINGS)] {
            // A file can only be bound over one that the image has.
            if settings.join(file).exists() && std::fs::metadata(image.join(over.trim_start_matches('/'))).is_ok_and(|m| m.is_file()) {
                binds.push(Bind { from: settings.join(file), to: over.into(), readonly: true });
            }
        }
        let env = tools::environment(&room.options, task, &settings);
        let spec = ContainerSpec {
            id: name.into(),
            rootfs,
            args: vec!["/bin/sh".into(), "-c".into(), FIRST_PROCESS.into()],
            env: env.clone(),
            cwd: "/app".into(),
            uid: WEB_UID,
            gid: WEB_UID,
            hostname: "build".into(),
            binds,
            tmpfs: vec![Tmpfs { path: "/run".into(), size_mb: 16, mode: 0o755, uid: WEB_UID, gid: WEB_UID }],
            netns: Some(attachment.netns),
            limits: task.limits.clone(),
            id_map_base: base,
            labels: [("slipway.build".to_string(), task.app.clone())].into(),
            readonly_rootfs: true,
        };
        room.containers.create(&spec).await.context("make the build's container")?;
        room.containers.start(name, &folder.join("container.log")).await.context("start the build's container")?;
        let memory_mb = task.limits.memory_mb;
        Ok(Berth { room, name: name.into(), env, memory_mb, steps: AtomicU32::new(0), _slot: slot })
    }

    /// Run a program of a step; its words go to the log as they come, those on stderr as warnings.
    pub async fn step(&self, args: &[&str], log: &LogSink, time_max: Duration, cancel: &CancellationToken) -> Result<Ended, Stop> {
        let number = self.steps.fetch_add(1, Ordering::Relaxed);
        let spec = ExecSpec {
            args: args.iter().map(|a| a.to_string()).collect(),
            env: self.env.clone(),
            cwd: "/app".into(),
            uid: WEB_UID,
            gid: WEB_UID,
            pty: None,
        };
        let mut exec = self.room.containers.exec(&self.name, &format!("step{number}"), &spec).await.context("start a step")?;
        exec.close_stdin().await.context("start a step")?;
        let readers = [
            tokio::spawn(tell(exec.stdout.take(), log.clone(), Level::Info)),
            tokio::spawn(tell(exec.stderr.take(), log.clone(), Level::Warning)),
        ];
        let ended = tokio::select! {
            code = exec.wait() => Ok(Ended::Code(code.context("wait for a step")?)),
            () = tokio::time::sleep(time_max) => Ok(Ended::TooLong),
            () = cancel.cancelled() => Err(Stop::Cancelled),
        };
        for mut reader in readers {
            if tokio::time::timeout(LAST_WORDS_MAX, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        ended
    }

    /// A script of ours, without a log; its arguments are never part of its text.
    pub async fn quiet(&self, name: &str, script: &str, args: &[&str]) -> Result<i32, Stop> {
        let mut all = vec!["/bin/sh", "-c", script, name];
        all.extend_from_slice(args);
        match self.step(&all, &LogSink::none(), OWN_SCRIPT_TIME_MAX, &CancellationToken::new()).await? {
            Ended::Code(code) => Ok(code),
            Ended::TooLong => Err(Stop::Machine(anyhow::anyhow!("{name} took more than {} s", OWN_SCRIPT_TIME_MAX.as_secs()))),
        }
    }

    /// Megabytes that the build may use, for those who wonder why it was killed.
    pub fn memory_mb(&self) -> u64 {
        self.memory_mb
    }

    /// What failed for want of disk is not the user's fault.
    pub fn disk_is_full(&self) -> bool {
        let work = &self.room.options.work;
        nix::sys::statvfs::statvfs(work.as_path()).is_ok_and(|s| s.blocks_available() as u64 * s.fragment_size() as u64 <= FREE_BYTES_MIN)
    }

    /// End every process in it; the folder stays.
    pub async fn close(self) -> anyhow::Result<()> {
        self.room.containers.stop_and_delete_task(&self.name, nix::libc::SIGKILL, END_TIME_MAX).await.context("end the build's container")?;
        Ok(())
    }
}

/// Take away everything of a build, however far it came; asked again it does nothing.
pub async fn remove(room: &BuildRoom, name: &str) -> anyhow::Result<()> {
    room.containers.stop_and_delete_task(name, nix::libc::SIGKILL, END_TIME_MAX).await.context("end a build's container")?;
    room.containers.delete(name).await.context("delete a build's container")?;
    room.network.detach(name).await.context("take a build's network away")?;
    let mounts = room.places.mounts();
    for item in std::fs::read_dir(&mounts).into_iter().flatten().flatten() {
        let of_this = item.file_name().to_str().is_some_and(|n| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
        if of_this {
            rootfs::unmount(&item.path()).context("unmount")?;
            // Never recursively: if it were mounted still, the image would go.
            let _ = std::fs::remove_dir(item.path());
        }
    }
    let folder = room.options.work.join(name);
    match tokio::fs::remove_dir_all(&folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", folder.display())),
        _ => Ok(()),
    }
}

/// Bind a directory with the build's ids, below the machine's mounts: there every parent is searchable.
fn mount(room: &BuildRoom, name: &str, kind: &str, source: &Path, base: u32, readonly: bool) -> anyhow::Result<PathBuf> {
    let target = room.places.mounts().join(format!("{name}.{kind}"));
    std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    rootfs::bind(source, &target, Access { readonly, id_map_base: Some(base) }).with_context(|| format!("bind {kind} of a build"))?;
    Ok(target)
}

fn make_for_web(directory: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    std::os::unix::fs::lchown(directory, Some(WEB_UID), Some(WEB_UID)).with_context(|| format!("give away {}", directory.display()))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).with_context(|| format!("open {}", directory.display()))
}

/// Lines of a step, as they come.
async fn tell(output: Option<ExecOutput>, log: LogSink, level: Level) {
    let Some(mut output) = output else { return };
    let (mut cutter, mut buffer) = (LineCutter::default(), vec![0u8; 16 << 10]);
    while let Ok(n) = output.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        cutter.feed(&buffer[..n], |line| say(&log, level, line));
    }
    cutter.end(|line| say(&log, level, line));
}

fn say(log: &LogSink, level: Level, line: &str) {
    match level {
        Level::Warning => log.say(level, format!("W: {line}")),
        _ => log.say(level, line),
    }
}
