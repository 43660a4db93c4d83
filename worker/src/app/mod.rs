//! The inside of an application's container: its configuration as files.
//!
//! ```text
//! runsvdir (first process) ─┬─ app     the start command or php-fpm
//!                           ├─ front   nginx on port 80, for other applications of the environment
//!                           └─ logs    keeps /var/log within bounds
//! beside it, one per epoch: nginx on the ingress port (front.rs)
//! ```

pub mod cron;
pub mod front;
pub mod nginx;
pub mod php;
pub mod scripts;

use nginx::{APP_PORT, APP_SOCKET, Site};
use scripts::{ConfigFile, Main};
use slipway_manifest::{Runtime, SocketFamily, Upstream, UpstreamProtocol, Web};
use slipway_model::instance::{INTERNAL_FRONT_PORT, InstanceSpec, Process};
use slipway_model::recipe::{Recipe, RuntimeRecipe};
use std::path::Path;

/// How one sees from outside that the main process answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answers {
    /// There is none: files only.
    #[default]
    AtOnce,
    Port(u16),
    Socket(String),
}

/// Everything that stands in the configuration directory of an instance.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    pub files: Vec<ConfigFile>,
    /// `(path, target)`.
    pub links: Vec<(String, String)>,
    /// `NAME=value` beside the instance's own environment.
    pub env: Vec<(String, String)>,
    pub answers: Answers,
    /// It has fronts.
    pub fronts: bool,
    /// Runs when the process answers, before it counts as ready.
    pub post_start: Option<String>,
}

/// The configuration of an instance; `image` is its image's tree on the host.
pub fn inside(spec: &InstanceSpec, recipe: Option<&Recipe>, image: &Path) -> Result<Inside, String> {
    let runtime_recipe = recipe.and_then(|r| r.runtime.as_ref());
    let mut inside = Inside { files: scripts::base(&spec.config_json), ..Inside::default() };
    if let Some(recipe) = runtime_recipe {
        inside.env.extend(recipe.env.clone());
    }
    match &spec.process {
        Process::Application { web_json, runtime_json, php_ini, .. } => {
            let web: Web = parse("web", web_json)?;
            let start = start_command(spec, &web, runtime_recipe);
            let main = start.as_deref().map(|start| Main {
                pre_start: web.commands.pre_start.as_deref(),
                start,
                stop_signal: "TERM",
                down: false,
                directory: "/app",
            });
            site(&mut inside, spec, &web, main.is_some())?;
            if let Some(main) = main {
                inside.files.extend(main.files());
            }
            inside.post_start = web.commands.post_start.clone();
            php_files(&mut inside, spec, runtime_json, php_ini, runtime_recipe, web.upstream.socket_family, image)?;
        }
        Process::Worker { pre_start, start, runtime_json, php_ini } => {
            let main = Main { pre_start: pre_start.as_deref(), start, stop_signal: "TERM", down: !spec.background, directory: "/app" };
            inside.files.extend(main.files());
            php_files(&mut inside, spec, runtime_json, php_ini, runtime_recipe, SocketFamily::Unix, image)?;
        }
        Process::Service { configuration_json, endpoints_json } => {
            let service = recipe.and_then(|r| r.service.as_ref()).ok_or_else(|| format!("the image of {} has no service recipe", spec.recipe))?;
            let main = Main { pre_start: None, start: &service.start, stop_signal: &service.stop_signal, down: false, directory: "/" };
            inside.files.extend(main.files());
            let data = spec.mounts.first().map_or("/data", |mount| mount.path.as_str());
            inside.env.extend([
                ("SLIPWAY_DATA".to_string(), data.to_string()),
                ("SLIPWAY_CONFIG".into(), configuration_json.clone()),
                ("SLIPWAY_ENDPOINTS".into(), endpoints_json.clone()),
                ("SLIPWAY_MEMORY_MB".into(), spec.limits.memory_mb.to_string()),
                ("SLIPWAY_PORT".into(), service.port.to_string()),
            ]);
            inside.answers = Answers::Port(service.port);
        }
    }
    Ok(inside)
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| format!("the {what} configuration cannot be read: {error}"))
}

fn is_php(spec: &InstanceSpec, recipe: Option<&RuntimeRecipe>) -> bool {
    recipe.map_or_else(|| spec.recipe.split(':').next() == Some("php"), |r| r.protocol == "fastcgi" || r.flavor == "composer")
}

/// None: a site of files.
fn start_command(spec: &InstanceSpec, web: &Web, recipe: Option<&RuntimeRecipe>) -> Option<String> {
    let written = web.commands.start.as_deref();
    if is_php(spec, recipe) && php::is_default_start(written) {
        return Some(php::START.into());
    }
    let command = written.map(str::to_string).or_else(|| recipe.map(|r| r.start.clone()));
    command.filter(|text| !text.trim().is_empty())
}

/// Fronts, and where the application listens.
fn site(inside: &mut Inside, spec: &InstanceSpec, web: &Web, has_app: bool) -> Result<(), String> {
    let Upstream { socket_family, protocol } = web.upstream;
    if has_app {
        inside.answers = match socket_family {
            SocketFamily::Tcp => Answers::Port(APP_PORT),
            SocketFamily::Unix => Answers::Socket(APP_SOCKET.into()),
        };
        inside.env.push(match socket_family {
            SocketFamily::Tcp => ("PORT".into(), APP_PORT.to_string()),
            SocketFamily::Unix => ("SOCKET".into(), APP_SOCKET.into()),
        });
    }
    let upstream = has_app.then(|| nginx::upstream_of(socket_family));
    let php = spec.recipe.starts_with("php") || protocol == UpstreamProtocol::Fastcgi;
    let config = Site { web, directory: "/app", upstream, php }.config().map_err(|error| error.to_string())?;
    inside.files.push(ConfigFile::text("nginx/http.conf", config.http));
    inside.files.push(ConfigFile::text("nginx/server.conf", config.server));
    inside.files.push(ConfigFile::text("nginx/internal.conf", front::config("internal", INTERNAL_FRONT_PORT)));
    inside.files.push(scripts::internal_front());
    inside.fronts = true;
    Ok(())
}

fn php_files(
    inside: &mut Inside,
    spec: &InstanceSpec,
    runtime_json: &str,
    variables: &std::collections::BTreeMap<String, String>,
    recipe: Option<&RuntimeRecipe>,
    family: SocketFamily,
    image: &Path,
) -> Result<(), String> {
    if !image.join("etc/php").is_dir() {
        return Ok(());
    }
    let runtime: Runtime = parse("runtime", runtime_json)?;
    let php = php::Php { runtime: &runtime, variables, recipe, memory_mb: spec.limits.memory_mb, family, image };
    let (files, links) = php.files();
    inside.files.extend(files);
    inside.links.extend(links);
    inside.env.push(("PHP_INI_SCAN_DIR".into(), php::SCAN_DIRECTORY.into()));
    Ok(())
}

/// The complete environment of every process in the container; one name each, the platform's own last word included.
pub fn environment(spec: &InstanceSpec, inside: &Inside) -> Vec<String> {
    let mut env: std::collections::BTreeMap<String, String> = [
        ("PATH", "/app/.global/bin:/app/.global/vendor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/app"),
        ("USER", "web"),
        ("LOGNAME", "web"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("SVDIR", "/run/sv"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .collect();
    env.extend(inside.env.iter().filter(|(name, _)| !is_fixed(name)).cloned());
    env.extend(spec.env.iter().filter(|(name, _)| !is_fixed(name) && name.as_str() != crate::mask::SENSITIVE).map(|(n, v)| (n.clone(), v.clone())));
    // What the platform decides cannot be overridden, but by `.environment`.
    env.extend(inside.env.iter().filter(|(name, _)| is_fixed(name)).cloned());
    // The kernel refuses a process with a longer entry; the value is in /run/config.json too.
    let fits = |entry: &String| entry.len() < ENTRY_BYTES_MAX && !entry.contains('\0');
    env.into_iter().map(|(name, value)| format!("{name}={value}")).filter(fits).collect()
}

/// The kernel's limit for one string of an environment, with its end.
const ENTRY_BYTES_MAX: usize = (128 << 10) - 1;

fn is_fixed(name: &str) -> bool {
    matches!(name, "PORT" | "SOCKET" | "HOME" | "SVDIR" | "PHP_INI_SCAN_DIR") || name.starts_with("SLIPWAY_")
}
