//! One leaf: what happens to the requests of one rule, or of a location that no rule took.

use super::INTERNAL;
use super::pattern::Pattern;
use super::quote::{DOLLAR, QuoteError, literal, raw, request_target};
use slipway_manifest::Passthru;
use std::fmt::Write;

/// Evaluations of one request; a passthru that leads back to itself ends here.
const HOPS_MAX: &str = "+++++";
/// Matches every path and captures nothing.
const ANY: &str = "\"(?s)^\"";

/// See the module.
pub(super) struct Leaf<'a> {
    pub location: usize,
    /// The rule's number, or `d`.
    pub name: String,
    /// Absolute, without final slash.
    pub root: Option<String>,
    pub index: &'a [String],
    pub allow: bool,
    pub scripts: bool,
    pub passthru: Passthru,
    pub pattern: Option<&'a Pattern>,
    /// `.php` files are scripts here.
    pub script_files: bool,
    pub fastcgi: bool,
    /// There is an application to pass to.
    pub app: bool,
}

impl Leaf<'_> {
    pub(super) fn write(&self, out: &mut String) -> Result<(), QuoteError> {
        out.push_str("set $sw_script $uri;\nset $sw_target $request_uri;\nset $sw_what \"\";\n");
        if let Some(root) = &self.root {
            let file = raw(&format!("{}$sw_rest", root.replace('$', DOLLAR)))?;
            let _ = writeln!(out, "set $sw_file {file};");
            out.push_str("if (-d $sw_file) { set $sw_what d; }\nif (-f $sw_file) { set $sw_what f; }\nset $sw_kind $sw_what;\n");
            self.scripts(out);
            self.files(out);
            self.indexes(out)?;
        }
        self.passthru(out)
    }

    /// `$sw_kind` is `fs` for an existing script.
    fn scripts(&self, out: &mut String) {
        if !self.script_files {
            return;
        }
        out.push_str("if ($sw_rest ~ \"\\\\.php$\") { set $sw_kind \"${sw_what}s\"; }\n");
        let run = self.run();
        if self.allow && self.scripts {
            let _ = writeln!(out, "if ($sw_kind = fs) {{ {run} }}");
        } else {
            let _ = writeln!(out, "set $sw_run \"${{sw_kind}}${{sw_passed}}\";\nif ($sw_run = fs1) {{ {run} }}");
        }
    }

    fn files(&self, out: &mut String) {
        let serve = format!("rewrite {ANY} \"{INTERNAL}/{}/f/{}$sw_rest\" last;", self.location, self.name);
        if self.allow {
            let _ = writeln!(out, "if ($sw_kind = f) {{ {serve} }}");
            if self.script_files && !self.scripts {
                let _ = writeln!(out, "if ($sw_kind = fs) {{ {serve} }}");
            }
        } else {
            let _ = writeln!(out, "set $sw_run \"${{sw_kind}}${{sw_from}}\";\nif ($sw_run = f{}) {{ {serve} }}", self.location);
        }
    }

    /// A directory becomes its first index file, which is then evaluated like any other.
    fn indexes(&self, out: &mut String) -> Result<(), QuoteError> {
        for file in self.index.iter().map(|file| file.trim_matches('/')).filter(|file| !file.is_empty()) {
            let file = file.replace('$', DOLLAR);
            let path = raw(&format!("${{sw_file}}/{file}"))?;
            let target = raw(&format!("$1{file}"))?;
            let _ = writeln!(out, "set $sw_index \"\";\nif (-f {path}) {{ set $sw_index 1; }}");
            // Relative links in it need the slash. The capture is what nginx escapes in a redirect.
            out.push_str("if ($uri !~ \"/$\") { set $sw_index \"${sw_index}n\"; }\n");
            out.push_str("if ($sw_index = 1n) { rewrite \"(?s)^(.*)$\" \"$1/\" permanent; }\n");
            let _ = writeln!(out, "if ($sw_index = 1) {{ rewrite \"(?s)^(.*)$\" {target} last; }}");
        }
        Ok(())
    }

    fn passthru(&self, out: &mut String) -> Result<(), QuoteError> {
        match &self.passthru {
            Passthru::Flag(false) => out.push_str("if ($sw_what != \"\") { return 403; }\nreturn 404;\n"),
            Passthru::Flag(true) => {
                // After a passthru that named another URI, the application gets that one.
                out.push_str("if ($sw_passed = 1) { set $sw_target \"$sw_literal$is_args$args\"; }\n");
                let _ = writeln!(out, "{}", self.run());
            }
            Passthru::Uri(uri) => self.pass_to(out, uri)?,
        }
        Ok(())
    }

    fn pass_to(&self, out: &mut String, uri: &str) -> Result<(), QuoteError> {
        let uri = if uri.starts_with('/') { uri.to_string() } else { format!("/{uri}") };
        let uri = uri.trim_end_matches('?');
        let (replacement, captures) = self.replacement(uri);
        let path = uri.split('?').next().unwrap_or(uri);
        let _ = writeln!(out, "set $sw_hops \"${{sw_hops}}+\";\nif ($sw_hops = {HOPS_MAX}) {{ return 404; }}");
        if captures {
            let pattern = self.pattern.map_or(Ok(ANY.to_string()), |p| raw(&p.text))?;
            let _ = writeln!(out, "set $sw_passed \"\";\nset $sw_from \"\";");
            let _ = writeln!(out, "rewrite {pattern} {} last;", raw(&replacement)?);
            return Ok(());
        }
        // It is here already and there is no such file: the application decides.
        let encoded = literal(&request_target(path))?;
        let script = self.fastcgi && path.ends_with(".php");
        let last = match (self.app, self.fastcgi) {
            (true, false) => format!("set $sw_target \"{}$is_args$args\"; {}", encoded.trim_matches('"'), self.run()),
            (true, true) if script => self.run(),
            _ => "return 404;".into(),
        };
        let _ = writeln!(out, "if ($uri = {}) {{ {last} }}", literal(path)?);
        let _ = writeln!(out, "set $sw_passed 1;\nset $sw_from {};\nset $sw_literal {encoded};", self.location);
        let _ = writeln!(out, "rewrite {ANY} {} last;", raw(&replacement)?);
        Ok(())
    }

    /// To the script that the path names, or to the application.
    fn run(&self) -> String {
        match self.fastcgi {
            true => format!("rewrite {ANY} \"{INTERNAL}/{}/x$sw_rest\" last;", self.location),
            false => format!("rewrite {ANY} \"{INTERNAL}/{}/app\" last;", self.location),
        }
    }

    /// The URI for a `rewrite`, and whether it holds captures of the rule.
    fn replacement(&self, uri: &str) -> (String, bool) {
        let mut out = String::new();
        let mut captures = false;
        let mut rest = uri;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            let braced = tail.strip_prefix('{').and_then(|t| Some((&t[..t.find('}')?], t.find('}')? + 2)));
            let digits = usize::from(tail.starts_with(|c: char| c.is_ascii_digit()));
            let word = tail.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tail.len());
            let (name, length) = braced.unwrap_or(if digits > 0 { (&tail[..1], 1) } else { (&tail[..word], word) });
            rest = &tail[length..];
            if name.is_empty() {
                out.push_str(DOLLAR);
                continue;
            }
            captures = true;
            let number = name.parse::<u32>().ok().or_else(|| self.pattern?.names.get(name).copied());
            // nginx knows nine; a group that does not exist is empty.
            if let Some(number) = number.filter(|n| (1..=9).contains(n) && self.pattern.is_some()) {
                let _ = write!(out, "${number}");
            }
        }
        out.push_str(rest);
        (out, captures)
    }
}
