//! The normalised project as the other tiers use it: routes of an environment, variables, build key, plan.

use serde_json::{Value, json};
use slipway_manifest::*;

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    MemoryTree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect(),
    )
}

#[track_caller]
fn project(files: &[(&str, &str)]) -> Project {
    let report = check(&tree(files), &Options::default());
    report
        .project
        .unwrap_or_else(|| panic!("{:#?}", report.problems))
}

fn shop(routes: &str) -> Project {
    project(&[
        (".platform.app.yaml", "name: shop\ntype: php:8.3\n"),
        (".platform/routes.yaml", routes),
    ])
}

fn context() -> RouteContext {
    RouteContext::new(
        Flavour::Platform,
        "abcdefghij234",
        "main-bvxea6i",
        "eu.example.site",
    )
}

fn live(domains: &[&str]) -> RouteContext {
    RouteContext {
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        production: true,
        ..context()
    }
}

/// `url -> target` of each route, `*` before the primary one.
fn lines(project: &Project, context: &RouteContext) -> Vec<String> {
    let routes = expand_routes(project, context).unwrap_or_else(|problems| panic!("{problems:#?}"));
    routes
        .iter()
        .map(|route| {
            let target = match &route.kind {
                RouteKind::Upstream { upstream, endpoint } => format!("{upstream}:{endpoint}"),
                RouteKind::Redirect { to, code } => format!("{code} {to}"),
                RouteKind::Proxy { to } => format!("proxy {to}"),
            };
            format!(
                "{}{} -> {target}",
                if route.primary { "*" } else { "" },
                route.url
            )
        })
        .collect()
}

#[test]
fn an_environment_without_domains_is_served_under_its_own() {
    let project = shop(
        "\"https://www.{default}/\": {type: redirect, to: 'https://{default}/'}\n\"https://{default}\": {type: upstream, upstream: 'shop:http'}\n",
    );
    assert_eq!(
        lines(&project, &context()),
        [
            "https://www.main-bvxea6i-abcdefghij234.eu.example.site/ -> 301 https://main-bvxea6i-abcdefghij234.eu.example.site/",
            "http://www.main-bvxea6i-abcdefghij234.eu.example.site/ -> 301 https://www.main-bvxea6i-abcdefghij234.eu.example.site/",
            "*https://main-bvxea6i-abcdefghij234.eu.example.site/ -> shop:http",
            "http://main-bvxea6i-abcdefghij234.eu.example.site/ -> 301 https://main-bvxea6i-abcdefghij234.eu.example.site/",
        ]
    );
    let legacy = RouteContext {
        separator: "---".to_owned(),
        ..context()
    };
    assert!(lines(&project, &legacy)[0].starts_with("https://www---main-bvxea6i-"));
}

#[test]
fn an_http_route_gets_an_equal_https_twin() {
    let project = shop(
        "\"http://{default}/\": {type: upstream, upstream: 'shop:http', id: front, attributes: {a: b}}\n\"http://old.{default}/\": {type: redirect, to: 'http://{default}/'}\n",
    );
    assert_eq!(
        lines(&project, &live(&["example.com"])),
        [
            "*http://example.com/ -> shop:http",
            "https://example.com/ -> shop:http",
            "http://old.example.com/ -> 301 http://example.com/",
            "https://old.example.com/ -> 301 http://example.com/",
        ]
    );
    let routes = expand_routes(&project, &live(&["example.com"])).expect("routes");
    assert_eq!(
        (
            routes[1].original_url.as_str(),
            routes[1].id.as_deref(),
            routes[1].generated
        ),
        ("https://{default}/", None, true)
    );
}

#[test]
fn all_domains_are_expanded_in_pairs_and_the_default_wins() {
    let project = shop(
        "\"https://{all}/\": {type: upstream, upstream: 'shop:http'}\n\"https://www.{all}/\": {type: redirect, to: 'https://{all}/'}\n\"https://{default}/\": {type: upstream, upstream: 'shop:php'}\n",
    );
    let all = lines(&project, &live(&["a.com", "b.com"]));
    let https: Vec<_> = all
        .iter()
        .filter(|line| line.contains("https://") && !line.starts_with("http:"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        https,
        [
            "*https://a.com/ -> shop:php",
            "https://b.com/ -> shop:http",
            "https://www.a.com/ -> 301 https://a.com/",
            "https://www.b.com/ -> 301 https://b.com/"
        ]
    );
    // Outside of production each domain becomes a sub-domain of the environment.
    let test = RouteContext {
        production: false,
        ..live(&["a.com", "b.com"])
    };
    let urls: Vec<String> = expand_routes(&project, &test)
        .expect("routes")
        .into_iter()
        .map(|route| route.host)
        .collect();
    assert!(
        urls.contains(&"www.b.com.main-bvxea6i-abcdefghij234.eu.example.site".to_owned()),
        "{urls:?}"
    );
}

#[test]
fn literal_domains_must_be_the_projects_own_in_production() {
    let project = shop("\"https://shop.example.com/\": {type: upstream, upstream: 'shop:http'}\n");
    assert_eq!(
        lines(&project, &live(&["example.com"]))[0],
        "*https://shop.example.com/ -> shop:http"
    );
    assert_eq!(
        lines(&project, &context())[0],
        "*https://shop.example.com.main-bvxea6i-abcdefghij234.eu.example.site/ -> shop:http"
    );
    let problems = expand_routes(&project, &live(&["example.org"])).expect_err("a foreign domain");
    assert_eq!(
        (problems[0].code, problems[0].line, problems[0].key.as_str()),
        ("SW-512", 1, "https://shop.example.com/")
    );
}

#[test]
fn one_address_from_two_templates_is_refused() {
    let project = shop(
        "\"https://{default}/\": {type: upstream, upstream: 'shop:http'}\n\"https://example.com/\": {type: upstream, upstream: 'shop:http'}\n",
    );
    let problems = expand_routes(&project, &live(&["example.com"])).expect_err("twice");
    assert_eq!((problems[0].code, problems[0].line), ("SW-507", 2));
    assert!(expand_routes(&project, &context()).is_ok());
}

#[test]
fn partial_redirects_and_primary_are_resolved() {
    let project = shop(
        "\"https://{default}/\": {type: upstream, upstream: 'shop:http', redirects: {expires: 1d, paths: {/a: {to: 'https://{default}/b'}, '^/x/(.*)': {to: '/y/$1', regexp: true, code: 308, expires: 5m}}}}\n\"https://b2b.{default}/\": {type: upstream, upstream: 'shop:http', primary: true}\n",
    );
    let routes = expand_routes(&project, &live(&["example.com"])).expect("routes");
    let redirects = routes[0].redirects.as_ref().expect("redirects");
    assert_eq!(redirects.paths["/a"].to, "https://example.com/b");
    assert_eq!(
        (redirects.expires.as_str(), redirects.paths["^/x/(.*)"].code),
        ("1d", 308)
    );
    assert!(routes[2].primary && routes.iter().filter(|route| route.primary).count() == 1);
}

#[test]
fn the_routes_document_has_the_documented_fields() {
    let project = shop(
        "\"http://{default}/\": {type: upstream, upstream: 'shop:http', tls: {min_version: TLSv1.2}}\n",
    );
    let document =
        routes_variable(&expand_routes(&project, &live(&["example.com"])).expect("routes"));
    assert_eq!(
        document["http://example.com/"],
        json!({
            "type": "upstream", "upstream": "shop", "original_url": "http://{default}/", "primary": true, "id": null, "attributes": {},
            "cache": {"enabled": true, "default_ttl": 0, "cookies": ["*"], "headers": ["Accept", "Accept-Language"]},
            "ssi": {"enabled": false},
            "tls": {"min_version": 771, "strict_transport_security": {"enabled": null, "include_subdomains": null, "preload": null},
                    "client_authentication": null, "client_certificate_authorities": []},
            "http_access": {"addresses": [], "basic_auth": {}}, "restrict_robots": true,
        })
    );
    assert_eq!(
        document["https://example.com/"]["original_url"],
        "https://{default}/"
    );
}

const MAGENTO: &str = r#"
name: mymagento
type: php:7.0
build: {flavor: composer}
runtime: {extensions: [mcrypt, redis, xsl, json]}
relationships: {database: "mysql:mysql", redis: "redis:redis"}
disk: 2048
mounts: {"/var/": "shared:files/var", "app/etc": "shared:files/etc"}
web: {locations: {"/": {root: pub, passthru: /index.php, index: [index.php], allow: false, expires: -1, rules: {'\.(css|js|png)$': {allow: true, expires: 600}}}}}
hooks: {build: "make", deploy: "make deploy"}
crons: {cronrun: {spec: "*/5 * * * *", cmd: "php bin/magento cron:run"}}
workers: {queue: {commands: {start: run}, mounts: {spool: "shared:files/spool"}, relationships: {redis: "redis:redis"}}}
"#;
const MAGENTO_SERVICES: &str =
    "mysql:\n    type: mysql:10.0\n    disk: 2048\nredis:\n    type: redis:3.0\n";

fn magento(app: &str) -> Application {
    let mut project = project(&[
        (".magento.app.yaml", app),
        (".magento/services.yaml", MAGENTO_SERVICES),
    ]);
    assert_eq!(project.flavour, Flavour::Magento);
    assert_eq!(project.routes[0].url, "http://{default}/");
    project.applications.remove(0)
}

#[test]
fn defaults_are_filled_in_for_the_application_variable() {
    let app = magento(MAGENTO);
    let run = app.application_variable(false);
    assert_eq!(run["size"], "AUTO");
    assert_eq!(run["access"], json!({"ssh": "contributor"}));
    assert_eq!(run["relationships"]["database"], "mysql:mysql");
    assert_eq!(
        run["mounts"]["var"],
        json!({"source": "local", "source_path": "var"})
    );
    assert_eq!(
        run["preflight"],
        json!({"enabled": true, "ignored_rules": []})
    );
    assert_eq!(
        run["hooks"],
        json!({"build": "make", "deploy": "make deploy", "post_deploy": null})
    );
    let location = &run["web"]["locations"]["/"];
    assert_eq!(
        (
            location["expires"].as_str(),
            location["scripts"].as_bool(),
            location["root"].as_str()
        ),
        (Some("-1s"), Some(true), Some("pub"))
    );
    assert_eq!(
        location["rules"][r"\.(css|js|png)$"],
        json!({"allow": true, "expires": "600s"})
    );
    assert_eq!(
        run["web"]["upstream"],
        json!({"socket_family": "unix", "protocol": "fastcgi"})
    );
    assert_eq!(run["crons"]["cronrun"]["timeout"], 86400);
    assert_eq!(
        run["workers"]["queue"]["relationships"],
        json!({"redis": "redis:redis"})
    );
    for key in [
        "name",
        "type",
        "size",
        "disk",
        "timezone",
        "access",
        "relationships",
        "mounts",
        "runtime",
        "variables",
        "preflight",
        "hooks",
        "crons",
        "web",
        "workers",
        "dependencies",
        "build",
        "source",
    ] {
        assert!(run.get(key).is_some(), "{key}");
    }
    let build = app.application_variable(true);
    for key in [
        "access",
        "relationships",
        "crons",
        "size",
        "disk",
        "timezone",
        "firewall",
        "additional_hosts",
    ] {
        assert!(build.get(key).is_none(), "{key}");
    }
    assert_eq!(build["hooks"], json!({"build": "make"}));
    assert_eq!(build["web"], json!({}));
    assert_eq!(
        build["workers"]["queue"],
        json!({"mounts": {"spool": {"source": "local", "source_path": "spool"}}})
    );
}

#[test]
fn only_what_is_built_is_in_the_build_identity() {
    let before = magento(MAGENTO).build_identity_json();
    for (from, to) in [
        ("disk: 2048", "disk: 1024"),
        ("make deploy", "make other"),
        ("*/5", "*/10"),
        (
            "redis: \"redis:redis\"}\ndisk",
            "cache: \"redis:redis\"}\ndisk",
        ),
        ("passthru: /index.php", "passthru: /app.php"),
        (
            "name: mymagento\ntype: php:7.0",
            "type: php:7.0\nname: mymagento",
        ),
    ] {
        let changed = MAGENTO.replace(from, to);
        assert_ne!(changed, MAGENTO, "{from}");
        assert_eq!(
            magento(&changed).build_identity_json().to_string(),
            before.to_string(),
            "{from}"
        );
    }
    for (from, to) in [
        ("php:7.0", "php:5.6"),
        ("flavor: composer", "flavor: none"),
        ("build: \"make\"", "build: \"make all\""),
        ("shared:files/var", "shared:files/v"),
        ("shared:files/spool", "shared:files/s"),
        ("[mcrypt, ", "["),
    ] {
        assert_ne!(
            magento(&MAGENTO.replace(from, to)).build_identity_json(),
            before,
            "{from}"
        );
    }
}

#[test]
fn included_files_count_by_content_and_own_files_are_left_out() {
    let files = |script: &'static str| {
        project(&[
            (
                "web/.platform.app.yaml",
                "name: shop\ntype: nodejs:22\nhooks:\n    build: !include {type: string, path: ../scripts/build.sh}\n",
            ),
            (
                "web/inner/.platform.app.yaml",
                "name: inner\ntype: nodejs:22\n",
            ),
            ("scripts/build.sh", script),
            (".platform/routes.yaml", "{}"),
        ])
    };
    let (one, two) = (files("make one\n"), files("make two\n"));
    let app = |project: &Project| project.applications[0].clone();
    assert_eq!(app(&one).root, "web");
    assert_eq!(
        app(&one).config_files,
        [".platform.app.yaml", "inner/.platform.app.yaml"]
    );
    assert_eq!(app(&one).hooks.build.as_deref(), Some("make one\n"));
    assert!(app(&one).included.contains_key("scripts/build.sh"));
    assert_ne!(
        app(&one).build_identity_json(),
        app(&two).build_identity_json()
    );
}

#[test]
fn endpoints_come_from_the_configuration() {
    let project = project(&[
        (
            ".platform.app.yaml",
            "name: shop\ntype: php:8.3\nrelationships:\n    database: store:reporter\n    pg:\n    cache: {service: redis}\n",
        ),
        (
            ".platform/services.yaml",
            "store:\n    type: mariadb:10.6\n    disk: 512\n    configuration:\n        schemas: [main, log]\n        endpoints:\n            reporter: {default_schema: log, privileges: {log: ro}}\npg:\n    type: postgresql:16\n    disk: 512\nredis:\n    type: redis:7.2\nsearch:\n    type: solr:8.6\n    disk: 512\n    configuration: {cores: {a: {conf_dir: !archive conf}}, endpoints: {main: {core: a}}}\n",
        ),
        (".platform/conf/solrconfig.xml", "<config/>"),
        (".platform/conf/schema.xml", "<schema/>"),
    ]);
    let links = &project.applications[0].relationships;
    assert_eq!(
        links["database"],
        Relationship {
            service: "store".to_owned(),
            endpoint: "reporter".to_owned()
        }
    );
    assert_eq!(
        (
            links["pg"].endpoint.as_str(),
            links["cache"].endpoint.as_str()
        ),
        ("postgresql", "redis")
    );
    let reporter = &project.services[0].endpoints()[0];
    assert_eq!(
        (
            reporter.path.as_deref(),
            reporter.privileges["log"].as_str(),
            reporter.default
        ),
        (Some("log"), "ro", false)
    );
    assert_eq!(
        project.services[1].configuration["endpoints"]["postgresql"],
        json!({"default_database": "main", "privileges": {"main": "admin"}})
    );
    assert_eq!(
        project.services[3].endpoints()[0].path.as_deref(),
        Some("solr/a")
    );
    let archive = &project.services[3].configuration["cores"]["a"]["conf_dir"]["archive"];
    assert_eq!(archive["directory"], ".platform/conf");
    assert_eq!(archive["files"]["schema.xml"], "PHNjaGVtYS8+");
}

#[test]
fn the_flat_web_form_becomes_a_location() {
    let project = project(&[(
        ".platform.app.yaml",
        "name: shop\ntype: php:5.6\nweb:\n    document_root: /web\n    passthru: /index.php\n    index_files: [index.html]\n    expires: 300\n    whitelist: ['\\.css$']\n    blacklist: ['\\.sh$']\n",
    )]);
    let location = &project.applications[0].web.locations["/"];
    assert_eq!(
        (
            location.root.as_deref(),
            location.allow,
            location.expires.as_str()
        ),
        (Some("web"), false, "300s")
    );
    assert_eq!(location.passthru, Passthru::Uri("/index.php".to_owned()));
    assert_eq!(
        location.rules.keys().collect::<Vec<_>>(),
        [r"\.sh$", r"\.css$"]
    );
}

#[test]
fn merge_keys_and_anchors_are_followed() {
    let project = project(&[(
        ".upsun/config.yaml",
        "applications:\n  one: &base\n    type: php:8.3\n    variables: {env: &env {A: 1, B: 2}}\n  two:\n    <<: *base\n    source: {root: two}\n    variables: {env: {<<: *env, B: 3}}\nroutes: {}\n",
    )]);
    let two = &project.applications[1];
    assert_eq!((two.kind.as_str(), two.root.as_str()), ("php:8.3", "two"));
    assert_eq!(
        (&two.variables["env"]["A"], &two.variables["env"]["B"]),
        (&json!(1), &json!(3))
    );
}

#[test]
fn lenient_mode_turns_unknown_keys_into_warnings() {
    let files = tree(&[(".magento.app.yaml", "name: shop\ntype: php:7.0\ncron: {}\n")]);
    let report = check(&files, &Options::default());
    assert!(report.project.is_some());
    assert_eq!(
        (report.problems[0].severity, report.problems[0].key.as_str()),
        (Severity::Warning, "cron")
    );
    assert!(
        check(
            &files,
            &Options {
                strict: Some(true),
                ..Options::default()
            }
        )
        .project
        .is_none()
    );
}

#[test]
fn a_catalogue_decides_what_can_run() {
    let files = tree(&[(".platform.app.yaml", "name: shop\ntype: php:8.2\n")]);
    let catalogue = CatalogueIndex {
        runtimes: [("php".to_owned(), vec!["8.3".to_owned(), "8.4".to_owned()])].into(),
        ..CatalogueIndex::default()
    };
    let report = check(
        &files,
        &Options {
            catalogue: Some(catalogue),
            ..Options::default()
        },
    );
    assert!(
        report.problems[0].message.contains("8.3, 8.4"),
        "{}",
        report.problems[0]
    );
    let odd = tree(&[(".platform.app.yaml", "name: shop\ntype: php:12.0\n")]);
    assert!(check(&odd, &Options::default()).project.is_none());
    assert!(
        check(
            &odd,
            &Options {
                any_version: true,
                ..Options::default()
            }
        )
        .project
        .is_some()
    );
}

#[test]
fn a_disk_below_its_use_is_refused() {
    let with = |disk: &str| {
        project(&[
            (".platform.app.yaml", "name: shop\ntype: php:8.3\n"),
            (
                ".platform/services.yaml",
                &format!("store:\n    type: mariadb:10.6\n    disk: {disk}\n"),
            ),
        ])
    };
    let used = [("store".to_owned(), 900)].into();
    let plan = plan::diff_with_use(&with("2048"), &with("512"), &used);
    assert_eq!(
        (
            plan.refusals[0].code,
            plan.refusals[0].line,
            plan.refusals[0].key.as_str()
        ),
        ("SW-703", 3, "store.disk")
    );
    assert!(
        plan::diff_with_use(&with("2048"), &with("1024"), &used)
            .refusals
            .is_empty()
    );
    assert!(plan::diff(&with("2048"), &with("2048")).changes.is_empty());
}

#[test]
fn the_order_of_rules_is_kept_and_counts() {
    let rules = |order: [&str; 2]| {
        let text = format!(
            "name: shop\ntype: php:8.3\nweb: {{locations: {{'/': {{root: x, rules: {{'{}': {{allow: true}}, '{}': {{allow: false}}}}}}}}}}\n",
            order[0], order[1]
        );
        project(&[(".platform.app.yaml", text.as_str())])
    };
    let (one, two) = (rules(["a", "b"]), rules(["b", "a"]));
    let back: Project = serde_json::from_value::<Value>(json!(one))
        .and_then(serde_json::from_value)
        .expect("JSON");
    assert_eq!(
        back.applications[0].web.locations["/"]
            .rules
            .keys()
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(
        plan::diff(&one, &two)
            .changes
            .iter()
            .any(|change| change.what == "web" && change.consequence == plan::Consequence::Restart)
    );
}

/// A store that fails for one file.
struct Failing(MemoryTree);

impl Tree for Failing {
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError> {
        self.0.list()
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        if path.ends_with("routes.yaml") {
            Err(TreeError::Unreadable("disk".to_owned()))
        } else {
            self.0.read(path, limit)
        }
    }
}

#[test]
fn a_failing_store_is_told_apart_from_a_bad_file() {
    let files = tree(&[
        (".platform.app.yaml", "name: shop\ntype: php:8.3\n"),
        (".platform/routes.yaml", "{}"),
    ]);
    assert_eq!(check(&files, &Options::default()).accident, None);
    let report = check(&Failing(files), &Options::default());
    assert!(
        report.project.is_none()
            && report
                .accident
                .is_some_and(|accident| accident.contains("disk"))
    );
}
