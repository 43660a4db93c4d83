//! Lock files of every format.

use slipway_advisories::{Ecosystem, Locks, Manager, Package, Reach, collect};

fn tree(files: &[(&str, &str)]) -> Locks {
    collect(
        files
            .iter()
            .map(|(path, text)| (*path, || Ok::<_, String>(text.as_bytes().to_vec()))),
    )
}

fn packages(files: &[(&str, &str)]) -> Vec<Package> {
    let locks = tree(files);
    assert_eq!(locks.problems, [], "{files:?}");
    locks.packages
}

/// `name@version`, with `!` for direct and `~` for development.
fn brief(packages: &[Package]) -> Vec<String> {
    let mut list: Vec<String> = packages
        .iter()
        .map(|one| {
            let direct = if one.reach == Reach::Direct { "!" } else { "" };
            let development = if one.development { "~" } else { "" };
            format!("{}@{}{direct}{development}", one.name, one.version)
        })
        .collect();
    list.sort();
    list
}

fn find<'a>(packages: &'a [Package], name: &str) -> &'a Package {
    packages
        .iter()
        .find(|one| one.name == name)
        .unwrap_or_else(|| panic!("no {name} in {packages:?}"))
}

const COMPOSER: &str = r#"{
    "_readme": ["This file locks the dependencies of your project to a known state"],
    "content-hash": "0123456789abcdef",
    "packages": [
        {
            "name": "drupal/core",
            "version": "8.5.0",
            "source": {"type": "git", "url": "https://example.invalid/core.git", "reference": "abc"},
            "require": {"php": "^5.5.9|>=7.0.8", "symfony/http-kernel": "~2.8", "ext-pdo": "*"},
            "replace": {"drupal/action": "self.version"},
            "authors": [{"name": "Nobody"}]
        },
        {
            "name": "Symfony/Http-Kernel",
            "version": "v2.8.52",
            "require": {"psr/log": "~1.0", "drupal/action": "*"}
        },
        {"name": "psr/log", "version": "1.1.0", "require": []}
    ],
    "packages-dev": [
        {"name": "phpunit/phpunit", "version": "4.8.36", "require": {"symfony/yaml": "~2.1"}},
        {"name": "symfony/yaml", "version": "dev-master"}
    ],
    "aliases": [],
    "minimum-stability": "dev",
    "platform": []
}
"#;

#[test]
fn composer_lock_gives_versions_lines_and_paths() {
    let found = packages(&[("app/composer.lock", COMPOSER)]);
    assert_eq!(
        brief(&found),
        [
            "drupal/core@8.5.0",
            "phpunit/phpunit@4.8.36!~",
            "psr/log@1.1.0",
            "symfony/http-kernel@v2.8.52",
            "symfony/yaml@dev-master~"
        ],
        "core and http-kernel need each other, so without composer.json nobody is known to ask for core"
    );
    let manifest = r#"{"require": {"drupal/core": "^8", "php": ">=7"}, "require-dev": {"phpunit/phpunit": "^4"}}"#;
    let found = packages(&[
        ("app/composer.lock", COMPOSER),
        ("app/composer.json", manifest),
    ]);
    assert_eq!(brief(&found)[0], "drupal/core@8.5.0!");
    let log = find(&found, "psr/log");
    assert_eq!(
        log.via,
        [
            "drupal/core@8.5.0",
            "symfony/http-kernel@v2.8.52",
            "psr/log@1.1.0"
        ]
    );
    assert_eq!(
        (log.file.as_str(), log.line, log.manager, log.ecosystem),
        (
            "app/composer.lock",
            Some(18),
            Manager::Composer,
            Ecosystem::Packagist
        )
    );
    assert_eq!(find(&found, "drupal/core").line, Some(6));
    assert_eq!(log.purl(), "pkg:composer/psr/log@1.1.0");
}

const NPM_3: &str = r#"{
  "name": "shop",
  "lockfileVersion": 3,
  "requires": true,
  "packages": {
    "": {"name": "shop", "version": "1.0.0", "dependencies": {"express": "^4.0.0", "old-lodash": "npm:lodash@3.10.1"}, "devDependencies": {"mocha": "*"}, "workspaces": ["packages/*"]},
    "node_modules/express": {
      "version": "4.17.0",
      "dependencies": {"debug": "2.6.9", "qs": "6.7.0"}
    },
    "node_modules/express/node_modules/debug": {"version": "2.6.9", "dependencies": {"ms": "2.0.0"}},
    "node_modules/debug": {"version": "4.3.0", "dev": true, "dependencies": {"ms": "2.1.2"}},
    "node_modules/ms": {"version": "2.0.0"},
    "node_modules/qs": {"version": "6.7.0"},
    "node_modules/mocha": {"version": "9.0.0", "dev": true, "dependencies": {"debug": "4.3.0"}},
    "node_modules/old-lodash": {"name": "lodash", "version": "3.10.1"},
    "node_modules/admin": {"resolved": "packages/admin", "link": true},
    "packages/admin": {"version": "0.1.0", "dependencies": {"@babel/traverse": "7.0.0"}},
    "node_modules/@babel/traverse": {"version": "7.0.0"}
  }
}"#;

#[test]
fn package_lock_3_resolves_as_node_does() {
    let found = packages(&[("package-lock.json", NPM_3)]);
    assert_eq!(
        brief(&found),
        [
            "@babel/traverse@7.0.0!",
            "debug@2.6.9",
            "debug@4.3.0~",
            "express@4.17.0!",
            "lodash@3.10.1!",
            "mocha@9.0.0!~",
            "ms@2.0.0",
            "qs@6.7.0"
        ]
    );
    assert_eq!(
        find(&found, "ms").via,
        ["express@4.17.0", "debug@2.6.9", "ms@2.0.0"]
    );
    assert_eq!(find(&found, "qs").line, Some(14));
    assert_eq!(
        find(&found, "@babel/traverse").purl(),
        "pkg:npm/%40babel/traverse@7.0.0"
    );
}

#[test]
fn package_lock_1_and_shrinkwrap_are_read() {
    let text = r#"{
  "name": "old", "version": "1.0.0", "lockfileVersion": 1, "requires": true,
  "dependencies": {
    "express": {
      "version": "4.16.0", "requires": {"debug": "2.6.9"},
      "dependencies": {"debug": {"version": "2.6.9", "requires": {"ms": "2.0.0"}}}
    },
    "ms": {"version": "2.0.0"},
    "renamed": {"version": "npm:lodash@4.17.4"},
    "fork": {"version": "git+ssh://git@github.com/a/fork.git#abc", "from": "fork@github:a/fork"},
    "mocha": {"version": "5.0.0", "dev": true, "requires": true}
  }
}"#;
    let manifest = r#"{"dependencies": {"express": "^4", "renamed": "*"}, "devDependencies": {"mocha": "^5"}}"#;
    let found = packages(&[
        ("npm-shrinkwrap.json", text),
        ("package-lock.json", "not read"),
        ("package.json", manifest),
    ]);
    assert_eq!(
        brief(&found),
        [
            "debug@2.6.9",
            "express@4.16.0!",
            "fork@git+ssh://git@github.com/a/fork.git#abc",
            "lodash@4.17.4!",
            "mocha@5.0.0!~",
            "ms@2.0.0"
        ]
    );
    assert_eq!(
        find(&found, "ms").via,
        ["express@4.16.0", "debug@2.6.9", "ms@2.0.0"]
    );
    assert_eq!(find(&found, "ms").file, "npm-shrinkwrap.json");
}

#[test]
fn both_formats_of_yarn_are_read() {
    let classic = "# THIS IS AN AUTOGENERATED FILE. DO NOT EDIT THIS FILE DIRECTLY.
# yarn lockfile v1


\"@babel/code-frame@^7.0.0\", \"@babel/code-frame@^7.1.0\":
  version \"7.12.11\"
  resolved \"https://registry.example/@babel/code-frame/-/code-frame-7.12.11.tgz#f4\"
  integrity sha512-abc==
  dependencies:
    \"@babel/highlight\" \"^7.10.4\"

\"@babel/highlight@^7.10.4\":
  version \"7.10.4\"

lodash@4.x, lodash@^4.17.4:
  version \"4.17.4\"

\"old@npm:minimist@0.0.8\":
  version \"0.0.8\"
";
    let manifest = r#"{"dependencies": {"@babel/code-frame": "^7.0.0"}, "devDependencies": {"lodash": "4.x"}}"#;
    let found = packages(&[("web/yarn.lock", classic), ("web/package.json", manifest)]);
    assert_eq!(
        brief(&found),
        [
            "@babel/code-frame@7.12.11!",
            "@babel/highlight@7.10.4",
            "lodash@4.17.4!~",
            "minimist@0.0.8~"
        ]
    );
    assert_eq!(
        find(&found, "@babel/highlight").via,
        ["@babel/code-frame@7.12.11", "@babel/highlight@7.10.4"]
    );
    assert_eq!(
        (find(&found, "lodash").line, find(&found, "lodash").manager),
        (Some(15), Manager::Yarn)
    );

    let berry = "# This file is generated by running \"yarn install\" inside your project.

__metadata:
  version: 6
  cacheKey: 8

\"@babel/highlight@npm:^7.10.4\":
  version: 7.10.4
  resolution: \"@babel/highlight@npm:7.10.4\"
  checksum: abc
  languageName: node
  linkType: hard

\"app@workspace:.\":
  version: 0.0.0-use.local
  resolution: \"app@workspace:.\"
  dependencies:
    old: \"npm:minimist@0.0.8\"
    shelljs: ^0.8.3
  languageName: unknown
  linkType: soft

\"old@npm:minimist@0.0.8\":
  version: 0.0.8
  resolution: \"minimist@npm:0.0.8\"

\"shelljs@npm:^0.8.3, shelljs@npm:^0.8.4\":
  version: 0.8.3
  resolution: \"shelljs@npm:0.8.3\"
  dependencies:
    \"@babel/highlight\": ^7.10.4
  bin:
    shjs: bin/shjs
";
    let found = packages(&[("yarn.lock", berry)]);
    assert_eq!(
        brief(&found),
        [
            "@babel/highlight@7.10.4",
            "minimist@0.0.8!",
            "shelljs@0.8.3!"
        ]
    );
    assert_eq!(
        find(&found, "@babel/highlight").via,
        ["shelljs@0.8.3", "@babel/highlight@7.10.4"]
    );
    assert_eq!(
        (
            find(&found, "shelljs").line,
            find(&found, "shelljs").manager
        ),
        (Some(27), Manager::YarnBerry)
    );
}

#[test]
fn pnpm_lock_files_5_to_9_are_read() {
    let five = "lockfileVersion: 5.4

specifiers:
  express: ^4.0.0

dependencies:
  express: 4.17.0

devDependencies:
  '@babel/core': 7.0.0_supports-color@5.5.0

packages:

  /@babel/core/7.0.0_supports-color@5.5.0:
    resolution: {integrity: sha512-x}
    dependencies:
      ms: 2.0.0
    dev: true

  /express/4.17.0:
    resolution: {integrity: sha512-y}
    dependencies:
      ms: 2.0.0
    dev: false

  /ms/2.0.0:
    resolution: {integrity: sha512-z}
";
    let found = packages(&[("pnpm-lock.yaml", five)]);
    assert_eq!(
        brief(&found),
        ["@babel/core@7.0.0!~", "express@4.17.0!", "ms@2.0.0"]
    );
    assert_eq!(
        (find(&found, "ms").via.as_slice(), find(&found, "ms").line),
        (
            &["express@4.17.0".to_owned(), "ms@2.0.0".to_owned()][..],
            Some(26)
        )
    );

    let six = "lockfileVersion: '6.0'
importers:
  .:
    dependencies:
      express:
        specifier: ^4.0.0
        version: 4.17.0(supports-color@5.5.0)
packages:
  /express@4.17.0(supports-color@5.5.0):
    resolution: {integrity: sha512-y}
    dependencies:
      alias: /ms@2.0.0
    dev: false
  /ms@2.0.0:
    resolution: {integrity: sha512-z}
    dev: false
";
    assert_eq!(
        brief(&packages(&[("pnpm-lock.yaml", six)])),
        ["express@4.17.0!", "ms@2.0.0"]
    );

    let nine = "lockfileVersion: '9.0'

settings:
  autoInstallPeers: true

importers:

  .:
    dependencies:
      '@scope/a':
        specifier: ^1.0.0
        version: 1.0.0(react@18.0.0)
    devDependencies:
      mocha:
        specifier: '*'
        version: 9.0.0

packages:

  '@scope/a@1.0.0':
    resolution: {integrity: sha512-a}
    peerDependencies:
      react: '*'

  mocha@9.0.0:
    resolution: {integrity: sha512-b}

  ms@2.0.0:
    resolution: {integrity: sha512-c}

  react@18.0.0:
    resolution: {integrity: sha512-d}

snapshots:

  '@scope/a@1.0.0(react@18.0.0)':
    dependencies:
      react: 18.0.0

  mocha@9.0.0:
    dependencies:
      ms: 2.0.0

  ms@2.0.0: {}

  react@18.0.0: {}
";
    let found = packages(&[("pnpm-lock.yaml", nine)]);
    assert_eq!(
        brief(&found),
        [
            "@scope/a@1.0.0!",
            "mocha@9.0.0!~",
            "ms@2.0.0~",
            "react@18.0.0"
        ]
    );
    assert_eq!(find(&found, "@scope/a").line, Some(20));

    let locks = tree(&[("pnpm-lock.yaml", "lockfileVersion: '12.0'\n")]);
    assert_eq!(locks.problems[0].code, "SW-LOCK-VERSION");
}

#[test]
fn python_lock_files_are_read() {
    let requirements = "# comment
-r base.txt
--index-url https://pypi.example/simple
Django==1.11.1  # pinned
requests[security] == 2.19.0 ; python_version < '3'
flask>=0.12
numpy==1.*
Zope.Interface===4.0 \\
    --hash=sha256:abc==
git+https://example.invalid/x.git#egg=x
";
    let found = packages(&[("requirements.txt", requirements)]);
    assert_eq!(
        brief(&found),
        ["django@1.11.1!", "requests@2.19.0!", "zope-interface@4.0!"]
    );
    assert_eq!(find(&found, "zope-interface").line, Some(8));

    let pipfile = r#"{"_meta": {}, "default": {"jinja2": {"hashes": [], "version": "==2.10"}, "local": {"path": "."}}, "develop": {"pytest": {"version": "==4.0"}}}"#;
    assert_eq!(
        brief(&packages(&[("Pipfile.lock", pipfile)])),
        ["jinja2@2.10!", "pytest@4.0!~"]
    );

    let poetry = "[[package]]
name = \"Jinja2\"
version = \"2.10\"
description = \"x\"
optional = false
groups = [\"main\"]

[package.dependencies]
MarkupSafe = \">=0.23\"

[[package]]
name = \"markupsafe\"
version = \"1.0\"
category = \"main\"

[[package]]
name = \"pytest\"
version = \"4.0\"
category = \"dev\"

[metadata]
lock-version = \"2.0\"
";
    let found = packages(&[("poetry.lock", poetry)]);
    assert_eq!(
        brief(&found),
        ["jinja2@2.10!", "markupsafe@1.0", "pytest@4.0!~"]
    );
    assert_eq!(
        (
            find(&found, "pytest").line,
            find(&found, "markupsafe").via.len()
        ),
        (Some(17), 2)
    );

    let uv = "version = 1
requires-python = \">=3.12\"

[[package]]
name = \"app\"
version = \"0.1.0\"
source = { virtual = \".\" }
dependencies = [
    { name = \"jinja2\" },
]

[package.dev-dependencies]
dev = [
    { name = \"pytest\" },
]

[[package]]
name = \"jinja2\"
version = \"2.10\"
source = { registry = \"https://pypi.example/simple\" }
dependencies = [
    { name = \"markupsafe\", marker = \"python_version > '3'\" },
]

[[package]]
name = \"markupsafe\"
version = \"1.0\"
source = { registry = \"https://pypi.example/simple\" }

[[package]]
name = \"pytest\"
version = \"4.0\"
source = { registry = \"https://pypi.example/simple\" }
";
    assert_eq!(
        brief(&packages(&[("uv.lock", uv)])),
        ["jinja2@2.10!", "markupsafe@1.0", "pytest@4.0!~"]
    );
}

#[test]
fn gemfile_lock_is_read_without_platforms_and_own_gems() {
    let text = "PATH
  remote: engine
  specs:
    engine (0.1.0)
      rails

GEM
  remote: https://rubygems.org/
  specs:
    nokogiri (1.6.8-x86_64-linux)
    rails (4.2.0)
      nokogiri (~> 1.6)
      sprockets-rails
    sprockets-rails (2.3.0)

PLATFORMS
  x86_64-linux

DEPENDENCIES
  engine!
  rails (= 4.2.0)

BUNDLED WITH
   1.17.3
";
    let found = packages(&[("Gemfile.lock", text)]);
    assert_eq!(
        brief(&found),
        ["nokogiri@1.6.8", "rails@4.2.0!", "sprockets-rails@2.3.0"]
    );
    let nokogiri = find(&found, "nokogiri");
    assert_eq!(
        (nokogiri.via.as_slice(), nokogiri.line),
        (
            &["rails@4.2.0".to_owned(), "nokogiri@1.6.8".to_owned()][..],
            Some(10)
        )
    );
}

#[test]
fn go_modules_give_what_the_build_selects() {
    let sum = "github.com/gin-gonic/gin v1.5.0 h1:abc=
github.com/gin-gonic/gin v1.5.0/go.mod h1:abc=
github.com/ugorji/go v1.1.7 h1:abc=
github.com/ugorji/go v1.1.10/go.mod h1:abc=
github.com/ugorji/go v1.1.9 h1:abc=
";
    let old = "module example.com/app\n\ngo 1.13\n\nrequire github.com/gin-gonic/gin v1.5.0\n";
    let found = packages(&[("go.mod", old), ("go.sum", sum)]);
    assert_eq!(
        brief(&found),
        [
            "github.com/gin-gonic/gin@v1.5.0!",
            "github.com/ugorji/go@v1.1.9"
        ]
    );
    assert_eq!(
        brief(&packages(&[("go.sum", sum)])),
        [
            "github.com/gin-gonic/gin@v1.5.0!",
            "github.com/ugorji/go@v1.1.9!"
        ]
    );

    let new = "module example.com/app

go 1.21.3
toolchain go1.22rc1

require (
\tgithub.com/gin-gonic/gin v1.5.0 // a comment
\tgithub.com/local/thing v0.1.0
\tgithub.com/other/thing v0.2.0
)

require golang.org/x/net v0.1.0 // indirect

replace github.com/local/thing => ./thing
replace github.com/other/thing v0.2.0 => github.com/fork/thing v0.3.0
exclude golang.org/x/net v0.0.1
";
    let found = packages(&[("go.mod", new), ("go.sum", sum)]);
    assert_eq!(
        brief(&found),
        [
            "github.com/fork/thing@v0.3.0!",
            "github.com/gin-gonic/gin@v1.5.0!",
            "golang.org/x/net@v0.1.0",
            "stdlib@1.22.0-rc.1!"
        ]
    );
    assert_eq!(find(&found, "golang.org/x/net").line, Some(12));
}

#[test]
fn gradle_and_cargo_lock_files_are_read() {
    let gradle = "# This is a Gradle generated file.\ncom.fasterxml.jackson.core:jackson-databind:2.9.8=compileClasspath\nempty=annotationProcessor\n";
    assert_eq!(
        brief(&packages(&[("gradle.lockfile", gradle)])),
        ["com.fasterxml.jackson.core:jackson-databind@2.9.8!"]
    );
    let cargo = "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"time 0.1.40\"]\n\n[[package]]\nname = \"time\"\nversion = \"0.1.40\"\nsource = \"registry+https://example\"\n";
    assert_eq!(brief(&packages(&[("Cargo.lock", cargo)])), ["time@0.1.40!"]);
}

#[test]
fn what_others_bring_along_is_not_looked_at_and_the_order_of_files_does_not_matter() {
    let files = [
        (
            "b/composer.lock",
            r#"{"packages": [{"name": "a/a", "version": "1.0"}]}"#,
        ),
        (
            "a/composer.lock",
            r#"{"packages": [{"name": "a/a", "version": "1.0"}]}"#,
        ),
        ("vendor/x/composer.lock", "broken"),
        ("node_modules/x/package-lock.json", "broken"),
        ("a/readme.md", "no lock file"),
    ];
    let forward = tree(&files);
    let mut turned = files;
    turned.reverse();
    assert_eq!(forward.packages, tree(&turned).packages);
    assert_eq!(forward.files, ["a/composer.lock", "b/composer.lock"]);
    assert_eq!((forward.packages.len(), forward.problems.len()), (2, 0));
}
