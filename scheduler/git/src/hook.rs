//! The hook program: carries git's questions to the door and its answers back.
//!
//! It judges nothing. One line of JSON goes up, lines of JSON come down until one says how to end.

use crate::packet;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Where the hook finds the door.
pub const SOCKET_VARIABLE: &str = "SLIPWAY_HOOK_SOCKET";
/// The hooks that a session repository has.
pub const NAMES: [&str; 3] = ["pre-receive", "proc-receive", "post-receive"];
/// One call: ten thousand ref updates with their push options fit many times over.
pub const CALL_BYTES_MAX: u64 = 8 << 20;

/// One line of a push as git gives it to its hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawUpdate {
    pub old: String,
    pub new: String,
    pub name: String,
}

/// What a hook asks the door.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "hook", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HookCall {
    PreReceive { updates: Vec<RawUpdate>, push_options: Vec<String> },
    ProcReceive { updates: Vec<RawUpdate> },
    PostReceive {},
}

/// What the door answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HookAnswer {
    /// To the pusher's terminal.
    Say { text: String },
    /// How each ref fared; `None` is `ok`.
    Report { results: Vec<(String, Option<String>)> },
    /// The last answer.
    Exit { success: bool },
}

/// Runs one hook; `arguments` begin with its name.
pub fn hook_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let name = arguments.into_iter().next().unwrap_or_default();
    match run(&name.to_string_lossy()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("E: Slipway's git door cannot be reached by its own hook: {error}. Nothing was stored; push again.");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> io::Result<bool> {
    let socket = std::env::var_os(SOCKET_VARIABLE)
        .ok_or_else(|| io::Error::other(format!("{SOCKET_VARIABLE} is not set: git hooks are started by the git doors only")))?;
    let call = match name {
        "pre-receive" => HookCall::PreReceive { updates: updates_from_lines(io::stdin().lock())?, push_options: push_options()? },
        "proc-receive" => HookCall::ProcReceive { updates: updates_from_packets(&mut io::stdin().lock(), &mut io::stdout().lock())? },
        "post-receive" => {
            io::copy(&mut io::stdin().lock(), &mut io::sink())?;
            HookCall::PostReceive {}
        }
        other => return Err(io::Error::other(format!("there is no hook '{other}'"))),
    };
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(&call)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for answer in BufReader::new(stream).lines() {
        match serde_json::from_str(&answer?)? {
            HookAnswer::Say { text } => io::stderr().lock().write_all(text.as_bytes())?,
            HookAnswer::Report { results } => report(&mut io::stdout().lock(), &results)?,
            HookAnswer::Exit { success } => return Ok(success),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn updates_from_lines(input: impl BufRead) -> io::Result<Vec<RawUpdate>> {
    let mut updates = Vec::new();
    for line in input.take(CALL_BYTES_MAX).lines() {
        updates.push(update(&line?)?);
    }
    Ok(updates)
}

fn update(line: &str) -> io::Result<RawUpdate> {
    let mut parts = line.splitn(3, ' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(old), Some(new), Some(name)) => Ok(RawUpdate { old: old.into(), new: new.into(), name: name.into() }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a ref update")),
    }
}

/// As git hands them to hooks: a count, then one variable each.
fn push_options() -> io::Result<Vec<String>> {
    let count: usize = std::env::var("GIT_PUSH_OPTION_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut options = Vec::new();
    for index in 0..count.min(1000) {
        options.push(std::env::var(format!("GIT_PUSH_OPTION_{index}")).map_err(io::Error::other)?);
    }
    Ok(options)
}

/// Git's `proc-receive` protocol: agree on version 1, take the commands.
fn updates_from_packets(input: &mut impl Read, output: &mut impl Write) -> io::Result<Vec<RawUpdate>> {
    let hello = packet::read(input)?.unwrap_or_default();
    let features = String::from_utf8_lossy(&hello).into_owned();
    let (version, features) = features.split_once('\0').unwrap_or((&features, ""));
    if version != "version=1" {
        return Err(io::Error::other(format!("git speaks proc-receive '{version}', not 'version=1'")));
    }
    while packet::read(input)?.is_some() {}
    let wants_options = features.split(' ').any(|feature| feature == "push-options");
    packet::write(output, if wants_options { b"version=1\0push-options atomic" } else { b"version=1\0atomic" })?;
    output.write_all(packet::FLUSH)?;
    output.flush()?;
    let mut updates = Vec::new();
    while let Some(line) = packet::read(input)? {
        let line = String::from_utf8(line).map_err(io::Error::other)?;
        updates.push(update(&line)?);
    }
    if wants_options {
        while packet::read(input)?.is_some() {}
    }
    Ok(updates)
}

fn report(output: &mut impl Write, results: &[(String, Option<String>)]) -> io::Result<()> {
    for (name, reason) in results {
        match reason {
            None => packet::write(output, format!("ok {name}").as_bytes())?,
            Some(reason) => packet::write(output, format!("ng {name} {reason}").as_bytes())?,
        }
    }
    output.write_all(packet::FLUSH)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_proc_receive_are_read_with_and_without_push_options() {
        for (hello, options) in [("version=1\0push-options atomic", true), ("version=1\0atomic", false), ("version=1", false)] {
            let mut input = packet::framed(hello.as_bytes());
            input.extend_from_slice(packet::FLUSH);
            input.extend(packet::framed(b"00 11 refs/heads/a b\n"));
            input.extend_from_slice(packet::FLUSH);
            if options {
                input.extend(packet::framed(b"x=y"));
                input.extend_from_slice(packet::FLUSH);
            }
            let mut output = Vec::new();
            let mut rest = input.as_slice();
            let updates = updates_from_packets(&mut rest, &mut output).unwrap();
            assert_eq!(updates, [RawUpdate { old: "00".into(), new: "11".into(), name: "refs/heads/a b".into() }]);
            assert!(rest.is_empty(), "{hello}");
            assert!(output.windows(9).any(|window| window == b"version=1"));
        }
        assert!(updates_from_packets(&mut packet::framed(b"version=2").as_slice(), &mut Vec::new()).is_err());
    }
}
