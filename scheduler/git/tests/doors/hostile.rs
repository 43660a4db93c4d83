//! Strangers, broken packs and names that would be something else to a shell.

use super::stage::*;
use slipway_git::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing_and_a_shell_is_not_given() {
    let stage = stage().await;
    let here = stage.dir.path().to_path_buf();
    let said = stage.git_as("stranger", &here, &["ls-remote", &stage.ssh_url()]).await;
    assert!(!said.ok && said.text.contains("Permission denied (publickey)"), "{}", said.text);
    let said = stage.git_as("ada", &here, &["ls-remote", &stage.http_url("nobody")]).await;
    assert!(!said.ok && said.text.contains("Authentication failed"), "{}", said.text);

    // A project that exists and one that does not: the same words for one who may see neither.
    let mut answers = Vec::new();
    for project in ["shop", "none"] {
        let ssh = format!("ssh://git@127.0.0.1:{}/{project}.git", stage.ssh.port());
        let http = format!("http://x:token-otto@127.0.0.1:{}/{project}.git", stage.http.port());
        for url in [ssh, http] {
            let said = stage.git_as("otto", &here, &["ls-remote", &url]).await;
            assert!(!said.ok);
            answers.push(said.text.replace(project, "PROJECT"));
        }
    }
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[1], answers[3]);
    assert!(answers[0].contains("does not exist or you do not have access to it"), "{}", answers[0]);

    let ssh = |more: Vec<String>| {
        let mut words: Vec<String> = stage.ssh_command("ada").split(' ').map(String::from).collect();
        words.extend(["-p".into(), stage.ssh.port().to_string()]);
        words.extend(more);
        let mut command = tokio::process::Command::new(&words[0]);
        command.args(&words[1..]).stdin(std::process::Stdio::null()).kill_on_drop(true);
        async move {
            let output = tokio::time::timeout(std::time::Duration::from_secs(20), command.output()).await.expect("ssh ends").unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let host = "shop@127.0.0.1".to_string();
    for (arguments, code, part) in [
        (vec![host.clone()], 1, "Hello ada, you successfully authenticated. Slipway speaks git here"),
        (vec![host.clone(), "id".into()], 128, "gives no shell"),
        (vec![host.clone(), "git-upload-archive '/shop.git'".into()], 128, "does not serve git archives"),
        (vec![host.clone(), "git-upload-pack '/shop.git'; id".into()], 128, "no path of a repository"),
        (vec!["other@127.0.0.1".into(), "git-upload-pack '/shop.git'".into()], 128, "names another project"),
        (vec!["-s".into(), host.clone(), "sftp".into()], 255, "subsystem request failed"),
        (vec!["-N".into(), "-o".into(), "ExitOnForwardFailure=yes".into(), "-R".into(), "0:127.0.0.1:1".into(), host.clone()], 255, "forwarding failed"),
    ] {
        let (status, text) = ssh(arguments.clone()).await;
        assert!(status == Some(code) && text.contains(part), "{arguments:?}: {status:?}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_something_else_to_a_shell_or_a_program_stay_names() {
    let stage = stage().await;
    let work = stage.project("work").await;
    let url = stage.ssh_url();
    for name in ["--upload-pack=x", "-x"] {
        let said = stage.git_as("ada", &work, &["push", &url, &format!("main:refs/heads/{name}")]).await;
        assert!(!said.ok && said.text.contains("(not a branch name)"), "{name}: {}", said.text);
        stage.nothing_is_left().await;
    }
    let said = stage.git_as("ada", &work, &["push", &url, "main:refs/for/main"]).await;
    assert!(!said.ok && said.text.contains("(only branches are taken)"), "{}", said.text);
    assert!(stage.refs().is_empty());
    let odd = ["refs/heads/$(touch${IFS}pwned)", "refs/heads/'quo\"te", "refs/heads/;id;", "refs/heads/a&b|c", "refs/heads/größe"];
    let specs: Vec<String> = odd.iter().map(|name| format!("main:{name}")).collect();
    let mut arguments = vec!["push", "-q", &url];
    arguments.extend(specs.iter().map(String::as_str));
    stage.git(&work, &arguments).await;
    let mut wanted: Vec<String> = odd.iter().map(|name| name.to_string()).collect();
    wanted.sort();
    assert_eq!(stage.refs(), wanted);
    stage.git(stage.dir.path(), &["clone", "-q", "--mirror", &url, "mirror"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_too_large_or_broken_is_refused_and_leaves_nothing() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.platform.ledger.lock().unwrap().push_bytes_max = 100_000;
    // Does not compress.
    let mut state = 1_u64;
    let mut noise = Vec::new();
    for _ in 0..400_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push((state >> 56) as u8);
    }
    std::fs::write(work.join("public/noise"), noise).unwrap();
    stage.commit(&work, "Too much").await;
    for url in [stage.ssh_url(), stage.http_url("ada")] {
        let said = stage.git_as("ada", &work, &["push", &url, "main"]).await;
        assert!(!said.ok && said.text.contains("pack exceeds maximum allowed size"), "{}", said.text);
        stage.nothing_is_left().await;
    }
    stage.platform.ledger.lock().unwrap().push_bytes_max = 0;

    // A push of one ref with a pack that is none, and one whose object is nowhere.
    let command = format!("{} {} refs/heads/main\0report-status side-band-64k", "0".repeat(40), "1".repeat(40));
    let line = format!("{:04x}{command}0000", command.len() + 4);
    let mut empty = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    empty.extend_from_slice(&[0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad, 0x6a, 0xc7, 0x5c, 0x82, 0x3c, 0xfd, 0x3e, 0xd3, 0x1e]);
    for (pack, part) in [(b"PACK\0\0\0\x02\xff\xff\xff\xffgarbage".to_vec(), "unpack"), (empty, "missing necessary objects")] {
        let mut body = line.clone().into_bytes();
        body.extend_from_slice(&pack);
        let answer = post(&stage, "git-receive-pack", &body, "").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part) && !answer.contains("ok refs/heads/main"), "{answer}");
        stage.nothing_is_left().await;
    }
    assert!(stage.refs().is_empty());
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_that_unfolds_to_too_much_is_cut_off() {
    let stage = stage_with(Limits { fetch_request_bytes_max: 1 << 20, ..Limits::default() }).await;
    let work = stage.project("work").await;
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![b'0'; 64 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let answer = post(&stage, "git-upload-pack", &bomb, "Content-Encoding: gzip\r\n").await;
    assert!(answer.len() < 10_000, "{} bytes", answer.len());
    until("the session is gone", || std::fs::read_dir(stage.data().join("sessions")).unwrap().count() == 0).await;
}

async fn post(stage: &Stage, service: &str, body: &[u8], headers: &str) -> String {
    let mut socket = TcpStream::connect(stage.http).await.unwrap();
    // x:token-ada
    let head = format!(
        "POST /shop.git/{service} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp0b2tlbi1hZGE=\r\nConnection: close\r\n\
         Content-Type: application/x-{service}-request\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let _ = socket.write_all(body).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("the door answers");
    String::from_utf8_lossy(&answer).into_owned()
}
