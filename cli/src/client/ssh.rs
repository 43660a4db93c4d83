//! `slipway ssh`: the system's own ssh, told where to go.

use super::Done;
use super::arguments::{Common, InEnvironment};
use super::door::Door;
use super::environment;
use super::failure::Failure;
use clap::Args;
use slipway_proto::api;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Args)]
pub struct Ssh {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: InEnvironment,
    /// The application, or APP--WORKER; by default the first application.
    app: Option<String>,
    /// A command instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Ssh {
    pub async fn run(self) -> Done {
        let mut door = Door::open(&self.common).await?;
        let named = door.environment(&self.place, None).await?;
        let environment = environment::get(&mut door, &named).await?;
        let url = url_of(&environment, self.app.as_deref())?;
        let target = Target::parse(&url).ok_or_else(|| Failure::new("could not read the SSH address", "it is not of the form ssh://user@host:port").at(&url))?;
        let known_hosts = known_hosts(&self.common.data_dir, &target)?;
        let mut ssh = target.command(known_hosts.as_deref());
        if !self.command.is_empty() {
            ssh.arg(remote_line(&self.command));
        }
        Err(Failure::blind("could not start ssh", ssh.exec()).help("apt-get install openssh-client"))
    }
}

fn url_of(environment: &api::Environment, app: Option<&str>) -> Result<String, Failure> {
    let reachable: Vec<&api::Container> = environment.containers.iter().filter(|c| !c.ssh_url.is_empty()).collect();
    if let Some(app) = app {
        if let Some(container) = reachable.iter().find(|c| c.name == app) {
            return Ok(container.ssh_url.clone());
        }
        let names: Vec<&str> = reachable.iter().map(|c| c.name.as_str()).collect();
        let why = match environment.containers.iter().any(|c| c.name == app) {
            true => "it is a service: SSH reaches applications and their workers".to_string(),
            false => format!("there are: {}", names.join(", ")),
        };
        return Err(Failure::new(format!("environment '{}' has no application '{app}' to enter", environment.name), why).help(format!(
            "slipway environment show {} --project {}",
            environment.name, environment.project
        )));
    }
    if environment.ssh_url.is_empty() {
        return Err(Failure::new(format!("environment '{}' runs no application", environment.name), format!("it is {}", environment.status))
            .help(format!("slipway environment activate {} --project {}", environment.name, environment.project)));
    }
    Ok(environment.ssh_url.clone())
}

/// `ssh://user@host:port`.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    user: String,
    host: String,
    port: u16,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let (user, address) = url.strip_prefix("ssh://")?.trim_end_matches('/').split_once('@')?;
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (address, 22),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:%".contains(c));
        (plain(user) && plain(host)).then(|| Self { user: user.into(), host: host.into(), port })
    }

    fn command(&self, known_hosts: Option<&Path>) -> Command {
        let mut ssh = Command::new("ssh");
        match known_hosts {
            Some(path) => {
                ssh.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", path.display()));
                ssh.args(["-o", "StrictHostKeyChecking=yes"]);
            }
            // Another machine's platform: its key is learnt at the first time and kept to.
            None => {
                ssh.args(["-o", "StrictHostKeyChecking=accept-new"]);
            }
        }
        ssh.arg("-p").arg(self.port.to_string()).arg("-l").arg(&self.user).arg("--").arg(&self.host);
        ssh
    }
}

/// The platform's own key, where this machine has it, in the form that ssh reads.
fn known_hosts(data_dir: &Path, target: &Target) -> Result<Option<PathBuf>, Failure> {
    let Ok(key) = std::fs::read_to_string(data_dir.join("ssh_host_key.pub")) else { return Ok(None) };
    let mut words = key.split_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else { return Ok(None) };
    let Some(folder) = cache_folder() else { return Ok(None) };
    let path = folder.join(format!("known_hosts-{}", target.port));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let aside = folder.join(format!("known_hosts-{}.{}", target.port, std::process::id()));
        std::fs::write(&aside, format!("[{}]:{} {kind} {body}\n{} {kind} {body}\n", target.host, target.port, target.host))?;
        std::fs::rename(&aside, &path)
    };
    write().map_err(|error| Failure::blind("could not write the platform's host key for ssh", error).at(path.display()))?;
    Ok(Some(path))
}

fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("slipway"))
}

/// One word is a line for the remote shell; several keep their borders.
fn remote_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c));
    if plain { word.to_string() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_a_hostile_one_refused() {
        let target = Target::parse("ssh://shop-main-abc--front@localhost:7023").unwrap();
        assert_eq!(target, Target { user: "shop-main-abc--front".into(), host: "localhost".into(), port: 7023 });
        assert_eq!(Target::parse("ssh://a@[::1]:7").unwrap().host, "::1");
        for hostile in ["ssh://-oProxyCommand=x@host:1", "ssh://a@-oProxyCommand=x:1", "http://a@b", "ssh://host", "ssh://a@b c:1"] {
            assert_eq!(Target::parse(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn words_keep_their_borders_on_the_other_side() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_string()).collect::<Vec<_>>();
        assert_eq!(remote_line(&words(&["ls | wc -l"])), "ls | wc -l");
        assert_eq!(remote_line(&words(&["psql", "-c", "select 'a b'"])), "psql -c 'select '\\''a b'\\'''");
    }
}
