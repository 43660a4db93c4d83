//! The generated variables of a container (environment.md §1).

use super::variables::Seen;
use serde_json::{Value, json};
use slipway_manifest::Flavour;
use std::collections::BTreeMap;

/// What is the same for all containers of an environment, and for its builds.
pub struct Context<'a> {
    pub flavour: Flavour,
    pub project: &'a str,
    pub entropy: &'a str,
    pub tree_id: &'a str,
}

/// What only a running container has.
pub struct Running<'a> {
    pub branch: &'a str,
    pub machine_name: &'a str,
    /// `production`, `staging`, `development`.
    pub kind: &'a str,
    pub relationships: &'a Value,
    pub routes: &'a Value,
    pub document_root: Option<String>,
    pub start: Option<&'a str>,
}

/// Base64 of JSON, as consumers expect it: standard alphabet, padded, one line.
fn packed(value: &impl serde::Serialize) -> String {
    data_encoding::BASE64.encode(serde_json::to_string(value).expect("a value is JSON").as_bytes())
}

/// Variables that both build and run time have.
fn common(context: &Context<'_>, app: &str, application: &Value, seen: &Seen) -> BTreeMap<String, String> {
    let prefix = context.flavour.env_prefix();
    let mut env = seen.env.clone();
    // Generated ones win over the user's of the same name; PATH and HOME belong to the container.
    for name in ["PATH", "HOME", "PORT", "SOCKET"] {
        env.remove(name);
    }
    let mut set = |name: &str, value: String| env.insert(format!("{prefix}{name}"), value);
    set("APP_DIR", "/app".into());
    set("APPLICATION", packed(application));
    set("APPLICATION_NAME", app.into());
    set("PROJECT", context.project.into());
    set("PROJECT_ENTROPY", context.entropy.into());
    set("TREE_ID", context.tree_id.into());
    set("VARIABLES", packed(&seen.variables));
    if !seen.sensitive.is_empty() {
        env.insert("SLIPWAY_SENSITIVE".into(), seen.sensitive.join(","));
    }
    env
}

/// Of a build. `P_ENVIRONMENT` is never set there: its absence is how programs know that they are being built.
pub fn of_build(context: &Context<'_>, app: &str, application: &Value, seen: &Seen) -> BTreeMap<String, String> {
    let prefix = context.flavour.env_prefix();
    let mut env = common(context, app, application, seen);
    env.insert(format!("{prefix}OUTPUT_DIR"), "/app".into());
    env.insert("CI".into(), "1".into());
    env
}

/// Of a running container, with the document for `/run/config.json`.
pub fn of_running(
    context: &Context<'_>,
    app: &str,
    application: &Value,
    seen: &Seen,
    running: &Running<'_>,
) -> (BTreeMap<String, String>, String) {
    let prefix = context.flavour.env_prefix();
    let mut env = common(context, app, application, seen);
    let mut set = |name: &str, value: String| env.insert(format!("{prefix}{name}"), value);
    set("BRANCH", running.branch.into());
    set("ENVIRONMENT", running.machine_name.into());
    set("ENVIRONMENT_TYPE", running.kind.into());
    set("RELATIONSHIPS", packed(running.relationships));
    set("ROUTES", packed(running.routes));
    set("SMTP_HOST", String::new());
    if let Some(root) = &running.document_root {
        set("DOCUMENT_ROOT", root.clone());
    }
    if let Some(start) = running.start {
        set("APP_COMMAND", start.into());
    }
    let config = json!({
        "application": application,
        "relationships": running.relationships,
        "routes": running.routes,
        "variables": seen.variables,
        "info": {
            "project": context.project,
            "branch": running.branch,
            "environment": running.machine_name,
            "environment_type": running.kind,
            "tree_id": context.tree_id,
        },
    });
    (env, config.to_string())
}
