//! The files of a project, found and read, not yet judged.

use crate::codes;
use crate::flavour::Flavour;
use crate::load::{Loader, directory_of};
use crate::node::{At, Entry, Mark, Ref, Val};
use crate::shape::short;
use std::collections::BTreeMap;

/// Applications and services of one project; each costs containers.
pub(crate) const APPLICATIONS_MAX: usize = 200;

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
pub(crate) struct Raw {
    pub apps: Vec<RawApp>,
    pub services: Vec<(Entry, At)>,
    pub routes: Vec<(Entry, At)>,
    pub routes_given: bool,
    /// Place of the first key of the routes file.
    pub routes_at: Option<Mark>,
    /// A file could not be read, so nothing may be concluded from what is absent.
    pub apps_unknown: bool,
    pub services_unknown: bool,
    pub routes_unknown: bool,
}

/// The flavour of a repository that has no setting.
pub(crate) fn detect_flavour(loader: &Loader<'_>) -> Flavour {
    let by_directory = Flavour::ALL
        .into_iter()
        .find(|flavour| loader.below(flavour.project_dir()).next().is_some());
    let by_app_file = || {
        Flavour::ALL.into_iter().find(|flavour| {
            flavour.app_file().is_some_and(|name| {
                loader
                    .paths
                    .keys()
                    .any(|path| path.rsplit('/').next() == Some(name))
            })
        })
    };
    by_directory
        .or_else(by_app_file)
        .unwrap_or(Flavour::Platform)
}

pub(crate) fn read_files(loader: &mut Loader<'_>, flavour: Flavour) -> Raw {
    let mut raw = Raw::default();
    let name = flavour.app_file().unwrap_or_default();
    let directory = flavour.project_dir();
    let app_files: Vec<String> = loader
        .paths
        .keys()
        .filter(|path| path.rsplit('/').next() == Some(name))
        .cloned()
        .collect();
    for path in app_files.into_iter().take(APPLICATIONS_MAX + 1) {
        read_app_file(loader, &path, &mut raw);
    }
    let applications = format!("{directory}/applications.yaml");
    if loader.exists(&applications) {
        match loader.document(&applications) {
            Some((file, node)) => {
                let included = loader.included.clone();
                let root = At::new(
                    Mark {
                        file,
                        line: 1,
                        column: 1,
                    },
                    "",
                );
                match &node.value {
                    Val::List(items) => {
                        for (index, item) in items.iter().enumerate() {
                            let at = At::new(item.at, format!("[{index}]"));
                            raw.apps
                                .push(raw_app(None, &item.value, at, &applications, &included));
                        }
                    }
                    Val::Null => {}
                    Val::Map(_) => {
                        read_app_mapping(loader, &node, &root, &applications, &included, &mut raw)
                    }
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
                let root = At::new(
                    Mark {
                        file,
                        line: 1,
                        column: 1,
                    },
                    "",
                );
                raw.services = named_entries(loader, &node, &root)
                    .into_iter()
                    .map(|entry| (entry.clone(), root.key(&entry)))
                    .collect();
            }
            None => raw.services_unknown = true,
        }
    }
    let routes = format!("{directory}/routes.yaml");
    if loader.exists(&routes) {
        match loader.document(&routes) {
            Some((file, node)) => {
                let root = At::new(
                    Mark {
                        file,
                        line: 1,
                        column: 1,
                    },
                    "",
                );
                raw.routes_at = Some(root.mark);
                raw.routes_given = !node.is_null();
                raw.routes = named_entries(loader, &node, &root)
                    .into_iter()
                    .map(|entry| (entry.clone(), root.key(&entry)))
                    .collect();
            }
            None => raw.routes_unknown = true,
        }
    }
    raw
}

pub(crate) fn read_app_file(loader: &mut Loader<'_>, path: &str, raw: &mut Raw) {
    let Some((file, node)) = loader.document(path) else {
        raw.apps_unknown = true;
        return;
    };
    let root = At::new(
        Mark {
            file,
            line: 1,
            column: 1,
        },
        "",
    );
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
            loader
                .error(
                    codes::EMPTY_FILE,
                    &document,
                    "empty file: name and type are missing",
                )
                .expected("a mapping with name and type");
            raw.apps_unknown = true;
        }
        Val::Broken => raw.apps_unknown = true,
        _ => {
            let found = node.kind();
            loader
                .error(
                    codes::WRONG_TYPE,
                    &document,
                    format!("a mapping is expected, found {found}"),
                )
                .expected("a mapping with name and type");
            raw.apps_unknown = true;
        }
    }
}

pub(crate) fn raw_app(
    key: Option<&Entry>,
    node: &Ref,
    at: At,
    file: &str,
    included: &BTreeMap<String, String>,
) -> RawApp {
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

pub(crate) fn read_app_mapping(
    loader: &mut Loader<'_>,
    node: &Ref,
    at: &At,
    file: &str,
    included: &BTreeMap<String, String>,
    raw: &mut Raw,
) {
    for entry in &named_entries(loader, node, at) {
        raw.apps.push(raw_app(
            Some(entry),
            &entry.value,
            at.key(entry),
            file,
            included,
        ));
    }
}

/// The entries of a mapping of named things; anything else is complained about.
pub(crate) fn named_entries(loader: &mut Loader<'_>, node: &Ref, at: &At) -> Vec<Entry> {
    match &node.value {
        Val::Map(entries) => entries.clone(),
        Val::Null | Val::Broken => Vec::new(),
        _ => {
            let place = if at.path.is_empty() {
                At::new(at.mark, "(document)")
            } else {
                at.clone()
            };
            let found = node.kind();
            loader
                .error(
                    codes::WRONG_TYPE,
                    &place,
                    format!("a mapping is expected, found {found}"),
                )
                .expected("a mapping");
            Vec::new()
        }
    }
}

/// Every YAML file directly in `.upsun`, read as one.
pub(crate) fn read_upsun(loader: &mut Loader<'_>, flavour: Flavour) -> Raw {
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
        let root = At::new(
            Mark {
                file,
                line: 1,
                column: 1,
            },
            "",
        );
        if !matches!(node.value, Val::Map(_) | Val::Null) {
            raw.apps_unknown = true;
        }
        for section in named_entries(loader, &node, &root) {
            let at = root.key(&section);
            if !matches!(section.key.as_str(), "applications" | "services" | "routes") {
                let near =
                    crate::near::nearest(&section.key, ["applications", "services", "routes"]);
                loader
                    .error(
                        codes::UNKNOWN_KEY,
                        &at,
                        format!("unknown key '{}'", short(&section.key)),
                    )
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
                let seen = first
                    .entry((section.key.clone(), entry.key.clone()))
                    .or_insert_with(|| path.clone())
                    .clone();
                if seen != path {
                    loader.error(
                        codes::DUPLICATE_NAME,
                        &place,
                        format!("'{}' is given in {seen} already", short(&entry.key)),
                    );
                    continue;
                }
                match section.key.as_str() {
                    "applications" => {
                        raw.apps
                            .push(raw_app(Some(&entry), &entry.value, place, &path, &included))
                    }
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
