//! `web.locations` against a real nginx: the machine's own, run unprivileged in a folder.
//!
//! Needs `nginx` (`apt-get install nginx-light`); run by `cargo test -p slipway-worker --test nginx -- --ignored`.

use slipway_manifest::{Location, LocationRule, Passthru, RequestBuffering, SocketFamily, Upstream, UpstreamProtocol, Web};
use slipway_worker::app::nginx::Site;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A nginx in a folder; it ends with the test.
struct Front {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its worker ends with it only when it is asked.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).is_some();
        self.headers.lines().find(|line| of(line)).map(|line| line.split_once(':').unwrap().1.trim())
    }
}

impl Front {
    fn start(web: &Web, files: &[(&str, &str)], upstream: Option<String>, php: bool) -> Front {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app");
        for (path, text) in files {
            let path = app.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(&app).unwrap();
        let config = Site { web, directory: app.to_str().unwrap(), upstream, php }.config().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = dir.path().display();
        let text = format!(
            "daemon off; pid {place}/pid; error_log {place}/error.log info; worker_processes 1; events {{ }}\n\
             http {{ include /etc/nginx/mime.types; access_log off; client_body_temp_path {place}/b; proxy_temp_path {place}/p; \
             fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n{}\n\
             server {{ listen 127.0.0.1:{port};\n{}\n}} }}\n",
            config.http, config.server
        );
        std::fs::write(dir.path().join("nginx.conf"), &text).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg(dir.path().join("error.log")).arg("-c").arg(dir.path().join("nginx.conf"));
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let child = command.spawn().expect("start nginx: apt-get install nginx-light");
        let front = Front { child, port, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen: {}\n{text}", front.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
        front
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    fn ask(&self, request: &str) -> Answer {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut bytes = vec![];
        socket.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{request:?} got {text:?}"));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Answer { status, headers: head.to_string(), body: if chunked { dechunked(body) } else { body.to_string() } }
    }

    fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"))
    }

    /// `(target, status, what the body begins with)`.
    fn check(&self, cases: &[(&str, u16, &str)]) {
        for (target, status, body) in cases {
            let answer = self.get(target);
            assert!(
                answer.status == *status && answer.body.starts_with(body),
                "GET {target}: expected {status} {body:?}, got {} {:?}\n{}",
                answer.status, answer.body, self.errors()
            );
        }
    }
}

fn dechunked(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        out.push_str(&tail[..size]);
        rest = &tail[size + 2..];
    }
    out
}

/// A FastCGI application that answers what it was asked: `SCRIPT_FILENAME below app | REQUEST_URI | QUERY_STRING`.
fn fastcgi() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer_fastcgi(socket));
        }
    });
    address
}

fn answer_fastcgi(mut socket: TcpStream) {
    let mut params = vec![];
    let mut body = 0;
    loop {
        let mut head = [0; 8];
        if socket.read_exact(&mut head).is_err() {
            return;
        }
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let mut content = vec![0; length + usize::from(head[6])];
        socket.read_exact(&mut content).unwrap();
        content.truncate(length);
        match head[1] {
            4 => params.extend(content),
            5 if length == 0 => break,
            5 => body += length,
            _ => {}
        }
    }
    let mut of = std::collections::BTreeMap::new();
    let mut at = 0;
    while at < params.len() {
        let mut size = || {
            let first = usize::from(params[at]);
            if first < 128 {
                at += 1;
                return first;
            }
            at += 4;
            (first & 127) << 24 | usize::from(params[at - 3]) << 16 | usize::from(params[at - 2]) << 8 | usize::from(params[at - 1])
        };
        let (name, value) = (size(), size());
        let text = |from: usize, len: usize| String::from_utf8_lossy(&params[from..from + len]).into_owned();
        of.insert(text(at, name), text(at + name, value));
        at += name + value;
    }
    let get = |name: &str| of.get(name).cloned().unwrap_or_default();
    let file = get("SCRIPT_FILENAME");
    let script = file.split("/app/").nth(1).unwrap_or(&file);
    let text = format!(
        "Content-Type: text/plain\r\n\r\n{script}|{}|{}|{}|{}|{}|{body}",
        get("REQUEST_URI"), get("QUERY_STRING"), get("SCRIPT_NAME"), get("HTTPS"), get("HTTP_HOST")
    );
    for (kind, content) in [(6u8, text.as_bytes()), (6, &[][..]), (3, &[0; 8][..])] {
        let mut record = vec![1, kind, 0, 1];
        record.extend((content.len() as u16).to_be_bytes());
        record.extend([0, 0]);
        record.extend(content);
        let _ = socket.write_all(&record);
    }
}

/// An HTTP application that answers its request line, host and body length.
fn http() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                let (mut first, mut seen, mut length) = (String::new(), String::new(), 0);
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) < 3 {
                        break;
                    }
                    let lower = line.trim().to_ascii_lowercase();
                    if let Some(n) = lower.strip_prefix("content-length: ") {
                        length = n.parse().unwrap();
                    }
                    if lower.starts_with("host:") || lower.starts_with("x-forwarded") || lower.starts_with("upgrade:") {
                        seen.push_str(&format!("|{lower}"));
                    }
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let text = format!("{}{seen}|{length}", first.trim());
                let mut socket = socket;
                if seen.contains("upgrade: websocket") {
                    let _ = write!(socket, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello");
                    return;
                }
                let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            });
        }
    });
    address
}

fn location(root: Option<&str>, passthru: &str, index: &[&str], allow: bool, scripts: bool, expires: &str) -> Location {
    Location {
        root: root.map(String::from),
        passthru: match passthru {
            "" => Passthru::Flag(false),
            "true" => Passthru::Flag(true),
            uri => Passthru::Uri(uri.into()),
        },
        index: index.iter().map(|s| s.to_string()).collect(),
        expires: expires.into(),
        scripts,
        allow,
        headers: Default::default(),
        rules: Default::default(),
        request_buffering: RequestBuffering { enabled: true, max_request_size: "1k".into() },
    }
}

fn rule(of: impl FnOnce(&mut LocationRule)) -> LocationRule {
    let mut rule = LocationRule::default();
    of(&mut rule);
    rule
}

fn web(protocol: UpstreamProtocol, locations: Vec<(&str, Location)>) -> Web {
    Web {
        locations: locations.into_iter().map(|(key, l)| (key.to_string(), l)).collect(),
        commands: Default::default(),
        upstream: Upstream { socket_family: SocketFamily::Tcp, protocol },
        move_to_root: false,
        overrides: Default::default(),
    }
}

#[test]
#[ignore = "needs nginx"]
fn a_magento_shop_serves_its_files_and_passes_the_rest() {
    let mut root = location(Some("pub"), "/index.php", &["index.php"], false, true, "-1s");
    root.rules.insert(r"\.(css|js|gif|png|html?)$".into(), rule(|r| r.allow = Some(true)));
    root.rules.insert(r"^/sitemap(.*)\.xml$".into(), rule(|r| r.passthru = Some(Passthru::Uri("/media/sitemap$1.xml".into()))));
    let media = location(Some("pub/media"), "/get.php", &[], true, false, "1y");
    let mut statics = location(Some("pub/static"), "/front-static.php", &[], true, false, "1y");
    statics.rules.insert(r"^/static/version\d+/(?<resource>.*)$".into(), rule(|r| r.passthru = Some(Passthru::Uri("/static/$resource".into()))));
    let web = web(UpstreamProtocol::Fastcgi, vec![("/", root), ("/media", media), ("/static", statics)]);
    let files = [
        ("pub/index.php", "<?php index"), ("pub/get.php", "<?php get"), ("pub/front-static.php", "<?php"), ("pub/robots.txt", "robots"),
        ("pub/app.css", "css"), ("pub/media/a.png", "png"), ("pub/media/evil.php", "<?php evil"), ("pub/media/sitemap1.xml", "<sitemap>"),
        ("pub/static/frontend/x.js", "js"), ("pub/static/frontend/x.js.gz", "zipped"), ("app/etc/env.php", "secret"), ("pub/static/secret.php", "<?php"),
    ];
    let front = Front::start(&web, &files, Some(fastcgi()), true);
    front.check(&[
        ("/", 200, "pub/index.php|/||/index.php||shop.example|0"),
        ("/catalog/product?id=7&x=%20", 200, "pub/index.php|/catalog/product?id=7&x=%20|id=7&x=%20|/index.php|"),
        ("/app.css", 200, "css"),
        ("/robots.txt", 200, "pub/index.php|/robots.txt|"),
        ("/get.php", 200, "pub/index.php|/get.php|"),
        ("/media/a.png", 200, "png"),
        ("/media/missing.png?w=1", 200, "pub/get.php|/media/missing.png?w=1|w=1|/get.php|"),
        ("/media/evil.php", 200, "<?php evil"),
        ("/sitemap1.xml", 200, "<sitemap>"),
        ("/sitemap9.xml", 200, "pub/get.php|/sitemap9.xml||/get.php|"),
        ("/static/version123/frontend/x.js", 200, "js"),
        ("/static/version123/secret.php", 200, "<?php"),
        ("/static/version123/frontend/none.js", 200, "pub/front-static.php|/static/version123/frontend/none.js||/front-static.php|"),
        ("/static../../app/etc/env.php", 200, "pub/index.php|"),
        ("/static/..%2f..%2f..%2fapp/etc/env.php", 400, ""),
        ("/staticfoo", 200, "pub/index.php|/staticfoo|"),
        ("/.slipway-front/0/x/index.php", 404, ""),
        ("/a%0d%0aX-Evil:%201", 200, "pub/index.php|/a%0d%0aX-Evil:%201|"),
    ]);
    assert_eq!(front.get("/media/a.png").header("cache-control"), Some("max-age=31536000"));
    assert_eq!(front.get("/app.css").header("cache-control"), Some("no-cache"));
    assert_eq!(front.get("/app.css").header("content-type"), Some("text/css"));
    let zipped = front.ask("GET /static/frontend/x.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    assert_eq!((zipped.header("content-encoding"), zipped.body.as_str()), (Some("gzip"), "zipped"));
    let posted = front.ask("POST /cart HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd");
    assert!(posted.body.ends_with("|on|a|4"), "{}", posted.body);
    let large = front.ask("POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n");
    assert_eq!(large.status, 413);
}

#[test]
#[ignore = "needs nginx"]
fn wordpress_runs_its_scripts_and_finds_index_files() {
    let mut root = location(Some("wordpress"), "/index.php", &["index.php"], true, true, "600s");
    root.rules.insert(r"^/composer\.json".into(), rule(|r| r.allow = Some(false)));
    root.rules.insert(r"^/license\.txt$".into(), rule(|r| { r.allow = Some(false); r.passthru = Some(Passthru::Flag(false)) }));
    let mut uploads = location(Some("wordpress/wp-content/uploads"), "", &[], false, false, "600s");
    uploads.rules.insert(
        r"(?<!\-lock)\.(?i:jpe?g|gif|png|svg|bmp|ico|css|js(?:on)?)$".into(),
        rule(|r| { r.allow = Some(true); r.expires = Some("1w".into()); r.headers = Some([("X-Frame-Options".into(), "DENY $5".into())].into()) }),
    );
    let web = web(UpstreamProtocol::Fastcgi, vec![("/", root), ("/wp-content/uploads", uploads)]);
    let files = [
        ("wordpress/index.php", ""), ("wordpress/wp-admin/index.php", ""), ("wordpress/wp-login.php", ""), ("wordpress/composer.json", "c"),
        ("wordpress/license.txt", "l"), ("wordpress/style.css", "css"), ("wordpress/wp-content/uploads/a.JPG", "jpg"),
        ("wordpress/wp-content/uploads/x.php", "<?php"), ("wordpress/wp-content/uploads/a b.png", "space"), ("wordpress/empty/x.txt", "x"),
    ];
    let front = Front::start(&web, &files, Some(fastcgi()), true);
    front.check(&[
        ("/", 200, "wordpress/index.php|/||/index.php|"),
        ("/wp-login.php?a=b", 200, "wordpress/wp-login.php|/wp-login.php?a=b|a=b|/wp-login.php|"),
        ("/wp-admin/?x", 200, "wordpress/wp-admin/index.php|/wp-admin/?x|x|/wp-admin/index.php|"),
        ("/2024/hello-world/", 200, "wordpress/index.php|/2024/hello-world/|"),
        ("/composer.json", 200, "wordpress/index.php|/composer.json|"),
        ("/license.txt", 403, ""),
        ("/style.css", 200, "css"),
        ("/empty/", 200, "wordpress/index.php|/empty/|"),
        ("/wp-content/uploads/a.JPG", 200, "jpg"),
        ("/wp-content/uploads/a%20b.png", 200, "space"),
        ("/wp-content/uploads/x.php", 403, ""),
        ("/wp-content/uploads/none.php", 404, ""),
        ("/wp-content/uploads/", 403, ""),
    ]);
    let moved = front.get("/wp-admin?x=1");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/wp-admin/?x=1")));
    let image = front.get("/wp-content/uploads/a.JPG");
    assert_eq!(image.header("x-frame-options"), Some("DENY $5"));
    assert_eq!(image.header("cache-control"), Some("max-age=604800"));
}

#[test]
#[ignore = "needs nginx"]
fn drupal_serves_only_what_its_rules_allow() {
    let mut root = location(Some("web"), "/index.php", &["index.php"], false, true, "5m");
    root.rules.insert(r"\.(jpe?g|png|gif|svgz?|css|js|map|ico|bmp|eot|woff2?|otf|ttf)$".into(), rule(|r| r.allow = Some(true)));
    root.rules.insert(r"^/robots\.txt$".into(), rule(|r| r.allow = Some(true)));
    root.rules.insert(r"^/sites/[^/]+/settings.*?\.php$".into(), rule(|r| r.scripts = Some(false)));
    let files_location = location(Some("web/sites/default/files"), "/index.php", &[], true, true, "5m");
    let web = web(UpstreamProtocol::Fastcgi, vec![("/", root), ("/sites/default/files", files_location)]);
    let files = [
        ("web/index.php", ""), ("web/robots.txt", "r"), ("web/core/install.php", ""), ("web/core/misc/drupal.js", "js"),
        ("web/sites/default/settings.php", "secret"), ("web/sites/default/files/any.txt", "any"), ("web/web.config", "x"),
    ];
    let front = Front::start(&web, &files, Some(fastcgi()), true);
    front.check(&[
        ("/node/1", 200, "web/index.php|/node/1|"),
        ("/robots.txt", 200, "r"),
        ("/core/misc/drupal.js?v=1", 200, "js"),
        ("/sites/default/settings.php", 200, "web/index.php|"),
        ("/sites/default/files/any.txt", 200, "any"),
        ("/sites/default/files/styles/x.png", 200, "web/index.php|/sites/default/files/styles/x.png|"),
        ("/web.config", 200, "web/index.php|/web.config|"),
    ]);
    assert_eq!(front.get("/robots.txt").header("cache-control"), Some("max-age=300"));
}

#[test]
#[ignore = "needs nginx"]
fn an_http_application_gets_the_request_as_it_came() {
    let mut root = location(Some("public"), "true", &["index.html"], true, true, "-1s");
    root.rules.insert(r"^/old/(?<uri>.*)$".into(), rule(|r| { r.allow = Some(false); r.passthru = Some(Passthru::Uri("/new?x=1".into())) }));
    let mut stream = location(None, "true", &[], true, true, "-1s");
    stream.request_buffering.enabled = false;
    let web = web(UpstreamProtocol::Http, vec![("/", root), ("/ws", stream)]);
    let front = Front::start(&web, &[("public/a.txt", "a"), ("public/x.php", "<?php")], Some(http()), false);
    front.check(&[
        ("/a.txt", 200, "a"),
        ("/x.php", 200, "<?php"),
        ("/api/%2e%2e/b%20c?q=%0a&r", 200, "GET /api/%2e%2e/b%20c?q=%0a&r HTTP/1.1|host: shop.example|0"),
        ("/", 200, "GET / HTTP/1.1|"),
        ("/old/q?y=2", 200, "GET /new?x=1&y=2 HTTP/1.1|"),
    ]);
    let forwarded = front.ask("POST /ws/x HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    assert_eq!(forwarded.body, "POST /ws/x HTTP/1.1|host: a:81|x-forwarded-for: 1.2.3.4|3");
    let socket = front.ask("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!((socket.status, socket.body.as_str()), (101, "hello"));
}

#[test]
#[ignore = "needs nginx"]
fn a_site_of_files_falls_back_to_its_page_and_never_loops() {
    let single = location(Some("dist"), "/index.html", &["index.html"], true, false, "60s");
    let hidden = location(Some("hidden"), "/admin/index.html", &[], false, false, "60s");
    let lost = location(Some("dist"), "/lost/none.html", &[], true, false, "60s");
    let a = location(Some("dist"), "/b", &[], true, false, "60s");
    let b = location(Some("dist"), "/a", &[], true, false, "60s");
    let web = web(UpstreamProtocol::Http, vec![("/", single), ("/admin", hidden), ("/lost", lost), ("/a", a), ("/b", b), ("/pass", location(None, "true", &[], true, true, "-1s"))]);
    let front = Front::start(&web, &[("dist/index.html", "page"), ("dist/$x.js", "dollar"), ("hidden/index.html", "admin"), ("hidden/other.html", "no")], None, false);
    front.check(&[
        ("/", 200, "page"),
        ("/users/7", 200, "page"),
        ("/$x.js", 200, "dollar"),
        ("/admin/other.html", 200, "admin"),
        ("/lost/x", 404, ""),
        ("/a/x", 404, ""),
        ("/pass", 404, ""),
    ]);
}

#[test]
#[ignore = "needs nginx"]
fn a_hostile_pattern_ends_and_hostile_text_changes_nothing() {
    let mut root = location(Some("pub\"; } location /x { #"), "true", &["$host.html"], true, true, "-1s");
    root.rules.insert(r"^/(a+)+$".into(), rule(|r| r.allow = Some(false)));
    root.headers.insert("X-A".into(), "v\"; } server { listen 1; $host ${y}".into());
    root.headers.insert("bad name".into(), "x".into());
    let web = web(UpstreamProtocol::Http, vec![("/", root)]);
    let front = Front::start(&web, &[("pub\"; } location /x { #/f.txt", "f")], Some(http()), false);
    let file = front.get("/f.txt");
    assert_eq!((file.status, file.header("x-a")), (200, Some("v\"; } server { listen 1; $host ${y}")));
    let began = Instant::now();
    let status = front.get(&format!("/{}b", "a".repeat(3000))).status;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(status == 500 || status == 200, "{status}");
    assert!(Path::new("/etc/nginx/mime.types").exists());
}
