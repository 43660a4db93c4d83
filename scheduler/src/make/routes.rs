//! Resolved routes of the configuration as the routers take them.

use slipway_manifest::{PartialRedirects, ResolvedRoute, RouteKind};
use slipway_model::route::{PathRedirect, RouteAction, SiteRoute};

/// One site route for each resolved route. Proxy routes are not served yet and are left out by the caller's check.
pub fn site_routes(routes: &[ResolvedRoute]) -> Vec<SiteRoute> {
    routes.iter().filter_map(site_route).collect()
}

fn site_route(route: &ResolvedRoute) -> Option<SiteRoute> {
    let action = match &route.kind {
        RouteKind::Upstream { upstream, .. } => RouteAction::Upstream { pool: upstream.clone() },
        RouteKind::Redirect { to, code } => RouteAction::Redirect { to: to.clone(), code: *code },
        RouteKind::Proxy { .. } => return None,
    };
    let path = if route.path.ends_with('/') { route.path.clone() } else { format!("{}/", route.path) };
    Some(SiteRoute {
        https: route.scheme == "https",
        host: route.host.to_lowercase(),
        path,
        original_url: route.original_url.clone(),
        action,
        redirects: route.redirects.as_ref().map(path_redirects).unwrap_or_default(),
    })
}

fn path_redirects(redirects: &PartialRedirects) -> Vec<PathRedirect> {
    redirects
        .paths
        .iter()
        .map(|(from, rule)| PathRedirect {
            from: from.clone(),
            to: rule.to.clone(),
            regexp: rule.regexp,
            prefix: rule.prefix,
            append_suffix: rule.append_suffix,
            code: rule.code,
            expires_seconds: seconds(rule.expires.as_deref().unwrap_or(&redirects.expires)),
        })
        .collect()
}

/// `"300s"`, `"-1s"`, `"2w"` as seconds; what cannot be read means no caching.
fn seconds(text: &str) -> i64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let Ok(number) = digits.parse::<i64>() else { return -1 };
    let factor = match unit {
        "" | "s" => 1,
        "ms" => return number / 1000,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "M" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return -1,
    };
    number.saturating_mul(factor)
}

/// What people open: upstream routes, primary first, https before http.
pub fn urls(routes: &[ResolvedRoute]) -> Vec<String> {
    let mut upstream: Vec<_> = routes.iter().filter(|r| matches!(r.kind, RouteKind::Upstream { .. })).collect();
    upstream.sort_by_key(|r| (!r.primary, r.scheme != "https"));
    upstream.into_iter().map(|r| r.url.clone()).collect()
}

/// One line per route for the log (routes-yaml §12).
pub fn lines(routes: &[ResolvedRoute]) -> Vec<String> {
    routes
        .iter()
        .map(|route| match &route.kind {
            RouteKind::Upstream { upstream, .. } => format!("{} is served by application `{upstream}`", route.url),
            RouteKind::Redirect { to, .. } => format!("{} redirects to {to}", route.url),
            RouteKind::Proxy { to } => format!("{} is passed on to {to}", route.url),
        })
        .collect()
}
