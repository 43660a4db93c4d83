//! As much of a browser as the tests need: one request a connection, cookies by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Everything here is on this machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

pub struct Browser {
    address: SocketAddr,
    pub cookies: BTreeMap<String, String>,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The mark of the first form.
    pub fn csrf(&self) -> String {
        let rest = self.body.split("name=\"csrf\" value=\"").nth(1).expect("a form with a mark");
        rest.split('"').next().unwrap().to_string()
    }
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, cookies: BTreeMap::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "").await
    }

    pub async fn post(&mut self, path: &str, form: &str) -> Answer {
        self.ask(&format!("POST {path}"), "content-type: application/x-www-form-urlencoded\r\n", form).await
    }

    pub async fn sign_in(&mut self, token: &str) -> Answer {
        let csrf = self.get("/sign-in").await.csrf();
        self.post("/sign-in", &format!("csrf={csrf}&token={token}&next=%2Fprojects")).await
    }

    async fn ask(&mut self, line: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.open(line, headers, body).await;
        let mut text = String::new();
        tokio::time::timeout(ANSWER_TIME_MAX, stream.read_to_string(&mut text)).await.expect("an answer in time").unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
        let mut lines = head.lines();
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> =
            lines.filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_string(), v.trim().to_string())).collect();
        for (_, value) in headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("set-cookie")) {
            let (name, rest) = value.split_once('=').expect("a cookie");
            self.cookies.insert(name.to_string(), rest.split(';').next().unwrap().to_string());
        }
        Answer { status, headers, body: body.to_string() }
    }

    async fn open(&self, line: &str, headers: &str, body: &str) -> TcpStream {
        let cookies: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\naccept: text/html\r\ncookie: {}\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.address,
            cookies.join("; "),
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Opens an event stream, from after an event where one is given.
    pub async fn events(&self, path: &str, last: Option<u64>) -> Events {
        let headers = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let mut reader = BufReader::new(self.open(&format!("GET {path}"), &headers, "").await);
        let mut status = String::new();
        reader.read_line(&mut status).await.unwrap();
        Events { status: status.split(' ').nth(1).unwrap().parse().unwrap(), reader }
    }
}

/// Server-sent events as they come.
pub struct Events {
    pub status: u16,
    reader: BufReader<TcpStream>,
}

impl Events {
    /// Id, name and data of the next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<(u64, String, String)> {
        let (mut id, mut name, mut data) = (None, String::from("message"), String::new());
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(ANSWER_TIME_MAX, self.reader.read_line(&mut line)).await.expect("an event in time").unwrap();
            if read == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.parse().ok();
            } else if let Some(value) = line.strip_prefix("event: ") {
                name = value.to_string();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data.push_str(value);
            } else if line.is_empty() {
                if let Some(id) = id {
                    return Some((id, name, data));
                }
                data.clear();
            }
        }
    }
}
