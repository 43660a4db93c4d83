//! Every complaint's code, its usual remedy and its explanation, in one table.

/// What is known about a code beyond the one complaint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What usually helps; a complaint may know better.
    pub remedy: &'static str,
    /// A paragraph for `slipway explain`.
    pub explanation: &'static str,
}

/// The paragraph for a code, whatever its case.
pub fn explain(code: &str) -> Option<&'static str> {
    ALL.iter()
        .find(|known| known.id.eq_ignore_ascii_case(code.trim()))
        .map(|known| known.explanation)
}

/// All codes in order.
pub fn all_codes() -> &'static [Code] {
    ALL
}

pub(crate) fn remedy(id: &str) -> &'static str {
    ALL.iter()
        .find(|known| known.id == id)
        .map_or("", |known| known.remedy)
}

macro_rules! codes {
    ($($name:ident = $id:literal, $title:literal, $remedy:literal, $explanation:literal;)*) => {
        $(pub(crate) const $name: &str = $id;)*
        const ALL: &[Code] = &[$(Code { id: $id, title: $title, remedy: $remedy, explanation: $explanation }),*];
    };
}

codes! {
    YAML_SYNTAX = "SW-101", "not YAML", "Mend the line; an editor with YAML support shows the place.",
        "The file is not YAML, so nothing in it could be judged. The line named is where the reader gave up or, for an unclosed quote or bracket, where it opens. Indentation is spaces only, a key and its value are parted by a colon and a space, and text that begins with a special sign is quoted.";
    NOT_UTF8 = "SW-102", "not UTF-8", "Save the file as UTF-8 without a byte order mark.",
        "Configuration files are UTF-8. A byte that is none, or a UTF-16 byte order mark, means that an editor saved the file in another encoding.";
    DUPLICATE_KEY = "SW-103", "key given twice", "Keep one of the two.",
        "A mapping holds the same key twice. YAML readers silently take one of them, often not the one meant, so it is refused.";
    ALIAS_BOMB = "SW-104", "aliases expand too far", "Write the value out, or share less of it.",
        "Aliases (*name) stand for the whole value of their anchor. Nested, they multiply: ten lines may stand for ten thousand million values. A document may expand to a bounded size only.";
    ALIAS_CYCLE = "SW-105", "an anchor contains itself", "Remove the alias inside the anchor's own value.",
        "An alias within the value of its own anchor describes a value without end.";
    ALIAS_UNKNOWN = "SW-106", "alias to an unknown anchor", "Define the anchor (&name) above the alias, or write the value out.",
        "An alias (*name) must name an anchor (&name) that stands earlier in the same document.";
    DEEP_NESTING = "SW-107", "nested too deeply", "Flatten the value.",
        "No key of the language needs more than a dozen levels. Deeper nesting than the limit is refused before it costs memory.";
    HUGE_SCALAR = "SW-108", "a value is too large", "Keep large data in a file of the repository and read it from there.",
        "A single value is over the limit. Configuration is held in memory by every part of the platform and handed to containers in the environment, where the kernel allows 128 KiB per variable.";
    FILE_TOO_LARGE = "SW-109", "a file is too large", "Split the file, or move data out of it.",
        "The file, or the number of values in it, is over the limit for configuration.";
    UNKNOWN_TAG = "SW-110", "unknown YAML tag", "Use a plain value, !include or !archive.",
        "The only tags of the language are !include and !archive, beside the YAML core ones (!!str, !!int, !!bool, !!float, !!null, !!map, !!seq). Others, such as those that build objects of a programming language, are never carried out.";
    SECOND_DOCUMENT = "SW-111", "two documents in one file", "Remove the second document, or put it in a file of its own.",
        "A configuration file holds one YAML document. Everything after a second `---` would be ignored, so it is refused.";
    BAD_MERGE = "SW-112", "merge of something that is no mapping", "Give `<<` an alias to a mapping, or a list of such aliases.",
        "The merge key `<<` copies the entries of another mapping. Its value must be a mapping or a list of mappings.";
    BAD_KEY = "SW-113", "a key that is no text", "Quote the key.",
        "Keys are text. A key that begins with a bracket or brace is read as a list or mapping unless it is quoted.";
    INCLUDE_OUTSIDE = "SW-121", "include leaves the repository", "Copy the file into the repository and include it from there.",
        "Paths of !include and !archive are relative to the file that names them and may go up, but never out of the repository. Absolute paths are refused too.";
    INCLUDE_CYCLE = "SW-122", "includes go in a circle", "Break the circle: one of the files must not include the next.",
        "A file includes itself, directly or through others.";
    INCLUDE_MISSING = "SW-123", "included file not found", "Commit the file, or correct the path: it is relative to the file that names it.",
        "The target of !include or !archive is not in the pushed tree. Only committed regular files count; symbolic links are not followed.";
    INCLUDE_TYPE = "SW-124", "unknown kind of include", "Use yaml, string, binary or archive.",
        "`!include` takes a path, or a mapping with `path` and `type`: yaml (the default), string, binary (base64) or archive.";
    INCLUDE_TOO_MANY = "SW-125", "too many or too large includes", "Include less; keep archives under 2 MB.",
        "Includes are read during the push and inlined, so their number and size are bounded.";
    NO_APPLICATION = "SW-131", "no application", "Add the application file named above to the directory of the application and commit it.",
        "The repository holds no application file, so there is nothing to build. Each directory with one is an application; there is no implicit default.";
    EMPTY_FILE = "SW-132", "empty file", "Write at least `name` and `type`.",
        "The file holds no value, only comments or nothing at all.";
    WRONG_TYPE = "SW-201", "a value of another type", "Write the value as described.",
        "The value is of another type than the key takes: text where a mapping belongs, a list where text belongs, and so on. Quote numbers and words such as yes, no, on and off where text is meant.";
    UNKNOWN_KEY = "SW-202", "unknown key", "Correct or remove the key.",
        "The key does not exist at this place, and would have no effect. In strict mode that is an error; in lenient mode (the default for .magento projects) a warning.";
    MISSING_KEY = "SW-203", "required key missing", "Add the key.",
        "A key without which the mapping has no meaning is missing. The line is that of the key that opens the mapping.";
    BAD_VALUE = "SW-204", "a value that is not allowed", "Use one of the allowed values.",
        "The key takes one of a few values, or a number within limits.";
    NOT_ALLOWED_HERE = "SW-205", "a key that is not allowed here", "Remove the key.",
        "The key exists elsewhere in the language but has no meaning at this place.";
    EXCLUSIVE_KEYS = "SW-206", "two keys that exclude each other", "Keep one of them.",
        "Both keys say the same thing in different ways, or contradict each other, so only one may be given.";
    FLAVOUR_KEY = "SW-207", "a key of another flavour", "Remove the key.",
        "The key belongs to another flavour of the language. In the Upsun flavour storage and sizes are set outside the files, so `disk` and `size` do not exist.";
    BAD_NAME = "SW-301", "a name that cannot be used", "Use lower-case letters, digits, - and _, at most 63 characters.",
        "Names of applications and services become host names, container names and parts of addresses. `router` is reserved.";
    DUPLICATE_NAME = "SW-302", "a name used twice", "Rename one of the two; note that renaming a deployed one destroys its data.",
        "Applications and services share one name space, because relationships and routes address both by name.";
    UNKNOWN_TYPE = "SW-303", "unknown type or version", "Use a type and version of the catalogue.",
        "`type` is `runtime:version` for applications and `service:version` for services. The type or the version is not one that the language knows or that this platform has a recipe for.";
    ROOT_OUTSIDE = "SW-304", "a root outside its bounds", "Give a relative path that stays inside.",
        "The root of an application stays inside the repository, the root of a location inside the application. A location's root is relative to the application and never begins with a slash.";
    BAD_EXTENSION = "SW-305", "PHP extension not supported", "Remove the extension, or use a PHP version that has it.",
        "The extension does not exist for the chosen PHP version. It is told at the push, not after minutes of building.";
    BAD_LANGUAGE = "SW-306", "no package manager for a language", "Use php, python, python2, python3, ruby, nodejs or java.",
        "`dependencies` maps a language to packages for its package manager; there is none for this language.";
    VARIABLE_PREFIX = "SW-307", "variable without a prefix", "Nest the variable under a prefix, for example `env:`.",
        "Variables have two levels, prefix and name. `env` makes Unix environment variables, `php` php.ini directives, any other prefix an entry of the *_VARIABLES document.";
    BAD_TIMEZONE = "SW-308", "unknown time zone", "Use a name such as Europe/Lisbon or UTC.",
        "`timezone` is a name of the IANA time zone database. It is used for crons only.";
    BAD_CRON = "SW-309", "cron expression that means nothing", "Write five fields: minute, hour, day of month, month, day of week.",
        "A cron `spec` has five fields. Each is `*`, a number, a range, a list or a step; H stands for a stable value of the environment. Nicknames such as @hourly are not accepted. A spec that is tighter than the project's least interval is accepted and throttled.";
    CRON_COMMAND = "SW-310", "cron without a command", "Add `commands: {start: …}`.",
        "A cron needs `commands` (or the older `cmd`).";
    BAD_PATH = "SW-311", "a path that cannot be used", "Give a relative path without `..`.",
        "The path of a mount is relative to the application; outer slashes are ignored. It may not be empty, climb out with `..`, or be given twice in two spellings.";
    BAD_VOLUME = "SW-312", "unknown volume", "Write `shared:files/<sub-path>`, or the mapping form with `source: local`.",
        "In the short form the only volume is `shared:files`, followed by a slash and the sub-path.";
    MOUNT_SERVICE = "SW-313", "a mount from something that is no storage", "Name a service of type network-storage.",
        "A mount with `source: service` names a `network-storage` service of the same project.";
    MOUNT_NEEDS_DISK = "SW-314", "local mounts without a disk", "Add `disk: 1024` (megabytes) to the application, or use `source: tmp`.",
        "Local mounts live on the application's own persistent disk, whose size `disk` declares.";
    BAD_DISK = "SW-315", "a disk that cannot be", "Set `disk` as described; it is in megabytes.",
        "Services that keep data on disk need `disk`, those that keep it in memory must not have it, and each type has a least size.";
    PLAN_STORAGE = "SW-316", "more disk than the plan has", "Make disks smaller, or raise the plan's storage.",
        "The sum of all disks of applications and services is over the storage of the plan (1 MB is 10^6 bytes).";
    BAD_LOCATION = "SW-317", "a location that is no URL path", "Begin the key with a slash.",
        "Locations are URL paths. The longest that is a prefix of the request's path wins.";
    BAD_REGEX = "SW-318", "a regular expression that does not compile", "Mend the expression; escape brackets that are meant literally.",
        "Rules and regular-expression redirects are PCRE, look-around included. They are compiled here with limits on size, and run with limits on steps.";
    BAD_DURATION = "SW-319", "a duration that cannot be read", "Write a number with one of ms s m h d w M y, or -1 for none.",
        "Durations are whole numbers with a unit; a bare number is seconds. M is 30 days, y is 365 days.";
    SHADOWED_MOUNT = "SW-320", "a mount within another", "Prefer mounts side by side.",
        "A mount inside another is accepted, the outer one mounted first, but where their sources differ the documentation of the platform advises against it.";
    BAD_ADDRESS = "SW-321", "not an address", "Write an IPv4 or IPv6 address, in the firewall optionally with a prefix length.",
        "The value must be an IP address (or, in a firewall rule, a network in CIDR form).";
    BAD_CONFIGURATION = "SW-401", "service configuration that does not fit", "Make the names agree.",
        "A part of a service's `configuration` names something that the same configuration does not define: a schema, a database, a core.";
    ARCHIVE_CONTENT = "SW-402", "an archive that lacks a file", "Add the file to the directory.",
        "A Solr configuration directory holds solrconfig.xml and schema.xml (or managed-schema).";
    BAD_VCL = "SW-403", "VCL that says too much", "Remove it from the VCL.",
        "The platform puts the version line, one backend per relationship and vcl_init before the VCL of the project, so the project's VCL should have none of these. Real projects do have the version line; it is warned about.";
    NO_ROUTES_FILE = "SW-501", "no routes file", "Add a routes file that names the application for each address.",
        "Without a routes file a project with one application gets the default route. With several applications nobody knows which one is meant.";
    BAD_ROUTE_URL = "SW-502", "a route key that is no URL template", "Write \"https://{default}/\" or a sub-domain, domain or path of that.",
        "A route's key is scheme (http or https), host and path. The host is {default}, {all}, a domain, or labels before one of these. A leading `*.` is the only wildcard, and there are no ports beside 80 and 443.";
    BAD_PLACEHOLDER = "SW-503", "unknown placeholder", "Use {default} or {all}.",
        "The only placeholders are {default}, the default domain, and {all}, every domain of the project.";
    SECOND_PRIMARY = "SW-504", "two primary routes", "Keep `primary: true` on one route.",
        "The primary route is the address of the environment that people are shown. There is one.";
    DUPLICATE_ID = "SW-505", "a route id used twice", "Give each route an id of its own.",
        "Applications find a route by its `id`, so it is unique in the file.";
    REDIRECT_LOOP = "SW-506", "redirects go in a circle", "Let one of the routes be an upstream, or redirect elsewhere.",
        "Following the redirects leads back to where it began, so that no browser ever gets an answer.";
    SAME_URL = "SW-507", "two routes with one URL", "Remove one of them.",
        "Two keys mean the same address. (Between {default} and {all}, {default} wins, and that is accepted.)";
    TLS_CONFLICT = "SW-508", "conflicting settings for one host", "Give all routes of the host the same setting.",
        "Strict transport security and client certificates act on a whole host, whatever the path.";
    ROUTES_TOO_LARGE = "SW-509", "too many routes", "Use fewer routes or shorter attributes; many redirects belong in `redirects` of one route.",
        "The resolved routes are handed to each application as one document, which may not be over 128 KiB.";
    CACHE_KEY = "SW-510", "a header that may not be a cache key", "Remove the header; cookies have a key of their own.",
        "Accept-Encoding, Connection, Proxy-Authorization, TE, Upgrade and Cookie may not be part of the cache key.";
    REDIRECT_RULE = "SW-511", "redirect rule that contradicts itself", "Remove one of the keys.",
        "`prefix` and `append_suffix` have no meaning beside `regexp`, and `append_suffix` none without `prefix`.";
    FOREIGN_DOMAIN = "SW-512", "a domain that is not the project's", "Attach the domain to the project, or use {default}.",
        "In a production environment a literal domain in a route is one of the project's domains.";
    BAD_TARGET = "SW-513", "a redirect target that is no address", "Write an absolute URL, for a partial redirect also a path.",
        "`to` is an absolute http or https URL, with placeholders where wanted. In partial redirects it may also be a path.";
    UNROUTED = "SW-514", "an application without a route", "Add a route, or ignore this for an application that others call.",
        "No route leads to the application. That is allowed; it may be meant for its siblings only.";
    UNKNOWN_TARGET = "SW-601", "no such service or application", "Correct the name, or add the service.",
        "A relationship, mount or route names a service or application that the project does not have.";
    UNKNOWN_ENDPOINT = "SW-602", "no such endpoint", "Use an endpoint that the target has.",
        "Applications have the endpoint http (and, from older files, php). Services have the endpoint of their type, or those of their `configuration.endpoints`.";
    BAD_REFERENCE = "SW-603", "not of the form name:endpoint", "Write `service:endpoint`.",
        "Relationships and upstreams are written `name:endpoint`.";
    NO_DEFAULT_ENDPOINT = "SW-604", "no default endpoint", "Name the endpoint: `service:endpoint`.",
        "A relationship without an endpoint takes the default one of its target. Applications and network storage have none.";
    RELATIONSHIP_CYCLE = "SW-605", "relationships go in a circle", "Remove one of the links; call over the public route instead.",
        "Containers start in the order of their relationships. In a circle nobody could be first.";
    DOWNGRADE = "SW-701", "a service's version goes down", "Keep the version, or add a new service of the older version and move the data.",
        "Engines cannot read data that a newer version has written. Create a second service and transfer the data.";
    ENGINE_CHANGE = "SW-702", "another engine under the same name", "Give the new service a new name and move the data.",
        "Data of one engine means nothing to another. Under a new name both run side by side until the data is moved.";
    SHRINK = "SW-703", "a disk smaller than its data", "Keep the size, or remove data first.",
        "The disk would be smaller than what is stored on it.";
    DESTROY_SERVICE = "SW-711", "a service's data would be deleted", "If that is meant, consent: git push -o slipway.destroy=<name>.",
        "Removing or renaming a service deletes its container and all its data at the deployment.";
    DESTROY_APPLICATION = "SW-712", "an application's volumes would be deleted", "If that is meant, consent: git push -o slipway.destroy=<name>.",
        "Removing or renaming an application deletes the volume that holds its mounts.";
    DESTROY_SCHEMA = "SW-713", "a database would be dropped", "If that is meant, consent: git push -o slipway.destroy=<service>.",
        "A schema or database that leaves the list is dropped at the deployment.";
    DESTROY_STORAGE = "SW-714", "storage would be made anew", "If that is meant, consent: git push -o slipway.destroy=<name>.",
        "A network-storage service of another version begins empty.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_unique_and_explained() {
        let mut ids: Vec<_> = ALL.iter().map(|code| code.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for code in ALL {
            assert!(
                code.id.starts_with("SW-")
                    && code.explanation.len() > 40
                    && code.remedy.ends_with('.'),
                "{code:?}"
            );
        }
        assert!(explain("sw-101").is_some() && explain("SW-999").is_none());
    }
}
