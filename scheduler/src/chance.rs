//! Ids and secrets: the one place where the scheduler asks for randomness.

use std::str::FromStr;

/// Lower-case letters and digits that are not mistaken for one another (RFC 4648 base32).
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `length` random characters of the alphabet.
pub fn word(length: usize) -> String {
    let mut bytes = vec![0u8; length];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    bytes.iter().map(|b| ALPHABET[(b & 31) as usize] as char).collect()
}

/// A fresh id with its prefix: 80 bits of chance, never the same twice.
pub fn id<T: FromStr>(prefix: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("{prefix}-{}", word(16)).parse().expect("prefix and word make an id")
}

/// Milliseconds since 1970: the one place where the scheduler asks for the time of day.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A random number below `limit`.
pub fn number(limit: u32) -> u32 {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    u32::from_le_bytes(bytes) % limit.max(1)
}
