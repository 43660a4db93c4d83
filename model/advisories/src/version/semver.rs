//! Semantic versions: npm, Go, crates.io.

use std::cmp::Ordering;

use super::{all_digits, by_number, ordered_by_order, split_digits};

/// Numbers that a version may have; three by the specification, four in some old ones.
const NUMBERS_MAX: usize = 4;

/// `1.2.3-rc.1+build`; a leading `v` and missing parts are forgiven, build metadata is ignored.
#[derive(Clone, Debug)]
pub struct Semver {
    /// Without allocation: the gate reads a hundred thousand of these for one lock file.
    numbers: [u128; NUMBERS_MAX],
    prerelease: Vec<String>,
}

ordered_by_order!(Semver);

impl Semver {
    pub fn parse(text: &str) -> Option<Semver> {
        let text = text.trim_start_matches('=').trim_start();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split('+').next()?;
        let mut numbers = [0; NUMBERS_MAX];
        let mut count = 0;
        let mut rest = text;
        loop {
            let (digits, after) = split_digits(rest);
            *numbers.get_mut(count)? = digits.parse().ok()?;
            count += 1;
            match after.strip_prefix('.') {
                // `2.0.0.rc.1` occurs in old advisories: what is no number is a pre-release.
                Some(next) if next.starts_with(|letter: char| letter.is_ascii_digit()) => {
                    rest = next
                }
                Some(next) if count >= 3 => {
                    rest = next;
                    break;
                }
                Some(_) => return None,
                None => {
                    rest = after.strip_prefix('-').unwrap_or(after);
                    if after == "-" {
                        return None;
                    }
                    break;
                }
            }
        }
        let prerelease: Vec<String> = if rest.is_empty() {
            Vec::new()
        } else {
            rest.split('.').map(str::to_owned).collect()
        };
        let proper = |part: &String| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        prerelease.iter().all(proper).then_some(Semver {
            numbers,
            prerelease,
        })
    }

    fn order(&self, other: &Semver) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => by_identifiers(&self.prerelease, &other.prerelease),
            }
        })
    }
}

/// Numbers before words, numbers by value, words by ASCII, and a longer list after its own beginning.
fn by_identifiers(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (all_digits(left), all_digits(right)) {
            (true, true) => by_number(left, right),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}
