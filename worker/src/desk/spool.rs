//! One task on disk: its order, its lines, its outcome.

use crate::log::{LINE_BYTES_MAX, Level, LogSink};
use serde::{Deserialize, Serialize};
use slipway_model::TaskId;
use slipway_model::task::{TaskOutcome, TaskSpec};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// A flooding script: nobody reads faster, and a scheduler serves many.
pub const LINES_PER_SECOND_MAX: u32 = 2000;
/// One attempt's whole log.
pub const BYTES_MAX: usize = 16 << 20;

pub(super) const ORDER: &str = "order.json";
pub(super) const OUTCOME: &str = "outcome.json";
const LOG: &str = "log";
const ACKNOWLEDGED: &str = "acknowledged";

/// One line as it is kept; its number is its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledLine {
    #[serde(rename = "t")]
    pub unix_ms: i64,
    #[serde(rename = "i", default)]
    pub indent: u32,
    #[serde(rename = "l")]
    pub level: Level,
    #[serde(rename = "x")]
    pub text: String,
}

#[derive(Serialize, Deserialize)]
struct Order {
    attempt: u32,
    taken_unix_ms: i64,
    spec: TaskSpec,
}

/// One task and its present attempt.
pub(super) struct Spool {
    pub attempt: u32,
    pub spec: TaskSpec,
    pub taken_unix_ms: i64,
    pub running: bool,
    pub outcome: Option<TaskOutcome>,
    pub cancel: CancellationToken,
    pub directory: PathBuf,
    pub pending: Arc<Pending>,
    /// Kept and not acknowledged; the first has number `acknowledged`.
    pub lines: VecDeque<SpooledLine>,
    pub acknowledged: u64,
    file: Arc<Mutex<File>>,
}

impl Spool {
    /// A new attempt; whatever a former one left goes.
    pub fn create(directory: &Path, attempt: u32, spec: TaskSpec, taken_unix_ms: i64) -> std::io::Result<Spool> {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(directory)?,
        }
        let order = Order { attempt, taken_unix_ms, spec };
        let file = Arc::new(Mutex::new(File::create(directory.join(LOG))?));
        write_durably(&directory.join(ORDER), &serde_json::to_vec(&order).map_err(std::io::Error::other)?)?;
        sync_directory(directory.parent().unwrap_or(directory))?;
        Ok(Spool {
            attempt,
            spec: order.spec,
            taken_unix_ms,
            running: false,
            outcome: None,
            cancel: CancellationToken::new(),
            directory: directory.to_path_buf(),
            pending: Arc::new(Pending::new(0)),
            lines: VecDeque::new(),
            acknowledged: 0,
            file,
        })
    }

    fn load(directory: &Path) -> std::io::Result<Spool> {
        let order: Order = serde_json::from_slice(&std::fs::read(directory.join(ORDER))?)?;
        let outcome = match std::fs::read(directory.join(OUTCOME)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(_) => None,
        };
        let file = std::fs::OpenOptions::new().read(true).create(true).append(true).open(directory.join(LOG))?;
        let (mut lines, mut good, mut bytes) = (VecDeque::new(), 0, 0);
        let mut reader = BufReader::new(&file);
        let mut text = Vec::new();
        while reader.read_until(b'\n', &mut text)? > 0 {
            // A line without its end was being written when we died: nobody has been told of it.
            let Ok(line) = serde_json::from_slice::<SpooledLine>(&text) else { break };
            if text.last() != Some(&b'\n') {
                break;
            }
            good += text.len() as u64;
            bytes += line.text.len();
            lines.push_back(line);
            text.clear();
        }
        drop(reader);
        file.set_len(good)?;
        let acknowledged = std::fs::read_to_string(directory.join(ACKNOWLEDGED)).ok().and_then(|t| t.trim().parse::<u64>().ok()).unwrap_or(0);
        let acknowledged = acknowledged.min(lines.len() as u64);
        lines.drain(..acknowledged as usize);
        Ok(Spool {
            attempt: order.attempt,
            spec: order.spec,
            taken_unix_ms: order.taken_unix_ms,
            running: false,
            outcome,
            cancel: CancellationToken::new(),
            directory: directory.to_path_buf(),
            pending: Arc::new(Pending::new(bytes)),
            lines,
            acknowledged,
            file: Arc::new(Mutex::new(file)),
        })
    }

    pub fn acknowledge(&mut self, lines: u64) {
        let more = lines.saturating_sub(self.acknowledged).min(self.lines.len() as u64);
        if more == 0 {
            return;
        }
        self.lines.drain(..more as usize);
        self.acknowledged += more;
        // Lost in a crash, it costs sending some lines twice, which the receiver knows by their numbers.
        let _ = std::fs::write(self.directory.join(ACKNOWLEDGED), self.acknowledged.to_string());
    }

    pub fn begin_flush(&mut self) -> Option<Batch> {
        let lines = self.pending.take();
        (!lines.is_empty()).then(|| Batch { lines, file: self.file.clone() })
    }

    pub fn end_flush(&mut self, lines: Vec<SpooledLine>) {
        self.lines.extend(lines);
    }
}

/// Lines on their way to the disk.
pub(super) struct Batch {
    lines: Vec<SpooledLine>,
    file: Arc<Mutex<File>>,
}

impl Batch {
    pub fn write(self) -> std::io::Result<Vec<SpooledLine>> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(self.lines)
    }
}

/// Lines that were said and are not kept yet; here floods end.
pub(super) struct Pending {
    state: Mutex<PendingState>,
}

struct PendingState {
    lines: Vec<SpooledLine>,
    bytes_total: usize,
    second: Instant,
    in_second: u32,
    left_out: u64,
    cut: bool,
}

impl Pending {
    fn new(bytes_total: usize) -> Pending {
        let state = PendingState { lines: vec![], bytes_total, second: Instant::now(), in_second: 0, left_out: 0, cut: bytes_total >= BYTES_MAX };
        Pending { state: Mutex::new(state) }
    }

    pub fn sink(self: &Arc<Self>) -> LogSink {
        let pending = self.clone();
        LogSink::new(move |level, indent, text| {
            for line in text.lines() {
                pending.say(level, indent, line);
            }
            if text.is_empty() {
                pending.say(level, indent, "");
            }
        })
    }

    fn say(&self, level: Level, indent: u32, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.cut {
            return;
        }
        if state.second.elapsed().as_secs() >= 1 {
            state.new_second();
        }
        if state.in_second >= LINES_PER_SECOND_MAX {
            state.left_out += 1;
            return;
        }
        state.in_second += 1;
        let mut end = text.len().min(LINE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        state.bytes_total += end + 1;
        if state.bytes_total > BYTES_MAX {
            state.cut = true;
            let text = format!("log cut: it has reached {} MiB, what follows is not kept", BYTES_MAX >> 20);
            state.push(Level::Warning, 0, &text);
            return;
        }
        state.push(level, indent, &text[..end]);
    }

    #[cfg(test)]
    pub fn starting_at(bytes_total: usize) -> Pending {
        Pending::new(bytes_total)
    }

    #[cfg(test)]
    pub fn taken(&self) -> Vec<SpooledLine> {
        self.take()
    }

    fn take(&self) -> Vec<SpooledLine> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.second.elapsed().as_secs() >= 1 {
            state.new_second();
        }
        std::mem::take(&mut state.lines)
    }
}

impl PendingState {
    fn new_second(&mut self) {
        self.second = Instant::now();
        self.in_second = 0;
        if self.left_out > 0 {
            let text = format!("log cut: {} lines left out, more than {LINES_PER_SECOND_MAX} came within a second", self.left_out);
            self.left_out = 0;
            self.push(Level::Warning, 0, &text);
        }
    }

    fn push(&mut self, level: Level, indent: u32, text: &str) {
        let text: String = text.chars().map(|c| if c.is_control() && c != '\t' && c != '\u{1b}' { '\u{fffd}' } else { c }).collect();
        self.lines.push(SpooledLine { unix_ms: super::unix_ms(), indent, level, text });
    }
}

/// All tasks of a directory; one that cannot be read is reported and left out, and its order will come again.
pub(super) fn load_all(directory: &Path) -> std::io::Result<BTreeMap<TaskId, Spool>> {
    let mut tasks = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok()) else { continue };
        match Spool::load(&entry.path()) {
            Ok(spool) => {
                tasks.insert(id, spool);
            }
            Err(error) => tracing::warn!(task = %id, %error, "the record of a task cannot be read and is left out"),
        }
    }
    Ok(tasks)
}

/// The whole file or none of it, also after a power cut.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}
