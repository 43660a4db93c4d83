//! Maven versions, by the "Version Order Specification" of the POM reference.

use std::cmp::Ordering;

use super::{all_digits, by_number, ordered_by_order};

/// Tokens, each with the separator that stood before it.
#[derive(Clone, Debug)]
pub struct Maven {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    /// `-` (also where digits meet letters) or `.`.
    hyphen: bool,
    text: String,
}

ordered_by_order!(Maven);

impl Maven {
    /// Every text is a Maven version.
    pub fn parse(text: &str) -> Maven {
        let lower = text.trim().to_ascii_lowercase();
        let mut tokens: Vec<Token> = Vec::new();
        let mut current = Token {
            hyphen: false,
            text: String::new(),
        };
        for letter in lower.chars() {
            if letter == '.' || letter == '-' {
                push(
                    &mut tokens,
                    std::mem::replace(
                        &mut current,
                        Token {
                            hyphen: letter == '-',
                            text: String::new(),
                        },
                    ),
                    false,
                );
                continue;
            }
            let meets = current
                .text
                .chars()
                .next_back()
                .is_some_and(|last| last.is_ascii_digit() != letter.is_ascii_digit());
            if meets {
                let to_digit = letter.is_ascii_digit();
                push(
                    &mut tokens,
                    std::mem::replace(
                        &mut current,
                        Token {
                            hyphen: true,
                            text: String::new(),
                        },
                    ),
                    to_digit,
                );
            }
            current.text.push(letter);
        }
        push(&mut tokens, current, false);
        trim(&mut tokens);
        Maven { tokens }
    }

    fn order(&self, other: &Maven) -> Ordering {
        for at in 0..self.tokens.len().max(other.tokens.len()) {
            let order = match (self.tokens.get(at), other.tokens.get(at)) {
                (Some(left), Some(right)) => left.order(right),
                (Some(left), None) => left.order(&left.padding()),
                (None, Some(right)) => right.padding().order(right),
                (None, None) => Ordering::Equal,
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// Ends a token: an empty one is `0`; `a`, `b`, `m` right before a digit are short for words.
fn push(tokens: &mut Vec<Token>, mut token: Token, before_digit: bool) {
    let long = match token.text.as_str() {
        "" => Some("0"),
        "a" if before_digit => Some("alpha"),
        "b" if before_digit => Some("beta"),
        "m" if before_digit => Some("milestone"),
        "cr" => Some("rc"),
        "ga" | "final" | "release" => Some(""),
        _ => None,
    };
    if let Some(long) = long {
        token.text = long.to_owned();
    }
    tokens.push(token);
}

/// Null values at the end, and before each hyphen from the end to the start, mean nothing.
fn trim(tokens: &mut Vec<Token>) {
    let mut end = tokens.len();
    while end > 0 {
        let mut start = end;
        while start > 1 && tokens[start - 1].is_null() {
            start -= 1;
        }
        tokens.drain(start..end);
        // The next place to look: just before the hyphen nearest to the start of what was kept.
        let mut hyphen = start.saturating_sub(1);
        while hyphen > 0 && !tokens[hyphen].hyphen {
            hyphen -= 1;
        }
        end = hyphen;
    }
}

impl Token {
    fn is_null(&self) -> bool {
        self.text.bytes().all(|byte| byte == b'0')
    }

    fn is_number(&self) -> bool {
        all_digits(&self.text)
    }

    /// The null value that stands against this token when the other version is shorter.
    fn padding(&self) -> Token {
        Token {
            hyphen: self.hyphen,
            text: if self.is_number() { "0" } else { "" }.to_owned(),
        }
    }

    fn order(&self, other: &Token) -> Ordering {
        match (self.is_number(), other.is_number()) {
            // -number < .number
            (true, true) => other
                .hyphen
                .cmp(&self.hyphen)
                .then_with(|| by_number(&self.text, &other.text)),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => qualifier(&self.text).cmp(&qualifier(&other.text)),
        }
    }
}

/// Known words in their order, unknown ones after them, by letters.
fn qualifier(word: &str) -> (usize, &str) {
    const KNOWN: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
    match KNOWN.iter().position(|known| *known == word) {
        Some(rank) => (rank, ""),
        None => (KNOWN.len(), word),
    }
}
