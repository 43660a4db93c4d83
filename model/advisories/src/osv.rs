//! OSV records: JSON (or PyPA's YAML of the same form) to [`Advisory`].

use serde_json::Value;

use crate::advisory::{Advisory, Affected, Event, EventKind};
use crate::date::Date;
use crate::ecosystem::Ecosystem;
use crate::problem::clean;
use crate::severity::Severity;

/// The longest summary that is kept; the rest is behind the link.
const SUMMARY_LETTERS_MAX: usize = 200;

/// The largest record that is read. The largest public one (kernel lists) is near 3 MB.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// What became of one record.
#[derive(Debug)]
pub enum Record {
    Advisory(Advisory),
    /// Taken back by its source; its date still tells how fresh the source is.
    Withdrawn(Option<Date>),
    /// Of ecosystems that the gate does not know.
    Foreign(Option<Date>),
}

/// Reads a file: one record, a list of records, or `{"vulns": [...]}`.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(format!("larger than {RECORD_BYTES_MAX} bytes"));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    read_value(&value)
}

/// The same for a value that came from YAML.
pub fn read_value(value: &Value) -> Result<Vec<Record>, String> {
    match value.get("vulns").unwrap_or(value) {
        Value::Array(list) => list.iter().map(record).collect(),
        one => Ok(vec![record(one)?]),
    }
}

fn record(value: &Value) -> Result<Record, String> {
    let id = text(value, "id")
        .filter(|id| !id.is_empty() && id.len() <= 128)
        .ok_or("no `id`: not an OSV record")?;
    let modified = text(value, "modified")
        .and_then(Date::read)
        .or_else(|| text(value, "published").and_then(Date::read));
    if value.get("withdrawn").is_some_and(|at| !at.is_null()) {
        return Ok(Record::Withdrawn(modified));
    }
    let severity = severity(value, id);
    let mut affected: Vec<Affected> = Vec::new();
    for entry in list(value, "affected") {
        if let Some(one) = affected_entry(entry, severity) {
            // GitHub gives each range an entry of its own: one package, one entry here.
            match affected
                .iter_mut()
                .find(|known| known.ecosystem == one.ecosystem && known.name == one.name)
            {
                Some(known) => {
                    known.ranges.extend(one.ranges);
                    known.versions.extend(one.versions);
                    known.severity = known.severity.max(one.severity);
                }
                None => affected.push(one),
            }
        }
    }
    if affected.is_empty() {
        return Ok(Record::Foreign(modified));
    }
    let details = text(value, "details").unwrap_or_default();
    let summary = text(value, "summary")
        .filter(|summary| !summary.trim().is_empty())
        .unwrap_or(details);
    let mut aliases: Vec<String> = list(value, "aliases")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    aliases.retain(|alias| alias != id && alias.len() <= 128);
    aliases.sort();
    aliases.dedup();
    Ok(Record::Advisory(Advisory {
        id: id.to_owned(),
        labels: labels(id, value),
        aliases,
        summary: clean(summary.trim(), SUMMARY_LETTERS_MAX),
        url: url(id, value),
        severity,
        modified,
        affected,
    }))
}

fn affected_entry(entry: &Value, severity: Severity) -> Option<Affected> {
    let package = entry.get("package")?;
    let ecosystem = Ecosystem::from_osv(text(package, "ecosystem")?)?;
    let name = ecosystem.normal_name(text(package, "name")?);
    if name.is_empty() || name.len() > 512 {
        return None;
    }
    let own = vectors(entry)
        .max(specific(entry.get("database_specific")))
        .max(specific(entry.get("ecosystem_specific")));
    let ranges = list(entry, "ranges")
        .iter()
        .filter(|range| text(range, "type") != Some("GIT"))
        .map(|range| {
            list(range, "events")
                .iter()
                .flat_map(events)
                .collect::<Vec<Event>>()
        })
        .filter(|events| !events.is_empty())
        .collect();
    let versions = list(entry, "versions")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    Some(Affected {
        ecosystem,
        name,
        severity: severity.max(own),
        ranges,
        versions,
    })
}

/// One object is one event by the specification; some databases put two into one.
fn events(event: &Value) -> Vec<Event> {
    [
        ("introduced", EventKind::Introduced),
        ("fixed", EventKind::Fixed),
        ("last_affected", EventKind::LastAffected),
        ("limit", EventKind::Limit),
    ]
    .into_iter()
    .filter_map(|(key, kind)| Some(Event::new(kind, text(event, key)?.trim())))
    .collect()
}

/// The highest of all ratings a record carries: vectors, the database's word, its score.
fn severity(value: &Value, id: &str) -> Severity {
    // OpenSSF's malicious packages carry no rating. Installed, they are as bad as it gets.
    if id.starts_with("MAL-") {
        return Severity::Critical;
    }
    let drupal = id.starts_with("DRUPAL-") || id.starts_with("SA-");
    let title = if drupal {
        Severity::from_drupal_title(text(value, "summary").unwrap_or_default())
    } else {
        Severity::Unknown
    };
    vectors(value)
        .max(specific(value.get("database_specific")))
        .max(title)
}

fn vectors(value: &Value) -> Severity {
    let rate = |one: &Value| {
        let score = text(one, "score").unwrap_or_default();
        Severity::from_vector(score).max(Severity::from_word(score))
    };
    list(value, "severity")
        .iter()
        .map(rate)
        .max()
        .unwrap_or_default()
}

/// `database_specific`: `severity` (a word), `cvss_v3: 9.8`, `cvss: {score, vectorString}`.
fn specific(value: Option<&Value>) -> Severity {
    let Some(value) = value else {
        return Severity::Unknown;
    };
    let word = text(value, "severity")
        .map(Severity::from_word)
        .unwrap_or_default();
    let scored = ["cvss", "cvss_v2", "cvss_v3", "cvss_v4", "cvss_score"]
        .into_iter()
        .filter_map(|key| value.get(key))
        .map(score);
    scored.max().unwrap_or_default().max(word)
}

fn score(value: &Value) -> Severity {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map(Severity::from_score)
            .unwrap_or_default(),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => Severity::from_score(number),
            Err(_) => Severity::from_vector(text),
        },
        Value::Object(object) => ["score", "baseScore", "vectorString", "vector"]
            .into_iter()
            .filter_map(|key| object.get(key))
            .filter(|inner| !inner.is_object())
            .map(score)
            .max()
            .unwrap_or_default(),
        _ => Severity::Unknown,
    }
}

/// `DRUPAL-CORE-2018-002` is `SA-CORE-2018-002` to everyone who reads drupal.org.
fn labels(id: &str, value: &Value) -> Vec<String> {
    let mut labels: Vec<String> = id
        .strip_prefix("DRUPAL-")
        .map(|rest| format!("SA-{rest}"))
        .into_iter()
        .collect();
    for reference in list(value, "references") {
        labels.extend(text(reference, "url").and_then(label_of_url));
    }
    labels.retain(|label| label != id);
    labels.sort();
    labels.dedup();
    labels
}

/// The advisory number at the end of the link of a vendor that numbers its bulletins.
pub(crate) fn label_of_url(url: &str) -> Option<String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let last = rest.trim_end_matches('/').rsplit('/').next()?;
    let last = last
        .split(['?', '#'])
        .next()?
        .trim_end_matches(".html")
        .to_ascii_uppercase();
    let numbered = [
        "SA-CORE-",
        "SA-CONTRIB-",
        "TYPO3-",
        "SS-",
        "ZF20",
        "APSB",
        "SUPEE-",
        "GHSA-",
    ]
    .iter()
    .any(|start| last.starts_with(start));
    (numbered && last.len() <= 64 && last.bytes().any(|byte| byte.is_ascii_digit())).then_some(last)
}

/// The page to read: the advisory itself if a reference says which, else the public OSV page.
fn url(id: &str, value: &Value) -> String {
    let references = list(value, "references");
    let of_kind = |kind: &str| {
        references
            .iter()
            .find(|one| text(one, "type") == Some(kind))
            .and_then(|one| text(one, "url"))
            .filter(|url| url.len() <= 500)
    };
    let own = value
        .get("database_specific")
        .and_then(|specific| text(specific, "url"));
    match (
        id.starts_with("GHSA-"),
        own,
        of_kind("ADVISORY"),
        of_kind("WEB"),
    ) {
        (true, ..) => format!("https://github.com/advisories/{id}"),
        (_, Some(own), ..) => own.to_owned(),
        (_, _, Some(advisory), _) => advisory.to_owned(),
        (_, _, None, Some(web)) if !id.starts_with("PYSEC-") => web.to_owned(),
        _ => format!("https://osv.dev/vulnerability/{id}"),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
