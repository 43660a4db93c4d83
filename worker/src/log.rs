//! Lines that a task says to the people who wait for it.

use std::sync::Arc;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    /// What a script wrote to its stderr, too.
    Warning,
    Error,
}

/// Where lines go; a cheap clone. Whoever made it bounds, masks and keeps them: the sayer just says.
#[derive(Clone)]
pub struct LogSink {
    say: Arc<dyn Fn(Level, u32, &str) + Send + Sync>,
    indent: u32,
}

impl LogSink {
    /// `say(level, indent, text)` never blocks; `text` may hold several lines.
    pub fn new(say: impl Fn(Level, u32, &str) + Send + Sync + 'static) -> LogSink {
        LogSink { say: Arc::new(say), indent: 0 }
    }

    /// Nobody listens.
    pub fn none() -> LogSink {
        LogSink::new(|_, _, _| {})
    }

    /// The same sink, `steps` further in.
    pub fn indented(&self, steps: u32) -> LogSink {
        LogSink { say: self.say.clone(), indent: self.indent + steps }
    }

    pub fn info(&self, text: impl AsRef<str>) {
        self.say(Level::Info, text);
    }

    pub fn warning(&self, text: impl AsRef<str>) {
        self.say(Level::Warning, text);
    }

    pub fn error(&self, text: impl AsRef<str>) {
        self.say(Level::Error, text);
    }

    pub fn say(&self, level: Level, text: impl AsRef<str>) {
        (self.say)(level, self.indent, text.as_ref());
    }
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSink(indent {})", self.indent)
    }
}

/// Cuts a stream of bytes into lines: invalid UTF-8 is replaced, a line without end is cut at [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct LineCutter {
    rest: Vec<u8>,
}

/// Nobody reads longer lines, and one must not fill a message.
pub const LINE_BYTES_MAX: usize = 8 << 10;

impl LineCutter {
    /// The lines that are complete now.
    pub fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.flush(&mut line),
                _ => self.rest.push(*byte),
            }
            if self.rest.len() >= LINE_BYTES_MAX {
                self.flush(&mut line);
            }
        }
    }

    /// The last line, when it has no end.
    pub fn end(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.flush(&mut line);
        }
    }

    fn flush(&mut self, line: &mut impl FnMut(&str)) {
        // A carriage return rewrites the line on a terminal: what was last written stands.
        let bytes = self.rest.strip_suffix(b"\r").unwrap_or(&self.rest);
        let bytes = bytes.rsplit(|b| *b == b'\r').next().unwrap_or(bytes);
        line(&String::from_utf8_lossy(bytes));
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::default();
        let mut out = vec![];
        for chunk in chunks {
            cutter.feed(chunk, |l| out.push(l.to_string()));
        }
        cutter.end(|l| out.push(l.to_string()));
        out
    }

    #[test]
    fn bytes_become_lines_wherever_the_chunks_end() {
        assert_eq!(lines(&[b"a\nb", b"c\n", b"d"]), ["a", "bc", "d"]);
        assert_eq!(lines(&[b"10%\r50%\r100%\r\n"]), ["100%"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
        assert_eq!(lines(&[b"\n"]), [""]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let cut = lines(&[&long]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, 10]);
    }
}
