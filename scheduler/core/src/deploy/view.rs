//! One deployment and what is seen of it.

use super::Step;
use crate::command::Change;
use crate::observed::Observed;
use crate::state::*;
use slipway_model::instance::Target;
use slipway_model::observed::{InstanceObserved, InstanceState};
use slipway_model::phase::Phase;
use slipway_model::{DeploymentId, InstanceId};

pub(super) struct View<'a> {
    pub state: &'a ClusterState,
    pub id: &'a DeploymentId,
    pub deployment: &'a Deployment,
    pub environment: &'a Environment,
    pub observed: &'a Observed,
    pub now: Moment,
}

/// What a group of instances has come to.
pub(super) enum Progress {
    Done,
    /// Names that are not there yet.
    Waiting(String),
    /// An instance failed; for people.
    Failed(String),
}

impl<'a> View<'a> {
    pub fn of(state: &'a ClusterState, id: &'a DeploymentId, observed: &'a Observed, now: Moment) -> Option<Self> {
        let deployment = state.deployments.get(id)?;
        let environment = state.environments.get(&deployment.environment)?;
        Some(Self { state, id, deployment, environment, observed, now })
    }

    /// How long the present phase has lasted.
    pub fn phase_ms(&self) -> i64 {
        self.now - self.deployment.phase_since
    }

    /// Look again then, unless something is reported before.
    pub fn at(&self, ms_in_phase: i64) -> Option<Moment> {
        Some(self.deployment.phase_since + ms_in_phase)
    }

    pub fn advance(&self, to: Phase, changes: Vec<Change>, because: impl Into<String>) -> Step {
        Step::Advance { from: self.deployment.phase, to, changes, because: because.into() }
    }

    pub fn fail(&self, reason: impl Into<String>) -> Step {
        let reason = reason.into();
        self.advance(Phase::Undoing, vec![Change::Fail { reason: reason.clone() }], reason)
    }

    /// New or old instances of one kind.
    pub fn of_kind(&self, among: impl Iterator<Item = &'a InstanceId>, kinds: &[ContainerKind]) -> Vec<&'a InstanceId> {
        among.filter(|id| self.state.instances.get(*id).is_some_and(|i| kinds.contains(&i.kind))).collect()
    }

    pub fn new_of(&self, kinds: &[ContainerKind]) -> Vec<&'a InstanceId> {
        self.of_kind(self.deployment.new.values(), kinds)
    }

    pub fn old_of(&self, kinds: &[ContainerKind]) -> Vec<&'a InstanceId> {
        self.of_kind(self.deployment.old.values(), kinds)
    }

    fn seen(&self, id: &InstanceId) -> Option<&'a InstanceObserved> {
        self.observed.instances.get(id)
    }

    fn name(&self, id: &InstanceId) -> String {
        self.state.instances.get(id).map_or_else(|| id.to_string(), |i| i.spec.name.clone())
    }

    /// True when the instance's worker has acted on this deployment's last change.
    pub fn reflected(&self, id: &InstanceId) -> bool {
        self.state.instances.get(id).is_some_and(|i| self.observed.reflects(&i.worker, self.deployment.generation))
    }

    pub fn target(&self, id: &InstanceId) -> Option<Target> {
        self.state.instances.get(id).map(|i| i.spec.target)
    }

    /// Whether all have come to what `reached` asks for.
    pub fn progress(&self, ids: &[&InstanceId], reached: impl Fn(&InstanceObserved) -> bool) -> Progress {
        let mut waiting = Vec::new();
        for id in ids {
            match self.seen(id) {
                Some(seen) if seen.state == InstanceState::Failed && self.reflected(id) => {
                    let why = seen.message.clone().unwrap_or_else(|| match seen.exit_code {
                        Some(code) => format!("it ended with exit code {code}"),
                        None => "it failed".to_string(),
                    });
                    return Progress::Failed(format!("'{}' did not start: {why}", self.name(id)));
                }
                Some(seen) if reached(seen) && self.reflected(id) => {}
                _ => waiting.push(self.name(id)),
            }
        }
        if waiting.is_empty() { Progress::Done } else { Progress::Waiting(waiting.join(", ")) }
    }

    pub fn created(&self, ids: &[&InstanceId]) -> Progress {
        self.progress(ids, |seen| seen.state != InstanceState::Creating)
    }

    pub fn ready(&self, ids: &[&InstanceId]) -> Progress {
        self.progress(ids, |seen| seen.state == InstanceState::Running && seen.ready)
    }

    /// Stopped; one that failed runs no more either, and one that is gone cannot run.
    pub fn stopped(&self, ids: &[&InstanceId]) -> Progress {
        let mut waiting = Vec::new();
        for id in ids {
            let stopped = self.seen(id).is_none_or(|seen| {
                matches!(seen.state, InstanceState::Stopped | InstanceState::Created | InstanceState::Failed)
            });
            if !(stopped && self.reflected(id)) {
                waiting.push(self.name(id));
            }
        }
        if waiting.is_empty() { Progress::Done } else { Progress::Waiting(waiting.join(", ")) }
    }

    /// The endpoints for the next epoch listen.
    pub fn listening(&self, ids: &[&InstanceId]) -> Progress {
        let next = slipway_model::Epoch(self.environment.epoch.0 + 1);
        self.progress(ids, |seen| seen.ingress == Some(next))
    }

    /// Applications whose endpoint for the next epoch is not asked for yet.
    pub fn without_next_ingress(&self, ids: &[&InstanceId]) -> Vec<InstanceId> {
        let next = self.environment.epoch.0 + 1;
        ids.iter()
            .filter(|id| self.state.instances.get(**id).is_some_and(|i| i.spec.ingress.is_none_or(|g| g.epoch.0 != next)))
            .map(|id| (*id).clone())
            .collect()
    }

    /// Requests that routers still wait for, the slowest named.
    pub fn slowest_requests(&self) -> Vec<String> {
        let mut slowest: Vec<String> = self
            .observed
            .routers
            .values()
            .filter_map(|r| r.environments.get(&self.deployment.environment))
            .flat_map(|e| e.slowest.iter().cloned())
            .collect();
        slowest.truncate(5);
        slowest
    }

    /// `SetTarget` for those that have another one.
    pub fn retarget(&self, ids: &[&InstanceId], target: Target) -> Vec<Change> {
        ids.iter()
            .filter(|id| self.target(id).is_some_and(|t| t != target))
            .map(|id| Change::SetTarget { instance: (*id).clone(), target })
            .collect()
    }
}
