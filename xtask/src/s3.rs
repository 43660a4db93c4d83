//! An S3 server of another make, for the tests: installed and started here, ended with the run.

use crate::places;
use crate::run::{run, step};
use anyhow::{Context, bail};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Its module; pinned, so that a run of tomorrow tests against the same.
const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// It answers within a second or never.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub struct S3 {
    child: Child,
    folder: PathBuf,
    /// `http://key:secret@host:port/bucket`.
    pub url: String,
}

impl S3 {
    pub fn start() -> anyhow::Result<Self> {
        let bin = places::cache().join("bin");
        let program = bin.join("versitygw");
        if !program.exists() {
            step("install the S3 server of the tests", || {
                std::fs::create_dir_all(&bin)?;
                run(Command::new("go").args(["install", MODULE]).env("GOBIN", &bin).env("GOFLAGS", "-buildvcs=false"))
            })?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("slipway-s3-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("slipway"))?;
        let child = Command::new(&program)
            .args(["--access", "slipway", "--secret", "slipway-secret", "--port", &format!("127.0.0.1:{port}"), "posix"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut server = Self { child, folder, url: format!("http://slipway:slipway-secret@127.0.0.1:{port}/slipway") };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the S3 server ended with {status}");
            }
            if begun.elapsed() > START_TIME_MAX {
                bail!("the S3 server does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
