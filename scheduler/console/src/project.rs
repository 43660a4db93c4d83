//! Projects: all of them, and one.

use crate::activity;
use crate::page::*;
use crate::refusal::Refusal;
use crate::visitor::Visitor;
use axum::extract::Path;
use axum::response::Html;
use maud::{Markup, html};
use slipway_proto::api::{Empty, Environment, ListActivitiesRequest, Project, ProjectRequest};
use std::collections::BTreeMap;

/// Activities on a project's page.
const ACTIVITIES: u32 = 15;

pub async fn list(mut visitor: Visitor) -> Result<Html<String>, Refusal> {
    let projects = visitor.client.list_projects(Empty {}).await.map_err(|s| visitor.refused(s))?.into_inner().projects;
    let body = html! {
        h1 { "Projects" }
        @if projects.is_empty() {
            div.empty {
                p { "You have no project yet." }
                @if visitor.session.admin { p { "Make the first one at a terminal:" } pre { "slipway project create --title \"My project\"" } }
                @else { p { "Ask an admin of a project for " code { "slipway project grant " (visitor.session.user) " contributor" } "." } }
            }
        }
        ul.cards {
            @for p in &projects {
                li.card {
                    h2 { a.cover href=(project_path(&p.id)) { (p.title) } }
                    p.soft { code { (p.id) } }
                    p.soft { "deploys " b { (p.default_branch) } " · you are " (p.role) }
                }
            }
        }
    };
    Ok(page(&visitor, "Projects", &[], &body))
}

pub async fn show(mut visitor: Visitor, Path(id): Path<String>) -> Result<Html<String>, Refusal> {
    let request = ProjectRequest { project: id.clone() };
    let project = visitor.client.get_project(request.clone()).await.map_err(|s| visitor.refused(s))?.into_inner();
    let mut environments = visitor.client.list_environments(request).await.map_err(|s| visitor.refused(s))?.into_inner().environments;
    environments.sort_by_key(|e| (e.name != project.default_branch, e.status == "inactive", e.name.clone()));
    let ask = ListActivitiesRequest { project: id, environment: String::new(), count: ACTIVITIES };
    let activities = visitor.client.list_activities(ask).await.map_err(|s| visitor.refused(s))?.into_inner().activities;
    let body = html! {
        div.row { h1 { (project.title) } span.badge.calm { (project.role) } }
        section {
            h2 { "Environments" }
            @if environments.is_empty() { (first_push(&project)) } @else { (environment_cards(&environments)) }
        }
        section {
            h2 { "Activities" }
            @if activities.is_empty() { p.empty { "None yet: a push makes the first one." } } @else { (activity::rows(&activities, true)) }
        }
        div.pair {
            section { h2 { "Clone" } (clone_urls(&project)) }
            section { h2 { "Settings" } (settings(&project)) }
        }
    };
    Ok(page(&visitor, &project.title, &[("Projects", "/projects".into())], &body))
}

fn first_push(project: &Project) -> Markup {
    html! {
        div.empty {
            p { "Nothing is deployed yet. Push the branch " b { (project.default_branch) } " and it goes live:" }
            pre tabindex="0" { "git remote add slipway " (project.git_ssh_url) "\ngit push slipway " (project.default_branch) }
            p.soft { "Your SSH key must be known: " code { "slipway key add" } "." }
        }
    }
}

fn environment_cards(environments: &[Environment]) -> Markup {
    html! {
        ul.cards {
            @for e in environments {
                li.card {
                    div.row { h3 { a.cover href=(environment_path(&e.project, &e.name)) { (e.name) } } (badge(&e.status)) }
                    @if let Some(url) = e.urls.iter().find(|u| u.starts_with("https:")).or(e.urls.first()) { p.above { (site_link(url)) } }
                    p.soft {
                        @if !e.head_commit.is_empty() { "commit " code { (short(&e.head_commit)) } }
                        @if !e.parent.is_empty() { " · child of " (e.parent) }
                    }
                }
            }
        }
    }
}

fn clone_urls(project: &Project) -> Markup {
    html! {
        dl.lines {
            @for (name, url) in [("SSH", &project.git_ssh_url), ("HTTP", &project.git_http_url)] {
                @if !url.is_empty() { dt { (name) } dd { code.copy tabindex="0" { (url) } } }
            }
        }
        p.soft { "Over HTTP the password is a token." }
    }
}

fn settings(project: &Project) -> Markup {
    let settings: BTreeMap<_, _> = project.settings.iter().collect();
    html! {
        dl.lines {
            dt { "Id" } dd { code { (project.id) } }
            dt { "Default branch" } dd { (project.default_branch) }
            @if !project.flavour.is_empty() { dt { "Flavour" } dd { (project.flavour) } }
            dt { "Created" } dd { (moment(&project.created_at)) }
            @for (key, value) in &settings { dt { code { (key) } } dd { (value) } }
        }
        @if settings.is_empty() { p.soft { "All other settings are the usual ones. Change one: " code { "slipway project set KEY=VALUE" } } }
    }
}
