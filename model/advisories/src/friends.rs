//! The YAML tree of FriendsOfPHP/security-advisories to [`Advisory`].
//!
//! The format has no severity. Only Drupal's titles carry one; every other entry stays unrated, which warns,
//! unless an OSV record of the same CVE rates it (see `database::Builder`).

use serde::Deserialize;
use serde_json::Value;

use crate::advisory::{Advisory, Affected, Event, EventKind};
use crate::date::Date;
use crate::ecosystem::Ecosystem;
use crate::osv::label_of_url;
use crate::problem::clean;
use crate::severity::Severity;

/// The largest entry that is read; real ones are under 4 KB.
const ENTRY_BYTES_MAX: usize = 256 << 10;

#[derive(Deserialize)]
struct Entry {
    title: Option<String>,
    link: Option<String>,
    cve: Option<String>,
    branches: std::collections::BTreeMap<String, Branch>,
    reference: String,
}

#[derive(Deserialize)]
struct Branch {
    time: Option<Value>,
    versions: Vec<String>,
}

/// Reads one file; `path` is its place in the tree, `vendor/package/name.yaml`.
pub fn read(path: &str, bytes: &[u8]) -> Result<Advisory, String> {
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(format!("larger than {ENTRY_BYTES_MAX} bytes"));
    }
    let entry: Entry = serde_yaml::from_slice(bytes).map_err(|error| error.to_string())?;
    let name = entry
        .reference
        .strip_prefix("composer://")
        .ok_or("`reference` is no composer:// package")?;
    let name = Ecosystem::Packagist.normal_name(name);
    let stem = path.rsplit('/').next().unwrap_or(path);
    let stem = stem
        .strip_suffix(".yaml")
        .or_else(|| stem.strip_suffix(".yml"))
        .unwrap_or(stem);
    let title = entry.title.unwrap_or_default();
    let link = entry.link.unwrap_or_default();

    let mut aliases: Vec<String> = entry
        .cve
        .iter()
        .filter(|cve| is_cve(cve))
        .cloned()
        .collect();
    // GitHub gives one id to one vulnerability; the file name or the link then names the same.
    for text in [stem, link.rsplit('/').next().unwrap_or_default()] {
        if text.starts_with("GHSA-") && text.len() == 19 {
            aliases.push(text.to_owned());
        }
    }
    aliases.sort();
    aliases.dedup();
    let mut labels: Vec<String> = label_of_url(link.trim()).into_iter().collect();
    labels.extend(
        title
            .split_whitespace()
            .filter(|word| word.starts_with("SA-") || word.starts_with("TYPO3-"))
            .map(str::to_owned),
    );
    if !stem.starts_with(|letter: char| letter.is_ascii_digit()) {
        labels.push(stem.to_owned());
    }
    labels.retain(|label| !aliases.contains(label));
    labels.sort();
    labels.dedup();

    let ranges = entry
        .branches
        .values()
        .map(|branch| range(&branch.versions))
        .collect::<Result<Vec<_>, String>>()?;
    let times = entry.branches.values().filter_map(|branch| {
        branch
            .time
            .as_ref()
            .and_then(Value::as_str)
            .and_then(Date::read)
    });
    let severity = if name.starts_with("drupal/") {
        Severity::from_drupal_title(&title)
    } else {
        Severity::Unknown
    };
    Ok(Advisory {
        id: format!("FriendsOfPHP/{name}/{stem}"),
        aliases,
        labels,
        summary: clean(title.trim(), 200),
        url: link.trim().to_owned(),
        severity,
        modified: times.max(),
        affected: vec![Affected {
            ecosystem: Ecosystem::Packagist,
            name,
            severity,
            ranges,
            versions: Vec::new(),
        }],
    })
}

/// `CVE-2022-24828`, not the placeholder `CVE-2022-xxxxx`.
fn is_cve(text: &str) -> bool {
    let Some((year, number)) = text
        .strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(year) && digits(number)
}

/// `['>=2.0', '<2.2.12']` as events.
fn range(bounds: &[String]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut open_below = true;
    for bound in bounds {
        let bound = bound.trim();
        let cut = bound
            .find(|letter| !matches!(letter, '<' | '>' | '='))
            .ok_or_else(|| format!("`{bound}` is no bound"))?;
        let (operator, version) = (&bound[..cut], bound[cut..].trim());
        let event = match operator {
            // Composer takes the pre-releases of a lower bound with it; so do we.
            ">=" if version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
            {
                Event::new(EventKind::Introduced, format!("{version}-dev"))
            }
            ">=" => Event::new(EventKind::Introduced, version),
            ">" => Event::new(EventKind::After, version),
            "<" => Event::new(EventKind::Fixed, version),
            "<=" => Event::new(EventKind::LastAffected, version),
            "=" | "==" | "" => {
                events.push(Event::new(EventKind::Introduced, version));
                Event::new(EventKind::LastAffected, version)
            }
            _ => return Err(format!("`{bound}` is no bound")),
        };
        open_below &= matches!(event.kind, EventKind::Fixed | EventKind::LastAffected)
            && !matches!(operator, "=" | "==" | "");
        events.push(event);
    }
    if open_below {
        events.insert(0, Event::new(EventKind::Introduced, "0"));
    }
    Ok(events)
}
