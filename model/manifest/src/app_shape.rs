//! The keys of an application.

use crate::shape::{DECLARING, Key, Shape, Table, UPSUN, key, only, required};
use crate::web_shape::{LOCATIONS, PASSTHRU, UPSTREAM, WEB_COMMANDS};
use crate::{checks, cron, duration, pcre};

pub(crate) const TEXT: Shape = Shape::Text;
pub(crate) const TEXT_LIST: Shape = Shape::List(&TEXT);
pub(crate) const DURATION: Shape = Shape::Duration {
    check: duration::check,
};
const ANY_MAP: Shape = Shape::Map {
    value: &Shape::Any,
    check_key: None,
    what: "a mapping",
};
pub(crate) const SCALAR_MAP: Shape = Shape::Map {
    value: &Shape::Scalar,
    check_key: None,
    what: "a mapping of names to text",
};

pub(crate) const SIZES: &[&str] = &["AUTO", "XS", "S", "M", "L", "XL", "2XL", "4XL", "XXL"];
const SIZE: Shape = Shape::Format {
    what: "a size such as S, M or L",
    check: checks::app_size,
};
const DISK: Shape = Shape::Int {
    min: 128,
    max: 100_000_000,
    what: "a whole number of MB",
};
pub(crate) const ROLE: Shape = Shape::Choice(&["admin", "contributor", "viewer"]);
pub(crate) const PROFILE: Shape =
    Shape::Choice(&["HIGH_CPU", "BALANCED", "HIGH_MEMORY", "HIGHER_MEMORY"]);

const BUILD: Table = Table {
    name: "build",
    keys: &[
        key(
            "flavor",
            Shape::Format {
                what: "text",
                check: checks::build_flavor,
            },
            "Build steps before the build hook",
        ),
        key(
            "caches",
            Shape::Map {
                value: &Shape::Table(&CACHE),
                check_key: None,
                what: "a mapping of caches",
            },
            "Directories kept between builds",
        ),
    ],
    refused: &[],
};
const CACHE: Table = Table {
    name: "cache",
    keys: &[
        required(
            "watch",
            TEXT_LIST,
            "Files whose content is the key of the cache",
        ),
        key("directory", TEXT, "Directory that is kept"),
        key(
            "allow_stale",
            Shape::Bool,
            "Begin with the cache of another key",
        ),
        key(
            "share_between_apps",
            Shape::Bool,
            "Share the cache with the project's other applications",
        ),
    ],
    refused: &[],
};

const DEPENDENCIES: Shape = Shape::Map {
    value: &PACKAGES,
    check_key: Some(checks::dependency_language),
    what: "a mapping of languages",
};
const PACKAGES: Shape = Shape::OneOf {
    shapes: &[Shape::Null, ANY_MAP],
    what: "a mapping of packages",
};

const RUNTIME: Table = Table {
    name: "runtime",
    keys: &[
        key(
            "extensions",
            Shape::List(&EXTENSION),
            "PHP extensions to enable",
        ),
        key(
            "disabled_extensions",
            TEXT_LIST,
            "PHP extensions to disable",
        ),
        key(
            "sizing_hints",
            Shape::Table(&SIZING_HINTS),
            "Memory of PHP-FPM workers",
        ),
        key(
            "request_terminate_timeout",
            Shape::Int {
                min: 0,
                max: 86_400,
                what: "a number of seconds",
            },
            "Seconds after which a request is ended",
        ),
        key("xdebug", Shape::Table(&XDEBUG), "Xdebug"),
    ],
    refused: &[],
};
const EXTENSION: Shape = Shape::OneOf {
    shapes: &[TEXT, Shape::Table(&EXTENSION_TABLE)],
    what: "the name of an extension, or a mapping with name",
};
const EXTENSION_TABLE: Table = Table {
    name: "extension",
    keys: &[
        required("name", TEXT, "Name of the extension"),
        key("configuration", ANY_MAP, "Settings of the extension"),
    ],
    refused: &[],
};
const SIZING_HINTS: Table = Table {
    name: "sizing_hints",
    keys: &[
        key(
            "request_memory",
            Shape::Int {
                min: 10,
                max: 1_000_000,
                what: "a whole number of MB",
            },
            "Memory of one request in MB",
        ),
        key(
            "reserved_memory",
            Shape::Int {
                min: 70,
                max: 1_000_000,
                what: "a whole number of MB",
            },
            "Memory kept for the rest in MB",
        ),
    ],
    refused: &[],
};
const XDEBUG: Table = Table {
    name: "xdebug",
    keys: &[key("idekey", TEXT, "Key that starts a session")],
    refused: &[],
};

const VARIABLES: Shape = Shape::Map {
    value: &Shape::Any,
    check_key: None,
    what: "a mapping of prefixes",
};

const HOOK: Shape = Shape::Text;
const HOOKS: Table = Table {
    name: "hooks",
    keys: &[
        key("build", HOOK, "Script that builds the application"),
        key("deploy", HOOK, "Script while traffic is held"),
        key("post_deploy", HOOK, "Script while traffic flows again"),
    ],
    refused: &[],
};

pub(crate) const RELATIONSHIPS: Shape = Shape::Map {
    value: &RELATIONSHIP,
    check_key: Some(checks::relationship_name),
    what: "a mapping",
};
const RELATIONSHIP: Shape = Shape::OneOf {
    shapes: &[Shape::Null, TEXT, Shape::Table(&RELATIONSHIP_TABLE)],
    what: "service:endpoint, or a mapping with service and endpoint",
};
const RELATIONSHIP_TABLE: Table = Table {
    name: "relationship",
    keys: &[
        key("service", TEXT, "Service or application"),
        key("endpoint", TEXT, "Endpoint of it"),
    ],
    refused: &[],
};

pub(crate) const ACCESS: Table = Table {
    name: "access",
    keys: &[key("ssh", ROLE, "Least role that may log in")],
    refused: &[],
};

const MOUNTS: Shape = Shape::Map {
    value: &MOUNT,
    check_key: None,
    what: "a mapping of paths",
};
const MOUNT: Shape = Shape::OneOf {
    shapes: &[TEXT, Shape::Table(&MOUNT_TABLE)],
    what: "shared:files/PATH, or a mapping with source",
};
pub(crate) const MOUNT_SOURCES: &[&str] = &[
    "local",
    "service",
    "tmp",
    "storage",
    "instance",
    "temporary",
];
const MOUNT_TABLE: Table = Table {
    name: "mount",
    keys: &[
        required(
            "source",
            Shape::Choice(MOUNT_SOURCES),
            "Where the files live",
        ),
        key("source_path", TEXT, "Path within the source"),
        key("service", TEXT, "network-storage service"),
    ],
    refused: &[],
};

pub(crate) const FIREWALL: Table = Table {
    name: "firewall",
    keys: &[key(
        "outbound",
        Shape::List(&Shape::Table(&OUTBOUND)),
        "Rules that allow connections out",
    )],
    refused: &[],
};
const OUTBOUND: Table = Table {
    name: "outbound",
    keys: &[
        key("protocol", Shape::Choice(&["tcp"]), "Protocol"),
        key(
            "ips",
            Shape::List(&Shape::Format {
                what: "a network in CIDR form",
                check: checks::network,
            }),
            "Networks in CIDR form",
        ),
        key("domains", TEXT_LIST, "Host names"),
        key(
            "ports",
            Shape::List(&Shape::Int {
                min: 1,
                max: 65535,
                what: "a port",
            }),
            "Ports",
        ),
    ],
    refused: &[],
};

const HOSTS: Shape = Shape::Map {
    value: &Shape::Format {
        what: "an IP address",
        check: checks::address,
    },
    check_key: None,
    what: "a mapping of host names to addresses",
};
const TIMEZONE: Shape = Shape::Format {
    what: "a time zone name",
    check: checks::timezone,
};
pub(crate) const RESOURCES: Table = Table {
    name: "resources",
    keys: &[
        key(
            "base_memory",
            Shape::Int {
                min: 0,
                max: 1_000_000,
                what: "a whole number of MB",
            },
            "MB whatever the size",
        ),
        key(
            "memory_ratio",
            Shape::Int {
                min: 0,
                max: 1_000_000,
                what: "a whole number of MB",
            },
            "MB per CPU unit",
        ),
    ],
    refused: &[],
};

/// What `web` and workers may restate, beside their own keys.
macro_rules! overridable {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            only(DECLARING, key("size", SIZE, "Container size")),
            only(DECLARING, key("disk", DISK, "Disk in MB")),
            key("mounts", MOUNTS, "Writable directories"),
            key("relationships", RELATIONSHIPS, "Services that are reached"),
            key("access", Shape::Table(&ACCESS), "Who may log in"),
            key("variables", VARIABLES, "Variables"),
            key("firewall", Shape::Table(&FIREWALL), "Connections out"),
            key("timezone", TIMEZONE, "Time zone of crons"),
            key("resources", Shape::Table(&RESOURCES), "Memory"),
            key("additional_hosts", HOSTS, "Entries of /etc/hosts"),
            only(UPSUN, key("container_profile", PROFILE, "CPU and memory profile")),
        ]
    };
}

pub(crate) const WEB: Table = Table {
    name: "web",
    keys: WEB_KEYS,
    refused: &[],
};
const WEB_KEYS: &[Key] = overridable![
    key("locations", LOCATIONS, "What is served under which path"),
    key(
        "commands",
        Shape::Table(&WEB_COMMANDS),
        "Commands of the web container"
    ),
    key(
        "upstream",
        Shape::Table(&UPSTREAM),
        "How the application listens"
    ),
    key("move_to_root", Shape::Bool, "Drupal layout"),
    key("document_root", TEXT, "Older form of locations['/'].root"),
    key(
        "passthru",
        PASSTHRU,
        "Older form of locations['/'].passthru"
    ),
    key(
        "index_files",
        TEXT_LIST,
        "Older form of locations['/'].index"
    ),
    key(
        "whitelist",
        Shape::List(&Shape::Format {
            what: "a regular expression",
            check: pcre::check_key
        }),
        "Older form of rules that allow"
    ),
    key(
        "blacklist",
        Shape::List(&Shape::Format {
            what: "a regular expression",
            check: pcre::check_key
        }),
        "Older form of rules that deny"
    ),
    key("expires", DURATION, "Older form of locations['/'].expires"),
];

const WORKERS: Shape = Shape::Map {
    value: &Shape::Table(&WORKER),
    check_key: Some(checks::part_name),
    what: "a mapping of workers",
};
const WORKER: Table = Table {
    name: "worker",
    keys: WORKER_KEYS,
    refused: &[
        (
            "crons",
            "not allowed in a worker: crons run in the web container",
        ),
        (
            "hooks",
            "not allowed in a worker: it shares the application's build",
        ),
        ("web", "not allowed in a worker: it takes no traffic"),
        ("locations", "not allowed in a worker: it takes no traffic"),
        (
            "build",
            "not allowed in a worker: it shares the application's build",
        ),
        (
            "dependencies",
            "not allowed in a worker: it shares the application's build",
        ),
        (
            "runtime",
            "not allowed in a worker: it shares the application's build",
        ),
        (
            "source",
            "not allowed in a worker: it shares the application's build",
        ),
        (
            "type",
            "not allowed in a worker: it shares the application's image",
        ),
        ("workers", "not allowed in a worker"),
    ],
};
const WORKER_KEYS: &[Key] = overridable![required(
    "commands",
    Shape::Table(&WORKER_COMMANDS),
    "Commands of the worker"
)];
const WORKER_COMMANDS: Table = Table {
    name: "worker_commands",
    keys: &[
        required("start", TEXT, "Command that runs in the foreground"),
        key("pre_start", TEXT, "Command before start"),
        key("post_start", TEXT, "Command after start"),
    ],
    refused: &[],
};

const CRONS: Shape = Shape::Map {
    value: &Shape::Table(&CRON),
    check_key: None,
    what: "a mapping",
};
const CRON: Table = Table {
    name: "cron",
    keys: &[
        required(
            "spec",
            Shape::Format {
                what: "a cron expression",
                check: cron::check,
            },
            "When to run",
        ),
        key("cmd", TEXT, "Older form of commands.start"),
        key("commands", Shape::Table(&START_STOP), "What to run"),
        key(
            "shutdown_timeout",
            Shape::Int {
                min: 0,
                max: 86_400,
                what: "a number of seconds",
            },
            "Seconds between the stop and the kill",
        ),
        key(
            "timeout",
            Shape::Int {
                min: 0,
                max: 86_400,
                what: "a number of seconds",
            },
            "Seconds after which it is ended",
        ),
    ],
    refused: &[],
};
const START_STOP: Table = Table {
    name: "commands",
    keys: &[
        required("start", TEXT, "Command"),
        key("stop", TEXT, "Command that ends it gracefully"),
    ],
    refused: &[],
};

const SOURCE: Table = Table {
    name: "source",
    keys: &[
        key("root", TEXT, "Directory of the application"),
        key(
            "operations",
            Shape::Map {
                value: &Shape::Table(&SOURCE_OPERATION),
                check_key: None,
                what: "a mapping of operations",
            },
            "Commands that change the source",
        ),
    ],
    refused: &[],
};
const SOURCE_OPERATION: Table = Table {
    name: "source_operation",
    keys: &[required("command", TEXT, "Command that makes commits")],
    refused: &[],
};

const OPERATION: Table = Table {
    name: "operation",
    keys: &[
        required("commands", Shape::Table(&START_STOP), "What to run"),
        key("role", ROLE, "Least role that may run it"),
        key(
            "timeout",
            Shape::Int {
                min: 0,
                max: 86_400,
                what: "a number of seconds",
            },
            "Seconds after which it is ended",
        ),
    ],
    refused: &[],
};

const IGNORED: Shape = Shape::List(&Shape::OneOf {
    shapes: &[TEXT, Shape::Table(&IGNORED_TABLE)],
    what: "an advisory id, or a mapping with id",
});
const IGNORED_TABLE: Table = Table {
    name: "ignored_rule",
    keys: &[
        required("id", TEXT, "Advisory or rule"),
        key("reason", TEXT, "Why it does not matter here"),
        key(
            "until",
            Shape::Format {
                what: "a date YYYY-MM-DD",
                check: checks::date,
            },
            "Last day on which it is ignored",
        ),
    ],
    refused: &[],
};
const PREFLIGHT: Table = Table {
    name: "preflight",
    keys: &[
        required(
            "enabled",
            Shape::Bool,
            "Whether known vulnerabilities are looked for",
        ),
        key("ignored_rules", IGNORED, "What is accepted"),
        key("ignore_rules", IGNORED, "Older spelling of ignored_rules"),
    ],
    refused: &[],
};

const STACK_ITEM: Shape = Shape::OneOf {
    shapes: &[TEXT, ANY_MAP],
    what: "runtime@version, a package, or one of them with options",
};
const STACK_LIST: Shape = Shape::List(&STACK_ITEM);
const STACK: Shape = Shape::OneOf {
    shapes: &[STACK_LIST, Shape::Table(&STACK_TABLE)],
    what: "a list of runtimes and packages",
};
const STACK_TABLE: Table = Table {
    name: "stack",
    keys: &[
        key("runtimes", STACK_LIST, "Runtimes, runtime@version"),
        key("packages", STACK_LIST, "Packages"),
    ],
    refused: &[],
};

/// A whole application; `name` is checked apart, because a mapping of applications has it as its key.
pub(crate) const APPLICATION: Table = Table {
    name: "application",
    keys: &[
        key("name", TEXT, "Name of the application"),
        key("type", TEXT, "Runtime and version, such as php:8.3"),
        key("build", Shape::Table(&BUILD), "How it is built"),
        key("dependencies", DEPENDENCIES, "Global tools by language"),
        key("runtime", Shape::Table(&RUNTIME), "Settings of the runtime"),
        key("variables", VARIABLES, "Variables by prefix"),
        key(
            "hooks",
            Shape::Table(&HOOKS),
            "Scripts of build and deployment",
        ),
        key("relationships", RELATIONSHIPS, "Services that are reached"),
        key("access", Shape::Table(&ACCESS), "Who may log in"),
        only(DECLARING, key("size", SIZE, "Container size")),
        only(DECLARING, key("disk", DISK, "Disk in MB")),
        key("mounts", MOUNTS, "Writable directories"),
        key("web", Shape::Table(&WEB), "How it is served"),
        key("workers", WORKERS, "Containers beside web"),
        key("crons", CRONS, "Scheduled commands"),
        key("timezone", TIMEZONE, "Time zone of crons"),
        key("source", Shape::Table(&SOURCE), "Where the source is"),
        key(
            "preflight",
            Shape::Table(&PREFLIGHT),
            "Check for known vulnerabilities",
        ),
        key("firewall", Shape::Table(&FIREWALL), "Connections out"),
        key("additional_hosts", HOSTS, "Entries of /etc/hosts"),
        key("resources", Shape::Table(&RESOURCES), "Memory"),
        key(
            "operations",
            Shape::Map {
                value: &Shape::Table(&OPERATION),
                check_key: None,
                what: "a mapping of operations",
            },
            "Commands that people may run",
        ),
        key(
            "stack",
            STACK,
            "Runtimes and packages of a composable image",
        ),
        only(
            UPSUN,
            key("container_profile", PROFILE, "CPU and memory profile"),
        ),
        key("toolstack", TEXT, "Older form of type, such as php:drupal"),
    ],
    refused: &[],
};
