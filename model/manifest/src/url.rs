//! URL templates of routes: scheme, host with placeholders, path.

use crate::codes;
use crate::shape::short;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UrlTemplate {
    pub scheme: String,
    /// Lower-case; `{default}`, `www.{all}`, `*.{default}`, `example.com`.
    pub host: String,
    pub port: Option<u16>,
    /// At least `/`.
    pub path: String,
    /// The key had no path.
    pub bare: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlFault {
    pub code: &'static str,
    pub message: String,
    pub suggestion: Option<String>,
}

fn fault<T>(code: &'static str, message: impl Into<String>) -> Result<T, UrlFault> {
    Err(UrlFault {
        code,
        message: message.into(),
        suggestion: None,
    })
}

const TYPOGRAPHIC: &[char] = &[
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}',
    '\u{bb}',
];

impl UrlTemplate {
    /// An absolute URL with placeholders in its host.
    pub fn parse(text: &str) -> Result<UrlTemplate, UrlFault> {
        if text.contains(TYPOGRAPHIC) {
            let suggestion = text.replace(TYPOGRAPHIC, "");
            return Err(UrlFault {
                code: codes::BAD_ROUTE_URL,
                message:
                    "typographic quotes are part of the text, so the scheme is not http or https"
                        .to_owned(),
                suggestion: Some(format!("\"{}\"", short(&suggestion))),
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let suggestion = text
                .starts_with('{')
                .then(|| format!("https://{}", short(text)));
            return Err(UrlFault {
                code: codes::BAD_ROUTE_URL,
                message: "a URL begins with http:// or https://".to_owned(),
                suggestion,
            });
        };
        if scheme != "http" && scheme != "https" {
            let suggestion = crate::near::nearest(scheme, ["http", "https"])
                .map(|scheme| format!("{scheme}://{}", short(rest)));
            return Err(UrlFault {
                code: codes::BAD_ROUTE_URL,
                message: format!("the scheme must be http or https, not '{}'", short(scheme)),
                suggestion,
            });
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        placeholders(&host)?;
        if host.is_empty() {
            return fault(codes::BAD_ROUTE_URL, "the host is missing");
        }
        Ok(UrlTemplate {
            scheme: scheme.to_owned(),
            host: host.to_lowercase(),
            port,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            bare: path.is_empty(),
        })
    }

    /// A key of the routes file: stricter than a target.
    pub fn parse_key(text: &str) -> Result<UrlTemplate, UrlFault> {
        let url = UrlTemplate::parse(text)?;
        if url.port.is_some_and(|port| port != 80 && port != 443) {
            return fault(
                codes::BAD_ROUTE_URL,
                format!(
                    "only ports 80 and 443 are served, not {}",
                    url.port.unwrap_or_default()
                ),
            );
        }
        host_of_key(&url.host)?;
        if url.path.contains(['?', '#']) {
            return fault(codes::BAD_ROUTE_URL, "a route has no query and no fragment");
        }
        if url
            .path
            .contains(['*', '(', ')', '|', '^', '[', ']', '\\', '$', ' '])
        {
            return fault(
                codes::BAD_ROUTE_URL,
                "a route's path is taken literally: no wildcards and no regular expressions",
            );
        }
        Ok(url)
    }

    /// Without a port, which says nothing more than the scheme.
    pub fn text(&self) -> String {
        match self.port {
            Some(port) if port != self.default_port() => {
                format!("{}://{}:{port}{}", self.scheme, self.host, self.path)
            }
            _ => format!("{}://{}{}", self.scheme, self.host, self.path),
        }
    }

    fn default_port(&self) -> u16 {
        if self.scheme == "https" { 443 } else { 80 }
    }
}

fn split_port(authority: &str) -> Result<(String, Option<u16>), UrlFault> {
    let Some((host, port)) = authority.rsplit_once(':') else {
        return Ok((authority.to_owned(), None));
    };
    // An IPv6 address in brackets, for proxies.
    if authority.starts_with('[') && port.ends_with(']') {
        return Ok((authority.to_owned(), None));
    }
    match port.parse() {
        Ok(number) => Ok((host.to_owned(), Some(number))),
        Err(_) => fault(
            codes::BAD_ROUTE_URL,
            format!("'{}' is no port", short(port)),
        ),
    }
}

/// Only `{default}` and `{all}`, at most one of them.
fn placeholders(host: &str) -> Result<(), UrlFault> {
    let mut rest = host;
    let mut count = 0;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            return fault(codes::BAD_PLACEHOLDER, "a placeholder is never closed");
        };
        let name = &rest[open + 1..open + close];
        if name != "default" && name != "all" {
            let suggestion =
                crate::near::nearest(name, ["default", "all"]).map(|near| format!("{{{near}}}"));
            return Err(UrlFault {
                code: codes::BAD_PLACEHOLDER,
                message: format!(
                    "unknown placeholder {{{}}}, use {{default}} or {{all}}",
                    short(name)
                ),
                suggestion,
            });
        }
        count += 1;
        rest = &rest[open + close + 1..];
    }
    if rest.contains('}') {
        return fault(codes::BAD_PLACEHOLDER, "a placeholder is never opened");
    }
    if count > 1 {
        return fault(codes::BAD_PLACEHOLDER, "a host has one placeholder");
    }
    Ok(())
}

fn host_of_key(host: &str) -> Result<(), UrlFault> {
    let rest = host.strip_prefix("*.").unwrap_or(host);
    if rest.contains('*') {
        return fault(codes::BAD_ROUTE_URL, "* is allowed as the first label only");
    }
    for label in rest.split('.') {
        let plain = label.replace("{default}", "x").replace("{all}", "x");
        let good = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if plain.is_empty() || !plain.chars().all(good) {
            return fault(
                codes::BAD_ROUTE_URL,
                format!("'{}' is no host name", short(host)),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_scheme_host_and_path() {
        for good in [
            "https://{default}/",
            "http://www.{all}",
            "https://*.{default}/",
            "https://example.com/a/b",
            "https://{default}:443/",
            "https://a.b.{default}/x.y",
        ] {
            assert!(UrlTemplate::parse_key(good).is_ok(), "{good}");
        }
        for bad in [
            "ftp://x/",
            "https:///admin/",
            "https://{default}:8443/",
            "https://{domain}/",
            "https://{default",
            "{default}/",
            "\u{201c}https://{default}/\u{201d}",
            "https://eu.*.{default}/",
            "https://{default}/(a|b)",
            "https://a..b/",
            "https://a b/",
            "https://{default}.{all}/",
            "https://x/?a",
            "",
            "https://",
        ] {
            assert!(UrlTemplate::parse_key(bad).is_err(), "{bad}");
        }
        let bare = UrlTemplate::parse("https://{Default}").unwrap_err();
        assert_eq!(bare.suggestion.as_deref(), Some("{default}"));
        assert_eq!(
            UrlTemplate::parse("https://{default}").map(|url| url.text()),
            Ok("https://{default}/".to_owned())
        );
    }
}
