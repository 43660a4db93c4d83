//! The fs-verity digest of a file, computed as the kernel does (SHA-256, 4096-byte blocks, no salt).

use sha2::{Digest as _, Sha256};
use std::io::Read;

const BLOCK: usize = 4096;
const HASH: usize = 32;

/// One fs-verity digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; HASH]);

impl Digest {
    /// 64 hex digits.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Reads what [`Digest::hex`] prints.
    pub fn parse(text: &str) -> Option<Digest> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Digest(bytes.try_into().ok()?))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

/// Takes a file's bytes in pieces; memory is one block for each level of the tree.
#[derive(Debug, Default)]
pub struct Hasher {
    size: u64,
    /// The data block that is being filled.
    block: Vec<u8>,
    /// For each level above: the block of hashes that is being filled.
    levels: Vec<Vec<u8>>,
}

impl Hasher {
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// More bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            // A full block is hashed only when more follows: a file of one block has no tree above it.
            if self.block.len() == BLOCK {
                let hash = hash_block(&self.block);
                self.block.clear();
                self.push(0, hash);
            }
            let take = bytes.len().min(BLOCK - self.block.len());
            self.block.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
        }
    }

    /// How many bytes it has seen.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all of them.
    pub fn finish(mut self) -> Digest {
        let mut root = [0u8; HASH];
        if self.size > 0 {
            let mut carry = hash_block(&self.block);
            let mut level = 0;
            // The last hash of each level rises until one block has no sibling.
            while level < self.levels.len() {
                self.push(level, carry);
                // Pushing may have closed a full block and opened the next level.
                carry = hash_block(&self.levels[level]);
                level += 1;
            }
            root = carry;
        }
        let mut descriptor = [0u8; 256];
        descriptor[0] = 1; // version
        descriptor[1] = 1; // SHA-256
        descriptor[2] = 12; // log2 of the block size
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        descriptor[16..48].copy_from_slice(&root);
        Digest(Sha256::digest(descriptor).into())
    }

    fn push(&mut self, level: usize, hash: [u8; HASH]) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK));
        }
        // As with data: a full block closes only when more follows.
        if self.levels[level].len() == BLOCK {
            let above = hash_block(&self.levels[level]);
            self.levels[level].clear();
            self.push(level + 1, above);
        }
        self.levels[level].extend_from_slice(&hash);
    }
}

fn hash_block(bytes: &[u8]) -> [u8; HASH] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.update(&[0u8; BLOCK][bytes.len()..]);
    hash.finalize().into()
}

/// Digest and size of everything a reader gives.
pub fn digest_reader(mut reader: impl Read) -> std::io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0u8; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let size = hasher.size();
    Ok((hasher.finish(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_fsverity_program() {
        // `head -c N /dev/zero | tr '\0' a`, then `fsverity digest`.
        let known = [
            (0, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"),
            (1, "bce75948b9e7510293f8f2720412af9697c1479281323f3f220623fb8e94b557"),
            (4096, "a2a808ddaced77f0b6b3068f47b14b5a1fb3fc43674993ab11b8e7e6f2d089e2"),
            (4097, "18b155c0b6e054f3f7d22488ed15340e74dc161ce2d123e13eb685c3ce565f70"),
            (524_288, "35ce0df2a57eb54aeba7969570bac9dfadfac295ec181a03f13ac7a7da54909e"),
            (524_289, "cc4f297494cf9e0b6f159db6d30a62d3fcc219fc9c0cbc2d8792bd264da4d9cb"),
            (1_000_000, "50049eeefec9385017816e55c0783638f225a3938338cbd673ce9ee8bc977100"),
        ];
        for (size, digest) in known {
            let bytes = vec![b'a'; size];
            assert_eq!(digest_reader(&bytes[..]).unwrap().0.hex(), digest, "{size} bytes");
            let mut hasher = Hasher::new();
            for piece in bytes.chunks(1000) {
                hasher.update(piece);
            }
            assert_eq!(hasher.finish().hex(), digest, "{size} bytes in pieces");
        }
    }
}
