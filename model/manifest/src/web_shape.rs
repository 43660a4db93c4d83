//! The keys of `web.locations`, `web.commands` and `web.upstream`.

use crate::app_shape::{DURATION, SCALAR_MAP, TEXT, TEXT_LIST};
use crate::shape::{Shape, Table, key, required};
use crate::{checks, pcre};

/// Keys of the flat form, which exclude `locations`.
pub(crate) const LEGACY_WEB: &[&str] = &[
    "document_root",
    "passthru",
    "index_files",
    "whitelist",
    "blacklist",
    "expires",
];

pub(crate) const WEB_COMMANDS: Table = Table {
    name: "web_commands",
    keys: &[
        required(
            "start",
            Shape::OneOf {
                shapes: &[Shape::Null, TEXT],
                what: "text",
            },
            "Command that runs in the foreground",
        ),
        key("pre_start", TEXT, "Command before start"),
        key("post_start", TEXT, "Command after start, before traffic"),
    ],
    refused: &[],
};
pub(crate) const UPSTREAM: Table = Table {
    name: "upstream",
    keys: &[
        key(
            "socket_family",
            Shape::Choice(&["tcp", "unix"]),
            "Kind of socket",
        ),
        key(
            "protocol",
            Shape::Choice(&["http", "fastcgi"]),
            "What is spoken on it",
        ),
    ],
    refused: &[],
};
pub(crate) const PASSTHRU: Shape = Shape::OneOf {
    shapes: &[Shape::Bool, TEXT],
    what: "true, false or text",
};
pub(crate) const LOCATIONS: Shape = Shape::Map {
    value: &LOCATION,
    check_key: Some(checks::location_path),
    what: "a mapping of URL paths",
};
pub(crate) const LOCATION: Shape = Shape::OneOf {
    shapes: &[Shape::Null, Shape::Table(&LOCATION_TABLE)],
    what: "a mapping",
};
pub(crate) const LOCATION_TABLE: Table = Table {
    name: "location",
    keys: &[
        key(
            "root",
            Shape::Format {
                what: "text",
                check: checks::location_root,
            },
            "Directory of static files",
        ),
        key(
            "passthru",
            PASSTHRU,
            "Whether, or to which script, the rest is passed",
        ),
        key(
            "index",
            Shape::OneOf {
                shapes: &[TEXT, TEXT_LIST],
                what: "a list of file names",
            },
            "Files that stand for a directory",
        ),
        key("expires", DURATION, "How long browsers keep static files"),
        key("scripts", Shape::Bool, "Whether scripts are run"),
        key(
            "allow",
            Shape::Bool,
            "Whether files that match no rule are served",
        ),
        key("headers", SCALAR_MAP, "Headers of static files"),
        key(
            "rules",
            Shape::Map {
                value: &RULE,
                check_key: Some(pcre::check_key),
                what: "a mapping of regular expressions",
            },
            "Exceptions by regular expression",
        ),
        key(
            "request_buffering",
            Shape::Table(&BUFFERING),
            "Buffering of request bodies",
        ),
    ],
    refused: &[],
};
pub(crate) const RULE: Shape = Shape::OneOf {
    shapes: &[Shape::Null, Shape::Table(&RULE_TABLE)],
    what: "a mapping",
};
pub(crate) const RULE_TABLE: Table = Table {
    name: "rule",
    keys: &[
        key("allow", Shape::Bool, "Whether matching files are served"),
        key(
            "passthru",
            PASSTHRU,
            "Whether, or to which script, the rest is passed",
        ),
        key("scripts", Shape::Bool, "Whether scripts are run"),
        key("expires", DURATION, "How long browsers keep static files"),
        key("headers", SCALAR_MAP, "Headers of static files"),
    ],
    refused: &[
        ("root", "not allowed in a rule"),
        ("index", "not allowed in a rule"),
        ("rules", "not allowed in a rule"),
        ("request_buffering", "not allowed in a rule"),
    ],
};
pub(crate) const BUFFERING: Table = Table {
    name: "request_buffering",
    keys: &[
        key(
            "enabled",
            Shape::Bool,
            "Whether requests are read before they are passed on",
        ),
        key(
            "max_request_size",
            Shape::OneOf {
                shapes: &[
                    TEXT,
                    Shape::Int {
                        min: 0,
                        max: i64::MAX,
                        what: "a number of bytes",
                    },
                ],
                what: "a size such as 250m",
            },
            "Largest body",
        ),
    ],
    refused: &[],
};
