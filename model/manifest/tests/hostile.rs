//! Inputs made to hurt: refused (or read) within bounds, whatever they are.

mod support;

use slipway_manifest::{MemoryTree, Options, Report, check};
use std::time::Duration;
use support::processor_time;

/// The platform allows 100 ms on a quiet machine, which `bench_validate` measures.
/// Processor time with room for cold caches, so that a busy machine fails no test;
/// an unoptimised build gets more.
const TIME_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 4000 } else { 250 });

/// An unoptimised build is tried with a fifth of the lines: the same shapes, less waiting.
const LESS: usize = if cfg!(debug_assertions) { 5 } else { 1 };

fn files(files: &[(&str, String)]) -> MemoryTree {
    MemoryTree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.clone().into_bytes()))
            .collect(),
    )
}

fn app(rest: &str) -> MemoryTree {
    files(&[(
        ".platform.app.yaml",
        format!("name: shop\ntype: php:8.3\n{rest}"),
    )])
}

#[track_caller]
fn quick(tree: &MemoryTree) -> Report {
    let begun = processor_time();
    let report = check(tree, &Options::default());
    let took = processor_time() - begun;
    assert!(
        took < TIME_MAX,
        "took {took:?}: {:?}",
        report.problems.first()
    );
    report
}

#[track_caller]
fn refused(tree: &MemoryTree, code: &str) {
    let report = quick(tree);
    assert!(report.project.is_none());
    assert!(
        report.errors().any(|problem| problem.code == code),
        "{code} expected, found {:#?}",
        report.problems
    );
    assert!(report.problems.len() <= 500);
}

/// `levels` lines, each ten times the one before.
fn bomb(
    first: &str,
    open: &str,
    close: &str,
    item: impl Fn(usize, usize) -> String,
    levels: usize,
) -> String {
    let mut text = format!("variables:\n    app:\n        b0: &b0 {first}\n");
    for level in 1..levels {
        let items: Vec<String> = (0..10).map(|index| item(level, index)).collect();
        text.push_str(&format!(
            "        b{level}: &b{level} {open}{}{close}\n",
            items.join(", ")
        ));
    }
    text
}

#[test]
fn aliases_cannot_multiply_without_end() {
    let lists = bomb(
        "[z, z]",
        "[",
        "]",
        |level, _| format!("*b{}", level - 1),
        30,
    );
    refused(&app(&lists), "SW-104");
    let mappings = bomb(
        "{a: z}",
        "{",
        "}",
        |level, index| format!("k{index}: *b{}", level - 1),
        30,
    );
    refused(&app(&mappings), "SW-104");
    // A large text, pointed at often.
    let text = format!(
        "variables:\n    app:\n        a: &a \"{}\"\n        b: [{}]\n",
        "x".repeat(200_000),
        "*a, ".repeat(20_000)
    );
    refused(&app(&text), "SW-104");
}

#[test]
fn merges_cannot_multiply_without_end() {
    let mut text = String::from("variables:\n    app:\n        b0: &b0 {");
    for key in 0..2000 {
        text.push_str(&format!("k{key}: 1, "));
    }
    text.push_str("}\n");
    for copy in 1..200 {
        text.push_str(&format!("        c{copy}: {{<<: *b0, own: {copy}}}\n"));
    }
    let report = quick(&app(&text));
    assert!(report.project.is_none());
}

#[test]
fn nesting_is_bounded_in_every_form() {
    refused(
        &app(&format!("variables: {}", "[".repeat(100_000))),
        "SW-107",
    );
    refused(
        &app(&format!("variables: {}", "{a: ".repeat(100_000))),
        "SW-107",
    );
    refused(
        &app(&format!(
            "variables:\n    app:\n        a:\n            {}x\n",
            "- ".repeat(5_000)
        )),
        "SW-107",
    );
    let mut block = String::from("variables:\n");
    for level in 1..1000 {
        block.push_str(&format!("{}a:\n", " ".repeat(level)));
    }
    refused(&app(&block), "SW-107");
}

#[test]
fn sizes_are_bounded() {
    refused(
        &app(&format!(
            "variables: {{env: {{BLOB: \"{}\"}}}}",
            "x".repeat(2 << 20)
        )),
        "SW-108",
    );
    refused(
        &app(&format!(
            "variables: {{app: {{l: [{}]}}}}",
            "1, ".repeat(1 << 20)
        )),
        "SW-109",
    );
    refused(&app(&"x".repeat(5 << 20)), "SW-109");
    let many: Vec<(String, String)> = (0..300)
        .map(|index| {
            (
                format!("a{index}/.platform.app.yaml"),
                "x: [".repeat(20_000),
            )
        })
        .collect();
    let many: Vec<(&str, String)> = many
        .iter()
        .map(|(path, text)| (path.as_str(), text.clone()))
        .collect();
    assert!(quick(&files(&many)).project.is_none());
}

#[test]
fn includes_are_bounded() {
    let mut tree = files(&[(".platform/routes.yaml", "{}".to_owned())]);
    let mut list = String::new();
    for index in 0..1000 {
        tree.0.insert(
            format!(".platform/part{index}.yaml"),
            format!("name: app{index}\ntype: php:8.3\n").into_bytes(),
        );
        list.push_str(&format!("- !include part{index}.yaml\n"));
    }
    tree.0
        .insert(".platform/applications.yaml".to_owned(), list.into_bytes());
    refused(&tree, "SW-125");
    // A chain rather than a list.
    let mut chain = files(&[(
        ".platform/applications.yaml",
        "a: !include part0.yaml\n".to_owned(),
    )]);
    for index in 0..1000 {
        chain.0.insert(
            format!(".platform/part{index}.yaml"),
            format!("x: !include part{}.yaml\n", index + 1).into_bytes(),
        );
    }
    refused(&chain, "SW-125");
    // A bomb spread over files.
    let mut spread = files(&[(
        ".platform/applications.yaml",
        "a: !include part0.yaml\n".to_owned(),
    )]);
    for index in 0..30 {
        let parts: Vec<String> = (0..10)
            .map(|_| format!("!include part{}.yaml", index + 1))
            .collect();
        spread.0.insert(
            format!(".platform/part{index}.yaml"),
            format!("x: [{}]\n", parts.join(", ")).into_bytes(),
        );
    }
    assert!(quick(&spread).project.is_none());
}

#[test]
fn expressions_of_users_are_compiled_within_bounds() {
    for regex in [
        "(a{1000}){1000}",
        "((((a{100}){100}){100}){100})",
        &"(a|b)*".repeat(1000),
        &"(".repeat(10_000),
        &format!("{}{}", "(?:".repeat(90), ")*".repeat(90)),
        &"a{0,999}".repeat(500),
        "(?=(a+)+$)",
    ] {
        let text = format!(
            "web: {{locations: {{'/': {{root: x, rules: {{'{regex}': {{allow: true}}}}}}}}}}\n"
        );
        quick(&app(&text));
    }
    let mut rules = String::from(
        "web:\n    locations:\n        '/':\n            root: x\n            rules:\n",
    );
    for index in 0..3000 {
        rules.push_str(&format!(
            "                '\\w+{index}\\.(css|js)$': {{allow: true}}\n"
        ));
    }
    quick(&app(&rules));
    let mut heavy = String::from(
        "web:\n    locations:\n        '/':\n            root: x\n            rules:\n",
    );
    for index in 0..2000 {
        heavy.push_str(&format!(
            "                '(\\w{{100}}|\\d{{50}}){index}$': {{allow: true}}\n"
        ));
    }
    quick(&app(&heavy));
}

#[test]
fn circles_of_many_relationships_are_bounded() {
    let mut list = String::new();
    for from in 0..100 {
        list.push_str(&format!(
            "- name: a{from}\n  type: nodejs:22\n  relationships:\n"
        ));
        for to in 0..100 {
            list.push_str(&format!("    r{to}: 'a{to}:http'\n"));
        }
    }
    refused(
        &files(&[
            (".platform/applications.yaml", list),
            (".platform/routes.yaml", "{}".to_owned()),
        ]),
        "SW-605",
    );
}

#[test]
fn thousands_of_mistakes_are_told_in_time() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| {
        (0..count / LESS).map(line).collect::<String>()
    };
    quick(&app(&lines(20_000, &|index| {
        format!("relationshop{index}: v\n")
    })));
    quick(&app(&format!(
        "relationships:\n{}",
        lines(20_000, &|index| format!(
            "    r{index}: 'service{index}:mysql'\n"
        ))
    )));
    quick(&app(&format!(
        "mounts:\n{}",
        lines(8_000, &|index| format!("    m{index}: {{source: tmp}}\n"))
    )));
    quick(&app(&format!(
        "workers:\n{}",
        lines(5_000, &|index| format!(
            "    w{index}: {{commands: {{start: x}}, timezone: Europe/Parus}}\n"
        ))
    )));
    quick(&app(&format!(
        "crons:\n{}",
        lines(5_000, &|index| format!(
            "    c{index}: {{spec: '99 * * * *', cmd: x}}\n"
        ))
    )));
    let services = lines(5_000, &|index| {
        format!(
            "s{index}: {{type: redis:7.2, relationships: {{next: 's{}:redis'}}}}\n",
            index + 1
        )
    });
    quick(&files(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\n".to_owned(),
        ),
        (".platform/services.yaml", services),
    ]));
    let names = lines(10_000, &|index| format!("name{index}, "));
    let rights = lines(10_000, &|index| format!("nam{index}: ro, "));
    let store = format!(
        "s:\n    type: mariadb:10.6\n    disk: 512\n    configuration: {{schemas: [{names}], endpoints: {{e: {{privileges: {{{rights}}}}}}}}}\n"
    );
    quick(&files(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\n".to_owned(),
        ),
        (".platform/services.yaml", store),
    ]));
    let routes = lines(10_000, &|index| {
        format!("\"https://r{index}.{{default}}/\": {{type: upstream, upstream: 'shop:http'}}\n")
    });
    refused(
        &files(&[
            (
                ".platform.app.yaml",
                "name: shop\ntype: php:8.3\n".to_owned(),
            ),
            (".platform/routes.yaml", routes),
        ]),
        "SW-509",
    );
    let loops = lines(10_000, &|index| {
        format!(
            "\"https://r{index}.{{default}}/\": {{type: redirect, to: 'https://r{}.{{default}}/'}}\n",
            (index + 1) % (10_000 / LESS)
        )
    });
    quick(&files(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\n".to_owned(),
        ),
        (".platform/routes.yaml", loops),
    ]));
}

#[test]
fn strange_bytes_never_panic() {
    for text in [
        "\0",
        "\u{feff}",
        "---\n---\n",
        "%YAML 3.0\n---\n",
        "!!",
        "&a *a",
        "? ? ?",
        ": :",
        "- - -",
        "[,]",
        "{,}",
        "\"\\u",
        "\"\\UFFFFFFFF\"",
        "|9\n x",
        ">-\n",
        "<<: *x",
        "*",
        "&",
        "'",
        "\r\r\r",
        "\u{2028}a: b",
        "a: !<tag:yaml.org,2002:str> b",
        "!include",
        "!include {}",
        "!archive ..",
        "!include /etc/passwd",
        "!include ../../../../x",
    ] {
        quick(&files(&[
            (".platform.app.yaml", text.to_owned()),
            (".platform/routes.yaml", text.to_owned()),
            (".platform/services.yaml", text.to_owned()),
        ]));
        quick(&app(&format!("hooks:\n  build: {text}\n")));
        quick(&files(&[(".upsun/config.yaml", text.to_owned())]));
    }
}
