//! openraft's own suite of storage checks, run on our log and our keeper.

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use slipway_raft_store::{LogStore, Store, StoreOptions, TypeConfig};
use tempfile::TempDir;

use super::machine::{Keeper, Machine, SnapshotPace};

struct Nothing;

impl Machine for Nothing {
    fn apply(&mut self, _index: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
    fn load(_bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self)
    }
    fn fresh() -> Self {
        Self
    }
}

/// Closed before its directory goes.
struct Opened {
    store: Store,
    _home: TempDir,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.store.close();
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Keeper<Nothing>, Opened> for Builder {
    async fn build(&self) -> Result<(Opened, LogStore, Keeper<Nothing>), StorageError<u64>> {
        let home = TempDir::new().expect("a temporary directory");
        let store = Store::open(&StoreOptions { dir: home.path().into(), node_id: 1 }).expect("an empty directory opens");
        let pace = SnapshotPace { commands: u64::MAX, bytes: u64::MAX };
        let keeper = Keeper::open(store.shelf().clone(), pace).expect("nothing to load");
        let log = store.log().clone();
        Ok((Opened { store, _home: home }, log, keeper))
    }
}

#[test]
fn log_and_keeper_do_what_openraft_expects_of_a_store() {
    Suite::test_all(Builder).unwrap();
}
