//! `slipway key`.

use super::Done;
use super::arguments::Common;
use super::door::Door;
use super::failure::Failure;
use super::project::done;
use super::table::{Table, moment};
use super::terminal::{note, say_json};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A public key has one line; the longest RSA keys have some 3 KB.
const KEY_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Args)]
pub struct Keys {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a public key; it opens git and, by role, applications.
    Add {
        /// The `.pub` file, or `-` for stdin; by default ~/.ssh/id_ed25519.pub.
        file: Option<PathBuf>,
        /// By default the key's own comment.
        #[arg(long)]
        title: Option<String>,
        /// Somebody else, for admins of the platform.
        #[arg(long, default_value = "")]
        user: String,
    },
    /// List your keys; an admin sees everybody's.
    List,
    /// Remove a key: it opens nothing any more.
    Remove { id: String },
}

impl Keys {
    pub async fn run(self) -> Done {
        match self.command {
            Command::Add { file, title, user } => {
                let line = read(file)?;
                let comment = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
                let title = title.unwrap_or(comment);
                let mut door = Door::open(&self.common).await?;
                let ask = api::AddKeyRequest { title, public_key: line, user };
                let key = door.client.add_key(ask).await.map_err(door.failed("add the key"))?.into_inner();
                done(&self.common, key_json(&key), &format!("Added {} ({}) for {}.", key.id, key.fingerprint, key.user));
            }
            Command::List => {
                let mut door = Door::open(&self.common).await?;
                let list = door.client.list_keys(api::Empty {}).await.map_err(door.failed("list the keys"))?.into_inner();
                say_list(&self.common, &list.keys);
            }
            Command::Remove { id } => {
                let mut door = Door::open(&self.common).await?;
                let what = format!("remove key '{id}'");
                door.client.remove_key(api::IdRequest { id: id.clone() }).await.map_err(door.failed(what))?;
                done(&self.common, json!({"removed": id}), &format!("Key {id} is removed."));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: Option<PathBuf>) -> Result<String, Failure> {
    let path = match file {
        Some(path) => path,
        None => {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            home.ok_or_else(|| Failure::blind("which key?", "HOME is not set").help("slipway key add FILE.pub"))?.join(".ssh/id_ed25519.pub")
        }
    };
    let unread = |error: std::io::Error| {
        Failure::blind("could not read the key", error).at(path.display()).help("make one with `ssh-keygen -t ed25519`, or name the .pub file")
    };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
    } else {
        std::fs::File::open(&path).map_err(unread)?.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
    }
    if text.contains("PRIVATE KEY") {
        return Err(Failure::blind("this is a private key, which stays with you", "only the public one is sent")
            .at(path.display())
            .help(format!("slipway key add {}.pub", path.display())));
    }
    Ok(text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default().to_string())
}

fn say_list(common: &Common, keys: &[api::Key]) {
    if common.json() {
        return say_json(&keys.iter().map(key_json).collect());
    }
    if keys.is_empty() {
        return note("No key yet. Add yours: slipway key add");
    }
    let mut table = Table::new(["ID", "USER", "TITLE", "CREATED", "FINGERPRINT"]);
    for k in keys {
        table.row([k.id.clone(), k.user.clone(), k.title.clone(), moment(&k.created_at), k.fingerprint.clone()]);
    }
    table.print();
}

fn key_json(key: &api::Key) -> Value {
    json!({"id": key.id, "title": key.title, "fingerprint": key.fingerprint, "user": key.user, "created_at": key.created_at})
}
