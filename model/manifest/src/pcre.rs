//! Users' regular expressions: PCRE with look-around, compiled within limits.

use crate::codes;
use crate::node::{At, Node};
use crate::pcre_translate::{beyond_the_engine, is_repetition, translate_pcre};
use crate::shape::{Judge, short};
use fancy_regex::{Expr, RegexBuilder};

/// The longest real rule has 300 characters.
const PATTERN_BYTES_MAX: usize = 8 << 10;
/// Compiled size; `(a{1000}){1000}` needs far more.
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// Repetitions multiplied out, in characters: more than any engine should hold.
const COST_MAX: u64 = 400_000;
/// What a project's expressions may cost together to be compiled here; beyond it
/// they are only parsed, and compiled under the same limits where they run.
const COST_BUDGET: u64 = 20_000;
/// What even the shortest expression costs.
const COST_LEAST: u64 = 30;

pub(crate) fn check_key(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let pattern = node.text().unwrap_or_default();
    if judge.good_regexes.contains(pattern) || judge.loader.is_full() {
        return;
    }
    let outcome = parse(pattern).and_then(|cost| {
        let spent = judge.regex_cost;
        judge.regex_cost = spent.saturating_add(cost).saturating_add(COST_LEAST);
        if spent < COST_BUDGET {
            compile(pattern)
        } else {
            Ok(())
        }
    });
    match outcome {
        Ok(()) => {
            judge.good_regexes.insert(pattern.to_owned());
        }
        Err(fault) => {
            judge
                .loader
                .error(codes::BAD_REGEX, at, fault)
                .expected("regular expression (PCRE)");
        }
    }
}

/// What is wrong with an expression, in words.
pub fn check_pcre(pattern: &str) -> Result<(), String> {
    parse(pattern).and_then(|_| compile(pattern))
}

/// Syntax and size; gives what compiling would cost.
fn parse(pattern: &str) -> Result<u64, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "an expression of {} bytes is over the limit of {PATTERN_BYTES_MAX}",
            pattern.len()
        ));
    }
    balanced(pattern)?;
    let cost = cost(pattern);
    if cost > COST_MAX {
        return Err(
            "the expression is too large when its repetitions are multiplied out".to_owned(),
        );
    }
    if beyond_the_engine(pattern) {
        return Ok(cost);
    }
    Expr::parse_tree(&translate_pcre(pattern))
        .map(|_| cost)
        .map_err(|error| words(&error))
}

fn compile(pattern: &str) -> Result<(), String> {
    if beyond_the_engine(pattern) {
        return Ok(());
    }
    RegexBuilder::new(&translate_pcre(pattern))
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .max_prog_size(COMPILED_BYTES_MAX / 64)
        .build()
        .map(drop)
        .map_err(|error| words(&error))
}

fn words(error: &fancy_regex::Error) -> String {
    format!(
        "does not compile: {}",
        short(error.to_string().lines().last().unwrap_or_default())
    )
}

/// Characters of the expression with every repetition multiplied out.
fn cost(pattern: &str) -> u64 {
    // Per open group: what is complete, and the last atom, to which a repetition applies.
    let mut groups: Vec<(u64, u64)> = vec![(0, 0)];
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        let atom = match c {
            '\\' => match rest.next() {
                // Classes of Unicode are large.
                Some('w' | 'W' | 'd' | 'D' | 's' | 'S' | 'p' | 'P' | 'h' | 'H') => 300,
                _ => 1,
            },
            '(' => {
                groups.push((0, 0));
                continue;
            }
            ')' if groups.len() > 1 => groups
                .pop()
                .map_or(0, |(sum, last)| sum.saturating_add(last)),
            '{' => {
                if let Some(times) = repetition(rest.as_str())
                    && let Some((_, last)) = groups.last_mut()
                {
                    *last = last.saturating_mul(times.max(1));
                }
                1
            }
            _ => 1,
        };
        if let Some((sum, last)) = groups.last_mut() {
            *sum = sum.saturating_add(*last);
            *last = atom;
        }
    }
    groups.iter().fold(0, |sum: u64, (complete, last)| {
        sum.saturating_add(*complete).saturating_add(*last)
    })
}

/// The larger number of `3}`, `3,}` or `3,5}`.
fn repetition(tail: &str) -> Option<u64> {
    is_repetition(tail)
        .then(|| tail.split('}').next())
        .flatten()?
        .split(',')
        .filter_map(|number| number.parse().ok())
        .max()
}

/// Brackets outside of classes and escapes.
fn balanced(pattern: &str) -> Result<(), String> {
    let mut depth = 0usize;
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if characters.peek() == Some(&'Q') => {
                let rest: String = characters.clone().collect();
                let end = rest.find("\\E").map_or(rest.len(), |at| at + 2);
                for _ in rest[..end].chars() {
                    characters.next();
                }
            }
            '\\' => {
                characters.next().ok_or("ends with a lone backslash")?;
            }
            '[' => class(&mut characters)?,
            '(' if characters.clone().take(2).eq("?#".chars()) => {
                characters
                    .by_ref()
                    .find(|c| *c == ')')
                    .ok_or("comment is never closed")?;
            }
            '(' => {
                depth += 1;
                group_name(&characters.clone().take(40).collect::<String>())?;
            }
            ')' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or("unbalanced parenthesis: ) without (")?
            }
            _ => {}
        }
        // The engine recurses on groups.
        if depth > 100 {
            return Err("groups nested deeper than 100".to_owned());
        }
    }
    if depth > 0 {
        Err("unbalanced parenthesis: ( is never closed".to_owned())
    } else {
        Ok(())
    }
}

/// PCRE's names are words that begin with no digit; the engine here is wider.
fn group_name(after: &str) -> Result<(), String> {
    let Some(rest) = after
        .strip_prefix("?P<")
        .or_else(|| after.strip_prefix("?<"))
        .or_else(|| after.strip_prefix("?'"))
    else {
        return Ok(());
    };
    if rest.starts_with(['=', '!']) {
        return Ok(());
    }
    let name: &str = rest.split(['>', '\'']).next().unwrap_or_default();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || name.len() > 32
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(word)
    {
        return Err(format!("'{}' is no name of a group", short(name)));
    }
    Ok(())
}

fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), String> {
    if characters.peek() == Some(&'^') {
        characters.next();
    }
    let mut first = true;
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            ']' if !first => return Ok(()),
            '[' if characters.peek() == Some(&':') => {
                // [:alpha:]
                let named: String = characters.clone().take(12).collect();
                if let Some(end) = named.find(":]") {
                    characters.nth(end + 1);
                }
            }
            _ => {}
        }
        first = false;
    }
    Err("unbalanced bracket: [ is never closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcre_of_real_projects_compiles_and_broken_ones_do_not() {
        for good in [
            r"\.(css|js|gif|jpe?g|png|ttf|eot|woff2?)$",
            r"(?<!\-lock)\.(?i:txt|md)$",
            r"^/static/version(?<version>\d+)/(?<rest>.*)$",
            r"^/((?!wp-admin).)*$",
            r"[^]/[:alpha:]]+(",
            r"^/sites/\w+/{default}/x{2,3}$",
            r"(?P<a>x)\k<a>",
            r"^/(?#comment ()a++b$",
            r"\p{L}+\x{41}",
        ] {
            let good = good.strip_suffix("(").unwrap_or(good);
            assert_eq!(check_pcre(good), Ok(()), "{good}");
        }
        for bad in [
            r"\.(css|js$",
            r"a)",
            r"[abc",
            r"*a",
            r"a\",
            r"(?<n",
            r"(?P<1>a)",
            r"((a{1000}){1000}){1000}",
            r"[z-a]",
        ] {
            assert!(check_pcre(bad).is_err(), "{bad}");
        }
        assert!(cost(r"((a{10}){10}b){2,5}") > 500 && cost("abc") == 3);
        assert!(check_pcre(&"(".repeat(5000)).is_err());
        assert!(check_pcre(&format!("{}{}", "(".repeat(3000), ")".repeat(3000))).is_err());
    }
}
