//! Random configurations until the time is over; a panic or a slow one is a finding.
//!
//! `cargo run --release -p slipway-manifest --example fuzz_config -- --seconds 600 [--seed N]`

use slipway_manifest::{
    Flavour, MemoryTree, Options, RouteContext, check, check_cron, check_pcre, expand_routes, plan,
    render_terminal,
};
use std::time::{Duration, Instant};

/// Words of the language and of its enemies, glued at random.
const PIECES: &[&str] = &[
    "name: ",
    "type: ",
    "php:8.3",
    "\n",
    "\n    ",
    "\n        ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "!include ",
    "!archive ",
    "!!str ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "#",
    "---\n",
    "...\n",
    "? ",
    "web: ",
    "locations: ",
    "'/': ",
    "rules: ",
    "passthru: ",
    "root: ",
    "expires: ",
    "5m",
    "-1",
    "hooks: ",
    "build: ",
    "relationships: ",
    "db: 'store:mysql'",
    "disk: ",
    "512",
    "mounts: ",
    "shared:files/x",
    "source: ",
    "local",
    "crons: ",
    "spec: ",
    "'*/5 * * * *'",
    "cmd: ",
    "workers: ",
    "commands: ",
    "start: ",
    "variables: ",
    "env: ",
    "services: ",
    "applications: ",
    "routes: ",
    "store: ",
    "mariadb:10.6",
    "configuration: ",
    "schemas: ",
    "endpoints: ",
    "\"https://{default}/\": ",
    "\"http://www.{all}/\": ",
    "type: upstream",
    "upstream: 'shop:http'",
    "type: redirect",
    "to: 'https://{default}/'",
    "redirects: ",
    "paths: ",
    "regexp: true",
    "cache: ",
    "enabled: true",
    "tls: ",
    "shop",
    "true",
    "~",
    "0x1F",
    "1e999",
    "\t",
    "\u{feff}",
    "\u{85}",
    "é",
    "\\",
    "%",
    "@",
    "`",
    "stack: ",
    "[php@8.3]",
    "../../x",
    "a/b",
];

struct Chance(u64);

impl Chance {
    /// SplitMix64: a seed reproduces the storm.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn text(&mut self, pieces: usize) -> String {
        (0..self.below(pieces))
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect()
    }

    /// A good file with one thing changed.
    fn mutated(&mut self, good: &str) -> Vec<u8> {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = self
                .below(bytes.len().max(1))
                .min(bytes.len().saturating_sub(1));
            match self.below(4) {
                0 => bytes[at] = (self.next() & 0xff) as u8,
                1 => {
                    bytes.remove(at);
                }
                2 => {
                    let piece = PIECES[self.below(PIECES.len())].as_bytes().to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        bytes
    }
}

const APP: &str = "name: shop\ntype: php:8.3\ndisk: 512\nmounts:\n    var: 'shared:files/var'\nrelationships:\n    database: 'store:mysql'\nweb:\n    locations:\n        '/':\n            root: public\n            passthru: /index.php\n            rules:\n                '\\.(css|js)$': {allow: true, expires: 2w}\ncrons:\n    tick: {spec: '*/5 * * * *', commands: {start: x}}\n";
const SERVICES: &str = "store:\n    type: mariadb:10.6\n    disk: 512\n    configuration:\n        schemas: [main]\n        endpoints: {mysql: {default_schema: main, privileges: {main: admin}}}\n";
const ROUTES: &str = "\"https://{default}/\":\n    type: upstream\n    upstream: 'shop:http'\n    cache: {enabled: true, cookies: ['/^S/']}\n\"https://www.{all}/\":\n    type: redirect\n    to: \"https://{all}/\"\n";

fn one(chance: &mut Chance) -> MemoryTree {
    let mut tree = MemoryTree::default();
    let mut put = |path: &str, bytes: Vec<u8>| tree.0.insert(path.to_owned(), bytes);
    if chance.below(5) == 0 {
        put(".upsun/config.yaml", chance.text(80).into_bytes());
        return tree;
    }
    for (path, good) in [
        (".platform.app.yaml", APP),
        (".platform/services.yaml", SERVICES),
        (".platform/routes.yaml", ROUTES),
    ] {
        let bytes = match chance.below(4) {
            0 => chance.text(60).into_bytes(),
            1 => good.as_bytes().to_vec(),
            _ => chance.mutated(good),
        };
        put(path, bytes);
    }
    tree
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut seconds, mut seed) = (10, 1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let number = value.parse().expect("a number");
        match name.as_str() {
            "--seconds" => seconds = number,
            "--seed" => seed = number,
            other => panic!("unknown option {other}"),
        }
    }
    let begun = Instant::now();
    let good = check(
        &MemoryTree(
            [
                (".platform.app.yaml", APP),
                (".platform/services.yaml", SERVICES),
                (".platform/routes.yaml", ROUTES),
            ]
            .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
            .into(),
        ),
        &Options::default(),
    );
    let good = good.project.expect("the good files are good");
    let mut domains = RouteContext::new(Flavour::Platform, "abcdefghij234", "main", "localhost");
    domains.domains = vec!["a.com".to_owned(), "b.com".to_owned()];
    let (mut runs, mut valid, mut slowest) = (0u64, 0u64, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut chance = Chance(seed.wrapping_add(runs));
        let tree = one(&mut chance);
        let started = Instant::now();
        let report = check(&tree, &Options::default());
        render_terminal(&report.problems, 80, true);
        if let Some(project) = &report.project {
            valid += 1;
            domains.production = chance.below(2) == 0;
            let _ = expand_routes(project, &domains);
            plan::render_plan_terminal(&plan::diff(&good, project), 80, false);
            let text = serde_json::to_string(project).expect("JSON");
            let back: slipway_manifest::Project = serde_json::from_str(&text).expect("round trip");
            assert_eq!(&back, project, "seed {}", seed.wrapping_add(runs));
        } else {
            assert!(
                report.errors().count() > 0,
                "refused without a reason: seed {}",
                seed.wrapping_add(runs)
            );
        }
        let _ = check_cron(&chance.text(8));
        let _ = check_pcre(&chance.text(8));
        let took = started.elapsed();
        slowest = slowest.max(took);
        assert!(
            took < Duration::from_secs(5),
            "seed {} took {took:?}",
            seed.wrapping_add(runs)
        );
        runs += 1;
    }
    println!("{runs} configurations, {valid} valid, slowest {slowest:?}, seed {seed}");
}
