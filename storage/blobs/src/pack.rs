//! Many files in one object: frames of about a megabyte, compressed each, so that a reader takes what it needs.

use crate::error::{Error, Result};
use crate::index::Place;
use crate::verity::Digest;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::io::Read;

/// Raw bytes of a frame: large enough for small files to help one another, small enough to fetch alone.
const FRAME_BYTES: usize = 1 << 20;
/// A pack is closed when it has reached this.
const PACK_BYTES: usize = 12 << 20;
/// Fast, and a megabyte at a time still finds what repeats.
const LEVEL: i32 = 3;

/// A pack that is ready to be uploaded.
#[derive(Debug)]
pub(crate) struct Pack {
    /// Hex SHA-256 of `bytes`.
    pub id: String,
    pub bytes: Bytes,
    /// In the order of a file's bytes.
    pub pieces: Vec<(Digest, Place)>,
}

/// Where a pack with this id is.
pub(crate) fn path_of(pack: &str) -> String {
    format!("blobs/packs/{}/{pack}", &pack[..2])
}

/// Fills packs, one after the other.
pub(crate) struct Packer<F: FnMut(Pack) -> Result<()>> {
    done: F,
    frame: Vec<u8>,
    /// Pieces in the open frame: digest, offset in it, bytes.
    in_frame: Vec<(Digest, u64, u64)>,
    pack: Vec<u8>,
    pieces: Vec<(Digest, Place)>,
}

impl<F: FnMut(Pack) -> Result<()>> Packer<F> {
    /// `done` takes each pack and may wait.
    pub fn new(done: F) -> Self {
        Packer { done, frame: Vec::with_capacity(FRAME_BYTES), in_frame: vec![], pack: vec![], pieces: vec![] }
    }

    /// One file; what is read must be what was hashed.
    pub fn add(&mut self, digest: Digest, what: &str, mut reader: impl Read) -> Result<()> {
        let mut hasher = crate::verity::Hasher::new();
        loop {
            let start = self.frame.len();
            let room = (FRAME_BYTES - start) as u64;
            let n = (&mut reader).take(room).read_to_end(&mut self.frame).map_err(Error::disk("read", what.as_ref()))?;
            hasher.update(&self.frame[start..]);
            if n > 0 {
                self.in_frame.push((digest, start as u64, n as u64));
            }
            if self.frame.len() < FRAME_BYTES {
                break;
            }
            self.close_frame()?;
        }
        if hasher.finish() != digest {
            return Err(Error::Damaged { what: what.to_string(), why: "it changed while it was stored".into() });
        }
        Ok(())
    }

    /// The last pack, if anything is left.
    pub fn finish(mut self) -> Result<()> {
        self.close_frame()?;
        self.close_pack()
    }

    fn close_frame(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let packed = zstd::bulk::compress(&self.frame, LEVEL).map_err(Error::disk("compress", "a frame".as_ref()))?;
        let (frame_at, frame_bytes) = (self.pack.len() as u64, packed.len() as u64);
        for (digest, at, bytes) in self.in_frame.drain(..) {
            self.pieces.push((digest, Place { pack: 0, frame_at, frame_bytes, at, bytes }));
        }
        self.pack.extend_from_slice(&packed);
        self.frame.clear();
        if self.pack.len() >= PACK_BYTES { self.close_pack() } else { Ok(()) }
    }

    fn close_pack(&mut self) -> Result<()> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.pack));
        let id = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
        (self.done)(Pack { id, bytes, pieces: std::mem::take(&mut self.pieces) })
    }
}

/// The raw bytes of one frame.
pub(crate) fn unpack_frame(pack: &str, frame: &[u8]) -> Result<Vec<u8>> {
    zstd::bulk::decompress(frame, FRAME_BYTES).map_err(|e| Error::Damaged { what: format!("pack {pack}"), why: e.to_string() })
}
