//! The bill of materials of a release: CycloneDX JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::package::Package;

/// What the bill is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The application.
    pub name: String,
    /// Its version: the tree or the commit.
    pub version: String,
}

/// Writes CycloneDX 1.6 JSON; the same packages give the same bytes.
///
/// It carries no time, and its serial number comes from its content, so that a rebuild of a tree gives the bill again.
pub fn cyclonedx(subject: &Subject, packages: &[Package]) -> Vec<u8> {
    let mut components: BTreeMap<String, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        components.entry(package.purl()).or_default().push(package);
    }
    let components: Vec<Value> = components
        .iter_mut()
        .map(|(purl, found)| component(purl, found))
        .collect();
    let main = json!({
        "type": "application",
        "bom-ref": format!("{}@{}", subject.name, subject.version),
        "name": subject.name,
        "version": subject.version,
    });
    let digest = Sha256::digest(json!([main, components]).to_string());
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&digest)),
        "version": 1,
        "metadata": {
            "component": main,
            "tools": {"components": [{"type": "application", "name": "slipway", "version": env!("CARGO_PKG_VERSION")}]},
        },
        "components": components,
    });
    let mut bytes = bill.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn component(purl: &str, found: &mut [&Package]) -> Value {
    found.sort();
    let package = found[0];
    let (group, name) = split_group(package);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": package.version,
        "scope": if found.iter().all(|package| package.development) { "excluded" } else { "required" },
        "purl": purl,
        "evidence": {"occurrences": found.iter().map(|package| occurrence(package)).collect::<Vec<Value>>()},
        "properties": [{
            "name": "slipway:reach",
            "value": if found.iter().any(|package| package.reach == crate::Reach::Direct) { "direct" } else { "transitive" },
        }],
    });
    if let (Some(group), Some(object)) = (group, component.as_object_mut()) {
        object.insert("group".to_owned(), json!(group));
    }
    component
}

fn occurrence(package: &Package) -> Value {
    match package.line {
        Some(line) => json!({"location": package.file, "line": line}),
        None => json!({"location": package.file}),
    }
}

/// Vendor, scope or group id apart from the name, as CycloneDX wants it.
fn split_group(package: &Package) -> (Option<&str>, &str) {
    let separator = if package.ecosystem == crate::Ecosystem::Maven {
        ':'
    } else {
        '/'
    };
    match package.name.rsplit_once(separator) {
        Some((group, name)) => (Some(group), name),
        None => (None, &package.name),
    }
}

/// A UUID of version 8 (custom) from a digest.
fn uuid(digest: &[u8]) -> String {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
