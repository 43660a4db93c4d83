//! Log entries, and their bytes on disk and on the wire.
//!
//! Version 1 of an entry, integers big-endian:
//! `1, kind, term u64, index u64`, then for a batch `count u32 (length u32, bytes)*`, for a membership its JSON.

use std::fmt;

use openraft::{CommittedLeaderId, Entry, EntryPayload};
use serde::{Deserialize, Serialize};

use crate::{LogId, TypeConfig};

/// Commands that are decided together, in one entry and one fsync.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch(pub Vec<Vec<u8>>);

/// The replies to the commands of one batch, in their order.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub Vec<Vec<u8>>);

// Commands may hold secrets: a log line shows how many they are, never what they say.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} commands, {} bytes)", self.0.len(), self.0.iter().map(Vec::len).sum::<usize>())
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replies({})", self.0.len())
    }
}

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The bytes of an entry.
pub fn encode_entry(entry: &Entry<TypeConfig>) -> Vec<u8> {
    let body = match &entry.payload {
        EntryPayload::Normal(batch) => batch.0.iter().map(|command| command.len() + 4).sum::<usize>() + 4,
        _ => 0,
    };
    let mut out = Vec::with_capacity(18 + body);
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => BATCH,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.extend([VERSION, kind]);
    out.extend(entry.log_id.leader_id.term.to_be_bytes());
    out.extend(entry.log_id.index.to_be_bytes());
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(batch) => {
            out.extend(u32::try_from(batch.0.len()).expect("a batch is bounded far below").to_be_bytes());
            for command in &batch.0 {
                out.extend(u32::try_from(command.len()).expect("a command is bounded far below").to_be_bytes());
                out.extend(command);
            }
        }
        EntryPayload::Membership(members) => {
            out.extend(serde_json::to_vec(members).expect("a membership is plain data"));
        }
    }
    out
}

/// Reads what [`encode_entry`] wrote, and refuses anything else.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry<TypeConfig>, String> {
    let mut rest = Rest(bytes);
    let version = rest.byte()?;
    if version != VERSION {
        return Err(format!("the entry has version {version}, and this program reads {VERSION}"));
    }
    let kind = rest.byte()?;
    let term = rest.u64()?;
    let index = rest.u64()?;
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        BATCH => {
            let count = rest.u32()? as usize;
            // A damaged count must not reserve memory: the bytes that follow bound it.
            let mut commands = Vec::with_capacity(count.min(rest.0.len() / 4));
            for _ in 0..count {
                let length = rest.u32()? as usize;
                commands.push(rest.take(length)?.to_vec());
            }
            EntryPayload::Normal(Batch(commands))
        }
        MEMBERSHIP => {
            let json = std::mem::take(&mut rest.0);
            EntryPayload::Membership(serde_json::from_slice(json).map_err(|e| format!("the membership: {e}"))?)
        }
        other => return Err(format!("the entry is of unknown kind {other}")),
    };
    if !rest.0.is_empty() {
        return Err(format!("{} bytes follow the entry", rest.0.len()));
    }
    // With a single leader per term the committed leader is its term: the node id is not kept.
    Ok(Entry { log_id: LogId::new(CommittedLeaderId::new(term, 0), index), payload })
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(length).ok_or("the entry ends too early")?;
        self.0 = tail;
        Ok(head)
    }
    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }
    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }
    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: EntryPayload<TypeConfig>) -> Entry<TypeConfig> {
        Entry { log_id: LogId::new(CommittedLeaderId::new(7, 0), 42), payload }
    }

    #[test]
    fn every_kind_of_entry_reads_back_as_it_was_written() {
        let members = openraft::Membership::new(
            vec![[1, 2, 3].into()],
            std::collections::BTreeMap::from([
                (1, openraft::BasicNode::new("a:1")),
                (2, openraft::BasicNode::new("b:1")),
                (3, openraft::BasicNode::new("c:1")),
            ]),
        );
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Batch(vec![])),
            EntryPayload::Normal(Batch(vec![b"".to_vec(), b"one".to_vec(), vec![0; 70_000]])),
            EntryPayload::Membership(members),
        ] {
            let entry = entry(payload);
            assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
        }
    }

    #[test]
    fn the_bytes_of_version_1_never_change() {
        let bytes = encode_entry(&entry(EntryPayload::Normal(Batch(vec![b"ab".to_vec(), b"c".to_vec()]))));
        assert_eq!(
            bytes,
            [&[1, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 2][..], &[0, 0, 0, 2], b"ab", &[0, 0, 0, 1], b"c"]
                .concat()
        );
    }

    #[test]
    fn damaged_bytes_are_refused_at_every_length() {
        let bytes = encode_entry(&entry(EntryPayload::Normal(Batch(vec![b"ab".to_vec(), b"c".to_vec()]))));
        for length in 0..bytes.len() {
            assert!(decode_entry(&bytes[..length]).is_err(), "{length} bytes were taken for a whole entry");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode_entry(&longer).unwrap_err().contains("follow the entry"));
        let mut newer = bytes;
        newer[0] = 2;
        assert!(decode_entry(&newer).unwrap_err().contains("version 2"));
    }
}
