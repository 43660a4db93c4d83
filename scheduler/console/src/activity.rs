//! One operation: how it goes on, and its log.

use crate::environment::get as environment;
use crate::logline::{Line, clean};
use crate::page::*;
use crate::refusal::Refusal;
use crate::topology;
use crate::visitor::{Visitor, is_contributor};
use axum::Form;
use axum::extract::{Path, Query};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use slipway_proto::api::{self, Activity, ActivityRequest, FollowLogRequest, LogRecord, ProjectRequest};
use std::collections::VecDeque;

/// Lines of one page; longer logs are leafed through.
const LINES_MAX: usize = 5000;

#[derive(Deserialize)]
pub struct Asked {
    from: Option<u64>,
}

#[derive(Deserialize)]
pub struct Cancel {
    csrf: String,
}

pub async fn show(mut visitor: Visitor, Path(id): Path<String>, Query(asked): Query<Asked>) -> Result<Response, Refusal> {
    let activity = get(&mut visitor, &id).await?;
    let project = ProjectRequest { project: activity.project.clone() };
    let project = visitor.client.get_project(project).await.map_err(|s| visitor.refused(s))?.into_inner();
    // The environment may be gone; its last activity is still shown.
    let place = environment(&mut visitor, &activity.project, &activity.environment).await.ok();
    let log = Excerpt::read(&mut visitor, &id, asked.from).await?;
    let live = !is_ended(&activity) && log.later.is_none();
    let path = activity_path(&id);
    let body = html! {
        div data-summary=[live.then(|| format!("{path}/summary"))] { (summary_markup(&activity)) }
        @if !is_ended(&activity) && is_contributor(&project.role) {
            form.deed action={ (path) "/cancel" } method="post" { (csrf(&visitor)) button.quiet type="submit" { "Cancel" } }
        }
        section aria-labelledby="log-title" {
            div.row {
                h2 id="log-title" { "Log" }
                @if live { span.badge.busy data-live { "reload to see more" } }
            }
            @if let Some(earlier) = log.earlier { p.soft { a href={ (path) "?from=" (earlier) } { "Earlier lines" } } }
            ol.log tabindex="0" role="log" aria-live="off" aria-labelledby="log-title"
                data-events=[live.then(|| format!("{path}/events"))] data-next=(log.next) {
                @for record in &log.records { (Line::of(record).markup()) }
            }
            @if let Some(later) = log.later { p.soft { a href={ (path) "?from=" (later) } { "Later lines" } } }
            @if log.records.is_empty() && !live { p.empty { "Nothing was logged." } }
        }
        @if let Some(place) = place.filter(|place| !place.containers.is_empty()) {
            section { h2 { "What runs in " (place.name) } (topology::drawing(&place)) }
        }
    };
    let trail = [
        ("Projects", "/projects".to_string()),
        (project.title.as_str(), project_path(&activity.project)),
        (activity.environment.as_str(), environment_path(&activity.project, &activity.environment)),
    ];
    Ok(page(&visitor, &format!("{} {}", kind(&activity), activity.environment), &trail, &body).into_response())
}

/// The upper part alone, for the script.
pub async fn summary(mut visitor: Visitor, Path(id): Path<String>) -> Result<Html<String>, Refusal> {
    let activity = get(&mut visitor, &id).await?;
    Ok(Html(summary_markup(&activity).into_string()))
}

pub async fn cancel(mut visitor: Visitor, Path(id): Path<String>, Form(form): Form<Cancel>) -> Result<Redirect, Refusal> {
    visitor.check_form(&form.csrf)?;
    visitor.client.cancel_activity(ActivityRequest { activity: id.clone() }).await.map_err(|s| visitor.refused(s))?;
    visitor.leave_notice("The activity is asked to end.");
    Ok(Redirect::to(&activity_path(&id)))
}

async fn get(visitor: &mut Visitor, id: &str) -> Result<Activity, Refusal> {
    let request = ActivityRequest { activity: id.to_string() };
    Ok(visitor.client.get_activity(request).await.map_err(|s| visitor.refused(s))?.into_inner())
}

pub fn is_ended(activity: &Activity) -> bool {
    matches!(activity.state.as_str(), "complete" | "cancelled")
}

/// State, or how it ended.
pub fn word(activity: &Activity) -> &str {
    if activity.result.is_empty() { &activity.state } else { &activity.result }
}

/// `push` of `environment.push`.
pub fn kind(activity: &Activity) -> String {
    let word = activity.r#type.rsplit('.').next().unwrap_or_default();
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn summary_markup(a: &Activity) -> Markup {
    html! {
        div.row { h1 { (kind(a)) " " span.soft { (a.environment) } } (badge(word(a))) }
        p.lead { (a.text.trim()) }
        @if !a.failure.is_empty() { p.error role="alert" { (a.failure) } }
        @for failed in &a.failed { (failed_markup(failed)) }
        @if !a.urls.is_empty() && a.result == "success" {
            ul.urls { @for url in &a.urls { li { (site_link(url)) } } }
        }
        dl.facts {
            div { dt { "By" } dd { (a.user) } }
            div { dt { "Begun" } dd { (moment(if a.started_at.is_empty() { &a.created_at } else { &a.started_at })) } }
            @if !a.completed_at.is_empty() { div { dt { "Ended" } dd { (moment(&a.completed_at)) } } }
            @if !a.commit.is_empty() { div { dt { "Commit" } dd { code title=(a.commit) { (short(&a.commit)) } } } }
            @if !a.release.is_empty() { div { dt { "Release" } dd { code { (a.release) } } } }
        }
        div.pair {
            @if !a.phases.is_empty() { section { h2 { "Phases" } (phases(&a.phases)) } }
            @if !a.builds.is_empty() { section { h2 { "Builds" } (builds(&a.builds)) } }
            @if let Some(freeze) = a.freeze.as_ref().filter(|f| f.freeze_ms > 0) { section { h2 { "Freeze" } (freeze_markup(freeze)) } }
        }
    }
}

fn phases(phases: &[api::PhaseTiming]) -> Markup {
    let longest = phases.iter().map(|p| p.ms).max().unwrap_or(0).max(1);
    html! {
        table.plain {
            thead { tr { th { "Phase" } th.number { "Time" } th.wide-only { span.hidden { "Share" } } } }
            tbody {
                @for phase in phases {
                    tr {
                        td { (phase.name) @if !phase.note.is_empty() { " " span.soft { (phase.note) } } }
                        td.number { (duration(phase.ms)) }
                        td.wide-only { progress max=(longest) value=(phase.ms) aria-hidden="true" {} }
                    }
                }
            }
        }
    }
}

fn builds(builds: &[api::BuildReport]) -> Markup {
    html! {
        table.plain {
            thead { tr { th { "Application" } th { "Slug" } th.number { "Time" } th.number { "Uploaded" } } }
            tbody {
                @for b in builds {
                    tr {
                        td { (b.app) " " @if b.reused { span.badge.calm { "reused" } } @else { span.badge.good { "built" } } }
                        td { code title=(b.slug) { (short(&b.slug)) } }
                        td.number { @if b.reused { "–" } @else { (duration(b.ms)) } }
                        td.number { @if b.reused { "–" } @else { (bytes(b.uploaded_bytes)) } }
                    }
                }
            }
        }
    }
}

fn freeze_markup(f: &api::FreezeReport) -> Markup {
    html! {
        dl.facts {
            div { dt { "Traffic held for" } dd { (duration(f.freeze_ms)) } }
            div { dt { "Deploy hook" } dd { (duration(f.hook_ms)) } }
            div { dt { "Requests held" } dd { (f.held) } }
            div { dt { "Refused with 503" } dd { (f.rejected) } }
            div { dt { "Routers" } dd { (f.routers) } }
        }
    }
}

fn failed_markup(f: &api::FailedInstance) -> Markup {
    html! {
        section.failed {
            h2 { (f.name) " ended with status " (f.exit_code) }
            @if !f.restored.is_empty() {
                p { "Put back: " (f.restored) @if f.undo_ms > 0 { " in " (duration(f.undo_ms)) } "." }
            }
            @if !f.log_tail.is_empty() {
                pre tabindex="0" aria-label="Its last lines" { @for line in &f.log_tail { (clean(line)) "\n" } }
            }
        }
    }
}

/// The part of a log that a page shows.
struct Excerpt {
    records: VecDeque<LogRecord>,
    /// Where the page before, or after, begins.
    earlier: Option<u64>,
    later: Option<u64>,
    /// What a live log goes on with.
    next: u64,
}

impl Excerpt {
    /// From a record on, or else the last lines that there are.
    async fn read(visitor: &mut Visitor, id: &str, from: Option<u64>) -> Result<Self, Refusal> {
        let request = FollowLogRequest { activity: id.to_string(), from_seq: from.unwrap_or(0), no_follow: true };
        let mut stream = visitor.client.follow_log(request).await.map_err(|s| visitor.refused(s))?.into_inner();
        let mut excerpt = Self { records: VecDeque::new(), earlier: None, later: None, next: from.unwrap_or(0) };
        while let Some(record) = stream.message().await.map_err(|s| visitor.refused(s))? {
            if record.seal {
                break;
            }
            if excerpt.records.len() == LINES_MAX {
                if from.is_some() {
                    excerpt.later = Some(record.seq);
                    break;
                }
                excerpt.records.pop_front();
            }
            excerpt.next = record.seq + 1;
            excerpt.records.push_back(record);
        }
        let first = excerpt.records.front().map_or(0, |record| record.seq);
        excerpt.earlier = (first > 0).then(|| first.saturating_sub(LINES_MAX as u64));
        Ok(excerpt)
    }
}

/// Activities as rows, for the pages of projects and environments.
pub fn rows(activities: &[Activity], with_environment: bool) -> Markup {
    html! {
        table.stacked {
            thead { tr { th { "Activity" } @if with_environment { th { "Environment" } } th { "State" } th { "By" } th { "When (UTC)" } } }
            tbody {
                @for a in activities {
                    tr {
                        td.main data-label="Activity" {
                            a href=(activity_path(&a.id)) { (kind(a)) }
                            " " span.soft { (a.text.lines().next().unwrap_or_default()) }
                        }
                        @if with_environment { td data-label="Environment" { (a.environment) } }
                        td data-label="State" { (badge(word(a))) }
                        td data-label="By" { (a.user) }
                        td data-label="When" { (moment(&a.created_at)) }
                    }
                }
            }
        }
    }
}
