//! Which headers go to the application, and which come back (routes-yaml §10).

use crate::table::Matched;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_CLIENT_IP: HeaderName = HeaderName::from_static("x-client-ip");
const X_CLIENT_SSL: HeaderName = HeaderName::from_static("x-client-ssl");
const X_ORIGINAL_ROUTE: HeaderName = HeaderName::from_static("x-original-route");
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const X_PLATFORM_CLUSTER: HeaderName = HeaderName::from_static("x-platform-cluster");
const X_PLATFORM_ROUTER: HeaderName = HeaderName::from_static("x-platform-router");
const X_PLATFORM_PROCESSOR: HeaderName = HeaderName::from_static("x-platform-processor");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// httpoxy: a CGI program would read it as the variable HTTP_PROXY.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Longest chain of addresses that is passed on; what a client wrote before is cut off.
const FORWARDED_FOR_BYTES_MAX: usize = 1024;

/// Facts of the connection and the request that the application shall learn.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The client's address as the socket has it.
    pub client: IpAddr,
    /// The connection is TLS.
    pub https: bool,
    /// `host` or `host:port`, lower case.
    pub authority: &'a str,
    /// It asks for a WebSocket, which is the only upgrade that is passed on.
    pub websocket: bool,
}

/// Rewrites the request's headers for the application.
pub fn to_application(headers: &mut HeaderMap, arrival: &Arrival<'_>, matched: &Matched) {
    drop_hop_by_hop(headers);
    headers.remove(PROXY);
    headers.remove(header::EXPECT);
    for name in ["x-client-verify", "x-client-dn", "x-client-cert"] {
        headers.remove(name);
    }
    join_cookies(headers);
    set(headers, header::HOST, arrival.authority);
    set(headers, X_FORWARDED_PROTO, if arrival.https { "https" } else { "http" });
    set(headers, X_CLIENT_IP, &arrival.client.to_string());
    if arrival.https {
        headers.insert(X_CLIENT_SSL, HeaderValue::from_static("on"));
    } else {
        headers.remove(X_CLIENT_SSL);
    }
    set(headers, X_ORIGINAL_ROUTE, &matched.route().site.original_url);
    append_forwarded_for(headers, arrival.client);
    if arrival.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Rewrites the answer's headers for the client.
pub fn to_client(headers: &mut HeaderMap, matched: &Matched, router: &HeaderValue, processor: &str, switching: bool) {
    drop_hop_by_hop(headers);
    headers.remove(header::SERVER);
    let internal: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-accel-")).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
    if switching {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers.insert(X_PLATFORM_ROUTER, router.clone());
    set(headers, X_PLATFORM_PROCESSOR, processor);
    of_environment(headers, matched);
}

/// What every answer of an environment carries, also those that the router gives itself.
pub fn of_environment(headers: &mut HeaderMap, matched: &Matched) {
    let entry = matched.environment.entry();
    set(headers, X_PLATFORM_CLUSTER, &entry.cluster);
    if entry.restrict_robots {
        headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex, nofollow"));
    }
}

/// It asks for an upgrade to WebSocket.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        // A client must not be able to strip what the application relies on.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::AUTHORIZATION | header::COOKIE))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove(header::PROXY_AUTHORIZATION);
    headers.remove(header::PROXY_AUTHENTICATE);
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

/// HTTP/2 may split cookies over several fields; HTTP/1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (values.next(), values.next()) else { return };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, client: IpAddr) {
    let before: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let before = before.join(", ");
    let value = if before.is_empty() || before.len() > FORWARDED_FOR_BYTES_MAX { client.to_string() } else { format!("{before}, {client}") };
    set(headers, X_FORWARDED_FOR, &value);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(_) => {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())).collect()
    }

    #[test]
    fn hop_by_hop_headers_go_and_a_client_cannot_strip_what_the_application_relies_on() {
        let mut map = headers(&[
            ("connection", "close, X-Secret, Authorization, Host"),
            ("x-secret", "1"),
            ("authorization", "Basic x"),
            ("host", "a"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("upgrade", "h2c"),
        ]);
        assert!(!wants_websocket(&map));
        drop_hop_by_hop(&mut map);
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "host"]);
    }

    #[test]
    fn cookies_of_http2_become_one_field() {
        let mut map = HeaderMap::new();
        map.append(header::COOKIE, "a=1".parse().unwrap());
        map.append(header::COOKIE, "b=2".parse().unwrap());
        join_cookies(&mut map);
        assert_eq!(map.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_websocket_is_recognised_by_both_headers() {
        assert!(wants_websocket(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&headers(&[("upgrade", "websocket")])));
    }
}
