//! Mounts: both spellings, normalised paths, overlaps.

use crate::codes;
use crate::load::join_inside;
use crate::node::{At, Node, Val};
use crate::read;
use crate::shape::{Judge, short};
use crate::types::{Mount, MountSource, Mounts};
use std::collections::BTreeMap;

/// Mounts of a container that are compared with one another.
const COMPARED_MAX: usize = 200;

/// A mount that names a service, to be looked up when all services are known.
pub(crate) struct MountService {
    pub at: At,
    pub service: String,
}

/// The `mounts` of an application, of `web` or of a worker.
pub(crate) fn judge(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    at: &At,
    services: &mut Vec<MountService>,
) -> Mounts {
    let mut mounts = Mounts::new();
    let Some(written) = node.get("mounts") else {
        return mounts;
    };
    let at = at.of(node, "mounts");
    let mut first: BTreeMap<String, (String, u32)> = BTreeMap::new();
    for entry in written.entries() {
        let place = at.key(entry);
        let Some(path) = mount_path(judge, &entry.key, &place) else {
            continue;
        };
        if let Some((key, line)) = first.get(&path) {
            let message = format!("the same path as mount {} at line {line}", short(key));
            judge
                .loader
                .error(codes::BAD_PATH, &place, message)
                .remedy("Remove one of the two.");
            continue;
        }
        first.insert(path.clone(), (entry.key.clone(), entry.at.line));
        let mount = match &entry.value.value {
            Val::Text(text) => short_form(judge, text, &place),
            Val::Map(_) => long_form(judge, &entry.value, &path, &place, services),
            _ => None,
        };
        if let Some(mount) = mount {
            overlap(judge, &mounts, &path, &mount, &place);
            mounts.insert(path, mount);
        }
    }
    mounts
}

/// Without outer slashes; complains about what climbs out or is empty.
fn mount_path(judge: &mut Judge<'_, '_>, written: &str, at: &At) -> Option<String> {
    if written.split('/').any(|part| part == "..") {
        judge
            .loader
            .error(
                codes::BAD_PATH,
                at,
                ".. is not allowed in the path of a mount",
            )
            .expected("path relative to the application");
        return None;
    }
    let path = join_inside("", written)?;
    if path.is_empty() {
        judge
            .loader
            .error(
                codes::BAD_PATH,
                at,
                "the whole application cannot be a mount",
            )
            .expected("path relative to the application");
        return None;
    }
    Some(path)
}

/// `shared:files/var`.
fn short_form(judge: &mut Judge<'_, '_>, text: &str, at: &At) -> Option<Mount> {
    let Some((volume, path)) = text
        .split_once('/')
        .or_else(|| text.contains(':').then_some((text, "")))
    else {
        judge
            .loader
            .error(
                codes::BAD_VOLUME,
                at,
                format!("shared:files/PATH expected, found '{}'", short(text)),
            )
            .expected("shared:files/PATH");
        return None;
    };
    if volume != "shared:files" {
        let draft = if volume.contains(':') {
            judge.loader.error(
                codes::BAD_VOLUME,
                at,
                format!("only shared:files is a volume, not '{}'", short(volume)),
            )
        } else {
            judge.loader.error(
                codes::BAD_VOLUME,
                at,
                format!("shared:files/PATH expected, found '{}'", short(text)),
            )
        };
        draft.expected("shared:files/PATH").suggest(
            volume
                .contains(':')
                .then(|| format!("shared:files/{}", short(path))),
        );
        return None;
    }
    let source_path = source_path(judge, path, at)?;
    Some(Mount {
        source: MountSource::Local,
        source_path,
        service: None,
    })
}

fn long_form(
    judge: &mut Judge<'_, '_>,
    node: &Node,
    path: &str,
    at: &At,
    services: &mut Vec<MountService>,
) -> Option<Mount> {
    let source_path = match node.get("source_path").and_then(|value| value.text()) {
        Some(written) => source_path(judge, written, &at.of(node, "source_path"))?,
        None => path.to_owned(),
    };
    let source = match node.get("source")?.text()? {
        "local" => MountSource::Local,
        "storage" => MountSource::Storage,
        "instance" => MountSource::Instance,
        "tmp" | "temporary" => MountSource::Temporary,
        "service" => MountSource::Service,
        _ => return None,
    };
    let service = read::text(node, "service");
    if source == MountSource::Service {
        match &service {
            Some(service) => services.push(MountService {
                at: at.of(node, "service"),
                service: service.clone(),
            }),
            None if node.get("service").is_none() => {
                judge
                    .loader
                    .error(
                        codes::MISSING_KEY,
                        &at.missing("service"),
                        "required key missing: the network-storage service",
                    )
                    .expected("name of a network-storage service")
                    .remedy("Add `service:` with the name of a network-storage service.");
            }
            None => {}
        }
    } else if service.is_some() {
        judge.loader.warning(
            codes::NOT_ALLOWED_HERE,
            &at.of(node, "service"),
            "service has no effect without source: service",
        );
    }
    Some(Mount {
        source,
        source_path,
        service: service.filter(|_| source == MountSource::Service),
    })
}

fn source_path(judge: &mut Judge<'_, '_>, written: &str, at: &At) -> Option<String> {
    if written.split('/').any(|part| part == "..") {
        judge
            .loader
            .error(
                codes::BAD_PATH,
                at,
                ".. is not allowed in the path of a mount",
            )
            .expected("path within the source");
        return None;
    }
    join_inside("", written)
}

/// A mount within another of a different source is legal and unwise.
fn overlap(judge: &mut Judge<'_, '_>, mounts: &Mounts, path: &str, mount: &Mount, at: &At) {
    if mounts.len() > COMPARED_MAX {
        return;
    }
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let other = mounts.iter().find(|(known, other)| {
        (within(path, known) || within(known, path)) && other.source != mount.source
    });
    if let Some((known, _)) = other {
        judge.loader.warning(
            codes::SHADOWED_MOUNT,
            at,
            format!("overlaps the mount '{}' of another source", short(known)),
        );
    }
}

/// Local mounts live on the application's disk, where the files declare it.
pub(crate) fn needs_disk(judge: &mut Judge<'_, '_>, mounts: &Mounts, declared: bool, at: &At) {
    let local = mounts
        .values()
        .any(|mount| mount.source == MountSource::Local);
    if local && !declared && judge.flavour.declares_storage() {
        judge
            .loader
            .error(codes::MOUNT_NEEDS_DISK, at, "local mounts need disk");
    }
}
