//! What the pusher reads: heading, phases, URLs, and on a failure what still runs.

use super::activity::Drive;
use super::release;
use crate::api::freeze_report;
use crate::make::routes;
use slipway_core::state::*;
use slipway_model::phase::Phase;

/// The first lines of an activity's log (lifecycle §2.1).
pub fn heading(drive: &Drive, activity: &Activity) -> anyhow::Result<()> {
    let environment = drive.env()?;
    let branch = &environment.branch;
    let (user, verb) = (&activity.user, match &activity.intent {
        Intent::Push { .. } => "pushed to",
        Intent::Redeploy => "redeployed",
        Intent::Activate => "activated",
        Intent::Deactivate => "deactivated",
        Intent::Delete => "deleted",
        Intent::Rollback { .. } => "rolled back",
    });
    drive.say(0, format!("Processing activity: **{user}** {verb} **{branch}** ({})", drive.id));
    if let Intent::Push { tree } = &activity.intent {
        let plural = if tree.new_commits == 1 { "" } else { "s" };
        drive.say(1, format!("Found {} new commit{plural}", tree.new_commits));
        for warning in &tree.warnings {
            drive.warn(1, format!("{warning}"));
        }
    }
    if let Intent::Activate = activity.intent
        && environment.parent.is_some()
    {
        drive.say(1, "It starts with empty data: cloning the parent's data is not built yet.");
    }
    Ok(())
}

/// `build`, `deploy` … in milliseconds, from the ledger.
pub fn timings(drive: &Drive) -> Vec<(String, u64)> {
    let now = crate::chance::now_ms();
    drive.office.read(|state| {
        let Some(activity) = state.activities.get(&drive.id) else { return Vec::new() };
        let mut timings = Vec::new();
        let started = activity.started_at.unwrap_or(activity.created_at);
        timings.push(("wait".to_string(), span(activity.created_at, started)));
        let Some(deployment) = activity.deployment.as_ref().and_then(|d| state.deployments.get(d)) else {
            timings.push(("build".to_string(), span(started, now)));
            return timings;
        };
        let begun = deployment.history.first().map_or(started, |(_, at)| *at);
        timings.push(("build".to_string(), span(started, begun)));
        for (n, (phase, at)) in deployment.history.iter().enumerate() {
            if phase.is_final() {
                continue;
            }
            let end = deployment.history.get(n + 1).map_or(now, |(_, at)| *at);
            timings.push((format!("{phase:?}").to_lowercase(), span(*at, end)));
        }
        timings
    })
}

fn span(from: Moment, to: Moment) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}

/// `1.2 s`, `340 ms`.
fn lasting(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

/// Topology, routes, the table of phases and the URLs.
pub fn success(drive: &Drive, deployment: &Deployment) {
    let Some(release) = drive.office.read(|s| s.releases.get(&deployment.release).cloned()) else { return };
    topology(drive, &release);
    table(drive, deployment);
    drive.say(0, "");
    drive.say(0, format!("Release {} is live:", deployment.release));
    for url in &release.urls {
        drive.say(1, url.clone());
    }
}

fn topology(drive: &Drive, release: &Release) {
    drive.say(2, "Environment configuration:");
    for app in &release.tree.project.applications {
        let disk = app.disk.map(|d| format!(", disk: {d}")).unwrap_or_default();
        drive.say(3, format!("{} (type: {}, size: {}{disk})", app.name, app.kind, app.size));
        for worker in app.workers.keys() {
            drive.say(3, format!("{}--{worker} (type: {}, size: {}{disk})", app.name, app.kind, app.size));
        }
    }
    for service in &release.tree.project.services {
        let disk = service.disk.map(|d| format!(", disk: {d}")).unwrap_or_default();
        drive.say(3, format!("{} (type: {}, size: {}{disk})", service.name, service.kind, service.size));
    }
    drive.say(2, "Environment routes:");
    if let Ok(environment) = drive.env()
        && let Ok(resolved) = release::resolve(drive, &environment, &release.tree)
    {
        for line in routes::lines(&resolved) {
            drive.say(3, line);
        }
    }
}

fn table(drive: &Drive, deployment: &Deployment) {
    let activity = drive.activity().ok();
    let builds = activity.as_ref().map(|a| a.builds.clone()).unwrap_or_default();
    let (reused, built): (Vec<_>, Vec<_>) = builds.iter().partition(|b| b.reused);
    drive.say(0, "");
    drive.say(1, format!("{:<12} {:>9}  {}", "Phase", "Time", "Note"));
    for (phase, ms) in timings(drive) {
        let note = match phase.as_str() {
            "build" if builds.is_empty() => "nothing to build".to_string(),
            "build" => {
                let names = |list: &[&BuildReport]| list.iter().map(|b| b.app.clone()).collect::<Vec<_>>().join(", ");
                let mut notes = Vec::new();
                if !built.is_empty() {
                    notes.push(format!("built {} ({})", built.len(), names(&built)));
                }
                if !reused.is_empty() {
                    notes.push(format!("reused {} ({})", reused.len(), names(&reused)));
                }
                notes.join(", ")
            }
            "hooking" => format!("of it the hooks {}", lasting(deployment.hook_ms)),
            _ => String::new(),
        };
        drive.say(1, format!("{phase:<12} {:>9}  {note}", lasting(ms)).trim_end().to_string());
    }
    let freeze = freeze_report(&drive.office.world, deployment);
    if deployment.frozen_at.is_some() && deployment.previous.is_some() {
        drive.say(1, format!(
            "Traffic was held for {} ms: {} request(s) held, {} answered 503 ({} router(s))",
            freeze.freeze_ms, freeze.held, freeze.rejected, freeze.routers
        ));
    } else {
        drive.say(1, "Traffic was not held.");
    }
}

/// Why it failed, and that nothing has happened.
pub fn failure(drive: &Drive, deployment: &Deployment, reason: &str, failed: &[FailedInstance]) {
    for instance in failed {
        let code = instance.exit_code.map(|c| format!(" (exit code {c})")).unwrap_or_default();
        drive.error(format!("last lines of '{}'{code}:", instance.name));
        for line in &instance.log_tail {
            drive.say(2, line.clone());
        }
    }
    table_of_undo(drive, deployment);
    drive.error(format!("Deployment failed: {reason}"));
    still_runs(drive);
}

fn table_of_undo(drive: &Drive, deployment: &Deployment) {
    let at = |phase| deployment.history.iter().find(|(p, _)| *p == phase).map(|(_, at)| *at);
    if let (Some(from), Some(to)) = (at(Phase::Undoing), at(Phase::Undone)) {
        let what = if deployment.dirtied && deployment.snapshot_taken { "data, services and old release put back" } else { "nothing had been changed" };
        drive.say(1, format!("Undone in {}: {what}", lasting(span(from, to))));
    }
}

/// What serves after a failure, and how to try again.
pub fn still_runs(drive: &Drive) {
    let Ok(environment) = drive.env() else { return };
    let branch = &environment.branch;
    match &environment.release {
        Some(release) => {
            let commit = drive.office.read(|s| s.releases.get(release).map(|r| r.tree.commit.to_string())).unwrap_or_default();
            let short = commit.get(..7).unwrap_or(&commit);
            drive.say(0, format!("Nothing has happened to your site: release {release} (commit {short}) serves on."));
        }
        None => drive.say(0, format!("Environment {branch} has no release yet: nothing serves.")),
    }
    drive.say(0, format!("The branch has moved. Push again, or try once more with `slipway environment redeploy {branch}`."));
}
