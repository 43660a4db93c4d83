//! Where things are.

use std::path::PathBuf;

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout").to_path_buf()
}

/// A folder outside the checkout that later runs find again: build results, base images, downloads.
pub fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("SLIPWAY_CACHE_DIR") {
        return PathBuf::from(dir);
    }
    PathBuf::from("/var/cache/slipway")
}

/// Build results; RocksDB alone takes minutes, so they are kept outside the checkout.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => cache().join("target"),
    }
}

/// The binary.
pub fn slipway() -> PathBuf {
    target().join("release/slipway")
}

/// Where `cargo xtask up` keeps its platform.
pub fn data_dir() -> PathBuf {
    std::env::var_os("SLIPWAY_DATA_DIR").map_or_else(|| PathBuf::from("/var/lib/slipway"), PathBuf::from)
}
