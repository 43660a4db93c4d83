//! What is held, and its bounds (F6, F7).

use crate::client::{Client, get};
use crate::{ROUTER, Stage};
use slipway_model::route::HoldLimits;
use std::time::Duration;

fn with(mut environment: slipway_model::route::RouteEnvironment, hold: HoldLimits) -> slipway_model::route::RouteEnvironment {
    environment.hold = hold;
    environment
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_leaves_in_order_and_paced() {
    let stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    let mut clients = Vec::new();
    for n in 0..400u64 {
        let mut client = Client::connect(stage.router.http).await;
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n")).await;
        clients.push(client);
        if n % 20 == 19 {
            stage.until_held(n + 1).await;
        }
    }
    stage.apply(stage.open_new(3)).await;
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().body, "new");
    }
    let order: Vec<i64> = stage.new.targets().iter().map(|target| target[1..].parse().unwrap()).collect();
    assert_eq!(order.len(), 400);
    // The order of leaving is exact (a test of the gate has it); 128 run at once and overtake one another on their way.
    // Without an order the mean distance from the place would be a third of the whole, 133.
    let distance: i64 = order.iter().enumerate().map(|(place, n)| (place as i64 - n).abs()).sum();
    assert!(distance / 400 < 80, "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_each_bound_a_request_is_answered_503_never_executed_and_counted() {
    let stage = Stage::set().await;
    let hold = HoldLimits { hold_time_max_ms: 60_000, requests_max: 4, body_bytes_max: 40_000, requests_per_client_max: 3 };
    stage.apply(with(stage.frozen(2), hold.clone())).await;
    let mut held = Vec::new();
    let post = async |bytes: usize| {
        let mut client = Client::connect(stage.router.http).await;
        client.send(format!("POST /b{bytes} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {bytes}\r\n\r\n")).await;
        client
    };
    held.push(post(30_000).await);
    stage.until_held(1).await;
    held.push(post(15_000).await);
    stage.until_held(2).await;
    // 16 KiB of the first, 15 000 of the second: there is no room for 10 000 more.
    let refused = post(10_000).await.answer().await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0), "{}", refused.head);
    assert!(refused.body.contains("bytes"), "{}", refused.body);
    held.push(post(1).await);
    stage.until_held(3).await;
    let refused = get(stage.router.http, "shop.test", "/client").await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("this client"), "{}", refused.body);
    let state = stage.scheduler.until(ROUTER, "shop", "2 refused", |state| state.rejected_total == 2).await;
    assert_eq!((state.held, state.held_total), (3, 3));
    let hold = HoldLimits { requests_max: 3, requests_per_client_max: 100, ..hold };
    stage.apply(with(stage.frozen(2), hold)).await;
    assert!(get(stage.router.http, "shop.test", "/count").await.body.contains("as many requests"));
    assert_eq!(stage.old.heads.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_a_hold_with_503_but_opens_no_gate() {
    let stage = Stage::set().await;
    let hold = HoldLimits { hold_time_max_ms: 300, ..HoldLimits::default() };
    stage.apply(with(stage.frozen(2), hold)).await;
    for path in ["/one", "/two"] {
        let answer = get(stage.router.http, "shop.test", path).await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("Not executed"), "{}", answer.body);
        assert!(answer.header("retry-after").is_some());
    }
    stage.scheduler.until(ROUTER, "shop", "2 refused", |state| state.rejected_total == 2 && state.held == 0).await;
    assert_eq!(stage.old.heads.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_gone_is_taken_out_and_never_forwarded_also_with_its_body_unread() {
    let stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    let mut leaves = Client::connect(stage.router.http).await;
    leaves.send("GET /gone-get HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let mut leaves_body = Client::connect(stage.router.http).await;
    leaves_body.send(format!("POST /gone-post HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 500000\r\n\r\n{}", "x".repeat(100_000))).await;
    let mut pipelines = Client::connect(stage.router.http).await;
    pipelines.send("GET /gone-first HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /gone-second HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let mut stays = Client::connect(stage.router.http).await;
    stays.send("GET /stays HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(4).await;
    drop((leaves, leaves_body, pipelines));
    stage.until_held(1).await;
    stage.apply(stage.open_new(3)).await;
    assert_eq!(stays.answer().await.unwrap().body, "new");
    assert_eq!(stage.new.targets(), ["/stays"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_in_the_instant_of_the_flip_is_not_forwarded() {
    let stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    for round in 0..10u64 {
        let mut client = Client::connect(stage.router.http).await;
        client.send(format!("POST /gone HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 90000\r\n\r\n{}", "x".repeat(80_000))).await;
        stage.until_held(1).await;
        // It is closed before the table comes, and long before the next look at the held.
        drop(client);
        stage.apply(stage.open_new(3 + 2 * round)).await;
        stage.scheduler.until(ROUTER, "shop", "none held", |state| state.held == 0).await;
        stage.apply(stage.frozen_new(4 + 2 * round)).await;
        assert_eq!(stage.new.heads.load(std::sync::atomic::Ordering::SeqCst), 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_continue_is_sent_while_held_and_the_body_follows_the_flip() {
    let stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    stage.until_held(1).await;
    assert!(client.is_silent_for(Duration::from_millis(300)).await);
    stage.apply(stage.open_new(3)).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 100"));
    client.send("hello").await;
    assert_eq!(client.answer().await.unwrap().body, "new");
    assert_eq!(stage.new.seen()[0].body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_that_began_before_the_freeze_ends_on_the_old_release_and_one_in_it_on_the_new() {
    let stage = Stage::set().await;
    let mut before = Client::connect(stage.router.http).await;
    before.send("POST /before HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    stage.old.until_heads(1).await;
    stage.apply(stage.frozen(2)).await;
    let mut during = Client::connect(stage.router.http).await;
    during.send("POST /during HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n").await;
    stage.until_held(1).await;
    before.send("3\r\ndef\r\n0\r\n\r\n").await;
    assert_eq!(before.answer().await.unwrap().body, "old");
    stage.apply(stage.open_new(3)).await;
    stage.new.until_heads(1).await;
    during.send("3\r\n456\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    assert_eq!(during.answer().await.unwrap().body, "new");
    assert_eq!(stage.old.seen()[0].body, b"abcdef");
    assert_eq!(stage.new.seen()[0].body, b"123456");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_leaves_the_table_answers_those_it_held() {
    let stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(1).await;
    stage.scheduler.apply(ROUTER, vec![]).await;
    assert_eq!(client.answer().await.unwrap().status, 404);
}
