//! The frame of every page, and the small things that pages are made of.

use crate::assets;
use crate::visitor::Visitor;
use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

/// A page for somebody who is signed in.
pub fn page(visitor: &Visitor, title: &str, trail: &[(&str, String)], body: &Markup) -> Html<String> {
    let session = &visitor.session;
    let frame = html! {
        header.top {
            a.brand href="/projects" { (logo()) span { "Slipway" } }
            nav aria-label="Main" {
                a href="/projects" { "Projects" }
                @if session.admin { a href="/nodes" { "Nodes" } }
            }
            form.who action="/sign-out" method="post" {
                (csrf(visitor))
                span.user title="signed in as" { (session.user) }
                button.quiet type="submit" { "Sign out" }
            }
        }
        main id="main" {
            @if !trail.is_empty() {
                nav.trail aria-label="Where you are" {
                    @for (name, href) in trail { a href=(href) { (name) } span aria-hidden="true" { "/" } }
                }
            }
            @if let Some(notice) = &visitor.notice { p.notice role="status" { (notice) } }
            (body)
        }
    };
    Html(document(title, &frame).into_string())
}

/// A page for anybody.
pub fn bare(title: &str, body: &Markup) -> Markup {
    let frame = html! {
        header.top { a.brand href="/projects" { (logo()) span { "Slipway" } } }
        main id="main" { (body) }
    };
    document(title, &frame)
}

fn document(title: &str, frame: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Slipway" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(assets::STYLE_PATH);
                script src=(assets::SCRIPT_PATH) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (frame)
            }
        }
    }
}

fn logo() -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" {
            path d="M3 15.5 13.5 5l3 3L8 16.5z" class="logo-hull" {}
            path d="M2 20.5h20M6 20.5 21 5.5" class="logo-way" {}
        }
    }
}

/// The mark that every form carries.
pub fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.session.csrf); }
}

/// A state as a coloured word; the word says it all, the colour repeats it.
pub fn badge(state: &str) -> Markup {
    let kind = match state {
        "active" | "success" | "ready" | "leader" | "running" | "open" => "good",
        "failure" | "failed" | "exited" | "lost" | "deleting" => "bad",
        "dirty" | "pending" | "in_progress" | "starting" | "frozen" | "draining" | "building" => "busy",
        _ => "calm",
    };
    let shown = match state {
        "in_progress" => "in progress",
        "dirty" => "deploying",
        other => other,
    };
    html! { span class={ "badge " (kind) } { (shown) } }
}

/// A moment, to the second, in UTC.
pub fn moment(rfc3339: &str) -> Markup {
    let shown = rfc3339.get(..19).map(|text| text.replace('T', " ")).unwrap_or_default();
    html! { @if !shown.is_empty() { time datetime=(rfc3339) { (shown) } } }
}

/// `1.3 s`, `240 ms`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{} KB", n >> 10),
        _ => format!("{}.{} MB", n >> 20, (n & 0xf_ffff) * 10 >> 20),
    }
}

/// The first digits of a commit or digest.
pub fn short(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..10).unwrap_or(bare)
}

/// A part of a path or query as it may stand there.
pub fn encoded(part: &str) -> String {
    let mut out = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

pub fn project_path(project: &str) -> String {
    format!("/projects/{}", encoded(project))
}

pub fn environment_path(project: &str, environment: &str) -> String {
    format!("/projects/{}/environments/{}", encoded(project), encoded(environment))
}

pub fn activity_path(activity: &str) -> String {
    format!("/activities/{}", encoded(activity))
}

/// A link out, only where it really is one.
pub fn site_link(url: &str) -> Markup {
    html! {
        @if url.starts_with("https://") || url.starts_with("http://") {
            a href=(url) rel="noopener noreferrer" target="_blank" { (url) }
        } @else { (url) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_one_part_of_a_path_whatever_it_is_called() {
        assert_eq!(environment_path("shop", "feature/ü&x"), "/projects/shop/environments/feature%2F%C3%BC%26x");
    }

    #[test]
    fn a_link_of_another_kind_is_only_text() {
        assert!(!site_link("javascript:alert(1)").into_string().contains("href"));
        assert!(site_link("https://a/?b=\"").into_string().contains("href=\"https://a/?b=&quot;\""));
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(1_572_864), "1.5 MB");
        assert_eq!(duration(61_000), "1 min 1 s");
    }
}
