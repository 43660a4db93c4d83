//! A certificate bundle as Java wants it: a JKS key store of trusted certificates, made without a JDK.

use anyhow::{Context, ensure};
use base64::Engine as _;

/// All certificates of a PEM bundle. The store carries no digest over a password: Java asks for one only when it is given one.
pub fn from_pem(pem: &str) -> anyhow::Result<Vec<u8>> {
    let certificates = certificates(pem)?;
    ensure!(!certificates.is_empty(), "the bundle has no certificates");
    let mut store = vec![];
    store.extend_from_slice(&0xFEED_FEEDu32.to_be_bytes());
    store.extend_from_slice(&2u32.to_be_bytes());
    store.extend_from_slice(&(certificates.len() as u32).to_be_bytes());
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend_from_slice(&2u32.to_be_bytes()); // a trusted certificate
        text(&mut store, &format!("ca-{number}"));
        store.extend_from_slice(&0u64.to_be_bytes()); // made at the beginning of time: the same bundle gives the same bytes
        text(&mut store, "X.509");
        store.extend_from_slice(&(certificate.len() as u32).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    store.extend_from_slice(&[0u8; 20]);
    Ok(store)
}

fn text(store: &mut Vec<u8>, text: &str) {
    store.extend_from_slice(&(text.len() as u16).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn certificates(pem: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let bodies = pem.split(BEGIN).skip(1);
    let decode = |body: &str| {
        let body: String = body.split(END).next().unwrap_or_default().split_ascii_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(body).context("a certificate of the bundle is not base64")
    };
    bodies.map(decode).collect()
}
