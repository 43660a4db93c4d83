//! Redirect routes and the partial redirects of a route (routes-yaml §7).

use fancy_regex::{Regex, RegexBuilder};
use slipway_model::route::PathRedirect;
use std::collections::HashMap;

/// Steps of one regular expression on one path: a hostile pattern ends here, within a millisecond, as no match.
const BACKTRACK_MAX: usize = 50_000;

/// Compiled size of one regular expression; 50 000 rules are allowed per environment.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// A longer `Location` is refused by common clients; the redirect is then left out.
const LOCATION_BYTES_MAX: usize = 8 << 10;

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The `Location` header.
    pub location: String,
    /// 301, 302, 307 or 308.
    pub code: u16,
    /// Seconds that the answer may be kept; below zero says nothing, zero forbids it.
    pub expires_seconds: i64,
}

#[derive(Debug)]
struct Pattern {
    /// `None`: it does not compile here and matches nothing; the push has refused such a rule.
    regex: Option<Regex>,
    rule: PathRedirect,
}

/// The rules of one route: exact paths, then the longest prefix, then regular expressions in order.
#[derive(Debug, Default)]
pub struct Redirects {
    exact: HashMap<String, PathRedirect>,
    /// Without the trailing slash.
    prefixes: HashMap<String, PathRedirect>,
    patterns: Vec<Pattern>,
}

impl Redirects {
    /// Prepares the rules.
    pub fn new(rules: &[PathRedirect]) -> Self {
        let mut all = Self::default();
        for rule in rules {
            if rule.regexp {
                let regex = RegexBuilder::new(&rule.from)
                    .backtrack_limit(BACKTRACK_MAX)
                    .delegate_size_limit(COMPILED_BYTES_MAX)
                    .build()
                    .ok();
                all.patterns.push(Pattern { regex, rule: rule.clone() });
                continue;
            }
            all.exact.entry(rule.from.clone()).or_insert_with(|| rule.clone());
            if rule.prefix {
                let stem = rule.from.strip_suffix('/').unwrap_or(&rule.from).to_string();
                all.prefixes.entry(stem).or_insert_with(|| rule.clone());
            }
        }
        all
    }

    /// The rule that applies to a request, if any. `path` and `query` are as they came.
    pub fn find(&self, path: &str, query: Option<&str>) -> Option<Target> {
        if let Some(rule) = self.exact.get(path) {
            return target(rule, rule.to.clone(), query);
        }
        if let Some((rule, rest)) = self.longest_prefix(path) {
            let to = if rule.append_suffix { joined(&rule.to, rest) } else { rule.to.clone() };
            return target(rule, to, query);
        }
        self.patterns.iter().find_map(|pattern| {
            let captures = pattern.regex.as_ref()?.captures(path).ok()??;
            let groups: Vec<&str> = captures.iter().map(|group| group.map_or("", |m| m.as_str())).collect();
            target(&pattern.rule, filled(&pattern.rule.to, &groups, path, query), query)
        })
    }

    fn longest_prefix<'a>(&self, path: &'a str) -> Option<(&PathRedirect, &'a str)> {
        if self.prefixes.is_empty() {
            return None;
        }
        // Every border of a segment, from the right: `/a/b/c`, `/a/b`, `/a`, ``.
        std::iter::once(path.len())
            .chain(path.rmatch_indices('/').map(|(at, _)| at))
            .find_map(|border| Some((self.prefixes.get(&path[..border])?, &path[border..])))
    }
}

/// The target of a redirect route: path and query are carried over; a path in `to` takes the place of the route's.
pub fn whole_route(to: &str, code: u16, route_path: &str, path: &str, query: Option<&str>) -> Option<Target> {
    let rule = PathRedirect {
        from: String::new(),
        to: to.to_string(),
        regexp: false,
        prefix: true,
        append_suffix: true,
        code,
        expires_seconds: -1,
    };
    if to.contains('?') {
        return target(&rule, to.to_string(), query);
    }
    let has_path = to.split_once("://").map_or(to, |(_, rest)| rest).split_once('/').is_some_and(|(_, path)| !path.is_empty());
    let stem = route_path.strip_suffix('/').unwrap_or(route_path);
    let rest = if has_path { path.strip_prefix(stem).unwrap_or(path) } else { path };
    target(&rule, joined(to, rest), query)
}

/// `to` and the rest of the path with one slash between.
fn joined(to: &str, rest: &str) -> String {
    if rest.is_empty() {
        return to.to_string();
    }
    let (base, tail) = match to.split_once('?') {
        Some((base, tail)) => (base, Some(tail)),
        None => (to, None),
    };
    let mut out = base.strip_suffix('/').unwrap_or(base).to_string();
    out.push_str(rest);
    if let Some(tail) = tail {
        out.push('?');
        out.push_str(tail);
    }
    out
}

fn target(rule: &PathRedirect, to: String, query: Option<&str>) -> Option<Target> {
    let mut location = to;
    // `/old//evil.example` must not become `//evil.example`, which a browser takes for another host.
    if !rule.to.starts_with("//") && location.starts_with(['/', '\\']) {
        let rest = location.trim_start_matches(['/', '\\']).to_string();
        location = format!("/{rest}");
    }
    if let Some(query) = query
        && !location.contains('?')
    {
        location.push('?');
        location.push_str(query);
    }
    let fits = location.len() <= LOCATION_BYTES_MAX && location.bytes().all(|b| (0x21..0x7f).contains(&b) || b >= 0x80);
    fits.then_some(Target { location, code: rule.code, expires_seconds: rule.expires_seconds })
}

/// `$1` to `$99`, `$uri`, `$args`, `$is_args` and `$arg_<name>` in a target.
fn filled(to: &str, groups: &[&str], path: &str, query: Option<&str>) -> String {
    let mut out = String::new();
    let mut rest = to;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let number: usize = rest[..digits].parse().unwrap_or(0);
            out.push_str(groups.get(number).copied().unwrap_or(""));
            rest = &rest[digits..];
            continue;
        }
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let name = &rest[..length];
        match name {
            "uri" => out.push_str(path),
            "args" => out.push_str(query.unwrap_or("")),
            "is_args" => out.push_str(if query.is_some_and(|q| !q.is_empty()) { "?" } else { "" }),
            _ => match name.strip_prefix("arg_") {
                Some(argument) => out.push_str(argument_of(query, argument)),
                // Not a variable: it stays as written.
                None => {
                    out.push('$');
                    out.push_str(name);
                }
            },
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn argument_of<'a>(query: Option<&'a str>, name: &str) -> &'a str {
    let pairs = query.unwrap_or("").split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, to: &str) -> PathRedirect {
        PathRedirect { from: from.into(), to: to.into(), regexp: false, prefix: true, append_suffix: true, code: 302, expires_seconds: -1 }
    }

    fn at(rules: &[PathRedirect], path: &str, query: Option<&str>) -> Option<String> {
        Redirects::new(rules).find(path, query).map(|target| target.location)
    }

    #[test]
    fn the_table_of_the_specification_holds() {
        let default = [rule("/from", "/to")];
        let exact = [PathRedirect { prefix: false, ..rule("/from", "/to") }];
        let cut = [PathRedirect { append_suffix: false, ..rule("/from", "/to") }];
        for (rules, path, expected) in [
            (&default, "/from", Some("/to")),
            (&default, "/from/a/b", Some("/to/a/b")),
            (&default, "/fromage", None),
            (&exact, "/from", Some("/to")),
            (&exact, "/from/a/b", None),
            (&cut, "/from", Some("/to")),
            (&cut, "/from/a/b", Some("/to")),
        ] {
            assert_eq!(at(rules, path, None).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn exact_comes_before_the_longest_prefix_and_that_before_regular_expressions_in_order() {
        let regexp = |from: &str, to: &str| PathRedirect { regexp: true, prefix: false, append_suffix: false, ..rule(from, to) };
        let rules = [
            regexp("^/(.*)/x$", "/re1/$1"),
            regexp("^/a/(b)/(.*)$", "/re2/$2-$1"),
            rule("/a", "/short"),
            rule("/a/b/c", "/long"),
            PathRedirect { prefix: false, ..rule("/a/b/c/x", "/exact") },
        ];
        for (path, expected) in [
            ("/a/b/c/x", "/exact"),
            ("/a/b/c/d", "/long/d"),
            ("/a/b/z", "/short/b/z"),
            ("/q/x", "/re1/q"),
        ] {
            assert_eq!(at(&rules, path, None).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(at(&rules[..2], "/a/b/c", None).as_deref(), Some("/re2/c-b"));
    }

    #[test]
    fn the_query_is_kept_unless_the_target_has_its_own() {
        assert_eq!(at(&[rule("/f", "/to")], "/f/x", Some("a=1")).as_deref(), Some("/to/x?a=1"));
        assert_eq!(at(&[rule("/f", "/to?b=2")], "/f/x", Some("a=1")).as_deref(), Some("/to/x?b=2"));
        let regexp = PathRedirect { regexp: true, ..rule("^/f/(.+)$", "https://x.example/$1$is_args$args&v=$arg_v&u=$uri$ $name") };
        assert_eq!(at(std::slice::from_ref(&regexp), "/f/y", Some("v=7")), None);
        let regexp = PathRedirect { to: "https://x.example/$1$is_args$args&v=$arg_v&u=$uri&$name".into(), ..regexp };
        assert_eq!(at(&[regexp], "/f/y", Some("v=7")).as_deref(), Some("https://x.example/y?v=7&v=7&u=/f/y&$name"));
    }

    #[test]
    fn no_path_leads_to_another_host() {
        for path in ["/old//evil.example", "/old/\\evil.example", "/old/\\/evil.example"] {
            let to = at(&[rule("/old", "/")], path, None).unwrap();
            assert_eq!(to, "/evil.example", "{path}");
        }
        let regexp = PathRedirect { regexp: true, ..rule("^/r/(.*)$", "/$1") };
        assert_eq!(at(&[regexp], "/r//evil.example", None).as_deref(), Some("/evil.example"));
    }

    #[test]
    fn a_hostile_pattern_ends_soon_and_matches_nothing() {
        let regexp = PathRedirect { regexp: true, ..rule(r"^/(a+)+\1*(?=b)$", "/x") };
        let path = format!("/{}!", "a".repeat(4000));
        let begun = std::time::Instant::now();
        assert_eq!(at(&[regexp], &path, None), None);
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
        assert_eq!(at(&[PathRedirect { regexp: true, ..rule("(", "/x") }], "/", None), None);
    }

    #[test]
    fn a_redirect_route_carries_path_and_query_over() {
        for (to, route_path, path, query, expected) in [
            ("https://x.example/", "/", "/foo/bar", Some("q=1"), "https://x.example/foo/bar?q=1"),
            ("https://x.example", "/", "/", None, "https://x.example/"),
            ("https://x.example/", "/sub/", "/sub/a", None, "https://x.example/sub/a"),
            ("https://x.example/new/", "/sub/", "/sub/a", None, "https://x.example/new/a"),
            ("https://x.example/new/?z=1", "/sub/", "/sub/a", Some("q=1"), "https://x.example/new/?z=1"),
        ] {
            assert_eq!(whole_route(to, 301, route_path, path, query).unwrap().location, expected);
        }
    }
}
