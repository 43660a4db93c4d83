//! Clients of our own, which send exactly the bytes they are told and never retry.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes longer on a working router, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Answered {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        self.answer().await.unwrap()
    }

    async fn more(&mut self) -> Option<usize> {
        let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.buffer)).await;
        read.expect("the router says nothing").ok().filter(|n| *n > 0)
    }

    /// The next answer's head; `None` when the connection ends before.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.buffer.drain(..at + 4).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&head).to_string());
            }
            self.more().await?;
        }
    }

    pub async fn answer(&mut self) -> Option<Answered> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if lower.contains("transfer-encoding: chunked") {
            loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                if size == 0 {
                    loop {
                        let line = self.line().await?;
                        if line.trim().is_empty() {
                            break;
                        }
                        body.extend(line.as_bytes());
                    }
                    break;
                }
                body.extend(self.exactly(size).await?);
                self.exactly(2).await?;
            }
        } else {
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
            body = self.exactly(length).await?;
        }
        Some(Answered { status, head, body: String::from_utf8_lossy(&body).to_string() })
    }

    pub async fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n {
            self.more().await?;
        }
        Some(self.buffer.drain(..n).collect())
    }

    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                return Some(String::from_utf8_lossy(&self.buffer.drain(..=at).collect::<Vec<u8>>()).to_string());
            }
            self.more().await?;
        }
    }

    /// Nothing has come, and nothing comes in this time.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.buffer.is_empty() && tokio::time::timeout(time, self.socket.read_buf(&mut self.buffer)).await.is_err()
    }

    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.more().await.is_none()
    }
}

pub async fn get(address: SocketAddr, host: &str, path: &str) -> Answered {
    Client::connect(address).await.get(host, path).await
}
