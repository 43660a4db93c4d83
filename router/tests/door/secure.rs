//! TLS and HTTP/2.

use crate::app::App;
use crate::scheduler::environment;
use crate::{ROUTER, Stage};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use slipway_model::route::Gate;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from(text)).map_err(std::io::Error::other).boxed_unsync()
}

async fn connect(stage: &Stage, name: &str, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(stage.router.handle.ca_certificate()).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(stage.router.https).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_string()).unwrap(), socket).await
}

async fn connect_http2(stage: &Stage, name: &str) -> http2::SendRequest<Body> {
    let stream = connect(stage, name, &[b"h2"]).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn answer(sender: &mut http2::SendRequest<Body>, request: Request<Body>) -> (StatusCode, String) {
    let answer = tokio::time::timeout(Duration::from_secs(20), sender.send_request(request)).await.expect("an answer").unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).to_string())
}

fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(format!("https://{host}{path}")).body(full("")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_host_of_the_table_has_a_certificate_of_the_local_authority_and_no_other_host_has() {
    let stage = Stage::set().await;
    for name in ["shop.test", "www.shop.test", "other.shop.test"] {
        assert!(connect(&stage, name, &[]).await.is_ok(), "{name}");
    }
    // A wildcard covers one label; invented deeper names make no certificates.
    for name in ["other.test", "shop.testx", "a.b.shop.test", "a.c.shop.test"] {
        assert!(connect(&stage, name, &[]).await.is_err(), "{name}");
    }
    let tls = stage.folder.path().join("router/tls");
    for key in ["ca.key", "hosts/shop.test.pem", "hosts/_.shop.test.pem"] {
        let mode = std::fs::metadata(tls.join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert_eq!(std::fs::read_dir(tls.join("hosts")).unwrap().count(), 2);
    assert!(stage.router.handle.how_to_trust().contains("ca.pem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_held_and_flipped() {
    let stage = Stage::set().await;
    let mut sender = connect_http2(&stage, "shop.test").await;
    let (status, head) = answer(&mut sender, get("shop.test", "/head")).await;
    assert_eq!(status, 200);
    let head = head.to_ascii_lowercase();
    for line in ["x-forwarded-proto: https", "x-client-ssl: on", "host: shop.test", "x-original-route: https://{default}/"] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    stage.apply(stage.frozen(2)).await;
    let mut held = Vec::new();
    for n in 0..5 {
        let mut sender = sender.clone();
        held.push(tokio::spawn(async move { answer(&mut sender, get("shop.test", &format!("/held{n}"))).await }));
    }
    stage.until_held(5).await;
    // One stream is reset by its client: it is not forwarded.
    held.pop().unwrap().abort();
    stage.until_held(4).await;
    stage.apply(stage.open_new(3)).await;
    for task in held {
        assert_eq!(task.await.unwrap(), (StatusCode::OK, "new".to_string()));
    }
    assert_eq!(stage.new.targets().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_bodies_of_one_tenant_do_not_stall_streams_of_another_on_the_same_connection() {
    let stage = Stage::set().await;
    let blog = App::start("blog").await;
    let open = environment("blog", 1, Gate::Open, "blog", &[blog.address]);
    stage.scheduler.apply(ROUTER, vec![open, stage.frozen(2)]).await;
    let mut sender = connect_http2(&stage, "shop.test").await;
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut sender = sender.clone();
        held.push(tokio::spawn(async move {
            // Each fills its own window, and would fill more.
            let chunks = futures::stream::iter((0..64).map(|_| Ok(Frame::data(Bytes::from(vec![7; 16 << 10])))));
            let request = Request::post("https://shop.test/big").body(StreamBody::new(chunks).boxed_unsync()).unwrap();
            let _ = sender.send_request(request).await;
        }));
    }
    stage.until_held(60).await;
    for _ in 0..5 {
        let upload = Request::post("https://blog.test/up").body(Full::new(Bytes::from(vec![1; 200_000])).map_err(std::io::Error::other).boxed_unsync()).unwrap();
        assert_eq!(answer(&mut sender, upload).await.0, StatusCode::OK);
    }
    assert!(blog.seen().iter().all(|seen| seen.body.len() == 200_000));
    for task in held {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_is_spoken_over_tls_as_well() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let stage = Stage::set().await;
    let mut stream = connect(&stage, "shop.test", &[b"http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("old"), "{text}");
    let mut stream = connect(&stage, "shop.test", &[b"http/1.1"]).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
}
