//! The build key: the digest of everything a build depends on (lifecycle §5).

use super::variables::Plain;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use slipway_manifest::Application;
use slipway_model::recipe::Recipe;
use slipway_model::{BuildKey, ImageId};
use std::collections::BTreeMap;

/// Raise it when the build steps themselves change, so that nothing stale is reused.
const STEPS_VERSION: u32 = 1;

/// The digest of a recipe: what names its image.
pub fn recipe_digest(recipe: &Recipe, architecture: &str) -> BuildKey {
    digest(&json!({"recipe": recipe, "architecture": architecture}))
}

/// The key of one application's build.
pub fn build_key(
    project: &str,
    app: &Application,
    tree: &str,
    levels: &BTreeMap<String, Plain>,
    image: &ImageId,
    architecture: &str,
) -> BuildKey {
    let variables: BTreeMap<&String, &String> = levels
        .iter()
        .filter(|(_, v)| v.visible_build && (v.application_scope.is_empty() || v.application_scope.contains(&app.name)))
        .map(|(name, v)| (name, &v.value))
        .collect();
    digest(&json!({
        "steps": STEPS_VERSION,
        "project": project,
        "tree": tree,
        "app": app.build_identity_json(),
        "variables": variables,
        "image": image,
        "architecture": architecture,
    }))
}

/// SHA-256 of the value's canonical form: keys sorted, no white space.
fn digest(value: &Value) -> BuildKey {
    let mut canonical = String::new();
    write_canonical(value, &mut canonical);
    let digest = Sha256::digest(canonical.as_bytes());
    data_encoding::HEXLOWER.encode(&digest).parse().expect("a digest is a key")
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (n, (key, value)) in sorted.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}
