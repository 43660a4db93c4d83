//! The comparison itself.

use super::{Change, ChangeKind, Consequence, Destruction, Subject, TopologyPlan};
use crate::codes;
use crate::kinds::{engine_kind, version_numbers};
use crate::problem::{Problem, Severity};
use crate::types::{Application, MountSource, Project, RouteKind, RouteTemplate, Service};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What would happen, what cannot, and what would be lost.
pub fn diff(deployed: &Project, pushed: &Project) -> TopologyPlan {
    diff_with_use(deployed, pushed, &BTreeMap::new())
}

/// The same, knowing how many MB each application's or service's disk holds:
/// a disk that would be smaller than that is refused.
pub fn diff_with_use(
    deployed: &Project,
    pushed: &Project,
    used_mb: &BTreeMap<String, u64>,
) -> TopologyPlan {
    let mut plan = Planner {
        deployed,
        pushed,
        used_mb,
        plan: TopologyPlan::default(),
    };
    plan.applications();
    plan.services();
    plan.routes();
    plan.plan
}

struct Planner<'p> {
    deployed: &'p Project,
    pushed: &'p Project,
    used_mb: &'p BTreeMap<String, u64>,
    plan: TopologyPlan,
}

/// A short text for a value, for people.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => {
            let text = other.to_string();
            Some(if text.chars().count() > 120 {
                text.chars().take(120).chain(['…']).collect()
            } else {
                text
            })
        }
    }
}

impl Planner<'_> {
    fn change(
        &mut self,
        subject: &Subject,
        kind: ChangeKind,
        what: &str,
        from: Option<String>,
        to: Option<String>,
        consequence: Consequence,
        why: impl Into<String>,
    ) {
        self.plan.changes.push(Change {
            subject: subject.clone(),
            kind,
            what: what.to_owned(),
            from,
            to,
            why: why.into(),
            consequence,
        });
    }

    /// A complaint at a place of the pushed files; without one at line 0 of the file named.
    fn problem(
        &self,
        code: &'static str,
        place: Option<&str>,
        file: String,
        key: String,
        message: String,
    ) -> Problem {
        let place = place.and_then(|of| self.pushed.places.get(of));
        Problem {
            code,
            severity: Severity::Error,
            file: place.map_or(file, |place| place.file.clone()),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column),
            key: place.map_or(key, |place| place.key.clone()),
            message,
            expected: None,
            suggestion: None,
            remedy: codes::remedy(code).to_owned(),
            snippet: place.and_then(|place| place.snippet.clone()),
        }
    }

    /// Where services are written when nothing better is known.
    fn services_file(&self) -> String {
        let known = self.pushed.services.iter().find_map(|service| {
            self.pushed
                .places
                .get(&format!("services/{}", service.name))
        });
        known
            .map(|place| place.file.clone())
            .unwrap_or_else(|| match self.pushed.flavour {
                crate::Flavour::Upsun => ".upsun/config.yaml".to_owned(),
                flavour => format!("{}/services.yaml", flavour.project_dir()),
            })
    }

    fn destroys(&mut self, subject: Subject, data: String, mut problem: Problem) {
        let name = match &subject {
            Subject::Application(name) | Subject::Service(name) | Subject::Route(name) => {
                name.clone()
            }
        };
        problem.remedy = format!("If that is meant, consent: git push -o slipway.destroy={name}.");
        self.plan.needs_consent.push(Destruction {
            subject,
            data,
            problem,
        });
    }

    fn applications(&mut self) {
        let (deployed, pushed) = (self.deployed, self.pushed);
        let new: Vec<&Application> = pushed
            .applications
            .iter()
            .filter(|app| !deployed.applications.iter().any(|old| old.name == app.name))
            .collect();
        for app in &new {
            let subject = Subject::Application(app.name.clone());
            self.change(
                &subject,
                ChangeKind::Added,
                "",
                None,
                Some(app.kind.clone()),
                Consequence::Rebuild,
                "a new application is built and started",
            );
        }
        for old in &deployed.applications {
            match pushed.applications.iter().find(|app| app.name == old.name) {
                Some(app) => self.application(old, app),
                None => self.removed_application(old, &new),
            }
        }
    }

    fn removed_application(&mut self, old: &Application, new: &[&Application]) {
        let subject = Subject::Application(old.name.clone());
        let heir = new
            .iter()
            .find(|app| app.kind == old.kind && (app.root == old.root || app.mounts == old.mounts))
            .map(|app| app.name.clone());
        let renamed = heir
            .as_ref()
            .map(|heir| format!(" (renamed to {heir}?)"))
            .unwrap_or_default();
        self.change(
            &subject,
            ChangeKind::Removed,
            "",
            Some(old.kind.clone()),
            None,
            Consequence::Destroy,
            format!("the application is gone from the files{renamed}"),
        );
        if !keeps_data(old) {
            return;
        }
        let place = heir
            .as_ref()
            .map(|heir| format!("applications/{heir}/name"));
        let message = format!(
            "destructive: application {} removed{renamed}, its mounts would be deleted",
            old.name
        );
        let problem = self.problem(
            codes::DESTROY_APPLICATION,
            place.as_deref(),
            old.declared_in.clone(),
            old.name.clone(),
            message,
        );
        self.destroys(subject, "volume of its mounts".to_owned(), problem);
    }

    fn application(&mut self, old: &Application, new: &Application) {
        let subject = Subject::Application(new.name.clone());
        let (before, after) = (old.build_identity_json(), new.build_identity_json());
        if let (Value::Object(before), Value::Object(after)) = (&before, &after) {
            for (key, value) in after {
                let former = before.get(key).unwrap_or(&Value::Null);
                if key == "mounts" {
                    self.entries(
                        &subject,
                        key,
                        former,
                        value,
                        Consequence::Rebuild,
                        "mounts are made ready in the build",
                    );
                } else if former != value {
                    self.change(
                        &subject,
                        ChangeKind::Changed,
                        key,
                        shown(former),
                        shown(value),
                        Consequence::Rebuild,
                        format!("{key} is part of the build"),
                    );
                }
            }
        }
        let links = |app: &Application| -> Value {
            app.relationships
                .iter()
                .map(|(name, to)| {
                    (
                        name.clone(),
                        json!(format!("{}:{}", to.service, to.endpoint)),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        self.entries(
            &subject,
            "relationships",
            &links(old),
            &links(new),
            Consequence::Restart,
            "containers reach what their relationships name",
        );
        let run_time: [(&str, Value, Value); 10] = [
            ("size", json!(old.size), json!(new.size)),
            ("access", json!(old.access), json!(new.access)),
            ("crons", ordered(&old.crons), ordered(&new.crons)),
            ("workers", ordered(&old.workers), ordered(&new.workers)),
            ("timezone", json!(old.timezone), json!(new.timezone)),
            ("firewall", json!(old.firewall), json!(new.firewall)),
            (
                "additional_hosts",
                json!(old.additional_hosts),
                json!(new.additional_hosts),
            ),
            (
                "hooks.deploy",
                json!(old.hooks.deploy),
                json!(new.hooks.deploy),
            ),
            (
                "hooks.post_deploy",
                json!(old.hooks.post_deploy),
                json!(new.hooks.post_deploy),
            ),
            (
                "resources",
                json!([old.resources, old.container_profile]),
                json!([new.resources, new.container_profile]),
            ),
        ];
        for (key, before, after) in run_time {
            if before != after {
                self.change(
                    &subject,
                    ChangeKind::Changed,
                    key,
                    shown(&before),
                    shown(&after),
                    Consequence::Restart,
                    format!("{key} changes the containers, not the build"),
                );
            }
        }
        // The order of rules counts.
        if written(&old.web) != written(&new.web) {
            self.change(
                &subject,
                ChangeKind::Changed,
                "web",
                None,
                None,
                Consequence::Restart,
                "web changes the containers, not the build",
            );
        }
        self.disk(&subject, old.disk, new.disk);
    }

    /// One change for each entry of a mapping that differs.
    fn entries(
        &mut self,
        subject: &Subject,
        what: &str,
        before: &Value,
        after: &Value,
        consequence: Consequence,
        why: &str,
    ) {
        let empty = serde_json::Map::new();
        let (before, after) = (
            before.as_object().unwrap_or(&empty),
            after.as_object().unwrap_or(&empty),
        );
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old == new {
                continue;
            }
            let kind = match (old, new) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                _ => ChangeKind::Changed,
            };
            let (old, new) = (old.and_then(shown), new.and_then(shown));
            self.change(
                subject,
                kind,
                &format!("{what}.{name}"),
                old,
                new,
                consequence,
                why,
            );
        }
    }

    fn disk(&mut self, subject: &Subject, old: Option<u64>, new: Option<u64>) {
        if old == new {
            return;
        }
        let (name, place) = match subject {
            Subject::Application(name) => (name, format!("applications/{name}/disk")),
            Subject::Service(name) | Subject::Route(name) => {
                (name, format!("services/{name}/disk"))
            }
        };
        if let (Some(new), Some(used)) = (new, self.used_mb.get(name))
            && new < *used
        {
            let message = format!("{new} MB are less than the {used} MB in use");
            let mut problem = self.problem(
                codes::SHRINK,
                Some(&place),
                self.services_file(),
                format!("{name}.disk"),
                message,
            );
            problem.expected = Some(format!("at least {used} MB"));
            self.plan.refusals.push(problem);
        }
        let text = |disk: Option<u64>| disk.map(|disk| format!("{disk} MB"));
        let why = match (old, new) {
            (Some(old), Some(new)) if new < old => {
                "the disk is made smaller; it is refused at the deployment if the data would not fit"
            }
            (Some(_), None) => "the disk is no longer asked for",
            _ => "the disk grows while it is in use",
        };
        self.change(
            subject,
            ChangeKind::Changed,
            "disk",
            text(old),
            text(new),
            Consequence::Restart,
            why,
        );
    }

    fn services(&mut self) {
        let (deployed, pushed) = (self.deployed, self.pushed);
        let new: Vec<&Service> = pushed
            .services
            .iter()
            .filter(|service| !deployed.services.iter().any(|old| old.name == service.name))
            .collect();
        for service in &new {
            let subject = Subject::Service(service.name.clone());
            self.change(
                &subject,
                ChangeKind::Added,
                "",
                None,
                Some(service.kind.clone()),
                Consequence::Create,
                "a new service is created empty",
            );
        }
        for old in &deployed.services {
            match pushed
                .services
                .iter()
                .find(|service| service.name == old.name)
            {
                Some(service) => self.service(old, service),
                None => self.removed_service(old, &new),
            }
        }
    }

    fn removed_service(&mut self, old: &Service, new: &[&Service]) {
        let subject = Subject::Service(old.name.clone());
        let heir = new
            .iter()
            .find(|service| family(service) == family(old))
            .map(|service| format!(" (renamed to {}?)", service.name))
            .unwrap_or_default();
        self.change(
            &subject,
            ChangeKind::Removed,
            "",
            Some(old.kind.clone()),
            None,
            Consequence::Destroy,
            format!("the service is gone from the files{heir}"),
        );
        if in_memory(old) {
            return;
        }
        let message = format!("destructive: service removed{heir}, its data would be deleted");
        let problem = self.problem(
            codes::DESTROY_SERVICE,
            None,
            self.services_file(),
            old.name.clone(),
            message,
        );
        self.destroys(subject, "all data".to_owned(), problem);
    }

    fn service(&mut self, old: &Service, new: &Service) {
        let subject = Subject::Service(new.name.clone());
        let place = format!("services/{}/type", new.name);
        let key = format!("{}.type", new.name);
        if old.kind != new.kind {
            if family(old) != family(new) {
                let message = format!(
                    "engine changed under the same name, deployed is {}",
                    old.kind
                );
                let problem = self.problem(
                    codes::ENGINE_CHANGE,
                    Some(&place),
                    self.services_file(),
                    key,
                    message,
                );
                self.plan.refusals.push(problem);
            } else {
                self.version(&subject, old, new, &place, key);
            }
        }
        self.disk(&subject, old.disk, new.disk);
        if old.configuration != new.configuration {
            self.entries(
                &subject,
                "configuration",
                &old.configuration,
                &new.configuration,
                Consequence::Restart,
                "the service is started with the new configuration",
            );
            if family(old) == family(new) {
                self.dropped(&subject, old, new);
            }
        }
        let rest: [(&str, Value, Value); 4] = [
            ("size", json!(old.size), json!(new.size)),
            (
                "relationships",
                json!(old.relationships),
                json!(new.relationships),
            ),
            ("firewall", json!(old.firewall), json!(new.firewall)),
            (
                "resources",
                json!([old.resources, old.container_profile]),
                json!([new.resources, new.container_profile]),
            ),
        ];
        for (what, before, after) in rest {
            if before != after {
                self.change(
                    &subject,
                    ChangeKind::Changed,
                    what,
                    shown(&before),
                    shown(&after),
                    Consequence::Restart,
                    format!("{what} changes the service's container"),
                );
            }
        }
    }

    fn version(
        &mut self,
        subject: &Subject,
        old: &Service,
        new: &Service,
        place: &str,
        key: String,
    ) {
        let numbers = |service: &Service| version_numbers(service.version().unwrap_or_default());
        let (before, after) = (numbers(old), numbers(new));
        let change = |planner: &mut Self, consequence, why: &str| {
            planner.change(
                subject,
                ChangeKind::Changed,
                "type",
                Some(old.kind.clone()),
                Some(new.kind.clone()),
                consequence,
                why,
            );
        };
        if old.engine() == "network-storage" {
            change(
                self,
                Consequence::Destroy,
                "network storage of another version begins empty",
            );
            let message = format!(
                "destructive: network storage of another version begins empty, deployed is {}",
                old.kind
            );
            let problem = self.problem(
                codes::DESTROY_STORAGE,
                Some(place),
                self.services_file(),
                key,
                message,
            );
            self.destroys(subject.clone(), "all files".to_owned(), problem);
        } else if in_memory(old) && in_memory(new) {
            change(
                self,
                Consequence::Restart,
                "the service keeps data in memory and begins empty",
            );
        } else if in_memory(old) != in_memory(new) {
            change(
                self,
                Consequence::Restart,
                "the service moves between memory and disk",
            );
            if in_memory(new) {
                let message = format!(
                    "destructive: {} keeps data in memory only, the disk of {} would be deleted",
                    new.kind, old.kind
                );
                let problem = self.problem(
                    codes::DESTROY_SERVICE,
                    Some(place),
                    self.services_file(),
                    key,
                    message,
                );
                self.destroys(subject.clone(), "all data".to_owned(), problem);
            }
        } else if !before.is_empty() && !after.is_empty() && after < before {
            let message = format!("downgrade from the deployed {}", old.kind);
            let problem = self.problem(
                codes::DOWNGRADE,
                Some(place),
                self.services_file(),
                key,
                message,
            );
            self.plan.refusals.push(problem);
        } else {
            change(
                self,
                Consequence::Upgrade,
                "the data is kept; the engine migrates it",
            );
        }
    }

    /// Databases that leave the list.
    fn dropped(&mut self, subject: &Subject, old: &Service, new: &Service) {
        for (list, noun) in [("schemas", "schema"), ("databases", "database")] {
            let names = |service: &Service| -> BTreeSet<String> {
                let list = service.configuration.get(list).and_then(Value::as_array);
                list.into_iter()
                    .flatten()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect()
            };
            self.dropped_names(
                subject,
                new,
                list,
                noun,
                names(old).difference(&names(new)).cloned().collect(),
            );
        }
        let cores = |service: &Service| -> BTreeSet<String> {
            service
                .configuration
                .get("cores")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect()
        };
        self.dropped_names(
            subject,
            new,
            "cores",
            "core",
            cores(old).difference(&cores(new)).cloned().collect(),
        );
    }

    fn dropped_names(
        &mut self,
        subject: &Subject,
        new: &Service,
        list: &str,
        noun: &str,
        dropped: Vec<String>,
    ) {
        if dropped.is_empty() {
            return;
        }
        let names = dropped.join(", ");
        let message = format!("destructive: {noun} {names} would be dropped");
        let place = format!("services/{}/configuration/{list}", new.name);
        let key = format!("{}.configuration.{list}", new.name);
        let problem = self.problem(
            codes::DESTROY_SCHEMA,
            Some(&place),
            self.services_file(),
            key,
            message,
        );
        self.destroys(subject.clone(), format!("{noun} {names}"), problem);
    }

    fn routes(&mut self) {
        let index = |project: &Project| -> BTreeMap<String, RouteTemplate> {
            project
                .routes
                .iter()
                .map(|route| (route.url.clone(), route.clone()))
                .collect()
        };
        let (before, after) = (index(self.deployed), index(self.pushed));
        for route in &self.pushed.routes {
            let subject = Subject::Route(route.url.clone());
            match before.get(&route.url) {
                None => self.change(
                    &subject,
                    ChangeKind::Added,
                    "",
                    None,
                    Some(target(route)),
                    Consequence::Reroute,
                    "the router serves a new address",
                ),
                Some(old) if written(old) != written(route) => {
                    self.change(
                        &subject,
                        ChangeKind::Changed,
                        "",
                        Some(target(old)),
                        Some(target(route)),
                        Consequence::Reroute,
                        "the router serves the address otherwise",
                    );
                }
                Some(_) => {}
            }
        }
        for route in self
            .deployed
            .routes
            .iter()
            .filter(|route| !after.contains_key(&route.url))
        {
            let subject = Subject::Route(route.url.clone());
            self.change(
                &subject,
                ChangeKind::Removed,
                "",
                Some(target(route)),
                None,
                Consequence::Reroute,
                "the address is no longer served",
            );
        }
    }
}

fn ordered<T: serde::Serialize>(map: &indexmap::IndexMap<String, T>) -> Value {
    let mut value = json!(map);
    if let Value::Object(map) = &mut value {
        map.sort_keys();
    }
    value
}

/// As text, in which order shows.
fn written<T: serde::Serialize>(value: &T) -> String {
    json!(value).to_string()
}

fn target(route: &RouteTemplate) -> String {
    match &route.kind {
        RouteKind::Upstream { upstream, endpoint } => format!("{upstream}:{endpoint}"),
        RouteKind::Redirect { to, .. } => format!("redirect to {to}"),
        RouteKind::Proxy { to } => format!("proxy to {to}"),
    }
}

fn family(service: &Service) -> &str {
    engine_kind(&service.kind).map_or(service.engine(), |engine| engine.family)
}

fn in_memory(service: &Service) -> bool {
    engine_kind(&service.kind)
        .is_some_and(|engine| matches!(engine.disk, crate::kinds::DiskRule::Forbidden { .. }))
}

/// Whether removing the application would delete something.
fn keeps_data(app: &Application) -> bool {
    let persistent = |mounts: &crate::types::Mounts| {
        mounts.values().any(|mount| {
            matches!(
                mount.source,
                MountSource::Local | MountSource::Storage | MountSource::Instance
            )
        })
    };
    let overridden = app
        .workers
        .values()
        .map(|worker| &worker.overrides)
        .chain([&app.web.overrides])
        .filter_map(|overrides| overrides.mounts.as_ref());
    persistent(&app.mounts) || overridden.into_iter().any(persistent)
}
