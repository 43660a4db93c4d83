//! Small checks of single values: names, paths, addresses, dates.

use crate::app_shape::SIZES;
use crate::codes;
use crate::near::nearest;
use crate::node::{At, Node};
use crate::shape::{Judge, short};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Names of the IANA time zone database (public domain), one a line.
static TIMEZONES: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| include_str!("timezones.txt").lines().collect());
const FLAVORS: &[&str] = &["composer", "drupal", "symfony", "default", "none"];
const LANGUAGES: &[&str] = &[
    "php", "python", "python2", "python3", "ruby", "nodejs", "java",
];
/// A label of a host name.
const NAME_BYTES_MAX: usize = 63;

fn word(node: &Node) -> &str {
    node.text().unwrap_or_default()
}

pub(crate) fn app_size(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if !SIZES.contains(&word(node)) {
        let suggestion = SIZES
            .iter()
            .find(|size| size.eq_ignore_ascii_case(word(node)))
            .map(|size| (*size).to_owned());
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                format!("unknown size '{}'", short(word(node))),
            )
            .expected(SIZES.join(", "))
            .suggest(suggestion);
    }
}

pub(crate) fn service_size(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let sizes: Vec<&str> = SIZES.iter().copied().filter(|size| *size != "XS").collect();
    if word(node) == "XS" {
        judge
            .loader
            .error(codes::BAD_VALUE, at, "XS is for applications only")
            .expected(sizes.join(", "))
            .remedy("Use S.");
    } else if !sizes.contains(&word(node)) {
        let suggestion = sizes
            .iter()
            .find(|size| size.eq_ignore_ascii_case(word(node)))
            .map(|size| (*size).to_owned());
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                format!("unknown size '{}'", short(word(node))),
            )
            .expected(sizes.join(", "))
            .suggest(suggestion);
    }
}

pub(crate) fn build_flavor(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if !FLAVORS.contains(&word(node)) {
        let suggestion = nearest(word(node), FLAVORS.iter().copied());
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                format!("unknown flavor '{}'", short(word(node))),
            )
            .expected(FLAVORS.join(", "))
            .suggest(suggestion);
    }
}

pub(crate) fn dependency_language(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if !LANGUAGES.contains(&word(node)) {
        let suggestion = nearest(word(node), LANGUAGES.iter().copied());
        judge
            .loader
            .error(
                codes::BAD_LANGUAGE,
                at,
                format!("no package manager for '{}'", short(word(node))),
            )
            .expected(LANGUAGES.join(", "))
            .suggest(suggestion);
    }
}

pub(crate) fn timezone(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let zone = word(node);
    if !TIMEZONES.contains(zone) {
        let suggestion = if judge.loader.has_patience() {
            nearest(zone, TIMEZONES.iter().copied())
        } else {
            None
        };
        judge
            .loader
            .error(
                codes::BAD_TIMEZONE,
                at,
                format!("'{}' is not in the time zone database", short(zone)),
            )
            .expected("Area/City")
            .suggest(suggestion);
    }
}

pub(crate) fn location_path(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if !word(node).starts_with('/') {
        let suggestion = format!("/{}", short(word(node)));
        judge
            .loader
            .error(codes::BAD_LOCATION, at, "a location must start with /")
            .expected("URL path")
            .suggest(Some(suggestion));
    }
}

pub(crate) fn location_root(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let root = word(node);
    if root.starts_with('/') {
        let relative = root.trim_start_matches('/').trim_start_matches("app/");
        let suggestion = (!relative.is_empty()).then(|| short(relative));
        judge
            .loader
            .error(codes::ROOT_OUTSIDE, at, "absolute path refused")
            .expected("path relative to the application")
            .suggest(suggestion);
    } else if crate::load::join_inside("", root).is_none() {
        judge
            .loader
            .error(codes::ROOT_OUTSIDE, at, "the path leaves the application")
            .expected("path relative to the application");
    }
}

pub(crate) fn relationship_name(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let name = word(node);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(good) {
        judge.loader.error(
            codes::BAD_NAME,
            at,
            format!(
                "'{}' cannot be a relationship: letters, digits, - and _ only",
                short(name)
            ),
        );
    }
}

/// Names of workers become part of container names.
pub(crate) fn part_name(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let name = word(node);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(good) {
        judge.loader.error(
            codes::BAD_NAME,
            at,
            format!("'{}': letters, digits, - and _ only", short(name)),
        );
    }
}

/// Names of applications and services.
pub(crate) fn top_name(judge: &mut Judge<'_, '_>, name: &str, at: &At) -> bool {
    let good = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    let fault = if name.is_empty() {
        "a name may not be empty".to_owned()
    } else if name == "router" {
        "'router' is a reserved name".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("a name has at most {NAME_BYTES_MAX} characters")
    } else if !name.bytes().all(good) || matches!(name.as_bytes()[0], b'_' | b'-') {
        format!(
            "'{}': lower-case letters, digits, - and _ only, a letter or digit first",
            short(name)
        )
    } else {
        return true;
    };
    let slug: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(NAME_BYTES_MAX)
        .collect();
    let slug = slug.trim_matches('-').to_owned();
    let suggestion = (!slug.is_empty() && slug != name && slug != "router").then_some(slug);
    judge
        .loader
        .error(codes::BAD_NAME, at, fault)
        .expected("a-z 0-9 _ -")
        .suggest(suggestion);
    false
}

pub(crate) fn address(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if word(node).parse::<IpAddr>().is_err() {
        judge
            .loader
            .error(
                codes::BAD_ADDRESS,
                at,
                format!("'{}' is no IP address", short(word(node))),
            )
            .expected("IP address");
    }
}

pub(crate) fn network(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let text = word(node);
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(address, bits)| (address, Some(bits)));
    let good = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => {
            bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= 32))
        }
        Ok(IpAddr::V6(_)) => {
            bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= 128))
        }
        Err(_) => false,
    };
    if !good {
        judge
            .loader
            .error(
                codes::BAD_ADDRESS,
                at,
                format!("'{}' is no network", short(text)),
            )
            .expected("network such as 192.0.2.0/24");
    }
}

/// `YYYY-MM-DD` that exists in some calendar year.
pub(crate) fn date(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let text = word(node);
    let parts: Vec<Option<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
    let good = match parts[..] {
        [Some(year), Some(month @ 1..=12), Some(day @ 1..=31)] => {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            text.len() == 10 && day <= days
        }
        _ => false,
    };
    if !good {
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                format!("'{}' is no date", short(text)),
            )
            .expected("YYYY-MM-DD");
    }
}
