//! Versions, ordered as each ecosystem orders them.

pub mod composer;
pub mod gem;
pub mod maven;
pub mod pep440;
pub mod semver;

use std::cmp::Ordering;

use crate::ecosystem::Ecosystem;

/// Longer than any version in use; parsing stays linear in it.
pub const VERSION_BYTES_MAX: usize = 256;

/// A version that can be compared with others of its ecosystem.
///
/// Equal means equal in order: `1.0` and `1.0.0` are one version where the ecosystem says so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Semver(semver::Semver),
    Composer(composer::Composer),
    Pep440(pep440::Pep440),
    Gem(gem::Gem),
    Maven(maven::Maven),
}

impl Version {
    /// Reads a version; `None` when it has no place in the order (a branch, a URL, nonsense).
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Option<Version> {
        let text = text.trim();
        if text.is_empty() || text.len() > VERSION_BYTES_MAX || !text.is_ascii() {
            return None;
        }
        match ecosystem {
            Ecosystem::Npm | Ecosystem::Go | Ecosystem::Crates => {
                semver::Semver::parse(text).map(Version::Semver)
            }
            Ecosystem::Packagist => composer::Composer::parse(text).map(Version::Composer),
            Ecosystem::PyPI => pep440::Pep440::parse(text).map(Version::Pep440),
            Ecosystem::RubyGems => gem::Gem::parse(text).map(Version::Gem),
            Ecosystem::Maven => Some(Version::Maven(maven::Maven::parse(text))),
        }
    }
}

/// Compares two runs of digits as numbers of any size.
pub(crate) fn by_number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

pub(crate) fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits at the start of a text, and what follows them.
pub(crate) fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Gives a type whose order is `fn order(&self, &Self) -> Ordering` the four comparison traits.
macro_rules! ordered_by_order {
    ($name:ty) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.order(other).is_eq()
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.order(other)
            }
        }
    };
}
pub(crate) use ordered_by_order;
