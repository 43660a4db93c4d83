//! Routers come and go: without a scheduler, after a restart, and while their successor takes over.

use crate::app::App;
use crate::client::{Client, get};
use crate::scheduler::{Scheduler, environment};
use crate::{ROUTER, Stage, options, start};
use slipway_model::route::{Gate, HoldLimits};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_scheduler_it_serves_on_and_a_new_one_is_followed() {
    let stage = Stage::set().await;
    let address = stage.scheduler.address;
    stage.scheduler.stop();
    for _ in 0..5 {
        assert_eq!(get(stage.router.http, "shop.test", "/").await.body, "old");
    }
    let scheduler = Scheduler::start_at(address).await;
    scheduler.publish_version(5, vec![stage.open_new(2)]);
    scheduler.acked(ROUTER, 5).await;
    assert_eq!(get(stage.router.http, "shop.test", "/").await.body, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_without_a_scheduler_the_saved_table_is_served() {
    let mut stage = Stage::set().await;
    get(stage.router.http, "shop.test", "/").await;
    let saved = stage.folder.path().join("router/table.json");
    crate::eventually(|| saved.exists(), "the saved table").await;
    stage.router.stop().await;
    stage.scheduler.stop();
    let again = start(options(stage.folder.path(), &[stage.scheduler.address])).await;
    assert_eq!(get(again.http, "shop.test", "/").await.body, "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_was_saved_frozen_stays_frozen_after_a_restart_without_a_scheduler() {
    let mut stage = Stage::set().await;
    let mut frozen = stage.frozen(2);
    frozen.hold = HoldLimits { hold_time_max_ms: 400, ..HoldLimits::default() };
    let version = stage.apply(frozen).await;
    let saved = stage.folder.path().join("router/table.json");
    crate::eventually(|| std::fs::read_to_string(&saved).is_ok_and(|text| text.contains(&format!("\"version\":{version}"))), "the saved table").await;
    stage.router.stop().await;
    stage.scheduler.stop();
    let again = start(options(stage.folder.path(), &[stage.scheduler.address])).await;
    for _ in 0..3 {
        assert_eq!(get(again.http, "shop.test", "/").await.status, 503);
    }
    assert_eq!(stage.old.heads.load(Ordering::SeqCst), 0);
    // What was saved is a floor: a scheduler that knows less is not believed.
    let scheduler = Scheduler::start_at(stage.scheduler.address).await;
    scheduler.publish_version(version - 1, vec![stage.open_old(1)]);
    crate::eventually(|| !scheduler.hellos.lock().unwrap().is_empty(), "a hello").await;
    assert_eq!(get(again.http, "shop.test", "/").await.status, 503);
    scheduler.publish_version(version + 1, vec![stage.open_new(3)]);
    scheduler.acked(ROUTER, version + 1).await;
    assert_eq!(get(again.http, "shop.test", "/").await.body, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_router_without_any_table_says_so_and_one_with_a_scheduler_begins_with_the_current_table() {
    let folder = tempfile::tempdir().unwrap();
    let scheduler = Scheduler::start().await;
    let new = start(options(folder.path(), &[scheduler.address])).await;
    let answer = get(new.http, "shop.test", "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("no route table"), "{}", answer.body);
    // A second one, which had a table once, hears of a newer one before its first request.
    let mut stage = Stage::set().await;
    stage.router.stop().await;
    stage.scheduler.publish(vec![stage.open_new(2)]);
    let again = start(options(stage.folder.path(), &[stage.scheduler.address])).await;
    assert_eq!(get(again.http, "shop.test", "/").await.body, "new");
    assert!(stage.old.targets().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_ends_answers_what_is_under_way_and_what_it_holds() {
    let mut stage = Stage::set().await;
    let mut slow = Client::connect(stage.router.http).await;
    slow.send("GET /wait HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.old.until_heads(1).await;
    stage.apply(stage.frozen(2)).await;
    let mut held = Client::connect(stage.router.http).await;
    held.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(1).await;
    stage.router.ask_to_stop();
    let http = stage.router.http;
    crate::eventually(|| std::net::TcpStream::connect(http).is_err(), "a closed door").await;
    stage.apply(stage.open_new(3)).await;
    assert_eq!(held.answer().await.unwrap().body, "new");
    stage.old.go.send_replace(true);
    assert_eq!(slow.answer().await.unwrap().body, "old");
    stage.router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_under_load_loses_nothing() {
    let mut stage = Stage::set().await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = Vec::new();
    for kept in [true, true, true, false, false, false] {
        let (address, stop, count) = (stage.router.http, Arc::clone(&stop), Arc::clone(&count));
        load.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !stop.load(Ordering::SeqCst) {
                let n = count.fetch_add(1, Ordering::SeqCst);
                client.send(format!("POST /n{n} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi")).await;
                let answer = client.answer().await.expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
                if !kept || answer.header("connection") == Some("close") {
                    client = Client::connect(address).await;
                }
            }
        }));
    }
    for _ in 0..4 {
        let before = stage.old.heads.load(Ordering::SeqCst);
        stage.old.until_heads(before + 50).await;
        let next = start(options(stage.folder.path(), &[stage.scheduler.address])).await;
        assert_eq!(next.http, stage.router.http);
        let mut former = std::mem::replace(&mut stage.router, next);
        tokio::time::timeout(Duration::from_secs(20), &mut former.task).await.expect("the former router ends").unwrap();
    }
    let before = stage.old.heads.load(Ordering::SeqCst);
    stage.old.until_heads(before + 50).await;
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    let mut seen = stage.old.targets();
    seen.sort();
    let mut sent: Vec<String> = (0..count.load(Ordering::SeqCst)).map(|n| format!("/n{n}")).collect();
    sent.sort();
    assert_eq!(seen, sent);
    println!("{} requests over 4 hand-overs", sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_hands_over_still_opens_its_gate_for_what_it_holds() {
    let mut stage = Stage::set().await;
    stage.apply(stage.frozen(2)).await;
    let mut held = Client::connect(stage.router.http).await;
    held.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(1).await;
    let next = start(options(stage.folder.path(), &[stage.scheduler.address])).await;
    let mut former = std::mem::replace(&mut stage.router, next);
    let has_own_name = || stage.scheduler.hellos.lock().unwrap().iter().any(|name| name.starts_with("router-1-"));
    crate::eventually(has_own_name, "the former router under a name of its own").await;
    stage.apply(stage.open_new(3)).await;
    assert_eq!(held.answer().await.unwrap().body, "new");
    tokio::time::timeout(Duration::from_secs(20), &mut former.task).await.expect("the former router ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_one_environment_does_not_touch_another() {
    let stage = Stage::set().await;
    let other = App::start("blog").await;
    let blog = environment("blog", 1, Gate::Open, "blog", &[other.address]);
    stage.scheduler.apply(ROUTER, vec![blog.clone(), stage.frozen(2)]).await;
    let mut held = Client::connect(stage.router.http).await;
    held.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(1).await;
    assert_eq!(get(stage.router.http, "blog.test", "/").await.body, "blog");
    stage.scheduler.apply(ROUTER, vec![blog, stage.open_new(3)]).await;
    assert_eq!(held.answer().await.unwrap().body, "new");
}
