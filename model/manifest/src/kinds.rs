//! Runtimes and services of the language: versions, disks, endpoints.

use crate::options::Options;

pub(crate) struct RuntimeKind {
    pub name: &'static str,
    /// See [`version_matches`].
    pub versions: &'static [&'static str],
    pub default_flavor: &'static str,
    /// PHP speaks FastCGI over a socket; everybody else HTTP over TCP.
    pub fastcgi: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskRule {
    /// Keeps data in memory; the other type, if any, keeps it on disk.
    Forbidden {
        persistent: Option<&'static str>,
    },
    AtLeast(u64),
}

pub(crate) struct EngineKind {
    pub name: &'static str,
    pub versions: &'static [&'static str],
    pub disk: DiskRule,
    /// The first is the default; empty for storage.
    pub endpoints: &'static [&'static str],
    pub scheme: &'static str,
    pub port: u16,
    /// Which engine's data it can read: synonyms share it.
    pub family: &'static str,
}

const fn runtime(
    name: &'static str,
    default_flavor: &'static str,
    versions: &'static [&'static str],
) -> RuntimeKind {
    RuntimeKind {
        name,
        versions,
        default_flavor,
        fastcgi: false,
    }
}

pub(crate) const RUNTIMES: &[RuntimeKind] = &[
    RuntimeKind {
        name: "php",
        versions: &["5.4-5.6", "7.0-7.4", "8.0-8.5"],
        default_flavor: "composer",
        fastcgi: true,
    },
    RuntimeKind {
        name: "hhvm",
        versions: &["3.9", "3.12", "3.15", "3.18", "3.24"],
        default_flavor: "composer",
        fastcgi: true,
    },
    runtime(
        "nodejs",
        "default",
        &[
            "0.10", "0.12", "4.*", "6.*", "8.*", "10.*", "12.*", "14.*", "16.*", "18.*", "20.*",
            "4-26",
        ],
    ),
    runtime("python", "none", &["2.7", "3.4-3.14"]),
    runtime("ruby", "none", &["2.1-2.7", "3.0-3.4", "4.0"]),
    runtime("java", "none", &["7-26"]),
    runtime("golang", "none", &["1.8-1.26", "1"]),
    runtime("elixir", "none", &["1.4-1.20"]),
    runtime(
        "dotnet",
        "none",
        &[
            "2.0-2.2", "3.0-3.1", "5.0", "6.0", "7.0", "8.0", "9.0", "10.0",
        ],
    ),
    runtime("rust", "none", &["1", "1.*"]),
    runtime("lisp", "none", &["1.5", "2.0-2.5"]),
    runtime(
        "composable",
        "none",
        &[
            "23.05", "23.11", "24.05", "24.11", "25.05", "25.11", "26.05",
        ],
    ),
];

const DISK: DiskRule = DiskRule::AtLeast(128);
const DISK_256: DiskRule = DiskRule::AtLeast(256);
const DISK_512: DiskRule = DiskRule::AtLeast(512);
const MEMORY: DiskRule = DiskRule::Forbidden { persistent: None };

const MARIADB: &[&str] = &["5.5", "10.0-10.11", "11.0-11.8", "12.0-12.3"];
const REDIS: &[&str] = &[
    "2.8", "3.0", "3.2", "4.0", "5.0", "6.0", "6.2", "7.0", "7.2", "7.4", "8.0-8.8",
];
const VALKEY: &[&str] = &["7.2", "8.0-8.1", "9.0"];
const ELASTICSEARCH: &[&str] = &[
    "0.90", "1.4-1.7", "2.0-2.4", "5.0-5.6", "6.0-6.8", "7.0-7.17", "8.0-8.19", "9.0-9.3",
];
const MONGODB: &[&str] = &[
    "2.6", "3.0", "3.2", "3.4", "3.6", "4.0", "4.0.3", "4.2", "4.4", "5.0", "6.0", "7.0", "8.0",
];

#[rustfmt::skip]
pub(crate) const ENGINES: &[EngineKind] = &[
    engine("mysql", "mariadb", MARIADB, DISK_256, &["mysql"], "mysql", 3306),
    engine("mariadb", "mariadb", MARIADB, DISK_256, &["mysql"], "mysql", 3306),
    engine("oracle-mysql", "oracle-mysql", &["5.7", "8.0-8.4", "9.0-9.6"], DISK_256, &["mysql"], "mysql", 3306),
    engine("postgresql", "postgresql", &["9.3-9.6", "10-18"], DISK, &["postgresql"], "pgsql", 5432),
    engine("mongodb", "mongodb", MONGODB, DISK_512, &["mongodb"], "mongodb", 27017),
    engine("mongodb-enterprise", "mongodb", MONGODB, DISK_512, &["mongodb"], "mongodb", 27017),
    engine("redis", "redis", REDIS, DiskRule::Forbidden { persistent: Some("redis-persistent") }, &["redis", "redis-replica"], "redis", 6379),
    engine("redis-persistent", "redis", REDIS, DISK, &["redis", "redis-replica"], "redis", 6379),
    engine("valkey", "valkey", VALKEY, DiskRule::Forbidden { persistent: Some("valkey-persistent") }, &["valkey"], "valkey", 6379),
    engine("valkey-persistent", "valkey", VALKEY, DISK, &["valkey"], "valkey", 6379),
    engine("memcached", "memcached", &["1.4-1.6"], MEMORY, &["memcached"], "memcached", 11211),
    engine("solr", "solr", &["3.6", "4.10", "6.3", "6.6", "7.0-7.7", "8.0-8.11", "9.0-9.9", "10.0"], DISK_256, &["solr"], "solr", 8080),
    engine("elasticsearch", "elasticsearch", ELASTICSEARCH, DISK_256, &["elasticsearch"], "http", 9200),
    engine("elasticsearch-enterprise", "elasticsearch", ELASTICSEARCH, DISK_256, &["elasticsearch"], "http", 9200),
    engine("opensearch", "opensearch", &["1", "2", "3", "1.0-1.3", "2.0-2.19", "3.0-3.4"], DISK_256, &["opensearch"], "http", 9200),
    engine("rabbitmq", "rabbitmq", &["3.5-3.13", "4.0-4.3"], DISK_512, &["rabbitmq"], "amqp", 5672),
    engine("clickhouse", "clickhouse", &["23.3", "23.8", "24.3", "24.8", "25.3", "25.8", "26.3"], DISK_512, &["clickhouse"], "https", 9000),
    engine("influxdb", "influxdb", &["1.2-1.8", "2.0-2.7", "3", "3.0-3.4"], DISK, &["influxdb"], "http", 8086),
    engine("kafka", "kafka", &["2.0-2.8", "3.0-3.9", "4.0-4.3"], DISK_512, &["kafka"], "kafka", 9092),
    engine("varnish", "varnish", &["4.1", "5.0-5.2", "6.0-6.6", "7.0-7.7", "8.0", "9.0"], MEMORY, &["http", "http+stats"], "http", 8080),
    engine("network-storage", "network-storage", &["1.0", "2.0"], DISK, &[], "", 0),
    engine("chrome-headless", "chrome-headless", &["60-150"], MEMORY, &["http"], "http", 9222),
    engine("gotenberg", "gotenberg", &["6-8"], MEMORY, &["http"], "http", 3000),
    engine("mercure", "mercure", &["0", "0.*"], DISK_256, &["mercure"], "http", 3000),
    engine("vault-kms", "vault-kms", &["1.6", "1.8", "1.12"], DISK_512, &["manage_keys"], "http", 8200),
];

const fn engine(
    name: &'static str,
    family: &'static str,
    versions: &'static [&'static str],
    disk: DiskRule,
    endpoints: &'static [&'static str],
    scheme: &'static str,
    port: u16,
) -> EngineKind {
    EngineKind {
        name,
        versions,
        disk,
        endpoints,
        scheme,
        port,
        family,
    }
}

/// Name and version of `php:8.3`; no version when there is no colon.
pub(crate) fn split_type(kind: &str) -> (&str, Option<&str>) {
    match kind.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (kind, None),
    }
}

pub(crate) fn runtime_kind(kind: &str) -> Option<&'static RuntimeKind> {
    RUNTIMES
        .iter()
        .find(|known| known.name == split_type(kind).0)
}

pub(crate) fn engine_kind(kind: &str) -> Option<&'static EngineKind> {
    ENGINES
        .iter()
        .find(|known| known.name == split_type(kind).0)
}

/// Whether a version is among patterns `8`, `8.3`, `8.*`, `8.0-8.5` (one major) and `10-18` (majors alone).
pub(crate) fn version_matches(version: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| {
        if let Some(major) = pattern.strip_suffix(".*") {
            return version
                .strip_prefix(major)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|minor| number(minor).is_some());
        }
        let Some((from, to)) = pattern.split_once('-') else {
            return version == *pattern;
        };
        match (pair(from), pair(to), pair(version)) {
            (Some((low, None)), Some((high, None)), Some((major, None))) => {
                (low..=high).contains(&major)
            }
            (Some((major, Some(low))), Some((_, Some(high))), Some((own, Some(minor)))) => {
                own == major && (low..=high).contains(&minor)
            }
            _ => false,
        }
    })
}

fn pair(version: &str) -> Option<(u32, Option<u32>)> {
    match version.split_once('.') {
        Some((major, minor)) => Some((number(major)?, Some(number(minor)?))),
        None => Some((number(version)?, None)),
    }
}

fn number(text: &str) -> Option<u32> {
    let plain =
        !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    // 1.08 is not 1.8.
    (plain && (text == "0" || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}

/// Versions as numbers, for comparing a deployed one with a pushed one.
pub(crate) fn version_numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

/// Why a type cannot be used; `Ok` when it can.
pub(crate) enum TypeFault {
    UnknownName,
    UnknownVersion {
        known: String,
    },
    /// The language has it, this platform has no recipe.
    NoRecipe {
        has: String,
    },
    NoVersion,
}

pub(crate) fn judge_type(kind: &str, service: bool, options: &Options) -> Result<(), TypeFault> {
    let (name, version) = split_type(kind);
    let patterns = if service {
        ENGINES
            .iter()
            .find(|known| known.name == name)
            .map(|known| known.versions)
    } else {
        RUNTIMES
            .iter()
            .find(|known| known.name == name)
            .map(|known| known.versions)
    };
    let recipes = options.catalogue.as_ref().map(|catalogue| {
        if service {
            &catalogue.services
        } else {
            &catalogue.runtimes
        }
    });
    let recipe = recipes.and_then(|recipes| recipes.get(name));
    if patterns.is_none() && recipe.is_none() {
        return Err(TypeFault::UnknownName);
    }
    let Some(version) = version else {
        return Err(TypeFault::NoVersion);
    };
    if options.any_version {
        let plausible = !version.is_empty()
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        return if plausible {
            Ok(())
        } else {
            Err(TypeFault::UnknownVersion {
                known: "a version".to_owned(),
            })
        };
    }
    let in_language = patterns.is_some_and(|patterns| version_matches(version, patterns));
    match (recipes, recipe) {
        (None, _) if in_language => Ok(()),
        (Some(_), Some(versions)) if versions.iter().any(|known| known == version) => Ok(()),
        (Some(_), recipe) if in_language => Err(TypeFault::NoRecipe {
            has: recipe
                .map(|versions| versions.join(", "))
                .filter(|has| !has.is_empty())
                .unwrap_or_else(|| "no version of it".to_owned()),
        }),
        (Some(_), Some(versions)) => Err(TypeFault::UnknownVersion {
            known: versions.join(", "),
        }),
        _ => Err(TypeFault::UnknownVersion {
            known: patterns.unwrap_or_default().join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_by_number_not_by_text() {
        let php = ["5.4-5.6", "8.0-8.5"];
        assert!(version_matches("8.3", &php) && version_matches("5.6", &php));
        assert!(
            !version_matches("8.10", &php)
                && !version_matches("9.9", &php)
                && !version_matches("8", &php)
                && !version_matches("8.03", &php)
        );
        assert!(
            version_matches("12", &["10-18"])
                && !version_matches("12.1", &["10-18"])
                && version_matches("6.11", &["6.*"])
        );
    }

    #[test]
    fn a_catalogue_narrows_the_language() {
        let mut options = Options {
            catalogue: Some(Default::default()),
            ..Options::default()
        };
        options.catalogue.as_mut().map(|catalogue| {
            catalogue
                .runtimes
                .insert("php".to_owned(), vec!["8.3".to_owned()])
        });
        assert!(judge_type("php:8.3", false, &options).is_ok());
        assert!(
            matches!(judge_type("php:8.2", false, &options), Err(TypeFault::NoRecipe { has }) if has == "8.3")
        );
        assert!(matches!(
            judge_type("php:9.9", false, &options),
            Err(TypeFault::UnknownVersion { .. })
        ));
    }
}
