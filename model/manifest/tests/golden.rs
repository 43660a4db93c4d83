//! What people read is recorded: refusals, plans, schemas.
//!
//! `SLIPWAY_BLESS=1 cargo test -p slipway-manifest --test golden` accepts new transcripts.

use slipway_manifest::{
    MemoryTree, Options, all_codes, check, plan, render_json, render_terminal, schemas,
};
use std::path::{Path, PathBuf};

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    MemoryTree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect(),
    )
}

#[track_caller]
fn golden(path: &Path, found: &str) {
    if std::env::var_os("SLIPWAY_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
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

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

#[track_caller]
fn refusal(name: &str, files: &[(&str, &str)]) {
    let report = check(&tree(files), &Options::default());
    assert!(!report.is_valid(), "{name} is refused");
    let text = render_terminal(&report.problems, 80, false);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    golden(&here(&format!("{name}.txt")), &text);
    golden(
        &here(&format!("{name}.json")),
        &format!("{:#}\n", render_json(&report)),
    );
}

const ROUTE: &str = "\"https://{default}/\":\n    type: upstream\n    upstream: \"shop:http\"\n";

#[test]
fn a_misspelt_key_names_the_right_one() {
    refusal(
        "misspelt-key",
        &[(
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\nrelationsips:\n    database: 'store:mysql'\nhooks:\n    deply: php bin/migrate\n",
        )],
    );
}

#[test]
fn broken_yaml_shows_its_line() {
    refusal(
        "broken-yaml",
        &[(
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\nvariables:\n    env:\n        TITLE: Shop: the best\n",
        )],
    );
}

#[test]
fn several_files_are_judged_at_once() {
    refusal(
        "several-files",
        &[
            (
                ".magento.app.yaml",
                "name: mymagento\ntype: php:7.0\ndisk: 90\nmounts:\n    var: 'shared:file/var'\nrelationships:\n    database: 'mysqldb:mysql'\ncrons:\n    cronrun:\n        spec: '*/0 * * * *'\n        cmd: php bin/magento cron:run\ncron: {}\n",
            ),
            (
                ".magento/services.yaml",
                "mysql:\n    type: mysql:10.0\n    disk: 2048\nredis:\n    type: redis:3.0\n    disk: 512\n",
            ),
            (
                ".magento/routes.yaml",
                "\"http://{default}/\":\n    type: upstream\n    upstream: \"magento:php\"\n\"http://{all}/\":\n    type: redirect\n",
            ),
        ],
    );
}

#[test]
fn unknown_versions_name_the_known_ones() {
    refusal(
        "unknown-version",
        &[
            (
                ".platform.app.yaml",
                "name: shop\ntype: php:9.9\nruntime:\n    extensions: [redis]\n",
            ),
            (
                ".platform/services.yaml",
                "store:\n    type: postgres:16\n    disk: 512\n",
            ),
        ],
    );
}

#[test]
fn circles_are_told_with_their_chain() {
    refusal(
        "circle",
        &[
            (
                "back/.platform.app.yaml",
                "name: back\ntype: nodejs:22\nrelationships:\n    front: 'front:http'\n",
            ),
            (
                "front/.platform.app.yaml",
                "name: front\ntype: nodejs:22\nrelationships:\n    back: 'back:http'\n",
            ),
            (
                ".platform/routes.yaml",
                "\"https://{default}/\": {type: upstream, upstream: 'front:http'}\n",
            ),
        ],
    );
}

#[test]
fn routes_are_judged_together() {
    refusal(
        "routes",
        &[
            (".platform.app.yaml", "name: shop\ntype: php:8.3\n"),
            (
                ".platform/routes.yaml",
                "“https://{default}/”:\n    type: upstream\n    upstream: shop:http\n\"https://www.{default}/\":\n    type: redirect\n    to: \"https://www.{default}/\"\n\"https://{domain}/\":\n    type: upstream\n    upstream: \"shopp:http\"\n    cache:\n        headers: [Cookie]\n    redirects:\n        paths:\n            '^/x/(': {to: /y, regexp: true, code: 303}\n",
            ),
        ],
    );
}

#[test]
fn hostile_text_reaches_no_terminal() {
    refusal(
        "hostile-text",
        &[(
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\n\"\\e[2J\\e]0;owned\\a\\u202Etxt\": 1\n",
        )],
    );
}

#[test]
fn a_missing_application_says_which_file_is_missing() {
    refusal(
        "no-application",
        &[("README.md", "hello"), (".platform/routes.yaml", ROUTE)],
    );
}

#[test]
fn a_topology_plan_reads_well() {
    let project = |files: &[(&str, &str)]| {
        let report = check(&tree(files), &Options::default());
        report
            .project
            .unwrap_or_else(|| panic!("{:#?}", report.problems))
    };
    let deployed = project(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.2\ndisk: 512\nmounts:\n    media: 'shared:files/media'\nrelationships:\n    database: 'store:mysql'\n",
        ),
        (
            ".platform/services.yaml",
            "store:\n    type: mariadb:10.6\n    disk: 1024\n    configuration: {schemas: [main, orders]}\nsearch:\n    type: opensearch:2\n    disk: 512\nqueue:\n    type: rabbitmq:3.13\n    disk: 512\n",
        ),
        (".platform/routes.yaml", ROUTE),
    ]);
    let pushed = project(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\ndisk: 512\nmounts:\n    media: 'shared:files/media'\nrelationships:\n    database: 'store:mysql'\n    cache: 'cache:redis'\n",
        ),
        (
            ".platform/services.yaml",
            "store:\n    type: mariadb:11.4\n    disk: 2048\n    configuration: {schemas: [main]}\ncache:\n    type: redis:7.2\nqueue:\n    type: rabbitmq:3.8\n    disk: 512\n",
        ),
        (
            ".platform/routes.yaml",
            &format!(
                "{ROUTE}\"https://www.{{default}}/\":\n    type: redirect\n    to: \"https://{{default}}/\"\n"
            ),
        ),
    ]);
    let plan = plan::diff(&deployed, &pushed);
    golden(
        &here("plan.txt"),
        &plan::render_plan_terminal(&plan, 80, false),
    );
    golden(
        &here("plan.json"),
        &format!("{:#}\n", plan::render_plan_json(&plan)),
    );
}

/// Editors read them from the repository, so they are kept there.
#[test]
fn the_schemas_in_docs_are_those_of_the_checker() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
    for (name, schema) in schemas() {
        golden(&docs.join(name), &format!("{schema:#}\n"));
    }
}

/// Every code with its explanation, for people without the program at hand.
#[test]
fn the_codes_in_docs_are_those_of_the_checker() {
    let mut text = "# What the codes mean\n\nMade from the checker's table; `slipway explain CODE` prints the same.\n".to_owned();
    for code in all_codes() {
        text.push_str(&format!(
            "\n## {}: {}\n\n{}\n\n{}\n",
            code.id, code.title, code.explanation, code.remedy
        ));
    }
    golden(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems/README.md"),
        &text,
    );
}
