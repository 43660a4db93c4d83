//! `build.caches`: directories that come back when the files they depend on are the same.
//!
//! All copying is done in the container, as `web`: the trees are the user's, and so are the links in them.

use super::Stop;
use super::berth::Berth;
use super::tools::CACHE;
use crate::log::LogSink;
use sha2::{Digest, Sha256};
use slipway_manifest::BuildCache;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A watched file larger than this is told apart by its size and first bytes.
const WATCHED_BYTES_MAX: u64 = 64 << 20;

/// Name in the cache folder: the configured name and the digest of the watched files.
pub fn place(name: &str, cache: &BuildCache, app_dir: &Path) -> (String, String) {
    let mut hash = Sha256::new();
    for path in &cache.watch {
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        let content = read_plain(&app_dir.join(path.trim_start_matches('/')));
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    let folder = data_encoding::HEXLOWER.encode(&Sha256::digest(name)[..8]);
    let shared = if cache.share_between_apps { "shared" } else { "named" };
    (format!("{CACHE}/{shared}/{folder}"), data_encoding::HEXLOWER.encode(&hash.finalize()[..16]))
}

/// Absent, a link or unreadable: empty.
fn read_plain(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
    let mut bytes = vec![];
    if let Ok(file) = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
        && file.metadata().is_ok_and(|meta| meta.is_file())
    {
        let _ = file.take(WATCHED_BYTES_MAX).read_to_end(&mut bytes);
    }
    bytes
}

/// Copies what was kept into the application: the same key, or, when stale is fine, the last one.
const RESTORE: &str = r#"
from="$1/$2"; to="/app/$3"
if [ ! -d "$from" ] && [ "$4" = stale ]; then from="$1/$(cat "$1/last" 2>/dev/null || echo none)"; fi
[ -d "$from" ] || exit 3
mkdir -p "$to" && cp -a "$from/." "$to/"
"#;

/// Keeps one copy of each name: the newest.
const KEEP: &str = r#"
[ -d "/app/$3" ] || exit 0
mkdir -p "$1" || exit 1
[ -d "$1/$2" ] && exit 0
rm -rf "$1/new" && cp -a "/app/$3" "$1/new" && mv "$1/new" "$1/$2" && printf %s "$2" > "$1/last"
for old in "$1"/*; do case "$old" in "$1/$2"|"$1/last") ;; *) rm -rf "$old" ;; esac; done
"#;

/// Before the steps; a cache that cannot be had is no failure.
pub async fn restore(berth: &Berth<'_>, caches: &[(String, String, BuildCache)], log: &LogSink) -> Result<(), Stop> {
    for (folder, key, cache) in caches {
        let stale = if cache.allow_stale { "stale" } else { "exact" };
        let code = berth.quiet("restore", RESTORE, &[folder, key, &cache.directory, stale]).await?;
        if code == 0 {
            log.info(format!("Restored the kept directory {}.", cache.directory));
        }
    }
    Ok(())
}

/// After the steps.
pub async fn keep(berth: &Berth<'_>, caches: &[(String, String, BuildCache)]) -> Result<(), Stop> {
    for (folder, key, cache) in caches {
        berth.quiet("keep", KEEP, &[folder, key, &cache.directory]).await?;
    }
    Ok(())
}
