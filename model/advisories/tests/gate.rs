//! The gate: merging, ignoring, rating, staleness, and what people and programs read of it.

use slipway_advisories::osv;
use slipway_advisories::sbom::{Subject, cyclonedx};
use slipway_advisories::{
    Builder, Database, DatabaseError, Date, Locks, Preflight, Severity, Verdict, collect, judge,
};

fn day(text: &str) -> Date {
    text.parse().expect("a day")
}

const TODAY: &str = "2026-06-01";

fn record(id: &str, rest: &str) -> String {
    format!(
        r#"{{"id": "{id}", "modified": "2026-05-20T00:00:00Z", "summary": "Trouble in {id}", {rest}}}"#
    )
}

fn affected(name: &str, events: &str) -> String {
    format!(
        r#""affected": [{{"package": {{"ecosystem": "npm", "name": "{name}"}}, "ranges": [{{"type": "SEMVER", "events": [{events}]}}]}}]"#
    )
}

const CRITICAL: &str =
    r#""severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]"#;

fn bytes(records: &[String]) -> Vec<u8> {
    let mut builder = Builder::new();
    for text in records {
        for one in osv::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}")) {
            builder.add(one);
        }
    }
    builder.finish(day(TODAY)).expect("finish").0
}

fn database(records: &[String]) -> Database {
    Database::from_bytes(bytes(records)).expect("database")
}

fn lock(packages: &str) -> Locks {
    let text = format!(
        r#"{{"lockfileVersion": 3, "packages": {{"": {{"dependencies": {{"a": "*"}}}}, {packages}}}}}"#
    );
    let locks = collect([("web/package-lock.json", || {
        Ok::<_, String>(text.clone().into_bytes())
    })]);
    assert_eq!(locks.problems, []);
    locks
}

fn judged(records: &[String], packages: &str, preflight: &str) -> Verdict {
    let preflight: Preflight = serde_json::from_str(preflight).expect("preflight");
    judge(
        &lock(packages).packages,
        &database(records),
        &preflight,
        day(TODAY),
    )
}

const A_1: &str = r#""node_modules/a": {"version": "1.0.0", "dependencies": {"b": "*"}}, "node_modules/b": {"version": "2.0.0"}"#;

fn aliased() -> Vec<String> {
    vec![
        record(
            "GHSA-aaaa-bbbb-cccc",
            &format!(
                r#""aliases": ["CVE-2026-1"], {CRITICAL}, {}"#,
                affected("a", r#"{"introduced": "0"}, {"fixed": "1.2.0"}"#)
            ),
        ),
        record(
            "CVE-2026-1",
            &affected("a", r#"{"introduced": "0.5.0"}, {"fixed": "1.2.1"}"#),
        ),
        record(
            "XSEC-9",
            &format!(
                r#""aliases": ["CVE-2026-1"], {}"#,
                affected("a", r#"{"introduced": "0"}, {"last_affected": "1.1.0"}"#)
            ),
        ),
    ]
}

#[test]
fn records_of_one_vulnerability_count_once_with_the_worst_rating_and_a_version_that_mends_all() {
    let verdict = judged(&aliased(), A_1, "{}");
    assert_eq!(
        (verdict.refused.len(), verdict.warned.len()),
        (1, 0),
        "{verdict}"
    );
    let finding = &verdict.refused[0];
    assert_eq!(
        (finding.advisory.as_str(), finding.fixed.as_deref()),
        ("GHSA-aaaa-bbbb-cccc", Some("1.2.1"))
    );
    assert_eq!(finding.aliases, ["CVE-2026-1", "XSEC-9"]);
    assert_eq!(finding.remedy(), "in web: npm install a@1.2.1");
    // Version 1.2.0 is only touched by the record without a rating, which takes that of its alias.
    let later = judged(
        &aliased(),
        r#""node_modules/a": {"version": "1.2.0"}"#,
        "{}",
    );
    assert_eq!(later.refused.len(), 1);
    assert_eq!(later.refused[0].advisory, "CVE-2026-1");
    assert!(
        !judged(
            &aliased(),
            r#""node_modules/a": {"version": "1.2.1"}"#,
            "{}"
        )
        .is_refused()
    );
}

#[test]
fn two_vulnerabilities_joined_by_a_third_record_are_one() {
    let range = affected("a", r#"{"introduced": "0"}"#);
    let apart = [record("CVE-2026-1", &range), record("CVE-2026-2", &range)];
    assert_eq!(judged(&apart, A_1, "{}").warned.len(), 2);
    let mut joined = apart.to_vec();
    joined.push(record(
        "ZSA-1",
        &format!(r#""aliases": ["CVE-2026-1", "CVE-2026-2"], {range}"#),
    ));
    assert_eq!(judged(&joined, A_1, "{}").warned.len(), 1);
}

#[test]
fn withdrawn_records_accuse_nobody_and_lend_no_rating() {
    let range = affected("a", r#"{"introduced": "0"}"#);
    let records = [
        record(
            "GHSA-1",
            &format!(
                r#""withdrawn": "2026-01-01T00:00:00Z", "aliases": ["CVE-2026-1"], {CRITICAL}, {range}"#
            ),
        ),
        record("CVE-2026-1", &range),
    ];
    let verdict = judged(&records, A_1, "{}");
    assert_eq!((verdict.refused.len(), verdict.warned.len()), (0, 1));
    assert_eq!(
        (verdict.warned[0].severity, verdict.warned[0].aliases.len()),
        (Severity::Unknown, 0)
    );
    // An empty `withdrawn` is none.
    let null = [record(
        "GHSA-1",
        &format!(r#""withdrawn": null, {CRITICAL}, {range}"#),
    )];
    assert!(judged(&null, A_1, "{}").is_refused());
}

#[test]
fn only_critical_refuses() {
    let range = affected("a", r#"{"introduced": "0"}"#);
    for (rating, refused) in [
        (CRITICAL.to_owned(), true),
        (r#""database_specific": {"severity": "CRITICAL"}"#.to_owned(), true),
        (r#""database_specific": {"severity": "HIGH"}"#.to_owned(), false),
        (r#""database_specific": {"cvss_v3": 9.0}"#.to_owned(), true),
        (r#""database_specific": {"cvss": {"score": "8.9"}}"#.to_owned(), false),
        (r#""severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}]"#.to_owned(), true),
        (r#""severity": []"#.to_owned(), false),
    ] {
        let verdict = judged(&[record("X-1", &format!("{rating}, {range}"))], A_1, "{}");
        assert_eq!(verdict.is_refused(), refused, "{rating}");
        assert_eq!(verdict.refused.len() + verdict.warned.len(), 1, "{rating}");
    }
    let malware = judged(
        &[record(
            "MAL-2025-1",
            r#""affected": [{"package": {"ecosystem": "npm", "name": "b"}, "versions": ["2.0.0"]}]"#,
        )],
        A_1,
        "{}",
    );
    assert!(
        malware.is_refused(),
        "a malicious package is refused without a rating"
    );
    assert_eq!(malware.refused[0].via, ["a@1.0.0", "b@2.0.0"]);
    assert!(
        malware.to_string().contains("no fixed version is known"),
        "{malware}"
    );
}

#[test]
fn ranges_are_evaluated_as_osv_says() {
    // Unsorted events, several stretches, limits, a bound that is no version, a listed version.
    for (events, version, hit) in [
        (
            r#"{"fixed": "1.0.0"}, {"introduced": "0"}, {"introduced": "2.0.0"}, {"fixed": "2.1.0"}"#,
            "0.9.0",
            true,
        ),
        (
            r#"{"fixed": "1.0.0"}, {"introduced": "0"}, {"introduced": "2.0.0"}, {"fixed": "2.1.0"}"#,
            "1.5.0",
            false,
        ),
        (
            r#"{"fixed": "1.0.0"}, {"introduced": "0"}, {"introduced": "2.0.0"}, {"fixed": "2.1.0"}"#,
            "2.0.0",
            true,
        ),
        (
            r#"{"introduced": "1.0.0"}, {"last_affected": "1.5.0"}"#,
            "1.5.0",
            true,
        ),
        (
            r#"{"introduced": "1.0.0"}, {"last_affected": "1.5.0"}"#,
            "1.5.1",
            false,
        ),
        (r#"{"introduced": "0"}, {"limit": "2.0.0"}"#, "1.9.9", true),
        (r#"{"introduced": "0"}, {"limit": "2.0.0"}"#, "2.0.0", false),
        (r#"{"introduced": "0"}, {"limit": "*"}"#, "2.0.0", true),
        (
            r#"{"introduced": "0"}, {"fixed": "1.0.0"}"#,
            "1.0.0-rc.1",
            true,
        ),
        (
            r#"{"introduced": "0"}, {"fixed": "a commit"}"#,
            "1.0.0",
            false,
        ),
        (r#"{"introduced": "0", "fixed": "1.0.0"}"#, "1.0.0", false),
        (
            r#"{"introduced": "0"}"#,
            "git+ssh://git@example.invalid/a.git",
            false,
        ),
    ] {
        let packages = format!(r#""node_modules/a": {{"version": "{version}"}}"#);
        let verdict = judged(&[record("X-1", &affected("a", events))], &packages, "{}");
        assert_eq!(verdict.warned.len() == 1, hit, "{events} {version}");
    }
    let git = r#""affected": [{"package": {"ecosystem": "npm", "name": "a"}, "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}], "versions": null}]"#;
    assert!(judged(&[record("X-1", git)], A_1, "{}").warned.is_empty());
}

#[test]
fn a_project_may_ignore_by_any_name_until_a_day() {
    for (rules, ignored) in [
        (r#"["GHSA-aaaa-bbbb-cccc"]"#, true),
        (r#"["cve-2026-1"]"#, true),
        (r#"["npm:XSEC-9"]"#, true),
        (r#"["CVE-2026-11"]"#, false),
        (r#"[""]"#, false),
        (
            r#"[{"id": "CVE-2026-1", "reason": "not reachable", "until": "2026-06-01"}]"#,
            true,
        ),
        (
            r#"[{"id": "CVE-2026-1", "reason": "not reachable", "until": "2026-05-31"}]"#,
            false,
        ),
        (
            r#"[{"id": "CVE-2026-1", "until": "2026-05-31"}, "XSEC-9"]"#,
            true,
        ),
    ] {
        let verdict = judged(
            &aliased(),
            A_1,
            &format!(r#"{{"enabled": true, "ignored_rules": {rules}}}"#),
        );
        assert_eq!(
            (verdict.ignored.len() == 1, verdict.is_refused()),
            (ignored, !ignored),
            "{rules}: {verdict}"
        );
    }
    let old_spelling = judged(&aliased(), A_1, r#"{"ignore_rules": ["CVE-2026-1"]}"#);
    assert!(!old_spelling.is_refused());
    let off = judged(&aliased(), A_1, r#"{"enabled": false}"#);
    assert!(!off.is_refused() && !off.enabled && off.packages == 0);
    assert!(
        serde_json::from_str::<Preflight>(r#"{"ignored_rules": [{"id": "x", "until": "soon"}]}"#)
            .is_err()
    );
}

#[test]
fn people_read_what_where_why_and_the_command() {
    let verdict = judged(
        &aliased(),
        A_1,
        r#"{"ignored_rules": [{"id": "CVE-2026-1", "until": "2026-05-31"}]}"#,
    );
    assert_eq!(
        verdict.to_string(),
        "Checked 2 packages against 3 advisories of 2026-05-20.
E: a 1.0.0 has a known critical vulnerability, GHSA-aaaa-bbbb-cccc: Trouble in GHSA-aaaa-bbbb-cccc [SW-ADVISORY-CRITICAL]
    in:       web/package-lock.json:1 (asked for directly)
    fixed in: 1.2.1
    also:     CVE-2026-1, XSEC-9
    read:     https://github.com/advisories/GHSA-aaaa-bbbb-cccc
    note:     the ignore rule for it counted until 2026-05-31
    remedy:   in web: npm install a@1.2.1
To accept one for a time, add to the application: preflight: {enabled: true, ignored_rules: [{id: GHSA-aaaa-bbbb-cccc, reason: …, until: YYYY-MM-DD}]}
"
    );
    let json = serde_json::to_value(&verdict).expect("JSON");
    assert_eq!(json["refused"][0]["fixed"], "1.2.1");
    assert_eq!(json["refused"][0]["severity"], "critical");
    assert_eq!(json["database_date"], "2026-05-20");
    let hostile = record("X-1", &affected("a", r#"{"introduced": "0"}"#)).replace(
        "Trouble in X-1",
        "red \\u001b[31m and \\u202e turned\\nE: forged",
    );
    let text = judged(&[hostile], A_1, "{}").to_string();
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}') && text.lines().count() == 2,
        "{text}"
    );
}

#[test]
fn stale_data_warn_and_their_age_is_that_of_the_newest_record() {
    let database = database(&[record("X-1", &affected("a", r#"{"introduced": "0"}"#))]);
    assert_eq!(
        (database.date(), database.imported()),
        (day("2026-05-20"), day(TODAY))
    );
    for (today, stale) in [("2026-06-19", false), ("2026-06-20", true)] {
        let verdict = judge(&[], &database, &Preflight::default(), day(today));
        assert_eq!(verdict.stale, stale, "{today}");
        assert_eq!(verdict.to_string().contains("days old"), stale);
    }
    // A date in the future would keep the data fresh for ever.
    let future =
        record("X-1", &affected("a", r#"{"introduced": "0"}"#)).replace("2026-05-20", "9999-01-01");
    assert_eq!(self::database(&[future]).date(), day(TODAY));
}

#[test]
fn a_damaged_or_foreign_file_is_no_database() {
    let good = bytes(&aliased());
    assert!(Database::from_bytes(good.clone()).is_ok());
    assert_eq!(
        Database::from_bytes(Vec::new()).err(),
        Some(DatabaseError::NotADatabase)
    );
    assert_eq!(
        Database::from_bytes(b"{}".repeat(100)).err(),
        Some(DatabaseError::NotADatabase)
    );
    let mut other = good.clone();
    other[16] = 9;
    assert_eq!(
        Database::from_bytes(other).err(),
        Some(DatabaseError::OtherFormat(9))
    );
    for at in 20..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert!(Database::from_bytes(flipped).is_err(), "byte {at} flipped");
    }
    for length in 0..good.len() {
        assert!(
            Database::from_bytes(good[..length].to_vec()).is_err(),
            "cut at {length}"
        );
    }
    assert_eq!(
        bytes(&aliased()),
        good,
        "the same records give the same bytes"
    );
}

#[test]
fn the_newest_of_records_with_one_id_counts() {
    let old = record(
        "X-1",
        &affected("a", r#"{"introduced": "0"}, {"fixed": "1.1.0"}"#),
    );
    let new = record(
        "X-1",
        &affected("a", r#"{"introduced": "0"}, {"fixed": "1.3.0"}"#),
    )
    .replace("2026-05-20", "2026-05-21");
    for records in [[old.clone(), new.clone()], [new, old]] {
        assert_eq!(
            judged(&records, A_1, "{}").warned[0].fixed.as_deref(),
            Some("1.3.0")
        );
    }
}

#[test]
fn the_bill_of_materials_is_cyclonedx_and_the_same_each_time() {
    let subject = Subject {
        name: "shop".to_owned(),
        version: "4be01c9".to_owned(),
    };
    let mut packages = lock(A_1).packages;
    let bill = cyclonedx(&subject, &packages);
    packages.reverse();
    assert_eq!(
        bill,
        cyclonedx(&subject, &packages),
        "the order of packages does not matter"
    );
    let json: serde_json::Value = serde_json::from_slice(&bill).expect("JSON");
    assert_eq!(
        (json["bomFormat"].as_str(), json["specVersion"].as_str()),
        (Some("CycloneDX"), Some("1.6"))
    );
    assert_eq!(json["components"][0]["purl"], "pkg:npm/a@1.0.0");
    assert_eq!(json["components"][0]["bom-ref"], "pkg:npm/a@1.0.0");
    assert_eq!(
        json["components"][1]["evidence"]["occurrences"][0]["location"],
        "web/package-lock.json"
    );
    let serial = json["serialNumber"].as_str().expect("serial");
    assert!(
        serial.len() == 45 && serial.starts_with("urn:uuid:"),
        "{serial}"
    );
    let other = cyclonedx(&subject, &packages[..1]);
    assert_ne!(
        serde_json::from_slice::<serde_json::Value>(&other).expect("JSON")["serialNumber"],
        json["serialNumber"]
    );
}
