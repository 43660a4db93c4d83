//! User variables: which of them a container sees, and in which form (environment.md §4).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use slipway_core::state::{ClusterState, Environment, Variable};
use slipway_model::hosts::environment_id;
use std::collections::BTreeMap;

/// A variable with its value open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plain {
    pub value: String,
    pub json: bool,
    pub sensitive: bool,
    pub visible_build: bool,
    pub visible_runtime: bool,
    pub application_scope: Vec<String>,
}

/// Opens sealed texts.
pub type Open<'a> = &'a dyn Fn(&str) -> anyhow::Result<String>;

/// Ancestors an environment may have; a longer chain is a cycle of `parent`s.
const ANCESTORS_MAX: usize = 32;

/// Variables of project and environment as the environment sees them: its own beat inherited ones, which beat the project's.
pub fn of_environment(state: &ClusterState, environment: &Environment, open: Open<'_>) -> anyhow::Result<BTreeMap<String, Plain>> {
    let mut merged = BTreeMap::new();
    if let Some(project) = state.projects.get(&environment.project) {
        for (name, variable) in &project.variables {
            merged.insert(name.clone(), plain(variable, open)?);
        }
    }
    let mut ancestors = Vec::new();
    let mut parent = environment.parent.clone();
    while let Some(found) = parent.and_then(|p| state.environments.get(&environment_id(&environment.project, &p))) {
        ancestors.push(found);
        if ancestors.len() >= ANCESTORS_MAX {
            break;
        }
        parent = found.parent.clone();
    }
    for ancestor in ancestors.into_iter().rev() {
        for (name, variable) in ancestor.variables.iter().filter(|(_, v)| v.inheritable && v.enabled) {
            merged.insert(name.clone(), plain(variable, open)?);
        }
    }
    for (name, variable) in environment.variables.iter().filter(|(_, v)| v.enabled) {
        merged.insert(name.clone(), plain(variable, open)?);
    }
    Ok(merged)
}

fn plain(variable: &Variable, open: Open<'_>) -> anyhow::Result<Plain> {
    Ok(Plain {
        value: open(&variable.sealed)?,
        json: variable.json,
        sensitive: variable.sensitive,
        visible_build: variable.visible_build,
        visible_runtime: variable.visible_runtime,
        application_scope: variable.application_scope.clone(),
    })
}

/// What one application's container gets.
#[derive(Debug, Default)]
pub struct Seen {
    /// `env:` variables, names upper-cased.
    pub env: BTreeMap<String, String>,
    /// `php:` directives.
    pub php: BTreeMap<String, String>,
    /// All but `env:`, for `P_VARIABLES`.
    pub variables: BTreeMap<String, Value>,
    /// Names in `env` whose values are secret.
    pub sensitive: Vec<String>,
}

/// Sorts an application's variables into their forms. `build`: what the build sees, else the run time.
pub fn seen(app: &str, file: &slipway_manifest::Variables, levels: &BTreeMap<String, Plain>, build: bool) -> Seen {
    let mut all: BTreeMap<String, (Value, bool)> = BTreeMap::new();
    for (prefix, variables) in file {
        for (name, value) in variables {
            all.insert(format!("{prefix}:{name}"), (value.clone(), false));
        }
    }
    for (name, plain) in levels {
        let visible = if build { plain.visible_build } else { plain.visible_runtime };
        let in_scope = plain.application_scope.is_empty() || plain.application_scope.iter().any(|a| a == app);
        if !visible || !in_scope {
            continue;
        }
        let value = match serde_json::from_str(&plain.value) {
            Ok(value) if plain.json => value,
            _ => Value::String(plain.value.clone()),
        };
        all.insert(name.clone(), (value, plain.sensitive));
    }
    let mut seen = Seen::default();
    for (name, (value, sensitive)) in all {
        if let Some(name) = name.strip_prefix("env:") {
            let name = name.to_uppercase();
            if sensitive {
                seen.sensitive.push(name.clone());
            }
            seen.env.insert(name, text(&value));
        } else {
            if let Some(directive) = name.strip_prefix("php:") {
                seen.php.insert(directive.to_string(), text(&value));
            }
            seen.variables.insert(name, value);
        }
    }
    seen
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn level(value: &str, json: bool, build: bool, scope: &[&str]) -> Plain {
        Plain {
            value: value.into(),
            json,
            sensitive: true,
            visible_build: build,
            visible_runtime: true,
            application_scope: scope.iter().map(|s| s.to_string()).collect(),
        }
    }

    #[test]
    fn prefixes_decide_the_form_and_the_higher_level_wins() {
        let file = BTreeMap::from([
            ("env".to_string(), BTreeMap::from([("mode".to_string(), json!({"a": 1}))])),
            ("d8config".to_string(), BTreeMap::from([("x".to_string(), json!([1]))])),
        ]);
        let levels = BTreeMap::from([
            ("env:mode".to_string(), level("live", false, false, &[])),
            ("php:memory_limit".to_string(), level("256M", false, true, &[])),
            ("flags".to_string(), level("{\"b\":2}", true, true, &["app"])),
        ]);
        let run = seen("app", &file, &levels, false);
        assert_eq!(run.env["MODE"], "live");
        assert_eq!(run.sensitive, ["MODE"]);
        assert_eq!(run.php["memory_limit"], "256M");
        assert_eq!(run.variables["flags"], json!({"b": 2}));
        assert_eq!(run.variables["d8config:x"], json!([1]));
        let build = seen("other", &file, &levels, true);
        assert_eq!(build.env["MODE"], "{\"a\":1}");
        assert!(!build.variables.contains_key("flags"));
    }
}
