//! Outside programs: argument lists, a deadline, bounded output; never a shell.

use super::error::{Error, Result};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// No program of ours talks more; the rest is read and dropped, so that it does not block.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// `btrfs` and `mkfs` may wait for a busy disk; everything else ends in milliseconds.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(120);

/// What a program that ended well said.
#[derive(Debug, Clone)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

/// Run a program to its end; an exit code other than 0 is an error with its last words.
pub async fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    run_with_input(program, arguments, None).await
}

/// As [`run`], with something to read.
pub async fn run_with_input(program: &str, arguments: &[&str], input: Option<&str>) -> Result<Output> {
    let failed = |how: String, stderr: &str| Error::Program {
        program: program.to_string(),
        arguments: arguments.join(" "),
        how,
        stderr: stderr.trim().to_string(),
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("could not be started ({e})"), "is it installed?"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut pipe), Some(text)) = (stdin, input) {
            // A program that ends before it read everything says why on its stderr.
            let _ = pipe.write_all(text.as_bytes()).await;
        }
    };
    let talk = async { tokio::join!(feed, read_bounded(stdout), read_bounded(stderr), child.wait()) };
    let ((), stdout, stderr, status) = tokio::time::timeout(PROGRAM_TIME_MAX, talk)
        .await
        .map_err(|_| failed(format!("did not end within {} s", PROGRAM_TIME_MAX.as_secs()), "it was killed"))?;
    let status = status.map_err(|e| failed("could not be awaited".into(), &e.to_string()))?;
    if !status.success() {
        return Err(failed(format!("ended with {status}"), &stderr));
    }
    Ok(Output { stdout, stderr })
}

async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0u8; 8192];
        while let Ok(n) = pipe.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            let room = OUTPUT_BYTES_MAX - kept.len();
            kept.extend_from_slice(&buffer[..n.min(room)]);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_program_is_named_with_its_last_words() {
        let error = run("ls", &["/no/such/place"]).await.unwrap_err().to_string();
        assert!(error.contains("ls /no/such/place") && error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn input_longer_than_a_pipe_arrives_whole() {
        let text = "x".repeat(300_000);
        assert_eq!(run_with_input("cat", &[], Some(&text)).await.unwrap().stdout.len(), text.len());
    }
}
