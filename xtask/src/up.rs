//! A platform on this machine, with the example shop pushed to it.

use crate::places;
use crate::run::{cargo, output, run, step};
use crate::setup;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A cold start builds base images; their log is shown meanwhile.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
/// The example's project.
const PROJECT: &str = "shop";

/// The README's first command.
pub fn up(arguments: &[String]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let data_dir = data_dir(arguments);
    step("set up this machine", setup::setup)?;
    step("build slipway", || run(&mut cargo(&["build", "--release", "-p", "slipway-cli"])))?;
    step("start the platform", || start(&data_dir))?;
    let client = Client { data_dir: data_dir.clone() };
    step("make the project 'shop'", || client.ensure_project())?;
    step("push the example shop", || push(&client, &places::root().join("examples/shop"), PROJECT))?;
    let urls = client.urls(PROJECT)?;
    if urls.is_empty() {
        bail!("the shop was pushed and has no URL: see its log with `{} activity list --project {PROJECT}`", places::slipway().display());
    }
    println!("\nThe shop is live ({} s in all):", begun.elapsed().as_secs());
    for url in &urls {
        println!("  {url}");
    }
    let dir = data_dir.display();
    println!("Trust its certificates: curl --cacert {dir}/router/tls/ca.pem URL, or import that file into your browser.");
    println!("Console: http://127.0.0.1:7090/ with the token in {dir}/secrets/admin.token");
    println!("Your own app: see the README's tour. End it all: cargo xtask down --purge");
    Ok(())
}

/// Ends the platform.
pub fn down(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = setup::as_root(&places::slipway().to_string_lossy());
    command.arg("down").arg("--data-dir").arg(data_dir(arguments));
    if arguments.iter().any(|a| a == "--purge") {
        command.arg("--purge");
    }
    run(&mut command)
}

fn data_dir(arguments: &[String]) -> PathBuf {
    let given = arguments.iter().position(|a| a == "--data-dir").and_then(|n| arguments.get(n + 1));
    given.map_or_else(places::data_dir, PathBuf::from)
}

fn start(data_dir: &Path) -> anyhow::Result<()> {
    let client = Client { data_dir: data_dir.to_path_buf() };
    if client.answers() {
        eprintln!("    it runs already");
        return Ok(());
    }
    std::fs::create_dir_all(data_dir)?;
    write_config(data_dir)?;
    let log = std::fs::File::create(data_dir.join("up.log"))?;
    let mut command = setup::as_root("setsid");
    command.arg("-f").arg(places::slipway()).arg("up").arg("--data-dir").arg(data_dir);
    command.arg("--catalogue").arg(places::root().join("deploy/catalogue"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    run(&mut command)?;
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(data_dir.join("up.log")).unwrap_or_default();
        if text.contains("Slipway is up.") {
            return Ok(());
        }
        if begun.elapsed() > READY_TIME_MAX {
            bail!("the platform did not come up; {}/up.log ends with:\n{}", data_dir.display(), tail(&text, 20));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A machine behind an inspecting proxy has certificates of its own: builds must trust them too.
fn write_config(data_dir: &Path) -> anyhow::Result<()> {
    let file = data_dir.join("slipway.toml");
    if file.exists() {
        return Ok(());
    }
    let mut text = format!(
        "# Made by `cargo xtask up`; deploy/slipway.toml documents every key.\n[node]\nname = \"one\"\ndata_dir = \"{}\"\n\n[worker]\ncache_dir = \"{}\"\n",
        data_dir.display(),
        places::cache().display()
    );
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    if Path::new(bundle).exists() {
        text.push_str(&format!("\n[egress]\nca_bundle = \"{bundle}\"\n"));
    }
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The platform's own command line.
struct Client {
    data_dir: PathBuf,
}

impl Client {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = setup::as_root(&places::slipway().to_string_lossy());
        command.args(arguments).arg("--data-dir").arg(&self.data_dir);
        command
    }

    fn answers(&self) -> bool {
        self.command(&["node", "list"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    fn ensure_project(&self) -> anyhow::Result<()> {
        let known = output(&mut self.command(&["project", "list", "--format", "json"]))?;
        if known.contains(&format!("\"{PROJECT}\"")) {
            return Ok(());
        }
        run(&mut self.command(&["project", "create", "--id", PROJECT, "--title", "Example shop"]))
    }

    fn token(&self) -> anyhow::Result<String> {
        let path = self.data_dir.join("secrets/admin.token");
        output(setup::as_root("cat").arg(path))
    }

    /// The URLs that an environment's JSON lists, without a JSON parser: they stand in quotes after `urls`.
    fn urls(&self, project: &str) -> anyhow::Result<Vec<String>> {
        let json = output(&mut self.command(&["environment", "show", "main", "--project", project, "--format", "json"]))?;
        let list = json.split("\"urls\"").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
        Ok(list.split('"').filter(|s| s.starts_with("http")).map(str::to_string).collect())
    }
}

/// Pushes a folder of examples as a repository of its own, over HTTP with the first token.
fn push(client: &Client, folder: &Path, project: &str) -> anyhow::Result<()> {
    let work = client.data_dir.join("examples").join(project);
    std::fs::create_dir_all(&work)?;
    run(setup::as_root("cp").arg("-a").arg(format!("{}/.", folder.display())).arg(&work))?;
    let git = |arguments: &[&str]| {
        let mut command = setup::as_root("git");
        command.args(["-c", "safe.directory=*", "-c", "user.name=Slipway", "-c", "user.email=slipway@localhost", "-C"]).arg(&work).args(arguments);
        command
    };
    run(&mut git(&["init", "--quiet", "-b", "main"]))?;
    run(&mut git(&["add", "-A"]))?;
    run(&mut git(&["commit", "--quiet", "--allow-empty", "-m", "The example shop"]))?;
    let header = format!("http.extraHeader=Authorization: Basic {}", base64(format!("git:{}", client.token()?).as_bytes()));
    let url = format!("http://127.0.0.1:7080/{project}.git");
    let mut push = setup::as_root("git");
    push.args(["-c", "safe.directory=*", "-c", &header, "-C"]).arg(&work).args(["push", &url, "main"]);
    run(&mut push)
}

/// RFC 4648, for one header.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (n, byte)| word | u32::from(*byte) << (16 - 8 * n));
        for n in 0..4 {
            if n <= chunk.len() {
                out.push(ALPHABET[(word >> (18 - 6 * n) & 63) as usize] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}
