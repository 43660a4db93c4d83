//! Which answer a host and path get, and which headers travel.

use crate::client::{Client, get};
use crate::scheduler::environment;
use crate::{ROUTER, Stage};
use slipway_model::route::{Gate, PathRedirect, RouteAction};

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_matched_exactly_then_by_wildcard_and_others_get_a_clear_404() {
    let stage = Stage::set().await;
    for host in ["shop.test", "SHOP.test", "shop.test:8080", "shop.test.", "www.shop.test"] {
        assert_eq!(get(stage.router.http, host, "/").await.status, 200, "{host}");
    }
    for host in ["other.test", "shop.testx", "127.0.0.1", "[::1]:80"] {
        let answer = get(stage.router.http, host, "/").await;
        assert_eq!(answer.status, 404, "{host}");
        assert!(answer.body.contains("No site is served"), "{}", answer.body);
        assert!(!answer.body.contains(host));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_the_specification_arrive_and_a_client_cannot_forge_them() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client
        .send(
            "GET /head?a=1 HTTP/1.1\r\nHost: Shop.test\r\nX-Forwarded-Proto: https\r\nX-Client-IP: 6.6.6.6\r\nX-Client-SSL: on\r\n\
             X-Original-Route: x\r\nX-Forwarded-For: 9.9.9.9\r\nProxy: evil\r\nConnection: X-Drop, keep-alive\r\nX-Drop: 1\r\n\
             X-Client-Verify: SUCCESS\r\nAuthorization: Basic abc\r\nCookie: a=1\r\n\r\n",
        )
        .await;
    let answer = client.answer().await.unwrap();
    let seen = answer.body.to_ascii_lowercase();
    for line in [
        "get /head?a=1 http/1.1\r\n",
        "host: shop.test\r\n",
        "x-forwarded-proto: http\r\n",
        "x-client-ip: 127.0.0.1\r\n",
        "x-original-route: http://{default}/\r\n",
        "x-forwarded-for: 9.9.9.9, 127.0.0.1\r\n",
        "authorization: basic abc\r\n",
        "cookie: a=1\r\n",
    ] {
        assert!(seen.contains(line), "{line:?} is not in {seen}");
    }
    for absent in ["x-client-ssl", "proxy: evil", "x-drop", "connection: x", "x-client-verify", "6.6.6.6"] {
        assert!(!seen.contains(absent), "{absent:?} is in {seen}");
    }
    assert_eq!(answer.header("x-platform-cluster"), Some("shop-main"));
    assert_eq!(answer.header("x-platform-router"), Some(ROUTER));
    assert_eq!(answer.header("x-platform-processor"), Some("i-old0"));
    assert_eq!((answer.header("server"), answer.header("x-accel-expires")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_robots_are_answered_also_while_frozen() {
    let stage = Stage::set().await;
    let mut entry = environment("shop", 2, Gate::Frozen, "old", &[stage.old.address]);
    entry.restrict_robots = true;
    let rule = |from: &str, to: &str, regexp: bool| PathRedirect {
        from: from.into(),
        to: to.into(),
        regexp,
        prefix: !regexp,
        append_suffix: !regexp,
        code: 301,
        expires_seconds: 3600,
    };
    entry.routes[0].redirects = vec![rule("/from", "/to", false), rule("^/re/([0-9]+)$", "https://x.test/$1", true)];
    entry.routes[1].action = RouteAction::Redirect { to: "https://shop.test/".into(), code: 301 };
    stage.apply(entry).await;
    let answer = get(stage.router.http, "shop.test", "/from/a?b=c").await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("/to/a?b=c")));
    assert_eq!(answer.header("cache-control"), Some("max-age=3600"));
    assert_eq!(get(stage.router.http, "shop.test", "/re/42").await.header("location"), Some("https://x.test/42"));
    let answer = get(stage.router.http, "www.shop.test", "/foo/bar?x=1").await;
    assert_eq!(answer.header("location"), Some("https://shop.test/foo/bar?x=1"));
    let answer = get(stage.router.http, "shop.test", "/robots.txt").await;
    assert!(answer.body.contains("Disallow: /"), "{}", answer.body);
    assert_eq!(answer.header("x-robots-tag"), Some("noindex, nofollow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_without_anything_behind_it_answers_503() {
    let stage = Stage::set().await;
    stage.apply(environment("shop", 2, Gate::Open, "old", &[])).await;
    let answer = get(stage.router.http, "shop.test", "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_a_line_per_request() {
    let stage = Stage::set().await;
    get(stage.router.http, "shop.test", "/logged?x=1").await;
    get(stage.router.http, "other.test", "/nowhere").await;
    let path = stage.folder.path().join("access.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    crate::eventually(|| read().lines().count() >= 2, "two lines").await;
    let lines: Vec<serde_json::Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["path"] == "/logged").unwrap();
    assert_eq!((&line["status"], &line["environment"], &line["instance"], &line["bytes"]), (&200.into(), &"shop".into(), &"i-old0".into(), &3.into()));
    assert!(lines.iter().any(|line| line["status"] == 404));
}
