//! What of an application its containers and its build key see.

use crate::types::*;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

impl Application {
    /// `php` of `php:8.3`.
    pub fn runtime_name(&self) -> &str {
        self.kind.split(':').next().unwrap_or_default()
    }

    /// `8.3` of `php:8.3`.
    pub fn runtime_version(&self) -> Option<&str> {
        self.kind.split_once(':').map(|(_, version)| version)
    }

    /// The part of the configuration that changes what is built (lifecycle §5).
    ///
    /// Size, disk, time zone, firewall and hosts are left out on purpose: they
    /// change the container, not the slug.
    pub fn build_identity_json(&self) -> Value {
        let worker_mounts: IndexMap<&String, Value> = self
            .workers
            .iter()
            .filter_map(|(name, worker)| {
                Some((name, mounts_json(worker.overrides.mounts.as_ref()?)))
            })
            .collect();
        let mut identity = json!({
            "name": self.name,
            "type": self.kind,
            "build": self.build,
            "dependencies": self.dependencies,
            "runtime": runtime_json(&self.runtime),
            "hooks": {"build": self.hooks.build},
            "variables": self.variables,
            "source": self.source,
            "mounts": mounts_json(&self.mounts),
            "web_mounts": self.web.overrides.mounts.as_ref().map(mounts_json),
            "worker_mounts": worker_mounts,
            "preflight": self.preflight,
            "stack": self.stack,
        });
        sort(&mut identity);
        identity
    }

    /// `*_APPLICATION` with defaults filled in; at build without what the build may not depend on.
    pub fn application_variable(&self, build: bool) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("name", json!(self.name));
        put("type", json!(self.kind));
        if !build {
            put("size", json!(self.size));
            put("disk", json!(self.disk));
            put("timezone", json!(self.timezone));
            put("firewall", json!(self.firewall));
            put("additional_hosts", json!(self.additional_hosts));
            put("access", json!(self.access));
            put("relationships", relationships_json(&self.relationships));
        }
        put("mounts", mounts_json(&self.mounts));
        put("runtime", runtime_json(&self.runtime));
        put("variables", json!(self.variables));
        put("preflight", json!(self.preflight));
        put(
            "hooks",
            if build {
                json!({"build": self.hooks.build})
            } else {
                json!(self.hooks)
            },
        );
        if !build {
            put(
                "crons",
                self.crons
                    .iter()
                    .map(|(name, cron)| (name.clone(), cron_json(cron)))
                    .collect::<Map<_, _>>()
                    .into(),
            );
        }
        put(
            "web",
            if build {
                mounts_only(&self.web.overrides)
            } else {
                self.web_json()
            },
        );
        let workers = self.workers.iter().map(|(name, worker)| {
            (
                name.clone(),
                if build {
                    mounts_only(&worker.overrides)
                } else {
                    worker_json(worker)
                },
            )
        });
        put("workers", Value::Object(workers.collect()));
        put("dependencies", json!(self.dependencies));
        put("build", json!(self.build));
        put(
            "source",
            json!({"root": self.source.root, "operations": operations_json(&self.source)}),
        );
        if let Some(stack) = &self.stack {
            put("stack", json!(stack));
        }
        Value::Object(map)
    }

    fn web_json(&self) -> Value {
        let mut web = json!({
            "locations": self.web.locations,
            "move_to_root": self.web.move_to_root,
            "commands": self.web.commands,
            "upstream": self.web.upstream,
        });
        merge_overrides(&mut web, &self.web.overrides);
        web
    }

    /// Relationships that a container sees: a worker's own, or the application's.
    pub fn relationships_of(
        &self,
        worker: Option<&str>,
    ) -> &std::collections::BTreeMap<String, Relationship> {
        self.overrides_of(worker)
            .and_then(|overrides| overrides.relationships.as_ref())
            .unwrap_or(&self.relationships)
    }

    /// Mounts of the web container, or of a worker.
    pub fn mounts_of(&self, worker: Option<&str>) -> &Mounts {
        self.overrides_of(worker)
            .and_then(|overrides| overrides.mounts.as_ref())
            .unwrap_or(&self.mounts)
    }

    /// Disk of the web container, or of a worker, in MB.
    pub fn disk_of(&self, worker: Option<&str>) -> Option<u64> {
        self.overrides_of(worker)
            .and_then(|overrides| overrides.disk)
            .or(self.disk)
    }

    /// Variables of the web container, or of a worker.
    pub fn variables_of(&self, worker: Option<&str>) -> &Variables {
        self.overrides_of(worker)
            .and_then(|overrides| overrides.variables.as_ref())
            .unwrap_or(&self.variables)
    }

    /// Firewall of the web container, or of a worker.
    pub fn firewall_of(&self, worker: Option<&str>) -> Option<&Firewall> {
        self.overrides_of(worker)
            .and_then(|overrides| overrides.firewall.as_ref())
            .or(self.firewall.as_ref())
    }

    fn overrides_of(&self, worker: Option<&str>) -> Option<&Overrides> {
        match worker {
            None => Some(&self.web.overrides),
            Some(name) => self.workers.get(name).map(|worker| &worker.overrides),
        }
    }
}

fn mounts_json(mounts: &Mounts) -> Value {
    json!(mounts)
}

fn runtime_json(runtime: &Runtime) -> Value {
    json!({
        "extensions": runtime.extensions.iter().map(|extension| match &extension.configuration {
            Value::Null => json!(extension.name),
            _ => json!(extension),
        }).collect::<Vec<_>>(),
        "disabled_extensions": runtime.disabled_extensions,
        "request_terminate_timeout": runtime.request_terminate_timeout,
        "sizing_hints": {"request_memory": runtime.request_memory, "reserved_memory": runtime.reserved_memory},
        "xdebug": runtime.xdebug,
    })
}

fn relationships_json(relationships: &std::collections::BTreeMap<String, Relationship>) -> Value {
    Value::Object(
        relationships
            .iter()
            .map(|(name, to)| {
                (
                    name.clone(),
                    json!(format!("{}:{}", to.service, to.endpoint)),
                )
            })
            .collect(),
    )
}

fn cron_json(cron: &Cron) -> Value {
    json!({
        "spec": cron.spec,
        "cmd": cron.start,
        "commands": {"start": cron.start, "stop": cron.stop},
        "shutdown_timeout": cron.shutdown_timeout,
        "timeout": cron.timeout,
    })
}

fn operations_json(source: &Source) -> Value {
    Value::Object(
        source
            .operations
            .iter()
            .map(|(name, command)| (name.clone(), json!({"command": command})))
            .collect(),
    )
}

fn mounts_only(overrides: &Overrides) -> Value {
    overrides.mounts.as_ref().map_or_else(
        || json!({}),
        |mounts| json!({"mounts": mounts_json(mounts)}),
    )
}

fn worker_json(worker: &Worker) -> Value {
    let mut value = json!({"commands": worker.commands});
    merge_overrides(&mut value, &worker.overrides);
    value
}

fn merge_overrides(value: &mut Value, overrides: &Overrides) {
    if let (Value::Object(map), Value::Object(own)) = (value, json!(overrides)) {
        map.extend(own);
        if let Some(relationships) = &overrides.relationships {
            map.insert(
                "relationships".to_owned(),
                relationships_json(relationships),
            );
        }
    }
}

/// Canonical form: the order of keys in a file is no reason to build again.
fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}
