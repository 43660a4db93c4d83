//! `slipway variable`.

use super::Done;
use super::arguments::{Common, InEnvironment, Wait};
use super::door::Door;
use super::failure::Failure;
use super::follow;
use super::table::Table;
use super::terminal::{note, say_json};
use clap::{ArgAction, Args, Subcommand};
use serde_json::{Value, json};
use slipway_proto::api;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// More than the platform takes; it says so itself.
const VALUE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct Variable {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them; the values of sensitive ones are never shown.
    List,
    /// Set one; what is not said stays as it is.
    Set(Set),
    /// Delete one.
    Delete {
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Args)]
struct Set {
    /// `env:NAME` becomes a Unix variable, `php:NAME` a php.ini directive.
    name: String,
    /// The value; `-`, or nothing, reads it from stdin.
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    /// The value is JSON.
    #[arg(long, action = ArgAction::SetTrue)]
    json: bool,
    /// Nobody can read it back.
    #[arg(long)]
    sensitive: bool,
    /// Builds see it; it then belongs to the identity of each build. (Default for a project's variables.)
    #[arg(long, overrides_with = "no_build")]
    build: bool,
    /// Builds do not see it. (Default for an environment's variables.)
    #[arg(long)]
    no_build: bool,
    /// Running applications see it. (Default.)
    #[arg(long, overrides_with = "no_runtime")]
    runtime: bool,
    /// Running applications do not see it.
    #[arg(long)]
    no_runtime: bool,
    /// Child environments do not inherit it.
    #[arg(long)]
    no_inherit: bool,
    /// Keep it, without effect.
    #[arg(long, overrides_with = "enable")]
    disable: bool,
    /// Give it effect again.
    #[arg(long)]
    enable: bool,
    /// Only for this application; may be given again.
    #[arg(long = "app", value_name = "APP")]
    apps: Vec<String>,
    #[command(flatten)]
    wait: Wait,
}

impl Variable {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let project = door.project(&self.place.project).await?.id;
        // The branch that is checked out does not count here: a project's variable is the usual case.
        let scope = api::VariableScope { project, environment: self.place.environment.clone().unwrap_or_default() };
        match self.command {
            Command::List => {
                let variables = list(&mut door, &scope).await?;
                say_list(&self.common, &scope, &variables);
                Ok(ExitCode::SUCCESS)
            }
            Command::Set(set) => {
                let present = list(&mut door, &scope).await?.into_iter().find(|v| v.name == set.name && !v.inherited);
                let wait = !set.wait.no_wait;
                let name = set.name.clone();
                let variable = set.variable(present, !scope.environment.is_empty())?;
                let ask = api::SetVariableRequest { scope: Some(scope), variable: Some(variable) };
                let begun = door.client.set_variable(ask).await.map_err(door.failed(format!("set variable '{name}'")))?.into_inner();
                follow::operation(&mut door, &self.common, begun, wait).await
            }
            Command::Delete { name, wait } => {
                let ask = api::DeleteVariableRequest { scope: Some(scope), name: name.clone() };
                let begun = door.client.delete_variable(ask).await.map_err(door.failed(format!("delete variable '{name}'")))?.into_inner();
                follow::operation(&mut door, &self.common, begun, !wait.no_wait).await
            }
        }
    }
}

async fn list(door: &mut Door, scope: &api::VariableScope) -> Result<Vec<api::Variable>, Failure> {
    Ok(door.client.list_variables(scope.clone()).await.map_err(door.failed("list the variables"))?.into_inner().variables)
}

impl Set {
    fn variable(self, present: Option<api::Variable>, of_environment: bool) -> Result<api::Variable, Failure> {
        let mut variable = present.unwrap_or_else(|| api::Variable {
            visible_build: !of_environment,
            visible_runtime: true,
            inheritable: true,
            enabled: true,
            ..api::Variable::default()
        });
        variable.name = self.name;
        variable.value = match self.value {
            Some(value) if value != "-" => value,
            given => value_of_stdin(given.is_some())?,
        };
        variable.json |= self.json;
        variable.sensitive |= self.sensitive;
        let choose = |yes: bool, no: bool, now: bool| if no { false } else { yes || now };
        variable.visible_build = choose(self.build, self.no_build, variable.visible_build);
        variable.visible_runtime = choose(self.runtime, self.no_runtime, variable.visible_runtime);
        variable.inheritable = choose(false, self.no_inherit, variable.inheritable);
        variable.enabled = choose(self.enable, self.disable, variable.enabled);
        if !self.apps.is_empty() {
            variable.application_scope = self.apps;
        }
        if variable.json && serde_json::from_str::<Value>(&variable.value).is_err() {
            return Err(Failure::blind(format!("could not set variable '{}'", variable.name), "its value is said to be JSON, and is not")
                .help("quote it for the shell: '{\"key\": \"value\"}', or give it on stdin with `-`"));
        }
        Ok(variable)
    }
}

/// All of stdin without one last line break.
fn value_of_stdin(asked: bool) -> Result<String, Failure> {
    if !asked && std::io::stdin().is_terminal() {
        return Err(Failure::blind("which value?", "none is given").help("slipway variable set NAME VALUE, or - to read it from stdin"));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::blind("could not read the value from stdin", error))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::blind("could not read the value from stdin", "it is no UTF-8 text").help("encode it: base64 FILE | slipway variable set NAME -")
    })?;
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).to_string())
}

fn say_list(common: &Common, scope: &api::VariableScope, variables: &[api::Variable]) {
    if common.json() {
        return say_json(&variables.iter().map(variable_json).collect());
    }
    if variables.is_empty() {
        let whose = if scope.environment.is_empty() { "The project" } else { "The environment" };
        return note(format!("{whose} has no variables. Set one: slipway variable set env:NAME VALUE --project {}", scope.project));
    }
    let mut table = Table::new(["NAME", "VALUE", "SEEN BY", "NOTES"]);
    for v in variables {
        let value = if v.sensitive { "(sensitive)".to_string() } else { v.value.replace('\n', "⏎") };
        let seen: Vec<&str> = [("build", v.visible_build), ("runtime", v.visible_runtime)].iter().filter(|(_, on)| *on).map(|(n, _)| *n).collect();
        let flags = [("json", v.json), ("inherited", v.inherited), ("disabled", !v.enabled), ("not for children", !v.inheritable)];
        let mut notes: Vec<String> = flags.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_string()).collect();
        if !v.application_scope.is_empty() {
            notes.push(format!("only {}", v.application_scope.join(", ")));
        }
        table.row([v.name.clone(), value, seen.join("+"), notes.join(", ")]);
    }
    table.print();
}

fn variable_json(v: &api::Variable) -> Value {
    json!({
        "name": v.name,
        "value": if v.sensitive { Value::Null } else { json!(v.value) },
        "json": v.json,
        "sensitive": v.sensitive,
        "visible_build": v.visible_build,
        "visible_runtime": v.visible_runtime,
        "inheritable": v.inheritable,
        "enabled": v.enabled,
        "inherited": v.inherited,
        "application_scope": v.application_scope,
    })
}
