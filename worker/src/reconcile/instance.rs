//! One instance and the task that looks after it: look, plan, take a step, look again.

use super::plan::{self, Seen, Step};
use super::prepare::{Prepared, write_owned};
use super::record::{FrontRecord, Record};
use super::{Machine, Trouble};
use crate::app::cron::Crons;
use crate::app::{Answers, front};
use crate::desk::unix_ms;
use crate::inside::{Inside, Listening};
use crate::machine::{ExecSpec, Status, bound_log};
use crate::room::{Room, exec_spec, script_args};
use crate::service;
use slipway_model::instance::{INTERNAL_FRONT_PORT, InstanceSpec, Process, Target, WEB_UID};
use slipway_model::recipe::Recipe;
use slipway_model::observed::{DrainingFront, InstanceObserved, InstanceState};
use slipway_model::{Epoch, InstanceId, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks at an instance that moves, and at one that rests.
const LOOK_SOON: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(1);
/// After trouble, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Infrastructure has that many tries before people are told.
const QUIET_TRIES: u32 = 6;
/// A main process that exits so often without ever answering does not start.
const EXITS_MAX: usize = 5;
/// The same, once it has answered, within this time.
const EXITS_WINDOW_MS: i64 = 60_000;
/// Applications have this long from SIGTERM to SIGKILL; a database writes its pages out.
const APPLICATION_GRACE_S: u64 = 15;
const SERVICE_GRACE_S: u64 = 60;
/// The supervisor has nothing to do when its services are down.
const INIT_GRACE: Duration = Duration::from_secs(2);
/// An application without a limit of its own.
const START_SECONDS_MAX: u64 = 300;
const LOG_TAIL_LINES: usize = 20;
/// Where crons write, inside.
/// Then a log written from outside keeps its tail.
const OUTER_LOG_BYTES_MAX: u64 = 100 << 20;
const CRON_LOG: &str = "cron.log";

/// A cheap handle.
#[derive(Clone)]
pub(super) struct Instance {
    shared: Arc<Shared>,
}

struct Shared {
    id: InstanceId,
    id_map_base: u32,
    want: watch::Sender<Option<InstanceSpec>>,
    observed: Mutex<InstanceObserved>,
    room: Mutex<Option<Room>>,
    recipe: Mutex<Option<Recipe>>,
    volumes: Mutex<BTreeSet<VolumeId>>,
    over: AtomicBool,
    runs: AtomicBool,
    machine: Arc<Machine>,
    spec: Mutex<InstanceSpec>,
    /// Steps and a release of its data do not meet.
    stepping: tokio::sync::Mutex<()>,
}

impl Instance {
    pub fn launch(machine: Arc<Machine>, record: Record, want: Option<InstanceSpec>, ring: impl Fn() + Send + Sync + 'static) -> Instance {
        let spec = record.spec.clone();
        let observed = InstanceObserved {
            id: spec.id.clone(),
            state: InstanceState::Creating,
            ready: false,
            ingress: None,
            draining: vec![],
            background_running: 0,
            exit_code: None,
            message: None,
            log_tail: vec![],
            restarts: 0,
            memory_bytes: 0,
        };
        let shared = Shared {
            id: spec.id.clone(),
            id_map_base: record.id_map_base,
            want: watch::channel(want).0,
            observed: Mutex::new(observed),
            room: Mutex::new(None),
            recipe: Mutex::new(None),
            volumes: Mutex::new(volumes_of(&spec)),
            over: AtomicBool::new(false),
            runs: AtomicBool::new(false),
            machine: machine.clone(),
            spec: Mutex::new(spec),
            stepping: Default::default(),
        };
        let instance = Instance { shared: Arc::new(shared) };
        let life = Life {
            want: instance.shared.want.subscribe(),
            shared: instance.shared.clone(),
            machine,
            record,
            prepared: None,
            doing: None,
            trouble: None,
            tries: 0,
            quiet_since: BTreeMap::new(),
            sessions_end: CancellationToken::new(),
            background: None,
            crons: None,
            adopted: false,
            recorded: false,
            service: service::Settling::default(),
            looked: Look::default(),
            ring: Box::new(ring),
        };
        tokio::spawn(life.live());
        instance
    }

    pub fn id(&self) -> &InstanceId {
        &self.shared.id
    }

    pub fn id_map_base(&self) -> u32 {
        self.shared.id_map_base
    }

    /// Tell it what it shall be. Until it has looked again, its observation claims nothing that the change may undo:
    /// nobody may take the calm of a moment ago for the one that was ordered (F3).
    pub fn want(&self, spec: Option<InstanceSpec>) {
        let mut observed = lock(&self.shared.observed);
        self.shared.want.send_if_modified(|present| {
            if *present == spec {
                return false;
            }
            if let Some(former) = present.as_ref() {
                be_cautious(&mut observed, former, spec.as_ref());
            }
            *present = spec;
            true
        });
    }

    /// Everything of it is gone.
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::SeqCst)
    }

    pub fn observed(&self) -> InstanceObserved {
        lock(&self.shared.observed).clone()
    }

    pub fn room(&self) -> Result<Room, String> {
        lock(&self.shared.room).clone().ok_or_else(|| "the instance does not run now".to_string())
    }

    pub fn recipe(&self) -> Option<Recipe> {
        lock(&self.shared.recipe).clone()
    }

    pub fn mounts_any(&self, volumes: &BTreeSet<VolumeId>) -> bool {
        !lock(&self.shared.volumes).is_disjoint(volumes)
    }

    pub async fn release_data(&self) -> Result<(), Trouble> {
        let _turn = self.shared.stepping.lock().await;
        if self.shared.runs.load(Ordering::SeqCst) {
            return Err(Trouble::Infrastructure(format!("instance {} still runs with the volume", self.shared.id)));
        }
        let spec = lock(&self.shared.spec).clone();
        self.shared.machine.release_data(&spec)
    }
}

fn be_cautious(observed: &mut InstanceObserved, former: &InstanceSpec, spec: Option<&InstanceSpec>) {
    let ingress = spec.and_then(|s| s.ingress);
    if let Some(closing) = former.ingress.filter(|_| former.ingress != ingress) {
        let known = observed.ingress == Some(closing.epoch) || observed.draining.iter().any(|d| d.epoch == closing.epoch);
        if !known {
            observed.draining.push(DrainingFront { epoch: closing.epoch, executing: 0, since_unix_ms: unix_ms() });
        }
    }
    if former.background && !spec.is_some_and(|s| s.background) {
        let any = match &former.process {
            Process::Application { crons, .. } => !crons.is_empty(),
            Process::Worker { .. } => true,
            Process::Service { .. } => false,
        };
        observed.background_running = observed.background_running.max(u32::from(any));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn volumes_of(spec: &InstanceSpec) -> BTreeSet<VolumeId> {
    use slipway_model::instance::MountSource;
    spec.mounts.iter().filter_map(|m| if let MountSource::Volume { volume, .. } = &m.source { Some(volume.clone()) } else { None }).collect()
}

/// What one look showed beside what the plan needs.
#[derive(Default)]
struct Look {
    listening: Listening,
    exits: Vec<(i64, i32)>,
    log_tail: Vec<String>,
    draining: Vec<DrainingFront>,
    ingress: Option<Epoch>,
    main_runs: bool,
}

struct CronRun {
    running: Arc<AtomicU32>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

struct Life {
    want: watch::Receiver<Option<InstanceSpec>>,
    shared: Arc<Shared>,
    machine: Arc<Machine>,
    record: Record,
    prepared: Option<Prepared>,
    /// What is done now, when it takes its time.
    doing: Option<InstanceState>,
    trouble: Option<Trouble>,
    tries: u32,
    quiet_since: BTreeMap<Epoch, Instant>,
    sessions_end: CancellationToken,
    background: Option<bool>,
    crons: Option<CronRun>,
    /// Looked at before.
    adopted: bool,
    /// Its record is on disk.
    recorded: bool,
    service: service::Settling,
    looked: Look,
    ring: Box<dyn Fn() + Send + Sync>,
}

impl Life {
    async fn live(mut self) {
        loop {
            let want = self.want.borrow_and_update().clone();
            let pause = match self.turn(want.as_ref()).await {
                Ok(None) => break,
                Ok(Some(pause)) => {
                    self.trouble = None;
                    self.tries = 0;
                    pause
                }
                Err(trouble) => {
                    self.tries += 1;
                    tracing::warn!(instance = %self.shared.id, tries = self.tries, %trouble, "an instance cannot be brought further now");
                    self.trouble = Some(trouble);
                    self.publish(want.as_ref(), None);
                    (RETRY_FIRST * 2u32.saturating_pow(self.tries.min(10) - 1)).min(RETRY_MAX)
                }
            };
            tokio::select! {
                changed = self.want.changed() => if changed.is_err() { return },
                () = self.machine.rest.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.shared.over.store(true, Ordering::SeqCst);
        (self.ring)();
    }

    /// One look and its steps; the time until the next look, or none when nothing is left of it.
    async fn turn(&mut self, want: Option<&InstanceSpec>) -> Result<Option<Duration>, Trouble> {
        if let Some(spec) = want
            && (*spec != self.record.spec || !self.recorded)
        {
            self.recorded = true;
            self.record.spec = spec.clone();
            *lock(&self.shared.spec) = spec.clone();
            *lock(&self.shared.volumes) = volumes_of(spec);
            self.save()?;
        }
        let seen = self.look().await?;
        self.mind_background(want, &seen);
        let steps = plan::next(want, &self.record, &seen);
        self.publish(want, Some(&seen));
        let idle = steps.is_empty();
        for step in steps {
            tracing::info!(instance = %self.shared.id, ?step, "step");
            let removed = step == Step::Remove;
            let shared = self.shared.clone();
            let _turn = shared.stepping.lock().await;
            self.take(step, want).await?;
            if removed {
                return Ok(None);
            }
        }
        let rests = idle && self.looked.draining.is_empty() && (seen.ready || !matches!(seen.status, Status::Running { .. }));
        Ok(Some(if rests { LOOK_LATER } else { LOOK_SOON }))
    }

    fn directory(&self) -> PathBuf {
        self.machine.instance_directory(&self.shared.id)
    }

    fn save(&self) -> Result<(), Trouble> {
        Ok(self.record.save(&self.directory())?)
    }

    fn id(&self) -> &str {
        self.shared.id.as_str()
    }

    async fn look(&mut self) -> Result<Seen, Trouble> {
        let status = self.machine.containers.status(self.id()).await?;
        let runs = matches!(status, Status::Running { .. } | Status::Paused { .. });
        self.shared.runs.store(runs, Ordering::SeqCst);
        if runs && self.prepared.is_none() {
            self.prepared = Some(self.machine.adopt(&self.record).await?);
        }
        if !runs {
            *lock(&self.shared.room) = None;
        }
        if matches!(status, Status::Paused { .. }) && !self.adopted {
            // A former process was ended while it made a snapshot.
            self.machine.containers.resume(self.id()).await?;
        }
        self.adopted = true;
        let mut fronts = vec![];
        for front in &self.record.fronts {
            fronts.push(if runs { self.machine.containers.exec_status(self.id(), &front::exec_id(front.epoch)).await? } else { Status::Absent });
        }
        self.looked = Look::default();
        let mut ready = false;
        if let Status::Running { pid } = status {
            self.look_inside(pid);
            self.look_at_fronts(&fronts).await;
            ready = self.is_ready(pid).await?;
            self.open_room();
        }
        if ready && !self.record.was_ready {
            self.record.was_ready = true;
            self.save()?;
        }
        let prepared = self.prepared.is_some() && status != Status::Absent;
        Ok(Seen { status, prepared, ready, fronts, main_runs: self.looked.main_runs })
    }

    fn look_inside(&mut self, pid: u32) {
        self.looked.listening = Listening::of(pid);
        let Ok(inside) = Inside::of(pid) else { return };
        let exits = inside.last_lines("/run/exits", 100);
        let exit = |line: &String| {
            let mut words = line.split(' ');
            Some((words.next()?.parse::<i64>().ok()? * 1000, words.next()?.parse().ok()?))
        };
        self.looked.exits = exits.iter().filter_map(exit).collect();
        self.looked.log_tail = if self.looked.exits.is_empty() { vec![] } else { inside.last_lines("/var/log/app.log", LOG_TAIL_LINES) };
        let state = inside.tail("/run/sv/app/supervise/stat", 64).unwrap_or_default();
        self.looked.main_runs = state.starts_with(b"run") && !state.windows(9).any(|w| w == b"want down");
        if let Some(prepared) = &self.prepared {
            for name in super::prepare::OUTER_LOGS {
                let _ = bound_log(&prepared.logs.join(name), OUTER_LOG_BYTES_MAX);
            }
        }
    }

    /// Closed fronts: what they still do; those in which only half-sent requests remain are cut.
    async fn look_at_fronts(&mut self, statuses: &[Status]) {
        let fronts = self.record.fronts.clone();
        for (front, status) in fronts.iter().zip(statuses) {
            let Status::Running { pid } = status else { continue };
            if self.looked.listening.ports.contains(&front.port) && front.closed_unix_ms.is_none() {
                self.looked.ingress = Some(front.epoch);
            }
            let Some(since_unix_ms) = front.closed_unix_ms else { continue };
            let under_way = front::under_way(*pid, front.port);
            self.looked.draining.push(DrainingFront { epoch: front.epoch, executing: under_way.executing, since_unix_ms });
            if under_way != front::UnderWay::default() {
                self.quiet_since.remove(&front.epoch);
                continue;
            }
            let since = *self.quiet_since.entry(front.epoch).or_insert_with(Instant::now);
            if since.elapsed() >= front::HALF_SENT_TIME_MAX {
                self.quiet_since.remove(&front.epoch);
                if front::cut(*pid, front.port).await {
                    tracing::info!(instance = %self.shared.id, epoch = %front.epoch, "half-sent requests were cut");
                }
            }
        }
    }

    async fn is_ready(&mut self, pid: u32) -> Result<bool, Trouble> {
        let Some(prepared) = self.prepared.clone() else { return Ok(false) };
        let listening = &self.looked.listening;
        let answers = match &prepared.inside.answers {
            Answers::AtOnce => true,
            Answers::Port(port) => listening.ports.contains(port),
            Answers::Socket(path) => listening.sockets.contains(path),
        };
        if !answers || (prepared.inside.fronts && !listening.ports.contains(&INTERNAL_FRONT_PORT)) {
            return Ok(false);
        }
        if let (Process::Service { .. }, Some(recipe)) = (&self.record.spec.process, prepared.recipe.as_ref().and_then(|r| r.service.as_ref())) {
            let life = (pid, self.looked.exits.len());
            return Ok(self.service.is_settled(&self.machine.containers, &self.room_of(&prepared), recipe, life).await?);
        }
        if let Some(script) = &prepared.inside.post_start
            && !self.record.post_started
        {
            let exec = format!("post-start-{}", self.record.started_unix_ms);
            match self.machine.containers.exec_status(self.id(), &exec).await? {
                Status::Absent => {
                    let spec = exec_spec(&self.room_of(&prepared), script_args(script), &[]);
                    self.machine.containers.exec_detached(self.id(), &exec, &spec, &self.directory().join("post-start.log")).await?;
                    return Ok(false);
                }
                Status::Stopped { .. } => {
                    self.record.post_started = true;
                    self.save()?;
                    self.machine.containers.exec_delete(self.id(), &exec).await?;
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn room_of(&self, prepared: &Prepared) -> Room {
        Room {
            container: self.id().to_string(),
            env: prepared.env.clone(),
            links: self.record.spec.links.clone(),
            netns: Some(prepared.netns.clone()),
            logs: Some(prepared.logs.clone()),
            sessions_end: self.sessions_end.clone(),
        }
    }

    fn open_room(&self) {
        if let Some(prepared) = &self.prepared {
            *lock(&self.shared.room) = Some(self.room_of(prepared));
            lock(&self.shared.recipe).clone_from(&prepared.recipe);
        }
    }

    /// Crons run only while the background may; sessions of people end with it.
    fn mind_background(&mut self, want: Option<&InstanceSpec>, seen: &Seen) {
        let runs = matches!(seen.status, Status::Running { .. });
        let may = want.is_some_and(|w| w.background && w.target == Target::Running) && runs;
        if self.background == Some(true) && !may {
            self.sessions_end.cancel();
            self.sessions_end = CancellationToken::new();
        }
        self.background = Some(may);
        if self.crons.as_ref().is_some_and(|crons| crons.task.is_finished()) {
            self.crons = None;
        }
        match (&self.crons, may) {
            (Some(crons), false) => crons.stop.cancel(),
            (None, true) if self.record.was_ready => self.start_crons(),
            _ => {}
        }
    }

    fn start_crons(&mut self) {
        let Process::Application { crons, .. } = &self.record.spec.process else { return };
        let Some(prepared) = self.prepared.as_ref().filter(|_| !crons.is_empty()) else { return };
        let run = Crons {
            containers: self.machine.containers.clone(),
            room: self.room_of(prepared),
            specs: crons.clone(),
            log: prepared.logs.join(CRON_LOG),
        };
        let (running, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (count, token) = (running.clone(), stop.clone());
        let task = tokio::spawn(async move { run.run(&count, token).await });
        self.crons = Some(CronRun { running, stop, task });
    }

    async fn take(&mut self, step: Step, want: Option<&InstanceSpec>) -> Result<(), Trouble> {
        match step {
            Step::Prepare => {
                self.prepared = None;
                self.prepared = Some(self.machine.prepare(&self.record).await?);
            }
            Step::Start => self.start().await?,
            Step::Stop => {
                self.doing = Some(InstanceState::Stopping);
                self.publish(want, None);
                let stopped = self.stop().await;
                self.doing = None;
                stopped?;
            }
            Step::Remove => {
                self.doing = Some(InstanceState::Stopping);
                self.publish(want, None);
                self.machine.remove(&self.record).await?;
            }
            Step::OpenFront { epoch, port } => self.open_front(epoch, port).await?,
            Step::CloseFront(epoch) => self.close_front(epoch).await?,
            Step::ForgetFront(epoch) => {
                self.machine.containers.exec_delete(self.id(), &front::exec_id(epoch)).await?;
                self.record.fronts.retain(|front| front.epoch != epoch);
                let _ = std::fs::remove_file(self.directory().join(format!("etc/fronts/{epoch}.conf")));
                self.save()?;
            }
            Step::StartMain => self.supervise(&["up"], "main-up").await?,
            Step::StopMain => self.supervise(&["-w", "15", "force-stop"], "main-down").await?,
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), Trouble> {
        if self.record.started_unix_ms > unix_ms() - 5000 && !self.record.was_ready {
            // Its first process ended at once; not again and again without a breath.
            tokio::time::sleep(LOOK_LATER).await;
        }
        self.record.started_unix_ms = unix_ms();
        self.record.was_ready = false;
        self.record.post_started = false;
        self.record.fronts.clear();
        self.save()?;
        self.sessions_end = CancellationToken::new();
        self.machine.containers.start(self.id(), &self.directory().join("init.log")).await?;
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), Trouble> {
        *lock(&self.shared.room) = None;
        self.sessions_end.cancel();
        for front in self.record.fronts.clone() {
            self.close_front(front.epoch).await?;
        }
        if let Some(crons) = self.crons.take() {
            crons.stop.cancel();
            let _ = crons.task.await;
        }
        let grace = if matches!(self.record.spec.process, Process::Service { .. }) { SERVICE_GRACE_S } else { APPLICATION_GRACE_S };
        // Its whole container ends in any case: a supervisor that does not answer is no reason to stay.
        if let Err(error) = self.supervise(&["-w", &grace.to_string(), "force-stop"], "stop").await {
            tracing::warn!(instance = %self.shared.id, %error, "the main process could not be ended in good order");
        }
        self.machine.containers.stop_and_delete_task(self.id(), nix::libc::SIGTERM, INIT_GRACE).await?;
        self.shared.runs.store(false, Ordering::SeqCst);
        self.record.fronts.clear();
        self.save()?;
        // Its volumes are free now; they are mounted again before it starts again.
        self.machine.release_data(&self.record.spec)
    }

    /// `sv` on the main process, where there is one.
    async fn supervise(&self, command: &[&str], exec: &str) -> Result<(), Trouble> {
        let Some(prepared) = &self.prepared else { return Ok(()) };
        if !prepared.inside.files.iter().any(|file| file.path == "sv/app/run") {
            return Ok(());
        }
        let mut args = vec!["sv".to_string()];
        args.extend(command.iter().map(|word| word.to_string()));
        args.push("/run/sv/app".into());
        let spec = ExecSpec { args, env: prepared.env.clone(), cwd: "/".into(), uid: WEB_UID, gid: WEB_UID, pty: None };
        if matches!(self.machine.containers.exec_status(self.id(), exec).await?, Status::Stopped { .. }) {
            // A former process of ours ended before it could forget it.
            self.machine.containers.exec_delete(self.id(), exec).await?;
        }
        self.machine.containers.exec_detached(self.id(), exec, &spec, &self.directory().join("sv.log")).await?;
        self.machine.containers.exec_wait(self.id(), exec).await?;
        Ok(self.machine.containers.exec_delete(self.id(), exec).await?)
    }

    async fn open_front(&mut self, epoch: Epoch, port: u16) -> Result<(), Trouble> {
        let Some(prepared) = &self.prepared else { return Ok(()) };
        let env = prepared.env.clone();
        let config = self.directory().join(format!("etc/fronts/{epoch}.conf"));
        write_owned(&config, &front::config(&epoch.to_string(), port), 0o400, self.record.id_map_base + WEB_UID)?;
        if !self.record.fronts.iter().any(|front| front.epoch == epoch) {
            self.record.fronts.push(FrontRecord { epoch, port, closed_unix_ms: None });
            self.save()?;
        }
        let exec = front::exec_id(epoch);
        self.machine.containers.exec_delete(self.id(), &exec).await?;
        let spec = ExecSpec { args: front::args(epoch), env, cwd: "/".into(), uid: WEB_UID, gid: WEB_UID, pty: None };
        Ok(self.machine.containers.exec_detached(self.id(), &exec, &spec, &self.directory().join("fronts.log")).await?)
    }

    /// Written down before it is done: whatever happens then, this epoch never opens again.
    async fn close_front(&mut self, epoch: Epoch) -> Result<(), Trouble> {
        for front in self.record.fronts.iter_mut().filter(|front| front.epoch == epoch && front.closed_unix_ms.is_none()) {
            front.closed_unix_ms = Some(unix_ms());
        }
        self.record.closed_epoch = self.record.closed_epoch.max(Some(epoch));
        self.save()?;
        Ok(self.machine.containers.exec_signal(self.id(), &front::exec_id(epoch), nix::libc::SIGQUIT).await?)
    }

    fn publish(&mut self, want: Option<&InstanceSpec>, seen: Option<&Seen>) {
        let failure = self.failure(seen);
        let mut observed = lock(&self.shared.observed);
        if self.want.has_changed().unwrap_or(true) {
            // This look belongs to a former order; the next one is near.
            return;
        }
        let before = observed.clone();
        if let Some(seen) = seen {
            observed.ready = seen.ready && want.is_some_and(|w| w.target == Target::Running);
            observed.ingress = self.looked.ingress;
            observed.draining = self.looked.draining.clone();
            observed.restarts = self.looked.exits.len() as u32;
            let worker_loop = u32::from(matches!(self.record.spec.process, Process::Worker { .. }) && self.looked.main_runs);
            observed.background_running = worker_loop + self.crons.as_ref().map_or(0, |crons| crons.running.load(Ordering::SeqCst));
            observed.memory_bytes = self.machine.containers.metrics(self.shared.id.as_str()).map_or(0, |m| m.memory_bytes);
            observed.state = state(want, seen);
        }
        if let Some(doing) = self.doing {
            observed.state = doing;
        }
        (observed.exit_code, observed.message, observed.log_tail) = (None, None, vec![]);
        if let Some((exit_code, message)) = failure {
            observed.state = InstanceState::Failed;
            observed.exit_code = exit_code;
            observed.message = Some(message);
            observed.log_tail = self.looked.log_tail.clone();
        } else if let Some(trouble) = &self.trouble {
            observed.message = Some(trouble.to_string());
        }
        let changed = InstanceObserved { memory_bytes: 0, ..before } != InstanceObserved { memory_bytes: 0, ..observed.clone() };
        drop(observed);
        if changed {
            (self.ring)();
        }
    }

    /// Exit code and reason, when people must hear of it.
    fn failure(&self, seen: Option<&Seen>) -> Option<(Option<i32>, String)> {
        match &self.trouble {
            Some(Trouble::Configuration(why)) => return Some((None, why.clone())),
            Some(trouble) if self.tries >= QUIET_TRIES => return Some((None, trouble.to_string())),
            _ => {}
        }
        let seen = seen.filter(|seen| !seen.ready && matches!(seen.status, Status::Running { .. }))?;
        let exits = &self.looked.exits;
        let (recent, last) = (exits.iter().filter(|(at, _)| *at > unix_ms() - EXITS_WINDOW_MS).count(), exits.last());
        if let Some((_, code)) = last
            && (recent >= EXITS_MAX || (!self.record.was_ready && exits.len() >= EXITS_MAX))
        {
            return Some((Some(*code), format!("its main process keeps exiting, last with {code}; {} times so far", exits.len())));
        }
        let seconds_max = match (&self.record.spec.process, self.prepared.as_ref().and_then(|p| p.recipe.as_ref()?.service.as_ref())) {
            (Process::Application { start_seconds_max, .. }, _) => *start_seconds_max,
            (_, Some(service)) => service.start_seconds_max,
            _ => START_SECONDS_MAX,
        };
        let late = !seen.ready && !self.record.was_ready && unix_ms() - self.record.started_unix_ms > seconds_max as i64 * 1000;
        late.then(|| {
            let at = match self.prepared.as_ref().map(|p| &p.inside.answers) {
                Some(Answers::Port(port)) => format!("on port {port}"),
                Some(Answers::Socket(path)) => format!("on {path}"),
                _ => "yet".into(),
            };
            (last.map(|(_, code)| *code), format!("it does not answer {at} after {seconds_max} s: does its start command listen there, in the foreground?"))
        })
    }
}

fn state(want: Option<&InstanceSpec>, seen: &Seen) -> InstanceState {
    let runs = matches!(seen.status, Status::Running { .. } | Status::Paused { .. });
    match (want.map(|w| w.target), runs) {
        (Some(Target::Running), true) if seen.ready => InstanceState::Running,
        (Some(Target::Running), true) => InstanceState::Starting,
        (Some(Target::Running), false) if seen.prepared => InstanceState::Starting,
        (Some(Target::Created), false) if seen.prepared => InstanceState::Created,
        (Some(Target::Stopped), false) if seen.prepared => InstanceState::Stopped,
        (Some(_), false) => InstanceState::Creating,
        (_, true) | (None, false) => InstanceState::Stopping,
    }
}
