//! Milliseconds of processor time for validation: 20 applications with 300 routes, and growth over size.
//!
//! `cargo run --release -p slipway-manifest --example bench_validate`

#[path = "../tests/support/mod.rs"]
mod support;

use slipway_manifest::{
    Flavour, MemoryTree, Options, RouteContext, check, expand_routes, routes_variable,
};
use std::fmt::Write as _;
use support::processor_time;

/// Half of the routes are upstreams, half their http redirects, as projects write them.
fn project(apps: usize, routes: usize) -> MemoryTree {
    let mut tree = MemoryTree::default();
    for app in 0..apps {
        let text = format!(
            "name: app{app}\ntype: php:8.3\nbuild: {{flavor: composer}}\nrelationships:\n    database: 'db{app}:mysql'\n    cache: 'cache:redis'\ndisk: 256\n\
             mounts:\n    var: 'shared:files/var'\n    'pub/media': {{source: local, source_path: media}}\n\
             variables:\n    env:\n        APP_ENV: prod\n        NUMBER: {app}\n\
             web:\n    locations:\n        '/':\n            root: pub\n            passthru: /index.php\n            expires: 5m\n            rules:\n\
             \x20               '\\.(css|js|gif|jpe?g|png|ttf|eot|woff2?)$': {{allow: true, expires: 2w}}\n\
             \x20               '(?<!\\-lock)\\.(?i:txt|md)$': {{allow: true}}\n\
             \x20               '^/app{app}/static/(?<rest>.*)$': {{passthru: '/static.php?r=$rest'}}\n\
             hooks:\n    build: |\n        set -e\n        composer install\n        bin/console build\n    deploy: |\n        set -e\n        bin/console migrate\n\
             crons:\n    tick: {{spec: '*/5 * * * *', commands: {{start: bin/console tick}}}}\n\
             workers:\n    queue: {{commands: {{start: bin/console consume}}}}\n"
        );
        tree.0
            .insert(format!("app{app}/.platform.app.yaml"), text.into_bytes());
    }
    let mut services = String::from("cache:\n    type: redis:7.2\n");
    for app in 0..apps {
        let _ = write!(
            services,
            "db{app}:\n    type: mariadb:10.6\n    disk: 256\n    configuration: {{schemas: [main], endpoints: {{mysql: {{default_schema: main, privileges: {{main: admin}}}}}}}}\n"
        );
    }
    tree.0
        .insert(".platform/services.yaml".to_owned(), services.into_bytes());
    let mut text = String::new();
    for route in 0..routes / 2 {
        let _ = write!(
            text,
            "\"https://r{route}.{{default}}/\":\n    type: upstream\n    upstream: \"app{}:http\"\n    cache: {{enabled: true, cookies: ['/^SS?ESS/']}}\n\
             \"http://r{route}.{{default}}/\":\n    type: redirect\n    to: \"https://r{route}.{{default}}/\"\n",
            route % apps
        );
    }
    tree.0
        .insert(".platform/routes.yaml".to_owned(), text.into_bytes());
    tree
}

/// The median of eleven runs, in milliseconds.
fn milliseconds(tree: &MemoryTree) -> f64 {
    let options = Options {
        plan_storage_mb: 1 << 20,
        ..Options::default()
    };
    let mut runs: Vec<f64> = (0..11)
        .map(|_| {
            let begun = processor_time();
            let report = check(tree, &options);
            let took = (processor_time() - begun).as_secs_f64() * 1000.0;
            assert!(
                report.problems.iter().all(|problem| !problem.is_error()),
                "{:?}",
                report.problems
            );
            took
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[5]
}

/// Inputs made to hurt.
fn hostile() -> Vec<(&'static str, String)> {
    let mut bomb = String::from("variables:\n    app:\n        b0: &b0 [z]\n");
    for level in 1..30 {
        let _ = writeln!(
            bomb,
            "        b{level}: &b{level} [{}]",
            vec![format!("*b{}", level - 1); 10].join(", ")
        );
    }
    let rules: String = (0..2000)
        .map(|index| format!("                '\\w+{index}\\.(css|js': {{allow: true}}\n"))
        .collect();
    vec![
        ("alias bomb", bomb),
        (
            "deep nesting",
            format!("variables: {}", "[".repeat(100_000)),
        ),
        (
            "huge scalar",
            format!("variables: {{env: {{BLOB: \"{}\"}}}}", "x".repeat(2 << 20)),
        ),
        (
            "many values",
            format!("variables: {{app: {{l: [{}]}}}}", "1, ".repeat(1 << 20)),
        ),
        (
            "many mistakes",
            (0..20_000)
                .map(|index| format!("relationshop{index}: v\n"))
                .collect(),
        ),
        (
            "bad expressions",
            format!(
                "web:\n    locations:\n        '/':\n            root: x\n            rules:\n{rules}"
            ),
        ),
    ]
}

fn main() {
    println!("apps routes      ms");
    for (apps, routes) in [(1, 2), (5, 75), (10, 150), (20, 300)] {
        println!(
            "{apps:>4} {routes:>6} {:>7.2}",
            milliseconds(&project(apps, routes))
        );
    }
    for apps in [40, 80, 160] {
        println!(
            "{apps:>4} {:>6} {:>7.2}",
            300,
            milliseconds(&project(apps, 300))
        );
    }
    for (name, text) in hostile() {
        let tree = MemoryTree(
            [(
                ".platform.app.yaml".to_owned(),
                format!("name: shop\ntype: php:8.3\n{text}").into_bytes(),
            )]
            .into(),
        );
        let begun = processor_time();
        let report = check(&tree, &Options::default());
        assert!(!report.is_valid());
        println!(
            "refused: {name:<16} {:>7.2} ms, {}",
            (processor_time() - begun).as_secs_f64() * 1000.0,
            report.problems[0].code
        );
    }
    let options = Options {
        plan_storage_mb: 1 << 20,
        ..Options::default()
    };
    let project = check(&project(20, 300), &options).project.expect("valid");
    let begun = processor_time();
    let routes = expand_routes(
        &project,
        &RouteContext::new(
            Flavour::Platform,
            "abcdefghij234",
            "main-bvxea6i",
            "localhost",
        ),
    )
    .expect("routes");
    let bytes = routes_variable(&routes).to_string().len();
    println!(
        "expansion: {} routes, {bytes} bytes, {:.2} ms",
        routes.len(),
        (processor_time() - begun).as_secs_f64() * 1000.0
    );
}
