//! Installs what is missing on a stock Debian 12 or 13.

use crate::run::{has, run, step};
use anyhow::bail;
use std::process::Command;

/// `(program, package)`: what building and running need.
const NEEDED: [(&str, &str); 19] = [
    ("cc", "build-essential"),
    ("git", "git"),
    ("cmake", "cmake"),
    ("clang", "clang"),
    ("mold", "mold"),
    ("protoc", "protobuf-compiler"),
    ("pkg-config", "pkg-config"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("zstd", "zstd"),
    ("ssh", "openssh-client"),
    ("curl", "curl"),
    // Base images with artefacts of a registry are fetched by its own client.
    ("npm", "npm"),
    ("mvn", "maven"),
    ("python3", "python3"),
];
/// Beside them, what the tests use.
const TESTED_WITH: [(&str, &str); 5] = [
    ("nginx", "nginx-light"),
    ("rsync", "rsync"),
    ("go", "golang-go"),
    ("chromium", "chromium"),
    ("sftp", "openssh-client"),
];
/// Libraries and data without a program of their own.
const LIBRARIES: [(&str, &str); 4] = [
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    ("/usr/lib/llvm-14/lib/libclang.so.1", "libclang-dev"),
];

/// For `up`.
pub fn setup() -> anyhow::Result<()> {
    install(&NEEDED, &LIBRARIES)
}

/// For `test`.
pub fn setup_tests() -> anyhow::Result<()> {
    setup()?;
    install(&TESTED_WITH, &[])
}

fn install(programs: &[(&str, &str)], files: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = programs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    let libclang = ["/usr/lib/llvm-14", "/usr/lib/llvm-19", "/usr/lib/llvm-16"].iter().any(|d| std::path::Path::new(d).join("lib/libclang.so.1").exists());
    for (file, package) in files {
        let there = std::path::Path::new(file).exists() || (*package == "libclang-dev" && libclang);
        if !there {
            missing.push(package);
        }
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !has("apt-get") {
        bail!("missing: {}; this is no Debian, install them by hand", missing.join(", "));
    }
    step(&format!("install {}", missing.join(", ")), || {
        run(as_root("apt-get").args(["update", "-qq"]))?;
        let mut install = as_root("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
        // Debian's containerd would start a daemon of its own; the platform runs a private one.
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

/// A program as root, through sudo where we are not.
pub fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-E", program]);
    command
}

/// True for root.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| s.lines().find(|l| l.starts_with("Uid:")).map(|l| l.split_whitespace().nth(2) == Some("0")))
        .unwrap_or(false)
}
