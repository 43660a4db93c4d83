//! `web`: locations, commands, upstream, and the flat form of older files.

use crate::app::overrides;
use crate::app_parts::commands;
use crate::codes;
use crate::duration;
use crate::kinds::runtime_kind;
use crate::links::{Holder, Link};
use crate::load::join_inside;
use crate::mounts::MountService;
use crate::node::{At, Node, Val};
use crate::read;
use crate::shape::Judge;
use crate::types::*;
use crate::web_shape::LEGACY_WEB;
use indexmap::IndexMap;

/// Static files of the flat form without a whitelist.
const STATIC_FILES: &[&str] = &[
    r"\.css$",
    r"\.js$",
    r"\.gif$",
    r"\.jpe?g$",
    r"\.png$",
    r"\.tiff?$",
    r"\.wbmp$",
    r"\.ico$",
    r"\.jng$",
    r"\.bmp$",
    r"\.svgz?$",
    r"\.midi?$",
    r"\.mpe?ga$",
    r"\.mp2$",
    r"\.mp3$",
    r"\.m4a$",
    r"\.ra$",
    r"\.weba$",
    r"\.3gpp?$",
    r"\.mp4$",
    r"\.mpe?g$",
    r"\.mpe$",
    r"\.ogv$",
    r"\.mov$",
    r"\.webm$",
    r"\.flv$",
    r"\.mng$",
    r"\.asx$",
    r"\.asf$",
    r"\.wmv$",
    r"\.avi$",
    r"\.ogx$",
    r"\.swf$",
    r"\.jar$",
    r"\.ttf$",
    r"\.eot$",
    r"\.woff2?$",
    r"\.otf$",
    r"/robots\.txt$",
];

pub(crate) fn judge(
    judge: &mut Judge<'_, '_>,
    app: &Node,
    at: &At,
    kind: &str,
    links: &mut Vec<Link>,
    services: &mut Vec<MountService>,
) -> Web {
    let empty = Node::null();
    let web = app.get("web").unwrap_or(&empty);
    let at = at.of(app, "web");
    let locations = if web.get("locations").is_some() {
        for entry in web
            .entries()
            .iter()
            .filter(|entry| LEGACY_WEB.contains(&entry.key.as_str()) && !entry.value.is_null())
        {
            let message = format!("{} cannot stand beside locations", entry.key);
            judge
                .loader
                .error(codes::EXCLUSIVE_KEYS, &at.key(entry), message)
                .remedy("Move the value into locations['/'].");
        }
        locations(web)
    } else if LEGACY_WEB.iter().any(|key| web.get(key).is_some()) {
        IndexMap::from([("/".to_owned(), flat_form(judge, web, &at))])
    } else {
        IndexMap::new()
    };
    let fastcgi = fastcgi(app, kind);
    let upstream = web.get("upstream").unwrap_or(&empty);
    Web {
        locations,
        commands: commands(web),
        upstream: Upstream {
            socket_family: match read::text(upstream, "socket_family").as_deref() {
                Some("unix") => SocketFamily::Unix,
                Some(_) => SocketFamily::Tcp,
                None if fastcgi => SocketFamily::Unix,
                None => SocketFamily::Tcp,
            },
            protocol: match read::text(upstream, "protocol").as_deref() {
                Some("fastcgi") => UpstreamProtocol::Fastcgi,
                Some(_) => UpstreamProtocol::Http,
                None if fastcgi => UpstreamProtocol::Fastcgi,
                None => UpstreamProtocol::Http,
            },
        },
        move_to_root: read::flag(web, "move_to_root").unwrap_or(false),
        overrides: overrides(judge, web, &at, Holder::Web, links, services),
    }
}

/// By the runtime, of a composable image by its first one.
fn fastcgi(app: &Node, kind: &str) -> bool {
    let first = app.get("stack").and_then(|stack| {
        let list = if matches!(stack.value, Val::List(_)) {
            Some(stack)
        } else {
            stack.get("runtimes")
        }?;
        let item = list.items().first()?;
        item.value
            .text()
            .map(str::to_owned)
            .or_else(|| item.value.entries().first().map(|entry| entry.key.clone()))
    });
    let name = first.map_or_else(
        || kind.to_owned(),
        |first| first.split('@').next().unwrap_or_default().to_owned(),
    );
    runtime_kind(&name).is_some_and(|known| known.fastcgi)
}

fn locations(web: &Node) -> IndexMap<String, Location> {
    let entries = web
        .get("locations")
        .map(|value| value.entries())
        .unwrap_or_default();
    entries
        .iter()
        .map(|entry| (entry.key.clone(), location(&entry.value)))
        .collect()
}

fn location(node: &Node) -> Location {
    let root = read::text(node, "root").map(|root| join_inside("", &root).unwrap_or_default());
    let rules = node
        .get("rules")
        .map(|value| value.entries())
        .unwrap_or_default();
    let empty = Node::null();
    let buffering = node.get("request_buffering").unwrap_or(&empty);
    Location {
        // Without files to serve, everything goes to the application.
        passthru: node
            .get("passthru")
            .and_then(|value| passthru(value))
            .unwrap_or(Passthru::Flag(root.is_none())),
        root,
        index: index(node),
        expires: node
            .get("expires")
            .and_then(|value| duration::normalise(value))
            .unwrap_or_else(|| "-1s".to_owned()),
        scripts: read::flag(node, "scripts").unwrap_or(true),
        allow: read::flag(node, "allow").unwrap_or(true),
        headers: read::text_map(node, "headers"),
        rules: rules
            .iter()
            .map(|entry| (entry.key.clone(), rule(&entry.value)))
            .collect(),
        request_buffering: RequestBuffering {
            enabled: read::flag(buffering, "enabled").unwrap_or(true),
            max_request_size: buffering
                .get("max_request_size")
                .and_then(|value| value.scalar())
                .unwrap_or_else(|| "250m".to_owned()),
        },
    }
}

fn rule(node: &Node) -> LocationRule {
    LocationRule {
        allow: read::flag(node, "allow"),
        passthru: node.get("passthru").and_then(|value| passthru(value)),
        scripts: read::flag(node, "scripts"),
        expires: node
            .get("expires")
            .and_then(|value| duration::normalise(value)),
        headers: node.get("headers").map(|_| read::text_map(node, "headers")),
    }
}

fn passthru(node: &Node) -> Option<Passthru> {
    match &node.value {
        Val::Bool(flag) => Some(Passthru::Flag(*flag)),
        Val::Text(uri) => Some(Passthru::Uri(uri.clone())),
        _ => None,
    }
}

fn index(node: &Node) -> Vec<String> {
    match node.get("index").map(|value| &value.value) {
        Some(Val::Text(file)) => vec![file.clone()],
        _ => read::texts(node, "index"),
    }
}

/// `document_root`, `whitelist` … as the location `/`.
fn flat_form(judge: &mut Judge<'_, '_>, web: &Node, at: &At) -> Location {
    let root = read::text(web, "document_root").map(|written| {
        join_inside("", &written).unwrap_or_else(|| {
            judge.loader.error(
                codes::ROOT_OUTSIDE,
                &at.of(web, "document_root"),
                "the path leaves the application",
            );
            String::new()
        })
    });
    let allowed = LocationRule {
        allow: Some(true),
        ..LocationRule::default()
    };
    let denied = LocationRule {
        allow: Some(false),
        scripts: Some(false),
        ..LocationRule::default()
    };
    let mut rules: IndexMap<String, LocationRule> = read::texts(web, "blacklist")
        .into_iter()
        .map(|regex| (regex, denied.clone()))
        .collect();
    let whitelist = match web.get("whitelist") {
        Some(_) => read::texts(web, "whitelist"),
        None => STATIC_FILES
            .iter()
            .map(|regex| (*regex).to_owned())
            .collect(),
    };
    for regex in whitelist {
        rules.entry(regex).or_insert_with(|| allowed.clone());
    }
    Location {
        passthru: web
            .get("passthru")
            .and_then(|value| passthru(value))
            .unwrap_or(Passthru::Flag(root.is_none())),
        root,
        index: read::texts(web, "index_files"),
        expires: web
            .get("expires")
            .and_then(|value| duration::normalise(value))
            .unwrap_or_else(|| "-1s".to_owned()),
        scripts: true,
        allow: false,
        headers: Default::default(),
        rules,
        request_buffering: RequestBuffering {
            enabled: true,
            max_request_size: "250m".to_owned(),
        },
    }
}
