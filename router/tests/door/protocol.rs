//! HTTP/1.1, WebSocket, event streams, and what is refused.

use crate::Stage;
use crate::client::{Client, get};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_and_requests_on_it_are_answered_one_after_another() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    for _ in 0..3 {
        assert_eq!(client.get("shop.test", "/a").await.status, 200);
    }
    // A pipelined second request waits for the first answer.
    client.send("GET /wait HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /second HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    stage.old.until_heads(4).await;
    assert!(client.is_silent_for(Duration::from_millis(100)).await);
    assert_eq!(stage.old.targets().last().unwrap(), "/wait");
    stage.old.go.send_replace(true);
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(stage.old.targets()[3..], ["/wait", "/second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("POST /up HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(stage.old.seen()[0].body, b"hello world");
    client.send("GET /trailers HTTP/1.1\r\nHost: shop.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.body, "hix-sum: 7\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_is_answered_when_the_application_listens() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("POST /up HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 100"));
    client.send("abc").await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    let mut client = Client::connect(stage.router.http).await;
    client.send("POST /up HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\nExpect: magic\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 417);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_servers_could_read_in_two_ways_is_refused_and_nothing_of_it_reaches_the_application() {
    let stage = Stage::set().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let cases = [
        (400, format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (400, format!("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}")),
        (400, format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n{smuggled}")),
        (501, format!("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (400, format!("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (400, format!("GET / HTTP/1.1\r\nHost: shop.test\r\nX: a\r\n folded\r\n\r\n{smuggled}")),
        (400, "GET / HTTP/1.1\nHost: shop.test\n\n".to_string()),
        (400, format!("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n{smuggled}")),
        (400, "GET / HTTP/1.1\r\n\r\n".to_string()),
        (400, "GET / HTTP/1.1\r\nHost: shop.test/x\r\n\r\n".to_string()),
        (431, format!("GET / HTTP/1.1\r\nHost: shop.test\r\nX: {}\r\n\r\n", "y".repeat(40_000))),
        (414, format!("GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n", "y".repeat(9_000))),
        (505, "GET / HTTP/3.0\r\nHost: shop.test\r\n\r\n".to_string()),
        (400, "GET http://other.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_string()),
        (405, "TRACE / HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_string()),
    ];
    for (status, bytes) in cases {
        let mut client = Client::connect(stage.router.http).await;
        client.send(&bytes).await;
        let answer = client.answer().await;
        let shown = &bytes[..bytes.len().min(120)];
        assert_eq!(answer.as_ref().map(|answer| answer.status), Some(status), "{shown:?} {answer:?}");
        if matches!(status, 400 | 501) && !bytes.contains("other.test") {
            assert!(client.is_closed().await, "{shown:?}");
        }
    }
    // A chunk that lies about its size ends the connection in the middle; the application sees no second request.
    let mut client = Client::connect(stage.router.http).await;
    client.send(format!("POST /lies HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n{smuggled}")).await;
    let _ = client.answer().await;
    assert!(stage.old.targets().iter().all(|target| target != "/smuggled"), "{:?}", stage.old.targets());
    assert_eq!(get(stage.router.http, "shop.test", "/still").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_carried_and_ends_with_1001_at_the_freeze() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client
        .send("GET /socket HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-accept: x"), "{head}");
    let frame = [0x82, 0x83, 0, 0, 0, 0, 1, 2, 3];
    client.send(frame).await;
    let echoed = client.exactly(2 + frame.len()).await.unwrap();
    assert_eq!(echoed[2..], frame);
    let freezing = stage.apply(stage.frozen(2));
    let close = async {
        let close = client.exactly(4).await.unwrap();
        assert_eq!((close[0], &close[2..4]), (0x88, &1001u16.to_be_bytes()[..]));
        client.exactly(usize::from(close[1]) - 2).await.unwrap();
        client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await;
        assert!(client.is_closed().await);
    };
    tokio::join!(freezing, close);
    stage.scheduler.until(crate::ROUTER, "shop", "the tunnel ended", |state| state.in_flight_old == 0).await;
    stage.old.until_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_something_else_is_not_passed_on() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("GET /head HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n").await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = answer.body.to_ascii_lowercase();
    assert!(!seen.contains("h2c") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_ends_in_order_at_the_flip_and_its_connection_can_be_used_again() {
    let stage = Stage::set().await;
    let mut client = Client::connect(stage.router.http).await;
    client.send("GET /events HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.contains("200 OK"), "{head}");
    assert_eq!(client.exactly(13).await.unwrap(), b"8\r\ndata: 1\n\r\n");
    stage.apply(stage.open_new(2)).await;
    assert_eq!(client.exactly(5).await.unwrap(), b"0\r\n\r\n");
    assert_eq!(client.get("shop.test", "/").await.body, "new");
    stage.old.until_connections(0).await;
}
