//! One advisory, from whichever source, in one shape.

use crate::date::Date;
use crate::ecosystem::Ecosystem;
use crate::severity::Severity;
use crate::version::Version;

/// What a source says about one vulnerability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    pub id: String,
    /// Other names of the same vulnerability; records sharing one are counted once.
    pub aliases: Vec<String>,
    /// Names an ignore rule may use but that may cover several vulnerabilities (`SA-CORE-2018-006`).
    pub labels: Vec<String>,
    pub summary: String,
    pub url: String,
    pub severity: Severity,
    pub modified: Option<Date>,
    pub affected: Vec<Affected>,
}

/// The versions of one package that are affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    pub ecosystem: Ecosystem,
    /// In the spelling of [`Ecosystem::normal_name`].
    pub name: String,
    pub severity: Severity,
    pub ranges: Vec<Vec<Event>>,
    /// Affected versions named one by one, beside the ranges.
    pub versions: Vec<String>,
}

/// Where, on the line of versions, being affected begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Affected from this version on; `0` is before every version.
    Introduced,
    /// Affected after this version; OSV has no such event, FriendsOfPHP writes `>`.
    After,
    /// Not affected from this version on.
    Fixed,
    /// Not affected after this version.
    LastAffected,
    /// The range says nothing about this version and later ones.
    Limit,
}

impl Event {
    pub fn new(kind: EventKind, version: impl Into<String>) -> Event {
        Event {
            kind,
            version: version.into(),
        }
    }
}

impl Affected {
    /// OSV's evaluation: named in `versions`, or inside any range.
    pub fn covers(&self, installed: &str, parsed: Option<&Version>) -> bool {
        let named = self.versions.iter().any(|one| {
            one == installed
                || parsed.is_some_and(|parsed| {
                    Version::parse(self.ecosystem, one).as_ref() == Some(parsed)
                })
        });
        named
            || parsed.is_some_and(|parsed| {
                self.ranges
                    .iter()
                    .any(|events| in_range(self.ecosystem, events, parsed))
            })
    }

    /// Every version that ends a range, for the search of a fixed one.
    pub fn fixes(&self) -> impl Iterator<Item = &str> {
        self.ranges
            .iter()
            .flatten()
            .filter(|event| event.kind == EventKind::Fixed)
            .map(|event| event.version.as_str())
    }
}

/// Whether one range of events covers a version.
///
/// A bound that is no version of the ecosystem voids the whole range: half a range would accuse the innocent.
pub fn in_range(ecosystem: Ecosystem, events: &[Event], version: &Version) -> bool {
    let mut points = Vec::with_capacity(events.len());
    let mut limited = false;
    let mut below_limit = false;
    for event in events {
        let at = if event.version == "0" && event.kind == EventKind::Introduced {
            None
        } else if event.kind == EventKind::Limit && event.version == "*" {
            (limited, below_limit) = (true, true);
            continue;
        } else {
            match Version::parse(ecosystem, &event.version) {
                Some(at) => Some(at),
                None => return false,
            }
        };
        if event.kind == EventKind::Limit {
            limited = true;
            below_limit |= at.is_some_and(|at| *version < at);
            continue;
        }
        points.push((at, event.kind));
    }
    if limited && !below_limit {
        return false;
    }
    points.sort_by(|left, right| left.0.cmp(&right.0));
    let mut covered = false;
    for (at, kind) in &points {
        let Some(at) = at else {
            covered = true;
            continue;
        };
        match kind {
            EventKind::Introduced if version >= at => covered = true,
            EventKind::After if version > at => covered = true,
            EventKind::Fixed if version >= at => covered = false,
            EventKind::LastAffected if version > at => covered = false,
            _ => {}
        }
    }
    covered
}
