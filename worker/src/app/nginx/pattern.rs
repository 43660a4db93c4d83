//! A rule's pattern for nginx: bounded, and with numbers for its named groups.
//!
//! nginx makes a variable of each named group, and one that is named like a variable of its own (`uri`)
//! stops it from starting. So the names go, and `$name` in a passthru becomes the group's number.

use std::collections::BTreeMap;

/// Steps that one search may take: a hostile path cannot keep the front busy (about 5 ms).
const MATCH_LIMIT: u32 = 100_000;

/// A pattern as nginx gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub text: String,
    /// Group name to number.
    pub names: BTreeMap<String, u32>,
}

impl Pattern {
    /// Read a PCRE; what is no PCRE at all is left to nginx to refuse.
    pub fn read(source: &str) -> Pattern {
        let chars: Vec<char> = source.chars().collect();
        let names = name_groups(&chars);
        let text = format!("(*LIMIT_MATCH={MATCH_LIMIT}){}", without_names(&chars, &names));
        Pattern { text, names }
    }
}

/// One step through a pattern: where it ends, and the group that it opens.
enum Piece {
    Plain(usize),
    /// A group with its name, if it has one, and the end of its opening.
    Group(Option<String>, usize),
    /// A reference to a named group, how it looks with a number, and its end.
    Reference(String, &'static str, &'static str, usize),
}

fn name_groups(chars: &[char]) -> BTreeMap<String, u32> {
    let mut names = BTreeMap::new();
    let (mut at, mut count) = (0, 0);
    while at < chars.len() {
        at = match piece(chars, at) {
            Piece::Plain(end) | Piece::Reference(_, _, _, end) => end,
            Piece::Group(name, end) => {
                count += 1;
                if let Some(name) = name {
                    names.entry(name).or_insert(count);
                }
                end
            }
        };
    }
    names
}

fn without_names(chars: &[char], names: &BTreeMap<String, u32>) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        match piece(chars, at) {
            Piece::Plain(end) => {
                out.extend(&chars[at..end]);
                at = end;
            }
            Piece::Group(_, end) => {
                out.push('(');
                at = end;
            }
            Piece::Reference(name, before, after, end) => {
                match names.get(&name) {
                    Some(number) => out.push_str(&format!("{before}{number}{after}")),
                    None => out.extend(&chars[at..end]),
                }
                at = end;
            }
        }
    }
    out
}

fn piece(chars: &[char], at: usize) -> Piece {
    let starts = |text: &str| text.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let until = |from: usize, end: char| chars[from.min(chars.len())..].iter().position(|c| *c == end).map(|n| from + n);
    let named = |from: usize, end: char| {
        let close = until(from, end)?;
        let name: String = chars[from..close].iter().collect();
        let good = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (good && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, close + 1))
    };
    match chars[at] {
        '\\' if starts("\\Q") => {
            let mut end = at + 2;
            while end < chars.len() && !(chars[end] == '\\' && chars.get(end + 1) == Some(&'E')) {
                end += 1;
            }
            Piece::Plain((end + 2).min(chars.len()))
        }
        '\\' => {
            for (open, close) in [("\\k<", '>'), ("\\k{", '}'), ("\\k'", '\''), ("\\g{", '}')] {
                if starts(open)
                    && let Some((name, end)) = named(at + 3, close)
                {
                    return Piece::Reference(name, "\\g{", "}", end);
                }
            }
            Piece::Plain((at + 2).min(chars.len()))
        }
        '[' => Piece::Plain(class_end(chars, at)),
        '(' if starts("(?#") => Piece::Plain(until(at, ')').map_or(chars.len(), |end| end + 1)),
        '(' if starts("(?P=") => match named(at + 4, ')') {
            Some((name, end)) => Piece::Reference(name, "\\g{", "}", end),
            None => Piece::Plain(at + 1),
        },
        '(' if starts("(?&") || starts("(?P>") => match named(if starts("(?&") { at + 3 } else { at + 4 }, ')') {
            Some((name, end)) => Piece::Reference(name, "(?", ")", end),
            None => Piece::Plain(at + 1),
        },
        '(' => {
            let group = match () {
                _ if starts("(?P<") => named(at + 4, '>'),
                _ if starts("(?<") => named(at + 3, '>'),
                _ if starts("(?'") => named(at + 3, '\''),
                _ if starts("(?") || starts("(*") => None,
                _ => return Piece::Group(None, at + 1),
            };
            group.map_or(Piece::Plain(at + 1), |(name, end)| Piece::Group(Some(name), end))
        }
        _ => Piece::Plain(at + 1),
    }
}

/// The end of `[…]`; parentheses in it open nothing.
fn class_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    if chars.get(end) == Some(&'^') {
        end += 1;
    }
    // A bracket that comes first is a member.
    if chars.get(end) == Some(&']') {
        end += 1;
    }
    while end < chars.len() && chars[end] != ']' {
        end += match chars[end] {
            '\\' => 2,
            '[' if chars.get(end + 1) == Some(&':') => {
                let rest = &chars[end..];
                rest.windows(2).position(|pair| pair == [':', ']']).filter(|n| *n > 0).map_or(1, |n| n + 2)
            }
            _ => 1,
        };
    }
    (end + 1).min(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> (String, Vec<(String, u32)>) {
        let pattern = Pattern::read(source);
        let text = pattern.text.strip_prefix("(*LIMIT_MATCH=100000)").unwrap().to_string();
        (text, pattern.names.into_iter().collect())
    }

    #[test]
    fn names_become_numbers() {
        let (text, names) = read(r"^/static/version\d+/(?<resource>.*)$");
        assert_eq!(text, r"^/static/version\d+/(.*)$");
        assert_eq!(names, [("resource".into(), 1)]);
        let (text, names) = read(r"(a)(?:b)(?P<x>c)(?'y'd)\k<x>(?P=y)(?&x)");
        assert_eq!(text, r"(a)(?:b)(c)(d)\g{2}\g{3}(?2)");
        assert_eq!(names, [("x".into(), 2), ("y".into(), 3)]);
    }

    #[test]
    fn what_opens_no_group_is_left_alone() {
        for source in [r"(?<!\-lock)\.(?i:jpe?g|gif)$", r"[()(?<x>)]\(", r"\Q(?<a>\E", r"(?<=a)b", r"[](?<q>]", r"[[:alpha:](]x", r"(?#(?<z>)", "(", "[", "\\"] {
            assert_eq!(read(source).0, source);
            assert_eq!(read(source).1, []);
        }
    }
}
