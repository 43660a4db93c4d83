//! What only shows when all routes are known: loops, twins, the size of the document.

use crate::codes;
use crate::context::RouteContext;
use crate::expand;
use crate::node::{At, Mark};
use crate::route::RouteDraft;
use crate::shape::{Judge, short};
use crate::types::*;
use crate::url::UrlTemplate;
use std::collections::{BTreeMap, BTreeSet};

/// The shortest routes there are fill the document with fewer.
pub(crate) const ROUTES_MAX: usize = 1000;

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

pub(crate) fn one_primary(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: Option<u32> = None;
    for route in routes
        .iter()
        .filter(|route| route.route.primary == Some(true))
    {
        let Some(at) = route.at.as_ref().map(|at| at.of(&route.node, "primary")) else {
            continue;
        };
        match first {
            Some(line) => {
                judge.loader.error(
                    codes::SECOND_PRIMARY,
                    &at,
                    format!("a primary route exists already at line {line}"),
                );
            }
            None => first = Some(at.mark.line),
        }
    }
}

pub(crate) fn unique_ids(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    for route in routes {
        let (Some(id), Some(at)) = (&route.route.id, &route.at) else {
            continue;
        };
        let at = at.of(&route.node, "id");
        match first.get(id.as_str()) {
            Some(line) => {
                judge.loader.error(
                    codes::DUPLICATE_ID,
                    &at,
                    format!("the id '{}' is used already at line {line}", short(id)),
                );
            }
            None => {
                first.insert(id, at.mark.line);
            }
        }
    }
}

pub(crate) fn unique_urls(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut first: BTreeMap<String, (&str, u32)> = BTreeMap::new();
    for route in routes {
        let (Some(url), Some(at)) = (&route.url, &route.at) else {
            continue;
        };
        match first.get(&url.text()) {
            Some((key, line)) => {
                judge.loader.error(
                    codes::SAME_URL,
                    at,
                    format!("the same URL as {} at line {line}", short(key)),
                );
            }
            None => {
                first.insert(url.text(), (&route.route.url, at.mark.line));
            }
        }
    }
}

/// The address as the router would look it up: `{all}` of one domain is `{default}`.
pub(crate) fn address(url: &UrlTemplate) -> String {
    url.text().replace("{all}", "{default}")
}

pub(crate) fn redirect_loops(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut table: BTreeMap<String, Option<String>> = BTreeMap::new();
    let by_precedence = |wanted: &'static str| {
        routes
            .iter()
            .filter(move |draft| draft.route.url.contains(wanted))
    };
    // `{default}` wins over `{all}`, so it is entered first; then literal hosts.
    let ordered = by_precedence("{default}")
        .chain(routes.iter().filter(|draft| {
            !draft.route.url.contains("{default}") && !draft.route.url.contains("{all}")
        }))
        .chain(by_precedence("{all}"));
    for draft in ordered {
        if let Some(url) = &draft.url {
            let next = matches!(draft.route.kind, RouteKind::Redirect { .. })
                .then(|| draft.to.as_ref().map(address))
                .flatten();
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
    let written: BTreeSet<String> = routes
        .iter()
        .filter_map(|draft| draft.url.as_ref().map(address))
        .collect();
    for draft in routes {
        if judge.loader.is_full() {
            return;
        }
        let (Some(url), Some(to), Some(at), RouteKind::Redirect { .. }) =
            (&draft.url, &draft.to, &draft.at, &draft.route.kind)
        else {
            continue;
        };
        let twin = UrlTemplate {
            scheme: if url.scheme == "http" {
                "https"
            } else {
                "http"
            }
            .to_owned(),
            ..url.clone()
        };
        let starts = if written.contains(&address(&twin)) {
            vec![address(url)]
        } else {
            vec![address(url), address(&twin)]
        };
        let Some(chain) = starts.iter().find_map(|start| loop_from(&table, start)) else {
            continue;
        };
        let message = if chain.len() == 2 || address(to) == address(url) {
            "redirects to itself".to_owned()
        } else {
            format!("redirect loop {}", chain_text(&chain))
        };
        judge
            .loader
            .error(codes::REDIRECT_LOOP, &at.of(&draft.node, "to"), message);
    }
}

/// Browsers give up after twenty or so; a longer chain is as good as a loop.
pub(crate) const CHAIN_MAX: usize = 50;
/// Addresses of a loop that are told.
pub(crate) const CHAIN_TOLD: usize = 6;

pub(crate) fn chain_text(chain: &[String]) -> String {
    let told: Vec<String> = chain
        .iter()
        .take(CHAIN_TOLD)
        .map(|url| short(url))
        .collect();
    match chain.last() {
        Some(last) if chain.len() > CHAIN_TOLD => {
            format!("{} -> … -> {}", told.join(" -> "), short(last))
        }
        _ => told.join(" -> "),
    }
}

/// The chain from an address back to itself.
pub(crate) fn loop_from(
    table: &BTreeMap<String, Option<String>>,
    start: &str,
) -> Option<Vec<String>> {
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
pub(crate) fn one_policy_per_host(judge: &mut Judge<'_, '_>, routes: &[RouteDraft]) {
    let mut strict: BTreeMap<&str, (&StrictTransportSecurity, u32)> = BTreeMap::new();
    let mut client: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for draft in routes {
        let (Some(url), Some(at), Some(tls)) = (&draft.url, &draft.at, draft.node.get("tls"))
        else {
            continue;
        };
        let at = at.of(&draft.node, "tls");
        if tls.get("strict_transport_security").is_some() {
            let place = at.of(tls, "strict_transport_security");
            let own = &draft.route.tls.strict_transport_security;
            match strict.get(url.host.as_str()) {
                Some((other, line)) if conflict(other, own) => {
                    judge.loader.error(
                        codes::TLS_CONFLICT,
                        &place,
                        format!("conflicts with line {line} for the same host"),
                    );
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
                    judge.loader.error(
                        codes::TLS_CONFLICT,
                        &place,
                        format!("conflicts with line {line} for the same host"),
                    );
                }
                Some(_) => {}
                None => {
                    client.insert(&url.host, (own, place.mark.line));
                }
            }
        }
    }
}

pub(crate) fn conflict(a: &StrictTransportSecurity, b: &StrictTransportSecurity) -> bool {
    let differ = |a: Option<bool>, b: Option<bool>| a.is_some() && b.is_some() && a != b;
    differ(a.enabled, b.enabled)
        || differ(a.include_subdomains, b.include_subdomains)
        || differ(a.preload, b.preload)
}

/// Even under the shortest possible domain the document may not be too large.
pub(crate) fn document_size(judge: &mut Judge<'_, '_>, routes: &[RouteDraft], file: Mark) {
    // Below this many even long attributes fit, and most projects need not be expanded.
    let written: u64 = routes
        .iter()
        .map(|draft| draft.node.weight.saturating_mul(64))
        .sum();
    if routes.len() < 60 && written < expand::DOCUMENT_BYTES_MAX as u64 / 4 {
        return;
    }
    let at = At::new(file, "(document)");
    if routes.len() > ROUTES_MAX {
        let message = format!(
            "too many routes: the resolved document is over the limit of 128 KiB ({} routes)",
            routes.len()
        );
        judge
            .loader
            .error(codes::ROUTES_TOO_LARGE, &at, message)
            .expected("at most 131072 bytes");
        return;
    }
    let context = RouteContext::new(judge.flavour, "x", "x", "x");
    let templates: Vec<&RouteTemplate> = routes.iter().map(|draft| &draft.route).collect();
    let Ok(resolved) = expand::resolve(&templates, &context) else {
        return;
    };
    let bytes = expand::document_bytes(&resolved);
    if bytes > expand::DOCUMENT_BYTES_MAX {
        let message = format!(
            "too many routes: the resolved document has {bytes} bytes, over the limit of 128 KiB ({} routes)",
            routes.len()
        );
        judge
            .loader
            .error(codes::ROUTES_TOO_LARGE, &at, message)
            .expected("at most 131072 bytes");
    }
}
