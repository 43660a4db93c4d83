//! An application that remembers everything that reached it, down to the connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub target: String,
    pub body: Vec<u8>,
}

#[derive(Clone)]
pub struct App {
    pub address: SocketAddr,
    pub name: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Heads that arrived, whole requests or not.
    pub heads: Arc<AtomicU64>,
    pub open: watch::Sender<i64>,
    /// Requests must not arrive now.
    pub exclusive: Arc<AtomicBool>,
    pub violations: Arc<AtomicU64>,
    /// `/wait` answers when it is set.
    pub go: watch::Sender<bool>,
    accepting: Arc<tokio::task::JoinHandle<()>>,
}

impl App {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut app = Self {
            address,
            name,
            seen: Arc::default(),
            heads: Arc::default(),
            open: watch::Sender::new(0),
            exclusive: Arc::default(),
            violations: Arc::default(),
            go: watch::Sender::new(false),
            accepting: Arc::new(tokio::spawn(async {})),
        };
        let me = app.clone();
        app.accepting = Arc::new(tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let me = me.clone();
                tokio::spawn(async move {
                    me.open.send_modify(|open| *open += 1);
                    let open = me.open.clone();
                    let _ = me.serve(socket).await;
                    open.send_modify(|open| *open -= 1);
                });
            }
        }));
        app
    }

    /// Closes the listening socket: connections are refused from now on.
    pub fn close(&self) {
        self.accepting.abort();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }

    pub async fn until_connections(&self, n: i64) {
        let mut open = self.open.subscribe();
        let done = tokio::time::timeout(Duration::from_secs(10), open.wait_for(|open| *open == n)).await;
        assert!(done.is_ok(), "{} connections stay open, not {n}", *self.open.borrow());
    }

    pub async fn until_heads(&self, n: u64) {
        super::eventually(|| self.heads.load(Ordering::SeqCst) >= n, &format!("{n} heads at {}", self.name)).await;
    }

    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at + 4;
                }
                if socket.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            };
            let head = String::from_utf8_lossy(&buffer[..end]).to_string();
            buffer.drain(..end);
            if self.exclusive.load(Ordering::SeqCst) {
                self.violations.fetch_add(1, Ordering::SeqCst);
            }
            self.heads.fetch_add(1, Ordering::SeqCst);
            let target = head.split(' ').nth(1).unwrap_or("").to_string();
            if target.starts_with("/close") {
                self.remember(&head, &target, Vec::new());
                return Ok(());
            }
            let lower = head.to_ascii_lowercase();
            let body = if lower.contains("transfer-encoding: chunked") {
                chunked(&mut socket, &mut buffer).await?
            } else {
                let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.trim().parse().unwrap());
                while buffer.len() < length {
                    if socket.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
                buffer.drain(..length).collect()
            };
            self.remember(&head, &target, body);
            if !self.answer(&mut socket, &head, &target).await? {
                return Ok(());
            }
        }
    }

    fn remember(&self, head: &str, target: &str, body: Vec<u8>) {
        self.seen.lock().unwrap().push(Seen { head: head.to_string(), target: target.to_string(), body });
    }

    /// True when the connection goes on.
    async fn answer(&self, socket: &mut TcpStream, head: &str, target: &str) -> std::io::Result<bool> {
        if target.starts_with("/hang") {
            std::future::pending::<()>().await;
        }
        if target.starts_with("/wait") {
            let _ = self.go.subscribe().wait_for(|go| *go).await;
        }
        if target.starts_with("/events") {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            socket.write_all(b"8\r\ndata: 1\n\r\n").await?;
            let mut rest = [0; 16];
            while socket.read(&mut rest).await? > 0 {}
            return Ok(false);
        }
        if target.starts_with("/socket") {
            socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n").await?;
            // Echoes bytes until a close frame or the end.
            let mut bytes = [0; 1024];
            loop {
                let n = socket.read(&mut bytes).await?;
                if n == 0 || bytes[0] & 0x0f == 8 {
                    return Ok(false);
                }
                socket.write_all(&[0x82, n as u8]).await?;
                socket.write_all(&bytes[..n]).await?;
            }
        }
        if target.starts_with("/trailers") {
            socket.write_all(b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n").await?;
            return Ok(true);
        }
        let body = if target.starts_with("/head") { head.to_string() } else { self.name.to_string() };
        let extra = if target.starts_with("/last") { "connection: close\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nserver: secret/1\r\nx-accel-expires: 1\r\nx-app: {}\r\n{extra}content-length: {}\r\n\r\n{body}",
            self.name,
            body.len()
        );
        socket.write_all(answer.as_bytes()).await?;
        Ok(extra.is_empty())
    }
}

async fn chunked(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(socket, buffer).await?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        if size == 0 {
            while !self::line(socket, buffer).await?.trim().is_empty() {}
            return Ok(body);
        }
        while buffer.len() < size + 2 {
            if socket.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
}

async fn line(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<String> {
    loop {
        if let Some(at) = buffer.iter().position(|b| *b == b'\n') {
            return Ok(String::from_utf8_lossy(&buffer.drain(..=at).collect::<Vec<u8>>()).to_string());
        }
        if socket.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
