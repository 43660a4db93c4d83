//! The gate, which never writes; and `fix`, which may.

use crate::run::{cargo, has, run, step};

/// Format, clippy, house rules, docs, dependencies.
pub fn verify() -> anyhow::Result<()> {
    crate::setup::setup()?;
    step("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("clippy", || run(&mut cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    step("house rules", || run(&mut cargo(&["test", "--release", "-p", "slipway-tests", "--test", "tidy"])))?;
    step("docs", || run(cargo(&["doc", "--release", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings")))?;
    if !has("cargo-deny") {
        step("install cargo-deny", || run(&mut cargo(&["install", "--locked", "cargo-deny"])))?;
    }
    step("dependencies", || run(&mut cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])))
}

/// Format and mend.
pub fn fix() -> anyhow::Result<()> {
    run(&mut cargo(&["clippy", "--release", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"]))?;
    run(&mut cargo(&["fmt", "--all"]))
}
