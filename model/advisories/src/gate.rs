//! Judges packages: what is refused, what only warns, what the project chose to ignore.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::advisory::{Advisory, Affected};
use crate::database::Database;
use crate::date::Date;
use crate::ecosystem::Ecosystem;
use crate::package::{Package, Reach};
use crate::severity::Severity;
use crate::version::Version;

/// The `preflight` key of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default, alias = "ignore_rules")]
    pub ignored_rules: Vec<Ignore>,
}

fn yes() -> bool {
    true
}

impl Default for Preflight {
    fn default() -> Preflight {
        Preflight {
            enabled: true,
            ignored_rules: Vec::new(),
        }
    }
}

/// An advisory that the project lives with: `drupal:SA-CORE-2014-005`, or `{id, reason, until}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ignore {
    /// Any name of the vulnerability; a word and a colon may stand before it.
    pub id: String,
    pub reason: Option<String>,
    /// The last day on which the rule counts.
    pub until: Option<Date>,
}

impl From<&str> for Ignore {
    fn from(id: &str) -> Ignore {
        Ignore {
            id: id.to_owned(),
            reason: None,
            until: None,
        }
    }
}

impl<'de> Deserialize<'de> for Ignore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ignore, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Id(String),
            Rule {
                id: String,
                #[serde(default)]
                reason: Option<String>,
                #[serde(default)]
                until: Option<Date>,
            },
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Id(id) => Ignore {
                id,
                reason: None,
                until: None,
            },
            Written::Rule { id, reason, until } => Ignore { id, reason, until },
        })
    }
}

impl Ignore {
    fn names(&self, id: &str) -> bool {
        let wanted = self.id.trim();
        let bare = wanted.rsplit(':').next().unwrap_or(wanted);
        !bare.is_empty() && (id.eq_ignore_ascii_case(bare) || id.eq_ignore_ascii_case(wanted))
    }

    fn counts_on(&self, today: Date) -> bool {
        self.until.is_none_or(|until| today <= until)
    }
}

/// One vulnerability in one installed package, however many records tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub severity: Severity,
    pub ecosystem: Ecosystem,
    pub package: String,
    pub installed: String,
    /// The lowest version above the installed one that no record of this vulnerability covers.
    pub fixed: Option<String>,
    pub file: String,
    pub line: Option<u32>,
    pub reach: Reach,
    pub development: bool,
    pub via: Vec<String>,
    pub advisory: String,
    pub aliases: Vec<String>,
    pub summary: String,
    pub url: String,
    /// The command that upgrades, for the folder of the lock file.
    pub upgrade: Option<String>,
    /// The rule of the project that applies, or applied until it ran out.
    pub rule: Option<Ignore>,
}

/// The answer of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// False when the project turned the check off; then nothing was looked at.
    pub enabled: bool,
    /// Packages that were looked at.
    pub packages: usize,
    pub advisories: usize,
    pub refused: Vec<Finding>,
    pub warned: Vec<Finding>,
    pub ignored: Vec<Finding>,
    pub database_date: Date,
    pub stale: bool,
    pub age_days: u32,
}

impl Verdict {
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }
}

/// Judges the packages of a tree.
///
/// Critical refuses, also in a development dependency, since the build installs and runs those too. Everything
/// else warns, and so does a vulnerability that no source rates.
pub fn judge(
    packages: &[Package],
    database: &Database,
    preflight: &Preflight,
    today: Date,
) -> Verdict {
    let mut verdict = Verdict {
        enabled: preflight.enabled,
        packages: 0,
        advisories: database.len(),
        refused: Vec::new(),
        warned: Vec::new(),
        ignored: Vec::new(),
        database_date: database.date(),
        stale: database.is_stale(today),
        age_days: today.days_since(database.date()),
    };
    if !preflight.enabled {
        return verdict;
    }
    verdict.packages = packages.len();
    let mut texts: BTreeMap<u32, Option<Advisory>> = BTreeMap::new();
    for package in packages {
        let version = Version::parse(package.ecosystem, &package.version);
        let hits = database.hits(
            package.ecosystem,
            &package.ecosystem.normal_name(&package.name),
        );
        let mut matched = Vec::new();
        for hit in hits {
            if hit.affected.covers(&package.version, version.as_ref())
                && let Some(advisory) = texts
                    .entry(hit.advisory)
                    .or_insert_with(|| database.advisory(hit.advisory))
                    .clone()
            {
                matched.push((advisory, hit.affected));
            }
        }
        for group in groups(matched) {
            place(
                &mut verdict,
                finding(package, version.as_ref(), &group),
                preflight,
                today,
            );
        }
    }
    for list in [
        &mut verdict.refused,
        &mut verdict.warned,
        &mut verdict.ignored,
    ] {
        list.sort_by(|left, right| {
            let key = |finding: &Finding| {
                (
                    finding.file.clone(),
                    finding.package.clone(),
                    finding.installed.clone(),
                    finding.advisory.clone(),
                )
            };
            right
                .severity
                .cmp(&left.severity)
                .then_with(|| key(left).cmp(&key(right)))
        });
    }
    verdict
}

type Match = (Advisory, Affected);

/// Records that share a name tell of one vulnerability.
fn groups(matched: Vec<Match>) -> Vec<Vec<Match>> {
    let mut groups: Vec<(BTreeSet<String>, Vec<Match>)> = Vec::new();
    for one in matched {
        let mut names: BTreeSet<String> =
            one.0.aliases.iter().chain([&one.0.id]).cloned().collect();
        let mut members = vec![one];
        // A record may join groups that were apart until now.
        for at in (0..groups.len()).rev() {
            if !groups[at].0.is_disjoint(&names) {
                let (more_names, more) = groups.swap_remove(at);
                names.extend(more_names);
                members.extend(more);
            }
        }
        groups.push((names, members));
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn finding(package: &Package, installed: Option<&Version>, group: &[Match]) -> Finding {
    let best = group.iter().max_by_key(|(advisory, affected)| {
        (
            affected.severity,
            std::cmp::Reverse(source_rank(&advisory.id)),
            std::cmp::Reverse(&advisory.id),
        )
    });
    // A group is never empty: it began with a match.
    let Some((advisory, _)) = best else {
        unreachable!("a group of no records")
    };
    let mut names: BTreeSet<&String> = BTreeSet::new();
    for (advisory, _) in group {
        names.extend(
            advisory
                .aliases
                .iter()
                .chain(&advisory.labels)
                .chain([&advisory.id]),
        );
    }
    let id = match advisory.id.starts_with("FriendsOfPHP/") {
        true => advisory.aliases.first().unwrap_or(&advisory.id),
        false => &advisory.id,
    };
    let first = |text: fn(&Advisory) -> &String| {
        let others = group.iter().map(|(advisory, _)| text(advisory));
        [text(advisory)]
            .into_iter()
            .chain(others)
            .find(|text| !text.is_empty())
            .cloned()
            .unwrap_or_default()
    };
    let fixed = installed.and_then(|installed| fixed_version(package.ecosystem, installed, group));
    let severity = group
        .iter()
        .map(|(_, affected)| affected.severity)
        .max()
        .unwrap_or_default();
    Finding {
        code: if severity == Severity::Critical {
            "SW-ADVISORY-CRITICAL"
        } else {
            "SW-ADVISORY"
        },
        severity,
        ecosystem: package.ecosystem,
        package: package.name.clone(),
        installed: package.version.clone(),
        upgrade: fixed.as_ref().map(|fixed| package.upgrade_command(fixed)),
        fixed,
        file: package.file.clone(),
        line: package.line,
        reach: package.reach,
        development: package.development,
        via: package.via.clone(),
        advisory: id.clone(),
        aliases: names
            .into_iter()
            .filter(|name| *name != id)
            .cloned()
            .collect(),
        summary: first(|advisory| &advisory.summary),
        url: first(|advisory| &advisory.url),
        rule: None,
    }
}

/// GitHub's id is the one that tools print; FriendsOfPHP has no ids of its own.
fn source_rank(id: &str) -> u8 {
    match id {
        _ if id.starts_with("GHSA-") => 0,
        _ if id.starts_with("CVE-") => 1,
        _ if id.starts_with("FriendsOfPHP/") => 3,
        _ => 2,
    }
}

/// The lowest end of a range that lies above the installed version and in no range itself.
fn fixed_version(ecosystem: Ecosystem, installed: &Version, group: &[Match]) -> Option<String> {
    let mut candidates: Vec<(Version, &str)> = group
        .iter()
        .flat_map(|(_, affected)| affected.fixes())
        .filter(|text| !is_never(text))
        .filter_map(|text| Some((Version::parse(ecosystem, text)?, text)))
        .filter(|(version, _)| version > installed)
        .collect();
    candidates.sort();
    candidates
        .into_iter()
        .find(|(version, text)| {
            !group
                .iter()
                .any(|(_, affected)| affected.covers(text, Some(version)))
        })
        .map(|(_, text)| text.to_owned())
}

/// `2.0.99` is how some sources write "never fixed in this line".
fn is_never(version: &str) -> bool {
    let mut parts = version.split('.');
    let last = parts.next_back().unwrap_or_default();
    parts.next().is_some() && last.len() >= 2 && last.bytes().all(|byte| byte == b'9')
}

fn place(verdict: &mut Verdict, mut finding: Finding, preflight: &Preflight, today: Date) {
    let applies = |rule: &&Ignore| {
        rule.names(&finding.advisory) || finding.aliases.iter().any(|alias| rule.names(alias))
    };
    let rules: Vec<&Ignore> = preflight.ignored_rules.iter().filter(applies).collect();
    let rule = rules
        .iter()
        .find(|rule| rule.counts_on(today))
        .or(rules.first())
        .map(|rule| (*rule).clone());
    let ignored = rule.as_ref().is_some_and(|rule| rule.counts_on(today));
    finding.rule = rule;
    if ignored {
        verdict.ignored.push(finding);
    } else if finding.severity == Severity::Critical {
        verdict.refused.push(finding);
    } else {
        verdict.warned.push(finding);
    }
}
