//! `web.locations` as nginx configuration.
//!
//! ```text
//! request ─▶ longest prefix (wrapper) ─▶ first rule that matches, or the location itself (leaf)
//!   leaf: file allowed ─▶ script │ static      directory ─▶ index, evaluated anew
//!         else passthru ─▶ the application │ a URI, evaluated anew │ 403, 404
//! ```
//!
//! Leaves decide with the rewrite module only and end in internal locations below [`INTERNAL`], which serve.
//! A URI that a `passthru` names literally runs as a script, and is served, whatever `allow` and `scripts` say there;
//! one made of captures has no such right, because the client chose it.

mod leaf;
mod pattern;
mod quote;

pub use quote::QuoteError;

use leaf::Leaf;
use quote::{literal, pattern_literal, raw};
use slipway_manifest::{Location, LocationRule, Passthru, RequestBuffering, SocketFamily, UpstreamProtocol, Web};
use std::fmt::Write;

/// Our own places among the URIs; `internal`, so that a client gets 404 for them.
pub const INTERNAL: &str = "/.slipway-front";
/// Locations and rules of one application: more would make every request slow.
const LEAVES_MAX: usize = 2000;

/// What a configuration is made of.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    pub web: &'a Web,
    /// `/app`.
    pub directory: &'a str,
    /// `127.0.0.1:8888` or `unix:/run/app.sock`; none: a site of files only.
    pub upstream: Option<String>,
    /// Files that end in `.php` are scripts.
    pub php: bool,
}

/// Two pieces of configuration that every front of an instance includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteConfig {
    /// For the `http` block.
    pub http: String,
    /// For the `server` block.
    pub server: String,
}

/// Why a site cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    #[error("web.locations.{location}: {why}")]
    Location { location: String, why: QuoteError },
    #[error("web.locations has more than {LEAVES_MAX} locations and rules together")]
    TooMany,
    #[error("{0}")]
    Other(#[from] QuoteError),
}

impl Site<'_> {
    /// The configuration of the whole site.
    pub fn config(&self) -> Result<SiteConfig, SiteError> {
        let mut locations: Vec<(&str, &Location)> = self.web.locations.iter().map(|(key, l)| (key.as_str(), l)).collect();
        if locations.iter().map(|(_, l)| 1 + l.rules.len()).sum::<usize>() > LEAVES_MAX {
            return Err(SiteError::TooMany);
        }
        let everything = passthru_everything();
        if locations.is_empty() && self.upstream.is_some() {
            locations.push(("/", &everything));
        }
        // Regex locations are tried in order: the longest prefix first makes the longest prefix win.
        locations.sort_by_key(|(key, _)| std::cmp::Reverse(key.trim_end_matches('/').len()));
        let mut server = String::from(SERVER_HEAD);
        for (number, (key, location)) in locations.iter().enumerate() {
            let named = |why| SiteError::Location { location: key.to_string(), why };
            self.wrapper(&mut server, number, key, location).map_err(named)?;
            self.stages(&mut server, number, location).map_err(named)?;
        }
        Ok(SiteConfig { http: self.http()?, server })
    }

    fn http(&self) -> Result<String, QuoteError> {
        let mut out = String::from(HTTP_HEAD);
        if let Some(upstream) = &self.upstream {
            let _ = writeln!(out, "upstream slipway_app {{ server {} max_fails=0; }}", raw(upstream)?);
        }
        Ok(out)
    }

    fn fastcgi(&self) -> bool {
        self.web.upstream.protocol == UpstreamProtocol::Fastcgi
    }

    /// The location's prefix, with its leaves in it.
    fn wrapper(&self, out: &mut String, number: usize, key: &str, location: &Location) -> Result<(), QuoteError> {
        let prefix = key.trim_end_matches('/');
        let pattern = match prefix {
            "" => "(?s)^(?<sw_rest>/.*)$".to_string(),
            _ => format!("(?s)^{}(?<sw_rest>/.*)?$", pattern_literal(prefix)),
        };
        let _ = writeln!(out, "\nlocation ~ {} {{", raw(&pattern)?);
        out.push_str(&body_size(&location.request_buffering));
        for (index, (source, rule)) in location.rules.iter().enumerate() {
            let pattern = pattern::Pattern::read(source);
            let _ = writeln!(out, "location ~ {} {{", raw(&pattern.text)?);
            self.leaf(number, &index.to_string(), location, Some(rule), Some(&pattern)).write(out)?;
            out.push_str("}\n");
        }
        self.leaf(number, "d", location, None, None).write(out)?;
        out.push_str("}\n");
        Ok(())
    }

    fn leaf<'a>(&self, number: usize, name: &str, location: &'a Location, rule: Option<&'a LocationRule>, pattern: Option<&'a pattern::Pattern>) -> Leaf<'a> {
        let passthru = rule.and_then(|r| r.passthru.as_ref()).unwrap_or(&location.passthru);
        let served = self.upstream.is_some() || matches!(passthru, Passthru::Uri(_));
        Leaf {
            location: number,
            name: name.to_string(),
            root: location.root.as_ref().map(|root| self.root(root)),
            index: &location.index,
            allow: rule.and_then(|r| r.allow).unwrap_or(location.allow),
            scripts: rule.and_then(|r| r.scripts).unwrap_or(location.scripts),
            passthru: if served { passthru.clone() } else { Passthru::Flag(false) },
            pattern,
            script_files: self.php && self.upstream.is_some(),
            fastcgi: self.fastcgi(),
            app: self.upstream.is_some(),
        }
    }

    fn root(&self, root: &str) -> String {
        format!("{}/{}", self.directory.trim_end_matches('/'), root.trim_matches('/')).trim_end_matches('/').to_string()
    }

    /// Where leaves end: files, scripts, the application.
    fn stages(&self, out: &mut String, number: usize, location: &Location) -> Result<(), QuoteError> {
        let root = self.root(location.root.as_deref().unwrap_or(""));
        let alias = literal(&format!("{root}/"))?;
        if location.root.is_some() {
            self.files(out, &format!("{INTERNAL}/{number}/f/d/"), &alias, &location.expires, &location.headers)?;
            for (index, rule) in location.rules.values().enumerate() {
                let expires = rule.expires.as_ref().unwrap_or(&location.expires);
                let headers = rule.headers.as_ref().unwrap_or(&location.headers);
                self.files(out, &format!("{INTERNAL}/{number}/f/{index}/"), &alias, expires, headers)?;
            }
        }
        if self.upstream.is_none() {
            return Ok(());
        }
        let body = body_size(&location.request_buffering) + &buffering(&location.request_buffering);
        if self.fastcgi() {
            let _ = writeln!(out, "location ^~ \"{INTERNAL}/{number}/x/\" {{\ninternal;\nalias {alias};\n{body}fastcgi_pass slipway_app;");
            let _ = writeln!(out, "fastcgi_param DOCUMENT_ROOT {};\n{FASTCGI}}}", literal(&root)?);
        } else {
            let _ = writeln!(out, "location = \"{INTERNAL}/{number}/app\" {{\ninternal;\n{body}proxy_pass http://slipway_app$sw_target;\n{PROXY}}}");
        }
        Ok(())
    }

    fn files(&self, out: &mut String, place: &str, alias: &str, expires: &str, headers: &std::collections::BTreeMap<String, String>) -> Result<(), QuoteError> {
        let _ = writeln!(out, "location ^~ \"{place}\" {{\ninternal;\nalias {alias};\ngzip_static on;");
        if headers.keys().any(|name| name.eq_ignore_ascii_case("cache-control")) {
            out.push_str("expires off;\n");
        } else {
            let _ = writeln!(out, "expires {};", expires_seconds(expires));
        }
        for (name, value) in headers.iter().filter(|(name, _)| is_header_name(name)) {
            let _ = writeln!(out, "add_header {} {};", raw(name)?, literal(value.trim())?);
        }
        out.push_str("}\n");
        Ok(())
    }
}

/// An application without locations gets everything.
fn passthru_everything() -> Location {
    Location {
        root: None,
        passthru: Passthru::Flag(true),
        index: vec![],
        expires: "-1s".into(),
        scripts: true,
        allow: true,
        headers: Default::default(),
        rules: Default::default(),
        request_buffering: RequestBuffering { enabled: true, max_request_size: "250m".into() },
    }
}

/// `tcp` applications listen on this port, and get it as `PORT`.
pub const APP_PORT: u16 = 8888;
/// `unix` applications listen here, and get it as `SOCKET`.
pub const APP_SOCKET: &str = "/run/app.sock";

/// Where the application of this web block listens, as nginx writes it.
pub fn upstream_of(family: SocketFamily) -> String {
    match family {
        SocketFamily::Tcp => format!("127.0.0.1:{APP_PORT}"),
        SocketFamily::Unix => format!("unix:{APP_SOCKET}"),
    }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#%&'*+-.^_`|~".contains(&b))
}

/// Normalised durations (`-1s`, `300s`, `2w`, `1500ms`) as the seconds that nginx wants.
fn expires_seconds(text: &str) -> i64 {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let Ok(number) = text[..split].parse::<i64>() else { return -1 };
    if number < 0 {
        return -1;
    }
    let day = 86_400;
    let (factor, divisor) = match &text[split..] {
        "ms" => (1, 1000),
        "" | "s" => (1, 1),
        "m" => (60, 1),
        "h" => (3600, 1),
        "d" => (day, 1),
        "w" => (7 * day, 1),
        "M" => (30 * day, 1),
        "y" => (365 * day, 1),
        _ => return -1,
    };
    // Beyond ten years nginx' sums would overflow, and nobody means it.
    (number.saturating_mul(factor) / divisor).min(10 * 365 * day)
}

fn body_size(limits: &RequestBuffering) -> String {
    let text = limits.max_request_size.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(['k', 'm', 'g']);
    let good = !digits.is_empty() && digits.len() < 10 && digits.bytes().all(|b| b.is_ascii_digit()) && text.len() - digits.len() < 2;
    format!("client_max_body_size {};\n", if good { text.as_str() } else { "250m" })
}

fn buffering(limits: &RequestBuffering) -> String {
    if limits.enabled {
        return String::new();
    }
    "proxy_request_buffering off;\nfastcgi_request_buffering off;\nproxy_buffering off;\nfastcgi_buffering off;\n".into()
}

const HTTP_HEAD: &str = r#"geo $slipway_dollar { default "$"; }
map $http_upgrade $slipway_connection { default upgrade; "" close; }
map $http_x_forwarded_proto $slipway_https { default ""; https on; }
map $http_x_forwarded_proto $slipway_scheme { default http; https https; }
map $http_x_forwarded_proto $slipway_port { default 80; https 443; }
"#;

const SERVER_HEAD: &str = r#"server_name _;
absolute_redirect off;
uninitialized_variable_warn off;
client_max_body_size 250m;
set $sw_passed "";
set $sw_from "";
set $sw_literal "";
set $sw_hops "";
location / { return 404; }
location ^~ /.slipway-front/ { internal; return 404; }
"#;

/// The client going away does not end what the application executes: nginx waits with it, so that a drain sees it.
const PROXY: &str = r#"proxy_http_version 1.1;
proxy_set_header Host $http_host;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $slipway_connection;
proxy_set_header Proxy "";
proxy_redirect off;
proxy_next_upstream off;
proxy_ignore_client_abort on;
proxy_connect_timeout 5s;
proxy_send_timeout 3600s;
proxy_read_timeout 3600s;
"#;

const FASTCGI: &str = r#"fastcgi_param SCRIPT_FILENAME $request_filename;
fastcgi_param SCRIPT_NAME $sw_script;
fastcgi_param DOCUMENT_URI $sw_script;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param QUERY_STRING $args;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SERVER_PROTOCOL $server_protocol;
fastcgi_param REQUEST_SCHEME $slipway_scheme;
fastcgi_param HTTPS $slipway_https if_not_empty;
fastcgi_param GATEWAY_INTERFACE CGI/1.1;
fastcgi_param SERVER_SOFTWARE nginx;
fastcgi_param REMOTE_ADDR $remote_addr;
fastcgi_param REMOTE_PORT $remote_port;
fastcgi_param SERVER_ADDR $server_addr;
fastcgi_param SERVER_PORT $slipway_port;
fastcgi_param SERVER_NAME $host;
fastcgi_param REDIRECT_STATUS 200;
fastcgi_param HTTP_PROXY "";
fastcgi_next_upstream off;
fastcgi_ignore_client_abort on;
fastcgi_buffers 16 16k;
fastcgi_buffer_size 32k;
fastcgi_connect_timeout 5s;
fastcgi_send_timeout 3600s;
fastcgi_read_timeout 3600s;
"#;


