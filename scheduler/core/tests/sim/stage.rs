//! One environment, one worker, three routers, and deployments through storms.

use super::dice::Dice;
use super::world::*;
use slipway_core::command::{RecordPush, RefUpdate};
use slipway_core::deploy::{Step, plan};
use slipway_core::observed::Observed;
use slipway_core::state::*;
use slipway_core::table::route_table;
use slipway_core::{ClusterState, Command, Entry, Reply, apply};
use slipway_model::hosts::environment_id;
use slipway_model::instance::*;
use slipway_model::phase::Phase;
use slipway_model::route::Gate;
use slipway_model::task::TaskSpec;
use slipway_model::*;
use std::collections::{BTreeMap, BTreeSet};

/// Events of one storm; then the faults are off.
const STORM_EVENTS: u32 = 150;
/// Events within which a healed world must have ended the deployment.
const CALM_EVENTS: u32 = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    First,
    NoHook,
    HookSucceeds,
    HookFails,
    NeverReady,
    SlowRequest,
}

pub struct Stage {
    dice: Dice,
    now: Moment,
    state: ClusterState,
    observed: Observed,
    worker: Worker,
    routers: BTreeMap<NodeId, Router>,
    requests: Vec<Request>,
    environment: EnvironmentId,
    node: NodeId,
    endpoints: BTreeMap<(InstanceId, u16), Epoch>,
    never_ready: BTreeSet<InstanceId>,
    next: u64,
    ends: Vec<Phase>,
    executed: u64,
}

fn id<T: std::str::FromStr>(text: String) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("an id of the simulation")
}

impl Stage {
    pub fn new(seed: u64) -> Self {
        let project: ProjectId = id("p".into());
        let branch: BranchName = id("main".into());
        let environment = environment_id(&project, &branch);
        let mut stage = Self {
            dice: Dice::new(seed),
            now: 1_000_000,
            state: ClusterState::default(),
            observed: Observed::default(),
            worker: Worker::default(),
            routers: (1..=3).map(|n| (id(format!("router-{n}")), Router::default())).collect(),
            requests: Vec::new(),
            environment,
            node: id("w".into()),
            endpoints: BTreeMap::new(),
            never_ready: BTreeSet::new(),
            next: 0,
            ends: Vec::new(),
            executed: 0,
        };
        stage.found(project, branch);
        stage
    }

    fn found(&mut self, project: ProjectId, branch: BranchName) {
        let fresh = Project {
            title: "p".into(),
            default_branch: branch.clone(),
            flavour: None,
            created_at: 0,
            settings: BTreeMap::new(),
            entropy: String::new(),
            refs: BTreeMap::new(),
            packs: BTreeMap::new(),
            pack_generation: 0,
            variables: BTreeMap::new(),
        };
        self.apply(Command::CreateProject { id: project.clone(), project: fresh, creator: "ada".into() });
        let push = RecordPush {
            push_id: "push".into(),
            project,
            user: "ada".into(),
            updates: vec![RefUpdate { branch: branch.clone(), old: None, new: Some(id("1".repeat(40))) }],
            packs: BTreeMap::new(),
            pack_generation: 0,
            trees: BTreeMap::from([(branch, tree())]),
            flavour: None,
            activity_ids: vec![id("act-0".into())],
            options: BTreeMap::new(),
        };
        assert!(matches!(self.apply(Command::RecordPush(push)), Reply::Activities { .. }));
        self.apply(Command::StartActivity { activity: id("act-0".into()) });
    }

    fn apply(&mut self, command: Command) -> Reply {
        apply(&mut self.state, Entry { at: self.now, command })
    }

    pub fn summary(&self) -> String {
        format!("{:?}", self.ends)
    }

    /// Begins a deployment and drives it through a storm to its end.
    pub fn deploy(&mut self, way: Way) -> Result<(), String> {
        self.next += 1;
        let n = self.next;
        let release_id: ReleaseId = id(format!("rel-{n}"));
        let deployment: DeploymentId = id(format!("dep-{n}"));
        let release = self.release();
        self.apply(Command::CreateRelease { id: release_id.clone(), release });
        let (record, instances) = self.record(n, &release_id, &deployment, way);
        if way == Way::NeverReady {
            self.never_ready.insert(record.new["app"].clone());
        }
        let before = self.worker.data;
        if let Reply::Refused { reason } = self.apply(Command::BeginDeployment { id: deployment.clone(), deployment: record, instances }) {
            return Err(format!("the deployment was refused: {reason}"));
        }
        for event in 0..STORM_EVENTS + CALM_EVENTS {
            self.event(&deployment, way, event < STORM_EVENTS)?;
            self.check(&deployment)?;
            if self.state.deployments[&deployment].phase.is_final() && event > STORM_EVENTS {
                return self.ended(&deployment, way, before);
            }
        }
        let observed = &self.observed;
        let step = plan(&self.state, &deployment, observed, self.now);
        Err(format!("{way:?} did not end: {:?}, {step}", self.state.deployments[&deployment].phase))
    }

    fn event(&mut self, deployment: &DeploymentId, way: Way, storm: bool) -> Result<(), String> {
        self.now += self.dice.below(if storm { 400 } else { 120 }) as i64;
        match self.dice.below(8) {
            0 | 1 => self.drive(deployment, way),
            2 => self.worker.hear(&self.state, &self.node),
            3 => {
                // A lost turn stands for a worker that is down or slow.
                if !(storm && self.dice.one_in(3)) {
                    self.worker.reconcile(&mut self.dice, &self.requests, &self.never_ready);
                }
                self.report(storm);
            }
            4 => self.routers_take(storm),
            5 => self.send(way),
            6 => self.arrive_and_execute()?,
            _ if storm => self.fault(),
            _ => self.heal(),
        }
        Ok(())
    }

    fn report(&mut self, storm: bool) {
        if storm && self.dice.one_in(4) {
            return;
        }
        self.worker.report(&mut self.observed, &self.node);
        for (task, outcome) in &self.worker.tasks {
            self.observed.tasks.insert(task.clone(), outcome.clone());
        }
    }

    /// The leader looks and acts; a new leader would do the same.
    fn drive(&mut self, deployment: &DeploymentId, way: Way) {
        match plan(&self.state, deployment, &self.observed, self.now) {
            Step::Advance { from, to, changes, .. } => {
                let command = Command::Advance { deployment: deployment.clone(), from, to, changes };
                self.apply(command);
            }
            Step::Task { id, spec, .. } => {
                if let TaskSpec::Hook(hook) = &spec
                    && hook.epoch != self.state.environments[&self.environment].epoch
                {
                    return;
                }
                self.worker.order(&id, &spec, way == Way::HookFails);
            }
            Step::Wait { .. } | Step::Ended => {}
        }
    }

    fn routers_take(&mut self, storm: bool) {
        let table = route_table(&self.state);
        for (name, router) in &mut self.routers {
            if storm && self.dice.one_in(3) {
                continue;
            }
            router.take(&table, &self.environment);
            router.report(&mut self.observed, name, &self.environment);
        }
    }

    fn send(&mut self, way: Way) {
        let names: Vec<NodeId> = self.routers.keys().cloned().collect();
        let name = &names[self.dice.below(3) as usize];
        let router = self.routers.get_mut(name).expect("listed above");
        match router.gate {
            Some(Gate::Open) if !router.pool.is_empty() => {
                let (instance, port) = router.pool[self.dice.below(router.pool.len() as u64) as usize].clone();
                let left = if way == Way::SlowRequest && self.dice.one_in(4) { 60 } else { 1 + self.dice.below(2) as u32 };
                self.requests.push(Request { instance, port, epoch: router.epoch, left, on_the_way: true });
            }
            Some(Gate::Frozen) => router.held += 1,
            _ => {}
        }
    }

    /// Bytes arrive, late at times; the kernel refuses them when their endpoint is gone.
    fn arrive_and_execute(&mut self) -> Result<(), String> {
        let mut requests = std::mem::take(&mut self.requests);
        for request in &mut requests {
            if request.on_the_way {
                if self.dice.one_in(3) {
                    continue;
                }
                let open = self.worker.containers.get(&request.instance).and_then(|c| c.front);
                let accepted = open == Some((request.epoch, request.port));
                request.on_the_way = false;
                if !accepted {
                    request.left = 0;
                }
            } else if request.left > 0 {
                self.executed += 1;
                self.worker.data += 1;
                request.left -= 1;
                if self.worker.hook_running.is_some() {
                    return Err("a request was executed while the hook ran (F2, F3)".into());
                }
            }
        }
        // A stopped container answers nobody.
        requests.retain(|r| r.on_the_way || (r.left > 0 && self.worker.containers.get(&r.instance).is_some_and(|c| c.running)));
        self.requests = requests;
        Ok(())
    }

    fn fault(&mut self) {
        match self.dice.below(3) {
            0 => {
                let n = self.dice.below(3);
                let router = self.routers.values_mut().nth(n as usize).expect("three routers");
                router.stalled = !router.stalled;
            }
            1 => {
                if let Some(seen) = self.observed.workers.get_mut(&self.node) {
                    seen.connected = false;
                }
            }
            // A new leader knows nothing of tasks: it asks again and is answered.
            _ => self.observed.tasks.clear(),
        }
    }

    fn heal(&mut self) {
        for router in self.routers.values_mut() {
            router.stalled = false;
        }
    }

    fn check(&mut self, deployment: &DeploymentId) -> Result<(), String> {
        let record = &self.state.deployments[deployment];
        let environment = &self.state.environments[&self.environment];
        for (instance_id, instance) in &self.state.instances {
            if let Some(ingress) = instance.spec.ingress {
                let known = self.endpoints.entry((instance_id.clone(), ingress.port)).or_insert(ingress.epoch);
                if *known != ingress.epoch {
                    return Err(format!("port {} of {instance_id} was used for epochs {known} and {} (F1)", ingress.port, ingress.epoch));
                }
            }
        }
        let new_runs = record.new.values().any(|i| self.worker.containers.get(i).is_some_and(|c| c.running));
        let old_runs = record.old.values().any(|i| self.worker.containers.get(i).is_some_and(|c| c.running));
        if record.freezes && new_runs && record.previous.is_some() && !record.snapshot_taken {
            return Err("something of the new release ran before the snapshot (F4)".into());
        }
        if record.freezes && new_runs && old_runs && record.phase != Phase::Undoing && !record.phase.is_final() {
            return Err(format!("old and new code ran at once in {:?}", record.phase));
        }
        let window = record.freezes && matches!(record.phase, Phase::Snapshotting | Phase::Hooking) && record.previous.is_some();
        if window && environment.gate != Gate::Frozen {
            return Err(format!("the gate is open in {:?} (F7)", record.phase));
        }
        if window {
            let serving = record.old.values().filter_map(|i| self.worker.containers.get(i)).any(|c| c.front.is_some());
            if serving {
                return Err(format!("an old endpoint listens in {:?} (F2)", record.phase));
            }
        }
        Ok(())
    }

    fn ended(&mut self, deployment: &DeploymentId, way: Way, before: u64) -> Result<(), String> {
        let record = self.state.deployments[deployment].clone();
        self.ends.push(record.phase);
        let expected = match way {
            Way::HookFails | Way::NeverReady => Some(Phase::Undone),
            // A storm may outlast a time limit: then it is undone, and says which.
            Way::First | Way::NoHook | Way::HookSucceeds | Way::SlowRequest => {
                let timed_out = record.failure.as_ref().is_some_and(|f| f.contains("within") || f.contains("did not come about"));
                (!timed_out).then_some(Phase::Live)
            }
        };
        if expected.is_some_and(|e| e != record.phase) {
            return Err(format!("{way:?} ended {:?}: {:?}", record.phase, record.failure));
        }
        if record.phase == Phase::Undone && self.worker.data >= before + 1_000_000 {
            return Err("the failed hook's work is still in the data (F5)".into());
        }
        let environment = &self.state.environments[&self.environment];
        if environment.gate != Gate::Open {
            return Err("the gate stayed closed (F7, F11)".into());
        }
        let served = if record.phase == Phase::Live { Some(&record.release) } else { record.previous.as_ref() };
        if environment.release.as_ref() != served {
            return Err(format!("{:?} serves, {served:?} should", environment.release));
        }
        self.serves()
    }

    /// After the storm a request through each router is executed.
    fn serves(&mut self) -> Result<(), String> {
        self.requests.clear();
        for _ in 0..60 {
            self.heal();
            self.worker.hear(&self.state, &self.node);
            self.worker.reconcile(&mut self.dice, &self.requests, &self.never_ready);
            self.report(false);
            self.routers_take(false);
        }
        let before = self.executed;
        for _ in 0..60 {
            self.send(Way::NoHook);
            for _ in 0..8 {
                self.arrive_and_execute()?;
            }
        }
        if self.executed < before + 30 {
            return Err("the site does not serve after the storm".into());
        }
        Ok(())
    }

    fn release(&self) -> Release {
        Release {
            environment: self.environment.clone(),
            activity: id("act-0".into()),
            created_at: self.now,
            tree: tree(),
            slugs: BTreeMap::new(),
            images: BTreeMap::new(),
            routes: Vec::new(),
            routes_variable: serde_json::Value::Null,
            urls: Vec::new(),
            sealed_variables: String::new(),
            deployed: false,
        }
    }

    fn record(&mut self, n: u64, release: &ReleaseId, deployment: &DeploymentId, way: Way) -> (Deployment, BTreeMap<InstanceId, Instance>) {
        let environment = self.state.environments[&self.environment].clone();
        let mut instances = BTreeMap::new();
        let mut new = BTreeMap::new();
        let mut make = |stage: &Self, name: &str, kind: ContainerKind| {
            let instance_id: InstanceId = id(format!("i-{name}-{n}"));
            new.insert(name.to_string(), instance_id.clone());
            instances.insert(instance_id.clone(), stage.instance(instance_id, name, kind, release, deployment));
        };
        make(self, "app", ContainerKind::Application);
        if way == Way::First {
            make(self, "db", ContainerKind::Service);
            let volume = Volume { environment: self.environment.clone(), container: "db".into(), worker: self.node.clone(), size_mb: 1, condemned: false };
            self.apply(Command::AddVolume { id: id("vol-db".into()), volume });
        }
        let hooked = matches!(way, Way::HookSucceeds | Way::HookFails | Way::SlowRequest);
        let kept = environment.serving.iter().filter(|(name, _)| *name == "db").map(|(n, i)| (n.clone(), i.clone())).collect();
        let old = environment.serving.iter().filter(|(name, _)| *name == "app").map(|(n, i)| (n.clone(), i.clone())).collect();
        let record = Deployment {
            activity: id("act-0".into()),
            environment: self.environment.clone(),
            release: release.clone(),
            previous: None,
            phase: Phase::Placing,
            phase_since: self.now,
            freezes: hooked,
            restore: None,
            hooks: if hooked { vec![("app".into(), "true".into())] } else { Vec::new() },
            hooks_done: 0,
            ignore_hook_failure: false,
            new,
            kept,
            old,
            snapshot: None,
            snapshot_taken: false,
            dirtied: false,
            undo: UndoStep::None,
            frozen_at: None,
            opened_at: None,
            failure: None,
            history: Vec::new(),
            hook_ms: 0,
            generation: 0,
        };
        (record, instances)
    }

    fn instance(&self, instance_id: InstanceId, name: &str, kind: ContainerKind, release: &ReleaseId, deployment: &DeploymentId) -> Instance {
        Instance {
            worker: self.node.clone(),
            release: release.clone(),
            spec: InstanceSpec {
                id: instance_id,
                project: id("p".into()),
                environment: self.environment.clone(),
                deployment: deployment.clone(),
                name: name.into(),
                recipe: "php:8.2".into(),
                image: id("0".repeat(64)),
                slug: None,
                env: BTreeMap::new(),
                config_json: String::new(),
                mounts: Vec::new(),
                limits: Limits { memory_mb: 1, cpu_millis: 1, pids: 1 },
                address: std::net::Ipv4Addr::new(10, 0, 0, 1),
                hostname: name.into(),
                links: Vec::new(),
                hosts: BTreeMap::new(),
                process: Process::Service { configuration_json: String::new(), endpoints_json: String::new() },
                target: Target::Created,
                ingress: None,
                background: false,
            },
            sealed: String::new(),
            fingerprint: String::new(),
            next_port: INGRESS_PORT_FIRST,
            persistent: kind == ContainerKind::Service,
            service_port: None,
            kind,
            retired: false,
        }
    }
}

fn tree() -> PushedTree {
    PushedTree {
        commit: id("1".repeat(40)),
        message: String::new(),
        author: String::new(),
        new_commits: 1,
        project: slipway_manifest::Project {
            flavour: slipway_manifest::Flavour::Platform,
            applications: Vec::new(),
            services: Vec::new(),
            routes: Vec::new(),
            places: Default::default(),
        },
        app_trees: BTreeMap::new(),
        app_tree_sources: BTreeMap::new(),
        warnings: Vec::new(),
        plan_text: String::new(),
    }
}
