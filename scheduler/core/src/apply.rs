//! `apply`: the only way the state changes. It has no clock, no channel, no idea who leads.

mod accounts;
mod activities;
mod deployments;
mod environments;
mod push;

use crate::command::{Command, Entry, Reply};
use crate::state::*;

/// The most activities that are kept of one environment once they are final.
const ACTIVITIES_KEPT: usize = 200;
/// The most push ids that are remembered for a push repeated after a broken connection.
const PUSH_IDS_KEPT: usize = 10_000;
/// Releases that can be gone back to.
pub const RELEASES_KEPT: usize = 10;

/// Applies one entry.
pub fn apply(state: &mut ClusterState, entry: Entry) -> Reply {
    // The leader's clock may step back; the ledger's does not.
    state.now = state.now.max(entry.at);
    let reply = match entry.command {
        Command::PutUser { user, admin } => accounts::put_user(state, user, admin),
        Command::Grant { user, project, role } => accounts::grant(state, user, project, role),
        Command::AddKey { id, key } => accounts::add_key(state, id, key),
        Command::RemoveKey { id, user } => accounts::remove_key(state, &id, user),
        Command::AddToken { id, token } => accounts::add_token(state, id, token),
        Command::RemoveToken { id, user } => accounts::remove_token(state, &id, user),
        Command::CreateProject { id, project, creator } => environments::create_project(state, id, project, creator),
        Command::UpdateProject { id, title, settings } => environments::update_project(state, &id, title, settings),
        Command::DeleteProject { id } => environments::delete_project(state, &id),
        Command::SetVariable { project, branch, name, variable } => {
            environments::set_variable(state, &project, branch, name, Some(variable))
        }
        Command::DeleteVariable { project, branch, name } => environments::set_variable(state, &project, branch, name, None),
        Command::SetCredential { environment, name, sealed } => environments::set_credential(state, &environment, name, sealed),
        Command::Deactivated { environment, activity } => environments::deactivated(state, &environment, &activity),
        Command::EnvironmentDeleted { environment } => environments::deleted(state, &environment),
        Command::AddVolume { id, volume } => environments::add_volume(state, id, volume),
        Command::ForgetVolumes { ids } => environments::forget_volumes(state, &ids),
        Command::RecordPush(push) => push::record(state, push),
        Command::Ask { activity, environment, user, intent } => activities::ask(state, activity, environment, user, intent),
        Command::AskCancel { activity } => activities::ask_cancel(state, &activity),
        Command::StartActivity { activity } => activities::start(state, &activity),
        Command::FinishActivity { activity, state: end, failure, timings, failed } => {
            activities::finish(state, &activity, end, failure, timings, failed)
        }
        Command::ReportBuild { activity, report } => activities::report_build(state, &activity, report),
        Command::RegisterWorker { id, record } => deployments::register_worker(state, id, record),
        Command::DrainWorker { id } => deployments::drain_worker(state, &id),
        Command::RecordImage { digest, image } => {
            // The first recorded result wins.
            state.images.entry(digest).or_insert(image);
            Reply::Done
        }
        Command::AssignBuild { key, worker, attempt } => deployments::assign_build(state, key, worker, attempt),
        Command::ReleaseBuild { key, attempt } => deployments::release_build(state, &key, attempt),
        Command::RecordBuild { key, slug, bytes, worker } => {
            if !matches!(state.builds.get(&key), Some(Build::Done { .. })) {
                state.builds.insert(key, Build::Done { slug, bytes, worker });
            }
            Reply::Done
        }
        Command::CreateRelease { id, release } => deployments::create_release(state, id, release),
        Command::BeginDeployment { id, deployment, instances } => deployments::begin(state, id, deployment, instances),
        Command::Advance { deployment, from, to, changes } => deployments::advance(state, &deployment, from, to, changes),
        Command::ForgetInstances { ids } => deployments::forget_instances(state, &ids),
        Command::RetireRelease { environment, release } => deployments::retire_release(state, &environment, &release),
    };
    trim(state);
    reply
}

/// Keeps what grows with time within its bounds.
fn trim(state: &mut ClusterState) {
    while state.push_ids.len() > PUSH_IDS_KEPT {
        state.push_ids.pop_first();
    }
}
