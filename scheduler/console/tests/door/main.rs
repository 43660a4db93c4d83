//! The console through its front door, before a platform that lives in this process.

mod browser;
mod fake;

use browser::Browser;
use fake::{ADMIN, Fake, HOSTILE, VIEWER};
use slipway_console::{Console, Options};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

async fn console() -> (Fake, SocketAddr, CancellationToken) {
    let (fake, api) = Fake::start().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{api}")).unwrap().connect_lazy();
    let console = Console::bind(Options { listen: "127.0.0.1:0".parse().unwrap(), api: channel }).await.unwrap();
    let address = console.address();
    let shutdown = CancellationToken::new();
    tokio::spawn(console.run(shutdown.clone()));
    (fake, address, shutdown)
}

async fn signed_in(address: SocketAddr, token: &str) -> Browser {
    let mut browser = Browser::new(address);
    assert_eq!(browser.sign_in(token).await.status, 303);
    browser
}

#[tokio::test]
async fn nobody_sees_a_page_without_a_token_that_opens_something() {
    let (_, address, _) = console().await;
    let mut browser = Browser::new(address);
    let sent = browser.get("/activities/act-live").await;
    assert_eq!((sent.status, sent.header("location")), (303, "/sign-in?next=%2Factivities%2Fact-live"));
    let refused = browser.sign_in("slt-wrong").await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("opens nothing here"));
    assert!(!refused.body.contains("slt-wrong"));
    assert!(!browser.cookies.contains_key("slipway_session"));
    assert_eq!(browser.post("/sign-in", &format!("csrf=forged&token={ADMIN}")).await.status, 403);
    let entered = browser.sign_in(ADMIN).await;
    assert_eq!(entered.header("location"), "/projects");
    let cookie = entered.headers.iter().find(|(_, v)| v.starts_with("slipway_session=")).expect("a session").1.clone();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(ADMIN), "{cookie}");
}

#[tokio::test]
async fn after_signing_out_the_old_cookie_opens_nothing() {
    let (_, address, _) = console().await;
    let mut browser = signed_in(address, ADMIN).await;
    let page = browser.get("/projects").await;
    let kept = browser.cookies.clone();
    assert_eq!(browser.post("/sign-out", "csrf=forged").await.status, 403);
    assert_eq!(browser.post("/sign-out", &format!("csrf={}", page.csrf())).await.status, 303);
    browser.cookies = kept;
    assert_eq!(browser.get("/projects").await.status, 303);
}

#[tokio::test]
async fn pages_forbid_everything_from_elsewhere_and_text_stays_text() {
    let (fake, address, _) = console().await;
    fake.write("error", 1, HOSTILE, HOSTILE);
    let mut browser = signed_in(address, ADMIN).await;
    let paths = ["/projects", "/projects/shop", "/projects/shop/environments/main", "/projects/shop/environments/sprint%2F4", "/activities/act-live", "/activities/act-failed", "/nodes"];
    for path in paths {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control"), "no-store");
        for inline in ["<script>", " style=", " onclick=", "<style"] {
            assert!(!page.body.contains(inline), "{path}: {inline}");
        }
    }
    assert!(browser.get("/activities/act-live").await.body.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn a_project_shows_its_environments_and_where_to_push() {
    let (_, address, _) = console().await;
    let mut browser = signed_in(address, ADMIN).await;
    let page = browser.get("/projects/shop").await.body;
    for shown in ["ssh://shop@localhost:7022/shop.git", "/projects/shop/environments/sprint%2F4", "https://main-kmx3q2a-shop.localhost:8443/", "plan_storage_mb"] {
        assert!(page.contains(shown), "{shown}");
    }
    let unknown = browser.get("/projects/other").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("or it is not yours"));
}

#[tokio::test]
async fn who_has_nothing_yet_is_told_what_to_do_next() {
    let (_, address, _) = console().await;
    let mut browser = signed_in(address, VIEWER).await;
    assert!(browser.get("/projects").await.body.contains("slipway project grant vic"));
    let inactive = browser.get("/projects/shop/environments/sprint%2F4").await.body;
    assert!(inactive.contains("slipway environment activate sprint/4"));
}

#[tokio::test]
async fn buttons_are_there_by_role_and_the_api_decides() {
    let (fake, address, _) = console().await;
    let path = "/projects/shop/environments/main";
    let mut viewer = signed_in(address, VIEWER).await;
    let page = viewer.get(path).await;
    assert!(!page.body.contains("Redeploy") && !page.body.contains("Go back to it"));
    let refused = viewer.post(&format!("{path}/redeploy"), &format!("csrf={}", page.csrf())).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("yours is &#39;viewer&#39;") || refused.body.contains("yours is 'viewer'"));
    assert_eq!(viewer.get("/nodes").await.status, 403);

    let mut admin = signed_in(address, ADMIN).await;
    let page = admin.get(path).await;
    assert!(page.body.contains("Redeploy") && page.body.contains("Go back to it"));
    assert_eq!(admin.post(&format!("{path}/redeploy"), "csrf=forged").await.status, 403);
    assert!(fake.asked.lock().unwrap().is_empty());
    let csrf = page.csrf();
    let begun = admin.post(&format!("{path}/rollback"), &format!("csrf={csrf}&release=rel-6")).await;
    assert_eq!(begun.header("location"), "/activities/act-live");
    admin.post(&format!("{path}/redeploy"), &format!("csrf={csrf}")).await;
    let back = admin.post("/projects/shop/environments/sprint%2F4/activate", &format!("csrf={csrf}")).await;
    assert_eq!(back.header("location"), "/projects/shop/environments/sprint%2F4");
    assert!(admin.get("/projects/shop/environments/sprint%2F4").await.body.contains("It is active already."));
    assert_eq!(*fake.asked.lock().unwrap(), ["rollback main rel-6", "redeploy main", "activate sprint/4"]);
}

#[tokio::test]
async fn an_activity_shows_phases_builds_freeze_and_why_it_failed() {
    let (fake, address, _) = console().await;
    fake.write("info", 0, "", "Processing activity");
    fake.write("warning", 2, "front", "a deprecated key");
    fake.seal();
    let mut browser = signed_in(address, ADMIN).await;
    let page = browser.get("/activities/act-live").await.body;
    for shown in ["18.2 s", "reused", "Requests held", "1.5 s", "a deprecated key", "class=\"i2 warning\"", "https://main-kmx3q2a-shop.localhost:8443/"] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains("data-events"), "what has ended is not followed");
    let failed = browser.get("/activities/act-failed").await.body;
    assert!(failed.contains("ended with status 3") && failed.contains("SQLSTATE[42S02]") && !failed.contains("\u{1b}"));
}

#[tokio::test]
async fn the_live_log_goes_on_after_a_break_without_gap_or_repeat() {
    let (fake, address, _) = console().await;
    for n in 0..3 {
        fake.write("info", 0, "", &format!("line {n}"));
    }
    let mut browser = signed_in(address, ADMIN).await;
    let page = browser.get("/activities/act-live").await.body;
    assert!(page.contains("data-next=\"3\"") && page.contains("line 2"));

    let mut first = browser.events("/activities/act-live/events?from=3", None).await;
    assert_eq!(first.status, 200);
    fake.write("error", 1, "front", "line 3");
    fake.write("info", 0, "", "line 4");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (id, _, data) = first.next().await.unwrap();
        assert!(data.contains(&format!("line {id}")), "{data}");
        seen.push(id);
    }
    drop(first);

    fake.write("info", 0, "", "line 5");
    let mut second = browser.events("/activities/act-live/events?from=3", Some(4)).await;
    fake.write("info", 0, "", "line 6");
    fake.seal();
    let mut names = Vec::new();
    while let Some((id, name, _)) = second.next().await {
        seen.push(id);
        names.push(name);
    }
    assert_eq!(seen, [3, 4, 5, 6, 7]);
    assert_eq!(names, ["message", "message", "seal"]);

    let after = browser.events("/activities/act-live/events", Some(7)).await;
    assert_eq!(after.status, 204, "a browser is told not to come back");
}

#[tokio::test]
async fn shutdown_ends_live_logs() {
    let (fake, address, shutdown) = console().await;
    fake.write("info", 0, "", "line 0");
    let browser = signed_in(address, ADMIN).await;
    let mut events = browser.events("/activities/act-live/events", None).await;
    assert_eq!(events.next().await.unwrap().0, 0);
    shutdown.cancel();
    assert!(events.next().await.is_none());
}
