//! Strict HTTP/1 framing: what two parsers could read in two ways is refused before any parser sees it.
//!
//! ```text
//! Head ──► Sized ───────────────┐
//!   ▲  └─► ChunkLine ─► ChunkData ─► ChunkEnd ─┐
//!   │          └─ 0 ─► Trailers ─┐             │
//!   └────────────────────────────┴─────────────┘
//! ```
//!
//! It follows the whole connection, so it knows where each head begins; the HTTP engine behind it reads the same bytes.

/// Longest request head; nginx allows four buffers of 8 KiB.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Longest request target.
pub const TARGET_BYTES_MAX: usize = 8 << 10;
/// Most header lines.
pub const HEADERS_MAX: usize = 100;
/// Longest chunk-size line with its extensions, which nobody needs.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Longest trailer section.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Longest method; the registry's longest has 17.
const METHOD_BYTES_MAX: usize = 20;

/// Why a message is refused, and with which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// 400, 414, 431, 501 or 505.
    pub status: u16,
    /// A sentence for the person who wrote the client.
    pub why: &'static str,
}

const fn bad(why: &'static str) -> Refused {
    Refused { status: 400, why }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Sized(u64),
    ChunkLine,
    ChunkData(u64),
    /// CR, LF after the data.
    ChunkEnd(u8),
    Trailers,
    Opaque,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Scanner {
    phase: Phase,
    /// The head, chunk line or trailers that are not complete yet.
    part: Vec<u8>,
    https: bool,
}

impl Scanner {
    /// For a new connection.
    pub fn new(https: bool) -> Self {
        Self { phase: Phase::Head, part: Vec::new(), https }
    }

    /// From now on the bytes are not HTTP: the connection was upgraded.
    pub fn opaque(&mut self) {
        self.phase = Phase::Opaque;
        self.part = Vec::new();
    }

    /// Takes the next bytes of the connection.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let used = match self.phase {
                Phase::Opaque => bytes.len(),
                Phase::Sized(left) => self.data(left, bytes, Phase::Head, Phase::Sized),
                Phase::ChunkData(left) => self.data(left, bytes, Phase::ChunkEnd(b'\r'), Phase::ChunkData),
                Phase::ChunkEnd(expected) => {
                    if bytes[0] != expected {
                        return Err(bad("a chunk does not end where its size says"));
                    }
                    self.phase = if expected == b'\r' { Phase::ChunkEnd(b'\n') } else { Phase::ChunkLine };
                    1
                }
                Phase::Head => self.head(bytes)?,
                Phase::ChunkLine => self.chunk_line(bytes)?,
                Phase::Trailers => self.trailers(bytes)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    fn data(&mut self, left: u64, bytes: &[u8], then: Phase, rest: fn(u64) -> Phase) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - used as u64;
        self.phase = if left == 0 { then } else { rest(left) };
        used
    }

    /// Takes bytes up to the end of the section; true when it is complete.
    fn section(&mut self, bytes: &[u8], max: usize, too_long: Refused) -> Result<(usize, bool), Refused> {
        // The blank line may be split over two reads: look from three bytes before.
        let from = self.part.len().saturating_sub(3);
        let known = self.part.len();
        let room = (max + 1).saturating_sub(known).min(bytes.len());
        self.part.extend_from_slice(&bytes[..room]);
        // An empty trailer section is a single blank line.
        if self.phase == Phase::Trailers && self.part.starts_with(b"\r\n") {
            self.part.truncate(2);
            return Ok((2 - known, true));
        }
        match self.part[from..].windows(4).position(|w| w == b"\r\n\r\n") {
            Some(at) => {
                let end = from + at + 4;
                self.part.truncate(end);
                Ok((end - known, true))
            }
            None if self.part.len() > max => Err(too_long),
            None => {
                check_partial(&self.part[from..])?;
                Ok((room, false))
            }
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        // One empty line between two messages is an old client's habit (RFC 9112 §2.2).
        if self.part.is_empty() && bytes.starts_with(b"\r\n") {
            self.part.extend_from_slice(b"\r\n");
            return Ok(2);
        }
        let too_long = Refused { status: 431, why: "the request head is longer than 32 KiB" };
        let (used, complete) = self.section(bytes, HEAD_BYTES_MAX, too_long)?;
        if complete {
            let part = std::mem::take(&mut self.part);
            let head = part.strip_prefix(b"\r\n").unwrap_or(&part);
            self.phase = match framing(head, self.https)? {
                Framing::None => Phase::Head,
                Framing::Sized(0) => Phase::Head,
                Framing::Sized(length) => Phase::Sized(length),
                Framing::Chunked => Phase::ChunkLine,
            };
        }
        Ok(used)
    }

    fn chunk_line(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
        if self.part.len() + end > CHUNK_LINE_BYTES_MAX {
            return Err(bad("a chunk-size line is too long"));
        }
        self.part.extend_from_slice(&bytes[..end]);
        if self.part.ends_with(b"\n") {
            let size = chunk_size(&std::mem::take(&mut self.part))?;
            self.phase = if size == 0 { Phase::Trailers } else { Phase::ChunkData(size) };
        }
        Ok(end)
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let (used, complete) = self.section(bytes, TRAILER_BYTES_MAX, Refused { status: 431, why: "the trailers are longer than 8 KiB" })?;
        if complete {
            let part = std::mem::take(&mut self.part);
            for line in lines(part.strip_suffix(b"\r\n").unwrap_or(&part)) {
                let (name, _) = field(line?)?;
                if ["content-length", "transfer-encoding", "host"].iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
                    return Err(bad("a trailer names the framing or the host"));
                }
            }
            self.phase = Phase::Head;
        }
        Ok(used)
    }
}

/// Refuses early what no further byte can make right, so that a bare LF does not wait for the end of the head.
fn check_partial(tail: &[u8]) -> Result<(), Refused> {
    for (i, byte) in tail.iter().enumerate() {
        match byte {
            b'\n' if i > 0 && tail[i - 1] != b'\r' => return Err(bad("a line ends with a bare LF")),
            0 => return Err(bad("the head holds a NUL")),
            _ => {}
        }
    }
    Ok(())
}

enum Framing {
    None,
    Sized(u64),
    Chunked,
}

fn framing(head: &[u8], https: bool) -> Result<Framing, Refused> {
    let mut lines = lines(head.strip_suffix(b"\r\n").unwrap_or(head));
    let old = request_line(lines.next().ok_or(bad("the request line is missing"))??, https)?;
    let (mut host, mut length, mut chunked, mut count) = (false, None, false, 0);
    for line in lines {
        count += 1;
        if count > HEADERS_MAX {
            return Err(Refused { status: 431, why: "the request has more than 100 header lines" });
        }
        let (name, value) = field(line?)?;
        if name.eq_ignore_ascii_case("host") {
            if std::mem::replace(&mut host, true) {
                return Err(bad("the request has more than one Host"));
            }
            if !is_authority(value) {
                return Err(bad("the Host is no host name"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let digits = value.len() <= 18 && !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
            let value = value.ok_or(bad("the Content-Length is no number"))?;
            if length.replace(value).is_some() {
                return Err(bad("the request has more than one Content-Length"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if std::mem::replace(&mut chunked, true) {
                return Err(bad("the request has more than one Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused { status: 501, why: "only the transfer coding 'chunked' is understood" });
            }
        }
    }
    if !host {
        return Err(bad("the request has no Host"));
    }
    match (length, chunked) {
        (Some(_), true) => Err(bad("the request has both Content-Length and Transfer-Encoding")),
        (None, true) if old => Err(bad("HTTP/1.0 has no transfer codings")),
        (None, true) => Ok(Framing::Chunked),
        (Some(length), false) => Ok(Framing::Sized(length)),
        (None, false) => Ok(Framing::None),
    }
}

/// True for HTTP/1.0.
fn request_line(line: &[u8], https: bool) -> Result<bool, Refused> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad("the request line is not method, target and version with one space between"));
    };
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(is_token) {
        return Err(bad("the method is no token"));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refused { status: 414, why: "the request target is longer than 8 KiB" });
    }
    if target.is_empty() || !target.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#') {
        return Err(bad("the request target holds characters that must be percent-encoded"));
    }
    let absolute: &[u8] = if https { b"https://" } else { b"http://" };
    let starts = target.len() > absolute.len() && target[..absolute.len()].eq_ignore_ascii_case(absolute);
    if target[0] != b'/' && !starts && !(target == b"*" && method == b"OPTIONS") {
        return Err(bad("the request target is no path of this server"));
    }
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => Err(Refused { status: 505, why: "the version is neither HTTP/1.1 nor HTTP/1.0" }),
    }
}

/// Lines without their CRLF; a CR or LF of its own is refused.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Refused>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        Some(match line.strip_suffix(b"\r") {
            Some(line) if !line.contains(&b'\r') => Ok(line),
            Some(_) => Err(bad("a line holds a bare CR")),
            None => Err(bad("a line ends with a bare LF")),
        })
    })
}

fn field(line: &[u8]) -> Result<(&str, &[u8]), Refused> {
    if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
        return Err(bad("a header line is folded"));
    }
    let at = line.iter().position(|b| *b == b':').ok_or(bad("a header line has no colon"))?;
    let name = &line[..at];
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(bad("a header name is no token"));
    }
    let value = line[at + 1..].trim_ascii();
    if !line[at + 1..].iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f)) {
        return Err(bad("a header value holds control characters"));
    }
    let name = std::str::from_utf8(name).map_err(|_| bad("a header name is no token"))?;
    Ok((name, value))
}

fn chunk_size(line: &[u8]) -> Result<u64, Refused> {
    let line = line.strip_suffix(b"\r\n").ok_or(bad("a chunk-size line ends with a bare LF"))?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let extension = &line[digits..];
    if digits == 0 || digits > 15 || !(extension.is_empty() || extension[0] == b';') {
        return Err(bad("a chunk size is no hexadecimal number"));
    }
    if !extension.iter().all(|b| (0x20..0x7f).contains(b)) {
        return Err(bad("a chunk extension holds control characters"));
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| bad("a chunk size is no hexadecimal number"))?;
    u64::from_str_radix(text, 16).map_err(|_| bad("a chunk size is no hexadecimal number"))
}

/// `host` or `host:port` in the characters that host names have; an address in brackets may stand there, too.
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|b| *b == b':') {
        Some(at) if !value.ends_with(b"]") => (&value[..at], Some(&value[at + 1..])),
        _ => (value, None),
    };
    let port_ok = port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    let name = |host: &[u8]| host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let host_ok = match inside {
        Some(address) => address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        None => name(host),
    };
    !host.is_empty() && host.len() <= 255 && host_ok && port_ok
}

fn is_token(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same verdict whole, byte by byte, and cut at every place.
    fn verdict(bytes: &[u8]) -> Result<(), u16> {
        let run = |pieces: &[&[u8]]| -> Result<(), u16> {
            let mut scanner = Scanner::new(false);
            pieces.iter().try_for_each(|piece| scanner.take(piece)).map_err(|refused| refused.status)
        };
        let whole = run(&[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single), whole, "{:?}", String::from_utf8_lossy(bytes));
        for cut in 1..bytes.len().min(400) {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn ordinary_messages_pass_however_they_are_cut() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a.example:8080\r\n\r\n",
            "POST /x?y=1 HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\nA\r\n0\r\nX-T: v\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/x HTTP/1.1\r\nHost: [::1]:80\r\nX: caf\u{e9}\r\nEmpty:\r\n\r\n",
        ] {
            assert_eq!(verdict(good.as_bytes()), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_refused() {
        for (status, text) in [
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"),
            (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
            (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
            (501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n"),
            (400, "GET / HTTP/1.1\nHost: a\n\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nX: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
            (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            (505, "GET / http/1.1\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\nGET\r\nA\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
            (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n"),
        ] {
            assert_eq!(verdict(text.as_bytes()), Err(status), "{text:?}");
        }
    }

    #[test]
    fn oversized_heads_are_refused_while_they_come() {
        let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
        for (status, text) in [
            (431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(HEAD_BYTES_MAX))),
            (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
            (414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(TARGET_BYTES_MAX))),
        ] {
            let mut scanner = Scanner::new(false);
            assert_eq!(scanner.take(text.as_bytes()).map_err(|refused| refused.status), Err(status));
            assert!(scanner.part.len() <= HEAD_BYTES_MAX + 1);
        }
    }

    #[test]
    fn an_upgraded_connection_is_left_alone() {
        let mut scanner = Scanner::new(true);
        scanner.take(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").unwrap();
        scanner.opaque();
        assert_eq!(scanner.take(b"\x81\x85\0\0\n\n"), Ok(()));
    }
}
