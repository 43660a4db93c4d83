//! One object store: a folder, or a bucket that speaks S3.

use crate::error::{Error, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A store that is away must be noticed while somebody waits: three retries within this.
const RETRY_TIME_MAX: Duration = Duration::from_secs(20);
/// One request; the largest object is a git pack in parts of [`PART_BYTES`].
const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);
/// Larger objects go up in parts of this size.
const PART_BYTES: usize = 16 << 20;
/// Parts under way at a time, so that memory stays bounded.
const PARTS_AT_ONCE: usize = 3;

/// How to reach a store.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Only for `s3://`.
    pub s3: Option<S3Options>,
    /// Skip the start check, as read-only tools may.
    pub unchecked: bool,
}

/// An S3-compatible endpoint.
#[derive(Clone, Default)]
pub struct S3Options {
    /// `https://host:port`; empty for the public cloud's own.
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Plain HTTP is refused unless this is set.
    pub allow_http: bool,
    /// Certificates (PEM file) that sign the endpoint's, beside the system's.
    pub ca_bundle: Option<PathBuf>,
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Options({}, key id {}, secret withheld)", self.endpoint, self.access_key_id)
    }
}

/// Requests since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub get: u64,
    pub put: u64,
    pub head: u64,
    pub list: u64,
    pub delete: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.get + self.put + self.head + self.list + self.delete
    }
}

#[derive(Debug, Default)]
struct Counters {
    get: AtomicU64,
    put: AtomicU64,
    head: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
}

/// An open store; a cheap handle.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    url: String,
    prefix: String,
    counters: Arc<Counters>,
}

impl Store {
    /// `file:///folder`, `/folder` or `s3://bucket/prefix`; refuses one whose conditional puts let two writers win.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Store> {
        let (inner, prefix): (Arc<dyn ObjectStore>, String) = match url.strip_prefix("s3://") {
            Some(rest) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                (Arc::new(open_s3(url, bucket, options)?), prefix.trim_matches('/').to_string())
            }
            None => (Arc::new(open_folder(url)?), String::new()),
        };
        let store = Store { inner, url: url.to_string(), prefix, counters: Arc::default() };
        if !options.unchecked {
            crate::check::conditional_puts(&store).await?;
        }
        Ok(store)
    }

    /// A store of the caller's own making, for tests; checked like any other.
    pub async fn over(inner: Arc<dyn ObjectStore>) -> Result<Store> {
        let store = Store { inner, url: "given".into(), prefix: String::new(), counters: Arc::default() };
        crate::check::conditional_puts(&store).await?;
        Ok(store)
    }

    /// As it was opened.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Counts { get: read(&c.get), put: read(&c.put), head: read(&c.head), list: read(&c.list), delete: read(&c.delete) }
    }

    /// It answers: one cheap request.
    pub async fn health(&self) -> Result<()> {
        match self.head("health/probe").await {
            Ok(_) | Err(Error::Absent { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A whole object.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        self.counters.get.fetch_add(1, Ordering::Relaxed);
        let failed = failed("read", path);
        let result = self.inner.get(&self.key(path)).await.map_err(&failed)?;
        result.bytes().await.map_err(&failed)
    }

    /// A part of an object.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.counters.get.fetch_add(1, Ordering::Relaxed);
        self.inner.get_range(&self.key(path), range).await.map_err(failed("read", path))
    }

    /// An object, piece by piece.
    pub async fn get_stream(&self, path: &str) -> Result<impl futures::Stream<Item = Result<Bytes>> + Unpin + use<>> {
        self.counters.get.fetch_add(1, Ordering::Relaxed);
        let result = self.inner.get_opts(&self.key(path), GetOptions::default()).await.map_err(failed("read", path))?;
        let path = path.to_string();
        Ok(result.into_stream().map_err(move |e| failed("read", &path)(e)).boxed())
    }

    /// Size, when it exists.
    pub async fn head(&self, path: &str) -> Result<u64> {
        self.counters.head.fetch_add(1, Ordering::Relaxed);
        let meta = self.inner.head(&self.key(path)).await.map_err(failed("look at", path))?;
        Ok(meta.size)
    }

    /// Write, whatever was there; durable when it returns.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        if bytes.len() > PART_BYTES {
            return self.put_reader(path, std::io::Cursor::new(bytes)).await;
        }
        self.counters.put.fetch_add(1, Ordering::Relaxed);
        self.inner.put(&self.key(path), PutPayload::from_bytes(bytes)).await.map_err(failed("write", path))?;
        Ok(())
    }

    /// Write unless it is there; true when it was ours that was kept.
    pub async fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool> {
        self.counters.put.fetch_add(1, Ordering::Relaxed);
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.inner.put_opts(&self.key(path), PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(failed("write", path)(error)),
        }
    }

    /// Write a long object in parts; nothing is visible until all of it is there.
    pub async fn put_reader(&self, path: &str, mut reader: impl tokio::io::AsyncRead + Unpin) -> Result<()> {
        use tokio::io::AsyncReadExt;
        self.counters.put.fetch_add(1, Ordering::Relaxed);
        let failed = failed("write", path);
        let upload = self.inner.put_multipart(&self.key(path)).await.map_err(&failed)?;
        let mut writer = object_store::WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            let n = match reader.read(&mut buffer).await {
                Ok(n) => n,
                Err(error) => {
                    let _ = writer.abort().await;
                    return Err(Error::Disk { deed: "read", path: path.into(), source: error });
                }
            };
            if n == 0 {
                break;
            }
            writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(&failed)?;
            writer.write(&buffer[..n]);
        }
        writer.finish().await.map_err(&failed)?;
        Ok(())
    }

    /// Names below a folder, sorted, from `after` on (exclusive), without the folder's own name.
    pub async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<(String, u64)>> {
        self.counters.list.fetch_add(1, Ordering::Relaxed);
        let folder_key = self.key(folder);
        let stream = match after {
            Some(name) => self.inner.list_with_offset(Some(&folder_key), &self.key(&format!("{folder}/{name}"))),
            None => self.inner.list(Some(&folder_key)),
        };
        let metas: Vec<_> = stream.try_collect().await.map_err(failed("list", folder))?;
        let skip = folder_key.as_ref().len() + 1;
        let mut names: Vec<_> =
            metas.into_iter().filter_map(|m| Some((m.location.as_ref().get(skip..)?.to_string(), m.size))).collect();
        names.sort();
        Ok(names)
    }

    /// Take away; absent is fine.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.counters.delete.fetch_add(1, Ordering::Relaxed);
        match self.inner.delete(&self.key(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path)(error)),
        }
    }

    fn key(&self, path: &str) -> Key {
        if self.prefix.is_empty() { Key::from(path) } else { Key::from(format!("{}/{path}", self.prefix)) }
    }
}

fn failed(deed: &'static str, path: &str) -> impl Fn(object_store::Error) -> Error + use<> {
    let path = path.to_string();
    move |source| match source {
        object_store::Error::NotFound { .. } => Error::Absent { path: path.clone() },
        source => Error::Store { deed, path: path.clone(), source },
    }
}

fn open_folder(url: &str) -> Result<LocalFileSystem> {
    let refused = |why: String| Error::Open { url: url.to_string(), why };
    let path = match url::Url::parse(url) {
        Ok(parsed) if parsed.scheme() == "file" => parsed.to_file_path().map_err(|()| refused("no absolute path".into()))?,
        Ok(parsed) => return Err(refused(format!("'{}' is neither file:// nor s3://", parsed.scheme()))),
        Err(_) => PathBuf::from(url),
    };
    if !path.is_absolute() {
        return Err(refused("the folder's path must be absolute".into()));
    }
    std::fs::create_dir_all(&path).map_err(|e| refused(format!("cannot make the folder: {e}")))?;
    let folder = LocalFileSystem::new_with_prefix(&path).map_err(|e| refused(e.to_string()))?;
    // What is acknowledged must survive a loss of power.
    Ok(folder.with_fsync(true))
}

fn open_s3(url: &str, bucket: &str, options: &StoreOptions) -> Result<object_store::aws::AmazonS3> {
    let refused = |why: String| Error::Open { url: url.to_string(), why };
    let s3 = options.s3.as_ref().ok_or_else(|| refused("s3:// needs endpoint and credentials".into()))?;
    // The process's one TLS provider; somebody else may have set it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = ClientOptions::new().with_allow_http(s3.allow_http).with_timeout(REQUEST_TIME_MAX);
    if let Some(file) = &s3.ca_bundle {
        let pem = std::fs::read(file).map_err(|e| refused(format!("cannot read {}: {e}", file.display())))?;
        let bundle = object_store::Certificate::from_pem_bundle(&pem).map_err(|e| refused(e.to_string()))?;
        client = bundle.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    let retry = RetryConfig { max_retries: 3, retry_timeout: RETRY_TIME_MAX, ..Default::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(if s3.region.is_empty() { "us-east-1" } else { &s3.region })
        .with_access_key_id(&s3.access_key_id)
        .with_secret_access_key(&s3.secret_access_key)
        .with_allow_http(s3.allow_http)
        .with_virtual_hosted_style_request(false)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(client)
        .with_retry(retry);
    if !s3.endpoint.is_empty() {
        builder = builder.with_endpoint(&s3.endpoint);
    }
    builder.build().map_err(|e| refused(e.to_string()))
}
