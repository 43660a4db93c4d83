//! The steps of a build in the order of the specification: kept directories, dependencies, flavour, hook, mount points.

use super::berth::{Berth, Ended};
use super::tools::GLOBAL;
use super::{Stop, caches};
use crate::log::LogSink;
use serde_json::Value;
use slipway_manifest::{Application, BuildCache};
use slipway_model::task::BuildApp;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One build's steps.
pub struct Steps<'a> {
    pub berth: &'a Berth<'a>,
    pub app: &'a Application,
    pub task: &'a BuildApp,
    /// Sections are said here, what programs say one step further in.
    pub log: LogSink,
    pub cancel: &'a CancellationToken,
    /// `/app` as the host sees it; only looked at.
    pub app_dir: &'a Path,
}

impl Steps<'_> {
    /// All of them.
    pub async fn run(&self) -> Result<(), Stop> {
        let kept: Vec<(String, String, BuildCache)> = self
            .app
            .build
            .caches
            .iter()
            .map(|(name, cache)| {
                let (folder, key) = caches::place(name, cache, self.app_dir);
                (folder, key, cache.clone())
            })
            .collect();
        caches::restore(self.berth, &kept, &self.log).await?;
        self.dependencies().await?;
        self.flavor().await?;
        self.hook().await?;
        caches::keep(self.berth, &kept).await?;
        self.mount_points().await
    }

    async fn dependencies(&self) -> Result<(), Stop> {
        let languages: Vec<_> = self.app.dependencies.iter().filter(|(_, packages)| !packages.is_empty()).collect();
        if languages.is_empty() {
            return Ok(());
        }
        self.log.info("Installing build dependencies...");
        for (language, packages) in languages {
            let names: Vec<&str> = packages.keys().map(String::as_str).collect();
            self.log.indented(1).info(format!("Installing {language} build dependencies: {}", names.join(", ")));
            let packages: Vec<(&str, &Value)> = packages.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let step = format!("dependencies.{language}");
            match language.as_str() {
                "nodejs" => self.program(&step, 2, &node_arguments(&packages)).await?,
                "python" | "python2" | "python3" => {
                    let venv = format!("{GLOBAL}/python");
                    self.program(&step, 2, &texts(&["python3", "-m", "venv", "--system-site-packages", &venv])).await?;
                    self.program(&step, 2, &python_arguments(&packages)).await?;
                    self.own_script(&step, LINK_PYTHON_TOOLS, &[GLOBAL]).await?;
                }
                "ruby" => {
                    for arguments in ruby_arguments(&packages) {
                        self.program(&step, 2, &arguments).await?;
                    }
                }
                "php" => {
                    self.own_script(&step, WRITE_COMPOSER, &[GLOBAL, &composer_json(&packages)]).await?;
                    let home = format!("--working-dir={GLOBAL}");
                    self.program(&step, 2, &texts(&["composer", "--no-ansi", "--no-interaction", &home, "update", "--no-progress", "--prefer-dist"])).await?;
                }
                other => {
                    let message = format!("Dependencies of '{other}' cannot be installed on {}.", self.task.recipe.type_name());
                    return Err(Stop::User { step, exit_code: None, message });
                }
            }
        }
        Ok(())
    }

    async fn flavor(&self) -> Result<(), Stop> {
        match self.app.build.flavor.as_str() {
            "composer" | "symfony" if self.has("composer.json") => {
                self.log.info("Found a `composer.json`, installing dependencies.");
                let arguments = [
                    "composer", "--no-ansi", "--no-interaction", "install", "--no-progress", "--prefer-dist", "--optimize-autoloader",
                ];
                self.program("flavor", 1, &texts(&arguments)).await
            }
            "default" if self.task.recipe.name == "nodejs" && self.has("package.json") => {
                self.log.info("Found a `package.json`, installing dependencies.");
                self.program("flavor", 1, &texts(&["npm", "prune", "--userconfig", ".npmrc"])).await?;
                self.program("flavor", 1, &texts(&["npm", "install", "--userconfig", ".npmrc"])).await
            }
            "pip" if self.has("requirements.txt") => {
                self.log.info("Found a `requirements.txt`, installing dependencies.");
                self.program("flavor", 1, &texts(&["python3", "-m", "venv", ".venv"])).await?;
                self.program("flavor", 1, &texts(&[".venv/bin/pip", "install", "--requirement", "requirements.txt"])).await
            }
            "drupal" => Err(Stop::User {
                step: "flavor".into(),
                exit_code: None,
                message: "The build flavour 'drupal' (drush make) is not available; use 'composer'.".into(),
            }),
            _ => Ok(()),
        }
    }

    async fn hook(&self) -> Result<(), Stop> {
        let Some(script) = self.app.hooks.build.as_deref().filter(|script| !script.trim().is_empty()) else { return Ok(()) };
        self.log.info("Executing build hook...");
        // The kernel takes no longer argument, so a long script comes as a file.
        let ended = if script.len() < crate::room::SCRIPT_BYTES_MAX {
            self.ended(1, &texts(&["/bin/sh", "-c", script])).await?
        } else {
            return Err(Stop::User { step: "hooks.build".into(), exit_code: None, message: "The build hook is longer than 120 kB; put it in a file.".into() });
        };
        match ended {
            Ended::Code(0) => Ok(()),
            Ended::Code(code) => self.failed("hooks.build", code, format!("The build hook failed with status code {code}.{}", self.hint(code))),
            Ended::TooLong => Err(self.too_long("hooks.build", "The build hook")),
        }
    }

    async fn mount_points(&self) -> Result<(), Stop> {
        for path in &self.task.mount_paths {
            let path = format!("/app/{}", path.trim_start_matches("/app/").trim_matches('/'));
            let code = self.berth.quiet("mkdir", r#"mkdir -p -- "$1" && [ -d "$1" ] && [ ! -L "$1" ]"#, &[&path]).await?;
            if code != 0 {
                let message = format!("The mount '{path}' cannot be made: in the built application a file or link stands there.");
                return Err(Stop::User { step: "mounts".into(), exit_code: None, message });
            }
        }
        Ok(())
    }

    /// A program of a step; anything but success ends the build.
    async fn program(&self, step: &str, indent: u32, arguments: &[String]) -> Result<(), Stop> {
        let shown = arguments.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
        match self.ended(indent, arguments).await? {
            Ended::Code(0) => Ok(()),
            Ended::Code(code) => self.failed(step, code, format!("'{shown}' failed with status code {code}.{}", self.hint(code))),
            Ended::TooLong => Err(self.too_long(step, &format!("'{shown}'"))),
        }
    }

    async fn own_script(&self, step: &str, script: &str, args: &[&str]) -> Result<(), Stop> {
        match self.berth.quiet(step, script, args).await? {
            0 => Ok(()),
            code => self.failed(step, code, format!("The step {step} failed with status code {code}.")),
        }
    }

    async fn ended(&self, indent: u32, arguments: &[String]) -> Result<Ended, Stop> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let time_max = Duration::from_secs(self.task.hook_seconds_max);
        self.berth.step(&arguments, &self.log.indented(indent), time_max, self.cancel).await
    }

    fn failed(&self, step: &str, code: i32, message: String) -> Result<(), Stop> {
        if self.berth.disk_is_full() {
            return Err(Stop::Machine(anyhow::anyhow!("the disk of builds is full ({step} ended with {code})")));
        }
        Err(Stop::User { step: step.into(), exit_code: Some(code), message })
    }

    fn too_long(&self, step: &str, what: &str) -> Stop {
        let message = format!("{what} took more than {} s and was ended.", self.task.hook_seconds_max);
        Stop::User { step: step.into(), exit_code: None, message }
    }

    fn hint(&self, code: i32) -> String {
        match code {
            137 => format!(" It was killed, most likely because it needed more than {} MB of memory.", self.berth.memory_mb()),
            127 => " A program was not found.".into(),
            _ => String::new(),
        }
    }

    fn has(&self, file: &str) -> bool {
        self.app_dir.join(file).symlink_metadata().is_ok_and(|meta| meta.is_file())
    }
}

/// Tools of the virtual environment onto the path.
const LINK_PYTHON_TOOLS: &str = r#"
mkdir -p "$1/bin"
for tool in "$1"/python/bin/*; do
    case "${tool##*/}" in activate*|Activate*|python*|pip*) ;; *) ln -sf "$tool" "$1/bin/" ;; esac
done
"#;
const WRITE_COMPOSER: &str = r#"mkdir -p "$1" && printf %s "$2" > "$1/composer.json""#;

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// The constraint as written; `*` is any.
fn constraint(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_string(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text != "*").then_some(text)
}

fn node_arguments(packages: &[(&str, &Value)]) -> Vec<String> {
    let mut arguments = texts(&["npm", "install", "--global", "--prefix", GLOBAL, "--"]);
    arguments.extend(packages.iter().map(|(name, value)| match constraint(value) {
        Some(version) => format!("{name}@{version}"),
        None => name.to_string(),
    }));
    arguments
}

fn python_arguments(packages: &[(&str, &Value)]) -> Vec<String> {
    let mut arguments = texts(&["/app/.global/python/bin/pip", "install", "--"]);
    arguments.extend(packages.iter().map(|(name, value)| match constraint(value) {
        Some(version) if version.starts_with(['=', '<', '>', '~', '!']) => format!("{name}{version}"),
        Some(version) => format!("{name}=={version}"),
        None => name.to_string(),
    }));
    arguments
}

fn ruby_arguments(packages: &[(&str, &Value)]) -> Vec<Vec<String>> {
    let install = |(name, value): &(&str, &Value)| {
        let home = format!("{GLOBAL}/ruby");
        let bin = format!("{GLOBAL}/bin");
        let mut arguments = texts(&["gem", "install", "--no-document", "--install-dir", &home, "--bindir", &bin]);
        if let Some(version) = constraint(value) {
            arguments.extend(["--version".to_string(), version]);
        }
        arguments.extend(["--".to_string(), name.to_string()]);
        arguments.retain(|argument| argument != "--");
        arguments
    };
    packages.iter().map(install).collect()
}

/// The plain form (`package: constraint`) or the full one with `require`.
fn composer_json(packages: &[(&str, &Value)]) -> String {
    let full = packages.iter().any(|(name, value)| *name == "require" && value.is_object());
    let mut json = serde_json::Map::new();
    if full {
        json.extend(packages.iter().map(|(name, value)| (name.to_string(), (*value).clone())));
    } else {
        let require = packages.iter().map(|(name, value)| (name.to_string(), constraint(value).unwrap_or_else(|| "*".into()).into()));
        json.insert("require".into(), Value::Object(require.collect()));
    }
    let config = json.entry("config").or_insert_with(|| Value::Object(Default::default()));
    if let Some(config) = config.as_object_mut() {
        config.insert("bin-dir".into(), format!("{GLOBAL}/bin").into());
        config.entry("allow-plugins").or_insert(true.into());
    }
    Value::Object(json).to_string()
}
