//! What package clients find in a build: environment, settings of the node, certificates.

use super::{BuildOptions, truststore};
use anyhow::Context;
use slipway_model::task::BuildApp;
use std::collections::BTreeMap;
use std::path::Path;

/// Kept between builds; every image has this place.
pub const CACHE: &str = "/var/cache/slipway";
/// The node's settings of package clients, read-only.
pub const SETTINGS: &str = "/mnt";
/// Where Debian keeps the bundle that all programs but Java read.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where Debian's Java reads its own.
pub const JAVA_BUNDLE: &str = "/etc/ssl/certs/java/cacerts";
/// Where Debian's Maven reads the machine's settings.
pub const MAVEN_SETTINGS: &str = "/etc/maven/settings.xml";
/// Global tools of `dependencies`.
pub const GLOBAL: &str = "/app/.global";
/// A plain moment: archives and byte code then depend on content, not on the hour of the build.
const SOURCE_DATE: &str = "1577836800";

/// Files of `config_dir` and the variable that leads their client there.
const CLIENT_FILES: [(&str, &str); 5] = [
    ("pip.conf", "PIP_CONFIG_FILE"),
    ("npmrc", "NPM_CONFIG_GLOBALCONFIG"),
    ("gemrc", "GEMRC"),
    ("gitconfig", "GIT_CONFIG_GLOBAL"),
    ("go.env", "GOENV"),
];
/// What programs are told about the bundle.
const BUNDLE_VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "COMPOSER_CAFILE",
    "CARGO_HTTP_CAINFO",
];

/// Fill the folder that is bound at [`SETTINGS`].
pub fn write_settings(options: &BuildOptions, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    if let Some(from) = &options.config_dir {
        for item in std::fs::read_dir(from).with_context(|| format!("read the folder [build] config_dir = {}", from.display()))? {
            let item = item?;
            if item.metadata()?.is_file() {
                std::fs::copy(item.path(), folder.join(item.file_name())).with_context(|| format!("copy {}", item.path().display()))?;
            }
        }
    }
    if let Some(bundle) = &options.ca_bundle {
        let pem = std::fs::read_to_string(bundle).with_context(|| format!("read [egress] ca_bundle = {}", bundle.display()))?;
        let store = truststore::from_pem(&pem).with_context(|| format!("read [egress] ca_bundle = {}", bundle.display()))?;
        std::fs::write(folder.join("ca.crt"), pem)?;
        std::fs::write(folder.join("java-truststore"), store)?;
    }
    // `web` reads them, whatever the node's umask.
    use std::os::unix::fs::PermissionsExt;
    for item in std::fs::read_dir(folder)? {
        std::fs::set_permissions(item?.path(), std::fs::Permissions::from_mode(0o644))?;
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The complete environment of every step; later entries are stronger.
pub fn environment(options: &BuildOptions, task: &BuildApp, settings: &Path) -> Vec<String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| _ = env.insert(name.to_string(), value.to_string());
    set("LANG", "C.UTF-8");
    set("LC_ALL", "C.UTF-8");
    set("TZ", "UTC");
    set("CI", "1");
    set("SOURCE_DATE_EPOCH", SOURCE_DATE);
    for (name, place) in [
        ("XDG_CACHE_HOME", "xdg"),
        ("COMPOSER_CACHE_DIR", "composer"),
        ("NPM_CONFIG_CACHE", "npm"),
        ("YARN_CACHE_FOLDER", "yarn"),
        ("PIP_CACHE_DIR", "pip"),
        ("GOCACHE", "go-build"),
        ("GOMODCACHE", "go-mod"),
        ("GRADLE_USER_HOME", "gradle"),
        ("GEM_SPEC_CACHE", "gem"),
        ("BUNDLE_USER_CACHE", "bundler"),
    ] {
        set(name, &format!("{CACHE}/{place}"));
    }
    set("COMPOSER_HOME", "/tmp/composer");
    set("COMPOSER_NO_INTERACTION", "1");
    set("NPM_CONFIG_UPDATE_NOTIFIER", "false");
    set("NPM_CONFIG_FUND", "false");
    set("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    set("PIP_NO_INPUT", "1");
    // Debian guards its own Python from pip; in this container there is nobody else's.
    set("PIP_BREAK_SYSTEM_PACKAGES", "1");
    set("PIP_ROOT_USER_ACTION", "ignore");
    // Read-only module trees could not be cleared from the cache.
    set("GOFLAGS", "-modcacherw");
    set("MAVEN_OPTS", &format!("-Dmaven.repo.local={CACHE}/maven -Djava.io.tmpdir=/tmp"));
    if settings.join("ca.crt").exists() {
        BUNDLE_VARIABLES.iter().for_each(|name| set(name, &format!("{SETTINGS}/ca.crt")));
        let java = format!("-Djavax.net.ssl.trustStore={SETTINGS}/java-truststore");
        set("MAVEN_OPTS", &format!("-Dmaven.repo.local={CACHE}/maven -Djava.io.tmpdir=/tmp {java}"));
        set("GRADLE_OPTS", &java);
    }
    for (file, name) in CLIENT_FILES {
        if settings.join(file).exists() {
            set(name, &format!("{SETTINGS}/{file}"));
        }
    }
    env.extend(options.env.clone());
    if let Some(runtime) = &task.recipe.runtime {
        env.extend(runtime.env.clone());
    }
    env.extend(task.env.clone());
    // The prefix of the project's flavour is known from what the scheduler made.
    let prefix = task.env.keys().find_map(|name| name.strip_suffix("_APP_DIR").map(str::to_string));
    if let Some(prefix) = prefix {
        env.insert(format!("{prefix}_CACHE_DIR"), format!("{CACHE}/app"));
        env.insert(format!("{prefix}_OUTPUT_DIR"), "/app".into());
    }
    env.insert("HOME".into(), "/app".into());
    env.insert("USER".into(), "web".into());
    env.insert("PATH".into(), format!("{GLOBAL}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"));
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
