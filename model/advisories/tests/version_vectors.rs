//! Version order, by the vectors that each ecosystem publishes.

use std::cmp::Ordering;

use slipway_advisories::version::composer::normalise;
use slipway_advisories::{Ecosystem, Version};

fn parse(ecosystem: Ecosystem, text: &str) -> Version {
    Version::parse(ecosystem, text).unwrap_or_else(|| panic!("{ecosystem} does not read `{text}`"))
}

/// Every version is before every later one, in both directions.
fn ascending(ecosystem: Ecosystem, list: &[&str]) {
    for (at, low) in list.iter().enumerate() {
        for high in &list[at + 1..] {
            assert_eq!(
                parse(ecosystem, low).cmp(&parse(ecosystem, high)),
                Ordering::Less,
                "{ecosystem}: {low} < {high}"
            );
            assert_eq!(
                parse(ecosystem, high).cmp(&parse(ecosystem, low)),
                Ordering::Greater,
                "{ecosystem}: {high} > {low}"
            );
        }
    }
}

/// Lines of `a < b`, `a = b`, `a > b`.
fn relations(ecosystem: Ecosystem, lines: &str) {
    let mut checked = 0;
    for line in lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [left, sign, right] = words[..] else {
            panic!("not a relation: {line}")
        };
        let wanted = match sign {
            "<" => Ordering::Less,
            "=" => Ordering::Equal,
            ">" => Ordering::Greater,
            _ => panic!("not a sign: {line}"),
        };
        assert_eq!(
            parse(ecosystem, left).cmp(&parse(ecosystem, right)),
            wanted,
            "{ecosystem}: {line}"
        );
        assert_eq!(
            parse(ecosystem, right).cmp(&parse(ecosystem, left)),
            wanted.reverse(),
            "{ecosystem}, turned round: {line}"
        );
        checked += 1;
    }
    assert!(checked > 0);
}

/// semver.org, items 10 and 11.
#[test]
fn semver_orders_as_its_specification_says() {
    for ecosystem in [Ecosystem::Npm, Ecosystem::Go, Ecosystem::Crates] {
        ascending(
            ecosystem,
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1",
                "1.0.0",
                "2.0.0",
                "2.1.0",
                "2.1.1",
                "2.1.10",
                "10.0.0",
            ],
        );
        relations(
            ecosystem,
            "1.0.0 = 1.0.0+20130313144700
             1.0.0-beta+exp.sha.5114f85 = 1.0.0-beta
             1.0.0-0.3.7 < 1.0.0-x.7.z.92
             1.0.0-x-y-z.4 < 1.0.0
             1.0.0-1 < 1.0.0-a
             1.0.0-999999999999999999999 < 1.0.0-9999999999999999999999
             99999999999999999999999.999999999999999999.99999999999999999 > 9.0.0
             v1.2.3 = 1.2.3
             1.2 = 1.2.0
             2.0.0.rc.1 < 2.0.0",
        );
    }
    for wrong in [
        "",
        "x",
        "1.x",
        "-1.0.0",
        "1.0.0-",
        "github:a/b#main",
        "file:../x",
        "1..2",
        "^1.0.0",
        "latest",
        "1.0.0-a..b",
    ] {
        assert_eq!(Version::parse(Ecosystem::Npm, wrong), None, "{wrong}");
    }
}

/// go.dev/ref/mod: pseudo-versions sort just before the version they lead to.
#[test]
fn go_orders_pseudo_versions() {
    ascending(
        Ecosystem::Go,
        &[
            "v0.0.0-20190101000000-abcdefabcdef",
            "v0.0.0-20191109021931-daa7c04131f5",
            "v0.0.1",
            "v1.0.0-rc8",
            "v1.0.0-rc8.0.20190930145003-cad42f6e0932",
            "v1.0.0-rc9",
            "v1.0.0",
            "v1.0.1-0.20200101000000-abcdefabcdef",
            "v1.0.1",
            "v1.3.1-0.20190929122143-5215b1806f52",
            "v1.3.1",
            "v2.0.0+incompatible",
            "v2.0.1+incompatible",
        ],
    );
}

/// The success and failure lists of composer/semver's VersionParserTest.
#[test]
fn composer_normalises_as_its_own_tests_say() {
    for (text, normal) in [
        ("1.0.0", "1.0.0.0"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.0.0RC1dev", "1.0.0.0-RC1-dev"),
        ("1.0.0-rC15-dev", "1.0.0.0-RC15-dev"),
        ("1.0.0.RC.15-dev", "1.0.0.0-RC15-dev"),
        ("1.0.0-rc1", "1.0.0.0-RC1"),
        ("1.0.0.pl3-dev", "1.0.0.0-patch3-dev"),
        ("1.0-dev", "1.0.0.0-dev"),
        ("0", "0.0.0.0"),
        ("10.4.13-beta", "10.4.13.0-beta"),
        ("10.4.13beta2", "10.4.13.0-beta2"),
        ("10.4.13beta.2", "10.4.13.0-beta2"),
        ("10.4.13-b", "10.4.13.0-beta"),
        ("10.4.13-b5", "10.4.13.0-beta5"),
        ("v1.0.0", "1.0.0.0"),
        ("2010.01", "2010.01.0.0"),
        ("2010.01.02", "2010.01.02.0"),
        ("2010.1.555", "2010.1.555.0"),
        ("2010.10.200", "2010.10.200.0"),
        ("v20100102", "20100102"),
        ("2010-01-02", "2010.01.02"),
        ("2010-01-02.5", "2010.01.02.5"),
        ("20100102-203040", "20100102.203040"),
        ("20150920.0.0", "20150920.0.0"),
        ("20100102203040-10", "20100102203040.10"),
        ("20100102-203040-p1", "20100102.203040-patch1"),
        ("dev-master", "dev-master"),
        ("1.x-dev", "1.9999999.9999999.9999999-dev"),
        ("v2.4.*-dev", "2.4.9999999.9999999-dev"),
        ("dev-feature-foo", "dev-feature-foo"),
        ("DEV-FOOBAR", "dev-FOOBAR"),
        ("dev-feature/foo", "dev-feature/foo"),
        ("dev-master as 1.0.0", "dev-master"),
        ("1.0.0-beta.5+foo", "1.0.0.0-beta5"),
        ("1.0.0+foo", "1.0.0.0"),
        ("1.0.0-alpha.3.1+foo", "1.0.0.0-alpha3.1"),
        ("1.0.0-alpha2.1+foo", "1.0.0.0-alpha2.1"),
        ("1.0.0-alpha-2.1-3+foo", "1.0.0.0-alpha2.1-3"),
        ("1.0.0+foo as 2.0", "1.0.0.0"),
        ("00.01.03.04", "00.01.03.04"),
        ("041.x-dev", "041.9999999.9999999.9999999-dev"),
        ("1.0.0@dev", "1.0.0.0"),
    ] {
        assert_eq!(normalise(text).as_deref(), Some(normal), "{text}");
    }
    for wrong in [
        "",
        "a",
        "1.0.0-meh",
        "1.0.0.0.0",
        "feature-foo",
        "1.0.0+foo bar",
        "1.0.0-SNAPSHOT",
        "1.0.0<1.0.1",
    ] {
        assert_eq!(normalise(wrong), None, "{wrong}");
    }
}

#[test]
fn packagist_orders_as_composer_does() {
    ascending(
        Ecosystem::Packagist,
        &[
            "1.0.0-dev",
            "1.0.0-alpha",
            "1.0.0-alpha1-dev",
            "1.0.0-alpha1",
            "1.0.0-alpha2.1",
            "1.0.0-beta1",
            "1.0.0-b5",
            "1.0.0-RC1",
            "1.0.0-rc2",
            "1.0.0",
            "1.0.0-p1",
            "1.0.0-patch2",
            "1.0.0.1",
            "1.0.1",
            "1.2-dev",
            "1.2",
            "1.10",
            "1.x-dev",
            "2.4.3",
            "2.4.3-p2",
            "2.4.4-p1",
            "20100102",
            "20100102-203040",
        ],
    );
    relations(
        Ecosystem::Packagist,
        "1.0 = 1.0.0.0\nv1.0.0 = 1.0\n1.0.0-stable = 1.0.0\n1.0.0+build = 1.0.0\n1.0.0-pl1 = 1.0.0-p1",
    );
    for branch in [
        "dev-master",
        "dev-feature/foo",
        "master",
        "self.version",
        "no-version-set",
    ] {
        assert_eq!(
            Version::parse(Ecosystem::Packagist, branch),
            None,
            "{branch}"
        );
    }
}

/// PEP 440: "Summary of permitted suffixes and relative ordering", normalisation, and pypa/packaging's list.
#[test]
fn pypi_orders_as_pep_440_says() {
    ascending(
        Ecosystem::PyPI,
        &[
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.1.dev1",
            "1.1",
            "1.2+123abc",
            "1.2+123abc456",
            "1.2+abc",
            "1.2+abc123",
            "1.2+1234.abc",
            "1.2+123456",
            "1.2.r32+123456",
            "1.2.rev33+123456",
            "1!1.0.dev456",
            "1!1.0a1",
            "1!1.0",
        ],
    );
    relations(
        Ecosystem::PyPI,
        "1.0 = 1.0.0
         1.1RC1 = 1.1rc1
         1.0a5 = 1.0.alpha.5
         1.0-beta_2 = 1.0b2
         1.1c1 = 1.1rc1
         1.1preview1 = 1.1pre1
         1.2a = 1.2a0
         1.2.post2 = 1.2-post2
         1.2.post2 = 1.2.rev2
         1.0-1 = 1.0.post1
         1.2.post = 1.2.post0
         1.2.dev = 1.2.dev0
         v1.0 = 1.0
         1.0+ubuntu-1 = 1.0+ubuntu.1
         00!1.000 = 1.0
         1.36.0rc1 > 1.35.0
         4.3a1 < 4.3b1
         4.3b1 < 4.3
         1.2.post3.dev4 > 1.2b3.dev4
         0.9.preview < 1.0
         2012.4 < 2013.10
         1.0.0+local.0 < 1.0.0+local.0.1
         1!1.0 < 2!1.0",
    );
    for wrong in [
        "",
        "french toast",
        "1.0+a+",
        "1.0++",
        "1.0+_foobar",
        "1.0+foo&asd",
        "1.0+1+1",
        "0.1-bulbasaur",
        "*",
        "1.*",
    ] {
        assert_eq!(Version::parse(Ecosystem::PyPI, wrong), None, "{wrong}");
    }
}

/// rubygems' test_gem_version.rb.
#[test]
fn rubygems_orders_as_its_own_tests_say() {
    relations(
        Ecosystem::RubyGems,
        "1.0 = 1.0.0
         1.0 > 1.0.a
         1.8.2 > 0.0.0
         1.8.2 > 1.8.2.a
         1.8.2.b > 1.8.2.a
         1.8.2.a < 1.8.2
         1.8.2.a10 > 1.8.2.a9
         1.2.b1 = 1.2.b.1
         0.beta.1 = 0.0.beta.1
         0.0.beta < 0.0.beta.1
         0.0.beta < 0.beta.1
         5.a < 5.0.0.rc2
         5.x > 5.0.0.rc2
         1.9.3 > 1.9.3.alpha.5
         1.9.3.1 > 1.9.3
         1.0.0-alpha < 1.0.0-alpha.1
         1.0.0-alpha.1 < 1.0.0-beta.2
         1.0.0-beta.2 < 1.0.0-beta.11
         1.0.0-beta.11 < 1.0.0-rc.1
         1.0.0-rc1 < 1.0.0
         1.0.0-1 < 1
         3.0.0.rc1 < 3.0.0.rc2
         2.2.10 > 2.2.9.99",
    );
    for wrong in ["", "junk", "1..2", "1.2\n3.4", "1.0.", "a.1"] {
        assert_eq!(Version::parse(Ecosystem::RubyGems, wrong), None, "{wrong}");
    }
}

/// Maven's ComparableVersionTest and the "Version Order Specification" of the POM reference.
#[test]
fn maven_orders_as_comparable_version_does() {
    relations(
        Ecosystem::Maven,
        "1 < 2
         1.5 < 2
         1 < 2.5
         1.0.0 < 1.1
         1.0.1 < 1.1
         1.1 < 1.2.0
         1.0-alpha-1 < 1.0
         1.0-alpha-1 < 1.0-alpha-2
         1.0-alpha-1 < 1.0-beta-1
         1.0-beta-1 < 1.0-SNAPSHOT
         1.0-SNAPSHOT < 1.0
         1.0-alpha-1-SNAPSHOT < 1.0-alpha-1
         1.0 < 1.0-1
         1.0-1 < 1.0-2
         2.0-1 < 2.0.1
         2.0.1-klm < 2.0.1-lmn
         2.0.1 < 2.0.1-xyz
         2.0.1 < 2.0.1-123
         2.0.1-xyz < 2.0.1-123
         1 = 1.0
         1 = 1-0
         1.0 = 1.0-0
         1.1 = 1.01
         1a = 1-a
         1a = 1.0-a
         1.0.0x = 1-x
         1ga = 1
         1release = 1
         1FinaL = 1
         1cr = 1rc
         1a1 = 1-alpha-1
         1b2 = 1-beta-2
         1m3 = 1-MileStone-3
         1X = 1x
         1 = 001
         1. = 1
         1- = 1
         1-foo = 1.0.0-foo.0.0
         1 = 1.0.0-0.0.0
         1-1.foo-bar-1-baz-0.1 = 1-1.foo-bar1baz-.1
         1-1 = 1-ga-1
         1-sp > 1-ga
         1-sp.1 > 1-ga.1
         1-foo2 < 1-foo10
         1.foo = 1-foo
         1.foo < 1-1
         1-1 < 1.1
         6.1.0rc3 < 6.1.0
         6.1.0rc3 < 6.1H.5-beta
         6.1.0 < 6.1H.5-beta
         20190126.230843 < 1234567890.12345
         123456789012345.1H.5-beta < 12345678901234567890.1H.5-beta
         0.0.0-0.0.0 = 0-final-ga
         0 < 1
         0.0.0-2021-05-17T01-01-51-5ec03a8b < 20.0.0
         2.9.10.1 < 2.9.10.7
         2.10.0.pr1 < 2.10.0.pr2
         2.10.0-rc1 < 2.10.0",
    );
    ascending(
        Ecosystem::Maven,
        &[
            "1-alpha2snapshot",
            "1-alpha2",
            "1-alpha-123",
            "1-beta-2",
            "1-beta123",
            "1-m2",
            "1-m11",
            "1-rc",
            "1-cr2",
            "1-rc123",
            "1-SNAPSHOT",
            "1",
            "1-sp",
            "1-sp2",
            "1-sp123",
            "1-abc",
            "1-def",
            "1-pom-1",
            "1-1-snapshot",
            "1-1",
            "1-2",
            "1-123",
        ],
    );
}

/// An order that is not one would make a sort, and with it the gate, do anything.
#[test]
fn every_order_is_total_and_transitive() {
    let texts = [
        "0",
        "1",
        "1.0",
        "1.0.0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0-rc1",
        "1.0rc1",
        "1.0.post1",
        "1.0.dev1",
        "1!1",
        "1.0+x",
        "1.0+1",
        "1.x-dev",
        "1.0-1",
        "1.0.a",
        "1.a1",
        "1-sp",
        "1-foo.1",
        "2.0.0-p1",
        "01",
        "1.00",
        "1.0-SNAPSHOT",
        "20100102",
        "20100102-203040-p1",
        "1.0.0-RC1-dev",
        "v2",
        "1.0.0.0.0.1",
    ];
    for ecosystem in Ecosystem::ALL {
        let versions: Vec<Version> = texts
            .iter()
            .filter_map(|text| Version::parse(ecosystem, text))
            .collect();
        assert!(versions.len() > 8, "{ecosystem}");
        for a in &versions {
            assert_eq!(a.cmp(a), Ordering::Equal);
            for b in &versions {
                assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a:?} {b:?}");
                for c in &versions {
                    if a <= b && b <= c {
                        assert!(a <= c, "{ecosystem}: {a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }
}
