//! One environment: what runs, what ran, and what one may do.

use crate::activity;
use crate::page::*;
use crate::refusal::Refusal;
use crate::topology;
use crate::visitor::{Visitor, is_admin};
use axum::Form;
use axum::extract::Path;
use axum::response::{Html, Redirect};
use maud::{Markup, html};
use serde::Deserialize;
use slipway_proto::api::{ActivityRef, Environment, EnvironmentRequest, ListActivitiesRequest, ProjectRequest, Release, RollbackRequest};

/// Activities on an environment's page.
const ACTIVITIES: u32 = 15;

#[derive(Deserialize)]
pub struct Deed {
    csrf: String,
    #[serde(default)]
    release: String,
}

fn request(project: &str, environment: &str) -> EnvironmentRequest {
    EnvironmentRequest { project: project.into(), environment: environment.into(), run_hooks: false }
}

/// One environment as the platform knows it.
pub async fn get(visitor: &mut Visitor, project: &str, environment: &str) -> Result<Environment, Refusal> {
    Ok(visitor.client.get_environment(request(project, environment)).await.map_err(|s| visitor.refused(s))?.into_inner())
}

pub async fn show(mut visitor: Visitor, Path((project, name)): Path<(String, String)>) -> Result<Html<String>, Refusal> {
    let environment = get(&mut visitor, &project, &name).await?;
    let ask = ProjectRequest { project: project.clone() };
    let of = visitor.client.get_project(ask).await.map_err(|s| visitor.refused(s))?.into_inner();
    let releases = visitor.client.list_releases(request(&project, &name)).await.map_err(|s| visitor.refused(s))?.into_inner().releases;
    let ask = ListActivitiesRequest { project: project.clone(), environment: name.clone(), count: ACTIVITIES };
    let activities = visitor.client.list_activities(ask).await.map_err(|s| visitor.refused(s))?.into_inner().activities;
    let may = is_admin(&of.role);
    let e = &environment;
    let body = html! {
        div.row {
            h1 { (e.name) }
            (badge(&e.status))
            @if e.gate == "frozen" { span.badge.busy title="requests wait while the new release takes over" { "traffic held" } }
            @if may { (deeds(&visitor, e)) }
        }
        @if e.urls.is_empty() { (nothing_deployed(e, may)) } @else { ul.urls { @for url in &e.urls { li { (site_link(url)) } } } }
        @if !e.containers.is_empty() { section { h2 { "Topology" } (topology::drawing(e)) } section { h2 { "Containers" } (containers(e)) } }
        section { h2 { "Releases" } (release_rows(&visitor, e, &releases, may)) }
        section {
            h2 { "Activities" }
            @if activities.is_empty() { p.empty { "None yet: a push to " b { (e.name) } " makes the first one." } }
            @else { (activity::rows(&activities, false)) }
        }
        section { h2 { "About" } (about(e)) }
    };
    let trail = [("Projects", "/projects".to_string()), (of.title.as_str(), project_path(&project))];
    Ok(page(&visitor, &format!("{} of {}", e.name, of.title), &trail, &body))
}

fn deeds(visitor: &Visitor, e: &Environment) -> Markup {
    let path = environment_path(&e.project, &e.name);
    html! {
        div.deeds {
            @if e.status == "inactive" {
                form action={ (path) "/activate" } method="post" { (csrf(visitor)) button type="submit" { "Activate" } }
            } @else if e.status != "deleting" {
                form action={ (path) "/redeploy" } method="post" { (csrf(visitor)) button.quiet type="submit" { "Redeploy" } }
            }
        }
    }
}

fn nothing_deployed(e: &Environment, may: bool) -> Markup {
    html! {
        div.empty {
            @if e.status == "inactive" {
                p { "This branch is stored and not deployed." }
                @if may { p { "Activate it above, or at a terminal:" } } @else { p { "An admin of the project can activate it:" } }
                pre tabindex="0" { "slipway environment activate " (e.name) " --project " (e.project) }
            } @else { p { "Nothing is deployed yet. The activities below tell how far it came." } }
        }
    }
}

fn containers(e: &Environment) -> Markup {
    html! {
        table.stacked {
            thead { tr { th { "Container" } th { "Type" } th { "State" } th.number { "Memory" } th.number { "Disk" } th { "Worker" } th { "Slug or image" } } }
            tbody {
                @for c in &e.containers {
                    tr {
                        td.main data-label="Container" { b { (c.name) } " " span.soft { (c.kind) } }
                        td data-label="Type" { span { (c.r#type) @if !c.size.is_empty() { " " span.soft { "size " (c.size) } } } }
                        td data-label="State" { (badge(&c.state)) }
                        td.number data-label="Memory" { @if c.memory_mb > 0 { (c.memory_mb) " MB" } @else { "–" } }
                        td.number data-label="Disk" { @if c.disk_mb > 0 { (c.disk_mb) " MB" } @else { "–" } }
                        td data-label="Worker" { (c.worker) }
                        td data-label="Slug or image" { code title=(if c.slug.is_empty() { &c.image } else { &c.slug }) { (short(if c.slug.is_empty() { &c.image } else { &c.slug })) } }
                    }
                }
            }
        }
    }
}

fn release_rows(visitor: &Visitor, e: &Environment, releases: &[Release], may: bool) -> Markup {
    let path = environment_path(&e.project, &e.name);
    html! {
        @if releases.is_empty() { p.empty { "None yet. Each deployment leaves a release that one can go back to." } }
        @else {
            table.stacked {
                thead { tr { th { "Release" } th { "Commit" } th { "Created (UTC)" } th { "Message" } th { span.hidden { "Go back" } } } }
                tbody {
                    @for r in releases {
                        tr {
                            td.main data-label="Release" { code { (r.id) } " " @if r.current { span.badge.good { "current" } } }
                            td data-label="Commit" { code title=(r.commit) { (short(&r.commit)) } }
                            td data-label="Created" { (moment(&r.created_at)) }
                            td data-label="Message" { (r.message.lines().next().unwrap_or_default()) }
                            td.last {
                                @if may && !r.current && r.kept {
                                    form action={ (path) "/rollback" } method="post" {
                                        (csrf(visitor))
                                        input type="hidden" name="release" value=(r.id);
                                        button.quiet type="submit" aria-label={ "Go back to release " (r.id) } { "Go back to it" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn about(e: &Environment) -> Markup {
    html! {
        dl.lines {
            @if let Some(address) = e.ssh_url.strip_prefix("ssh://") {
                dt { "SSH" }
                dd { code.copy tabindex="0" { "ssh " @match address.rsplit_once(':') { Some((host, port)) => { "-p " (port) " " (host) } None => { (address) } } } }
            }
            dt { "Machine name" } dd { code { (e.machine_name) } }
            @if !e.r#type.is_empty() { dt { "Type" } dd { (e.r#type) } }
            @if !e.parent.is_empty() { dt { "Parent" } dd { (e.parent) } }
            @if !e.head_commit.is_empty() { dt { "Head" } dd { code { (e.head_commit) } } }
            dt { "Updated" } dd { (moment(&e.updated_at)) }
        }
    }
}

pub async fn redeploy(mut visitor: Visitor, Path((project, name)): Path<(String, String)>, Form(deed): Form<Deed>) -> Result<Redirect, Refusal> {
    visitor.check_form(&deed.csrf)?;
    let begun = visitor.client.redeploy_environment(request(&project, &name)).await.map_err(|s| visitor.refused(s))?.into_inner();
    Ok(to_activity(&visitor, &project, &name, &begun))
}

pub async fn activate(mut visitor: Visitor, Path((project, name)): Path<(String, String)>, Form(deed): Form<Deed>) -> Result<Redirect, Refusal> {
    visitor.check_form(&deed.csrf)?;
    let begun = visitor.client.activate_environment(request(&project, &name)).await.map_err(|s| visitor.refused(s))?.into_inner();
    Ok(to_activity(&visitor, &project, &name, &begun))
}

pub async fn rollback(mut visitor: Visitor, Path((project, name)): Path<(String, String)>, Form(deed): Form<Deed>) -> Result<Redirect, Refusal> {
    visitor.check_form(&deed.csrf)?;
    let ask = RollbackRequest { project: project.clone(), environment: name.clone(), release: deed.release, run_hooks: false, with_data: false };
    let begun = visitor.client.rollback(ask).await.map_err(|s| visitor.refused(s))?.into_inner();
    Ok(to_activity(&visitor, &project, &name, &begun))
}

/// To what was begun, or back with the reason why nothing was.
fn to_activity(visitor: &Visitor, project: &str, environment: &str, begun: &ActivityRef) -> Redirect {
    if !begun.note.is_empty() {
        visitor.leave_notice(begun.note.clone());
    }
    if begun.activity.is_empty() { Redirect::to(&environment_path(project, environment)) } else { Redirect::to(&activity_path(&begun.activity)) }
}
