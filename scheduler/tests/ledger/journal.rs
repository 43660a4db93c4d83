//! A machine that remembers every command and proves its order by a running sum.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_scheduler::ledger::Machine;

/// Commands are `ID` or `ID padding`; the reply is `INDEX:SUM`.
#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    pub sum: u64,
    /// Replies by id, in the order of ids; a command that comes twice keeps its first reply.
    pub replies: BTreeMap<u64, String>,
    /// The commands in the order in which they were applied.
    pub order: Vec<u64>,
}

/// The command of an id, always the same.
pub fn command(id: u64) -> Vec<u8> {
    format!("{id} {}", "x".repeat((id % 97) as usize)).into_bytes()
}

impl Machine for Journal {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        if command == b"panic" {
            panic!("told to");
        }
        let text = String::from_utf8_lossy(command);
        let id = text.split(' ').next().unwrap_or_default().parse().unwrap_or(0);
        for byte in command.iter().chain(&index.to_be_bytes()) {
            self.sum = self.sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
        }
        let reply = format!("{index}:{:016x}", self.sum);
        self.order.push(id);
        self.replies.entry(id).or_insert_with(|| reply.clone());
        reply.into_bytes()
    }
    fn save(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap()
    }
    fn load(bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(bytes)?)
    }
    fn fresh() -> Self {
        Self::default()
    }
}

/// Replays the order on a fresh machine: a deterministic one gives the same replies and the same sum.
pub fn replayed(journal: &Journal) -> Journal {
    let mut fresh = Journal::fresh();
    for (at, id) in journal.order.iter().enumerate() {
        fresh.apply(at as u64 + 1, &command(*id));
    }
    fresh
}
