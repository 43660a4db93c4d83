//! Requests through the router, by curl: another implementation than ours.

use std::path::Path;
use std::process::Command;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request; the router's own CA is the only one that is trusted.
pub fn request(ca: &Path, url: &str, more: &[&str]) -> Result<Answer, String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "70", "--cacert"])
        .arg(ca)
        .args(more)
        .arg(url)
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    // Interim answers (100) come before the real one.
    let mut rest = text.as_str();
    loop {
        let (head, body) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let status: u16 = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        if status == 100 {
            rest = body;
            continue;
        }
        return Ok(Answer { status, head: head.to_string(), body: body.to_string() });
    }
}
