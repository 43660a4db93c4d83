//! The keys of a service, and of `configuration` by type.

use crate::app_shape::{ACCESS, FIREWALL, PROFILE, RELATIONSHIPS, RESOURCES};
use crate::checks;
use crate::shape::{DECLARING, Shape, Table, UPSUN, key, only, required};

const TEXT: Shape = Shape::Text;
const TEXT_LIST: Shape = Shape::List(&TEXT);
const ANY_MAP: Shape = Shape::Map {
    value: &Shape::Any,
    check_key: None,
    what: "a mapping",
};

pub(crate) const SERVICE: Table = Table {
    name: "service",
    keys: &[
        required("type", TEXT, "Service and version, such as mariadb:10.6"),
        only(
            DECLARING,
            key(
                "disk",
                Shape::Int {
                    min: 0,
                    max: 100_000_000,
                    what: "a whole number of MB",
                },
                "Disk in MB",
            ),
        ),
        key(
            "size",
            Shape::Format {
                what: "a size such as S, M or L",
                check: checks::service_size,
            },
            "Container size in production",
        ),
        key("configuration", ANY_MAP, "Settings of the type"),
        key(
            "relationships",
            RELATIONSHIPS,
            "Applications and services that it calls",
        ),
        key("access", Shape::Table(&ACCESS), "Who may log in"),
        key("firewall", Shape::Table(&FIREWALL), "Connections out"),
        key("resources", Shape::Table(&RESOURCES), "Memory"),
        only(
            UPSUN,
            key("container_profile", PROFILE, "CPU and memory profile"),
        ),
    ],
    refused: &[],
};

/// Rights on one database.
const LEVELS: Shape = Shape::Choice(&["ro", "rw", "admin", "replication", "replication-admin"]);
const PRIVILEGES: Shape = Shape::Map {
    value: &LEVELS,
    check_key: None,
    what: "a mapping of databases to ro, rw or admin",
};

const SQL_ENDPOINT: Table = Table {
    name: "mysql_endpoint",
    keys: &[
        key("default_schema", TEXT, "Schema in `path`"),
        key("privileges", PRIVILEGES, "Rights by schema"),
    ],
    refused: &[],
};
const MYSQL: Table = Table {
    name: "mysql_configuration",
    keys: &[
        key("schemas", TEXT_LIST, "Databases"),
        key(
            "endpoints",
            Shape::Map {
                value: &Shape::Table(&SQL_ENDPOINT),
                check_key: None,
                what: "a mapping of endpoints",
            },
            "Ways in",
        ),
        key(
            "properties",
            Shape::Table(&MYSQL_PROPERTIES),
            "Settings of the server",
        ),
        key(
            "rotate_passwords",
            Shape::Bool,
            "Whether passwords change by themselves",
        ),
    ],
    refused: &[],
};
const MYSQL_PROPERTIES: Table = Table {
    name: "mysql_properties",
    keys: &[
        key(
            "max_allowed_packet",
            Shape::Int {
                min: 1,
                max: 100,
                what: "a number of MB",
            },
            "Largest packet in MB",
        ),
        key("default_charset", TEXT, "Character set of new tables"),
        key("default_collation", TEXT, "Collation of new tables"),
        key("optimizer_switch", TEXT, "Optimizer flags"),
        key(
            "optimizer_use_condition_selectivity",
            Shape::Int {
                min: 1,
                max: 5,
                what: "a number",
            },
            "Statistics used by the optimizer",
        ),
        key(
            "innodb_adaptive_hash_index",
            Shape::Scalar,
            "Adaptive hash index",
        ),
        key(
            "max_heap_table_size",
            Shape::Int {
                min: 1,
                max: 4096,
                what: "a number of MB",
            },
            "Largest table in memory in MB",
        ),
        key(
            "table_definition_cache",
            Shape::Int {
                min: 1,
                max: 1_000_000,
                what: "a number",
            },
            "Cached definitions",
        ),
        key(
            "table_open_cache",
            Shape::Int {
                min: 1,
                max: 1_000_000,
                what: "a number",
            },
            "Open tables",
        ),
        key(
            "wsrep_sync_wait",
            Shape::Int {
                min: 0,
                max: 15,
                what: "a number",
            },
            "Waits of a cluster",
        ),
    ],
    refused: &[],
};
const POSTGRESQL: Table = Table {
    name: "postgresql_configuration",
    keys: &[
        key("databases", TEXT_LIST, "Databases"),
        key(
            "endpoints",
            Shape::Map {
                value: &Shape::Table(&PG_ENDPOINT),
                check_key: None,
                what: "a mapping of endpoints",
            },
            "Ways in",
        ),
        key("extensions", TEXT_LIST, "Extensions to enable"),
        key(
            "rotate_passwords",
            Shape::Bool,
            "Whether passwords change by themselves",
        ),
    ],
    refused: &[],
};
const PG_ENDPOINT: Table = Table {
    name: "postgresql_endpoint",
    keys: &[
        key("default_database", TEXT, "Database in `path`"),
        key("privileges", PRIVILEGES, "Rights by database"),
    ],
    refused: &[],
};
pub(crate) const POLICIES: &[&str] = &[
    "allkeys-lru",
    "noeviction",
    "allkeys-lfu",
    "volatile-lru",
    "volatile-lfu",
    "allkeys-random",
    "volatile-random",
    "volatile-ttl",
];
const REDIS: Table = Table {
    name: "redis_configuration",
    keys: &[
        key(
            "maxmemory_policy",
            Shape::Choice(POLICIES),
            "What is dropped when memory is full",
        ),
        key("databases", Shape::Any, "Databases"),
        key(
            "endpoints",
            Shape::Map {
                value: &Shape::Table(&REDIS_ENDPOINT),
                check_key: None,
                what: "a mapping of endpoints",
            },
            "Ways in",
        ),
    ],
    refused: &[],
};
const REDIS_ENDPOINT: Table = Table {
    name: "redis_endpoint",
    keys: &[key("privileges", Shape::Any, "Rights")],
    refused: &[],
};

const ARCHIVE: Shape = Shape::Archive;
const SOLR: Table = Table {
    name: "solr_configuration",
    keys: &[
        key(
            "core_config",
            ARCHIVE,
            "Configuration of the only core (Solr 3 and 4)",
        ),
        key(
            "cores",
            Shape::Map {
                value: &CORE_OR_NULL,
                check_key: None,
                what: "a mapping of cores",
            },
            "Cores",
        ),
        key(
            "endpoints",
            Shape::Map {
                value: &Shape::Table(&SOLR_ENDPOINT),
                check_key: None,
                what: "a mapping of endpoints",
            },
            "Ways in",
        ),
        key(
            "configsets",
            Shape::Map {
                value: &ARCHIVE,
                check_key: None,
                what: "a mapping of archives",
            },
            "Shared configurations",
        ),
    ],
    refused: &[],
};
const CORE_OR_NULL: Shape = Shape::OneOf {
    shapes: &[Shape::Null, Shape::Table(&CORE)],
    what: "a mapping",
};
const CORE: Table = Table {
    name: "solr_core",
    keys: &[
        key(
            "conf_dir",
            ARCHIVE,
            "Directory with solrconfig.xml and schema.xml",
        ),
        key("core_properties", TEXT, "core.properties"),
    ],
    refused: &[],
};
const SOLR_ENDPOINT: Table = Table {
    name: "solr_endpoint",
    keys: &[required("core", TEXT, "Core")],
    refused: &[],
};

const SEARCH: Table = Table {
    name: "search_configuration",
    keys: &[
        key("plugins", TEXT_LIST, "Plugins to install"),
        key(
            "authentication",
            Shape::Table(&AUTHENTICATION),
            "Access by password",
        ),
    ],
    refused: &[],
};
const AUTHENTICATION: Table = Table {
    name: "authentication",
    keys: &[key("enabled", Shape::Bool, "Whether a password is needed")],
    refused: &[],
};

const RABBITMQ: Table = Table {
    name: "rabbitmq_configuration",
    keys: &[key("vhosts", TEXT_LIST, "Virtual hosts")],
    refused: &[],
};
const VARNISH: Table = Table {
    name: "varnish_configuration",
    keys: &[required("vcl", TEXT, "VCL, usually !include of a file")],
    refused: &[],
};
const MERCURE: Table = Table {
    name: "mercure_configuration",
    keys: &[
        key("anonymous", Shape::Bool, "Whether anybody may subscribe"),
        key("cors_origins", TEXT_LIST, "Origins that may connect"),
    ],
    refused: &[],
};
const VAULT: Table = Table {
    name: "vault_configuration",
    keys: &[key(
        "endpoints",
        Shape::Map {
            value: &Shape::List(&Shape::Table(&VAULT_RIGHT)),
            check_key: None,
            what: "a mapping of endpoints",
        },
        "Ways in",
    )],
    refused: &[],
};
const VAULT_RIGHT: Table = Table {
    name: "vault_right",
    keys: &[
        required(
            "policy",
            Shape::Choice(&["admin", "sign", "verify", "encrypt", "decrypt", "rewrap"]),
            "What may be done",
        ),
        required("key", TEXT, "Key"),
        key("type", Shape::Choice(&["sign", "encrypt"]), "Kind of key"),
    ],
    refused: &[],
};

/// The configuration of a type; `None` for types that have none, where anything is passed on with a warning.
pub(crate) fn configuration(service: &str) -> Option<&'static Table> {
    Some(match service {
        "mysql" | "mariadb" | "oracle-mysql" => &MYSQL,
        "postgresql" => &POSTGRESQL,
        "redis" | "redis-persistent" | "valkey" | "valkey-persistent" => &REDIS,
        "solr" => &SOLR,
        "elasticsearch" | "elasticsearch-enterprise" | "opensearch" => &SEARCH,
        "rabbitmq" => &RABBITMQ,
        "varnish" => &VARNISH,
        "mercure" => &MERCURE,
        "vault-kms" => &VAULT,
        _ => return None,
    })
}
