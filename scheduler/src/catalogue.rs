//! The recipes of this platform: `deploy/catalogue/*.toml`, read at start.

use anyhow::{Context, bail};
use slipway_manifest::CatalogueIndex;
use slipway_model::recipe::{Recipe, RecipeKind};
use std::collections::BTreeMap;
use std::path::Path;

/// All recipes, by type name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue(BTreeMap<String, Recipe>);

impl Catalogue {
    /// Reads every `.toml` file of a folder; a broken one is an error that names it.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut recipes = BTreeMap::new();
        let entries = std::fs::read_dir(folder).with_context(|| format!("read the catalogue folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let recipe: Recipe = toml::from_str(&text).with_context(|| format!("recipe {}", path.display()))?;
            let complete = match recipe.kind {
                RecipeKind::Runtime => recipe.runtime.is_some(),
                RecipeKind::Service => recipe.service.is_some(),
            };
            if !complete {
                bail!("recipe {}: kind and section do not fit together", path.display());
            }
            if let Some(other) = recipes.insert(recipe.type_name(), recipe) {
                bail!("two recipes for {}: the second is {}", other.type_name(), path.display());
            }
        }
        Ok(Self(recipes))
    }

    /// The recipe for `php:8.2` or `mysql:10.11`; without a version the newest.
    pub fn find(&self, kind: RecipeKind, type_name: &str) -> Option<&Recipe> {
        let (name, version) = type_name.split_once(':').unwrap_or((type_name, ""));
        self.0
            .values()
            .filter(|r| r.kind == kind && r.answers_to(name) && (version.is_empty() || r.version == version))
            .max_by_key(|r| numbers(&r.version))
    }

    /// Names and versions, for the validator.
    pub fn index(&self) -> CatalogueIndex {
        let mut index = CatalogueIndex::default();
        for recipe in self.0.values() {
            let map = match recipe.kind {
                RecipeKind::Runtime => &mut index.runtimes,
                RecipeKind::Service => &mut index.services,
            };
            for name in recipe.aliases.iter().chain([&recipe.name]) {
                map.entry(name.clone()).or_default().push(recipe.version.clone());
            }
        }
        for versions in index.runtimes.values_mut().chain(index.services.values_mut()) {
            versions.sort_by_key(|v| numbers(v));
        }
        index
    }

    /// `[{"kind", "name", "version"}]`, as the git doors take it.
    pub fn index_json(&self) -> String {
        let index = self.index();
        let list = |kind: &'static str, map: BTreeMap<String, Vec<String>>| {
            map.into_iter().flat_map(move |(name, versions)| {
                versions.into_iter().map(move |version| serde_json::json!({"kind": kind, "name": name, "version": version}))
            })
        };
        let all: Vec<_> = list("runtime", index.runtimes).chain(list("service", index.services)).collect();
        serde_json::Value::Array(all).to_string()
    }
}

/// `10.11` sorts after `10.2`.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}
