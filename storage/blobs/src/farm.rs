//! A node's objects: one flat directory of verified files, and trees of hard links into it.
//!
//! ```text
//!  objects/3d/3d248c…-644-0-0 ──hard link──▶ trees/<slug>/index.php
//! ```
//!
//! Hard links share owner, permissions and time: these are part of an object's name. An object with one link is used by no tree.

use crate::error::{Error, Result};
use crate::manifest::{Entry, Kind, Manifest, plausible_mtime};
use crate::verity::{self, Digest};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Directories have no content to derive a time from.
const DIRECTORY_MTIME: i64 = 1_000_000_000;

/// Permissions and owner of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variant {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Objects that a slug needs and the directory lacks.
pub(crate) type Wanted = BTreeMap<Digest, BTreeSet<Variant>>;

/// Where the object for a file is.
pub fn object_path(objects: &Path, digest: &Digest, variant: Variant) -> PathBuf {
    let hex = digest.hex();
    objects.join(&hex[..2]).join(format!("{hex}-{:o}-{}-{}", variant.mode, variant.uid, variant.gid))
}

fn variant(entry: &Entry) -> Variant {
    Variant { mode: entry.mode, uid: entry.uid, gid: entry.gid }
}

/// What is missing; blocks.
pub(crate) fn wanted(objects: &Path, manifest: &Manifest) -> Result<Wanted> {
    let mut wanted = Wanted::new();
    for entry in manifest.entries() {
        let Kind::File { size, digest } = entry.kind else { continue };
        let path = object_path(objects, &digest, variant(entry));
        match std::fs::symlink_metadata(&path) {
            // Another size can only be damage; it is fetched again.
            Ok(meta) if meta.is_file() && meta.len() == size => {}
            Ok(_) => _ = wanted.entry(digest).or_default().insert(variant(entry)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => _ = wanted.entry(digest).or_default().insert(variant(entry)),
            Err(e) => return Err(Error::disk("look at", &path)(e)),
        }
    }
    Ok(wanted)
}

/// Takes pieces of files in any order, from several threads; what is complete is verified and put in place.
pub(crate) struct Intake {
    objects: PathBuf,
    /// Unfinished files; gone with this value.
    scratch: tempfile::TempDir,
    wanted: Wanted,
    sizes: HashMap<Digest, u64>,
    /// Bytes that arrived of files in several pieces.
    arrived: Mutex<HashMap<Digest, u64>>,
}

impl Intake {
    pub fn open(objects: &Path, wanted: Wanted, sizes: &HashMap<Digest, u64>) -> Result<Intake> {
        std::fs::create_dir_all(objects).map_err(Error::disk("make", objects))?;
        let scratch = tempfile::Builder::new().prefix("tmp-").tempdir_in(objects).map_err(Error::disk("make a folder in", objects))?;
        let sizes = wanted.keys().filter_map(|digest| Some((*digest, *sizes.get(digest)?))).collect();
        Ok(Intake { objects: objects.to_path_buf(), scratch, wanted, sizes, arrived: Mutex::default() })
    }

    /// What is waited for.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.wanted.keys()
    }

    /// `bytes` of the file at `offset`.
    pub fn piece(&self, digest: &Digest, offset: u64, bytes: &[u8]) -> Result<()> {
        let size = self.sizes.get(digest).copied().unwrap_or_default();
        if bytes.len() as u64 == size {
            let (found, _) = verity::digest_reader(bytes).map_err(Error::disk("hash", &self.objects))?;
            return self.place(digest, found, bytes);
        }
        let part = self.scratch.path().join(digest.hex());
        let options = || File::options().create(true).truncate(false).write(true).open(&part);
        let file = options().map_err(Error::disk("write", &part))?;
        file.write_all_at(bytes, offset).map_err(Error::disk("write", &part))?;
        let complete = {
            let mut arrived = self.arrived.lock().unwrap_or_else(|p| p.into_inner());
            let sum = arrived.entry(*digest).or_default();
            *sum += bytes.len() as u64;
            *sum == size
        };
        if complete {
            let open = || File::open(&part).map_err(Error::disk("read", &part));
            let (found, _) = verity::digest_reader(open()?).map_err(Error::disk("read", &part))?;
            self.place(digest, found, open()?)?;
            std::fs::remove_file(&part).map_err(Error::disk("remove", &part))?;
        }
        Ok(())
    }

    /// Nothing is missing now; empty files are made here.
    pub fn finish(&self) -> Result<()> {
        for (digest, size) in &self.sizes {
            if *size == 0 {
                let (found, _) = verity::digest_reader(&b""[..]).map_err(Error::disk("hash", &self.objects))?;
                self.place(digest, found, &b""[..])?;
            }
        }
        for (digest, variants) in &self.wanted {
            for variant in variants {
                let path = object_path(&self.objects, digest, *variant);
                if !path.exists() {
                    return Err(Error::Damaged { what: format!("file {}", digest.hex()), why: "pieces of it are missing in the store".into() });
                }
            }
        }
        Ok(())
    }

    fn place(&self, digest: &Digest, found: Digest, bytes: impl std::io::Read + Rewindable) -> Result<()> {
        if found != *digest {
            return Err(Error::Damaged { what: format!("file {}", digest.hex()), why: format!("what the store gave is {}", found.hex()) });
        }
        for (number, variant) in self.wanted.get(digest).into_iter().flatten().enumerate() {
            let part = self.scratch.path().join(format!("{}-{number}-new", digest.hex()));
            let mut file = File::create(&part).map_err(Error::disk("write", &part))?;
            std::io::copy(&mut bytes.again().map_err(Error::disk("read", &part))?, &mut file).map_err(Error::disk("write", &part))?;
            file.flush().map_err(Error::disk("write", &part))?;
            settle(&part, digest, *variant)?;
            let path = object_path(&self.objects, digest, *variant);
            make_parent(&path)?;
            std::fs::rename(&part, &path).map_err(Error::disk("name", &path))?;
        }
        Ok(())
    }
}

/// Bytes that can be read once for each variant.
trait Rewindable {
    fn again(&self) -> std::io::Result<Box<dyn std::io::Read + '_>>;
}

impl Rewindable for &[u8] {
    fn again(&self) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(*self))
    }
}

impl Rewindable for File {
    fn again(&self) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        use std::io::Seek;
        let mut file = self.try_clone()?;
        file.rewind()?;
        Ok(Box::new(file))
    }
}

fn settle(path: &Path, digest: &Digest, variant: Variant) -> Result<()> {
    chown_if_needed(path, variant)?;
    let permissions = std::fs::Permissions::from_mode(variant.mode);
    std::fs::set_permissions(path, permissions).map_err(Error::disk("set permissions of", path))?;
    set_mtime(path, plausible_mtime(digest))
}

fn chown_if_needed(path: &Path, variant: Variant) -> Result<()> {
    // Tests run without root, and there everything is the caller's.
    if nix::unistd::geteuid().is_root() {
        chown(path, Some(variant.uid), Some(variant.gid)).map_err(Error::disk("give away", path))?;
    }
    Ok(())
}

fn set_mtime(path: &Path, seconds: i64) -> Result<()> {
    let time = TimeSpec::new(seconds, 0);
    utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(|e| Error::disk("set the time of", path)(e.into()))
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(Error::disk("make", parent)),
        None => Ok(()),
    }
}

/// Make the tree of a manifest in a new directory, of links to objects that are there; blocks.
pub fn build(manifest: &Manifest, objects: &Path, target: &Path) -> Result<()> {
    std::fs::create_dir(target).map_err(Error::disk("make", target))?;
    let mut directories = vec![];
    for entry in manifest.entries() {
        let path = crate::walk::join(target, &entry.path);
        match &entry.kind {
            Kind::Directory => {
                std::fs::create_dir(&path).map_err(Error::disk("make", &path))?;
                directories.push((path, variant(entry)));
            }
            Kind::Link { target } => {
                symlink(crate::walk::join(Path::new(""), target), &path).map_err(Error::disk("link", &path))?;
            }
            Kind::File { digest, .. } => link_object(&object_path(objects, digest, variant(entry)), digest, variant(entry), &path)?,
        }
    }
    for (path, variant) in directories.iter().rev() {
        chown_if_needed(path, *variant)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(variant.mode)).map_err(Error::disk("set permissions of", path))?;
        set_mtime(path, DIRECTORY_MTIME)?;
    }
    std::fs::set_permissions(target, std::fs::Permissions::from_mode(0o755)).map_err(Error::disk("set permissions of", target))?;
    set_mtime(target, DIRECTORY_MTIME)
}

fn link_object(object: &Path, digest: &Digest, variant: Variant, path: &Path) -> Result<()> {
    match std::fs::hard_link(object, path) {
        Ok(()) => Ok(()),
        // ext4 allows 65000 links of a file, btrfs fewer in one directory: this one becomes a copy.
        Err(e) if e.raw_os_error() == Some(nix::libc::EMLINK) => {
            std::fs::copy(object, path).map_err(Error::disk("copy", path))?;
            settle(path, digest, variant)
        }
        Err(e) => Err(Error::disk("link", path)(e)),
    }
}

/// Remove objects that no tree uses, and scratch left by the dead; returns the bytes freed. Blocks; nothing may be fetched meanwhile.
pub fn collect(objects: &Path) -> Result<u64> {
    let mut freed = 0;
    for_each_object(objects, |path, meta| {
        if meta.nlink() == 1 {
            std::fs::remove_file(path).map_err(Error::disk("remove", path))?;
            freed += meta.len();
        }
        Ok(())
    })?;
    Ok(freed)
}

/// Verify every object and remove what is damaged; returns how many were. Blocks.
pub fn verify_all(objects: &Path) -> Result<u64> {
    let mut damaged = 0;
    for_each_object(objects, |path, _| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let digest = name.split('-').next().and_then(Digest::parse);
        let file = File::open(path).map_err(Error::disk("read", path))?;
        // A read error is damage as well.
        let found = verity::digest_reader(file).ok().map(|(digest, _)| digest);
        if digest.is_none() || digest != found {
            std::fs::remove_file(path).map_err(Error::disk("remove", path))?;
            damaged += 1;
        }
        Ok(())
    })?;
    Ok(damaged)
}

fn for_each_object(objects: &Path, mut each: impl FnMut(&Path, &std::fs::Metadata) -> Result<()>) -> Result<()> {
    let shards = match std::fs::read_dir(objects) {
        Ok(shards) => shards,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::disk("list", objects)(e)),
    };
    for shard in shards {
        let shard = shard.map_err(Error::disk("list", objects))?.path();
        if shard.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp-")) {
            std::fs::remove_dir_all(&shard).map_err(Error::disk("remove", &shard))?;
            continue;
        }
        for object in std::fs::read_dir(&shard).map_err(Error::disk("list", &shard))? {
            let path = object.map_err(Error::disk("list", &shard))?.path();
            let meta = std::fs::symlink_metadata(&path).map_err(Error::disk("look at", &path))?;
            each(&path, &meta)?;
        }
    }
    Ok(())
}
