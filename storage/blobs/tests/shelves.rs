//! Sources and slugs through their doors, over a folder and, where `SLIPWAY_TEST_S3` names one, over an S3 server.

use slipway_blobs::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

async fn store(home: &Path) -> Store {
    Store::open(home.join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap()
}

/// A little of everything, and a file that spans several frames.
fn tree(home: &Path) -> std::path::PathBuf {
    let tree = home.join("tree");
    std::fs::create_dir_all(tree.join("dir/empty")).unwrap();
    std::fs::write(tree.join("dir/a"), "hello").unwrap();
    std::fs::write(tree.join("dir/same"), "hello").unwrap();
    std::fs::write(tree.join("nothing"), "").unwrap();
    let big: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    std::fs::write(tree.join("big"), big).unwrap();
    std::fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(tree.join("run"), std::fs::Permissions::from_mode(0o4700)).unwrap();
    symlink("../run", tree.join("dir/link")).unwrap();
    tree
}

#[tokio::test]
async fn a_tree_comes_back_as_it_was_and_only_new_files_are_uploaded() {
    let home = tempfile::tempdir().unwrap();
    let (slugs, tree) = (SlugStore::new(store(home.path()).await), tree(home.path()));
    let first = slugs.put_tree(&tree, &PutOptions::default()).await.unwrap();
    assert_eq!(first.bytes, 12_000_020);
    assert!(first.uploaded_bytes > 1_000_000);
    let again = slugs.put_tree(&tree, &PutOptions::default()).await.unwrap();
    assert_eq!((again.slug.clone(), again.uploaded_bytes), (first.slug.clone(), 0));

    // Another process that knows nothing, after one file changed.
    std::fs::write(tree.join("dir/a"), "hallo").unwrap();
    let others = SlugStore::new(store(home.path()).await);
    let second = others.put_tree(&tree, &PutOptions::default()).await.unwrap();
    assert_ne!(second.slug, first.slug);
    assert!(second.uploaded_bytes < 3000, "{second:?}");

    let objects = home.path().join("objects");
    for (name, slug, text) in [("one", &first.slug, "hello"), ("two", &second.slug, "hallo")] {
        let manifest = others.fetch(slug, &objects).await.unwrap();
        let target = home.path().join(name);
        farm::build(&manifest, &objects, &target).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("dir/a")).unwrap(), text);
        assert_eq!(std::fs::read(target.join("big")).unwrap(), std::fs::read(tree.join("big")).unwrap());
        assert_eq!(std::fs::read(target.join("nothing")).unwrap(), b"");
        assert_eq!(std::fs::read_link(target.join("dir/link")).unwrap(), Path::new("../run"));
        assert_eq!(target.join("run").metadata().unwrap().mode() & 0o7777, 0o755, "no setuid, readable by all");
        assert!(target.join("dir/empty").is_dir());
    }
    let time = |name: &str, file: &str| home.path().join(name).join(file).metadata().unwrap().mtime();
    assert_ne!(time("one", "dir/a"), time("two", "dir/a"), "a changed file has another time");
    assert_eq!(time("one", "big"), time("two", "big"), "an unchanged one keeps it");
}

#[tokio::test]
async fn the_same_tree_has_the_same_id_wherever_and_whenever_it_is_packed() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ids = vec![];
    for home in [&here, &there] {
        let tree = tree(home.path());
        std::fs::File::open(tree.join("dir/a")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        ids.push(SlugStore::new(store(home.path()).await).put_tree(&tree, &PutOptions::default()).await.unwrap().slug);
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn what_cannot_be_in_a_slug_is_left_out_or_refused() {
    let home = tempfile::tempdir().unwrap();
    let (slugs, tree) = (SlugStore::new(store(home.path()).await), tree(home.path()));
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let options = PutOptions { exclude: vec!["dir".into()], ..PutOptions::default() };
    let put = slugs.put_tree(&tree, &options).await.unwrap();
    assert_eq!(put.skipped, ["pipe"]);
    let manifest = slugs.manifest(&put.slug).await.unwrap();
    let paths: Vec<_> = manifest.entries().iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect();
    assert_eq!(paths, ["big", "nothing", "run"]);
    for bounds in [PutOptions { bytes_max: 1000, ..PutOptions::default() }, PutOptions { files_max: 2, ..PutOptions::default() }] {
        assert!(slugs.put_tree(&tree, &bounds).await.unwrap_err().is_refusal());
    }
}

#[tokio::test]
async fn damage_in_the_store_never_becomes_an_object() {
    let home = tempfile::tempdir().unwrap();
    let (slugs, tree) = (SlugStore::new(store(home.path()).await), tree(home.path()));
    let put = slugs.put_tree(&tree, &PutOptions::default()).await.unwrap();
    for pack in files_below(&home.path().join("store/blobs/packs")) {
        let mut bytes = std::fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
    }
    let objects = home.path().join("objects");
    let error = slugs.fetch(&put.slug, &objects).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    for object in files_below(&objects) {
        let name = object.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_string();
        assert_eq!(verity::digest_reader(std::fs::File::open(&object).unwrap()).unwrap().0.hex(), name);
    }
}

#[tokio::test]
async fn a_repository_has_exactly_the_packs_that_are_named() {
    let home = tempfile::tempdir().unwrap();
    let (repository, heads) = repository(home.path());
    let shelf = SourceStore::new(store(home.path()).await, &home.path().join("cache"));
    let mut packs = vec![];
    for pack in &repository {
        packs.push(shelf.put_pack(pack).await.unwrap());
    }
    // Another node: an empty cache.
    let node = SourceStore::new(store(home.path()).await, &home.path().join("other-cache"));
    let bare = home.path().join("bare.git");
    let has = |head: &str| Command::new("git").args(["cat-file", "-e", head]).current_dir(&bare).status().unwrap().success();
    let (one, two) = (&packs[..1], &packs[..]);
    let both = tokio::join!(node.hydrate(two, &bare), node.fetch_pack(&packs[1]));
    both.0.unwrap();
    both.1.unwrap();
    assert_eq!((has(&heads[0]), has(&heads[1])), (true, true));
    node.hydrate(one, &bare).await.unwrap();
    assert_eq!((has(&heads[0]), has(&heads[1])), (true, false));

    let stored = files_below(&home.path().join("store/git"));
    std::fs::write(&stored[0], "PACK no more").unwrap();
    let third = SourceStore::new(store(home.path()).await, &home.path().join("third-cache"));
    assert!(third.hydrate(two, &home.path().join("third.git")).await.unwrap_err().to_string().contains("damaged"));
}

/// Two packs of one repository, and the commits that they bring.
fn repository(home: &Path) -> (Vec<std::path::PathBuf>, Vec<String>) {
    let work = home.join("work");
    std::fs::create_dir_all(&work).unwrap();
    let git = |arguments: &[&str]| {
        let settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"];
        let output = Command::new("git").args(settings).args(arguments).current_dir(&work).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    git(&["init", "-q"]);
    let mut heads = vec![];
    for text in ["one", "two"] {
        std::fs::write(work.join("file"), text).unwrap();
        git(&["add", "file"]);
        git(&["commit", "-q", "-m", text]);
        heads.push(git(&["rev-parse", "HEAD"]));
        git(&["repack", "-q", "-d"]);
    }
    let mut packs = files_below(&work.join(".git/objects/pack"));
    packs.retain(|path| path.extension().is_some_and(|e| e == "pack"));
    packs.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    (packs, heads)
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = vec![];
    for item in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if item.file_type().unwrap().is_dir() {
            files.extend(files_below(&item.path()));
        } else {
            files.push(item.path());
        }
    }
    files
}

/// Lets every second conditional put win though the name is taken.
#[derive(Debug)]
struct Careless(object_store::memory::InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait::async_trait]
impl object_store::ObjectStore for Careless {
    async fn put_opts(
        &self,
        path: &object_store::path::Path,
        bytes: object_store::PutPayload,
        _: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.0.put_opts(path, bytes, Default::default()).await
    }
    async fn put_multipart_opts(
        &self,
        path: &object_store::path::Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &object_store::path::Path, options: object_store::GetOptions) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>> {
        self.0.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&object_store::path::Path>) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&object_store::path::Path>) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_lets_two_writers_win_is_refused() {
    let careless = std::sync::Arc::new(Careless(object_store::memory::InMemory::new()));
    let error = Store::over(careless).await.unwrap_err();
    assert!(matches!(error, Error::Unsafe { .. }) && error.to_string().contains("conditional puts"), "{error}");
    Store::over(std::sync::Arc::new(object_store::memory::InMemory::new())).await.unwrap();
}

/// `SLIPWAY_TEST_S3=http://key:secret@host:port/bucket`.
#[tokio::test]
#[ignore = "needs an S3 server"]
async fn the_same_over_s3() {
    let url = url::Url::parse(&std::env::var("SLIPWAY_TEST_S3").expect("SLIPWAY_TEST_S3 names a server")).unwrap();
    let options = StoreOptions {
        s3: Some(S3Options {
            endpoint: format!("http://{}:{}", url.host_str().unwrap(), url.port().unwrap()),
            access_key_id: url.username().into(),
            secret_access_key: url.password().unwrap().into(),
            allow_http: true,
            ..S3Options::default()
        }),
        unchecked: false,
    };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("s3:/{}/prefix", url.path()), &options).await.unwrap();
    let (slugs, tree) = (SlugStore::new(store.clone()), tree(home.path()));
    let put = slugs.put_tree(&tree, &PutOptions::default()).await.unwrap();
    let others = SlugStore::new(Store::open(store.url(), &options).await.unwrap());
    let manifest = others.fetch(&put.slug, &home.path().join("objects")).await.unwrap();
    assert_eq!(manifest.bytes(), put.bytes);
    let (packs, heads) = repository(home.path());
    let shelf = SourceStore::new(store, &home.path().join("cache"));
    let id = shelf.put_pack(&packs[0]).await.unwrap();
    shelf.hydrate(&[id], &home.path().join("bare.git")).await.unwrap();
    let found = Command::new("git").args(["cat-file", "-e", &heads[0]]).current_dir(home.path().join("bare.git")).status().unwrap();
    assert!(found.success());
}
