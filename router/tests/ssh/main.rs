//! The SSH door, entered by the real OpenSSH, scp, sftp and rsync.

mod fake;
mod stage;

use slipway_router::ssh::Limits;
use stage::*;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_input_output_errors_and_exit_status() {
    let stage = stage(&["app"], None, Limits::default()).await;
    let output = stage.run(ENVIRONMENT, "cat; echo oops >&2; exit 7", b"hello\n").await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), "hello\n");
    assert_eq!(text(&output.stderr), "oops\n");
    for key in ["rsa", "ecdsa"] {
        let output = stage.ssh(key, &[], ENVIRONMENT).arg("echo $0").output().await.unwrap();
        assert_eq!(text(&output.stdout), "bash\n", "{key}: {}", text(&output.stderr));
    }
    let opens = stage.seen.lock().unwrap().opens.clone();
    assert_eq!((opens[0].instance.as_str(), opens[0].user.as_str()), ("i-app", "ada"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_takes_more_than_every_window_in_both_directions_at_once() {
    let stage = stage(&["app"], None, Limits::default()).await;
    let big: Vec<u8> = (0..40_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let output = stage.run(ENVIRONMENT, "cat", &big).await;
    assert!(output.status.success());
    assert!(output.stdout == big, "{} of {} bytes came back", output.stdout.len(), big.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reads_nothing_does_not_stop_the_other_channels_of_its_connection() {
    let stage = stage(&["app"], None, Limits::default()).await;
    let control = stage.dir.path().join("control").display().to_string();
    let path = format!("ControlPath={control}");
    let mut deaf = stage.ssh("ed", &["-o", "ControlMaster=yes", "-o", &path], ENVIRONMENT).arg("sleep 600").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = deaf.stdin.take().unwrap();
    let flood = tokio::spawn(async move {
        let block = vec![0; 1 << 20];
        while stdin.write_all(&block).await.is_ok() {}
    });
    until("the first channel is open", || std::path::Path::new(&control).exists() && !stage.seen.lock().unwrap().opens.is_empty()).await;
    let output = stage.ssh("ed", &["-o", "ControlMaster=no", "-o", &path], ENVIRONMENT).arg("echo alive").output().await.unwrap();
    assert_eq!(text(&output.stdout), "alive\n", "{}", text(&output.stderr));
    assert_eq!(stage.seen.lock().unwrap().opens.len(), 2);
    flood.abort();
    deaf.kill().await.unwrap();
    until("the worker's side has ended with its client", || stage.seen.lock().unwrap().ended == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_wrong_names_are_told_what_they_may_know() {
    let stage = stage(&["app", "api", "app--queue"], None, Limits::default()).await;
    let output = stage.ssh("stranger", &[], ENVIRONMENT).arg("id").output().await.unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{}", text(&output.stderr));

    let output = stage.run("shop-gone-abc1234--app", "id", b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("Hello ada, you successfully authenticated, but could not connect to service shop-gone-abc1234--app"));

    let output = stage.run(ENVIRONMENT, "id", b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("  shop-main-abc1234--api\n  shop-main-abc1234--app\n  shop-main-abc1234--app--queue"), "{}", text(&output.stderr));
    assert!(stage.seen.lock().unwrap().opens.is_empty());

    let output = stage.run("shop-main-abc1234--app--queue", "echo in", b"").await;
    assert_eq!(text(&output.stdout), "in\n");
    assert_eq!(stage.seen.lock().unwrap().opens[0].instance, "i-app--queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_its_size_its_kind_and_a_banner_on_stderr() {
    let stage = stage(&["app"], None, Limits::default()).await;
    let options = stage.client_options("ed", "-p").join(" ");
    let errors = stage.dir.path().join("errors");
    // `script` gives the client a terminal of its own, `stty` its size; the line after `&` changes it under way.
    let shell = format!(
        "stty cols 91 rows 33; (read x < {fifo}; stty cols 100 rows 40 < /dev/tty; kill -WINCH $(cat {pid})) & \
         sh -c 'echo $$ > {pid}; exec ssh {options} -tt {ENVIRONMENT}@127.0.0.1 2> {errors}'",
        fifo = stage.dir.path().join("fifo").display(),
        pid = stage.dir.path().join("pid").display(),
        errors = errors.display(),
    );
    let fifo = stage.dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &shell, "/dev/null"])
        .env("TERM", "vt220")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(b"echo size=$(stty size) term=$TERM\n").await.unwrap();
    expect(&mut lines, "size=33 91 term=vt220").await;
    tokio::fs::write(&fifo, "now\n").await.unwrap();
    until("the new size arrives", || stage.seen.lock().unwrap().resizes.contains(&(100, 40))).await;
    stdin.write_all(b"echo size=$(stty size)\n").await.unwrap();
    expect(&mut lines, "size=40 100").await;
    // Ctrl-C ends the sleep, not the session.
    stdin.write_all(b"echo begin; sleep 600\n").await.unwrap();
    expect(&mut lines, "begin").await;
    stdin.write_all(b"\x03").await.unwrap();
    stdin.write_all(b"exit 5\n").await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("the session ends").unwrap();
    assert_eq!(status.code(), Some(5));
    let banner = text(&std::fs::read(errors).unwrap());
    assert!(banner.contains("project      shop") && banner.contains(&format!("environment  {ENVIRONMENT}")), "{banner}");
}

/// Reads lines until one is (the end of) what is waited for; the echo of a typed command does not count.
async fn expect(lines: &mut tokio::io::Lines<impl tokio::io::AsyncBufRead + Unpin>, wanted: &str) {
    let reading = async {
        let mut seen = String::new();
        loop {
            let Some(line) = lines.next_line().await.unwrap() else { panic!("the terminal ended before '{wanted}':\n{seen}") };
            let line = line.trim_end_matches('\r').to_string();
            if line == wanted || (line.ends_with(wanted) && !line.contains("echo")) {
                return;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap_or_else(|_| panic!("never saw '{wanted}'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_and_go_with_sftp_scp_and_rsync() {
    let stage = stage(&["app"], None, Limits::default()).await;
    let local = stage.dir.path().join("local");
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&local, &content).unwrap();
    let remote = |name: &str| format!("{ENVIRONMENT}@127.0.0.1:{}", stage.home().join(name).display());

    // Both protocols of scp: sftp (its default) and its own older one.
    for (name, protocol) in [("new", "-s"), ("old", "-O")] {
        let mut put = Command::new("scp");
        put.arg(protocol).args(stage.client_options("ed", "-P")).arg(&local).arg(remote(name));
        succeed(put).await;
        assert!(std::fs::read(stage.home().join(name)).unwrap() == content, "{name}");
        let back = stage.dir.path().join(format!("{name}-back"));
        let mut get = Command::new("scp");
        get.arg(protocol).args(stage.client_options("ed", "-P")).arg(remote(name)).arg(&back);
        succeed(get).await;
        assert!(std::fs::read(back).unwrap() == content, "{name}");
    }

    let batch = stage.dir.path().join("batch");
    std::fs::write(&batch, format!("cd {}\nmkdir made\nput {} made/file\nls made\n", stage.home().display(), local.display())).unwrap();
    let mut sftp = Command::new("sftp");
    sftp.arg("-b").arg(&batch).args(stage.client_options("ed", "-P")).arg(format!("{ENVIRONMENT}@127.0.0.1"));
    let listed = succeed(sftp).await;
    assert!(text(&listed.stdout).contains("made/file"), "{}", text(&listed.stdout));

    let tree = stage.dir.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/b/c"), "deep").unwrap();
    std::fs::write(tree.join("big"), &content).unwrap();
    let through = format!("ssh {}", stage.client_options("ed", "-p").join(" "));
    for _ in 0..2 {
        let mut rsync = Command::new("rsync");
        rsync.args(["-a", "--delete", "-e", &through]).arg(format!("{}/", tree.display())).arg(remote("tree"));
        succeed(rsync).await;
        assert_eq!(std::fs::read(stage.home().join("tree/a/b/c")).unwrap(), b"deep");
        std::fs::write(tree.join("big"), &content[1000..]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_leads_to_a_relationship_and_nowhere_else() {
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = database.local_addr().unwrap();
    // Answers only after the client has closed its half.
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = database.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                socket.read_to_end(&mut asked).await.unwrap();
                asked.reverse();
                socket.write_all(&asked).await.unwrap();
            });
        }
    });
    let stage = stage(&["app"], Some(address), Limits::default()).await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (good, bad) = (free(), free());
    let forwards = [format!("{good}:database.internal:3306"), format!("{bad}:169.254.169.254:80")];
    let mut client = stage.ssh("ed", &["-N", "-L", &forwards[0], "-L", &forwards[1], "-o", "ExitOnForwardFailure=yes"], ENVIRONMENT).spawn().unwrap();
    until("the client listens", || std::net::TcpStream::connect(("127.0.0.1", bad)).is_ok()).await;
    let ask = |port: u16, bytes: Vec<u8>| async move {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("the tunnel closes");
        answer
    };
    let big: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 253) as u8).collect();
    let mut reversed = big.clone();
    reversed.reverse();
    let (first, second) = tokio::join!(ask(good, b"abc".to_vec()), ask(good, big));
    assert_eq!(first, b"cba");
    assert!(second == reversed, "{} bytes", second.len());
    assert_eq!(ask(bad, b"abc".to_vec()).await, b"");
    client.kill().await.unwrap();

    let back = format!("{}:127.0.0.1:1", free());
    let output = stage.ssh("ed", &["-N", "-R", &back, "-o", "ExitOnForwardFailure=yes"], ENVIRONMENT).output().await.unwrap();
    assert!(text(&output.stderr).contains("remote port forwarding failed"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_away_and_a_silent_session_end_with_words() {
    let stage = stage(&["app"], None, Limits { idle_time_max: Duration::from_millis(700), ..Limits::default() }).await;
    let output = stage.run(ENVIRONMENT, "sleep 600", b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("nothing moved for a long time"), "{}", text(&output.stderr));
    until("the command has ended, too", || stage.seen.lock().unwrap().ended == 1).await;

    let mut table = (**stage.table.lock().unwrap()).clone();
    table.environments[0].shells[0].worker = "127.0.0.1:1".into();
    *stage.table.lock().unwrap() = std::sync::Arc::new(table);
    let output = stage.run(ENVIRONMENT, "id", b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("the application cannot be reached"), "{}", text(&output.stderr));
}
