//! Routes: each one judged, then all together.

use crate::codes;
use crate::context::RouteContext;
use crate::duration;
use crate::expand;
use crate::flavour::Flavour;
use crate::links::split_reference;
use crate::node::{At, Entry, Mark, Node, Ref, Val};
use crate::pcre;
use crate::read;
use crate::route_shape::{PROXY, REDIRECT, UNTYPED, UPSTREAM};
use crate::shape::{Judge, short};
use crate::types::*;
use crate::url::UrlTemplate;
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};

/// Redirect rules of an environment.
const REDIRECT_RULES_MAX: usize = 50_000;

/// The shortest routes there are fill the document with fewer.
const ROUTES_MAX: usize = 1000;

pub(crate) struct RouteDraft {
    pub route: RouteTemplate,
    /// `None` for the default route.
    pub at: Option<At>,
    pub node: Ref,
    pub url: Option<UrlTemplate>,
    pub upstream_at: Option<At>,
    pub to: Option<UrlTemplate>,
}

pub(crate) fn default_cache() -> RouteCache {
    RouteCache {
        enabled: true,
        default_ttl: 0,
        cookies: vec!["*".to_owned()],
        headers: vec!["Accept".to_owned(), "Accept-Language".to_owned()],
    }
}

/// The only route of a project with one application and no routes file.
pub(crate) fn default_route(flavour: Flavour, app: &str) -> RouteDraft {
    let url = format!("{}://{{default}}/", flavour.default_route_scheme());
    RouteDraft {
        url: UrlTemplate::parse(&url).ok(),
        route: RouteTemplate {
            url,
            kind: RouteKind::Upstream { upstream: app.to_owned(), endpoint: "http".to_owned() },
            primary: None,
            id: None,
            attributes: BTreeMap::new(),
            cache: default_cache(),
            ssi: false,
            tls: RouteTls::default(),
            redirects: None,
            sticky: false,
        },
        at: None,
        node: Node::null(),
        upstream_at: None,
        to: None,
    }
}

pub(crate) fn judge(judge: &mut Judge<'_, '_>, entry: &Entry, at: &At) -> Option<RouteDraft> {
    let node = entry.value.clone();
    let url = match UrlTemplate::parse_key(&entry.key) {
        Ok(url) => Some(url),
        Err(fault) => {
            let expected = "\"https://{default}/\" or the like";
            judge.loader.error(fault.code, at, fault.message).expected(expected).suggest(fault.suggestion);
            None
        }
    };
    if !matches!(node.value, Val::Map(_)) {
        if !node.is_broken() {
            let found = node.kind();
            judge.loader.error(codes::WRONG_TYPE, at, format!("a mapping with type expected, found {found}")).expected("a mapping with type");
        }
        return None;
    }
    let kind = node.get("type").and_then(|kind| kind.text());
    let table = match kind {
        Some("upstream") => &UPSTREAM,
        Some("redirect") => &REDIRECT,
        Some("proxy") => &PROXY,
        _ => &UNTYPED,
    };
    judge.table(&node, table, at);
    if node.get("type").is_none() {
        judge
            .loader
            .error(codes::MISSING_KEY, &at.of(&node, "type"), "required key missing: upstream, redirect or proxy")
            .expected("upstream, redirect, proxy")
            .remedy("Add `type: upstream` (or redirect, or proxy).");
    }
    let mut upstream_at = None;
    let mut to = None;
    let kind = match kind {
        Some("upstream") => {
            let (upstream, endpoint) = upstream(judge, &node, at)?;
            upstream_at = Some(at.of(&node, "upstream"));
            RouteKind::Upstream { upstream, endpoint }
        }
        Some(kind @ ("redirect" | "proxy")) => {
            let written = target(judge, &node, at, kind)?;
            to = UrlTemplate::parse(&written).ok();
            if kind == "proxy" {
                RouteKind::Proxy { to: written }
            } else {
                RouteKind::Redirect { to: written, code: read::unsigned(&node, "code").and_then(|code| u16::try_from(code).ok()).unwrap_or(301) }
            }
        }
        _ => return None,
    };
    let redirects = redirects(judge, &node, at);
    let route = RouteTemplate {
        url: entry.key.clone(),
        kind,
        primary: read::flag(&node, "primary"),
        id: read::text(&node, "id"),
        attributes: read::text_map(&node, "attributes"),
        cache: cache(&node),
        ssi: node.get("ssi").and_then(|ssi| read::flag(ssi, "enabled")).unwrap_or(false),
        tls: tls(&node),
        redirects,
        sticky: node.get("sticky").and_then(|sticky| sticky.flag().or_else(|| read::flag(sticky, "enabled"))).unwrap_or(false),
    };
    Some(RouteDraft { route, at: Some(at.clone()), node, url, upstream_at, to })
}

fn upstream(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Option<(String, String)> {
    let place = at.of(node, "upstream");
    let Some(value) = node.get("upstream") else {
        judge
            .loader
            .error(codes::MISSING_KEY, &place, "required for type upstream")
            .expected("application:http")
            .remedy("Add `upstream: \"app:http\"` with the name of the application.");
        return None;
    };
    let text = value.text()?;
    let Some((name, endpoint)) = split_reference(text) else {
        let suggestion = (!text.is_empty() && !text.contains(':')).then(|| format!("{}:http", short(text)));
        judge
            .loader
            .error(codes::BAD_REFERENCE, &place, format!("application:endpoint expected, found '{}'", short(text)))
            .expected("application:http")
            .suggest(suggestion);
        return None;
    };
    Some((name.to_owned(), endpoint.to_owned()))
}

fn target(judge: &mut Judge<'_, '_>, node: &Node, at: &At, kind: &str) -> Option<String> {
    let place = at.of(node, "to");
    let Some(value) = node.get("to") else {
        judge
            .loader
            .error(codes::MISSING_KEY, &place, format!("required for type {kind}"))
            .expected("absolute URL")
            .remedy("Add `to: \"https://{default}/\"` or another address.");
        return None;
    };
    let text = value.text()?;
    if let Err(fault) = UrlTemplate::parse(text) {
        let code = if fault.code == codes::BAD_PLACEHOLDER { fault.code } else { codes::BAD_TARGET };
        judge.loader.error(code, &place, fault.message).expected("absolute URL").suggest(fault.suggestion);
        return None;
    }
    Some(text.to_owned())
}

fn cache(node: &Node) -> RouteCache {
    let default = default_cache();
    let Some(written) = node.get("cache") else {
        return default;
    };
    if let Some(enabled) = written.flag() {
        return RouteCache { enabled, ..default };
    }
    RouteCache {
        enabled: read::flag(written, "enabled").unwrap_or(true),
        default_ttl: read::unsigned(written, "default_ttl").unwrap_or(0),
        cookies: if written.get("cookies").is_some() { read::texts(written, "cookies") } else { default.cookies },
        headers: if written.get("headers").is_some() { read::texts(written, "headers") } else { default.headers },
    }
}

fn tls(node: &Node) -> RouteTls {
    let empty = Node::null();
    let tls = node.get("tls").unwrap_or(&empty);
    let strict = tls.get("strict_transport_security").unwrap_or(&empty);
    RouteTls {
        min_version: read::text(tls, "min_version"),
        strict_transport_security: StrictTransportSecurity {
            enabled: read::flag(strict, "enabled"),
            include_subdomains: read::flag(strict, "include_subdomains"),
            preload: read::flag(strict, "preload"),
        },
        client_authentication: read::text(tls, "client_authentication"),
        client_certificate_authorities: read::texts(tls, "client_certificate_authorities"),
    }
}

fn redirects(judge: &mut Judge<'_, '_>, node: &Node, at: &At) -> Option<PartialRedirects> {
    let written = node.get("redirects").filter(|value| matches!(value.value, Val::Map(_)))?;
    let at = at.of(node, "redirects");
    let paths_at = at.of(written, "paths");
    let mut paths = IndexMap::new();
    let entries = written.get("paths").map(|paths| paths.entries()).unwrap_or_default();
    if entries.len() > REDIRECT_RULES_MAX {
        judge.loader.error(codes::ROUTES_TOO_LARGE, &paths_at, format!("more than {REDIRECT_RULES_MAX} redirects"));
    }
    for entry in entries {
        let place = paths_at.key(entry);
        if matches!(entry.value.value, Val::Map(_)) {
            paths.insert(entry.key.clone(), redirect_rule(judge, entry, &place));
        }
    }
    Some(PartialRedirects { expires: written.get("expires").and_then(|value| duration::normalise(value)).unwrap_or_else(|| "-1s".to_owned()), paths })
}

fn redirect_rule(judge: &mut Judge<'_, '_>, entry: &Entry, at: &At) -> PartialRedirect {
    let rule = &entry.value;
    let regexp = read::flag(rule, "regexp").unwrap_or(false);
    if regexp {
        pcre::check_key(judge, &Node { value: Val::Text(entry.key.clone()), weight: 1 }, at);
        for key in ["prefix", "append_suffix"] {
            if rule.get(key).is_some() {
                judge.loader.error(codes::REDIRECT_RULE, &at.of(rule, key), format!("{key} cannot stand beside regexp"));
            }
        }
    } else if read::flag(rule, "prefix") == Some(false) && rule.get("append_suffix").is_some() {
        judge.loader.error(codes::REDIRECT_RULE, &at.of(rule, "append_suffix"), "append_suffix needs prefix");
    } else if !entry.key.starts_with('/') {
        judge
            .loader
            .warning(codes::BAD_LOCATION, at, "the path does not begin with /, so it never matches")
            .expected("path, or regexp: true")
            .suggest(Some(format!("/{}", short(&entry.key))));
    }
    let to = read::text(rule, "to").unwrap_or_default();
    if rule.get("to").is_some_and(|to| to.text().is_some()) {
        partial_target(judge, &to, &at.of(rule, "to"));
    }
    PartialRedirect {
        to,
        regexp,
        prefix: read::flag(rule, "prefix").unwrap_or(true),
        append_suffix: read::flag(rule, "append_suffix").unwrap_or(true),
        code: read::unsigned(rule, "code").and_then(|code| u16::try_from(code).ok()).unwrap_or(302),
        expires: rule.get("expires").and_then(|value| duration::normalise(value)),
    }
}

/// A path, an address, or something that begins with a capture.
fn partial_target(judge: &mut Judge<'_, '_>, to: &str, at: &At) {
    if to.is_empty() {
        judge.loader.error(codes::BAD_TARGET, at, "the target is empty").expected("path or absolute URL");
        return;
    }
    if !to.contains("://") || to.contains('$') {
        return;
    }
    if let Err(fault) = UrlTemplate::parse(to)
        && (to.starts_with("http") || fault.code == codes::BAD_PLACEHOLDER)
    {
        let code = if fault.code == codes::BAD_PLACEHOLDER { fault.code } else { codes::BAD_TARGET };
        judge.loader.error(code, at, fault.message).expected("path or absolute URL").suggest(fault.suggestion);
    }
}

/// What only shows when all routes are known.
pub(crate) fn judge_together(judge: &mut Judge<'_, '_>, routes: &[RouteDraft], file: Option<Mark>) {
    one_primary(judge, routes);
    unique_ids(judge, routes);
    unique_urls(judge, routes);
    redirect_loops(judge, routes);
    one_policy_per_host(judge, routes);
    if let Some(mark) = file {
        document_size(judge, routes, mark);
    }
}

fn one_primary(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: Option<u32> = None;
    for route in routes.iter().filter(|route| route.route.primary == Some(true)) {
        let Some(at) = route.at.as_ref().map(|at| at.of(&route.node, "primary")) else {
            continue;
        };
        match first {
            Some(line) => {
                judge.loader.error(codes::SECOND_PRIMARY, &at, format!("a primary route exists already at line {line}"));
            }
            None => first = Some(at.mark.line),
        }
    }
}

fn unique_ids(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    for route in routes {
        let (Some(id), Some(at)) = (&route.route.id, &route.at) else {
            continue;
        };
        let at = at.of(&route.node, "id");
        match first.get(id.as_str()) {
            Some(line) => {
                judge.loader.error(codes::DUPLICATE_ID, &at, format!("the id '{}' is used already at line {line}", short(id)));
            }
            None => {
                first.insert(id, at.mark.line);
            }
        }
    }
}

fn unique_urls(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: BTreeMap<String, (&str, u32)> = BTreeMap::new();
    for route in routes {
        let (Some(url), Some(at)) = (&route.url, &route.at) else {
            continue;
        };
        match first.get(&url.text()) {
            Some((key, line)) => {
                judge.loader.error(codes::SAME_URL, at, format!("the same URL as {} at line {line}", short(key)));
            }
            None => {
                first.insert(url.text(), (&route.route.url, at.mark.line));
            }
        }
    }
}

/// The address as the router would look it up: `{all}` of one domain is `{default}`.
fn address(url: &UrlTemplate) -> String {
    url.text().replace("{all}", "{default}")
}

fn redirect_loops(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut table: BTreeMap<String, Option<String>> = BTreeMap::new();
    let by_precedence = |wanted: &'static str| routes.iter().filter(move |draft| draft.route.url.contains(wanted));
    // `{default}` wins over `{all}`, so it is entered first; then literal hosts.
    let ordered = by_precedence("{default}")
        .chain(routes.iter().filter(|draft| !draft.route.url.contains("{default}") && !draft.route.url.contains("{all}")))
        .chain(by_precedence("{all}"));
    for draft in ordered {
        if let Some(url) = &draft.url {
            let next = matches!(draft.route.kind, RouteKind::Redirect { .. }).then(|| draft.to.as_ref().map(address)).flatten();
            table.entry(address(url)).or_insert(next);
        }
    }
    // The twins of http and https that are made when only one is written.
    let twins: Vec<(String, Option<String>)> = table
        .iter()
        .map(|(from, next)| match from.strip_prefix("http://") {
            Some(rest) => (format!("https://{rest}"), next.clone()),
            None => (from.replacen("https://", "http://", 1), Some(from.clone())),
        })
        .collect();
    for (from, next) in twins {
        table.entry(from).or_insert(next);
    }
    let written: BTreeSet<String> = routes.iter().filter_map(|draft| draft.url.as_ref().map(address)).collect();
    for draft in routes {
        if judge.loader.is_full() {
            return;
        }
        let (Some(url), Some(to), Some(at), RouteKind::Redirect { .. }) = (&draft.url, &draft.to, &draft.at, &draft.route.kind) else {
            continue;
        };
        let twin = UrlTemplate { scheme: if url.scheme == "http" { "https" } else { "http" }.to_owned(), ..url.clone() };
        let starts = if written.contains(&address(&twin)) { vec![address(url)] } else { vec![address(url), address(&twin)] };
        let Some(chain) = starts.iter().find_map(|start| loop_from(&table, start)) else {
            continue;
        };
        let message = if chain.len() == 2 || address(to) == address(url) { "redirects to itself".to_owned() } else { format!("redirect loop {}", chain_text(&chain)) };
        judge.loader.error(codes::REDIRECT_LOOP, &at.of(&draft.node, "to"), message);
    }
}

/// Browsers give up after twenty or so; a longer chain is as good as a loop.
const CHAIN_MAX: usize = 50;
/// Addresses of a loop that are told.
const CHAIN_TOLD: usize = 6;

fn chain_text(chain: &[String]) -> String {
    let told: Vec<String> = chain.iter().take(CHAIN_TOLD).map(|url| short(url)).collect();
    match chain.last() {
        Some(last) if chain.len() > CHAIN_TOLD => format!("{} -> … -> {}", told.join(" -> "), short(last)),
        _ => told.join(" -> "),
    }
}

/// The chain from an address back to itself.
fn loop_from(table: &BTreeMap<String, Option<String>>, start: &str) -> Option<Vec<String>> {
    let mut chain = vec![start.to_owned()];
    let mut seen = BTreeSet::from([start.to_owned()]);
    let mut at = start;
    while let Some(Some(next)) = table.get(at) {
        chain.push(next.clone());
        if next == start || chain.len() > CHAIN_MAX {
            return Some(chain);
        }
        if !seen.insert(next.clone()) {
            return None;
        }
        at = next;
    }
    None
}

/// Strict transport security and client certificates hold for a whole host.
fn one_policy_per_host(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut strict: BTreeMap<&str, (&StrictTransportSecurity, u32)> = BTreeMap::new();
    let mut client: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for draft in routes {
        let (Some(url), Some(at), Some(tls)) = (&draft.url, &draft.at, draft.node.get("tls")) else {
            continue;
        };
        let at = at.of(&draft.node, "tls");
        if tls.get("strict_transport_security").is_some() {
            let place = at.of(tls, "strict_transport_security");
            let own = &draft.route.tls.strict_transport_security;
            match strict.get(url.host.as_str()) {
                Some((other, line)) if conflict(other, own) => {
                    judge.loader.error(codes::TLS_CONFLICT, &place, format!("conflicts with line {line} for the same host"));
                }
                Some(_) => {}
                None => {
                    strict.insert(&url.host, (own, place.mark.line));
                }
            }
        }
        if let Some(own) = &draft.route.tls.client_authentication {
            let place = at.of(tls, "client_authentication");
            match client.get(url.host.as_str()) {
                Some((other, line)) if other != own => {
                    judge.loader.error(codes::TLS_CONFLICT, &place, format!("conflicts with line {line} for the same host"));
                }
                Some(_) => {}
                None => {
                    client.insert(&url.host, (own, place.mark.line));
                }
            }
        }
    }
}

fn conflict(a: &StrictTransportSecurity, b: &StrictTransportSecurity) -> bool {
    let differ = |a: Option<bool>, b: Option<bool>| a.is_some() && b.is_some() && a != b;
    differ(a.enabled, b.enabled) || differ(a.include_subdomains, b.include_subdomains) || differ(a.preload, b.preload)
}

/// Even under the shortest possible domain the document may not be too large.
fn document_size(judge: &mut Judge<'_, '_>, routes: &[RouteDraft], file: Mark) {
    // Below this many even long attributes fit, and most projects need not be expanded.
    let written: u64 = routes.iter().map(|draft| draft.node.weight.saturating_mul(64)).sum();
    if routes.len() < 60 && written < expand::DOCUMENT_BYTES_MAX as u64 / 4 {
        return;
    }
    let at = At::new(file, "(document)");
    if routes.len() > ROUTES_MAX {
        let message = format!("too many routes: the resolved document is over the limit of 128 KiB ({} routes)", routes.len());
        judge.loader.error(codes::ROUTES_TOO_LARGE, &at, message).expected("at most 131072 bytes");
        return;
    }
    let context = RouteContext::new(judge.flavour, "x", "x", "x");
    let templates: Vec<&RouteTemplate> = routes.iter().map(|draft| &draft.route).collect();
    let Ok(resolved) = expand::resolve(&templates, &context) else {
        return;
    };
    let bytes = expand::document_bytes(&resolved);
    if bytes > expand::DOCUMENT_BYTES_MAX {
        let message = format!("too many routes: the resolved document has {bytes} bytes, over the limit of 128 KiB ({} routes)", routes.len());
        judge.loader.error(codes::ROUTES_TOO_LARGE, &at, message).expected("at most 131072 bytes");
    }
}
