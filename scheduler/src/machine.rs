//! The ledger's state machine: commands and state as JSON.

use crate::ledger::Machine;
use anyhow::Context;
use slipway_core::{ClusterState, Entry, Reply, apply};

/// The form of the state that this version reads and writes.
const FORMAT: u32 = 1;

impl Machine for ClusterState {
    fn apply(&mut self, _index: u64, command: &[u8]) -> Vec<u8> {
        let reply = match serde_json::from_slice::<Entry>(command) {
            Ok(entry) => apply(self, entry),
            // The same on every node of this version; a newer node's command reaches an older one only by a broken upgrade.
            Err(error) => Reply::refused(format!("a command that this version does not know: {error}")),
        };
        serde_json::to_vec(&reply).expect("a reply is JSON")
    }

    fn save(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the state is JSON")
    }

    fn load(bytes: &[u8]) -> anyhow::Result<Self> {
        let state: Self = serde_json::from_slice(bytes).context("read the ledger's state")?;
        anyhow::ensure!(state.format == FORMAT, "the ledger's state has form {}, this version reads {FORMAT}", state.format);
        Ok(state)
    }

    fn fresh() -> Self {
        Self::default()
    }

    fn view(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send + Sync> {
        let state = self.clone();
        Box::new(move || state.save())
    }
}
