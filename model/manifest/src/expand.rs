//! Routes of an environment: placeholders, twins of http and https, the primary one.

use crate::codes;
use crate::context::RouteContext;
use crate::problem::{Problem, Severity};
use crate::types::*;
use crate::url::UrlTemplate;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The document must fit one environment variable of the original platform.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 128 << 10;

/// Resolves the project's routes for one environment, in the order of the file.
pub fn expand_routes(
    project: &Project,
    context: &RouteContext,
) -> Result<Vec<ResolvedRoute>, Vec<Problem>> {
    let templates: Vec<&RouteTemplate> = project.routes.iter().collect();
    let routes = resolve(&templates, context).map_err(|faults| {
        faults
            .into_iter()
            .map(|fault| fault.problem(project))
            .collect::<Vec<_>>()
    })?;
    let bytes = document_bytes(&routes);
    if bytes > DOCUMENT_BYTES_MAX {
        let message = format!(
            "too many routes: the resolved document has {bytes} bytes, over the limit of 128 KiB ({} routes)",
            templates.len()
        );
        let fault = Fault {
            code: codes::ROUTES_TOO_LARGE,
            url: project
                .routes
                .first()
                .map(|route| route.url.clone())
                .unwrap_or_default(),
            message,
        };
        return Err(vec![Problem {
            key: "(document)".to_owned(),
            ..fault.problem(project)
        }]);
    }
    Ok(routes)
}

pub(crate) struct Fault {
    code: &'static str,
    /// Key of the route at fault.
    url: String,
    message: String,
}

impl Fault {
    fn problem(self, project: &Project) -> Problem {
        let place = project.places.get(&format!("routes/{}", self.url));
        Problem {
            code: self.code,
            severity: Severity::Error,
            file: place.map_or_else(|| "(repository)".to_owned(), |place| place.file.clone()),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column),
            key: place.map_or(self.url, |place| place.key.clone()),
            message: self.message,
            expected: None,
            suggestion: None,
            remedy: codes::remedy(self.code).to_owned(),
            snippet: place.and_then(|place| place.snippet.clone()),
        }
    }
}

/// Which of two templates for the same URL wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Default,
    Literal,
    All,
}

struct Domains<'c> {
    context: &'c RouteContext,
    environment: String,
}

impl Domains<'_> {
    /// Whether the project's own domains are served.
    fn live(&self) -> bool {
        self.context.production && !self.context.domains.is_empty()
    }

    fn default(&self) -> &str {
        let chosen = self
            .context
            .default_domain
            .as_ref()
            .filter(|domain| self.context.domains.contains(domain));
        chosen
            .or(self.context.domains.first())
            .map_or("", String::as_str)
    }

    /// The domain that `{default}` stands for, with a sub-domain before it.
    fn with_default(&self, prefix: &str) -> String {
        if self.live() {
            format!("{prefix}{}", self.default())
        } else {
            self.generated(prefix)
        }
    }

    /// The domain that `{all}` stands for in the turn of one domain.
    fn with_all(&self, prefix: &str, domain: Option<&str>) -> String {
        match domain {
            Some(domain) if self.live() => format!("{prefix}{domain}"),
            Some(domain) => self.literal(&format!("{prefix}{domain}")),
            None => self.with_default(prefix),
        }
    }

    /// `www.` before the environment's domain, by the flavour's separator.
    fn generated(&self, prefix: &str) -> String {
        match prefix.strip_suffix('.') {
            Some(label) => format!("{label}{}{}", self.context.separator, self.environment),
            None => format!("{prefix}{}", self.environment),
        }
    }

    fn literal(&self, host: &str) -> String {
        if self.live() {
            host.to_owned()
        } else {
            format!("{host}{}{}", self.context.separator, self.environment)
        }
    }

    /// The turns of `{all}`: every domain where there are several, or in production.
    fn turns(&self) -> Vec<Option<&str>> {
        if self.live() || self.context.domains.len() > 1 {
            let mut domains: Vec<Option<&str>> = self
                .context
                .domains
                .iter()
                .map(|domain| Some(domain.as_str()))
                .collect();
            domains.dedup();
            domains
        } else {
            vec![None]
        }
    }

    fn owns(&self, host: &str) -> bool {
        let host = host.strip_prefix("*.").unwrap_or(host);
        self.context.domains.iter().any(|domain| {
            host == domain
                || host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.ends_with('.'))
        })
    }

    /// A target with its placeholders replaced; everything else is kept to the letter.
    fn target(&self, to: &str, domain: Option<&str>) -> String {
        let start = to.find("://").map_or(0, |at| at + 3);
        let end = to[start..]
            .find(['/', '?', '#'])
            .map_or(to.len(), |at| start + at);
        let authority = &to[start..end];
        let replaced = if let Some((prefix, rest)) = authority.split_once("{default}") {
            format!("{}{rest}", self.with_default(prefix))
        } else if let Some((prefix, rest)) = authority.split_once("{all}") {
            format!("{}{rest}", self.with_all(prefix, domain))
        } else {
            return to.to_owned();
        };
        format!("{}{replaced}{}", &to[..start], &to[end..])
    }
}

pub(crate) fn resolve(
    templates: &[&RouteTemplate],
    context: &RouteContext,
) -> Result<Vec<ResolvedRoute>, Vec<Fault>> {
    let domains = Domains {
        environment: context.environment_domain(),
        context,
    };
    let mut faults = Vec::new();
    let mut routes: Vec<(Origin, ResolvedRoute)> = Vec::new();
    let mut by_url: BTreeMap<String, usize> = BTreeMap::new();
    for template in templates {
        let Ok(url) = UrlTemplate::parse_key(&template.url) else {
            faults.push(Fault {
                code: codes::BAD_ROUTE_URL,
                url: template.url.clone(),
                message: "no URL template".to_owned(),
            });
            continue;
        };
        for (origin, host, domain) in hosts(&url, &domains, template, &mut faults) {
            let route = resolved(template, &url, host, domain, &domains);
            match by_url.get(&route.url) {
                None => {
                    by_url.insert(route.url.clone(), routes.len());
                    routes.push((origin, route));
                }
                Some(at) => {
                    let (first, other) = &routes[*at];
                    match (*first, origin) {
                        (Origin::Default, Origin::All) => {}
                        (Origin::All, Origin::Default) => routes[*at] = (origin, route),
                        // Domains may be listed twice; the same template cannot contradict itself.
                        _ if other.original_url == template.url => {}
                        _ => {
                            let message =
                                format!("resolves to {} as {} does", route.url, other.original_url);
                            faults.push(Fault {
                                code: codes::SAME_URL,
                                url: template.url.clone(),
                                message,
                            });
                        }
                    }
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut routes = complete(routes.into_iter().map(|(_, route)| route).collect());
    mark_primary(&mut routes, templates);
    Ok(routes)
}

/// The hosts of a template, each with the domain of its turn.
fn hosts<'d>(
    url: &UrlTemplate,
    domains: &'d Domains<'_>,
    template: &RouteTemplate,
    faults: &mut Vec<Fault>,
) -> Vec<(Origin, String, Option<&'d str>)> {
    if let Some((prefix, rest)) = url.host.split_once("{default}") {
        return vec![(
            Origin::Default,
            format!("{}{rest}", domains.with_default(prefix)),
            None,
        )];
    }
    if let Some((prefix, rest)) = url.host.split_once("{all}") {
        return domains
            .turns()
            .into_iter()
            .map(|domain| {
                (
                    Origin::All,
                    format!("{}{rest}", domains.with_all(prefix, domain)),
                    domain,
                )
            })
            .collect();
    }
    if domains.live() && !domains.owns(&url.host) {
        let message = format!(
            "'{}' is not a domain of the project ({})",
            url.host,
            domains.context.domains.join(", ")
        );
        faults.push(Fault {
            code: codes::FOREIGN_DOMAIN,
            url: template.url.clone(),
            message,
        });
        return Vec::new();
    }
    vec![(Origin::Literal, domains.literal(&url.host), None)]
}

fn resolved(
    template: &RouteTemplate,
    url: &UrlTemplate,
    host: String,
    domain: Option<&str>,
    domains: &Domains<'_>,
) -> ResolvedRoute {
    let kind = match &template.kind {
        RouteKind::Upstream { .. } => template.kind.clone(),
        RouteKind::Redirect { to, code } => RouteKind::Redirect {
            to: domains.target(to, domain),
            code: *code,
        },
        RouteKind::Proxy { to } => RouteKind::Proxy {
            to: domains.target(to, domain),
        },
    };
    let redirects = template
        .redirects
        .as_ref()
        .map(|redirects| PartialRedirects {
            expires: redirects.expires.clone(),
            paths: redirects
                .paths
                .iter()
                .map(|(path, rule)| {
                    (
                        path.clone(),
                        PartialRedirect {
                            to: domains.target(&rule.to, domain),
                            ..rule.clone()
                        },
                    )
                })
                .collect(),
        });
    ResolvedRoute {
        url: format!("{}://{host}{}", url.scheme, url.path),
        scheme: url.scheme.clone(),
        host,
        path: url.path.clone(),
        original_url: template.url.clone(),
        generated: false,
        kind,
        primary: false,
        id: template.id.clone(),
        attributes: template.attributes.clone(),
        cache: template.cache.clone(),
        ssi: template.ssi,
        tls: template.tls.clone(),
        redirects,
        sticky: template.sticky,
        restrict_robots: domains.context.restrict_robots,
        http_access: domains.context.http_access.clone(),
    }
}

/// Adds the missing one of http and https for every address.
fn complete(routes: Vec<ResolvedRoute>) -> Vec<ResolvedRoute> {
    let written: std::collections::BTreeSet<String> =
        routes.iter().map(|route| route.url.clone()).collect();
    let mut all = Vec::with_capacity(routes.len() * 2);
    for route in routes {
        let rest = format!("{}{}", route.host, route.path);
        let twin_scheme = if route.scheme == "http" {
            "https"
        } else {
            "http"
        };
        let twin_url = format!("{twin_scheme}://{rest}");
        let twin = (!written.contains(&twin_url)).then(|| twin(&route, twin_scheme, twin_url));
        all.push(route);
        all.extend(twin);
    }
    all
}

fn twin(route: &ResolvedRoute, scheme: &str, url: String) -> ResolvedRoute {
    let original = route
        .original_url
        .split_once("://")
        .map_or("", |(_, rest)| rest);
    let same = ResolvedRoute {
        url,
        scheme: scheme.to_owned(),
        original_url: format!("{scheme}://{original}"),
        generated: true,
        primary: false,
        id: None,
        ..route.clone()
    };
    if scheme == "https" {
        return same;
    }
    ResolvedRoute {
        kind: RouteKind::Redirect {
            to: route.url.clone(),
            code: 301,
        },
        redirects: None,
        ssi: false,
        sticky: false,
        attributes: BTreeMap::new(),
        ..same
    }
}

/// The route that says so, otherwise the first upstream.
fn mark_primary(routes: &mut [ResolvedRoute], templates: &[&RouteTemplate]) {
    let chosen = templates
        .iter()
        .find(|template| template.primary == Some(true))
        .map(|template| &template.url);
    let written = |route: &&mut ResolvedRoute| !route.generated;
    let found = match chosen {
        Some(url) => routes
            .iter_mut()
            .filter(written)
            .find(|route| route.original_url == *url),
        None => routes
            .iter_mut()
            .filter(written)
            .find(|route| matches!(route.kind, RouteKind::Upstream { .. })),
    };
    if let Some(route) = found {
        route.primary = true;
    }
}

/// `*_ROUTES`: resolved URL to route, as applications read it.
pub fn routes_variable(routes: &[ResolvedRoute]) -> Value {
    Value::Object(
        routes
            .iter()
            .map(|route| (route.url.clone(), route_document(route)))
            .collect(),
    )
}

pub(crate) fn document_bytes(routes: &[ResolvedRoute]) -> usize {
    routes_variable(routes).to_string().len()
}

fn route_document(route: &ResolvedRoute) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match &route.kind {
        RouteKind::Upstream { upstream, .. } => {
            put("type", json!("upstream"));
            put("upstream", json!(upstream));
        }
        RouteKind::Redirect { to, .. } => {
            put("type", json!("redirect"));
            put("to", json!(to));
        }
        RouteKind::Proxy { to } => {
            put("type", json!("proxy"));
            put("to", json!(to));
        }
    }
    put("original_url", json!(route.original_url));
    put("primary", json!(route.primary));
    put("id", json!(route.id));
    put("attributes", json!(route.attributes));
    if matches!(route.kind, RouteKind::Upstream { .. }) {
        put("cache", json!(route.cache));
        put("ssi", json!({"enabled": route.ssi}));
        put("tls", tls_document(&route.tls));
    }
    put("http_access", route.http_access.clone());
    put("restrict_robots", json!(route.restrict_robots));
    Value::Object(map)
}

fn tls_document(tls: &RouteTls) -> Value {
    // The version as it stands on the wire.
    let min_version = match tls.min_version.as_deref() {
        Some("TLSv1.0") => Some(769),
        Some("TLSv1.1") => Some(770),
        Some("TLSv1.2") => Some(771),
        Some("TLSv1.3") => Some(772),
        _ => None,
    };
    json!({
        "min_version": min_version,
        "strict_transport_security": tls.strict_transport_security,
        "client_authentication": tls.client_authentication,
        "client_certificate_authorities": tls.client_certificate_authorities,
    })
}
