//! Doors for people: variables, SSH, the log in the browser.

use slipway_tests::{Platform, Repository};
use std::process::Command;

pub fn variables(platform: &Platform) {
    let url = platform.project("vars");
    platform.slipway(&["variable", "set", "env:AT_BUILD", "seen-at-build", "--project", "vars", "--build"]);
    platform.slipway(&["variable", "set", "env:HIDDEN", "hush-hush", "--project", "vars", "--sensitive", "--no-build"]);
    let repository = Repository::with(&[
        (
            ".platform.app.yaml",
            "name: app\ntype: \"python:3.11\"\nhooks:\n    build: |\n        echo \"build says $AT_BUILD ${HIDDEN:-nothing}\"\n        test -z \"$PLATFORM_ENVIRONMENT\"\nweb:\n    commands: { start: \"python3 server.py\" }\n    locations: { \"/\": { passthru: true } }\n",
        ),
        (
            "server.py",
            "import http.server, os\nclass Page(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        body = (os.environ['HIDDEN'] + ' ' + os.environ['PLATFORM_BRANCH']).encode()\n        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)\nhttp.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page).serve_forever()\n",
        ),
    ]);
    repository.commit("first");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("build says seen-at-build nothing"), "{}", pushed.said);
    let body = platform.fetch(&platform.url("vars", "main"), &[]).expect("the site answers").body;
    assert_eq!(body, "hush-hush main");
    let listed = platform.slipway(&["variable", "list", "--project", "vars", "--format", "json"]);
    assert!(!listed.contains("hush-hush"), "a sensitive value is never shown: {listed}");
}

pub fn ssh(platform: &Platform) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("id");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|s| s.success()));
    platform.slipway(&["key", "add", &key.with_extension("pub").to_string_lossy()]);
    let environment = platform.environment("vars", "main");
    let address = environment["ssh_url"].as_str().expect("an SSH address").trim_start_matches("ssh://").to_string();
    let (login, port) = address.rsplit_once(':').expect("with a port");
    let login = login.replace("@localhost", "@127.0.0.1");
    let options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"];
    let run = |command: &str| {
        // The router learns a key with its next table.
        slipway_tests::until("ssh to run the command", std::time::Duration::from_secs(20), || {
            let output = Command::new("ssh").args(options).arg("-i").arg(&key).args(["-p", port, &login, command]).output().map_err(|e| e.to_string())?;
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        })
    };
    assert_eq!(run("id -un; pwd; printf %s \"$HIDDEN\""), "web\n/app\nhush-hush");
    assert_eq!(run("touch /app/x 2>/dev/null || echo read-only"), "read-only");
    let file = folder.path().join("up.txt");
    std::fs::write(&file, "carried").expect("write");
    let copied = Command::new("scp").args(options).arg("-i").arg(&key).args(["-P", port]).arg(&file).arg(format!("{login}:/tmp/up.txt")).status();
    assert!(copied.is_ok_and(|s| s.success()), "scp");
    assert_eq!(run("cat /tmp/up.txt"), "carried");
}

pub fn same_log(platform: &Platform) {
    let activities = platform.json(&["activity", "list", "--project", "vars"]);
    let id = activities[0]["id"].as_str().expect("an activity").to_string();
    let terminal = platform.slipway(&["activity", "log", &id]);
    let token = std::fs::read_to_string(platform.data_dir.join("secrets/admin.token")).expect("the token");
    let jar = platform.data_dir.join("cookies");
    let jar = jar.to_string_lossy();
    let console = platform.console();
    let page = platform.fetch(&format!("{console}/"), &["--location", "--cookie-jar", &jar, "--cookie", &jar]).expect("the console answers");
    let csrf = page.body.split("name=\"csrf\"").nth(1).and_then(|r| r.split("value=\"").nth(1)).and_then(|r| r.split('"').next()).unwrap_or_default().to_string();
    let action = page.body.split("<form").nth(1).and_then(|r| r.split("action=\"").nth(1)).and_then(|r| r.split('"').next()).unwrap_or("/sign-in").to_string();
    let answer = platform
        .fetch(
            &format!("{console}{action}"),
            &["--cookie-jar", &jar, "--cookie", &jar, "--data-urlencode", &format!("token={}", token.trim()), "--data-urlencode", &format!("csrf={csrf}")],
        )
        .expect("the console answers");
    assert!(answer.status < 400, "sign in: {} {}", answer.head, answer.body);
    let page = platform.fetch(&format!("{console}/activities/{id}"), &["--location", "--cookie", &jar]).expect("the console answers");
    assert_eq!(page.status, 200, "{}", page.head);
    for line in terminal.lines().map(str::trim).filter(|l| l.len() > 12 && l.chars().all(|c| c.is_ascii_alphanumeric() || " .,:".contains(c))) {
        assert!(page.body.contains(line), "the page lacks '{line}'");
    }
}
