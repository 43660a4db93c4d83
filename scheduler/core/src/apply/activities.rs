//! Operations: asked for, begun, ended.

use super::ACTIVITIES_KEPT;
use crate::command::Reply;
use crate::state::*;
use slipway_model::*;

/// Operations that may wait in one environment.
const WAITING_MAX: usize = 20;

pub(super) fn fresh(project: ProjectId, environment: EnvironmentId, user: String, intent: Intent, now: Moment) -> Activity {
    Activity {
        project,
        environment,
        user,
        intent,
        state: ActivityState::Pending,
        created_at: now,
        started_at: None,
        completed_at: None,
        failure: None,
        deployment: None,
        release: None,
        builds: Vec::new(),
        timings: Vec::new(),
        cancel_asked: false,
        failed: Vec::new(),
    }
}

pub(super) fn ask(state: &mut ClusterState, id: ActivityId, environment: EnvironmentId, user: String, intent: Intent) -> Reply {
    if state.activities.contains_key(&id) {
        return Reply::Activities { ids: vec![id], notes: Vec::new() };
    }
    let Some(env) = state.environments.get(&environment) else {
        return Reply::refused("there is no such environment; `slipway environment list` shows them");
    };
    if let Err(reason) = allowed(state, &environment, env, &intent) {
        return Reply::refused(reason);
    }
    if state.open_activities(&environment).count() >= WAITING_MAX {
        return Reply::refused(format!("{WAITING_MAX} operations wait in this environment already; cancel some first"));
    }
    let project = env.project.clone();
    let activity = fresh(project, environment.clone(), user, intent, state.now);
    if matches!(activity.intent, Intent::Activate) {
        state.environments.get_mut(&environment).expect("looked up above").active = true;
    }
    if matches!(activity.intent, Intent::Delete) {
        state.environments.get_mut(&environment).expect("looked up above").deleting = true;
    }
    state.activities.insert(id.clone(), activity);
    Reply::Activities { ids: vec![id], notes: Vec::new() }
}

/// Whether the environment is in a state for this.
fn allowed(state: &ClusterState, id: &EnvironmentId, environment: &Environment, intent: &Intent) -> Result<(), String> {
    let branch = &environment.branch;
    let is_default = state.projects.get(&environment.project).is_some_and(|p| &p.default_branch == branch);
    match intent {
        Intent::Push { .. } => Ok(()),
        Intent::Redeploy if !environment.active => {
            Err(format!("environment '{branch}' is inactive; bring it up with `slipway environment activate {branch}`"))
        }
        Intent::Redeploy | Intent::Activate if environment.head.is_none() => {
            Err(format!("nothing was pushed to '{branch}' yet"))
        }
        Intent::Redeploy => Ok(()),
        Intent::Activate if environment.active => Err(format!("environment '{branch}' is active already")),
        Intent::Activate => Ok(()),
        Intent::Deactivate if !environment.active => Err(format!("environment '{branch}' is inactive already")),
        Intent::Deactivate if is_default => Err(format!("'{branch}' is the project's default branch: it stays active")),
        Intent::Deactivate => Ok(()),
        Intent::Delete if is_default => Err(format!("'{branch}' is the project's default branch: it cannot be deleted")),
        Intent::Delete if environment.active => {
            Err(format!("environment '{branch}' is active; first `slipway environment deactivate {branch}`"))
        }
        Intent::Delete => Ok(()),
        Intent::Rollback { release, .. } => match state.releases.get(release) {
            Some(found) if &found.environment == id && environment.kept.contains(release) => {
                if environment.release.as_ref() == Some(release) {
                    Err(format!("release {release} serves already"))
                } else {
                    Ok(())
                }
            }
            _ => Err(format!("release '{release}' is not kept; `slipway release list` shows those that are")),
        },
    }
}

pub(super) fn ask_cancel(state: &mut ClusterState, id: &ActivityId) -> Reply {
    let now = state.now;
    let Some(activity) = state.activities.get(id) else {
        return Reply::refused(format!("there is no activity '{id}'; `slipway activity list` shows them"));
    };
    if activity.state.is_final() {
        return Reply::refused(format!("activity {id} has ended already"));
    }
    let past_freeze = activity
        .deployment
        .as_ref()
        .and_then(|d| state.deployments.get(d))
        .is_some_and(|d| d.phase >= slipway_model::phase::Phase::Freezing && !d.phase.is_final());
    if past_freeze {
        return Reply::refused("its traffic is frozen already: it ends live or undone within the hour's bound of its hooks");
    }
    let activity = state.activities.get_mut(id).expect("looked up above");
    activity.cancel_asked = true;
    if activity.state == ActivityState::Pending {
        activity.state = ActivityState::Cancelled;
        activity.completed_at = Some(now);
    }
    Reply::Done
}

pub(super) fn start(state: &mut ClusterState, id: &ActivityId) -> Reply {
    let now = state.now;
    let Some(environment) = state.activities.get(id).map(|a| a.environment.clone()) else {
        return Reply::refused("no such activity");
    };
    if state.open_activities(&environment).any(|(other, a)| other != id && a.state == ActivityState::InProgress) {
        return Reply::refused("another operation of the environment is under way");
    }
    let activity = state.activities.get_mut(id).expect("looked up above");
    match activity.state {
        ActivityState::Pending => {
            activity.state = ActivityState::InProgress;
            activity.started_at = Some(now);
            Reply::Done
        }
        ActivityState::InProgress => Reply::Done,
        _ => Reply::refused("it has ended"),
    }
}

pub(super) fn finish(
    state: &mut ClusterState,
    id: &ActivityId,
    end: ActivityState,
    failure: Option<String>,
    timings: Vec<(String, u64)>,
    failed: Vec<FailedInstance>,
) -> Reply {
    let now = state.now;
    let Some(activity) = state.activities.get_mut(id) else { return Reply::refused("no such activity") };
    if activity.state.is_final() {
        return Reply::Done;
    }
    activity.state = end;
    activity.failure = failure;
    activity.timings = timings;
    activity.failed = failed;
    activity.completed_at = Some(now);
    let environment = activity.environment.clone();
    if matches!(activity.intent, Intent::Activate) && end != ActivityState::Succeeded {
        // An environment that never came up is inactive again.
        if let Some(env) = state.environments.get_mut(&environment)
            && env.release.is_none()
        {
            env.active = false;
        }
    }
    forget_oldest(state, &environment);
    Reply::Done
}

pub(super) fn report_build(state: &mut ClusterState, id: &ActivityId, report: BuildReport) -> Reply {
    if let Some(activity) = state.activities.get_mut(id) {
        activity.builds.retain(|b| b.app != report.app);
        activity.builds.push(report);
    }
    Reply::Done
}

fn forget_oldest(state: &mut ClusterState, environment: &EnvironmentId) {
    let mut ended: Vec<_> = state
        .activities
        .iter()
        .filter(|(_, a)| &a.environment == environment && a.state.is_final())
        .map(|(id, a)| (a.created_at, id.clone()))
        .collect();
    ended.sort();
    let surplus = ended.len().saturating_sub(ACTIVITIES_KEPT);
    for (_, id) in ended.into_iter().take(surplus) {
        state.activities.remove(&id);
    }
}
