//! Real advisories: the OSV sample and the whole FriendsOfPHP tree of the shared data.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use slipway_advisories::load::{import, open, save};
use slipway_advisories::{
    Database, Date, Ecosystem, Manager, Package, Preflight, Reach, Severity, Verdict, Version,
    judge,
};

/// `$SLIPWAY_SHARED/data`, or `shared/data` in a folder above this crate.
fn shared_data() -> PathBuf {
    if let Ok(shared) = std::env::var("SLIPWAY_SHARED") {
        let data = Path::new(&shared).join("data");
        assert!(
            data.is_dir(),
            "SLIPWAY_SHARED is {shared}, but there is no {}",
            data.display()
        );
        return data;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .map(|folder| folder.join("shared/data"))
        .find(|data| data.is_dir())
        .unwrap_or_else(|| {
            panic!(
                "no shared/data above {}; set SLIPWAY_SHARED to the folder that holds `data`",
                here.display()
            )
        })
}

fn today() -> Date {
    "2026-11-24".parse().expect("a day")
}

fn database(sources: &[PathBuf]) -> Database {
    let (bytes, _) = import(sources, today()).expect("import");
    Database::from_bytes(bytes).expect("what was just written")
}

fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
    Package {
        ecosystem,
        name: name.to_owned(),
        version: version.to_owned(),
        file: "lock".to_owned(),
        line: Some(1),
        manager: Manager::Npm,
        reach: Reach::Direct,
        development: false,
        via: vec![format!("{name}@{version}")],
    }
}

fn verdict(database: &Database, ecosystem: Ecosystem, name: &str, version: &str) -> Verdict {
    judge(
        &[package(ecosystem, name, version)],
        database,
        &Preflight::default(),
        today(),
    )
}

/// Every name under which a package is accused.
fn names(verdict: &Verdict) -> BTreeSet<String> {
    let findings = verdict.refused.iter().chain(&verdict.warned);
    findings
        .flat_map(|finding| finding.aliases.iter().chain([&finding.advisory]))
        .cloned()
        .collect()
}

fn records() -> Vec<Value> {
    let mut paths: Vec<PathBuf> = fs::read_dir(shared_data().join("osv-sample"))
        .expect("osv-sample")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&fs::read(path).expect("record")).expect("JSON"))
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_osv_sample_is_imported_whole_and_withdrawn_records_are_left_out() {
    let (bytes, counts) = import(&[shared_data().join("osv-sample")], today()).expect("import");
    let all = records();
    let withdrawn = all
        .iter()
        .filter(|record| !record["withdrawn"].is_null())
        .count();
    assert!(
        all.len() >= 66 && withdrawn >= 9,
        "{} records, {withdrawn} withdrawn",
        all.len()
    );
    assert_eq!(
        (
            counts.advisories,
            counts.withdrawn,
            counts.foreign,
            counts.broken
        ),
        (all.len() - withdrawn, withdrawn, 0, 0),
        "{counts:?}"
    );
    let database = Database::from_bytes(bytes).expect("database");
    assert_eq!(database.len(), counts.advisories);
    for record in &all {
        for affected in list(record, "affected") {
            let ecosystem = Ecosystem::from_osv(
                affected["package"]["ecosystem"]
                    .as_str()
                    .expect("ecosystem"),
            )
            .expect("known");
            let name = affected["package"]["name"].as_str().expect("name");
            let known = database
                .of_package(ecosystem, name)
                .iter()
                .any(|(advisory, _)| record["id"] == advisory.id.as_str());
            assert_eq!(
                known,
                record["withdrawn"].is_null(),
                "{} {name}",
                record["id"]
            );
        }
    }
}

/// `versions` and `ranges` of a record say the same thing twice, so each proves the other and our order.
#[test]
fn every_version_a_record_names_is_accused_and_its_fixed_versions_are_not() {
    let database = database(&[shared_data().join("osv-sample")]);
    let (mut accused, mut cleared, mut by_range) = (0, 0, 0);
    for record in records() {
        let id = record["id"].as_str().expect("id");
        let withdrawn = !record["withdrawn"].is_null();
        for affected in list(&record, "affected") {
            let ecosystem = Ecosystem::from_osv(
                affected["package"]["ecosystem"]
                    .as_str()
                    .expect("ecosystem"),
            )
            .expect("known");
            let name = affected["package"]["name"].as_str().expect("name");
            for version in list(affected, "versions").iter().filter_map(Value::as_str) {
                let found = names(&verdict(&database, ecosystem, name, version)).contains(id);
                assert_eq!(found, !withdrawn, "{id} names {name} {version}");
                accused += 1;
                let known = database.of_package(ecosystem, name);
                let explicit = known.iter().any(|(advisory, entry)| {
                    advisory.id == id && entry.versions.iter().any(|one| one == version)
                });
                by_range += usize::from(!explicit && !withdrawn);
            }
            for range in list(affected, "ranges")
                .iter()
                .filter(|range| range["type"] != "GIT")
            {
                for event in list(range, "events") {
                    if let Some(introduced) = event["introduced"]
                        .as_str()
                        .filter(|introduced| *introduced != "0")
                    {
                        assert_eq!(
                            names(&verdict(&database, ecosystem, name, introduced)).contains(id),
                            !withdrawn,
                            "{id} begins at {name} {introduced}"
                        );
                        accused += 1;
                    }
                    if let Some(last) = event["last_affected"].as_str() {
                        assert_eq!(
                            names(&verdict(&database, ecosystem, name, last)).contains(id),
                            !withdrawn,
                            "{id} ends with {name} {last}"
                        );
                        accused += 1;
                    }
                    if let Some(fixed) = event["fixed"].as_str() {
                        assert!(
                            !names(&verdict(&database, ecosystem, name, fixed)).contains(id),
                            "{id} is fixed in {name} {fixed}"
                        );
                        cleared += 1;
                    }
                }
            }
        }
    }
    assert!(
        accused > 500 && cleared > 60,
        "{accused} accused, {cleared} cleared"
    );
    // Of the versions that records list, ours is the order that puts them inside the ranges.
    assert!(by_range > 500, "{by_range} of {accused} lie in a range");
}

/// The table of the sample says which records are critical.
#[test]
fn the_records_marked_critical_refuse_and_the_others_warn() {
    let data = shared_data();
    let readme = fs::read_to_string(data.join("osv-sample/README.md")).expect("README");
    let database = database(&[data.join("osv-sample")]);
    let mut critical = 0;
    for record in records() {
        let id = record["id"].as_str().expect("id");
        let row = readme
            .lines()
            .find(|line| line.split('|').any(|cell| cell.trim() == id))
            .unwrap_or_else(|| panic!("{id} has no row"));
        if !record["withdrawn"].is_null() {
            continue;
        }
        let expected = row.contains("critical") || id.starts_with("MAL-");
        for affected in list(&record, "affected") {
            let ecosystem = Ecosystem::from_osv(
                affected["package"]["ecosystem"]
                    .as_str()
                    .expect("ecosystem"),
            )
            .expect("known");
            let name = affected["package"]["name"].as_str().expect("name");
            let entries = database.of_package(ecosystem, name);
            let (_, entry) = entries
                .iter()
                .find(|(advisory, _)| advisory.id == id)
                .expect("imported");
            assert_eq!(
                entry.severity == Severity::Critical,
                expected,
                "{id}: {row}: rated {}",
                entry.severity
            );
        }
        critical += usize::from(expected);
    }
    assert_eq!(
        critical, 17,
        "sixteen that are rated and one malicious package"
    );
}

#[test]
fn drupalgeddon_2_is_refused_with_the_upgrade_when_a_source_rates_it() {
    let data = shared_data();
    // Drupal's own record is not rated; the title in FriendsOfPHP is, under the same CVE.
    let alone = database(&[data.join("osv-sample")]);
    let found = verdict(&alone, Ecosystem::Packagist, "drupal/core", "8.3.5");
    assert!(
        found.refused.is_empty() && names(&found).contains("SA-CORE-2018-002"),
        "{found}"
    );
    assert_eq!(
        found
            .warned
            .iter()
            .find(|finding| finding.advisory == "DRUPAL-CORE-2018-002")
            .map(|finding| finding.severity),
        Some(Severity::Unknown)
    );

    let both = database(&[
        data.join("osv-sample"),
        data.join("php-advisories/php-advisories.tar.gz"),
    ]);
    let mut core = package(Ecosystem::Packagist, "drupal/core", "8.3.5");
    core.manager = Manager::Composer;
    let found = judge(
        std::slice::from_ref(&core),
        &both,
        &Preflight::default(),
        today(),
    );
    let finding: Vec<_> = found
        .refused
        .iter()
        .filter(|finding| {
            finding.aliases.contains(&"CVE-2018-7600".to_owned())
                || finding.advisory == "CVE-2018-7600"
        })
        .collect();
    assert_eq!(
        finding.len(),
        1,
        "records of one vulnerability count once: {found}"
    );
    assert_eq!(finding[0].fixed.as_deref(), Some("8.3.9"));
    assert_eq!(
        finding[0].upgrade.as_deref(),
        Some("composer require drupal/core:^8.3.9")
    );
    assert!(names(&found).contains("SA-CORE-2018-002"));

    let preflight: Preflight =
        serde_json::from_str(r#"{"enabled": true, "ignored_rules": ["drupal:SA-CORE-2018-002"]}"#)
            .expect("preflight");
    let found = judge(&[core], &both, &preflight, today());
    assert!(
        !found.refused.iter().any(|finding| finding
            .aliases
            .iter()
            .any(|alias| alias == "SA-CORE-2018-002")),
        "{found}"
    );
    assert!(
        found
            .ignored
            .iter()
            .any(|finding| finding.aliases.iter().any(|alias| alias == "CVE-2018-7600"))
    );
}

#[test]
fn the_whole_friends_of_php_tree_is_read() {
    let data = shared_data();
    let (bytes, counts) = import(
        &[data.join("php-advisories/php-advisories.tar.gz")],
        today(),
    )
    .expect("import");
    assert_eq!(
        (counts.advisories, counts.broken, counts.foreign),
        (1592, 0, 0),
        "{:?}",
        counts.complaints
    );
    let database = Database::from_bytes(bytes).expect("database");
    assert_eq!(database.packages(), 350);
    // Each bound must have a place in Composer's order, or its range would be void.
    let mut bounds = 0;
    for name in [
        "drupal/core",
        "symfony/symfony",
        "magento/community-edition",
        "typo3/cms-core",
        "contao/contao",
        "cakephp/cakephp",
        "silverstripe/framework",
    ] {
        for (advisory, affected) in database.of_package(Ecosystem::Packagist, name) {
            for event in affected.ranges.iter().flatten() {
                assert!(
                    Version::parse(Ecosystem::Packagist, &event.version).is_some(),
                    "{}: {}",
                    advisory.id,
                    event.version
                );
                bounds += 1;
            }
        }
    }
    assert!(bounds > 1000, "{bounds}");

    // "2.0.99" means never fixed in that line, and "<4.6.0" only where the next line begins, itself affected.
    let cake = verdict(&database, Ecosystem::Packagist, "cakephp/cakephp", "2.0.5");
    let direct = cake
        .warned
        .iter()
        .find(|finding| finding.summary.starts_with("Direct access of prefixed"))
        .expect("found");
    assert_eq!(direct.fixed.as_deref(), Some("2.5.9"));
    let contao = verdict(&database, Ecosystem::Packagist, "contao/contao", "4.5.2");
    let injection = contao
        .warned
        .iter()
        .find(|finding| finding.advisory == "CVE-2019-11512")
        .expect("found");
    assert_eq!(injection.fixed.as_deref(), Some("4.7.5"));
    assert_eq!(injection.severity, Severity::Unknown);
    let amphp = verdict(&database, Ecosystem::Packagist, "amphp/http", "2.1.0");
    assert_eq!(amphp.warned.len(), 1, "<= includes its bound");
    assert!(
        verdict(&database, Ecosystem::Packagist, "amphp/http", "2.1.1")
            .warned
            .is_empty()
    );
}

#[test]
fn the_readable_sample_is_part_of_the_whole() {
    let data = shared_data();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("deep/er/advisories.db");
    let (bytes, counts) = import(&[data.join("php-advisories-sample")], today()).expect("import");
    assert_eq!((counts.advisories, counts.broken), (8, 0), "{counts:?}");
    save(&path, &bytes).expect("save");
    save(&path, &bytes).expect("save over it");
    let database = open(&path).expect("open");
    assert_eq!(database.len(), 8);
    // A placeholder is no CVE: it would merge what is not the same.
    let codeigniter = verdict(
        &database,
        Ecosystem::Packagist,
        "codeigniter4/framework",
        "4.2.2",
    );
    assert!(
        codeigniter
            .warned
            .iter()
            .all(|finding| finding.advisory != "CVE-2022-xxxxx")
    );
    assert!(
        codeigniter
            .warned
            .iter()
            .any(|finding| finding.summary.starts_with("CVE-2022-xxxxx")),
        "{codeigniter}"
    );
    assert_eq!(database.date().to_string(), "2026-05-13");
    assert!(database.is_stale(today()));
    assert_eq!(
        fs::read_dir(path.parent().expect("folder"))
            .expect("list")
            .count(),
        1,
        "no temporary file stays"
    );
}
