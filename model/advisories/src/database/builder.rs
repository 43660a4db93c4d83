//! Collects advisories and writes the database file.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Database;
use super::codec::{FORMAT, MAGIC, Writer};
use crate::advisory::{Advisory, Affected, in_range};
use crate::date::Date;
use crate::osv::Record;
use crate::problem::clean;
use crate::severity::Severity;
use crate::version::Version;

/// Complaints about unreadable records that are kept; the rest are only counted.
const BROKEN_KEPT: usize = 20;

/// What an import met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Advisories taken in.
    pub advisories: usize,
    /// Taken back by their source.
    pub withdrawn: usize,
    /// Of ecosystems that the gate does not know.
    pub foreign: usize,
    /// Same id met again; the newer one was kept.
    pub repeated: usize,
    /// Records that could not be read.
    pub broken: usize,
    /// What was wrong with the first of them.
    pub complaints: Vec<String>,
}

/// Takes advisories one by one.
#[derive(Debug, Default)]
pub struct Builder {
    advisories: BTreeMap<String, Advisory>,
    newest: Option<Date>,
    counts: Counts,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    pub fn add(&mut self, record: Record) {
        match record {
            Record::Advisory(advisory) => {
                self.newest = self.newest.max(advisory.modified);
                match self.advisories.get(&advisory.id) {
                    Some(known) if known.modified > advisory.modified => self.counts.repeated += 1,
                    Some(_) => {
                        self.counts.repeated += 1;
                        self.advisories
                            .insert(advisory.id.clone(), compact(advisory));
                    }
                    None => drop(
                        self.advisories
                            .insert(advisory.id.clone(), compact(advisory)),
                    ),
                }
            }
            Record::Withdrawn(date) => {
                self.counts.withdrawn += 1;
                self.newest = self.newest.max(date);
            }
            Record::Foreign(date) => {
                self.counts.foreign += 1;
                self.newest = self.newest.max(date);
            }
        }
    }

    /// Records met so far, of every kind.
    pub fn seen(&self) -> usize {
        self.advisories.len()
            + self.counts.withdrawn
            + self.counts.foreign
            + self.counts.repeated
            + self.counts.broken
    }

    /// Notes a record that could not be read.
    pub fn broken(&mut self, place: &str, error: &str) {
        self.counts.broken += 1;
        if self.counts.complaints.len() < BROKEN_KEPT {
            self.counts
                .complaints
                .push(clean(&format!("{place}: {error}"), 300));
        }
    }

    /// The bytes of the database file and what was met on the way.
    pub fn finish(mut self, imported: Date) -> Result<(Vec<u8>, Counts), String> {
        self.counts.advisories = self.advisories.len();
        let ratings = ratings(&self.advisories);
        let mut index: BTreeMap<(u8, String), Vec<(u32, Affected)>> = BTreeMap::new();
        let mut texts = Writer::default();
        let mut text_offsets = vec![0];
        for (at, (_, mut advisory)) in std::mem::take(&mut self.advisories).into_iter().enumerate()
        {
            let at = u32::try_from(at).map_err(|_| "more than 4 294 967 295 advisories")?;
            let borrowed = borrowed_rating(&advisory, &ratings);
            if advisory.severity == Severity::Unknown {
                advisory.severity = borrowed;
            }
            texts.text(&advisory.id);
            texts.text(&advisory.summary);
            texts.text(&advisory.url);
            texts.texts(&advisory.aliases);
            texts.texts(&advisory.labels);
            texts.0.push(advisory.severity.code());
            text_offsets.push(offset(&texts)?);
            for mut affected in advisory.affected {
                if affected.severity == Severity::Unknown {
                    affected.severity = advisory.severity;
                }
                let key = (
                    affected.ecosystem.code(),
                    std::mem::take(&mut affected.name),
                );
                index.entry(key).or_default().push((at, affected));
            }
        }
        let mut packages = Writer::default();
        let mut package_offsets = vec![0];
        for ((code, name), entries) in &index {
            packages.0.push(*code);
            packages.text(name);
            packages.count(entries.len());
            for (at, affected) in entries {
                packages.number(*at);
                packages.affected(affected);
            }
            package_offsets.push(offset(&packages)?);
        }
        let mut body = Vec::with_capacity(
            texts.0.len()
                + packages.0.len()
                + 4 * (text_offsets.len() + package_offsets.len())
                + 16,
        );
        for count in [text_offsets.len() - 1, package_offsets.len() - 1] {
            body.extend(
                u32::try_from(count)
                    .map_err(|_| "too many packages")?
                    .to_le_bytes(),
            );
        }
        body.extend(imported.days().to_le_bytes());
        body.extend(self.newest.map_or(i32::MIN, Date::days).to_le_bytes());
        for offset in text_offsets.iter().chain(&package_offsets) {
            body.extend(offset.to_le_bytes());
        }
        body.extend(texts.0);
        body.extend(packages.0);

        let mut file = Vec::with_capacity(body.len() + super::HEADER_BYTES);
        file.extend(MAGIC);
        file.extend(FORMAT.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        file.extend(
            u64::try_from(body.len())
                .map_err(|_| "too large")?
                .to_le_bytes(),
        );
        file.extend(Sha256::digest(&body));
        file.extend(body);
        let database = Database::from_bytes(file).map_err(|error| error.to_string())?;
        database
            .check()
            .ok_or("the database could not be read back")?;
        Ok((database.bytes, self.counts))
    }
}

fn offset(writer: &Writer) -> Result<u32, String> {
    u32::try_from(writer.0.len()).map_err(|_| "the database would be larger than 4 GiB".to_owned())
}

/// Drops the `versions` that the ranges cover anyway; PyPI and Maven list every one.
fn compact(mut advisory: Advisory) -> Advisory {
    for affected in &mut advisory.affected {
        let (ecosystem, ranges) = (affected.ecosystem, &affected.ranges);
        affected
            .versions
            .retain(|text| match Version::parse(ecosystem, text) {
                Some(version) => !ranges
                    .iter()
                    .any(|events| in_range(ecosystem, events, &version)),
                None => text.len() <= 256,
            });
        affected.versions.sort();
        affected.versions.dedup();
    }
    advisory
}

/// The highest rating under each name of a vulnerability.
fn ratings(advisories: &BTreeMap<String, Advisory>) -> BTreeMap<String, Severity> {
    let mut ratings: BTreeMap<String, Severity> = BTreeMap::new();
    for advisory in advisories
        .values()
        .filter(|advisory| advisory.severity != Severity::Unknown)
    {
        for name in advisory.aliases.iter().chain([&advisory.id]) {
            let known = ratings.entry(name.clone()).or_default();
            *known = (*known).max(advisory.severity);
        }
    }
    ratings
}

/// What other sources say of the same vulnerability: FriendsOfPHP and Go rate nothing themselves.
fn borrowed_rating(advisory: &Advisory, ratings: &BTreeMap<String, Severity>) -> Severity {
    advisory
        .aliases
        .iter()
        .chain([&advisory.id])
        .filter_map(|name| ratings.get(name))
        .copied()
        .max()
        .unwrap_or_default()
}
