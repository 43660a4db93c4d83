//! A commit's tree, read through `git ls-tree` and one `git cat-file --batch`.

use crate::session::Session;
use slipway_manifest::{Tree, TreeEntry, TreeError};
use slipway_model::ids::CommitId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Files of one tree; real monorepos stay far below, and a tree that multiplies itself is stopped here.
const FILES_MAX: usize = 500_000;
/// A path that is longer cannot be checked out.
const PATH_BYTES_MAX: usize = 4096;

/// The tree of one commit.
pub struct GitTree {
    files: HashMap<String, File>,
    listed: Vec<TreeEntry>,
    /// Paths of submodules, for people.
    pub submodules: Vec<String>,
    objects: RefCell<Objects>,
}

struct File {
    id: String,
    size: u64,
}

impl GitTree {
    pub fn open(session: &Session, commit: &CommitId) -> Result<GitTree, String> {
        let mut command = session.git();
        command.args(["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()]);
        let mut child = command.spawn().map_err(|error| format!("git cannot be started: {error}"))?;
        let listing = read_listing(child.stdout.take().expect("stdout is piped"));
        if listing.is_err() {
            let _ = child.kill();
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let listing = listing?;
        if !output.status.success() {
            let said: String = String::from_utf8_lossy(&output.stderr).chars().take(300).collect();
            return Err(format!("the tree of {commit} cannot be listed: {}", said.trim()));
        }
        let mut tree = GitTree { files: HashMap::new(), listed: Vec::new(), submodules: Vec::new(), objects: RefCell::new(Objects::open(session)?) };
        for entry in listing {
            match entry.mode.as_str() {
                "160000" => tree.submodules.push(String::from_utf8_lossy(&entry.path).into_owned()),
                "100644" | "100755" | "100664" => {
                    // A name that is no text cannot be a file that we look for.
                    let Ok(path) = String::from_utf8(entry.path) else { continue };
                    tree.listed.push(TreeEntry { path: path.clone(), size: entry.size });
                    tree.files.insert(path, File { id: entry.id, size: entry.size });
                }
                _ => {}
            }
        }
        tree.listed.sort();
        Ok(tree)
    }
}

impl Tree for GitTree {
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self.listed.clone())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        let file = self.files.get(path).ok_or(TreeError::NotFound)?;
        if file.size > limit {
            return Err(TreeError::TooLarge { limit });
        }
        let (kind, bytes) = self.objects.borrow_mut().read(&file.id, limit).map_err(TreeError::Unreadable)?;
        if kind != "blob" {
            return Err(TreeError::Unreadable(format!("{} is a {kind}", file.id)));
        }
        Ok(bytes)
    }
}

struct Listed {
    mode: String,
    id: String,
    size: u64,
    path: Vec<u8>,
}

/// `<mode> SP <type> SP <object> SP+ <size> TAB <path> NUL`, many times.
fn read_listing(output: impl Read) -> Result<Vec<Listed>, String> {
    let mut output = BufReader::new(output);
    let mut entries = Vec::new();
    loop {
        let mut record = Vec::new();
        let read = (&mut output).take(PATH_BYTES_MAX as u64 + 200).read_until(0, &mut record).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(entries);
        }
        if record.pop() != Some(0) {
            return Err(format!("a path of the tree is longer than {PATH_BYTES_MAX} bytes"));
        }
        if entries.len() == FILES_MAX {
            return Err(format!("the tree holds more than {FILES_MAX} files"));
        }
        let tab = record.iter().position(|b| *b == b'\t').ok_or("git listed a tree in an unknown form")?;
        let head = std::str::from_utf8(&record[..tab]).map_err(|error| error.to_string())?;
        let mut fields = head.split_ascii_whitespace();
        let (Some(mode), Some(_), Some(id), Some(size)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return Err("git listed a tree in an unknown form".into());
        };
        // A submodule has no size.
        let size = size.parse().unwrap_or(0);
        entries.push(Listed { mode: mode.into(), id: id.into(), size, path: record[tab + 1..].to_vec() });
    }
}

/// One `git cat-file --batch`.
pub struct Objects {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Objects {
    pub fn open(session: &Session) -> Result<Objects, String> {
        let mut command = session.git();
        command.args(["cat-file", "--batch"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("git cannot be started: {error}"))?;
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Objects { child, input, output })
    }

    /// Kind and bytes of one object; `name` is an id or `<commit>^{tree}`, never text of a user.
    pub fn read(&mut self, name: &str, limit: u64) -> Result<(String, Vec<u8>), String> {
        let failed = |error: std::io::Error| format!("git cat-file: {error}");
        writeln!(self.input, "{name}").and_then(|()| self.input.flush()).map_err(failed)?;
        let mut header = String::new();
        (&mut self.output).take(4096).read_line(&mut header).map_err(failed)?;
        let mut fields = header.trim_end().split(' ');
        let (Some(_), Some(kind), Some(size)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("object {name} is not there"));
        };
        let size: u64 = size.parse().map_err(|_| format!("object {name} is not there"))?;
        if size > limit {
            return Err(format!("object {name} has {size} bytes, more than {limit}"));
        }
        let mut bytes = vec![0; size as usize];
        self.output.read_exact(&mut bytes).map_err(failed)?;
        let mut end = [0];
        self.output.read_exact(&mut end).map_err(failed)?;
        Ok((kind.to_string(), bytes))
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
