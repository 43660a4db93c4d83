//! php-fpm and php.ini of an application.

use super::nginx::{APP_PORT, APP_SOCKET};
use super::scripts::ConfigFile;
use slipway_manifest::{Runtime, SocketFamily};
use slipway_model::recipe::RuntimeRecipe;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Start commands of old application files that all mean "the image's php-fpm".
const DEFAULT_STARTS: &[&str] = &["start-php-app", "php-fpm", "php5-fpm"];
/// Extensions that refuse to load without others, as Debian builds them.
const NEEDED_BY: &[(&str, &[&str])] = &[("redis", &["igbinary"]), ("memcached", &["igbinary", "msgpack"])];
/// Where PHP looks for its settings, both of the web and of the command line.
pub const SCAN_DIRECTORY: &str = "/run/slipway/php/conf.d";

/// No start command of its own: php-fpm serves.
pub fn is_default_start(start: Option<&str>) -> bool {
    let Some(start) = start.map(str::trim).filter(|s| !s.is_empty()) else { return true };
    let program = start.strip_prefix("exec ").unwrap_or(start).trim().rsplit('/').next().unwrap_or("");
    DEFAULT_STARTS.contains(&program) || (program.starts_with("php-fpm") && !program.contains(' '))
}

/// The default start: the image has one php-fpm, whatever its version.
pub const START: &str = r#"for fpm in /usr/sbin/php-fpm[0-9]* /usr/local/sbin/php-fpm /usr/sbin/php-fpm; do
  if [ -x "$fpm" ]; then exec "$fpm" --nodaemonize --fpm-config /run/slipway/php/fpm.conf; fi
done
echo "the image has no php-fpm" >&2
exit 127
"#;

/// Everything that PHP reads.
pub struct Php<'a> {
    pub runtime: &'a Runtime,
    pub variables: &'a BTreeMap<String, String>,
    pub recipe: Option<&'a RuntimeRecipe>,
    pub memory_mb: u64,
    pub family: SocketFamily,
    /// The image's tree on the host.
    pub image: &'a Path,
}

impl Php<'_> {
    /// Files below the configuration, and links `(path, target)`.
    pub fn files(&self) -> (Vec<ConfigFile>, Vec<(String, String)>) {
        let files = vec![
            ConfigFile::text("php/fpm.conf", self.pool()),
            ConfigFile::text("php/conf.d/50-slipway.ini", DEFAULTS),
            ConfigFile::text("php/conf.d/70-variables.ini", ini(self.variables)),
        ];
        let mut links = self.extensions();
        links.push(("php/conf.d/60-app.ini".into(), "/app/php.ini".into()));
        (files, links)
    }

    /// Workers = (memory - reserved) / per request, two at least.
    fn workers(&self) -> u64 {
        let request = self.runtime.request_memory.max(10);
        (self.memory_mb.saturating_sub(self.runtime.reserved_memory.max(70)) / request).clamp(2, 1000)
    }

    fn pool(&self) -> String {
        let listen = match self.family {
            SocketFamily::Tcp => format!("127.0.0.1:{APP_PORT}"),
            SocketFamily::Unix => APP_SOCKET.to_string(),
        };
        let mut out = format!(
            "[global]\nerror_log = /var/log/app.log\ndaemonize = no\nlog_limit = 8192\n\n[web]\nlisten = {listen}\nlisten.mode = 0600\n\
             listen.backlog = 4096\npm = ondemand\npm.max_children = {}\npm.process_idle_timeout = 60s\nclear_env = no\n\
             catch_workers_output = yes\ndecorate_workers_output = no\naccess.log = /var/log/php.access.log\n\
             access.format = \"%{{%Y-%m-%dT%H:%M:%SZ}}t %m %s %{{mili}}d ms %{{kilo}}M kB %C%% %r%Q%q\"\n",
            self.workers()
        );
        if let Some(seconds) = self.runtime.request_terminate_timeout.filter(|s| *s > 0) {
            let _ = writeln!(out, "request_terminate_timeout = {seconds}s");
        }
        out
    }

    /// The image's own list, less what is switched off, with what the application asks for.
    fn extensions(&self) -> Vec<(String, String)> {
        let versions = std::fs::read_dir(self.image.join("etc/php")).into_iter().flatten().flatten();
        let Some(version) = versions.map(|e| e.file_name().to_string_lossy().into_owned()).max() else { return vec![] };
        let home = format!("etc/php/{version}");
        let needed = |asked: &str, name: &str| NEEDED_BY.iter().any(|(by, needs)| *by == asked && needs.contains(&name));
        let asked = |name: &str| self.runtime.extensions.iter().any(|e| e.name == name || needed(&e.name, name));
        let off = |name: &str| self.runtime.disabled_extensions.iter().any(|e| e == name);
        let optional = |name: &str| self.recipe.and_then(|r| r.extensions.get(name)) == Some(&false);
        let mut links = BTreeMap::new();
        for entry in std::fs::read_dir(self.image.join(&home).join("fpm/conf.d")).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some((order, name)) = file.strip_suffix(".ini").and_then(|f| f.split_once('-')) else { continue };
            if !off(name) && (asked(name) || !optional(name)) {
                links.insert(name.to_string(), order.to_string());
            }
        }
        for extension in &self.runtime.extensions {
            let plain = extension.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let file = self.image.join(&home).join("mods-available").join(format!("{}.ini", extension.name));
            if plain && !links.contains_key(&extension.name) && !off(&extension.name) && file.symlink_metadata().is_ok() {
                links.insert(extension.name.clone(), "20".into());
            }
        }
        let link = |(name, order): (String, String)| (format!("php/conf.d/{order}-{name}.ini"), format!("/{home}/mods-available/{name}.ini"));
        links.into_iter().map(link).collect()
    }
}

const DEFAULTS: &str = "memory_limit = 128M\npost_max_size = 64M\nupload_max_filesize = 64M\ndisplay_errors = On\n\
    zend.assertions = -1\nopcache.memory_consumption = 64\nopcache.validate_timestamps = On\nexpose_php = Off\n\
    session.save_path = /tmp\nsys_temp_dir = /tmp\nupload_tmp_dir = /tmp\nerror_log = /var/log/app.log\n\
    sendmail_path = /usr/sbin/sendmail -t -i\ncgi.fix_pathinfo = 1\n";

/// Directives that a user set: a bare word where PHP must evaluate it, else a quoted text.
fn ini(directives: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let named = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    for (name, value) in directives.iter().filter(|(name, _)| named(name)) {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        let bare = value.bytes().all(|b| b.is_ascii_alphanumeric() || b" _&|~^.-/,:%".contains(&b));
        let text = match () {
            _ if bare => value,
            _ if !value.contains('\'') => format!("'{value}'"),
            _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$\\{")),
        };
        let _ = writeln!(out, "{name} = {text}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_the_sizing_hints() {
        let of = |memory_mb, request_memory, reserved_memory| {
            let runtime = Runtime { request_memory, reserved_memory, ..Runtime::default() };
            Php { runtime: &runtime, variables: &BTreeMap::new(), recipe: None, memory_mb, family: SocketFamily::Unix, image: Path::new("/none") }.workers()
        };
        assert_eq!(of(512, 45, 70), 9);
        assert_eq!(of(128, 45, 70), 2);
        assert_eq!(of(1024, 0, 0), 95);
    }

    #[test]
    fn an_extension_is_loaded_with_what_it_needs() {
        let image = tempfile::tempdir().unwrap();
        let php = image.path().join("etc/php/8.2");
        std::fs::create_dir_all(php.join("fpm/conf.d")).unwrap();
        std::fs::create_dir_all(php.join("mods-available")).unwrap();
        for name in ["20-redis", "20-igbinary", "20-apcu", "20-curl", "10-opcache"] {
            std::fs::write(php.join(format!("fpm/conf.d/{name}.ini")), "").unwrap();
        }
        std::fs::write(php.join("mods-available/xdebug.ini"), "").unwrap();
        let recipe: RuntimeRecipe = serde_json::from_value(serde_json::json!({
            "flavor": "composer", "socket_family": "unix", "protocol": "fastcgi",
            "extensions": { "redis": false, "igbinary": false, "apcu": false, "curl": true, "xdebug": false }
        })).unwrap();
        let extension = |name: &str| slipway_manifest::Extension { name: name.into(), configuration: Default::default() };
        let runtime = Runtime { extensions: vec![extension("redis"), extension("xdebug")], disabled_extensions: vec!["curl".into()], ..Runtime::default() };
        let php = Php { runtime: &runtime, variables: &BTreeMap::new(), recipe: Some(&recipe), memory_mb: 128, family: SocketFamily::Unix, image: image.path() };
        let links: Vec<String> = php.extensions().into_iter().map(|(path, _)| path).collect();
        assert_eq!(links, ["php/conf.d/20-igbinary.ini", "php/conf.d/10-opcache.ini", "php/conf.d/20-redis.ini", "php/conf.d/20-xdebug.ini"]);
    }

    #[test]
    fn old_start_commands_mean_the_images_own() {
        for start in [None, Some("/usr/sbin/php-fpm7.0"), Some("/usr/bin/start-php-app"), Some("php-fpm7.1-zts"), Some("/usr/sbin/php5-fpm"), Some(" ")] {
            assert!(is_default_start(start), "{start:?}");
        }
        for start in [Some("php artisan octane:start"), Some("php-fpm -c /app/my.ini")] {
            assert!(!is_default_start(start), "{start:?}");
        }
    }

    #[test]
    fn a_directive_cannot_become_two() {
        let text = ini(&[("memory_limit".into(), "256M\nextension=evil".into()), ("a b".into(), "x".into()), ("error_reporting".into(), "E_ALL & ~E_NOTICE".into()), ("x".into(), "a;b".into())].into());
        assert_eq!(text, "error_reporting = E_ALL & ~E_NOTICE\nmemory_limit = '256Mextension=evil'\nx = 'a;b'\n");
    }
}
