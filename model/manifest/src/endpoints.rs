//! The ways into a service, from its normalised configuration.

use crate::kinds::{engine_kind, split_type};
use crate::types::{Endpoint, Service};
use serde_json::Value;
use std::collections::BTreeMap;

impl Service {
    /// `mariadb` of `mariadb:10.6`.
    pub fn engine(&self) -> &str {
        split_type(&self.kind).0
    }

    /// `10.6` of `mariadb:10.6`.
    pub fn version(&self) -> Option<&str> {
        split_type(&self.kind).1
    }

    /// Every endpoint that relationships and routes may name.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let Some(engine) = engine_kind(&self.kind) else {
            return Vec::new();
        };
        let default = engine.endpoints.first().copied();
        let endpoint =
            |name: &str, path: Option<String>, privileges: BTreeMap<String, String>| Endpoint {
                name: name.to_owned(),
                scheme: engine.scheme.to_owned(),
                port: engine.port,
                path,
                privileges,
                default: Some(name) == default,
            };
        let configured = self
            .configuration
            .get("endpoints")
            .and_then(Value::as_object);
        let own = |path_key: &str, prefix: &str| -> Vec<Endpoint> {
            let entries = configured.into_iter().flatten();
            entries
                .map(|(name, value)| {
                    let path = value
                        .get(path_key)
                        .and_then(Value::as_str)
                        .map(|path| format!("{prefix}{path}"));
                    endpoint(name, path, privileges(value))
                })
                .collect()
        };
        match engine.name {
            "mysql" | "mariadb" | "oracle-mysql" => own("default_schema", ""),
            "postgresql" => own("default_database", ""),
            "solr"
                if self.version().is_some_and(|version| {
                    version.starts_with('3') || version.starts_with('4')
                }) =>
            {
                vec![endpoint("solr", Some("solr".to_owned()), BTreeMap::new())]
            }
            "solr" => own("core", "solr/"),
            "vault-kms" if configured.is_some() => own("path", ""),
            _ => {
                let mut all: Vec<Endpoint> = engine
                    .endpoints
                    .iter()
                    .map(|name| endpoint(name, None, BTreeMap::new()))
                    .collect();
                for extra in own("path", "") {
                    if !all.iter().any(|known| known.name == extra.name) {
                        all.push(extra);
                    }
                }
                all
            }
        }
    }
}

fn privileges(value: &Value) -> BTreeMap<String, String> {
    let entries = value
        .get("privileges")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    entries
        .filter_map(|(name, level)| Some((name.clone(), level.as_str()?.to_owned())))
        .collect()
}
