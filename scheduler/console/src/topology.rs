//! Routes to applications to services, drawn: as a picture where there is room, as a list elsewhere.

use maud::{Markup, html};
use slipway_proto::api::{Container, Environment};
use std::collections::BTreeMap;

/// Boxes of one column; the list below names all.
const BOXES_MAX: usize = 14;
const ROUTE_WIDTH: i32 = 330;
const BOX_WIDTH: i32 = 220;
const BOX_HEIGHT: i32 = 50;
const GAP_X: i32 = 100;
const GAP_Y: i32 = 16;
const MARGIN: i32 = 8;

/// One box of the picture.
struct Node<'a> {
    name: &'a str,
    below: String,
    class: &'static str,
    x: i32,
    y: i32,
    width: i32,
}

impl Node<'_> {
    fn left(&self) -> (i32, i32) {
        (self.x, self.y + BOX_HEIGHT / 2)
    }

    fn right(&self) -> (i32, i32) {
        (self.x + self.width, self.y + BOX_HEIGHT / 2)
    }
}

/// The picture, and the list that says the same.
pub fn drawing(e: &Environment) -> Markup {
    let routes = served(e);
    html! {
        div.topology {
            div.picture aria-hidden="true" { (picture(e, &routes)) }
            div.as-list { (as_list(e, &routes)) }
        }
    }
}

/// URL and application of each route that serves; redirects lead to one of them anyway.
fn served(e: &Environment) -> Vec<(&str, &str)> {
    let parts = |line: &'_ str| -> Option<(usize, usize, usize)> {
        let url_end = line.find(" is served by ")?;
        let start = line[url_end..].find('`')? + url_end + 1;
        let end = line[start..].find('`')? + start;
        Some((url_end, start, end))
    };
    let mut routes: Vec<(&str, &str)> = e.routes.iter().filter_map(|l| parts(l).map(|(u, s, t)| (&l[..u], &l[s..t]))).collect();
    // The same address over HTTP and HTTPS is one box.
    let secure: Vec<String> = routes.iter().filter_map(|(url, _)| url.strip_prefix("https://").map(str::to_string)).collect();
    routes.retain(|(url, _)| url.strip_prefix("http://").is_none_or(|rest| !secure.iter().any(|s| s == rest)));
    routes
}

fn state_class(state: &str) -> &'static str {
    match state {
        "ready" | "running" => "good",
        "failed" | "exited" | "lost" | "gone" => "bad",
        "starting" | "created" | "pending" => "busy",
        _ => "calm",
    }
}

fn columns(e: &Environment) -> (Vec<&Container>, Vec<&Container>) {
    e.containers.iter().partition(|c| c.kind != "service")
}

fn picture(e: &Environment, routes: &[(&str, &str)]) -> Markup {
    let (applications, services) = columns(e);
    let rows = [routes.len(), applications.len(), services.len()].map(|n| n.min(BOXES_MAX));
    let tallest = rows.iter().copied().max().unwrap_or(0).max(1);
    let height = of_rows(tallest) + 2 * MARGIN;
    let xs = [MARGIN, MARGIN + ROUTE_WIDTH + GAP_X, MARGIN + ROUTE_WIDTH + BOX_WIDTH + 2 * GAP_X];
    let width = xs[2] + BOX_WIDTH + MARGIN;
    let y = |column: usize, row: usize| (height - of_rows(rows[column])) / 2 + i32::try_from(row).unwrap_or(0) * (BOX_HEIGHT + GAP_Y);
    let route_boxes: Vec<(Node<'_>, &str)> = (0..rows[0])
        .map(|n| {
            let (url, app) = routes[n];
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            (Node { name: rest, below: scheme.to_string(), class: "route", x: xs[0], y: y(0, n), width: ROUTE_WIDTH }, app)
        })
        .collect();
    let mut boxes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for (column, containers) in [(1, &applications), (2, &services)] {
        for (row, c) in containers.iter().take(BOXES_MAX).enumerate() {
            let below = format!("{} · {}", c.r#type, c.state);
            boxes.insert(&c.name, Node { name: &c.name, below, class: state_class(&c.state), x: xs[column], y: y(column, row), width: BOX_WIDTH });
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for (route, app) in &route_boxes {
        lines.extend(boxes.get(app).map(|to| curve(route.right(), to.left())));
    }
    for edge in &e.relationships {
        if let (Some(from), Some(to)) = (boxes.get(edge.from.as_str()), boxes.get(edge.to.as_str())) {
            // Between neighbours of one column the line goes round on the right.
            lines.push(if from.x == to.x { around(from.right(), to.right()) } else { curve(from.right(), to.left()) });
        }
    }
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) {
            @for line in &lines { path.edge d=(line) {} }
            @for node in route_boxes.iter().map(|(node, _)| node).chain(boxes.values()) { (node_markup(node)) }
        }
    }
}

fn of_rows(rows: usize) -> i32 {
    let rows = i32::try_from(rows).unwrap_or(0);
    (rows * (BOX_HEIGHT + GAP_Y) - GAP_Y).max(0)
}

fn curve(from: (i32, i32), to: (i32, i32)) -> String {
    let middle = (from.0 + to.0) / 2;
    format!("M{} {}C{middle} {} {middle} {} {} {}", from.0, from.1, from.1, to.1, to.0, to.1)
}

fn around(from: (i32, i32), to: (i32, i32)) -> String {
    let out = from.0 + GAP_X * 2 / 3;
    format!("M{} {}C{out} {} {out} {} {} {}", from.0, from.1, from.1, to.1, to.0, to.1)
}

fn node_markup(node: &Node<'_>) -> Markup {
    // What fits beside the dot, bold above and small below.
    let letters = |each: i32| usize::try_from((node.width - 36) / each).unwrap_or(20);
    html! {
        g class={ "node " (node.class) } {
            title { (node.name) " " (node.below) }
            rect x=(node.x) y=(node.y) width=(node.width) height=(BOX_HEIGHT) rx="9" {}
            circle cx=(node.x + 16) cy=(node.y + BOX_HEIGHT / 2) r="4" {}
            text.name x=(node.x + 30) y=(node.y + 21) { (shortened(node.name, letters(9))) }
            text.below x=(node.x + 30) y=(node.y + 38) { (shortened(&node.below, letters(7))) }
        }
    }
}

fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_string();
    }
    // The end of an address tells more than its middle.
    let tail: String = text.chars().rev().take(letters / 3).collect::<Vec<_>>().into_iter().rev().collect();
    let head: String = text.chars().take(letters - letters / 3 - 1).collect();
    format!("{head}…{tail}")
}

fn as_list(e: &Environment, routes: &[(&str, &str)]) -> Markup {
    let (applications, services) = columns(e);
    html! {
        @if !routes.is_empty() { h3 { "Routes" } ul { @for (url, app) in routes { li { (url) " → " b { (app) } } } } }
        h3 { "Applications" }
        ul {
            @for c in &applications {
                li class=(state_class(&c.state)) {
                    b { (c.name) } " " span.soft { (c.r#type) ", " (c.state) }
                    @for edge in e.relationships.iter().filter(|r| r.from == c.name) { br; span.soft { "uses " (edge.to) " as " (edge.name) } }
                }
            }
        }
        @if !services.is_empty() {
            h3 { "Services" }
            ul { @for c in &services { li class=(state_class(&c.state)) { b { (c.name) } " " span.soft { (c.r#type) ", " (c.state) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_proto::api::RelationshipEdge;

    #[test]
    fn every_route_and_relationship_is_a_line_and_one_address_is_one_box() {
        let container = |name: &str, kind: &str| Container { name: name.into(), kind: kind.into(), state: "ready".into(), ..Default::default() };
        let e = Environment {
            routes: vec![
                "http://a.localhost/ is served by application `front`".into(),
                "https://a.localhost/ is served by application `front`".into(),
                "https://www.a.localhost/ redirects to https://a.localhost/".into(),
            ],
            containers: vec![container("front", "application"), container("api", "application"), container("database", "service")],
            relationships: vec![
                RelationshipEdge { from: "front".into(), name: "db".into(), to: "database".into(), endpoint: "mysql".into() },
                RelationshipEdge { from: "front".into(), name: "api".into(), to: "api".into(), endpoint: "http".into() },
            ],
            ..Default::default()
        };
        assert_eq!(served(&e), [("https://a.localhost/", "front")]);
        let svg = picture(&e, &served(&e)).into_string();
        assert_eq!(svg.matches("class=\"edge\"").count(), 3, "{svg}");
        assert_eq!(svg.matches("<rect").count(), 4, "{svg}");
        assert!(!svg.contains("style="), "the policy forbids inline styles");
    }

    #[test]
    fn a_hostile_route_line_breaks_nothing() {
        for line in ["", "x is served by ", "x is served by application `", "é is served by application `é`", "`"] {
            let e = Environment { routes: vec![line.into()], ..Default::default() };
            drawing(&e);
        }
    }
}
