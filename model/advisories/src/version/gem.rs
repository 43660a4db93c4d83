//! RubyGems versions, as `Gem::Version` orders them.

use std::cmp::Ordering;

use super::{all_digits, by_number, ordered_by_order};

/// Runs of digits and runs of letters; a letter makes a pre-release.
#[derive(Clone, Debug)]
pub struct Gem {
    segments: Vec<String>,
}

ordered_by_order!(Gem);

impl Gem {
    pub fn parse(text: &str) -> Option<Gem> {
        let text = text.trim();
        let proper = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if !text.starts_with(|letter: char| letter.is_ascii_digit())
            || !text.bytes().all(proper)
            || text.contains("..")
            || text.ends_with('.')
        {
            return None;
        }
        // `1.0.0-rc1` means `1.0.0.pre.rc1` to RubyGems.
        let text = text.replace('-', ".pre.");
        let mut segments: Vec<String> = Vec::new();
        let mut previous = '.';
        for letter in text.chars() {
            if letter == '.' {
                previous = '.';
                continue;
            }
            let cut = previous == '.' || previous.is_ascii_digit() != letter.is_ascii_digit();
            match segments.last_mut() {
                Some(segment) if !cut => segment.push(letter),
                _ => segments.push(letter.to_string()),
            }
            previous = letter;
        }
        Some(Gem {
            segments: without_trailing_zeros(segments),
        })
    }

    fn order(&self, other: &Gem) -> Ordering {
        fn segment(gem: &Gem, at: usize) -> &str {
            gem.segments.get(at).map_or("0", String::as_str)
        }
        for at in 0..self.segments.len().max(other.segments.len()) {
            let (left, right) = (segment(self, at), segment(other, at));
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
        Ordering::Equal
    }
}

/// Zeros at the end mean nothing, nor do those just before the first letter.
fn without_trailing_zeros(segments: Vec<String>) -> Vec<String> {
    let zero = |segment: &String| segment.bytes().all(|byte| byte == b'0');
    let first_word = segments
        .iter()
        .position(|segment| !all_digits(segment))
        .unwrap_or(segments.len());
    let (numbers, words) = segments.split_at(first_word);
    let kept = |part: &[String]| {
        part.iter()
            .rposition(|segment| !zero(segment))
            .map_or(0, |at| at + 1)
    };
    numbers[..kept(numbers)]
        .iter()
        .chain(&words[..kept(words)])
        .cloned()
        .collect()
}
