//! Routes: each one judged, then all together.

use crate::codes;
use crate::duration;
use crate::flavour::Flavour;
use crate::links::split_reference;
use crate::node::{At, Entry, Node, Ref, Val};
use crate::pcre;
use crate::read;
use crate::route_shape::{PROXY, REDIRECT, UNTYPED, UPSTREAM};
use crate::shape::{Judge, short};
use crate::types::*;
use crate::url::UrlTemplate;
use indexmap::IndexMap;
use std::collections::BTreeMap;

/// Redirect rules of an environment.
const REDIRECT_RULES_MAX: usize = 50_000;

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
            kind: RouteKind::Upstream {
                upstream: app.to_owned(),
                endpoint: "http".to_owned(),
            },
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
            judge
                .loader
                .error(fault.code, at, fault.message)
                .expected(expected)
                .suggest(fault.suggestion);
            None
        }
    };
    if !matches!(node.value, Val::Map(_)) {
        if !node.is_broken() {
            let found = node.kind();
            judge
                .loader
                .error(
                    codes::WRONG_TYPE,
                    at,
                    format!("a mapping with type expected, found {found}"),
                )
                .expected("a mapping with type");
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
            .error(
                codes::MISSING_KEY,
                &at.of(&node, "type"),
                "required key missing: upstream, redirect or proxy",
            )
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
                RouteKind::Redirect {
                    to: written,
                    code: read::unsigned(&node, "code")
                        .and_then(|code| u16::try_from(code).ok())
                        .unwrap_or(301),
                }
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
        ssi: node
            .get("ssi")
            .and_then(|ssi| read::flag(ssi, "enabled"))
            .unwrap_or(false),
        tls: tls(&node),
        redirects,
        sticky: node
            .get("sticky")
            .and_then(|sticky| sticky.flag().or_else(|| read::flag(sticky, "enabled")))
            .unwrap_or(false),
    };
    Some(RouteDraft {
        route,
        at: Some(at.clone()),
        node,
        url,
        upstream_at,
        to,
    })
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
        let suggestion =
            (!text.is_empty() && !text.contains(':')).then(|| format!("{}:http", short(text)));
        judge
            .loader
            .error(
                codes::BAD_REFERENCE,
                &place,
                format!("application:endpoint expected, found '{}'", short(text)),
            )
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
            .error(
                codes::MISSING_KEY,
                &place,
                format!("required for type {kind}"),
            )
            .expected("absolute URL")
            .remedy("Add `to: \"https://{default}/\"` or another address.");
        return None;
    };
    let text = value.text()?;
    if let Err(fault) = UrlTemplate::parse(text) {
        let code = if fault.code == codes::BAD_PLACEHOLDER {
            fault.code
        } else {
            codes::BAD_TARGET
        };
        judge
            .loader
            .error(code, &place, fault.message)
            .expected("absolute URL")
            .suggest(fault.suggestion);
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
        cookies: if written.get("cookies").is_some() {
            read::texts(written, "cookies")
        } else {
            default.cookies
        },
        headers: if written.get("headers").is_some() {
            read::texts(written, "headers")
        } else {
            default.headers
        },
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
    let written = node
        .get("redirects")
        .filter(|value| matches!(value.value, Val::Map(_)))?;
    let at = at.of(node, "redirects");
    let paths_at = at.of(written, "paths");
    let mut paths = IndexMap::new();
    let entries = written
        .get("paths")
        .map(|paths| paths.entries())
        .unwrap_or_default();
    if entries.len() > REDIRECT_RULES_MAX {
        judge.loader.error(
            codes::ROUTES_TOO_LARGE,
            &paths_at,
            format!("more than {REDIRECT_RULES_MAX} redirects"),
        );
    }
    for entry in entries {
        let place = paths_at.key(entry);
        if matches!(entry.value.value, Val::Map(_)) {
            paths.insert(entry.key.clone(), redirect_rule(judge, entry, &place));
        }
    }
    Some(PartialRedirects {
        expires: written
            .get("expires")
            .and_then(|value| duration::normalise(value))
            .unwrap_or_else(|| "-1s".to_owned()),
        paths,
    })
}

fn redirect_rule(judge: &mut Judge<'_, '_>, entry: &Entry, at: &At) -> PartialRedirect {
    let rule = &entry.value;
    let regexp = read::flag(rule, "regexp").unwrap_or(false);
    if regexp {
        pcre::check_key(
            judge,
            &Node {
                value: Val::Text(entry.key.clone()),
                weight: 1,
            },
            at,
        );
        for key in ["prefix", "append_suffix"] {
            if rule.get(key).is_some() {
                judge.loader.error(
                    codes::REDIRECT_RULE,
                    &at.of(rule, key),
                    format!("{key} cannot stand beside regexp"),
                );
            }
        }
    } else if read::flag(rule, "prefix") == Some(false) && rule.get("append_suffix").is_some() {
        judge.loader.error(
            codes::REDIRECT_RULE,
            &at.of(rule, "append_suffix"),
            "append_suffix needs prefix",
        );
    } else if !entry.key.starts_with('/') {
        judge
            .loader
            .warning(
                codes::BAD_LOCATION,
                at,
                "the path does not begin with /, so it never matches",
            )
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
        code: read::unsigned(rule, "code")
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or(302),
        expires: rule
            .get("expires")
            .and_then(|value| duration::normalise(value)),
    }
}

/// A path, an address, or something that begins with a capture.
fn partial_target(judge: &mut Judge<'_, '_>, to: &str, at: &At) {
    if to.is_empty() {
        judge
            .loader
            .error(codes::BAD_TARGET, at, "the target is empty")
            .expected("path or absolute URL");
        return;
    }
    if !to.contains("://") || to.contains('$') {
        return;
    }
    if let Err(fault) = UrlTemplate::parse(to)
        && (to.starts_with("http") || fault.code == codes::BAD_PLACEHOLDER)
    {
        let code = if fault.code == codes::BAD_PLACEHOLDER {
            fault.code
        } else {
            codes::BAD_TARGET
        };
        judge
            .loader
            .error(code, at, fault.message)
            .expected("path or absolute URL")
            .suggest(fault.suggestion);
    }
}
