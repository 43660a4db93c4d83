//! The cache through its door, over a store in a folder.

use super::*;
use slipway_blobs::{PutOptions, Store, StoreOptions};
use std::os::unix::fs::MetadataExt;

struct Shelf {
    home: tempfile::TempDir,
    slugs: SlugStore,
}

impl Shelf {
    async fn new() -> Shelf {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path().join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap();
        Shelf { home, slugs: SlugStore::new(store) }
    }

    async fn put(&self, files: &[(&str, &str)]) -> SlugId {
        let tree = tempfile::tempdir_in(self.home.path()).unwrap();
        for (name, text) in files {
            std::fs::write(tree.path().join(name), text).unwrap();
        }
        self.slugs.put_tree(tree.path(), &PutOptions::default()).await.unwrap().slug
    }

    async fn cache(&self) -> SlugCache {
        SlugCache::open(&self.home.path().join("cache"), self.slugs.clone()).await.unwrap()
    }
}

#[tokio::test]
async fn a_tree_is_fetched_once_and_shares_its_files_with_others() {
    let shelf = Shelf::new().await;
    let (a, b) = (shelf.put(&[("same", "x"), ("own", "a")]).await, shelf.put(&[("same", "x"), ("own", "b")]).await);
    let cache = shelf.cache().await;
    let (first, second) = tokio::join!(cache.ensure(&a), cache.ensure(&a));
    assert_eq!(first.unwrap(), second.unwrap());
    let trees = [cache.ensure(&a).await.unwrap(), cache.ensure(&b).await.unwrap()];
    assert_eq!(std::fs::read_to_string(trees[1].join("own")).unwrap(), "b");
    assert_eq!(trees[0].join("same").metadata().unwrap().ino(), trees[1].join("same").metadata().unwrap().ino());
    let before = shelf.slugs.store().counts().total();
    cache.ensure(&a).await.unwrap();
    assert_eq!(shelf.slugs.store().counts().total(), before, "a slug that is here needs no store");
}

#[tokio::test]
async fn what_is_leased_or_named_stays_and_the_rest_goes() {
    let shelf = Shelf::new().await;
    let ids = [shelf.put(&[("f", "leased")]).await, shelf.put(&[("f", "named")]).await, shelf.put(&[("f", "neither")]).await];
    let cache = shelf.cache().await;
    for id in &ids {
        cache.ensure(id).await.unwrap();
    }
    let lease = cache.lease(ids[0].as_str());
    let keep = BTreeSet::from([ids[1].to_string()]);
    assert_eq!(cache.collect(&keep).await.unwrap(), "neither".len() as u64);
    assert_eq!(ids.each_ref().map(|id| cache.has(id.as_str())), [true, true, false]);
    drop(lease);
    cache.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!(ids.each_ref().map(|id| cache.has(id.as_str())), [false, false, false]);
    assert!(cache.ensure(&ids[2]).await.unwrap().join("f").exists(), "it can come again");
}

#[tokio::test]
async fn after_an_unannounced_stop_damage_is_found_and_after_a_clean_one_nothing_is_read() {
    let shelf = Shelf::new().await;
    let id = shelf.put(&[("f", "whole")]).await;
    let damage = |cache: &SlugCache| {
        let path = cache.inner.tree(id.as_str()).join("f");
        std::fs::write(&path, "haLf!").unwrap();
        std::fs::write(cache.inner.dir.join("boot"), "another boot").unwrap();
    };
    let read = |tree: PathBuf| std::fs::read_to_string(tree.join("f")).unwrap();
    let cache = shelf.cache().await;
    cache.ensure(&id).await.unwrap();
    damage(&cache);
    let cache = shelf.cache().await;
    assert!(!cache.has(id.as_str()));
    assert_eq!(read(cache.ensure(&id).await.unwrap()), "whole");
    cache.close().await.unwrap();
    damage(&cache);
    assert!(shelf.cache().await.has(id.as_str()), "a clean stop is trusted");
}

#[tokio::test]
async fn scratch_of_a_killed_owner_goes() {
    let shelf = Shelf::new().await;
    let cache = shelf.cache().await;
    let scratch = cache.inner.trees().join("tmp-dead/tree");
    std::fs::create_dir_all(&scratch).unwrap();
    shelf.cache().await;
    assert!(!scratch.exists());
}
