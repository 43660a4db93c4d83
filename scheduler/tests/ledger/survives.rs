//! What was acknowledged survives a kill, a power cut and a full disk.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use slipway_scheduler::ledger::{Ledger, Options, ProposeError};
use tempfile::TempDir;

use crate::journal::{Journal, command, replayed};
use crate::wait::{DEADLINE, leads, until};

const CHILD_DIR: &str = "SLIPWAY_TEST_LEDGER_DIR";
const CHILD_FIRST: &str = "SLIPWAY_TEST_LEDGER_FIRST";

fn options(dir: &Path) -> Options {
    // Short between snapshots, so that cuts fall into them too.
    Options { snapshot_every: 500, ..Options::new(dir, 1, "127.0.0.1:1") }
}

async fn open(dir: &Path) -> Ledger<Journal> {
    let ledger = Ledger::open(options(dir)).await.unwrap();
    ledger.initialize_if_fresh().await.unwrap();
    leads(&ledger).await;
    ledger
}

/// The process that is killed: it records commands for ever and prints each acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_records_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let first: u64 = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
    let ledger = open(Path::new(&dir)).await;
    let writers = (0..8).map(|writer| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for id in (first + writer..).step_by(8) {
                let reply = ledger.propose(command(id)).await.unwrap();
                println!("ack {id} {}", String::from_utf8(reply).unwrap());
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// A running child and what it has acknowledged so far.
struct Recorder {
    child: Child,
    acknowledged: Arc<Mutex<BTreeMap<u64, String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    fn start(dir: &Path, first: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survives::child_that_records_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir)
            .env(CHILD_FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acknowledged: Arc<Mutex<BTreeMap<u64, String>>> = Arc::default();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn({
            let acknowledged = acknowledged.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    let mut words = line.split(' ');
                    // The last line may be cut in its middle by the kill: an acknowledgement has all its digits.
                    if let (Some("ack"), Some(id), Some(reply)) = (words.next(), words.next(), words.next())
                        && reply.split_once(':').is_some_and(|(_, sum)| sum.len() == 16)
                    {
                        acknowledged.lock().unwrap().insert(id.parse().unwrap(), reply.into());
                    }
                }
            }
        });
        Self { child, acknowledged, reader: Some(reader) }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    fn wait_for(&mut self, count: usize) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < 2 * DEADLINE, "only {} of {count} acknowledged", self.count());
            assert_eq!(self.child.try_wait().unwrap(), None, "the child ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, in the middle of whatever it does.
    fn kill(mut self) -> BTreeMap<u64, String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything acknowledged is there with the reply that was given, and the ledger goes on.
async fn check(dir: &Path, acknowledged: &BTreeMap<u64, String>) {
    let ledger = open(dir).await;
    let journal = ledger.read(Journal::clone);
    let lost: Vec<_> = acknowledged.iter().filter(|(id, reply)| journal.replies.get(id) != Some(reply)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged commands are lost or have another reply, from {:?}",
        lost.len(),
        acknowledged.len(),
        lost[0]
    );
    assert_eq!(journal, replayed(&journal), "the replies depend on more than the commands");
    ledger.propose(command(u64::MAX)).await.unwrap();
    ledger.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("ledger");
    let mut all = BTreeMap::new();
    for round in 0..3 {
        let mut recorder = Recorder::start(&dir, 1 + round * 1_000_000);
        recorder.wait_for(700);
        all.append(&mut recorder.kill());
    }
    check(&dir, &all).await;
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
    let done = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A file system in a file; unmounted when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(image: &Path, at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()]);
        Self(at)
    }

    fn make(kind: &str, image: &Path, megabytes: u64, at: PathBuf) -> Self {
        std::fs::File::create(image).unwrap().set_len(megabytes << 20).unwrap();
        run(&format!("mkfs.{kind}"), &["-q".as_ref(), image.as_ref()]);
        Self::mount(image, at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a test that fails still holds files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The ledger lies on an ext4 whose device is a file; a copy of that file, made in one instant (a reflink), is what a
/// power cut would leave: all that was flushed, and nothing of the page cache.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, loop devices and btrfs: run with --ignored"]
async fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let home = TempDir::new_in("/var/tmp").unwrap();
    let at = |name: &str| home.path().join(name);
    let outer = Mounted::make("btrfs", &at("outer.img"), 2048, at("outer"));
    let image = outer.0.join("disk.img");
    let inner = Mounted::make("ext4", &image, 512, at("inner"));
    let mut recorder = Recorder::start(&inner.0.join("ledger"), 1);
    let mut cuts = Vec::new();
    for cut in 0..5 {
        recorder.wait_for((cut + 1) * 900);
        let acknowledged = recorder.acknowledged.lock().unwrap().clone();
        let copy = outer.0.join(format!("cut-{cut}.img"));
        run("cp", &["--reflink=always".as_ref(), image.as_ref(), copy.as_ref()]);
        cuts.push((copy, acknowledged));
    }
    recorder.kill();
    for (copy, acknowledged) in cuts {
        let mounted = Mounted::mount(&copy, at("cut"));
        check(&mounted.0.join("ledger"), &acknowledged).await;
        println!("{}: all of {} acknowledged commands are there", copy.display(), acknowledged.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and loop devices: run with --ignored"]
async fn a_full_disk_stops_the_node_by_name_and_loses_nothing() {
    let home = TempDir::new_in("/var/tmp").unwrap();
    let small = Mounted::make("ext4", &home.path().join("disk.img"), 64, home.path().join("disk"));
    let dir = small.0.join("ledger");
    // The next snapshot is soon, and finds no room.
    let ledger = Ledger::<Journal>::open(Options { snapshot_every: 100, ..options(&dir) }).await.unwrap();
    ledger.initialize_if_fresh().await.unwrap();
    leads(&ledger).await;
    let mut acknowledged = BTreeMap::new();
    let filler = small.0.join("filler");
    for id in 1..=50 {
        acknowledged.insert(id, String::from_utf8(ledger.propose(command(id)).await.unwrap()).unwrap());
    }
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 1 << 16]).is_ok() {}
    drop(file);
    let start = Instant::now();
    let mut id = 51;
    let why = loop {
        assert!(start.elapsed() < DEADLINE, "the disk is full and nobody noticed");
        match ledger.propose(command(id)).await {
            Ok(reply) => drop(acknowledged.insert(id, String::from_utf8(reply).unwrap())),
            Err(ProposeError::Fatal(why)) => break why,
            Err(e) => panic!("{e:?}"),
        }
        id += 1;
    };
    println!("{why}");
    assert!(why.contains("no space is left on the disk that holds"), "{why}");
    until("the status says why", || async { ledger.status().fatal.ok_or("nothing") }).await;
    ledger.shutdown().await.unwrap();
    std::fs::remove_file(filler).unwrap();
    check(&dir, &acknowledged).await;
}
