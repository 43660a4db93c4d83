//! A release: the immutable set of slugs, images, routes and variables.

use super::activity::{Drive, Ends};
use super::build::Built;
use crate::chance;
use crate::make::{routes, variables};
use slipway_core::Command;
use slipway_core::state::*;
use slipway_manifest::{ResolvedRoute, RouteContext, RouteKind, expand_routes, routes_variable};
use slipway_model::ReleaseId;
use slipway_model::hosts::machine_name;

/// Records the release of a tree.
pub async fn create(drive: &Drive, tree: PushedTree, built: Built) -> anyhow::Result<ReleaseId> {
    let office = &drive.office;
    let environment = drive.env()?;
    let resolved = resolve(drive, &environment, &tree)?;
    let levels = office
        .read(|s| variables::of_environment(s, &environment, &|sealed| office.sealer.open_text(sealed)))
        .map_err(|e| Ends(format!("the variables cannot be read: {e:#}")))?;
    let id: ReleaseId = chance::id("rel");
    let release = Release {
        environment: drive.environment.clone(),
        activity: drive.id.clone(),
        created_at: chance::now_ms(),
        tree,
        slugs: built.slugs,
        images: built.images,
        routes: routes::site_routes(&resolved),
        routes_variable: routes_variable(&resolved),
        urls: routes::urls(&resolved),
        sealed_variables: office.sealer.seal(&serde_json::to_string(&levels)?),
        deployed: false,
    };
    office.record(Command::CreateRelease { id: id.clone(), release }).await?;
    Ok(id)
}

/// The environment's routes as people reach them.
pub fn resolve(drive: &Drive, environment: &Environment, tree: &PushedTree) -> anyhow::Result<Vec<ResolvedRoute>> {
    let options = &drive.office.options;
    let machine = machine_name(&environment.branch);
    let mut context =
        RouteContext::new(tree.project.flavour, environment.project.as_str(), &machine, &options.site_domain);
    context.production = environment.kind == "production";
    context.restrict_robots = !context.production;
    let mut resolved = expand_routes(&tree.project, &context).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
        Ends(format!("the routes cannot be resolved: {}", lines.join("; ")))
    })?;
    if let Some(route) = resolved.iter().find(|r| matches!(r.kind, RouteKind::Proxy { .. })) {
        return Err(Ends(format!("route {} is of type proxy, which this platform does not serve yet", route.url)).into());
    }
    for route in &mut resolved {
        route.url = with_port(&route.url, options);
        if let RouteKind::Redirect { to, .. } = &mut route.kind {
            *to = with_port(to, options);
        }
    }
    Ok(resolved)
}

/// Where the routers do not listen on 80 and 443, URLs of the platform's own domain carry the port.
fn with_port(url: &str, options: &crate::Options) -> String {
    let (scheme, suffix) = match url.split_once("://") {
        Some(("https", _)) => ("https://", &options.https_port_suffix),
        Some(("http", _)) => ("http://", &options.http_port_suffix),
        _ => return url.to_string(),
    };
    let rest = &url[scheme.len()..];
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let ours = host == options.site_domain || host.ends_with(&format!(".{}", options.site_domain));
    if ours && !host.contains(':') { format!("{scheme}{host}{suffix}{path}") } else { url.to_string() }
}
