//! Credential objects (services-yaml §5) and the endpoints that a service is told to have.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use slipway_manifest::{Application, Project, Relationship, Service};
use slipway_model::instance::{INTERNAL_FRONT_PORT, Link};
use slipway_model::recipe::{PasswordKind, Recipe};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What is needed to write credentials down.
pub struct Directory<'a> {
    pub project: &'a Project,
    pub cluster: &'a str,
    /// Container name -> address.
    pub addresses: &'a BTreeMap<String, Ipv4Addr>,
    /// Service name -> recipe.
    pub recipes: &'a BTreeMap<String, Recipe>,
    /// `service/endpoint` -> password, for those that have a generated one.
    pub passwords: &'a BTreeMap<String, String>,
}

/// One endpoint's login.
struct Login {
    username: Option<String>,
    password: Option<String>,
    path: Option<String>,
    is_master: bool,
}

/// `service/endpoint` of each generated password that a project needs.
pub fn generated_passwords(project: &Project, recipes: &BTreeMap<String, Recipe>) -> Vec<String> {
    let mut names = Vec::new();
    for service in &project.services {
        let Some(recipe) = recipes.get(&service.name).and_then(|r| r.service.as_ref()) else { continue };
        for endpoint in service.endpoints() {
            let generated = match recipe.endpoints.get(&endpoint.name) {
                Some(known) => known.password == PasswordKind::Generated,
                None => recipe.endpoints.values().any(|e| e.password != PasswordKind::None),
            };
            if generated {
                names.push(format!("{}/{}", service.name, endpoint.name));
            }
        }
    }
    names
}

impl Directory<'_> {
    fn login(&self, service: &Service, recipe: &Recipe, endpoint: &str) -> Login {
        let kind = recipe.service.as_ref();
        let known = kind.and_then(|s| s.endpoints.get(endpoint));
        let path = service.endpoints().into_iter().find(|e| e.name == endpoint).and_then(|e| e.path);
        let generated = self.passwords.get(&format!("{}/{endpoint}", service.name)).cloned();
        match known {
            Some(known) => Login {
                username: known.username.clone(),
                password: match known.password {
                    PasswordKind::None => None,
                    PasswordKind::Empty => Some(String::new()),
                    PasswordKind::Generated => generated,
                },
                path: path.or_else(|| known.path.clone()),
                is_master: known.is_master,
            },
            // An endpoint that the project named itself: its user is called so, its password generated.
            None => {
                let model = kind.and_then(|s| s.endpoints.values().next());
                let has_login = model.is_some_and(|m| m.password != PasswordKind::None);
                Login {
                    username: has_login.then(|| endpoint.to_string()),
                    password: if has_login { generated } else { None },
                    path: path.or_else(|| model.and_then(|m| m.path.clone())),
                    is_master: model.is_some_and(|m| m.is_master),
                }
            }
        }
    }

    /// What a service container is told of its endpoints.
    pub fn endpoints_json(&self, service: &Service) -> String {
        let Some(recipe) = self.recipes.get(&service.name) else { return "[]".into() };
        let endpoints: Vec<Value> = service
            .endpoints()
            .into_iter()
            .map(|endpoint| {
                let login = self.login(service, recipe, &endpoint.name);
                json!({
                    "name": endpoint.name,
                    "username": login.username,
                    "password": login.password,
                    "path": login.path,
                    "privileges": endpoint.privileges,
                })
            })
            .collect();
        Value::Array(endpoints).to_string()
    }

    /// `*_RELATIONSHIPS` and the links of one container.
    pub fn of(&self, relationships: &BTreeMap<String, Relationship>) -> anyhow::Result<(Value, Vec<Link>)> {
        let mut document = serde_json::Map::new();
        let mut links = Vec::new();
        for (name, relationship) in relationships {
            let address = *self
                .addresses
                .get(&relationship.service)
                .with_context(|| format!("relationship '{name}' leads to '{}', which has no container", relationship.service))?;
            let host = format!("{name}.internal");
            let (object, port) = self.object(&host, address, relationship)?;
            links.push(Link { name: host, address, ports: vec![port] });
            document.insert(name.clone(), json!([object]));
        }
        Ok((Value::Object(document), links))
    }

    fn object(&self, host: &str, address: Ipv4Addr, to: &Relationship) -> anyhow::Result<(Value, u16)> {
        if let Some(app) = self.project.applications.iter().find(|a| a.name == to.service) {
            return Ok((self.application(host, address, app), INTERNAL_FRONT_PORT));
        }
        let Some(service) = self.project.services.iter().find(|s| s.name == to.service) else {
            bail!("there is no service or application '{}'", to.service);
        };
        let recipe = self.recipes.get(&service.name).context("the service has no recipe")?;
        let kind = recipe.service.as_ref().context("the recipe is not of a service")?;
        let endpoint = service.endpoints().into_iter().find(|e| e.name == to.endpoint);
        let scheme = match (&endpoint, kind.endpoints.get(&to.endpoint)) {
            (_, Some(known)) => known.scheme.clone(),
            (Some(endpoint), None) => endpoint.scheme.clone(),
            (None, None) => bail!("service '{}' has no endpoint '{}'", service.name, to.endpoint),
        };
        let login = self.login(service, recipe, &to.endpoint);
        let query = if login.is_master { json!({"is_master": true}) } else { json!([]) };
        let object = json!({
            "scheme": scheme,
            "host": host,
            "port": kind.port,
            "path": login.path,
            "username": login.username,
            "password": login.password,
            "query": query,
            "fragment": null,
            "ip": address,
            "hostname": host,
            "cluster": self.cluster,
            "service": service.name,
            "rel": to.endpoint,
            "type": service.kind,
            "public": false,
            "host_mapped": false,
            "epoch": 0,
        });
        Ok((object, kind.port))
    }

    fn application(&self, host: &str, address: Ipv4Addr, app: &Application) -> Value {
        json!({
            "scheme": "http",
            "host": host,
            "port": INTERNAL_FRONT_PORT,
            "path": null,
            "username": null,
            "password": null,
            "query": [],
            "fragment": null,
            "ip": address,
            "hostname": host,
            "cluster": self.cluster,
            "service": app.name,
            "rel": "http",
            "type": app.kind,
            "public": false,
            "host_mapped": false,
            "epoch": 0,
        })
    }
}
