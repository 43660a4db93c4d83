//! House rules as tests: who may import whom, how long a file may be, what must not stand in the tree.
//! Each message names the remedy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files are near 400 lines; one beyond this holds more than one noun.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the checkout").to_path_buf()
}

fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["-c", "safe.directory=*", "ls-files"]).current_dir(root()).output().expect("git runs");
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

/// Crate -> which of ours it may depend on.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let model = ["slipway-model", "slipway-manifest", "slipway-advisories"];
    let with = |more: &[&'static str]| model.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    BTreeMap::from([
        ("slipway-model", vec![]),
        ("slipway-manifest", vec!["slipway-model"]),
        ("slipway-advisories", vec!["slipway-model"]),
        ("slipway-proto", vec!["slipway-model"]),
        ("slipway-core", with(&[])),
        ("slipway-raft-store", vec![]),
        ("slipway-blobs", vec!["slipway-model"]),
        ("slipway-git", with(&["slipway-proto", "slipway-blobs"])),
        ("slipway-console", vec!["slipway-model", "slipway-proto"]),
        ("slipway-scheduler", with(&["slipway-core", "slipway-proto", "slipway-raft-store", "slipway-blobs"])),
        ("slipway-worker", with(&["slipway-proto", "slipway-blobs"])),
        ("slipway-router", vec!["slipway-model", "slipway-proto"]),
        ("xtask", vec![]),
    ])
}

#[test]
fn tiers_meet_only_in_proto() {
    let mut wrong = Vec::new();
    for manifest in tracked().iter().filter(|p| p.file_name().is_some_and(|n| n == "Cargo.toml")) {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a tracked file is there");
        let parsed: toml::Table = text.parse().expect("a manifest is TOML");
        let Some(name) = parsed.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()) else { continue };
        let Some(allowed) = allowed().remove(name) else { continue };
        let Some(dependencies) = parsed.get("dependencies").and_then(|d| d.as_table()) else { continue };
        for dependency in dependencies.keys().filter(|d| d.starts_with("slipway-")) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} depends on {dependency}: tiers meet only in proto; move the shared type to model or a message to proto"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_worlds_have_one_owner() {
    let owners = [
        ("openraft", vec!["slipway-scheduler", "slipway-raft-store"]),
        ("rocksdb", vec!["slipway-raft-store"]),
        ("object_store", vec!["slipway-blobs"]),
        ("containerd-client", vec!["slipway-worker"]),
    ];
    let mut wrong = Vec::new();
    for manifest in tracked().iter().filter(|p| p.file_name().is_some_and(|n| n == "Cargo.toml") && p.components().count() > 1) {
        let text = std::fs::read_to_string(root().join(manifest)).expect("a tracked file is there");
        let parsed: toml::Table = text.parse().expect("a manifest is TOML");
        let name = parsed.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or_default().to_string();
        let Some(dependencies) = parsed.get("dependencies").and_then(|d| d.as_table()) else { continue };
        for (world, owners) in &owners {
            if dependencies.contains_key(*world) && !owners.contains(&name.as_str()) {
                wrong.push(format!("{name} depends on {world}, which belongs to {}: ask that crate instead", owners.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_hold_one_noun_each() {
    let mut long = Vec::new();
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            long.push(format!("{} has {lines} lines: split it by noun (at most {LINES_MAX})", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn modules_begin_with_a_sentence() {
    let mut silent = Vec::new();
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
        if !first.starts_with("//!") && !first.starts_with("#!") {
            silent.push(format!("{} begins without `//!`: say in one sentence what it is", path.display()));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn no_room_is_called_util_and_no_path_of_a_machine_is_committed() {
    let mut wrong = Vec::new();
    for path in tracked() {
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|e| e == "rs") && ["util", "utils", "common", "helpers", "misc"].contains(&stem) {
            wrong.push(format!("{}: a helper lives with what it helps; name it after the noun", path.display()));
        }
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for machine in [concat!("/wor", "k/main"), concat!("/wor", "k/shared"), concat!("/fa", "rm/")] {
            if text.contains(machine) {
                wrong.push(format!("{} names a path of one machine", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_lead_where_they_say() {
    let mut broken = Vec::new();
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let from = path.parent().unwrap_or(Path::new(""));
            if !root().join(from).join(file).exists() {
                broken.push(format!("{} links to {file}, which is not there", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
