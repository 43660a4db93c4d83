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
use crate::load::{Loader, directory_of};
use crate::node::{At, Entry, Mark, Node, Ref, Val};
use crate::options::Options;
use crate::places::{Place, Places};
use crate::report::Report;
use crate::route::{self, RouteDraft};
use crate::service::{self, ServiceDraft};
use crate::shape::{Judge, short};
use crate::tree::Tree;
use crate::types::Project;
use std::collections::{BTreeMap, BTreeSet};

/// Applications and services of one project; each costs containers.
const APPLICATIONS_MAX: usize = 200;
const SERVICES_MAX: usize = 500;

/// An application before it is judged.
pub(crate) struct RawApp {
    /// From the key of a mapping.
    pub key: Option<Entry>,
    pub node: Ref,
    /// The application's own mapping.
    pub at: At,
    pub file: String,
    /// Where `source.root` begins; for app files their directory.
    pub base: String,
    pub from_app_file: bool,
    pub included: BTreeMap<String, String>,
}

#[derive(Default)]
struct Raw {
    apps: Vec<RawApp>,
    services: Vec<(Entry, At)>,
    routes: Vec<(Entry, At)>,
    routes_given: bool,
    /// Place of the first key of the routes file.
    routes_at: Option<Mark>,
    /// A file could not be read, so nothing may be concluded from what is absent.
    apps_unknown: bool,
    services_unknown: bool,
    routes_unknown: bool,
}

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
    Report { problems: vec![problem], project: None, accident: Some(why.to_owned()) }
}

fn finish(mut loader: Loader<'_>, project: Option<Project>) -> Report {
    let clean = !loader.has_errors();
    let mut problems = std::mem::take(&mut loader.problems);
    problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.key).cmp(&(&b.file, b.line, b.column, &b.key)));
    Report { problems, project: project.filter(|_| clean), accident: loader.accident }
}

/// The flavour of a repository that has no setting.
fn detect_flavour(loader: &Loader<'_>) -> Flavour {
    let by_directory = Flavour::ALL.into_iter().find(|flavour| loader.below(flavour.project_dir()).next().is_some());
    let by_app_file = || {
        Flavour::ALL.into_iter().find(|flavour| {
            flavour.app_file().is_some_and(|name| loader.paths.keys().any(|path| path.rsplit('/').next() == Some(name)))
        })
    };
    by_directory.or_else(by_app_file).unwrap_or(Flavour::Platform)
}

fn read_files(loader: &mut Loader<'_>, flavour: Flavour) -> Raw {
    let mut raw = Raw::default();
    let name = flavour.app_file().unwrap_or_default();
    let directory = flavour.project_dir();
    let app_files: Vec<String> = loader.paths.keys().filter(|path| path.rsplit('/').next() == Some(name)).cloned().collect();
    for path in app_files.into_iter().take(APPLICATIONS_MAX + 1) {
        read_app_file(loader, &path, &mut raw);
    }
    let applications = format!("{directory}/applications.yaml");
    if loader.exists(&applications) {
        match loader.document(&applications) {
            Some((file, node)) => {
                let included = loader.included.clone();
                let root = At::new(Mark { file, line: 1, column: 1 }, "");
                match &node.value {
                    Val::List(items) => {
                        for (index, item) in items.iter().enumerate() {
                            let at = At::new(item.at, format!("[{index}]"));
                            raw.apps.push(raw_app(None, &item.value, at, &applications, &included));
                        }
                    }
                    Val::Null => {}
                    Val::Map(_) => read_app_mapping(loader, &node, &root, &applications, &included, &mut raw),
                    _ => {
                        named_entries(loader, &node, &root);
                        raw.apps_unknown = true;
                    }
                }
            }
            None => raw.apps_unknown = true,
        }
    }
    let services = format!("{directory}/services.yaml");
    if loader.exists(&services) {
        match loader.document(&services) {
            Some((file, node)) => {
                let root = At::new(Mark { file, line: 1, column: 1 }, "");
                raw.services = named_entries(loader, &node, &root).into_iter().map(|entry| (entry.clone(), root.key(&entry))).collect();
            }
            None => raw.services_unknown = true,
        }
    }
    let routes = format!("{directory}/routes.yaml");
    if loader.exists(&routes) {
        match loader.document(&routes) {
            Some((file, node)) => {
                let root = At::new(Mark { file, line: 1, column: 1 }, "");
                raw.routes_at = Some(root.mark);
                raw.routes_given = !node.is_null();
                raw.routes = named_entries(loader, &node, &root).into_iter().map(|entry| (entry.clone(), root.key(&entry))).collect();
            }
            None => raw.routes_unknown = true,
        }
    }
    raw
}

fn read_app_file(loader: &mut Loader<'_>, path: &str, raw: &mut Raw) {
    let Some((file, node)) = loader.document(path) else {
        raw.apps_unknown = true;
        return;
    };
    let root = At::new(Mark { file, line: 1, column: 1 }, "");
    let document = At::new(root.mark, "(document)");
    match &node.value {
        Val::Map(_) => {
            let included = std::mem::take(&mut loader.included);
            raw.apps.push(RawApp {
                key: None,
                node,
                at: root,
                file: path.to_owned(),
                base: directory_of(path).to_owned(),
                from_app_file: true,
                included,
            });
        }
        Val::Null => {
            loader.error(codes::EMPTY_FILE, &document, "empty file: name and type are missing").expected("a mapping with name and type");
            raw.apps_unknown = true;
        }
        Val::Broken => raw.apps_unknown = true,
        _ => {
            let found = node.kind();
            loader.error(codes::WRONG_TYPE, &document, format!("a mapping is expected, found {found}")).expected("a mapping with name and type");
            raw.apps_unknown = true;
        }
    }
}

fn raw_app(key: Option<&Entry>, node: &Ref, at: At, file: &str, included: &BTreeMap<String, String>) -> RawApp {
    RawApp {
        key: key.cloned(),
        node: node.clone(),
        at,
        file: file.to_owned(),
        base: String::new(),
        from_app_file: false,
        included: included.clone(),
    }
}

fn read_app_mapping(loader: &mut Loader<'_>, node: &Ref, at: &At, file: &str, included: &BTreeMap<String, String>, raw: &mut Raw) {
    for entry in &named_entries(loader, node, at) {
        raw.apps.push(raw_app(Some(entry), &entry.value, at.key(entry), file, included));
    }
}

/// The entries of a mapping of named things; anything else is complained about.
fn named_entries(loader: &mut Loader<'_>, node: &Ref, at: &At) -> Vec<Entry> {
    match &node.value {
        Val::Map(entries) => entries.clone(),
        Val::Null | Val::Broken => Vec::new(),
        _ => {
            let place = if at.path.is_empty() { At::new(at.mark, "(document)") } else { at.clone() };
            let found = node.kind();
            loader.error(codes::WRONG_TYPE, &place, format!("a mapping is expected, found {found}")).expected("a mapping");
            Vec::new()
        }
    }
}

/// Every YAML file directly in `.upsun`, read as one.
fn read_upsun(loader: &mut Loader<'_>, flavour: Flavour) -> Raw {
    let mut raw = Raw::default();
    let directory = flavour.project_dir();
    let files: Vec<String> = loader
        .below(directory)
        .map(|(path, _)| path.clone())
        .filter(|path| path.ends_with(".yaml") && !path[directory.len() + 1..].contains('/'))
        .collect();
    let mut first: BTreeMap<(String, String), String> = BTreeMap::new();
    for path in files {
        let Some((file, node)) = loader.document(&path) else {
            (raw.apps_unknown, raw.services_unknown, raw.routes_unknown) = (true, true, true);
            continue;
        };
        let included = loader.included.clone();
        let root = At::new(Mark { file, line: 1, column: 1 }, "");
        if !matches!(node.value, Val::Map(_) | Val::Null) {
            raw.apps_unknown = true;
        }
        for section in named_entries(loader, &node, &root) {
            let at = root.key(&section);
            if !matches!(section.key.as_str(), "applications" | "services" | "routes") {
                let near = crate::near::nearest(&section.key, ["applications", "services", "routes"]);
                loader
                    .error(codes::UNKNOWN_KEY, &at, format!("unknown key '{}'", short(&section.key)))
                    .expected("applications, services, routes")
                    .suggest(near);
                continue;
            }
            if !matches!(section.value.value, Val::Map(_) | Val::Null) {
                named_entries(loader, &section.value, &at);
                match section.key.as_str() {
                    "applications" => raw.apps_unknown = true,
                    "services" => raw.services_unknown = true,
                    _ => raw.routes_unknown = true,
                }
                continue;
            }
            for entry in named_entries(loader, &section.value, &at) {
                let place = at.key(&entry);
                let seen = first.entry((section.key.clone(), entry.key.clone())).or_insert_with(|| path.clone()).clone();
                if seen != path {
                    loader.error(codes::DUPLICATE_NAME, &place, format!("'{}' is given in {seen} already", short(&entry.key)));
                    continue;
                }
                match section.key.as_str() {
                    "applications" => raw.apps.push(raw_app(Some(&entry), &entry.value, place, &path, &included)),
                    "services" => raw.services.push((entry, place)),
                    _ => {
                        raw.routes_given = true;
                        raw.routes_at.get_or_insert(section.at);
                        raw.routes.push((entry, place));
                    }
                }
            }
            if section.key == "routes" && matches!(section.value.value, Val::Map(_)) {
                raw.routes_given = true;
            }
        }
    }
    raw
}

fn judge_project(judge: &mut Judge<'_, '_>, raw: Raw, options: &Options) -> Option<Project> {
    let flavour = judge.flavour;
    let app_count = raw.apps.len();
    let mut apps: Vec<AppDraft> = Vec::new();
    let mut apps_unknown = raw.apps_unknown;
    if raw.apps.is_empty() && !apps_unknown {
        let expected = match flavour.app_file() {
            Some(name) => format!("expected {name}"),
            None => format!("expected `applications` in {}/config.yaml", flavour.project_dir()),
        };
        judge
            .loader
            .repository_error(codes::NO_APPLICATION, "applications", format!("no application file found, {expected}"))
            .expected(expected)
            .remedy("Add the file with `name` and `type` of the application, and commit it.");
        apps_unknown = true;
    }
    if let Some(surplus) = raw.apps.get(APPLICATIONS_MAX) {
        let at = surplus.at.clone();
        judge.loader.error(codes::FILE_TOO_LARGE, &document(&at), format!("more than {APPLICATIONS_MAX} applications"));
    }
    if let Some((_, at)) = raw.services.get(SERVICES_MAX) {
        let at = at.clone();
        judge.loader.error(codes::FILE_TOO_LARGE, &document(&at), format!("more than {SERVICES_MAX} services"));
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
            let message = format!("the name is already used by the application in {}", app.app.declared_in);
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
            .repository_error(codes::NO_ROUTES_FILE, "routes", "no routes file and more than one application")
            .expected(match flavour {
                Flavour::Upsun => "routes in .upsun/config.yaml".to_owned(),
                _ => format!("{}/routes.yaml", flavour.project_dir()),
            });
    } else if !raw.routes_unknown && app_count == 1 && let Some(app) = apps.first() {
        routes.push(route::default_route(flavour, &app.app.name));
    }
    let names_unknown = apps_unknown || raw.services_unknown;
    links::judge(judge, &mut apps, &mut services, &mut routes, names_unknown);
    links::storage(judge, &apps, &services, options);
    route::judge_together(judge, &routes, raw.routes_at);
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
        let Some(first) = apps[..index].iter().find(|other| other.app.name == app.app.name) else {
            continue;
        };
        let message = format!("duplicate application name, also in {}", first.app.declared_in);
        judge.loader.error(codes::DUPLICATE_NAME, &app.name_at, message);
    }
}

fn warn_unrouted(judge: &mut Judge<'_, '_>, apps: &[AppDraft], routes: &[RouteDraft]) {
    let called: BTreeSet<&str> = apps.iter().flat_map(|app| app.app.relationships.values()).map(|link| link.service.as_str()).collect();
    for app in apps {
        let name = app.app.name.as_str();
        let routed = routes.iter().any(|route| matches!(&route.route.kind, crate::types::RouteKind::Upstream { upstream, .. } if upstream == name));
        let served = !app.app.web.locations.is_empty() || app.app.web.commands.start.is_some();
        if !routed && served && !called.contains(name) {
            judge.loader.warning(codes::UNROUTED, &app.name_at, format!("no route leads to the application '{name}'"));
        }
    }
}

fn assemble(judge: &mut Judge<'_, '_>, apps: Vec<AppDraft>, services: Vec<ServiceDraft>, routes: Vec<RouteDraft>) -> Project {
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
            put(judge, format!("applications/{name}/{key}"), &app.at.of(&app.node, key));
        }
    }
    for service in &services {
        let name = &service.service.name;
        put(judge, format!("services/{name}"), &service.at);
        for key in ["type", "disk", "size"] {
            put(judge, format!("services/{name}/{key}"), &service.at.of(&service.node, key));
        }
        let configuration = service.at.of(&service.node, "configuration");
        let empty = Node::null();
        let node = service.node.get("configuration").unwrap_or(&empty);
        put(judge, format!("services/{name}/configuration"), &configuration);
        for key in ["schemas", "databases", "cores"] {
            put(judge, format!("services/{name}/configuration/{key}"), &configuration.of(node, key));
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
