//! The check of a whole tree: find the files, read, judge, join.
//!
//! ```text
//! flavour -> app files, applications, services, routes -> shapes -> normalised parts
//!         -> names -> relationships, mounts, disks, routes -> Report
//! ```

use crate::app::{self, AppDraft};
use crate::codes;
use crate::flavour::Flavour;
use crate::links;
use crate::load::Loader;
use crate::node::{At, Node};
use crate::options::Options;
use crate::places::{Place, Places};
use crate::raw::{APPLICATIONS_MAX, Raw, detect_flavour, read_files, read_upsun};
use crate::report::Report;
use crate::route::{self, RouteDraft};
use crate::routes_together::judge_together;
use crate::service::{self, ServiceDraft};
use crate::shape::Judge;
use crate::tree::Tree;
use crate::types::Project;
use std::collections::BTreeSet;
const SERVICES_MAX: usize = 500;

/// Judges the configuration of a tree.
pub fn check(tree: &dyn Tree, options: &Options) -> Report {
    let mut loader = match Loader::new(tree) {
        Ok(loader) => loader,
        Err(error) => return unreadable(&error.to_string()),
    };
    let flavour = options.flavour.unwrap_or_else(|| detect_flavour(&loader));
    let raw = match flavour {
        Flavour::Upsun => read_upsun(&mut loader, flavour),
        _ => read_files(&mut loader, flavour),
    };
    let mut judge = Judge {
        loader: &mut loader,
        flavour,
        strict: options.strict.unwrap_or(flavour.strict_by_default()),
        good_regexes: BTreeSet::new(),
        regex_cost: 0,
    };
    let project = judge_project(&mut judge, raw, options);
    finish(loader, project)
}

fn unreadable(why: &str) -> Report {
    let problem = crate::problem::Problem {
        code: codes::INCLUDE_MISSING,
        severity: crate::problem::Severity::Error,
        file: "(repository)".to_owned(),
        line: 0,
        column: 0,
        key: "(repository)".to_owned(),
        message: format!("the tree {why}"),
        expected: None,
        suggestion: None,
        remedy: "Try again; if it stays, tell the operator.".to_owned(),
        snippet: None,
    };
    Report {
        problems: vec![problem],
        project: None,
        accident: Some(why.to_owned()),
    }
}

fn finish(mut loader: Loader<'_>, project: Option<Project>) -> Report {
    let clean = !loader.has_errors();
    let mut problems = std::mem::take(&mut loader.problems);
    problems.sort_by(|a, b| {
        (&a.file, a.line, a.column, &a.key).cmp(&(&b.file, b.line, b.column, &b.key))
    });
    Report {
        problems,
        project: project.filter(|_| clean),
        accident: loader.accident,
    }
}

fn judge_project(judge: &mut Judge<'_, '_>, raw: Raw, options: &Options) -> Option<Project> {
    let flavour = judge.flavour;
    let app_count = raw.apps.len();
    let mut apps: Vec<AppDraft> = Vec::new();
    let mut apps_unknown = raw.apps_unknown;
    if raw.apps.is_empty() && !apps_unknown {
        let expected = match flavour.app_file() {
            Some(name) => format!("expected {name}"),
            None => format!(
                "expected `applications` in {}/config.yaml",
                flavour.project_dir()
            ),
        };
        judge
            .loader
            .repository_error(
                codes::NO_APPLICATION,
                "applications",
                format!("no application file found, {expected}"),
            )
            .expected(expected)
            .remedy("Add the file with `name` and `type` of the application, and commit it.");
        apps_unknown = true;
    }
    if let Some(surplus) = raw.apps.get(APPLICATIONS_MAX) {
        let at = surplus.at.clone();
        judge.loader.error(
            codes::FILE_TOO_LARGE,
            &document(&at),
            format!("more than {APPLICATIONS_MAX} applications"),
        );
    }
    if let Some((_, at)) = raw.services.get(SERVICES_MAX) {
        let at = at.clone();
        judge.loader.error(
            codes::FILE_TOO_LARGE,
            &document(&at),
            format!("more than {SERVICES_MAX} services"),
        );
    }
    for raw in raw.apps.into_iter().take(APPLICATIONS_MAX) {
        match app::judge(judge, raw, options) {
            Some(app) => apps.push(app),
            None => apps_unknown = true,
        }
    }
    unique_names(judge, &apps);
    let mut services: Vec<ServiceDraft> = Vec::new();
    for (entry, at) in raw.services.into_iter().take(SERVICES_MAX) {
        if let Some(app) = apps.iter().find(|app| app.app.name == entry.key) {
            let message = format!(
                "the name is already used by the application in {}",
                app.app.declared_in
            );
            judge.loader.error(codes::DUPLICATE_NAME, &at, message);
        }
        services.push(service::judge(judge, &entry, &at, options));
    }
    let mut routes: Vec<RouteDraft> = Vec::new();
    if raw.routes_given {
        for (entry, at) in raw.routes {
            routes.extend(route::judge(judge, &entry, &at));
        }
    } else if !raw.routes_unknown && app_count > 1 {
        judge
            .loader
            .repository_error(
                codes::NO_ROUTES_FILE,
                "routes",
                "no routes file and more than one application",
            )
            .expected(match flavour {
                Flavour::Upsun => "routes in .upsun/config.yaml".to_owned(),
                _ => format!("{}/routes.yaml", flavour.project_dir()),
            });
    } else if !raw.routes_unknown
        && app_count == 1
        && let Some(app) = apps.first()
    {
        routes.push(route::default_route(flavour, &app.app.name));
    }
    let names_unknown = apps_unknown || raw.services_unknown;
    links::judge(judge, &mut apps, &mut services, &mut routes, names_unknown);
    links::storage(judge, &apps, &services, options);
    judge_together(judge, &routes, raw.routes_at);
    if judge.loader.has_errors() {
        return None;
    }
    if raw.routes_given {
        warn_unrouted(judge, &apps, &routes);
    }
    Some(assemble(judge, apps, services, routes))
}

fn document(at: &At) -> At {
    At::new(at.mark, "(document)")
}

/// The second use of a name is the one complained about.
fn unique_names(judge: &mut Judge<'_, '_>, apps: &[AppDraft]) {
    for (index, app) in apps.iter().enumerate() {
        let Some(first) = apps[..index]
            .iter()
            .find(|other| other.app.name == app.app.name)
        else {
            continue;
        };
        let message = format!(
            "duplicate application name, also in {}",
            first.app.declared_in
        );
        judge
            .loader
            .error(codes::DUPLICATE_NAME, &app.name_at, message);
    }
}

fn warn_unrouted(judge: &mut Judge<'_, '_>, apps: &[AppDraft], routes: &[RouteDraft]) {
    let called: BTreeSet<&str> = apps
        .iter()
        .flat_map(|app| app.app.relationships.values())
        .map(|link| link.service.as_str())
        .collect();
    for app in apps {
        let name = app.app.name.as_str();
        let routed = routes.iter().any(|route| matches!(&route.route.kind, crate::types::RouteKind::Upstream { upstream, .. } if upstream == name));
        let served = !app.app.web.locations.is_empty() || app.app.web.commands.start.is_some();
        if !routed && served && !called.contains(name) {
            judge.loader.warning(
                codes::UNROUTED,
                &app.name_at,
                format!("no route leads to the application '{name}'"),
            );
        }
    }
}

fn assemble(
    judge: &mut Judge<'_, '_>,
    apps: Vec<AppDraft>,
    services: Vec<ServiceDraft>,
    routes: Vec<RouteDraft>,
) -> Project {
    let mut places = Places::default();
    let mut put = |judge: &mut Judge<'_, '_>, of: String, at: &At| {
        let place = Place {
            file: judge.loader.path_of(at.mark).to_owned(),
            line: at.mark.line,
            column: at.mark.column,
            key: at.path.clone(),
            snippet: judge.loader.snippet(at.mark),
        };
        places.put(of, place);
    };
    for app in &apps {
        let name = &app.app.name;
        put(judge, format!("applications/{name}/name"), &app.name_at);
        for key in ["type", "disk", "mounts", "size"] {
            put(
                judge,
                format!("applications/{name}/{key}"),
                &app.at.of(&app.node, key),
            );
        }
    }
    for service in &services {
        let name = &service.service.name;
        put(judge, format!("services/{name}"), &service.at);
        for key in ["type", "disk", "size"] {
            put(
                judge,
                format!("services/{name}/{key}"),
                &service.at.of(&service.node, key),
            );
        }
        let configuration = service.at.of(&service.node, "configuration");
        let empty = Node::null();
        let node = service.node.get("configuration").unwrap_or(&empty);
        put(
            judge,
            format!("services/{name}/configuration"),
            &configuration,
        );
        for key in ["schemas", "databases", "cores"] {
            put(
                judge,
                format!("services/{name}/configuration/{key}"),
                &configuration.of(node, key),
            );
        }
    }
    for route in &routes {
        if let Some(at) = &route.at {
            put(judge, format!("routes/{}", route.route.url), at);
        }
    }
    Project {
        flavour: judge.flavour,
        applications: apps.into_iter().map(|draft| draft.app).collect(),
        services: services.into_iter().map(|draft| draft.service).collect(),
        routes: routes.into_iter().map(|draft| draft.route).collect(),
        places,
    }
}
