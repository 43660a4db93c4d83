//! The canonical list of a tree: what a slug is, and whose digest is its id.
//!
//! ```text
//! slipway-slug 1
//! d 755 0 0 bin
//! f 644 0 0 1234 3d248c… bin/run
//! l 777 0 0 current releases/1
//! ```

use crate::error::{Error, Result};
use crate::verity::Digest;
use sha2::Digest as _;
use slipway_model::SlugId;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const FIRST_LINE: &str = "slipway-slug 1\n";
/// The kernel's own limit for a path.
const PATH_BYTES_MAX: usize = 4095;

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, without `.` and `..`; bytes, as on disk.
    pub path: Vec<u8>,
    /// Permission bits and the sticky bit; never setuid or setgid.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File { size: u64, digest: Digest },
    Link { target: Vec<u8> },
}

/// A whole tree, sorted by path; parents stand before their children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Sorts and checks.
    pub fn new(mut entries: Vec<Entry>) -> Result<Manifest> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        check(&entries).map_err(Error::Refused)?;
        Ok(Manifest { entries })
    }

    /// In order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| if let Kind::File { size, .. } = e.kind { size } else { 0 }).sum()
    }

    /// The id: SHA-256 of the canonical text.
    pub fn id(&self) -> Result<SlugId> {
        id_of(&self.encode())
    }

    /// The canonical text.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::with_capacity(64 + self.entries.len() * 120);
        text.push_str(FIRST_LINE);
        for Entry { path, mode, uid, gid, kind } in &self.entries {
            // Writing to a String cannot fail.
            let _ = match kind {
                Kind::Directory => write!(text, "d {mode:o} {uid} {gid} {}", escape(path)),
                Kind::File { size, digest } => write!(text, "f {mode:o} {uid} {gid} {size} {} {}", digest.hex(), escape(path)),
                Kind::Link { target } => write!(text, "l {mode:o} {uid} {gid} {} {}", escape(path), escape(target)),
            };
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Reads the canonical text; anything else than what [`Manifest::encode`] writes is refused.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why: &str| Error::Damaged { what: "a slug's manifest".into(), why: why.into() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not UTF-8"))?;
        let body = text.strip_prefix(FIRST_LINE).ok_or_else(|| damaged("unknown version"))?;
        let entries: Option<Vec<Entry>> = body.lines().map(parse_line).collect();
        let entries = entries.ok_or_else(|| damaged("a line that cannot be read"))?;
        check(&entries).map_err(|why| damaged(&why))?;
        let manifest = Manifest { entries };
        if manifest.encode() != bytes {
            return Err(damaged("not in canonical form"));
        }
        Ok(manifest)
    }
}

/// The id of a manifest's text.
pub(crate) fn id_of(text: &[u8]) -> Result<SlugId> {
    let hex = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(text));
    hex.parse().map_err(|e: slipway_model::ids::IdError| Error::Task(e.to_string()))
}

/// A past moment that tells this content from any other: web servers make validators of time and size, and script
/// caches compare times, so an edited file needs another time and an unchanged one the same.
pub fn plausible_mtime(digest: &Digest) -> i64 {
    const FROM: i64 = 1_000_000_000; // 2001
    const SPAN: u64 = 600_000_000; // 19 years
    let mut eight = [0u8; 8];
    eight.copy_from_slice(&digest.0[..8]);
    FROM + (u64::from_le_bytes(eight) % SPAN) as i64
}

fn parse_line(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split(' ').collect();
    let (&kind, &mode, &uid, &gid) = (fields.first()?, fields.get(1)?, fields.get(2)?, fields.get(3)?);
    let (path, kind) = match (kind, &fields[4..]) {
        ("d", [path]) => (path, Kind::Directory),
        ("f", [size, digest, path]) => (path, Kind::File { size: size.parse().ok()?, digest: Digest::parse(digest)? }),
        ("l", [path, target]) => (path, Kind::Link { target: unescape(target)? }),
        _ => return None,
    };
    let mode = u32::from_str_radix(mode, 8).ok()?;
    Some(Entry { path: unescape(path)?, mode, uid: uid.parse().ok()?, gid: gid.parse().ok()?, kind })
}

/// Nothing in a manifest may lead outside of its tree, or through a link of its own.
fn check(entries: &[Entry]) -> std::result::Result<(), String> {
    let mut directories: BTreeSet<&[u8]> = BTreeSet::new();
    let mut last: Option<&[u8]> = None;
    for entry in entries {
        let path = &entry.path[..];
        let shown = || String::from_utf8_lossy(path).chars().take(200).collect::<String>();
        let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
        if path.len() > PATH_BYTES_MAX || path.split(|b| *b == b'/').any(bad) {
            return Err(format!("'{}' is no path below a tree", shown()));
        }
        if last.is_some_and(|last| last >= path) {
            return Err(format!("'{}' stands twice or in the wrong place", shown()));
        }
        last = Some(path);
        if let Some(at) = path.iter().rposition(|b| *b == b'/')
            && !directories.contains(&path[..at])
        {
            return Err(format!("'{}' is in no directory of the tree", shown()));
        }
        if entry.mode & !0o1777 != 0 {
            return Err(format!("'{}' has the mode {:o}", shown(), entry.mode));
        }
        match &entry.kind {
            Kind::Directory => _ = directories.insert(path),
            Kind::Link { target } if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains(&0) => {
                return Err(format!("the link '{}' leads nowhere", shown()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Printable ASCII without space and backslash stays; every other byte becomes `\xHH`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let code = tail.strip_prefix(b"x")?.get(..2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), mode: 0o755, uid: 0, gid: 0, kind }
    }

    #[test]
    fn a_manifest_is_read_back_from_its_text_and_its_id_never_moves() {
        let file = Kind::File { size: 0, digest: crate::verity::digest_reader(&b""[..]).unwrap().0 };
        let entries = vec![
            entry("a b\\\n\u{e9}", file.clone()),
            entry("dir", Kind::Directory),
            entry("dir/link", Kind::Link { target: b"../a b".to_vec() }),
        ];
        let manifest = Manifest::new(entries).unwrap();
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        // Stored for good: another id means that every slug of the world is lost.
        assert_eq!(manifest.id().unwrap().as_str(), "1e76d0bca2eb16c828a65b97a67289b3b7362a2357153bc8bfa96a0806441083");
    }

    #[test]
    fn nothing_leads_out_of_the_tree() {
        let file = || Kind::File { size: 0, digest: Digest([0; 32]) };
        let link = || Kind::Link { target: b"/etc".to_vec() };
        for bad in ["", "/a", "../a", "a/../b", "a//b", "a/.", "x\0y"] {
            assert!(Manifest::new(vec![entry("a", Kind::Directory), entry(bad, file())]).is_err(), "{bad:?}");
        }
        assert!(Manifest::new(vec![entry("a", link()), entry("a/passwd", file())]).is_err(), "through a link");
        assert!(Manifest::new(vec![entry("a", file()), entry("a", file())]).is_err(), "twice");
        let setuid = Entry { mode: 0o4755, ..entry("su", file()) };
        assert!(Manifest::new(vec![setuid]).is_err());
    }

    #[test]
    fn other_spellings_of_the_same_tree_are_refused() {
        for bad in ["", "slipway-slug 2\n", "slipway-slug 1\nd 0755 0 0 a\n", "slipway-slug 1\nd 755 0 0 b\nd 755 0 0 a\n", "slipway-slug 1\nd 755 0 0 \\x61\n"] {
            assert!(Manifest::decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
