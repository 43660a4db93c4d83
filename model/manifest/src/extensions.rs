//! PHP extensions and the versions that have them.

use crate::kinds::version_numbers;

/// PHP extensions that exist in some versions only: name, first and last version.
pub(crate) const EXTENSIONS: &[(&str, (u32, u32), (u32, u32))] = &[
    ("apc", (5, 4), (5, 4)),
    ("apcu_bc", (7, 0), (7, 4)),
    ("ffi", (7, 4), (99, 0)),
    ("geoip", (5, 4), (7, 4)),
    ("interbase", (5, 4), (7, 3)),
    ("libsodium", (5, 4), (7, 1)),
    ("mcrypt", (5, 4), (7, 1)),
    ("mongo", (5, 4), (5, 6)),
    ("mssql", (5, 4), (5, 6)),
    ("mysql", (5, 4), (5, 6)),
    ("opentelemetry", (8, 0), (99, 0)),
    ("pdo_sqlsrv", (7, 0), (99, 0)),
    ("propro", (5, 4), (7, 4)),
    ("pthreads", (5, 4), (7, 2)),
    ("recode", (5, 4), (7, 3)),
    ("sodium", (7, 2), (99, 0)),
    ("spplus", (5, 4), (5, 6)),
    ("sqlsrv", (7, 0), (99, 0)),
    ("sybase", (5, 4), (5, 6)),
    ("sybase_ct", (5, 4), (5, 6)),
    ("wddx", (5, 4), (7, 3)),
    ("xcache", (5, 4), (5, 6)),
];

/// Extensions for every version.
pub(crate) const EXTENSIONS_EVERYWHERE: &[&str] = &[
    "amqp",
    "apcu",
    "applepay",
    "bcmath",
    "blackfire",
    "bz2",
    "calendar",
    "ctype",
    "curl",
    "datadog",
    "dba",
    "dom",
    "ds",
    "enchant",
    "ev",
    "event",
    "exif",
    "fileinfo",
    "ftp",
    "gd",
    "gearman",
    "gettext",
    "gmp",
    "gnupg",
    "grpc",
    "http",
    "iconv",
    "igbinary",
    "imagick",
    "imap",
    "intl",
    "ioncube",
    "json",
    "ldap",
    "lzf",
    "mailparse",
    "mbstring",
    "memcache",
    "memcached",
    "mongodb",
    "msgpack",
    "mysqli",
    "mysqlnd",
    "newrelic",
    "oauth",
    "odbc",
    "opcache",
    "openssl",
    "openswoole",
    "pcntl",
    "pcov",
    "pcre",
    "pdo",
    "pdo_dblib",
    "pdo_firebird",
    "pdo_mysql",
    "pdo_odbc",
    "pdo_pgsql",
    "pdo_sqlite",
    "pecl-http",
    "pgsql",
    "phar",
    "phpdbg",
    "pinba",
    "posix",
    "protobuf",
    "pspell",
    "raphf",
    "rdkafka",
    "readline",
    "redis",
    "relay",
    "session",
    "shmop",
    "simplexml",
    "snmp",
    "soap",
    "sockets",
    "sourceguardian",
    "sqlite3",
    "ssh2",
    "swoole",
    "sysvmsg",
    "sysvsem",
    "sysvshm",
    "tideways",
    "tideways_xhprof",
    "tidy",
    "tokenizer",
    "uuid",
    "uv",
    "vips",
    "xdebug",
    "xhprof",
    "xml",
    "xmlreader",
    "xmlrpc",
    "xmlwriter",
    "xsl",
    "yaml",
    "zbarcode",
    "zendopcache",
    "zip",
    "zlib",
    "zstd",
];

pub(crate) enum ExtensionFault {
    Unsupported,
    /// Not in the list; the image may have it all the same.
    Unknown {
        near: Option<String>,
    },
}

pub(crate) fn judge_extension(name: &str, php: &str) -> Result<(), ExtensionFault> {
    let lower = name.to_ascii_lowercase();
    let numbers = version_numbers(php);
    let version = (
        numbers.first().copied().unwrap_or(0),
        numbers.get(1).copied().unwrap_or(0),
    );
    if let Some((_, first, last)) = EXTENSIONS.iter().find(|(known, _, _)| *known == lower) {
        return if numbers.len() < 2 || (*first <= version && version <= *last) {
            Ok(())
        } else {
            Err(ExtensionFault::Unsupported)
        };
    }
    if EXTENSIONS_EVERYWHERE.contains(&lower.as_str()) {
        return Ok(());
    }
    let known = EXTENSIONS_EVERYWHERE
        .iter()
        .copied()
        .chain(EXTENSIONS.iter().map(|(known, _, _)| *known));
    Err(ExtensionFault::Unknown {
        near: known
            .filter(|known| known.len() > 3 && crate::near::distance(known, &lower) <= 2)
            .min_by_key(|known| crate::near::distance(known, &lower))
            .map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_judged_by_the_php_version() {
        assert!(judge_extension("mcrypt", "7.0").is_ok());
        assert!(matches!(
            judge_extension("mcrypt", "8.3"),
            Err(ExtensionFault::Unsupported)
        ));
        assert!(matches!(
            judge_extension("redsi", "8.3"),
            Err(ExtensionFault::Unknown { near: Some(_) })
        ));
        assert!(matches!(
            judge_extension("homemade", "8.3"),
            Err(ExtensionFault::Unknown { near: None })
        ));
    }
}
