//! The logs of activities: one append-only sequence of records each, on disk, with live readers.

use serde::{Deserialize, Serialize};
use slipway_model::{ActivityId, TaskId};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Records of one activity: beyond it lines are dropped and the log says so once.
const RECORDS_MAX: usize = 100_000;
/// Bytes of one activity's texts, with the same rule.
const BYTES_MAX: usize = 32 << 20;
/// Logs that are kept in memory; others are read from disk again when somebody asks.
const OPEN_MAX: usize = 64;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    pub ms: i64,
    #[serde(default)]
    pub indent: u32,
    /// `info`, `warning`, `error`.
    pub level: Level,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    #[serde(default)]
    pub text: String,
    /// The task line it came from, so that a line sent twice is kept once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<(TaskId, u32, u64)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seal: bool,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    /// As printed and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// All logs of this node.
#[derive(Clone)]
pub struct Logbook {
    folder: PathBuf,
    open: Arc<Mutex<BTreeMap<ActivityId, Arc<Log>>>>,
}

/// One activity's log.
pub struct Log {
    inner: Mutex<Inner>,
    length: watch::Sender<u64>,
}

struct Inner {
    file: File,
    records: Vec<Record>,
    bytes: usize,
    /// Lines taken of each task and attempt.
    taken: BTreeMap<(TaskId, u32), u64>,
    cut: bool,
}

impl Logbook {
    /// Logs live in `folder`, one file each.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, open: Arc::default() })
    }

    /// The log of an activity, made when there is none.
    pub fn log(&self, activity: &ActivityId) -> std::io::Result<Arc<Log>> {
        let mut open = self.open.lock().expect("no holder panics");
        if let Some(log) = open.get(activity) {
            return Ok(log.clone());
        }
        if open.len() >= OPEN_MAX {
            // Sealed logs without readers are let go; they stand on disk.
            open.retain(|_, log| Arc::strong_count(log) > 1 || !log.is_sealed());
        }
        let log = Arc::new(Log::read(&self.folder.join(format!("{activity}.jsonl")))?);
        open.insert(activity.clone(), log.clone());
        Ok(log)
    }

    /// Where the file of an activity's log is.
    pub fn path(&self, activity: &ActivityId) -> PathBuf {
        self.folder.join(format!("{activity}.jsonl"))
    }

    /// Forgets logs whose activity is gone.
    pub fn retain(&self, known: impl Fn(&ActivityId) -> bool) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<ActivityId>().ok());
            if let Some(id) = id
                && !known(&id)
            {
                self.open.lock().expect("no holder panics").remove(&id);
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Log {
    fn read(path: &std::path::Path) -> std::io::Result<Self> {
        let mut records = Vec::new();
        let mut whole = 0u64;
        if let Ok(file) = File::open(path) {
            let mut reader = BufReader::new(file);
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 0 {
                // A line torn by a crash is cut off, so that the next one stands alone.
                let Some(record) = line.strip_suffix('\n').and_then(|l| serde_json::from_str::<Record>(l).ok()) else { break };
                whole += line.len() as u64;
                records.push(record);
                line.clear();
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole)?;
        let mut taken = BTreeMap::new();
        for (task, attempt, line) in records.iter().filter_map(|r| r.from.clone()) {
            let next = taken.entry((task, attempt)).or_insert(0);
            *next = (line + 1).max(*next);
        }
        let bytes = records.iter().map(|r: &Record| r.text.len()).sum();
        let (length, _) = watch::channel(records.len() as u64);
        Ok(Self { inner: Mutex::new(Inner { file, records, bytes, taken, cut: false }), length })
    }

    /// Appends one line of our own.
    pub fn say(&self, indent: u32, level: Level, source: &str, text: impl Into<String>) {
        self.append(vec![(crate::chance::now_ms(), indent, level, source.to_string(), text.into(), None)], false);
    }

    /// Appends lines of a task, numbered from `first`; lines that were taken before are left out.
    /// Answers how many lines of the task and attempt are durable now.
    pub fn take(
        &self,
        task: &TaskId,
        attempt: u32,
        first: u64,
        source: &str,
        lines: Vec<(i64, u32, Level, String)>,
    ) -> u64 {
        let known = self.inner.lock().expect("no holder panics").taken.get(&(task.clone(), attempt)).copied().unwrap_or(0);
        if first > known {
            // A gap: the worker sends again from what we have.
            return known;
        }
        let fresh: Vec<_> = lines
            .into_iter()
            .enumerate()
            .map(|(n, line)| (first + n as u64, line))
            .filter(|(n, _)| *n >= known)
            .map(|(n, (ms, indent, level, text))| {
                (ms, indent, level, source.to_string(), text, Some((task.clone(), attempt, n)))
            })
            .collect();
        let upto = fresh.iter().filter_map(|l| l.5.as_ref().map(|f| f.2 + 1)).max().unwrap_or(known);
        self.append(fresh, false);
        self.inner.lock().expect("no holder panics").taken.insert((task.clone(), attempt), upto);
        upto
    }

    /// Ends the log.
    pub fn seal(&self) {
        if !self.is_sealed() {
            self.append(vec![(crate::chance::now_ms(), 0, Level::Info, String::new(), String::new(), None)], true);
        }
    }

    /// True when nothing more comes.
    pub fn is_sealed(&self) -> bool {
        self.inner.lock().expect("no holder panics").records.last().is_some_and(|r| r.seal)
    }

    /// True when nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().expect("no holder panics").records.is_empty()
    }

    /// Records from a sequence number on, at most `most`.
    pub fn from(&self, seq: u64, most: usize) -> Vec<Record> {
        let inner = self.inner.lock().expect("no holder panics");
        inner.records.iter().skip(seq as usize).take(most).cloned().collect()
    }

    /// Wakes readers: the number of records.
    pub fn length(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    fn append(&self, lines: Vec<(i64, u32, Level, String, String, Option<(TaskId, u32, u64)>)>, seal: bool) {
        let mut inner = self.inner.lock().expect("no holder panics");
        if inner.records.last().is_some_and(|r| r.seal) {
            return;
        }
        let mut written = Vec::new();
        for (ms, indent, level, source, text, from) in lines {
            let full = inner.records.len() >= RECORDS_MAX || inner.bytes >= BYTES_MAX;
            if full && from.is_some() {
                if inner.cut {
                    continue;
                }
                inner.cut = true;
            }
            let text = if full && inner.cut && from.is_some() {
                "(the log is full: further lines of builds and hooks are not kept)".to_string()
            } else {
                text
            };
            let record = Record { seq: inner.records.len() as u64, ms, indent, level, source, text, from, seal };
            serde_json::to_writer(&mut written, &record).expect("a record is JSON");
            written.push(b'\n');
            inner.bytes += record.text.len();
            inner.records.push(record);
        }
        if let Err(error) = inner.file.write_all(&written).and_then(|()| inner.file.flush()) {
            tracing::error!(%error, "a log could not be written; it goes on in memory");
        }
        let length = inner.records.len() as u64;
        drop(inner);
        self.length.send_replace(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sent_twice_is_kept_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let book = Logbook::open(dir.path().into()).unwrap();
        let activity: ActivityId = "act-a".parse().unwrap();
        let task: TaskId = "task-a".parse().unwrap();
        let line = |t: &str| (1, 2, Level::Info, t.to_string());
        let log = book.log(&activity).unwrap();
        assert_eq!(log.take(&task, 1, 0, "app", vec![line("one"), line("two")]), 2);
        assert_eq!(log.take(&task, 1, 1, "app", vec![line("two"), line("three")]), 3);
        assert_eq!(log.take(&task, 1, 7, "app", vec![line("gap")]), 3);
        drop(log);
        // A torn last line, as a crash leaves it.
        std::fs::OpenOptions::new().append(true).open(book.path(&activity)).unwrap().write_all(b"{\"seq\":3").unwrap();
        let book = Logbook::open(dir.path().into()).unwrap();
        let log = book.log(&activity).unwrap();
        assert_eq!(log.take(&task, 1, 2, "app", vec![line("three"), line("four")]), 4);
        log.seal();
        log.say(0, Level::Info, "", "too late");
        let texts: Vec<_> = log.from(0, 100).into_iter().map(|r| r.text).collect();
        assert_eq!(texts, ["one", "two", "three", "four", ""]);
        let seqs: Vec<_> = Logbook::open(dir.path().into()).unwrap().log(&activity).unwrap().from(0, 9).iter().map(|r| r.seq).collect();
        assert_eq!(seqs, [0, 1, 2, 3, 4]);
    }
}
