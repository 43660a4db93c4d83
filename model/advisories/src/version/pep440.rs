//! PyPI versions, as PEP 440 reads and orders them.

use std::cmp::Ordering;

use super::{all_digits, by_number, ordered_by_order, split_digits};

/// `1!2.0rc1.post2.dev3+local`, in any of the spellings PEP 440 forgives.
#[derive(Clone, Debug, Default)]
pub struct Pep440 {
    epoch: String,
    release: Vec<String>,
    pre: Option<(char, String)>,
    post: Option<String>,
    dev: Option<String>,
    local: Vec<String>,
}

ordered_by_order!(Pep440);

impl Pep440 {
    pub fn parse(text: &str) -> Option<Pep440> {
        let lower = text.trim().to_ascii_lowercase();
        let (public, local) = match lower.split_once('+') {
            Some((public, local)) => (public, Some(local)),
            None => (lower.as_str(), None),
        };
        let mut version = Pep440::default();
        let mut rest = public.strip_prefix('v').unwrap_or(public);
        if let Some((epoch, after)) = rest.split_once('!') {
            if !all_digits(epoch) {
                return None;
            }
            version.epoch = epoch.to_owned();
            rest = after;
        }
        loop {
            let (digits, after) = split_digits(rest);
            if digits.is_empty() {
                return None;
            }
            version.release.push(digits.to_owned());
            rest = after;
            match after.strip_prefix('.') {
                Some(next) if next.starts_with(|letter: char| letter.is_ascii_digit()) => {
                    rest = next
                }
                _ => break,
            }
        }
        // Trailing zeros mean nothing: 1.0 is 1.0.0.
        while version.release.len() > 1
            && version
                .release
                .last()
                .is_some_and(|part| part.bytes().all(|byte| byte == b'0'))
        {
            version.release.pop();
        }
        const PRE: [(&str, char); 8] = [
            ("alpha", 'a'),
            ("beta", 'b'),
            ("preview", 'c'),
            ("pre", 'c'),
            ("rc", 'c'),
            ("c", 'c'),
            ("a", 'a'),
            ("b", 'b'),
        ];
        if let Some((letter, number, after)) = PRE.iter().find_map(|(word, letter)| {
            let (number, after) = worded(rest, word)?;
            Some((*letter, number, after))
        }) {
            version.pre = Some((letter, number));
            rest = after;
        }
        // `1.0-1` is an implicit post release.
        if let Some((number, after)) = rest
            .strip_prefix('-')
            .map(split_digits)
            .filter(|(number, _)| !number.is_empty())
        {
            version.post = Some(number.to_owned());
            rest = after;
        } else if let Some((number, after)) = ["post", "rev", "r"]
            .iter()
            .find_map(|word| worded(rest, word))
        {
            version.post = Some(number);
            rest = after;
        }
        if let Some((number, after)) = worded(rest, "dev") {
            version.dev = Some(number);
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
        if let Some(local) = local {
            version.local = local.split(['.', '-', '_']).map(str::to_owned).collect();
            if !version.local.iter().all(|part| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
            }) {
                return None;
            }
        }
        Some(version)
    }

    fn order(&self, other: &Pep440) -> Ordering {
        by_number(&self.epoch, &other.epoch)
            .then_with(|| by_release(&self.release, &other.release))
            .then_with(|| self.pre_rank().cmp(&other.pre_rank()))
            .then_with(|| match (&self.pre, &other.pre) {
                (Some((left, left_number)), Some((right, right_number))) => left
                    .cmp(right)
                    .then_with(|| by_number(left_number, right_number)),
                _ => Ordering::Equal,
            })
            .then_with(|| optional(&self.post, &other.post, Ordering::Less))
            .then_with(|| optional(&self.dev, &other.dev, Ordering::Greater))
            .then_with(|| by_local(&self.local, &other.local))
    }

    /// A bare dev release is before every pre-release; a release is after them.
    fn pre_rank(&self) -> u8 {
        match (&self.pre, &self.post, &self.dev) {
            (None, None, Some(_)) => 0,
            (Some(_), _, _) => 1,
            _ => 2,
        }
    }
}

/// `[-_.]? word [-_.]? number?`: the number (0 when left out) and the rest.
fn worded<'a>(text: &'a str, word: &str) -> Option<(String, &'a str)> {
    let separator = ['-', '_', '.'];
    let after = text
        .strip_prefix(separator)
        .unwrap_or(text)
        .strip_prefix(word)?;
    let numbered = after.strip_prefix(separator).unwrap_or(after);
    let (number, rest) = split_digits(numbered);
    if number.is_empty() {
        Some(("0".to_owned(), after))
    } else {
        Some((number.to_owned(), rest))
    }
}

fn by_release(left: &[String], right: &[String]) -> Ordering {
    fn part(release: &[String], at: usize) -> &str {
        release.get(at).map_or("", String::as_str)
    }
    (0..left.len().max(right.len()))
        .map(|at| by_number(part(left, at), part(right, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// `absent` is where a version without the part stands beside one with it.
fn optional(left: &Option<String>, right: &Option<String>, absent: Ordering) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => absent,
        (Some(_), None) => absent.reverse(),
        (Some(left), Some(right)) => by_number(left, right),
    }
}

/// Words before numbers, and a longer local version after its own beginning.
fn by_local(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (all_digits(left), all_digits(right)) {
            (true, true) => by_number(left, right),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}
