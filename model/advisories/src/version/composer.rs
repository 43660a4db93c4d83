//! Packagist versions: Composer's normal form, compared as PHP's `version_compare` does.

use std::cmp::Ordering;

use super::{all_digits, by_number, ordered_by_order, split_digits};

/// What Composer writes for the parts of a branch such as `1.x-dev` that are open upwards.
const OPEN: &str = "9999999";

/// A version in Composer's normal form.
#[derive(Clone, Debug)]
pub struct Composer {
    parts: Vec<String>,
}

ordered_by_order!(Composer);

impl Composer {
    /// Branches (`dev-master`) have no place in the order and give `None`.
    pub fn parse(text: &str) -> Option<Composer> {
        let normal = normalise(text)?;
        if normal.starts_with("dev-") {
            return None;
        }
        Some(Composer {
            parts: canonical(&normal),
        })
    }

    fn order(&self, other: &Composer) -> Ordering {
        by_parts(&self.parts, &other.parts)
    }
}

/// Composer's `VersionParser::normalize`: `1.0-rc1` becomes `1.0.0.0-RC1`.
pub fn normalise(text: &str) -> Option<String> {
    let mut text = text.trim();
    if let Some((version, _)) = text.split_once(" as ") {
        text = version.trim_end();
    }
    if let Some((version, stability)) = text.rsplit_once('@')
        && ["stable", "rc", "beta", "alpha", "dev"]
            .iter()
            .any(|one| stability.eq_ignore_ascii_case(one))
    {
        text = version;
    }
    if ["master", "trunk", "default"].contains(&text) {
        return Some(format!("dev-{text}"));
    }
    if let Some(prefix) = text.get(..4)
        && prefix.eq_ignore_ascii_case("dev-")
    {
        return Some(format!("dev-{}", &text[4..]));
    }
    if let Some((version, build)) = text.split_once('+') {
        if build.is_empty() || build.contains(char::is_whitespace) {
            return None;
        }
        text = version;
    }
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
    classical(bare)
        .or_else(|| date(bare))
        .or_else(|| branch(bare))
}

/// One to four numbers, the first of at most five digits.
fn classical(text: &str) -> Option<String> {
    let mut numbers: Vec<&str> = Vec::new();
    let mut rest = text;
    while numbers.len() < 4 {
        let (digits, after) = split_digits(rest);
        if digits.is_empty() || (numbers.is_empty() && digits.len() > 5) {
            break;
        }
        numbers.push(digits);
        rest = after;
        match after.strip_prefix('.') {
            Some(next)
                if numbers.len() < 4
                    && next.starts_with(|letter: char| letter.is_ascii_digit()) =>
            {
                rest = next
            }
            _ => break,
        }
    }
    if numbers.is_empty() {
        return None;
    }
    numbers.resize(4, "0");
    with_modifier(numbers.join("."), rest)
}

/// `20100102-203040`, `2010-01-02.5`: at least a year and two digits.
fn date(text: &str) -> Option<String> {
    let end = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'-'))
        .count();
    // The separator before a modifier belongs to the modifier.
    let body = text[..end].trim_end_matches(['.', ':', '-']);
    let digits = body.bytes().filter(u8::is_ascii_digit).count();
    let first = split_digits(body).0.len();
    if first < 4 || !(6..=22).contains(&digits) {
        return None;
    }
    let dotted: String = body
        .chars()
        .map(|letter| if letter.is_ascii_digit() { letter } else { '.' })
        .collect();
    if dotted.contains("..") {
        return None;
    }
    with_modifier(dotted, &text[body.len()..])
}

/// `1.x-dev`, `v2.4.*-dev`: a branch with a number.
fn branch(text: &str) -> Option<String> {
    let cut = text.len().checked_sub(3)?;
    if !text.get(cut..)?.eq_ignore_ascii_case("dev") {
        return None;
    }
    let name = text[..cut].trim_end_matches(['-', '.']);
    let mut parts: Vec<&str> = name.split('.').collect();
    let proper = |part: &&str| all_digits(part) || matches!(*part, "x" | "X" | "*");
    if parts.len() > 4 || !parts.iter().all(proper) || !all_digits(parts[0]) {
        return (!name.is_empty()).then(|| format!("dev-{name}"));
    }
    for part in &mut parts {
        if !all_digits(part) {
            *part = OPEN;
        }
    }
    parts.resize(4, OPEN);
    Some(format!("{}-dev", parts.join(".")))
}

/// Appends the stability of `-beta2`, `RC1-dev`, `.pl3`, in Composer's spelling.
fn with_modifier(mut version: String, modifier: &str) -> Option<String> {
    let lower = modifier.to_ascii_lowercase();
    let mut rest = lower.as_str();
    let unseparated = rest.strip_prefix(['.', '_', '-']).unwrap_or(rest);
    const WORDS: [(&str, &str); 9] = [
        ("stable", ""),
        ("beta", "beta"),
        ("b", "beta"),
        ("rc", "RC"),
        ("alpha", "alpha"),
        ("a", "alpha"),
        ("patch", "patch"),
        ("pl", "patch"),
        ("p", "patch"),
    ];
    if let Some((word, normal)) = WORDS.iter().find(|(word, _)| unseparated.starts_with(word)) {
        rest = &unseparated[word.len()..];
        let mut number = String::new();
        loop {
            let separated = rest.strip_prefix(['.', '-']).unwrap_or(rest);
            let (digits, after) = split_digits(separated);
            if digits.is_empty() {
                break;
            }
            if !number.is_empty() {
                number.push_str(&rest[..rest.len() - separated.len()]);
            }
            number.push_str(digits);
            rest = after;
        }
        if *word == "stable" {
            return rest.is_empty().then_some(version);
        }
        version.push('-');
        version.push_str(normal);
        version.push_str(&number);
    }
    match rest.strip_prefix(['.', '-', '_']).unwrap_or(rest) {
        "" if rest.is_empty() => Some(version),
        "dev" => Some(version + "-dev"),
        _ => None,
    }
}

/// PHP's canonical parts: cut at separators and between digits and letters.
fn canonical(version: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut previous = '.';
    for letter in version.chars() {
        if matches!(letter, '.' | '-' | '_' | '+') {
            previous = '.';
            continue;
        }
        let cut = previous == '.' || previous.is_ascii_digit() != letter.is_ascii_digit();
        match parts.last_mut() {
            Some(part) if !cut => part.push(letter),
            _ => parts.push(letter.to_string()),
        }
        previous = letter;
    }
    parts
}

/// PHP's `version_compare`.
fn by_parts(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (all_digits(left), all_digits(right)) {
            (true, true) => by_number(left, right),
            (true, false) => form("#").cmp(&form(right)),
            (false, true) => form(left).cmp(&form("#")),
            (false, false) => form(left).cmp(&form(right)),
        };
        if order.is_ne() {
            return order;
        }
    }
    let beyond = |rest: &[String]| match rest.first() {
        None => Ordering::Equal,
        Some(part) if all_digits(part) => Ordering::Greater,
        Some(part) => form(part).cmp(&form("#")),
    };
    if left.len() > right.len() {
        beyond(&left[right.len()..])
    } else {
        beyond(&right[left.len()..]).reverse()
    }
}

/// The rank of a word; PHP knows them by their beginning, any other is before all.
fn form(word: &str) -> i8 {
    const FORMS: [(&str, i8); 10] = [
        ("dev", 0),
        ("alpha", 1),
        ("a", 1),
        ("beta", 2),
        ("b", 2),
        ("RC", 3),
        ("rc", 3),
        ("#", 4),
        ("pl", 5),
        ("p", 5),
    ];
    FORMS
        .iter()
        .find(|(form, _)| word.starts_with(form))
        .map_or(-1, |(_, rank)| *rank)
}
