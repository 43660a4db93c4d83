//! Secrets at rest: sealed with the platform's key before they enter the ledger.

use anyhow::{Context, bail};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::path::Path;

/// The form of a sealed text: `v1:` and base64 of nonce and ciphertext.
const FORM: &str = "v1:";
const NONCE_BYTES: usize = 24;

/// The platform's key. Kept in a file of mode 0600 beside the ledger.
#[derive(Clone)]
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// Reads the key, or makes one when the file does not exist.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = vec![0u8; 32];
                getrandom::fill(&mut key).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
                crate::files::write_private(path, &key).context("write the sealing key")?;
                key
            }
            Err(error) => return Err(error).with_context(|| format!("read the sealing key {}", path.display())),
        };
        if bytes.len() != 32 {
            bail!("the sealing key {} is damaged: restore it from a backup, or no secret can be read", path.display());
        }
        Ok(Self(XChaCha20Poly1305::new(Key::from_slice(&bytes))))
    }

    /// Seals a text.
    pub fn seal(&self, plain: &str) -> String {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the kernel gives randomness");
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), plain.as_bytes()).expect("a text fits");
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        format!("{FORM}{}", data_encoding::BASE64.encode(&bytes))
    }

    /// Opens what `seal` made; fails when it was made with another key or changed.
    pub fn open_text(&self, sealed: &str) -> anyhow::Result<String> {
        let body = sealed.strip_prefix(FORM).context("a sealed text of an unknown form")?;
        let bytes = data_encoding::BASE64.decode(body.as_bytes()).context("a damaged sealed text")?;
        if bytes.len() < NONCE_BYTES {
            bail!("a damaged sealed text");
        }
        let (nonce, body) = bytes.split_at(NONCE_BYTES);
        let plain = self
            .0
            .decrypt(XNonce::from_slice(nonce), body)
            .map_err(|_| anyhow::anyhow!("a secret was sealed with another key than the platform's present one"))?;
        String::from_utf8(plain).context("a sealed text that is no text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_with_its_own_key_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&dir.path().join("key")).unwrap();
        let sealed = sealer.seal("secret");
        assert!(!sealed.contains("secret"));
        assert_eq!(Sealer::open(&dir.path().join("key")).unwrap().open_text(&sealed).unwrap(), "secret");
        assert!(Sealer::open(&dir.path().join("other")).unwrap().open_text(&sealed).is_err());
        let mut damaged = sealed.clone();
        damaged.pop();
        damaged.push('A');
        assert!(sealer.open_text(&damaged).is_err());
    }
}
