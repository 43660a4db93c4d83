//! Kills: of each role in each phase of a deployment, and of everything at once.

use slipway_tests::{Platform, Repository, until};
use std::process::Command;
use std::time::Duration;

/// A push that is under way, followed through the API alone.
fn push_in_background(platform: &Platform, repository: &Repository, url: &str) -> std::process::Child {
    let before = activities(platform).len();
    let child = Command::new("git")
        .arg("-C")
        .arg(repository.path())
        .args(["push", "--quiet", url, "main"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("git runs");
    until("the push to be recorded", Duration::from_secs(60), || match activities(platform).len() {
        n if n > before => Ok(()),
        n => Err(format!("{n} activities")),
    });
    child
}

fn activities(platform: &Platform) -> Vec<serde_json::Value> {
    let output = platform.try_slipway(&["activity", "list", "--project", "crash", "--format", "json"]);
    serde_json::from_slice::<serde_json::Value>(&output.stdout).ok().and_then(|v| v.as_array().cloned()).unwrap_or_default()
}

fn ended(platform: &Platform) -> serde_json::Value {
    until("the deployment to end by itself", Duration::from_secs(180), || {
        let all = activities(platform);
        let newest = all.first().cloned().ok_or("no activity")?;
        match newest["state"].as_str() {
            Some("complete" | "cancelled") => Ok(newest),
            other => Err(format!("{other:?}")),
        }
    })
}

pub fn kills(platform: &Platform) {
    let url = platform.project("crash");
    let page = |n: u32| format!("<p>version {n}</p>\n");
    let repository = Repository::with(&[
        (
            ".platform.app.yaml",
            "name: app\ntype: \"static:1\"\nhooks:\n    build: \"sleep 1\"\n    deploy: \"sleep 2\"\nweb: { locations: { \"/\": { root: public, index: [index.html] } } }\n",
        ),
        ("public/index.html", &page(0)),
    ]);
    repository.commit("version 0");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("is live"), "{}", pushed.said);
    let site = platform.url("crash", "main");
    let mut version = 0;
    for role in ["scheduler", "worker", "router"] {
        for delay_ms in [300u64, 1500, 2600, 3400] {
            version += 1;
            repository.write("public/index.html", &page(version));
            repository.commit(&format!("version {version}"));
            let mut push = push_in_background(platform, &repository, &url);
            // Where in the deployment this lands is chance; over the delays each phase is met.
            std::thread::sleep(Duration::from_millis(delay_ms));
            platform.kill(role);
            let _ = push.wait();
            let end = ended(platform);
            let shown = until("the site to answer", Duration::from_secs(60), || {
                let answer = platform.fetch(&site, &[])?;
                if answer.status == 200 { Ok(answer.body) } else { Err(answer.head) }
            });
            if end["result"] == "success" {
                assert!(shown.contains(&format!("version {version}")), "{role} after {delay_ms} ms: live, and shows {shown}");
            } else {
                assert!(!shown.contains(&format!("version {version}<")), "{role} after {delay_ms} ms: undone, and shows {shown}: {end}");
            }
            eprintln!("    kill -9 of {role} after {delay_ms} ms: {}", end["result"]);
        }
    }
    // The whole tree at once, in the middle of a deployment.
    version += 1;
    repository.write("public/index.html", &page(version));
    repository.commit("the whole tree");
    let mut push = push_in_background(platform, &repository, &url);
    std::thread::sleep(Duration::from_millis(1800));
    for role in ["up", "scheduler", "worker", "router"] {
        let path = platform.data_dir.join(format!("{role}.pid"));
        let pid = std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<i32>().ok());
        if let Some(pid) = pid {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    let _ = push.wait();
    platform.up();
    let end = ended(platform);
    eprintln!("    kill -9 of the whole tree: {}", end["result"]);
    let answer = until("the site to answer", Duration::from_secs(60), || platform.fetch(&site, &[]).and_then(|a| if a.status == 200 { Ok(a) } else { Err(a.head) }));
    assert!(answer.body.contains("version"));
}

pub fn control_plane_away(platform: &Platform) {
    let site = platform.url("crash", "main");
    let scheduler = platform.pid("scheduler");
    let worker = platform.pid("worker");
    for pid in [scheduler, worker] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).expect("it runs");
    }
    let answers: Vec<_> = (0..20).map(|_| platform.fetch(&site, &[]).map(|a| a.status)).collect();
    for pid in [scheduler, worker] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT).expect("it runs");
    }
    assert!(answers.iter().all(|a| a == &Ok(200)), "{answers:?}");
}

/// Ends the platform and looks for what it left behind.
pub fn purge(platform: Platform) -> Vec<String> {
    let data_dir = platform.data_dir.to_string_lossy().into_owned();
    drop(platform);
    let mut left = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    left.extend(mounts.lines().filter(|l| l.contains(&data_dir)).map(|l| format!("mount {l}")));
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
        if line.contains(&data_dir) {
            left.push(format!("process {}", line.replace('\0', " ")));
        }
    }
    let loops = Command::new("losetup").args(["--list", "--noheadings", "--output", "BACK-FILE"]).output();
    let loops = loops.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    left.extend(loops.lines().filter(|l| l.contains(&data_dir)).map(|l| format!("loop device of {l}")));
    left
}
