//! The start scripts of a container: a supervisor as its first process, one directory per service.
//!
//! They are written outside and bound read-only to [`CONFIG`]; the supervisor needs a writable copy of the services.

/// Where an instance's configuration is inside.
pub const CONFIG: &str = "/run/slipway";
/// What `sh` starts as the container's first process.
pub const INIT: &str = "/run/slipway/init";

/// One file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Below [`CONFIG`].
    pub path: String,
    pub text: String,
    pub executable: bool,
}

impl ConfigFile {
    pub fn text(path: &str, text: impl Into<String>) -> ConfigFile {
        ConfigFile { path: path.into(), text: text.into(), executable: false }
    }

    pub fn script(path: &str, text: impl Into<String>) -> ConfigFile {
        ConfigFile { path: path.into(), text: text.into(), executable: true }
    }
}

/// What every container has: the first process and the keeper of its logs.
pub fn base(config_json: &str) -> Vec<ConfigFile> {
    vec![ConfigFile::script("init", INIT_TEXT), ConfigFile::text("config.json", config_json), ConfigFile::script("sv/logs/run", LOGS_TEXT)]
}

const INIT_TEXT: &str = r#"#!/bin/sh
umask 022
mkdir -p /run/sv /var/log/nginx
cp -R /run/slipway/sv/. /run/sv/
chmod -R u+w /run/sv
cp /run/slipway/config.json /run/config.json
: >/run/exits
exec runsvdir -P /run/sv
"#;

/// Each log keeps its last megabyte when it has grown to 100.
const LOGS_TEXT: &str = r#"#!/bin/sh
exec 2>/dev/null
while sleep 5; do
  for file in /var/log/*.log /var/log/nginx/*.log; do
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    size=$(stat -c %s "$file") || continue
    if [ "$size" -gt 104857600 ]; then
      tail -c 1048576 "$file" >/var/tmp/.log-tail && cat /var/tmp/.log-tail >"$file"
      rm -f /var/tmp/.log-tail
    fi
  done
done
"#;

/// The one main process of a container, under supervision as `app`.
pub struct Main<'a> {
    pub pre_start: Option<&'a str>,
    pub start: &'a str,
    /// Name of the signal that ends it in good order.
    pub stop_signal: &'a str,
    /// It does not start by itself: the worker says when.
    pub down: bool,
    /// `/app`, or where there is no application.
    pub directory: &'a str,
}

impl Main<'_> {
    pub fn files(&self) -> Vec<ConfigFile> {
        let mut files = vec![
            ConfigFile::script("sv/app/run", RUN_TEXT.replace("@DIRECTORY@", self.directory)),
            ConfigFile::script("sv/app/finish", FINISH_TEXT),
            ConfigFile::script("sv/app/control/t", CONTROL_TEXT.replace("@SIGNAL@", self.stop_signal.trim_start_matches("SIG"))),
            ConfigFile::script("app/start", format!("{}\n", self.start)),
        ];
        if let Some(text) = self.pre_start {
            files.push(ConfigFile::script("app/pre_start", format!("{text}\n")));
        }
        if self.down {
            files.push(ConfigFile::text("sv/app/down", ""));
        }
        files
    }
}

/// `-P` made it the leader of a session: its group is signalled as a whole, and nothing of it outlives it.
const RUN_TEXT: &str = r#"#!/bin/sh
exec >>/var/log/app.log 2>&1
echo $$ >/run/app.pid
cd @DIRECTORY@ || exit 111
if [ -r ./.environment ]; then . ./.environment; fi
if [ -f /run/slipway/app/pre_start ]; then sh /run/slipway/app/pre_start || echo "pre_start ended with $?"; fi
exec sh /run/slipway/app/start
"#;

const FINISH_TEXT: &str = r#"#!/bin/sh
echo "$(date +%s) $1 $2" >>/run/exits
kill -KILL -- "-$(cat /run/app.pid)" 2>/dev/null
exit 0
"#;

const CONTROL_TEXT: &str = r#"#!/bin/sh
kill -@SIGNAL@ -- "-$(cat /run/app.pid)"
"#;

/// A front that listens as long as the container runs.
pub fn internal_front() -> ConfigFile {
    ConfigFile::script("sv/front/run", "#!/bin/sh\nexec >>/var/log/error.log 2>&1\nexec nginx -c /run/slipway/nginx/internal.conf\n")
}
