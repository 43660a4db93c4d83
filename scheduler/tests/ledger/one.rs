//! A group of one.
use std::time::Duration;

use slipway_scheduler::ledger::{COMMAND_BYTES_MAX, Ledger, Options, ProposeError};
use tempfile::TempDir;

use crate::journal::{Journal, command, replayed};
use crate::wait::{leads, until};

fn options(dir: &std::path::Path) -> Options {
    Options::new(dir, 1, "127.0.0.1:1")
}

async fn open(options: Options) -> Ledger<Journal> {
    let ledger = Ledger::open(options).await.unwrap();
    ledger.initialize_if_fresh().await.unwrap();
    leads(&ledger).await;
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_applied_and_there_after_a_restart() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    let mut replies = Vec::new();
    for id in 1..=20 {
        replies.push(String::from_utf8(ledger.propose(command(id)).await.unwrap()).unwrap());
    }
    assert!(replies[0].starts_with("1:") && replies[19].starts_with("20:"), "{replies:?}");
    assert_eq!(*ledger.applied().borrow(), 20);
    assert_eq!(ledger.read(|journal| journal.order.len()), 20);
    ledger.read_barrier().await.unwrap();
    let before = ledger.read(Journal::clone);
    let first_term = ledger.status().term;
    ledger.shutdown().await.unwrap();
    assert!(matches!(ledger.propose(command(21)).await, Err(ProposeError::Fatal(_))));
    assert_eq!(*ledger.leadership().borrow(), None);

    let again = open(options(home.path())).await;
    assert_eq!(again.read(Journal::clone), before);
    assert!(again.status().term > first_term, "a restarted leader has a new term, and so a new fence");
    assert!(again.propose(command(21)).await.unwrap().starts_with(b"21:"));
    again.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_share_entries_and_syncs() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    let before = ledger.status();
    let calls = (1..=2000).map(|id| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.propose(command(id)).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let after = ledger.status();
    let entries = after.last_entry.unwrap() - before.last_entry.unwrap();
    let syncs = after.disk_syncs - before.disk_syncs;
    assert!(entries < 500, "2000 proposals at once made {entries} entries");
    assert!(syncs >= entries, "{entries} entries were acknowledged with {syncs} syncs");
    let journal = ledger.read(Journal::clone);
    assert_eq!(journal, replayed(&journal));
    ledger.shutdown().await.unwrap();
}

/// Without a sync before each acknowledgement there are none here: RocksDB's default leaves all to the page cache.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledgement_is_preceded_by_a_sync() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    for id in 1..=10 {
        let before = ledger.status().disk_syncs;
        ledger.propose(command(id)).await.unwrap();
        let after = ledger.status().disk_syncs;
        assert!(after > before, "command {id} was acknowledged without a sync ({after} so far)");
    }
    ledger.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_shorten_the_log_and_the_state_begins_with_them() {
    let home = TempDir::new().unwrap();
    let with = || Options { snapshot_every: 50, ..options(home.path()) };
    let ledger = open(with()).await;
    for id in 1..=400 {
        ledger.propose(command(id)).await.unwrap();
    }
    let status = until("old entries leave the log", || async {
        let status = ledger.status();
        if status.purged_entry > Some(100) { Ok(status) } else { Err(status) }
    })
    .await;
    assert!(status.snapshot_entry.unwrap() > status.purged_entry.unwrap());
    let before = ledger.read(Journal::clone);
    ledger.shutdown().await.unwrap();
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(home.path().join("snapshots")).unwrap().map(|f| f.unwrap().path()).collect();
        names.sort();
        names
    };
    assert_eq!(files().len(), 2, "{:?}", files());

    let again = open(with()).await;
    assert_eq!(again.read_at(|index, journal| (index, journal.clone())), (400, before.clone()));
    again.shutdown().await.unwrap();

    // The newest snapshot is damaged: the one before it and the log give the same state.
    let newest = files().pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let third = open(with()).await;
    assert_eq!(third.read(Journal::clone), before);
    third.shutdown().await.unwrap();
}

/// Commands come in batches, and openraft counts entries: the snapshot must not wait for as many entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_due_by_commands_too() {
    let home = TempDir::new().unwrap();
    let ledger = open(Options { snapshot_every: 1000, ..options(home.path()) }).await;
    for round in 0..3 {
        let calls = (1..=500).map(|id| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.propose(command(round * 500 + id)).await.unwrap() })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    }
    let status = until("a snapshot is written", || async {
        let status = ledger.status();
        if status.snapshot_entry.is_some() { Ok(status) } else { Err(status) }
    })
    .await;
    assert!(status.last_entry.unwrap() < 1000, "this many entries made a snapshot by themselves: {status:?}");
    ledger.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_taken_under_load_starts_as_a_ledger() {
    let home = TempDir::new().unwrap();
    let with = |dir: &std::path::Path| Options { snapshot_every: 100, ..options(dir) };
    let ledger = open(with(&home.path().join("live"))).await;
    for id in 1..=250 {
        ledger.propose(command(id)).await.unwrap();
    }
    let writer = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            for id in 251..=600 {
                ledger.propose(command(id)).await.unwrap();
            }
        }
    });
    let copy = home.path().join("copy");
    ledger.checkpoint(&copy).await.unwrap();
    let at_most = ledger.read(|journal| journal.order.len());
    writer.await.unwrap();
    ledger.shutdown().await.unwrap();

    let restored = open(with(&copy)).await;
    let journal = restored.read(Journal::clone);
    assert!(journal.order.len() >= 250 && journal.order.len() <= at_most, "{} of {at_most}", journal.order.len());
    assert_eq!(journal, replayed(&journal));
    restored.propose(command(9000)).await.unwrap();
    restored.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_or_of_another_node_is_refused() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    let error = format!("{:#}", Ledger::<Journal>::open(options(home.path())).await.err().unwrap());
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains("LOCK"), "{error}");
    ledger.shutdown().await.unwrap();
    let other = Options::new(home.path(), 2, "127.0.0.1:1");
    let error = format!("{:#}", Ledger::<Journal>::open(other).await.err().unwrap());
    assert!(error.contains("belongs to node 1, and this node is 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused_and_large_ones_pass() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    let refused = ledger.propose(vec![b'x'; COMMAND_BYTES_MAX + 1]).await;
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes: COMMAND_BYTES_MAX + 1 }));
    let calls = (0..4).map(|_| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.propose(vec![b'x'; COMMAND_BYTES_MAX]).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    ledger.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_panics_stops_its_node_and_says_so() {
    let home = TempDir::new().unwrap();
    let ledger = open(options(home.path())).await;
    ledger.propose(command(1)).await.unwrap();
    let ProposeError::Fatal(why) = ledger.propose(b"panic".to_vec()).await.unwrap_err() else { panic!("not fatal") };
    assert!(why.contains("panicked at command 2"), "{why}");
    let mut leadership = ledger.leadership();
    tokio::time::timeout(Duration::from_secs(30), leadership.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert!(ledger.status().fatal.unwrap().contains("panicked"));
    assert!(matches!(ledger.propose(command(2)).await, Err(ProposeError::Fatal(_))));
    ledger.shutdown().await.unwrap();
}
