//! The package ecosystems that the gate knows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A world of packages with its own names and its own order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ecosystem {
    #[serde(rename = "npm")]
    Npm,
    Packagist,
    PyPI,
    RubyGems,
    Go,
    Maven,
    #[serde(rename = "crates.io")]
    Crates,
}

impl Ecosystem {
    pub const ALL: [Ecosystem; 7] = [
        Ecosystem::Npm,
        Ecosystem::Packagist,
        Ecosystem::PyPI,
        Ecosystem::RubyGems,
        Ecosystem::Go,
        Ecosystem::Maven,
        Ecosystem::Crates,
    ];

    /// The name as OSV spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Ecosystem::Npm => "npm",
            Ecosystem::Packagist => "Packagist",
            Ecosystem::PyPI => "PyPI",
            Ecosystem::RubyGems => "RubyGems",
            Ecosystem::Go => "Go",
            Ecosystem::Maven => "Maven",
            Ecosystem::Crates => "crates.io",
        }
    }

    /// Reads OSV's spelling; a repository after a colon (`Packagist:https://…`) is the same world.
    pub fn from_osv(text: &str) -> Option<Ecosystem> {
        let name = text.split(':').next().unwrap_or_default();
        Ecosystem::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name))
    }

    /// The code in the database file; a code is never given to another ecosystem.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Ecosystem::Npm => 1,
            Ecosystem::Packagist => 2,
            Ecosystem::PyPI => 3,
            Ecosystem::RubyGems => 4,
            Ecosystem::Go => 5,
            Ecosystem::Maven => 6,
            Ecosystem::Crates => 7,
        }
    }

    /// The one spelling under which a package is looked up.
    pub fn normal_name(self, name: &str) -> String {
        let name = name.trim();
        match self {
            Ecosystem::Packagist => name.to_ascii_lowercase(),
            Ecosystem::PyPI => pep503(name),
            _ => name.to_owned(),
        }
    }

    /// The package URL of one version.
    pub fn purl(self, name: &str, version: &str) -> String {
        let (kind, path) = match self {
            Ecosystem::Npm => ("npm", escape_path(name)),
            Ecosystem::Packagist => ("composer", escape_path(&name.to_ascii_lowercase())),
            Ecosystem::PyPI => ("pypi", escape_path(&pep503(name))),
            Ecosystem::RubyGems => ("gem", escape_path(name)),
            Ecosystem::Go => ("golang", escape_path(name)),
            Ecosystem::Maven => ("maven", escape_path(&name.replacen(':', "/", 1))),
            Ecosystem::Crates => ("cargo", escape_path(name)),
        };
        let mut purl = format!("pkg:{kind}/{path}@");
        escape(version, &mut purl, false);
        purl
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// PEP 503: lower case, runs of `-`, `_` and `.` become one `-`.
fn pep503(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '-' | '_' | '.') {
            if !normal.ends_with('-') {
                normal.push('-');
            }
        } else {
            normal.push(letter.to_ascii_lowercase());
        }
    }
    normal
}

fn escape_path(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    escape(text, &mut path, true);
    path
}

/// Percent-encodes what the package URL specification asks for.
fn escape(text: &str, out: &mut String, keep_slash: bool) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            b'/' if keep_slash => out.push('/'),
            _ => {
                use fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_purls_follow_each_ecosystem() {
        assert_eq!(
            Ecosystem::PyPI.normal_name("Zope.Interface__x"),
            "zope-interface-x"
        );
        assert_eq!(
            Ecosystem::Packagist.normal_name("Drupal/Core"),
            "drupal/core"
        );
        assert_eq!(
            Ecosystem::from_osv("Packagist:https://packages.drupal.org/8"),
            Some(Ecosystem::Packagist)
        );
        assert_eq!(Ecosystem::from_osv("Debian:12"), None);
        assert_eq!(
            Ecosystem::Npm.purl("@babel/core", "7.0.0"),
            "pkg:npm/%40babel/core@7.0.0"
        );
        assert_eq!(
            Ecosystem::Maven.purl("org.x:y", "1.0+b"),
            "pkg:maven/org.x/y@1.0%2Bb"
        );
        assert_eq!(
            Ecosystem::Go.purl("github.com/gin-gonic/gin", "v1.2.3"),
            "pkg:golang/github.com/gin-gonic/gin@v1.2.3"
        );
    }
}
