//! `slipway token`.

use super::Done;
use super::arguments::Common;
use super::door::Door;
use super::project::done;
use super::table::{Table, moment};
use super::terminal::{note, say, say_json};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Tokens {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token. It is shown this once.
    Create {
        /// What it is for.
        #[arg(long, default_value = "")]
        title: String,
        /// Somebody else, who is made when new; for admins of the platform.
        #[arg(long, default_value = "")]
        user: String,
        /// Make its user an admin of the platform.
        #[arg(long)]
        admin: bool,
    },
    /// List your tokens without their secrets; an admin sees everybody's.
    List,
    /// Revoke a token: it opens nothing any more.
    Revoke { id: String },
}

impl Tokens {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        match self.command {
            Command::Create { title, user, admin } => {
                let ask = api::CreateTokenRequest { title, user, admin };
                let token = door.client.create_token(ask).await.map_err(door.failed("make a token"))?.into_inner();
                if self.common.json() {
                    let mut json = token_json(&token);
                    json["secret"] = json!(token.secret);
                    say_json(&json);
                } else {
                    note(format!("Token {} for {}; it is shown this once:", token.id, token.user));
                    say(format!("{}\n", token.secret));
                }
            }
            Command::List => {
                let list = door.client.list_tokens(api::Empty {}).await.map_err(door.failed("list the tokens"))?.into_inner();
                say_list(&self.common, &list.tokens);
            }
            Command::Revoke { id } => {
                let what = format!("revoke token '{id}'");
                door.client.revoke_token(api::IdRequest { id: id.clone() }).await.map_err(door.failed(what))?;
                done(&self.common, json!({"revoked": id}), &format!("Token {id} is revoked."));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say_list(common: &Common, tokens: &[api::Token]) {
    if common.json() {
        return say_json(&tokens.iter().map(token_json).collect());
    }
    if tokens.is_empty() {
        return note("No token yet. Make one: slipway token create --title laptop");
    }
    let mut table = Table::new(["ID", "USER", "TITLE", "CREATED"]);
    for t in tokens {
        table.row([t.id.clone(), t.user.clone(), t.title.clone(), moment(&t.created_at)]);
    }
    table.print();
}

fn token_json(token: &api::Token) -> Value {
    json!({"id": token.id, "title": token.title, "user": token.user, "created_at": token.created_at})
}
