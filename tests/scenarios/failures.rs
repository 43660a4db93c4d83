//! What goes wrong, and that nothing has happened.

use slipway_tests::{Platform, Repository};
use std::process::Command;

const APP: &str = "name: app
type: \"python:3.11\"
disk: 256
relationships: { database: \"db:mysql\" }
mounts: { \"files\": { source: local, source_path: files } }
hooks:
    deploy: |
        set -e
        sh ./deploy.sh
web:
    commands: { start: \"python3 server.py\" }
    locations: { \"/\": { passthru: true } }
";
const SERVICES: &str = "db: { type: \"mariadb:10.11\", disk: 512 }\n";
const SERVER: &str = "import base64, http.server, json, os, subprocess
RELATION = json.loads(base64.b64decode(os.environ['PLATFORM_RELATIONSHIPS']))['database'][0]
def sql(text):
    return subprocess.run(['mysql', '-N', '-h', RELATION['host'], '-P', str(RELATION['port']), '-u', RELATION['username'], RELATION['path'], '-e', text], capture_output=True, text=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        rows = sql('SELECT COUNT(*) FROM visit')
        body = json.dumps({'version': VERSION, 'rows': rows.stdout.strip(), 'error': rows.stderr.strip(), 'file': open('/app/files/note').read() if os.path.exists('/app/files/note') else None}).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
VERSION = 'one'
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page).serve_forever()
";
const DEPLOY: &str = "db() { mysql -h database.internal -u user main -e \"$1\"; }
db 'CREATE TABLE IF NOT EXISTS visit (id INT PRIMARY KEY AUTO_INCREMENT, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)'
db 'INSERT INTO visit () VALUES ()'
echo kept > files/note
";

fn application() -> Repository {
    Repository::with(&[
        (".platform.app.yaml", APP),
        (".platform/services.yaml", SERVICES),
        ("server.py", SERVER),
        ("deploy.sh", DEPLOY),
    ])
}

fn page(platform: &Platform) -> serde_json::Value {
    let answer = platform.fetch(&platform.url("app", "main"), &[]).expect("the site answers");
    assert_eq!(answer.status, 200, "{} {}", answer.head, answer.body);
    serde_json::from_str(&answer.body).expect("the page is JSON")
}

pub fn refused_push(platform: &Platform) {
    let url = platform.project("refused");
    let repository = Repository::with(&[(
        ".platform.app.yaml",
        "name: app\ntype: \"python:3.11\"\nrelationsips: {}\nweb:\n    locations:\n        \"/\": { passthrough: true }\n",
    )]);
    repository.commit("wrong in two places");
    let pushed = repository.push(&url, &["main"]);
    assert!(!pushed.accepted, "{}", pushed.said);
    for part in [".platform.app.yaml:3:", "relationsips", "relationships", ".platform.app.yaml:6:", "passthru"] {
        assert!(pushed.said.contains(part), "no '{part}' in:\n{}", pushed.said);
    }
    let refs = Command::new("git").args(["ls-remote", &url]).output().expect("git runs");
    assert!(refs.stdout.is_empty(), "a refused push left a ref: {}", String::from_utf8_lossy(&refs.stdout));
    // The next push works.
    repository.write(".platform.app.yaml", "name: app\ntype: \"static:1\"\nweb: { locations: { \"/\": { root: public, index: [index.html] } } }\n");
    repository.write("public/index.html", "mended");
    repository.commit("mended");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.accepted && pushed.said.contains("is live"), "{}", pushed.said);
}

pub fn hostile_input(platform: &Platform) {
    let url = platform.git_url("refused");
    let repository = Repository::with(&[("x", "x")]);
    repository.commit("x");
    for name in ["refs/heads/--upload-pack=x", "refs/heads/$(touch /tmp/pwned)", "refs/heads/a;b"] {
        // Git itself refuses some names; what it lets through, the platform judges. Nothing is run either way.
        let output = Command::new("git").arg("-C").arg(repository.path()).args(["push", &url]).arg(format!("HEAD:{name}")).output().expect("git runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "'{name}' was taken: {said}");
    }
    assert!(!std::path::Path::new("/tmp/pwned").exists());
    let unknown = platform.git_url("no-such-project");
    let pushed = repository.push(&unknown, &["main"]);
    assert!(!pushed.accepted);
    let stranger = url.replacen("git:", "git:not", 1);
    let pushed = Command::new("git").arg("-C").arg(repository.path()).env("GIT_TERMINAL_PROMPT", "0").args(["push", &stranger, "main"]).output().expect("git runs");
    assert!(!pushed.status.success());
}

pub fn failing_build(platform: &Platform) {
    let url = platform.git_url("refused");
    let repository = Repository::with(&[]);
    repository.git(&["pull", "--quiet", &url, "main"]);
    let good = repository.read(".platform.app.yaml");
    repository.write(".platform.app.yaml", &format!("{good}hooks: {{ build: \"echo about to fail; exit 7\" }}\n"));
    repository.commit("a build that fails");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.accepted, "an accepted push exits 0 even when its build fails: {}", pushed.said);
    for part in ["about to fail", "7", "serves on"] {
        assert!(pushed.said.contains(part), "no '{part}' in:\n{}", pushed.said);
    }
    let answer = platform.fetch(&platform.url("refused", "main"), &[]).expect("the site answers");
    assert!(answer.body.contains("mended"));
}

pub fn never_listens(platform: &Platform) {
    let url = platform.project("app");
    let repository = application();
    repository.commit("first");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("is live"), "{}", pushed.said);
    assert_eq!(page(platform)["rows"], "1");
    repository.write("server.py", "import sys\nprint('cannot go on', flush=True)\nsys.exit(3)\n");
    repository.commit("exits at once");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.accepted && pushed.said.contains("serves on"), "{}", pushed.said);
    assert!(pushed.said.contains("cannot go on"), "the last lines are shown: {}", pushed.said);
    let page = page(platform);
    assert_eq!((&page["version"], &page["rows"]), (&"one".into(), &"1".into()));
}

pub fn failing_hook(platform: &Platform) {
    let url = platform.git_url("app");
    let repository = Repository::with(&[]);
    repository.git(&["pull", "--quiet", &url, "main"]);
    repository.write("server.py", &SERVER.replace("'one'", "'two'"));
    repository.write(
        "deploy.sh",
        "mysql -h database.internal -u user main -e 'DROP TABLE visit'\necho spoilt > files/note\necho half way\nexit 9\n",
    );
    repository.commit("a hook that fails half way");
    let before = page(platform);
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.accepted, "{}", pushed.said);
    for part in ["half way", "exit code 9", "serves on"] {
        assert!(pushed.said.contains(part), "no '{part}' in:\n{}", pushed.said);
    }
    assert_eq!(page(platform), before, "the old release serves on with its data:\n{}", pushed.said);
    repository.write("deploy.sh", DEPLOY);
    repository.commit("mended");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("is live"), "{}", pushed.said);
    let page = page(platform);
    assert_eq!((&page["version"], &page["rows"]), (&"two".into(), &"2".into()));
}
