//! Freeze and flip: F2 on the router's side, F8, F9, F10.

use crate::client::{Client, get};
use crate::scheduler::environment;
use crate::{ROUTER, Stage};
use slipway_model::route::Gate;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_every_method_and_the_flip_sends_them_to_the_new_release_alone() {
    let stage = Stage::set().await;
    assert_eq!(get(stage.router.http, "shop.test", "/").await.body, "old");
    stage.apply(stage.frozen(2)).await;
    let mut clients = Vec::new();
    for (n, method) in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"].iter().enumerate() {
        let mut client = Client::connect(stage.router.http).await;
        client.send(format!("{method} /held{n} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi")).await;
        clients.push(client);
    }
    stage.until_held(6).await;
    for client in &mut clients {
        assert!(client.is_silent_for(Duration::from_millis(50)).await);
    }
    assert_eq!(stage.new.seen().len() + stage.old.seen().len(), 1);
    stage.apply(stage.open_new(3)).await;
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().body, "new");
    }
    let mut targets = stage.new.targets();
    targets.sort();
    assert_eq!(targets, ["/held0", "/held1", "/held2", "/held3", "/held4", "/held5"]);
    assert!(stage.new.seen().iter().all(|seen| seen.body == b"hi"));
    assert_eq!(stage.old.targets(), ["/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_opens_on_the_old_release_with_fresh_endpoints() {
    let stage = Stage::set().await;
    get(stage.router.http, "shop.test", "/before").await;
    stage.apply(stage.frozen(2)).await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.until_held(1).await;
    let fresh = crate::App::start("old").await;
    stage.apply(environment("shop", 3, Gate::Open, "old", &[fresh.address])).await;
    assert_eq!(client.answer().await.unwrap().body, "old");
    assert_eq!(fresh.targets(), ["/held"]);
    assert_eq!(stage.old.targets(), ["/before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_ends_on_its_release_is_named_meanwhile_and_its_connection_is_closed() {
    let stage = Stage::set().await;
    // Two idle connections and one that is busy.
    let mut slow = Client::connect(stage.router.http).await;
    slow.send("POST /wait/checkout HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n").await;
    stage.old.until_heads(1).await;
    get(stage.router.http, "shop.test", "/").await;
    stage.apply(stage.frozen(2)).await;
    let state = stage.scheduler.until(ROUTER, "shop", "the slow request", |state| state.in_flight_old == 1).await;
    assert!(state.slowest[0].starts_with("POST /wait/checkout, "), "{:?}", state.slowest);
    // The idle one of the old epoch is closed by the freeze, the busy one is not.
    stage.old.until_connections(1).await;
    stage.old.go.send_replace(true);
    assert_eq!(slow.answer().await.unwrap().body, "old");
    stage.scheduler.until(ROUTER, "shop", "nothing under way", |state| state.in_flight_old == 0).await;
    stage.old.until_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flip_without_a_freeze_holds_nothing_and_loses_nothing() {
    let stage = Stage::set().await;
    let mut slow = Client::connect(stage.router.http).await;
    slow.send("GET /wait HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.old.until_heads(1).await;
    stage.apply(stage.open_new(2)).await;
    assert_eq!(get(stage.router.http, "shop.test", "/").await.body, "new");
    stage.old.go.send_replace(true);
    assert_eq!(slow.answer().await.unwrap().body, "old");
    // On the same connection the next request sees the new release.
    assert_eq!(slow.get("shop.test", "/").await.body, "new");
    let state = stage.scheduler.until(ROUTER, "shop", "nothing under way", |state| state.in_flight_old == 0).await;
    assert_eq!((state.held_total, state.rejected_total), (0, 0));
}

/// Load through 60 flips: nothing arrives in the exclusive window, nothing is lost, nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_nothing_arrives_in_the_exclusive_window_and_nothing_is_lost_or_doubled() {
    let stage = Stage::set().await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = Vec::new();
    for _ in 0..16 {
        let (address, stop, count) = (stage.router.http, Arc::clone(&stop), Arc::clone(&count));
        load.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !stop.load(Ordering::SeqCst) {
                let n = count.fetch_add(1, Ordering::SeqCst);
                let body = "x".repeat((n % 7) as usize * 100);
                client.send(format!("POST /n{n} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
                let answer = client.answer().await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }));
    }
    let (mut epoch, mut closing, mut opening) = (1, Vec::new(), Vec::new());
    for round in 0..60 {
        epoch += 1;
        let (from, to) = if round % 2 == 0 { (&stage.old, &stage.new) } else { (&stage.new, &stage.old) };
        let begun = Instant::now();
        stage.apply(environment("shop", epoch, Gate::Frozen, from.name, &[from.address])).await;
        stage.scheduler.until(ROUTER, "shop", "drained", |state| state.epoch.0 == epoch && state.in_flight_old == 0).await;
        closing.push(begun.elapsed());
        from.until_connections(0).await;
        for app in [from, to] {
            app.exclusive.store(true, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        for app in [from, to] {
            app.exclusive.store(false, Ordering::SeqCst);
        }
        epoch += 1;
        let begun = Instant::now();
        stage.apply(environment("shop", epoch, Gate::Open, to.name, &[to.address])).await;
        opening.push(begun.elapsed());
        let before = to.heads.load(Ordering::SeqCst);
        to.until_heads(before + 20).await;
    }
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    let mut seen: Vec<String> = stage.old.targets().into_iter().chain(stage.new.targets()).collect();
    seen.sort();
    let mut sent: Vec<String> = (0..count.load(Ordering::SeqCst)).map(|n| format!("/n{n}")).collect();
    sent.sort();
    assert_eq!(seen, sent);
    for app in [&stage.old, &stage.new] {
        assert_eq!(app.violations.load(Ordering::SeqCst), 0);
    }
    closing.sort();
    opening.sort();
    println!("{} requests over 60 flips with a freeze", sent.len());
    println!("from the table to drained: median {:?}, longest {:?}; from the table to open: {:?}, {:?}", closing[30], closing[59], opening[30], opening[59]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_never_sent_again_and_what_was_not_goes_to_another_member() {
    let stage = Stage::set().await;
    let dead = crate::App::start("dead").await;
    dead.close();
    crate::eventually(|| std::net::TcpStream::connect(dead.address).is_err(), "a refused port").await;
    // Members: one that refuses, two that live.
    stage.apply(environment("shop", 2, Gate::Open, "old", &[dead.address, stage.old.address, stage.new.address])).await;
    for n in 0..12 {
        assert_eq!(get(stage.router.http, "shop.test", &format!("/n{n}")).await.status, 200);
    }
    let before = stage.old.seen().len() + stage.new.seen().len();
    assert_eq!(before, 12);
    for (n, method) in ["GET", "POST"].iter().enumerate() {
        let mut client = Client::connect(stage.router.http).await;
        client.send(format!("{method} /close HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 502);
        assert_eq!(stage.old.seen().len() + stage.new.seen().len(), before + n + 1, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_application_closes_costs_no_request() {
    let stage = Stage::set().await;
    for n in 0..20 {
        // `/last` answers and then closes without a word of it, after the answer.
        assert_eq!(get(stage.router.http, "shop.test", "/last").await.status, 200);
        assert_eq!(get(stage.router.http, "shop.test", &format!("/n{n}")).await.status, 200);
    }
    assert_eq!(stage.old.seen().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_behind_waits_for_the_table_instead_of_failing() {
    let stage = Stage::set().await;
    // The endpoints of epoch 1 are closed while this router has not heard of epoch 2 (F8).
    stage.old.close();
    crate::eventually(|| std::net::TcpStream::connect(stage.old.address).is_err(), "a refused port").await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("POST /late HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi").await;
    assert!(client.is_silent_for(Duration::from_millis(300)).await);
    stage.apply(stage.open_new(2)).await;
    assert_eq!(client.answer().await.unwrap().body, "new");
    assert_eq!(stage.new.targets(), ["/late"]);
    // And when no table comes it is told, not executed.
    stage.new.close();
    crate::eventually(|| std::net::TcpStream::connect(stage.new.address).is_err(), "a refused port").await;
    stage.new.until_connections(1).await;
    let other = crate::App::start("other").await;
    other.close();
    crate::eventually(|| std::net::TcpStream::connect(other.address).is_err(), "a refused port").await;
    stage.apply(environment("shop", 3, Gate::Open, "new", &[other.address])).await;
    let answer = get(stage.router.http, "shop.test", "/never").await;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("not executed"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_versions_and_epochs_are_not_taken() {
    let stage = Stage::set().await;
    stage.scheduler.publish_version(10, vec![stage.open_new(4)]);
    stage.scheduler.acked(ROUTER, 10).await;
    stage.scheduler.publish_version(9, vec![stage.open_old(9)]);
    stage.scheduler.publish_version(11, vec![stage.open_old(3)]);
    stage.scheduler.acked(ROUTER, 11).await;
    assert_eq!(get(stage.router.http, "shop.test", "/").await.body, "new");
    assert_eq!(stage.router.handle.tables.current().version(), 11);
}
