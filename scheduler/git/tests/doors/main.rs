//! The git doors, used by the real git over SSH and HTTP.

mod fake;
mod hostile;
mod push;
mod stage;

use stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_pushed_cloned_and_fetched_through_both_doors() {
    let stage = stage().await;
    let work = stage.project("work").await;
    let said = stage.git(&work, &["push", &stage.ssh_url(), "main"]).await;
    let wanted = ["remote: Validating submodules", "remote: Validating configuration files", "remote: Processing activity: **Ada** pushed to **main**"];
    let mut rest = said.as_str();
    for line in wanted {
        let at = rest.find(line).unwrap_or_else(|| panic!("'{line}' in order in:\n{said}"));
        rest = &rest[at..];
    }
    assert!(rest.contains("* [new branch]      main -> main"), "{said}");

    for (name, url) in [("by-ssh", stage.ssh_url()), ("by-http", stage.http_url("vic"))] {
        stage.git(stage.dir.path(), &["clone", "-q", &url, name]).await;
        assert_eq!(std::fs::read_to_string(stage.dir.path().join(name).join("public/index.html")).unwrap(), "hello\n");
    }
    // `git@host:project.git`, the other form of the address.
    stage.git(stage.dir.path(), &["clone", "-q", &format!("ssh://git@127.0.0.1:{}/shop", stage.ssh.port()), "by-git"]).await;

    write(&work, "public/index.html", "hello again\n");
    stage.commit(&work, "Say it again").await;
    stage.git(&work, &["push", &stage.http_url("cleo"), "main"]).await;
    for version in ["0", "2"] {
        let clone = stage.dir.path().join(if version == "0" { "by-ssh" } else { "by-http" });
        stage.git(&clone, &["-c", &format!("protocol.version={version}"), "pull", "-q"]).await;
        assert_eq!(std::fs::read_to_string(clone.join("public/index.html")).unwrap(), "hello again\n");
    }
    // Many commits that the server does not know make git compress its request.
    let clone = stage.dir.path().join("by-http");
    for number in 0..60 {
        stage.git(&clone, &["commit", "-q", "--allow-empty", "-m", &format!("local {number}")]).await;
    }
    write(&work, "public/more.html", "more\n");
    stage.commit(&work, "More").await;
    stage.git(&work, &["push", &stage.ssh_url(), "main"]).await;
    stage.git(&clone, &["fetch", "-q", "origin"]).await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_survives_the_loss_of_every_disk_but_the_stores_and_the_ledgers() {
    let mut stage = stage().await;
    let work = stage.project("work").await;
    for number in 0..3 {
        write(&work, "public/index.html", &format!("version {number}\n"));
        stage.commit(&work, "Next").await;
        stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
    }
    stage.nothing_is_left().await;
    std::fs::remove_dir_all(stage.data()).unwrap();
    std::fs::remove_dir_all(stage.dir.path().join("keys")).unwrap();
    stage.open_doors().await;
    stage.git(stage.dir.path(), &["clone", "-q", &stage.ssh_url(), "back"]).await;
    let back = stage.dir.path().join("back");
    assert_eq!(std::fs::read_to_string(back.join("public/index.html")).unwrap(), "version 2\n");
    stage.git(&back, &["fsck", "--strict", "--full"]).await;
    write(&back, "public/index.html", "version 3\n");
    stage.commit(&back, "Goes on").await;
    stage.git(&back, &["push", "-q", "origin", "main"]).await;

    // A copy that rots on this disk is noticed and fetched again.
    let cached = std::fs::read_dir(stage.data().join("cache/shop")).unwrap().flatten().map(|entry| entry.path());
    let pack = cached.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap();
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, b"torn").unwrap();
    stage.git(stage.dir.path(), &["clone", "-q", &stage.http_url("ada"), "again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pushes_at_once_both_succeed_on_two_branches_and_one_on_the_same() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
    let mut clones = Vec::new();
    for name in ["one", "two"] {
        stage.git(stage.dir.path(), &["clone", "-q", &stage.ssh_url(), name]).await;
        let clone = stage.dir.path().join(name);
        stage.git(&clone, &["checkout", "-q", "-b", name]).await;
        write(&clone, &format!("public/{name}.html"), name);
        stage.commit(&clone, name).await;
        clones.push(clone);
    }
    let (one, two) = tokio::join!(stage.git_as("cleo", &clones[0], &["push", "origin", "one"]), stage.git_as("ada", &clones[1], &["push", "origin", "two"]));
    assert!(one.ok && two.ok, "{}\n{}", one.text, two.text);
    assert!(one.text.contains("remote: Environment one is inactive."), "{}", one.text);

    let (one, two) = tokio::join!(stage.git_as("ada", &clones[0], &["push", "origin", "one:main"]), stage.git_as("ada", &clones[1], &["push", "origin", "two:main"]));
    assert!(one.ok != two.ok, "{}\n{}", one.text, two.text);
    let loser = if one.ok { two.text } else { one.text };
    assert!(loser.contains("(fetch first)") || loser.contains("(non-fast-forward)"), "{loser}");
    until("all sessions are gone", || std::fs::read_dir(stage.data().join("sessions")).unwrap().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shown_without_gap_or_repeat_when_the_leader_changes() {
    let stage = stage().await;
    {
        let mut ledger = stage.platform.ledger.lock().unwrap();
        ledger.stream_breaks_after = Some(3);
        ledger.lines = (0..10)
            .map(|number| slipway_proto::api::LogRecord {
                indent: 2,
                level: if number == 4 { "warning".into() } else { "info".into() },
                source: "site".into(),
                text: format!("line {number}"),
                ..Default::default()
            })
            .collect();
    }
    let work = stage.project("work").await;
    let said = stage.git(&work, &["push", &stage.ssh_url(), "main"]).await;
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("] ") && line.contains("line ")).map(str::trim_end).collect();
    let wanted: Vec<String> =
        (0..10).map(|number| format!("remote:     [site] {}line {number}", if number == 4 { "W: " } else { "" })).collect();
    assert_eq!(lines, wanted, "{said}");
    assert!(stage.platform.ledger.lock().unwrap().streams > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_and_not_waiting_change_nothing() {
    let stage = stage().await;
    {
        let mut ledger = stage.platform.ledger.lock().unwrap();
        ledger.held = true;
        ledger.lines = vec![slipway_proto::api::LogRecord { text: "the last line".into(), ..Default::default() }];
    }
    let work = stage.project("work").await;
    let url = stage.ssh_url();
    // As with Ctrl-C, git and its ssh go together.
    let mut client = stage.git_command("ada", &work, &["push", &url, "main"]).process_group(0).spawn().unwrap();
    until("the push is recorded", || stage.refs() == ["refs/heads/main"]).await;
    let group = nix::unistd::Pid::from_raw(client.id().unwrap() as i32);
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    client.wait().await.unwrap();
    stage.nothing_is_left().await;

    // Without waiting: by push option over HTTP, by environment over SSH.
    let http = stage.http_url("ada");
    write(&work, "public/a.html", "a");
    stage.commit(&work, "a").await;
    let said = stage.git(&work, &["push", "-o", "slipway.no_wait", &http, "main"]).await;
    assert!(said.contains("slipway activity log act-1") && !said.contains("the last line"), "{said}");
    write(&work, "public/b.html", "b");
    stage.commit(&work, "b").await;
    let mut command = stage.git_command("ada", &work, &["push", &url, "main"]);
    command.env("GIT_SSH_COMMAND", format!("{} -o SendEnv=PLATFORMSH_PUSH_NO_WAIT", stage.ssh_command("ada"))).env("PLATFORMSH_PUSH_NO_WAIT", "1");
    let output = tokio::time::timeout(std::time::Duration::from_secs(30), command.output()).await.expect("the push returns").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // One that waits is let go by the last record.
    write(&work, "public/c.html", "c");
    stage.commit(&work, "c").await;
    let arguments = ["push", &url, "main"];
    let (said, ()) = tokio::join!(stage.git_as("ada", &work, &arguments), async {
        until("the last push is recorded", || stage.platform.ledger.lock().unwrap().recorded.len() == 4).await;
        stage.platform.ledger.lock().unwrap().held = false;
        stage.platform.released.notify_waiters();
    });
    assert!(said.ok && said.text.contains("remote: the last line"), "{}", said.text);
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_process_left_is_removed_at_the_start() {
    let mut stage = stage().await;
    let left = stage.data().join("sessions/session-left");
    std::fs::create_dir_all(left.join("repo.git/objects")).unwrap();
    stage.open_doors().await;
    assert!(!left.exists());
}
