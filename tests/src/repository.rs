//! A git repository of a test's own, pushed with plain git.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A working tree.
pub struct Repository {
    pub folder: tempfile::TempDir,
}

/// What `git push` said.
#[derive(Debug)]
pub struct Pushed {
    pub accepted: bool,
    pub said: String,
}

impl Repository {
    /// Files by path.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let repository = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        repository.git(&["init", "--quiet", "-b", "main"]);
        for (path, text) in files {
            repository.write(path, text);
        }
        repository
    }

    /// A copy of an example.
    pub fn example(name: &str) -> Self {
        let examples = std::env::var_os("SLIPWAY_EXAMPLES").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").join("examples"),
            PathBuf::from,
        );
        let repository = Self::with(&[]);
        let status = Command::new("cp").arg("-a").arg(format!("{}/.", examples.join(name).display())).arg(repository.path()).status();
        assert!(status.is_ok_and(|s| s.success()), "copy the example {name}");
        repository
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let file = self.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("make the folder");
        std::fs::write(file, text).expect("write the file");
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).expect("the file is there")
    }

    /// Git in the tree; its output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-C"])
            .arg(self.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Pushes to a URL; what git said is kept, `remote:` prefixes taken off.
    pub fn push(&self, url: &str, arguments: &[&str]) -> Pushed {
        let output = Command::new("git").arg("-C").arg(self.path()).arg("push").arg(url).args(arguments).stdin(Stdio::null()).output().expect("git runs");
        let text = String::from_utf8_lossy(&output.stderr).replace('\r', "\n");
        let said = text.lines().map(|l| l.strip_prefix("remote: ").or(l.strip_prefix("remote:")).unwrap_or(l).trim_end()).collect::<Vec<_>>().join("\n");
        Pushed { accepted: output.status.success(), said }
    }
}
