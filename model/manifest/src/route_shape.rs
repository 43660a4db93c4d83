//! The keys of a route, by its type.

use crate::node::{At, Node, Val};
use crate::shape::Judge;
use crate::shape::{Key, Shape, Table, key, required};
use crate::{codes, duration, pcre};

const TEXT: Shape = Shape::Text;
const DURATION: Shape = Shape::Duration {
    check: duration::check,
};
const CODE: Shape = Shape::IntChoice {
    choices: &[301, 302, 307, 308],
    what: "301, 302, 307 or 308",
};

/// Keys of every kind of route, beside its own.
macro_rules! route {
    ($($own:expr),* $(,)?) => {
        &[
            key("type", Shape::Choice(&["upstream", "redirect", "proxy"]), "Kind of route"),
            $($own,)*
            key("id", TEXT, "Name by which applications find the route"),
            key("primary", Shape::Bool, "Whether this is the address that people are shown"),
            key("attributes", Shape::Map { value: &TEXT, check_key: None, what: "a mapping of names to text" }, "Handed to applications"),
            key("tls", Shape::Table(&TLS), "Encryption"),
        ]
    };
}

pub(crate) const UPSTREAM: Table = Table {
    name: "upstream_route",
    keys: UPSTREAM_KEYS,
    refused: &[
        ("to", "not allowed with type upstream"),
        ("code", "not allowed with type upstream"),
    ],
};
const UPSTREAM_KEYS: &[Key] = route![
    key("upstream", TEXT, "Application or service, name:endpoint"),
    key("cache", CACHE, "Cache of the router"),
    key("ssi", Shape::Table(&SSI), "Server-side includes"),
    key(
        "redirects",
        Shape::Table(&REDIRECTS),
        "Redirects of single paths"
    ),
    key("sticky", STICKY, "Whether a client stays with an instance"),
];

pub(crate) const REDIRECT: Table = Table {
    name: "redirect_route",
    keys: REDIRECT_KEYS,
    refused: &[
        ("upstream", "not allowed with type redirect"),
        ("cache", "not allowed with type redirect"),
        ("ssi", "not allowed with type redirect"),
        ("sticky", "not allowed with type redirect"),
    ],
};
const REDIRECT_KEYS: &[Key] = route![
    key("to", TEXT, "Address to go to"),
    key("code", CODE, "Status of the answer"),
    key(
        "redirects",
        Shape::Table(&REDIRECTS),
        "Redirects of single paths"
    ),
];

pub(crate) const PROXY: Table = Table {
    name: "proxy_route",
    keys: PROXY_KEYS,
    refused: &[
        ("upstream", "not allowed with type proxy"),
        ("cache", "not allowed with type proxy"),
        ("ssi", "not allowed with type proxy"),
        ("redirects", "not allowed with type proxy"),
        ("sticky", "not allowed with type proxy"),
        ("code", "not allowed with type proxy"),
    ],
};
const PROXY_KEYS: &[Key] = route![key("to", TEXT, "Address to forward to")];

/// For a route whose type is not known: every key that some route has.
pub(crate) const UNTYPED: Table = Table {
    name: "route",
    keys: UNTYPED_KEYS,
    refused: &[],
};
const UNTYPED_KEYS: &[Key] = route![
    key("upstream", TEXT, "Application or service, name:endpoint"),
    key("to", TEXT, "Address to go to"),
    key("code", CODE, "Status of the answer"),
    key("cache", CACHE, "Cache of the router"),
    key("ssi", Shape::Table(&SSI), "Server-side includes"),
    key(
        "redirects",
        Shape::Table(&REDIRECTS),
        "Redirects of single paths"
    ),
    key("sticky", STICKY, "Whether a client stays with an instance"),
];

const STICKY: Shape = Shape::OneOf {
    shapes: &[Shape::Bool, Shape::Table(&ENABLED)],
    what: "true or false",
};
const ENABLED: Table = Table {
    name: "enabled",
    keys: &[required("enabled", Shape::Bool, "Switch")],
    refused: &[],
};

const CACHE: Shape = Shape::OneOf {
    shapes: &[Shape::Bool, Shape::Table(&CACHE_TABLE)],
    what: "a mapping, or false",
};
const CACHE_TABLE: Table = Table {
    name: "cache",
    keys: &[
        required("enabled", Shape::Bool, "Whether answers are kept"),
        key(
            "default_ttl",
            Shape::Int {
                min: 0,
                max: 315_360_000,
                what: "a number of seconds",
            },
            "Seconds for answers without Cache-Control",
        ),
        key(
            "headers",
            Shape::List(&Shape::Format {
                what: "text",
                check: cache_header,
            }),
            "Request headers in the cache key",
        ),
        key(
            "cookies",
            Shape::List(&Shape::Format {
                what: "text",
                check: cache_cookie,
            }),
            "Cookies in the cache key",
        ),
    ],
    refused: &[],
};
const SSI: Table = Table {
    name: "ssi",
    keys: &[required(
        "enabled",
        Shape::Bool,
        "Whether includes are carried out",
    )],
    refused: &[],
};

const REDIRECTS: Table = Table {
    name: "redirects",
    keys: &[
        key("expires", DURATION, "How long browsers keep the redirects"),
        required(
            "paths",
            Shape::Map {
                value: &Shape::Table(&RULE),
                check_key: None,
                what: "a mapping of paths",
            },
            "Path to rule",
        ),
    ],
    refused: &[],
};
const RULE: Table = Table {
    name: "redirect_rule",
    keys: &[
        required("to", TEXT, "Address or path to go to"),
        key(
            "regexp",
            Shape::Bool,
            "Whether the key is a regular expression",
        ),
        key("prefix", Shape::Bool, "Whether children match too"),
        key(
            "append_suffix",
            Shape::Bool,
            "Whether the rest of the path is kept",
        ),
        key("code", CODE, "Status of the answer"),
        key("expires", DURATION, "How long browsers keep the redirect"),
    ],
    refused: &[],
};

const TLS: Table = Table {
    name: "tls",
    keys: &[
        key(
            "min_version",
            Shape::Choice(&["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
            "Oldest protocol",
        ),
        key(
            "strict_transport_security",
            Shape::Table(&HSTS),
            "Strict transport security",
        ),
        key(
            "client_authentication",
            Shape::Choice(&["request", "require"]),
            "Client certificates",
        ),
        key(
            "client_certificate_authorities",
            Shape::List(&Shape::Format {
                what: "a certificate in PEM form",
                check: certificate,
            }),
            "Authorities of client certificates, PEM",
        ),
    ],
    refused: &[],
};
const HSTS: Table = Table {
    name: "strict_transport_security",
    keys: &[
        key(
            "enabled",
            Shape::Bool,
            "Whether browsers are told to use TLS only",
        ),
        key(
            "include_subdomains",
            Shape::Bool,
            "The same for sub-domains",
        ),
        key("preload", Shape::Bool, "Wish to be on browsers' lists"),
    ],
    refused: &[],
};

const NEVER_CACHE_KEYS: &[&str] = &[
    "accept-encoding",
    "connection",
    "proxy-authorization",
    "te",
    "upgrade",
    "cookie",
];

fn cache_header(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let header = node.text().unwrap_or_default();
    if NEVER_CACHE_KEYS.contains(&header.to_ascii_lowercase().as_str()) {
        let draft = judge.loader.error(
            codes::CACHE_KEY,
            at,
            format!("{header} may not be a cache key"),
        );
        if header.eq_ignore_ascii_case("cookie") {
            draft.remedy("Remove it and list the cookies in `cookies`.");
        }
    } else if header.is_empty()
        || !header
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    {
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                format!("'{}' is no header name", crate::shape::short(header)),
            )
            .expected("header name");
    }
}

fn certificate(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if !node
        .text()
        .unwrap_or_default()
        .contains("-----BEGIN CERTIFICATE-----")
    {
        judge
            .loader
            .error(
                codes::BAD_VALUE,
                at,
                "a certificate in PEM form is expected",
            )
            .expected("-----BEGIN CERTIFICATE-----")
            .remedy("Use !include {type: string, path: ca.pem}.");
    }
}

/// `/…/` is a regular expression on the cookie's name.
fn cache_cookie(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let cookie = node.text().unwrap_or_default();
    if let Some(pattern) = cookie
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
    {
        pcre::check_key(
            judge,
            &Node {
                value: Val::Text(pattern.to_owned()),
                weight: 1,
            },
            at,
        );
    }
}
