//! Trees, kept for good: slugs of applications, and base images in the same form.

use crate::error::{Error, Result};
use crate::farm;
use crate::index::{Index, Known, Place, inflate};
use crate::manifest::{Kind, Manifest, id_of};
use crate::pack::{self, Pack, Packer};
use crate::store::Store;
use crate::verity::Digest;
use crate::walk;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use slipway_model::SlugId;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// Packs or ranges under way at a time; each holds up to 16 MiB.
const TRANSFERS_AT_ONCE: usize = 4;
/// A manifest line has about 120 bytes; a million files.
const SLUG_BYTES_MAX: usize = 512 << 20;
/// Frames that lie closer are fetched in one request.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// One request fetches at most this, so that memory stays bounded.
const RANGE_BYTES_MAX: u64 = 16 << 20;
const MAGIC: &[u8] = b"slipway-slug-object 1\n";

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// All root's, readable by everybody: slugs.
    Root,
    /// Ids and permissions as on disk, without setuid and setgid: images.
    Keep,
}

/// What becomes part of a slug.
#[derive(Debug, Clone)]
pub struct PutOptions {
    /// Paths below the tree that are left out.
    pub exclude: Vec<String>,
    pub owners: Owners,
    pub bytes_max: u64,
    pub files_max: u64,
}

impl Default for PutOptions {
    /// An application's slug, within the platform's bounds of 8 GB and a million files.
    fn default() -> Self {
        PutOptions { exclude: vec![], owners: Owners::Root, bytes_max: 8_000_000_000, files_max: 1_000_000 }
    }
}

/// What was stored.
#[derive(Debug, Clone)]
pub struct PutResult {
    pub slug: SlugId,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that went to the store.
    pub uploaded_bytes: u64,
    /// Devices, fifos and sockets that were left out.
    pub skipped: Vec<String>,
}

/// The shelf of slugs; a cheap handle.
#[derive(Debug, Clone)]
pub struct SlugStore {
    store: Store,
    known: Arc<Mutex<Known>>,
}

impl SlugStore {
    pub fn new(store: Store) -> SlugStore {
        SlugStore { store, known: Arc::default() }
    }

    /// Its object store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// It is there.
    pub async fn has(&self, slug: &SlugId) -> Result<bool> {
        match self.store.head(&path_of(slug)).await {
            Ok(_) => Ok(true),
            Err(Error::Absent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Store a directory: what the store lacks is uploaded, and the slug is durable before it has a name.
    pub async fn put_tree(&self, directory: &Path, options: &PutOptions) -> Result<PutResult> {
        let (root, walk_options) = (directory.to_path_buf(), options.clone());
        let walked = tokio::task::spawn_blocking(move || walk::walk(&root, &walk_options)).await??;
        let text = walked.manifest.encode();
        let slug = id_of(&text)?;
        let result = PutResult { slug: slug.clone(), bytes: walked.manifest.bytes(), uploaded_bytes: 0, skipped: walked.skipped };
        if self.has(&slug).await? {
            return Ok(result);
        }
        let files = distinct_files(&walked.manifest);
        self.known.lock().await.refresh(&self.store).await?;
        let (places, missing) = self.split_known(&files).await;
        let (new, mut uploaded) = self.upload(directory, missing).await?;
        if !new.blobs.is_empty() {
            self.known.lock().await.publish(&self.store, &new).await?;
        }
        let object = encode_slug(&text, &join_indexes(places, &new))?;
        uploaded += object.len() as u64;
        // Last of all, and only once: whoever sees it can have all of it.
        self.store.put_new(&path_of(&slug), object).await?;
        Ok(PutResult { uploaded_bytes: uploaded, ..result })
    }

    /// The slug's list of files.
    pub async fn manifest(&self, slug: &SlugId) -> Result<Manifest> {
        Ok(self.load(slug).await?.0)
    }

    /// Bring a slug's files into a directory of objects; each is verified before it gets its name there.
    pub async fn fetch(&self, slug: &SlugId, objects: &Path) -> Result<Manifest> {
        let (manifest, index) = self.load(slug).await?;
        let target = objects.to_path_buf();
        let (manifest, wanted) = tokio::task::spawn_blocking(move || farm::wanted(&target, &manifest).map(|w| (manifest, w))).await??;
        if wanted.is_empty() {
            return Ok(manifest);
        }
        let intake = Arc::new(farm::Intake::open(objects, wanted, &index.sizes(&manifest)?)?);
        let ranges = ranges(&index, &intake)?;
        let fetches = ranges.into_iter().map(|range| {
            let (store, intake) = (self.store.clone(), intake.clone());
            async move {
                let bytes = store.get_range(&pack::path_of(&range.pack), range.from..range.to).await?;
                tokio::task::spawn_blocking(move || range.unpack(&bytes, &intake)).await?
            }
        });
        futures::stream::iter(fetches).buffer_unordered(TRANSFERS_AT_ONCE).try_collect::<Vec<()>>().await?;
        intake.finish()?;
        Ok(manifest)
    }

    async fn load(&self, slug: &SlugId) -> Result<(Manifest, Index)> {
        let bytes = self.store.get(&path_of(slug)).await?;
        let slug = slug.clone();
        tokio::task::spawn_blocking(move || decode_slug(&slug, &bytes)).await?
    }

    async fn split_known(&self, files: &BTreeMap<Digest, Vec<u8>>) -> (Index, Vec<(Digest, Vec<u8>)>) {
        let known = self.known.lock().await;
        let (mut index, mut missing) = (Index::default(), vec![]);
        for (digest, path) in files {
            match known.places(digest) {
                Some(places) => places.for_each(|(pack, place)| index.add(digest, pack, place)),
                None => missing.push((*digest, path.clone())),
            }
        }
        // By path: neighbours resemble one another and compress well together.
        missing.sort_by(|a, b| a.1.cmp(&b.1));
        (index, missing)
    }

    async fn upload(&self, directory: &Path, missing: Vec<(Digest, Vec<u8>)>) -> Result<(Index, u64)> {
        let (send, receive) = mpsc::channel::<Pack>(1);
        let root = directory.to_path_buf();
        let packing = tokio::task::spawn_blocking(move || {
            let gone = |_| Error::Task("the upload ended early".into());
            let mut packer = Packer::new(|pack| send.blocking_send(pack).map_err(gone));
            for (digest, path) in missing {
                packer.add(digest, &String::from_utf8_lossy(&path), walk::open_file(&root, &path)?)?;
            }
            packer.finish()
        });
        let uploads = tokio_stream(receive).map(|pack| async move {
            self.store.put(&pack::path_of(&pack.id), pack.bytes.clone()).await?;
            Ok::<_, Error>((pack.id, pack.bytes.len() as u64, pack.pieces))
        });
        // In order: the pieces of a file that spans packs must stay in theirs.
        let uploaded = uploads.buffered(TRANSFERS_AT_ONCE).try_collect::<Vec<_>>().await;
        packing.await??;
        let (mut index, mut bytes) = (Index::default(), 0);
        for (id, pack_bytes, pieces) in uploaded? {
            bytes += pack_bytes;
            pieces.into_iter().for_each(|(digest, place)| index.add(&digest, &id, place));
        }
        Ok((index, bytes))
    }
}

impl Index {
    /// Every file's size, by digest; a file whose pieces do not add up is damage.
    fn sizes(&self, manifest: &Manifest) -> Result<HashMap<Digest, u64>> {
        let mut sizes = HashMap::new();
        for entry in manifest.entries() {
            let Kind::File { size, digest } = entry.kind else { continue };
            let have: u64 = self.blobs.get(&digest.hex()).into_iter().flatten().map(|place| place.bytes).sum();
            if have != size {
                return Err(Error::Damaged { what: format!("the slug's index for {}", digest.hex()), why: format!("{have} of {size} bytes") });
            }
            sizes.insert(digest, size);
        }
        Ok(sizes)
    }
}

/// A stretch of a pack, and which frames of it hold what.
struct Range {
    pack: String,
    from: u64,
    to: u64,
    /// Frame's offset and bytes, then digest, offset in the file, place.
    frames: BTreeMap<(u64, u64), Vec<(Digest, u64, Place)>>,
}

impl Range {
    fn unpack(&self, bytes: &[u8], intake: &farm::Intake) -> Result<()> {
        let damaged = |why: &str| Error::Damaged { what: format!("pack {}", self.pack), why: why.into() };
        for ((frame_at, frame_bytes), pieces) in &self.frames {
            let from = (frame_at - self.from) as usize;
            let frame = bytes.get(from..from + *frame_bytes as usize).ok_or_else(|| damaged("it is too short"))?;
            let raw = pack::unpack_frame(&self.pack, frame)?;
            for (digest, offset, place) in pieces {
                let piece = raw.get(place.at as usize..(place.at + place.bytes) as usize);
                intake.piece(digest, *offset, piece.ok_or_else(|| damaged("a frame is too short"))?)?;
            }
        }
        Ok(())
    }
}

/// What must be read from which pack, near neighbours together.
fn ranges(index: &Index, intake: &farm::Intake) -> Result<Vec<Range>> {
    let mut packs: BTreeMap<&str, BTreeMap<(u64, u64), Vec<(Digest, u64, Place)>>> = BTreeMap::new();
    for digest in intake.digests() {
        let mut offset = 0;
        for place in index.blobs.get(&digest.hex()).into_iter().flatten() {
            if place.frame_bytes > RANGE_BYTES_MAX || place.frame_at.checked_add(place.frame_bytes).is_none() || place.at.checked_add(place.bytes).is_none() {
                return Err(Error::Damaged { what: "a slug's index".into(), why: "a frame that cannot be".into() });
            }
            let frames = packs.entry(&index.packs[place.pack as usize]).or_default();
            frames.entry((place.frame_at, place.frame_bytes)).or_default().push((*digest, offset, *place));
            offset += place.bytes;
        }
    }
    let mut ranges: Vec<Range> = vec![];
    for (pack, frames) in packs {
        let mut open: Option<Range> = None;
        for ((at, bytes), pieces) in frames {
            let fits = |r: &Range| at >= r.to && at - r.to <= GAP_BYTES_MAX && at + bytes - r.from <= RANGE_BYTES_MAX;
            let mut range = match open.take() {
                Some(range) if fits(&range) => range,
                other => {
                    ranges.extend(other);
                    Range { pack: pack.to_string(), from: at, to: at, frames: BTreeMap::new() }
                }
            };
            range.to = at + bytes;
            range.frames.insert((at, bytes), pieces);
            open = Some(range);
        }
        ranges.extend(open);
    }
    Ok(ranges)
}

/// Where a slug is.
fn path_of(slug: &SlugId) -> String {
    format!("slugs/{}/{slug}", &slug.as_str()[..2])
}

/// Each content once, with one path that has it; empty files need no bytes.
fn distinct_files(manifest: &Manifest) -> BTreeMap<Digest, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in manifest.entries() {
        if let Kind::File { size: 1.., digest } = entry.kind {
            files.entry(digest).or_insert_with(|| entry.path.clone());
        }
    }
    files
}

fn join_indexes(mut first: Index, second: &Index) -> Index {
    for (digest, places) in &second.blobs {
        if let Some(digest) = Digest::parse(digest) {
            places.iter().for_each(|place| first.add(&digest, &second.packs[place.pack as usize], *place));
        }
    }
    first
}

fn encode_slug(manifest: &[u8], index: &Index) -> Result<Bytes> {
    let manifest = zstd::encode_all(manifest, 3).map_err(Error::disk("compress", "a manifest".as_ref()))?;
    let mut object = MAGIC.to_vec();
    object.extend_from_slice(&(manifest.len() as u64).to_le_bytes());
    object.extend_from_slice(&manifest);
    object.extend_from_slice(&index.encode()?);
    Ok(object.into())
}

fn decode_slug(slug: &SlugId, object: &[u8]) -> Result<(Manifest, Index)> {
    let damaged = |why: &str| Error::Damaged { what: format!("slug {slug}"), why: why.into() };
    let body = object.strip_prefix(MAGIC).ok_or_else(|| damaged("unknown version"))?;
    let (length, body) = body.split_first_chunk::<8>().ok_or_else(|| damaged("it is too short"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged("a length that cannot be"))?;
    let (manifest, index) = body.split_at_checked(length).ok_or_else(|| damaged("it is too short"))?;
    let text = inflate(manifest, SLUG_BYTES_MAX).map_err(|e| damaged(&e.to_string()))?;
    if id_of(&text)? != *slug {
        return Err(damaged("its manifest is another one's"));
    }
    Ok((Manifest::decode(&text)?, Index::decode(index)?))
}

fn tokio_stream(mut receive: mpsc::Receiver<Pack>) -> impl futures::Stream<Item = Pack> {
    futures::stream::poll_fn(move |context| receive.poll_recv(context))
}
