//! From PCRE's spelling to that of the bounded engine, where they differ.

/// The same expression for `fancy_regex`: hyphens and brackets in classes,
/// literal braces, `\Q…\E`, octal and control escapes, `(*VERBS)` at the front.
pub fn translate_pcre(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = without_verbs(pattern);
    while let Some(c) = rest.chars().next() {
        let (head, tail) = rest.split_at(c.len_utf8());
        rest = match c {
            '\\' => escape(tail, &mut out),
            '[' => class(tail, &mut out),
            '{' if !is_repetition(tail) => {
                out.push_str("\\{");
                tail
            }
            _ => {
                out.push_str(head);
                tail
            }
        };
    }
    out
}

/// `(*UTF8)` and the like, which set options of PCRE.
fn without_verbs(pattern: &str) -> &str {
    let mut rest = pattern;
    while let Some(tail) = rest.strip_prefix("(*") {
        match tail.find(')') {
            Some(end)
                if tail[..end].bytes().all(|byte| {
                    byte.is_ascii_uppercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'_' | b'=')
                }) =>
            {
                rest = &tail[end + 1..]
            }
            _ => return rest,
        }
    }
    rest
}

/// What follows a backslash; gives the rest.
fn escape<'p>(tail: &'p str, out: &mut String) -> &'p str {
    let Some(c) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    let after = &tail[c.len_utf8()..];
    match c {
        'Q' => {
            let (literal, rest) = after.split_once("\\E").unwrap_or((after, ""));
            for c in literal.chars() {
                if c.is_ascii_punctuation() {
                    out.push('\\');
                }
                out.push(c);
            }
            rest
        }
        // Outside of \Q a lone \E is nothing.
        'E' => after,
        'V' => {
            out.push_str("[^\\n\\x0B\\x0C\\r\\x{85}\\x{2028}\\x{2029}]");
            after
        }
        'c' if after.starts_with(|c: char| c.is_ascii()) => {
            let code = after.as_bytes()[0].to_ascii_uppercase() ^ 0x40;
            out.push_str(&format!("\\x{{{code:x}}}"));
            &after[1..]
        }
        'o' if after.starts_with('{') => match after.find('}') {
            Some(end) => {
                let code = u32::from_str_radix(&after[1..end], 8).unwrap_or(0);
                out.push_str(&format!("\\x{{{code:x}}}"));
                &after[end + 1..]
            }
            None => after,
        },
        '0' => {
            let end = after
                .bytes()
                .take(2)
                .take_while(|byte| (b'0'..=b'7').contains(byte))
                .count();
            let code = u32::from_str_radix(&after[..end], 8).unwrap_or(0);
            out.push_str(&format!("\\x{{{code:x}}}"));
            &after[end..]
        }
        // \x{..}, \p{..}, \g{..}, \k{..} keep their braces.
        'x' | 'p' | 'P' | 'g' | 'k' | 'N' if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |at| at + 1);
            out.push('\\');
            out.push(c);
            out.push_str(&after[..end]);
            &after[end..]
        }
        _ => {
            out.push('\\');
            out.push(c);
            after
        }
    }
}

/// A class without its opening bracket; gives the rest.
fn class<'p>(tail: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    let mut rest = tail;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    // Whether what stands before is a set such as \w, which cannot begin a range.
    let mut after_set = false;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        let mut is_set = false;
        rest = match c {
            ']' if first => {
                out.push_str("\\]");
                tail
            }
            ']' => {
                out.push(']');
                return tail;
            }
            '[' => match tail.strip_prefix(':').and_then(|named| named.find(":]")) {
                Some(end) if end < 12 => {
                    out.push_str(&rest[..end + 4]);
                    is_set = true;
                    &rest[end + 4..]
                }
                _ => {
                    out.push_str("\\[");
                    tail
                }
            },
            '-' if after_set || before_set(tail) => {
                out.push_str("\\-");
                tail
            }
            '&' | '~' if tail.starts_with(c) => {
                out.push('\\');
                out.push(c);
                tail
            }
            '-' if tail.starts_with('-') => {
                out.push_str("\\-");
                tail
            }
            '\\' => {
                is_set = tail.starts_with([
                    'w', 'W', 'd', 'D', 's', 'S', 'h', 'H', 'v', 'V', 'p', 'P', 'R',
                ]);
                escape(tail, out)
            }
            c => {
                out.push(c);
                tail
            }
        };
        after_set = is_set;
        first = false;
    }
    rest
}

fn before_set(tail: &str) -> bool {
    tail.strip_prefix('\\').is_some_and(|escaped| {
        escaped.starts_with(['w', 'W', 'd', 'D', 's', 'S', 'h', 'H', 'v', 'V', 'p', 'P'])
    })
}

/// Constructs that nginx runs and the engine here lacks: branch reset, recursion,
/// relative and repeated names, whole graphemes. They are accepted on trust.
pub(crate) fn beyond_the_engine(pattern: &str) -> bool {
    const GROUPS: &[&str] = &[
        "(?|", "(?R", "(?&", "(?P>", "(?+", "(?-1", "(?J", "(?C", "(*",
    ];
    let mut rest = without_verbs(pattern);
    while let Some(c) = rest.chars().next() {
        if GROUPS.iter().any(|group| rest.starts_with(group))
            || rest.starts_with("(?") && rest[2..].starts_with(|c: char| c.is_ascii_digit())
        {
            return true;
        }
        if let Some(escaped) = rest.strip_prefix('\\') {
            if escaped.starts_with(['X', 'C'])
                || escaped.starts_with("g{")
                || escaped.starts_with("k'")
                || escaped.starts_with("k{")
            {
                return true;
            }
            rest = &escaped[escaped.chars().next().map_or(0, char::len_utf8)..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
    }
    false
}

/// `3}`, `3,}` or `3,5}` follows.
pub(crate) fn is_repetition(tail: &str) -> bool {
    let Some(end) = tail.find('}') else {
        return false;
    };
    let (low, high) = tail[..end].split_once(',').unwrap_or((&tail[..end], ""));
    !low.is_empty()
        && low
            .bytes()
            .chain(high.bytes())
            .all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fancy_regex::Regex;

    #[test]
    fn what_pcre_matches_the_engine_matches_too() {
        for (pattern, hit, miss) in [
            (r"^[\w-.]+$", "a-b.c", "a b"),
            (r"^[.-\w]+$", "a-.", "+"),
            (r"^[]a]+$", "]a", "b"),
            (r"^[^]a]+$", "b", "]"),
            (r"^[[a]+$", "[a", "]"),
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^\Qa.b{\E$", "a.b{", "axb{"),
            (r"^/{x}/$", "/{x}/", "/x/"),
            (r"^a{2,3}$", "aaa", "a"),
            (r"^\x{41}\0101?\o{102}$", "A\u{8}1B", "AAB"),
            (r"(*UTF8)^é$", "é", "e"),
            (r"(?<!\-lock)\.json$", "a.json", "a-lock.json"),
            (r"^[[:alpha:]-]+$", "a-b", "1"),
        ] {
            let regex = Regex::new(&translate_pcre(pattern))
                .unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(regex.is_match(hit).expect("match"), "{pattern} {hit}");
            assert!(!regex.is_match(miss).expect("match"), "{pattern} {miss}");
        }
    }
}
