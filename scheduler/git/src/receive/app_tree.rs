//! The id of an application's tree without the platform's own files.
//!
//! The id is one part of the build key: a commit that only changes routes or an application's relationships
//! gives the same id as before. The tree is written anew in memory and never stored.

use super::tree::Objects;
use crate::session::Session;
use sha1::{Digest, Sha1};
use slipway_model::ids::CommitId;
use std::collections::BTreeSet;

/// A single folder with more than 100 000 entries is a mistake of somebody.
const TREE_BYTES_MAX: u64 = 16 << 20;

/// The ids of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTree {
    /// As in git: what is checked out.
    pub source: String,
    /// Without the platform's files.
    pub key: String,
}

/// Reads trees of one commit.
pub struct AppTrees {
    objects: Objects,
    root: String,
}

impl AppTrees {
    pub fn open(session: &Session, commit: &CommitId) -> Result<AppTrees, String> {
        let mut objects = Objects::open(session)?;
        // The first line of a commit names its tree.
        let (kind, bytes) = objects.read(commit.as_str(), TREE_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let root = text.lines().next().and_then(|line| line.strip_prefix("tree ")).filter(|_| kind == "commit");
        let root = root.ok_or_else(|| format!("{commit} is a {kind}, not a commit"))?.to_string();
        Ok(AppTrees { objects, root })
    }

    /// `folder` is the application's root in the repository, `left_out` lies below it.
    pub fn of(&mut self, folder: &str, left_out: &[String]) -> Result<AppTree, String> {
        let mut source = self.root.clone();
        for name in folder.split('/').filter(|name| !name.is_empty()) {
            let entries = self.entries(&source)?;
            let entry = entries.iter().find(|entry| entry.name == name.as_bytes() && entry.is_tree());
            source = entry.ok_or_else(|| format!("folder '{folder}' is not in the tree"))?.id_hex();
        }
        let paths: BTreeSet<&str> = left_out.iter().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()).collect();
        let key = self.without(&source, &paths)?.unwrap_or_else(|| hex(&Sha1::digest(b"tree 0\0")));
        Ok(AppTree { source, key })
    }

    /// The id of the tree without these paths; `None` when nothing is left.
    fn without(&mut self, tree: &str, paths: &BTreeSet<&str>) -> Result<Option<String>, String> {
        if paths.is_empty() {
            return Ok(Some(tree.to_string()));
        }
        let mut kept = Vec::new();
        for mut entry in self.entries(tree)? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            if paths.contains(name.as_str()) {
                continue;
            }
            let prefix = format!("{name}/");
            let below: BTreeSet<&str> = paths.iter().filter_map(|path| path.strip_prefix(&prefix)).collect();
            if entry.is_tree() && !below.is_empty() {
                match self.without(&entry.id_hex(), &below)? {
                    None => continue,
                    Some(id) => entry.id = unhex(&id).ok_or("git gave an id that is none")?,
                }
            }
            kept.push(entry);
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let mut body = Vec::new();
        for entry in kept {
            body.extend_from_slice(entry.mode.as_bytes());
            body.push(b' ');
            body.extend_from_slice(&entry.name);
            body.push(0);
            body.extend_from_slice(&entry.id);
        }
        let mut digest = Sha1::new();
        digest.update(format!("tree {}\0", body.len()));
        digest.update(&body);
        Ok(Some(hex(&digest.finalize())))
    }

    fn entries(&mut self, tree: &str) -> Result<Vec<Entry>, String> {
        let (kind, bytes) = self.objects.read(tree, TREE_BYTES_MAX)?;
        if kind != "tree" {
            return Err(format!("{tree} is a {kind}, not a tree"));
        }
        parse(&bytes).ok_or_else(|| format!("tree {tree} is damaged"))
    }
}

struct Entry {
    mode: String,
    name: Vec<u8>,
    id: [u8; 20],
}

impl Entry {
    fn is_tree(&self) -> bool {
        self.mode == "40000"
    }

    fn id_hex(&self) -> String {
        hex(&self.id)
    }
}

/// `<mode> SP <name> NUL <20 bytes>`, many times.
fn parse(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let end = bytes.iter().position(|b| *b == 0)?;
        let mode = std::str::from_utf8(bytes.get(..space)?).ok()?.to_string();
        let name = bytes.get(space + 1..end)?.to_vec();
        let id = bytes.get(end + 1..end + 21)?.try_into().ok()?;
        entries.push(Entry { mode, name, id });
        bytes = bytes.get(end + 21..)?;
    }
    Some(entries)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unhex(text: &str) -> Option<[u8; 20]> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
