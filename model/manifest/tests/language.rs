//! The whole language once, and two hundred ways to get it wrong.

mod support;

use slipway_manifest::{MemoryTree, Options, check};
use std::path::{Path, PathBuf};
use support::Folder;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/language")
        .join(name)
}

/// Compares, or with `SLIPWAY_BLESS=1` accepts.
#[track_caller]
fn golden(path: &Path, found: &str) {
    if std::env::var_os("SLIPWAY_BLESS").is_some() {
        std::fs::write(path, found).expect("golden file");
        return;
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        found,
        wanted,
        "{} differs; accept it with SLIPWAY_BLESS=1",
        path.display()
    );
}

#[test]
fn every_key_of_the_language_is_understood() {
    for name in ["platform", "upsun"] {
        let report = check(
            &Folder::open(&here(name)),
            &Options {
                plan_storage_mb: 20_000,
                ..Options::default()
            },
        );
        assert!(report.problems.is_empty(), "{name}: {:#?}", report.problems);
        let project = serde_json::to_string_pretty(&report.project).expect("JSON");
        golden(&here(&format!("{name}.json")), &format!("{project}\n"));
    }
}

fn tree(kind: &str, text: &str) -> MemoryTree {
    let head = "name: shop\ntype: php:8.3\n";
    let files = match kind {
        "app" => vec![(".platform.app.yaml", format!("{head}{text}"))],
        "whole" => vec![(".platform.app.yaml", text.to_owned())],
        "services" => vec![
            (".platform.app.yaml", head.to_owned()),
            (".platform/services.yaml", text.to_owned()),
        ],
        "routes" => vec![
            (".platform.app.yaml", head.to_owned()),
            (".platform/routes.yaml", text.to_owned()),
        ],
        "applications" => vec![(".platform/applications.yaml", text.to_owned())],
        "upsun" => vec![(".upsun/config.yaml", text.to_owned())],
        other => panic!("kind {other}"),
    };
    MemoryTree(
        files
            .into_iter()
            .map(|(path, text)| (path.to_owned(), text.into_bytes()))
            .collect(),
    )
}

#[test]
fn mistakes_are_named_where_they_are() {
    let path = here("mistakes.txt");
    let text = std::fs::read_to_string(&path).expect("mistakes.txt");
    let (preface, cases) = text.split_at(text.find("=== ").expect("a case"));
    let mut found = preface.to_owned();
    for case in cases.split("=== ").skip(1) {
        let (kind, rest) = case.split_once('\n').expect("kind");
        let input = rest.split_once("---\n").map_or(rest, |(input, _)| input);
        found.push_str(&format!("=== {kind}\n{input}---\n"));
        for problem in check(&tree(kind, input), &Options::default()).problems {
            let letter = if problem.is_error() { 'E' } else { 'W' };
            found.push_str(&format!("{letter} {problem} ({})\n", problem.code));
        }
    }
    golden(&path, &found);
}
