//! The directory through its public door.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{BasicNode, CommittedLeaderId, Entry, EntryPayload, Membership, RaftLogReader, StoredMembership, Vote};
use slipway_raft_store::{Batch, LogId, LogStore, SnapshotMeta, Store, StoreError, StoreOptions, TypeConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(&StoreOptions { dir: dir.into(), node_id: 1 })
}

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 0), index)
}

fn entry(index: u64) -> Entry<TypeConfig> {
    Entry { log_id: id(index), payload: EntryPayload::Normal(Batch(vec![format!("command {index}").into_bytes()])) }
}

async fn append(log: &mut LogStore, indices: std::ops::RangeInclusive<u64>) {
    log.blocking_append(indices.map(entry)).await.unwrap();
}

fn meta(index: u64) -> SnapshotMeta {
    let members = Membership::new(vec![[1].into()], BTreeMap::from([(1, BasicNode::new("a:1"))]));
    SnapshotMeta {
        last_log_id: Some(id(index)),
        last_membership: StoredMembership::new(Some(id(1)), members),
        snapshot_id: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_vote_and_pointers_are_there_after_a_restart() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).unwrap();
    let mut log = store.log().clone();
    append(&mut log, 1..=10).await;
    log.save_vote(&Vote::new(7, 1)).await.unwrap();
    log.save_committed(Some(id(8))).await.unwrap();
    log.truncate(id(10)).await.unwrap();
    log.purge(id(4)).await.unwrap();
    drop(log);
    // A snapshot holds what the log no longer has.
    store.shelf().write(meta(4), serde_json::Value::Null, b"state").unwrap();
    store.close();
    assert!(store.log().clone().get_log_state().await.unwrap_err().to_string().contains("closed"));

    let store = open(home.path()).unwrap();
    let mut log = store.log().clone();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(8)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(4)), Some(id(9))));
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), (5..=9).map(entry).collect::<Vec<_>>());
    assert_eq!(log.try_get_log_entries(6..8).await.unwrap(), [entry(6), entry(7)]);
    assert_eq!(log.try_get_log_entries(6..=7).await.unwrap(), [entry(6), entry(7)]);
    store.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replication_message_is_bounded_and_never_empty() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).unwrap();
    let mut log = store.log().clone();
    let large = |index| Entry { log_id: id(index), payload: EntryPayload::Normal(Batch(vec![vec![7; 700_000]])) };
    log.blocking_append((1..=3).map(large)).await.unwrap();
    let huge = Entry { log_id: id(4), payload: EntryPayload::Normal(Batch(vec![vec![7; 3_000_000]])) };
    log.blocking_append([huge]).await.unwrap();
    assert_eq!(log.limited_get_log_entries(1, 5).await.unwrap().len(), 1);
    assert_eq!(log.limited_get_log_entries(4, 5).await.unwrap().len(), 1);
    store.close();
}

/// The count comes from RocksDB: an append that only reached the page cache would not raise it.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_and_a_vote_are_synced_before_they_are_acknowledged() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).unwrap();
    let mut log = store.log().clone();
    for index in 1..=10 {
        let before = log.wal_syncs();
        append(&mut log, index..=index).await;
        assert!(log.wal_syncs() > before, "entry {index} was acknowledged without a sync");
        let before = log.wal_syncs();
        log.save_vote(&Vote::new(index, 1)).await.unwrap();
        assert!(log.wal_syncs() > before, "vote {index} was acknowledged without a sync");
    }
    store.close();
}

#[test]
fn a_directory_that_is_not_ours_is_refused_by_name() {
    let home = TempDir::new().unwrap();
    let ours = home.path().join("ours");
    let store = open(&ours).unwrap();
    let error = open(&ours).err().unwrap().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains("ours/LOCK"), "{error}");
    store.close();
    let other = Store::open(&StoreOptions { dir: ours.clone(), node_id: 2 });
    assert!(matches!(other, Err(StoreError::OtherNode { stored: 1, asked: 2, .. })));
    fs::write(ours.join("FORMAT"), r#"{"format":2,"node":1}"#).unwrap();
    assert!(matches!(open(&ours), Err(StoreError::Format { found: 2, known: 1, .. })));
    fs::write(ours.join("FORMAT"), "{").unwrap();
    assert!(matches!(open(&ours), Err(StoreError::Corrupt { .. })));

    let strange = home.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("thesis.odt"), "years of work").unwrap();
    let error = open(&strange).err().unwrap().to_string();
    assert!(error.contains("not a ledger") && error.contains("thesis.odt"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_called_damaged() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).unwrap();
    append(&mut store.log().clone(), 1..=10).await;
    store.close();
    let log = home.path().join("log");
    let manifest = fs::read_dir(&log).unwrap().map(|f| f.unwrap().path()).find(|p| p.to_string_lossy().contains("MANIFEST"));
    let manifest = manifest.unwrap();
    let mut bytes = fs::read(&manifest).unwrap();
    for byte in &mut bytes[8..40] {
        *byte ^= 0xff;
    }
    fs::write(&manifest, bytes).unwrap();
    let error = open(home.path()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("backup"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_snapshots_are_kept_and_a_damaged_one_gives_way() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).unwrap();
    append(&mut store.log().clone(), 1..=30).await;
    for index in [10, 20, 30] {
        let state = format!("state at {index}").into_bytes();
        store.shelf().write(meta(index), serde_json::json!({ "commands": index }), &state).unwrap();
    }
    store.log().clone().purge(id(15)).await.unwrap();
    store.close();
    let list = |extension: &str| {
        let files = fs::read_dir(home.path().join("snapshots")).unwrap().map(|f| f.unwrap().path());
        let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
        files.sort();
        files
    };
    assert_eq!(list("snapshot").len(), 2);

    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    damage(&list("snapshot")[1]);
    let store = open(home.path()).unwrap();
    let (header, state) = store.shelf().load().unwrap().unwrap();
    assert_eq!((header.meta.last_log_id, &state[..]), (Some(id(20)), &b"state at 20"[..]));
    assert_eq!(header.extra["commands"], 20);
    assert_eq!(list("damaged").len(), 1);
    store.close();

    // The log begins at 16: without a snapshot the state would miss entries, and the store says so.
    damage(&list("snapshot")[0]);
    let error = open(home.path()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_travels_as_its_file_and_damage_on_the_way_is_noticed() {
    let home = TempDir::new().unwrap();
    let store = open(&home.path().join("a")).unwrap();
    store.shelf().write(meta(10), serde_json::Value::Null, &vec![7; 100_000]).unwrap();
    let (meta, mut file) = store.shelf().newest().unwrap().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.unwrap();

    let other = Store::open(&StoreOptions { dir: home.path().join("b"), node_id: 2 }).unwrap();
    let receive = async |bytes: &[u8]| {
        let mut file = other.shelf().receive().unwrap();
        file.write_all(bytes).await.unwrap();
        file.flush().await.unwrap();
        file
    };
    for bytes in [&bytes[..bytes.len() - 1], &[&bytes[..], b"x"].concat(), b"", b"slipway-snapshot 2\n"] {
        let file = receive(bytes).await;
        assert!(matches!(other.shelf().install(&meta, file), Err(StoreError::Corrupt { .. })));
    }
    // Broken off: it leaves nothing.
    drop(receive(&bytes[..50]).await);
    assert_eq!(fs::read_dir(home.path().join("b/snapshots")).unwrap().count(), 0);
    assert!(other.shelf().load().unwrap().is_none());

    let file = receive(&bytes).await;
    let (header, state) = other.shelf().install(&meta, file).unwrap();
    assert_eq!((header.meta, state), (meta.clone(), vec![7; 100_000]));
    assert_eq!(other.shelf().newest().unwrap().unwrap().0, meta);
    store.close();
    other.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_opens_as_the_store_was() {
    let home = TempDir::new().unwrap();
    let store = open(&home.path().join("live")).unwrap();
    let mut log = store.log().clone();
    append(&mut log, 1..=20).await;
    store.shelf().write(meta(10), serde_json::Value::Null, b"state").unwrap();
    log.purge(id(5)).await.unwrap();
    let copy = home.path().join("copy");
    store.checkpoint(&copy).unwrap();
    assert!(store.checkpoint(&copy).is_err(), "a backup is never written over another");
    append(&mut log, 21..=30).await;
    store.close();

    let restored = open(&copy).unwrap();
    assert_eq!(restored.log().clone().try_get_log_entries(..).await.unwrap(), (6..=20).map(entry).collect::<Vec<_>>());
    assert_eq!(restored.shelf().load().unwrap().unwrap().1, b"state");
    restored.close();
}
