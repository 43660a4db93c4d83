//! Where the bytes of files lie: digest to places in packs.

use crate::error::{Error, Result};
use crate::store::Store;
use crate::verity::Digest;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The folder of indexes; names begin with the time in hex milliseconds, so that new ones stand last.
const FOLDER: &str = "blobs/index";
/// Older ones are not read: a file known only there is uploaded once more.
const INDEXES_MAX: usize = 2000;
/// 100 bytes each in memory.
const BLOBS_MAX: usize = 500_000;
/// Clocks of workers differ: names up to this much older than the newest one seen are looked at again.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;
/// Raw bytes of an index; a tree of a million files stays below.
const INDEX_BYTES_MAX: usize = 512 << 20;

/// A piece of a file: `bytes` at `at` in the frame that lies at `frame_at` in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64, u64, u64)", into = "(u32, u64, u64, u64, u64)")]
pub(crate) struct Place {
    /// Number in the list of packs that stands beside.
    pub pack: u32,
    pub frame_at: u64,
    pub frame_bytes: u64,
    pub at: u64,
    pub bytes: u64,
}

impl From<(u32, u64, u64, u64, u64)> for Place {
    fn from((pack, frame_at, frame_bytes, at, bytes): (u32, u64, u64, u64, u64)) -> Self {
        Place { pack, frame_at, frame_bytes, at, bytes }
    }
}

impl From<Place> for (u32, u64, u64, u64, u64) {
    fn from(p: Place) -> Self {
        (p.pack, p.frame_at, p.frame_bytes, p.at, p.bytes)
    }
}

/// Files and where they lie; also a part of each stored slug.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    pub packs: Vec<String>,
    /// Hex digest to pieces in the order of the file's bytes.
    pub blobs: BTreeMap<String, Vec<Place>>,
    #[serde(skip)]
    numbers: HashMap<String, u32>,
}

impl Index {
    /// One more piece of a file.
    pub fn add(&mut self, digest: &Digest, pack: &str, place: Place) {
        let number = match self.numbers.get(pack) {
            Some(number) => *number,
            None => {
                let number = self.packs.len() as u32;
                self.packs.push(pack.to_string());
                self.numbers.insert(pack.to_string(), number);
                number
            }
        };
        self.blobs.entry(digest.hex()).or_default().push(Place { pack: number, ..place });
    }

    /// Compressed JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|e| Error::Task(e.to_string()))?;
        zstd::encode_all(&json[..], 3).map_err(Error::disk("compress", "an index".as_ref()))
    }

    /// Reads it, with every number checked.
    pub fn decode(bytes: &[u8]) -> Result<Index> {
        let damaged = |why: String| Error::Damaged { what: "an index of packs".into(), why };
        let json = inflate(bytes, INDEX_BYTES_MAX).map_err(|e| damaged(e.to_string()))?;
        let index: Index = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        let hex = |pack: &String| pack.len() == 64 && pack.bytes().all(|b| b.is_ascii_hexdigit());
        let known = index.blobs.values().flatten().all(|place| (place.pack as usize) < index.packs.len());
        if !index.packs.iter().all(hex) || !known {
            return Err(damaged("it names packs that cannot be".into()));
        }
        Ok(index)
    }
}

/// Decompress, but never more than `max`.
pub(crate) fn inflate(bytes: &[u8], max: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut raw = vec![];
    zstd::Decoder::new(bytes)?.take(max as u64 + 1).read_to_end(&mut raw)?;
    if raw.len() > max {
        return Err(std::io::Error::other(format!("it unpacks to more than {max} bytes")));
    }
    Ok(raw)
}

/// What this process knows to be in the store.
#[derive(Debug, Default)]
pub(crate) struct Known {
    packs: Vec<String>,
    blobs: HashMap<Digest, Box<[Place]>>,
    /// Names of the indexes that were read.
    seen: std::collections::BTreeSet<String>,
}

impl Known {
    /// Read what others have written since the last time.
    pub async fn refresh(&mut self, store: &Store) -> Result<()> {
        let newest = self.seen.last().and_then(|name| u64::from_str_radix(name.get(..12)?, 16).ok());
        let after = newest.map(|ms| format!("{:012x}", ms.saturating_sub(CLOCK_SLACK_MS)));
        let mut names: Vec<String> = store.list(FOLDER, after.as_deref()).await?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !self.seen.contains(name));
        let surplus = names.len().saturating_sub(INDEXES_MAX);
        names.drain(..surplus);
        let read = |name: String| async move {
            match store.get(&format!("{FOLDER}/{name}")).await {
                Ok(bytes) => Ok(Some((name, Index::decode(&bytes)?))),
                Err(Error::Absent { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let read: Vec<Option<(String, Index)>> = futures::stream::iter(names).map(read).buffered(8).try_collect().await?;
        for (name, index) in read.into_iter().flatten() {
            self.add(&index);
            self.seen.insert(name);
        }
        Ok(())
    }

    /// Publish what was just uploaded.
    pub async fn publish(&mut self, store: &Store, index: &Index) -> Result<()> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let first = index.packs.first().map_or("none", |pack| &pack[..16]);
        let name = format!("{now:012x}-{first}");
        store.put(&format!("{FOLDER}/{name}"), Bytes::from(index.encode()?)).await?;
        self.add(index);
        self.seen.insert(name);
        Ok(())
    }

    /// The file's pieces, with the packs' names.
    pub fn places(&self, digest: &Digest) -> Option<impl Iterator<Item = (&str, Place)>> {
        let places = self.blobs.get(digest)?;
        Some(places.iter().map(|place| (self.packs[place.pack as usize].as_str(), *place)))
    }

    fn add(&mut self, index: &Index) {
        if self.blobs.len() > BLOBS_MAX {
            self.blobs.clear();
            self.packs.clear();
        }
        let base = self.packs.len() as u32;
        self.packs.extend(index.packs.iter().cloned());
        for (digest, places) in &index.blobs {
            if let Some(digest) = Digest::parse(digest) {
                let places = places.iter().map(|place| Place { pack: place.pack + base, ..*place }).collect();
                self.blobs.entry(digest).or_insert(places);
            }
        }
    }
}
