//! One SSH connection: who it is, and what its channels ask for.

use super::flow::{Flow, Pulse, TRICKLE_PAUSE, WINDOW_BYTES};
use super::options::Limits;
use super::shell::{self, EXIT_LOST};
use super::target::{self, Found, KeyLine, Wish};
use super::tunnel;
use super::worker::Workers;
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use slipway_model::route::RouteTable;
use slipway_proto::worker::{ShellCommand, ShellOpen, Tunnel, WindowSize, shell_open};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A command line beyond this is none that a person or a tool of theirs writes.
const COMMAND_BYTES_MAX: usize = 256 << 10;
const TERM_BYTES_MAX: usize = 64;

/// What all connections share.
pub struct Shared {
    pub table: Box<dyn Fn() -> Arc<RouteTable> + Send + Sync>,
    pub workers: Workers,
    pub limits: Limits,
}

/// A guest whose key is proven.
#[derive(Clone)]
struct Guest {
    user: String,
    key: KeyLine,
    wish: Option<Wish>,
    written: String,
}

/// The handler of one connection.
pub struct Door {
    shared: Arc<Shared>,
    pulse: Pulse,
    logged_in: watch::Sender<bool>,
    guest: Option<Guest>,
    waiting: HashMap<ChannelId, Waiting>,
    flows: HashMap<ChannelId, Flow>,
}

/// A channel that has not yet said what it wants.
struct Waiting {
    channel: Channel<Msg>,
    pty: Option<WindowSize>,
    term: String,
}

impl Door {
    pub fn new(shared: Arc<Shared>, pulse: Pulse, logged_in: watch::Sender<bool>) -> Door {
        Door { shared, pulse, logged_in, guest: None, waiting: HashMap::new(), flows: HashMap::new() }
    }

    fn recognised(&self, user: &str, key: &PublicKey) -> Option<Guest> {
        let key = KeyLine::new(&key.to_openssh().ok()?)?;
        let wish = target::wish(user);
        let name = target::known_user(&(self.shared.table)(), wish.as_ref(), &key)?;
        Some(Guest { user: name, key, wish, written: user.chars().take(150).filter(|c| !c.is_control()).collect() })
    }

    fn found(&self) -> Result<(Guest, Found), String> {
        let guest = self.guest.clone().ok_or("nobody has logged in")?;
        let found = target::find(&(self.shared.table)(), guest.wish.as_ref(), &guest.user, &guest.written, &guest.key)?;
        Ok((guest, found))
    }

    /// Starts what a channel asks for in the container.
    fn start(&mut self, id: ChannelId, session: &mut Session, command: String, sftp: bool) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let found = self.found();
        let flow = self.flows.entry(id).or_default().clone();
        let (shared, pulse) = (self.shared.clone(), self.pulse.clone());
        tokio::spawn(async move {
            let (read, write) = waiting.channel.split();
            let (guest, found) = match found {
                Ok(found) => found,
                Err(text) => return shell::farewell(&write, &text, EXIT_LOST).await,
            };
            let interactive = waiting.pty.is_some() && command.is_empty() && !sftp;
            let shell_command = ShellCommand { command, sftp, pty: waiting.pty.is_some(), size: waiting.pty, term: waiting.term };
            tracing::info!(user = guest.user, environment = %found.environment, container = found.target.container, interactive, sftp, "a shell is opened");
            let open = ShellOpen {
                instance: found.target.instance.to_string(),
                user: guest.user.clone(),
                what: Some(shell_open::What::Command(shell_command)),
            };
            match shared.workers.open(&found.target.worker, open).await {
                Ok(line) => {
                    if interactive {
                        let banner = banner(&guest, &found);
                        if write.extended_data_bytes(1, shell::terminal_lines(&banner)).await.is_err() {
                            return;
                        }
                    }
                    shell::run(line, read, write, flow, pulse).await;
                }
                Err(reason) => {
                    let text = format!("Hello {}, the application cannot be reached: {reason}. Try again in a minute.", guest.user);
                    shell::farewell(&write, &text, EXIT_LOST).await;
                }
            }
        });
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        for flow in self.flows.values() {
            flow.close();
        }
    }
}

fn banner(guest: &Guest, found: &Found) -> String {
    format!(
        "\nWelcome to Slipway, {}.\n\n  project      {}\n  environment  {}\n  application  {}\n\n\
         The code is read-only; mounts keep what is written there.\n",
        guest.user, found.project, found.environment, found.target.container
    )
}

impl Handler for Door {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(if self.recognised(user, offer.public_key).is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.guest = self.recognised(user, key.public_key);
        Ok(if self.guest.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), russh::Error> {
        self.logged_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, _session: &mut Session) -> Result<(), russh::Error> {
        if self.flows.len() >= self.shared.limits.channels_max {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let id = channel.id();
        self.flows.insert(id, Flow::default());
        self.waiting.insert(id, Waiting { channel, pty: None, term: String::new() });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (guest, found) = match self.found() {
            Ok(found) => found,
            Err(_) => {
                reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                return Ok(());
            }
        };
        if self.flows.len() >= self.shared.limits.channels_max || host.len() > 255 || port > u32::from(u16::MAX) {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let flow = Flow::default();
        self.flows.insert(channel.id(), flow.clone());
        let open = ShellOpen {
            instance: found.target.instance.to_string(),
            user: guest.user,
            what: Some(shell_open::What::Tunnel(Tunnel { host: host.to_string(), port })),
        };
        let (shared, pulse) = (self.shared.clone(), self.pulse.clone());
        tokio::spawn(async move {
            let line = shared.workers.open(&found.target.worker, open).await;
            tunnel::run(line, channel, reply, flow, pulse).await;
        });
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.waiting.remove(&channel);
        if let Some(flow) = self.flows.remove(&channel) {
            flow.close();
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), russh::Error> {
        if let Some(flow) = self.flows.get(&channel) {
            flow.received(data.len());
            if flow.is_behind() && data.len() <= 2 {
                tokio::time::sleep(TRICKLE_PAUSE).await;
            }
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _current: u32) -> u32 {
        self.flows.get(&channel).map_or(WINDOW_BYTES, Flow::window)
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Result<(), russh::Error> {
        match (name, self.waiting.get_mut(&channel)) {
            ("TERM", Some(waiting)) if is_term(value) => {
                waiting.term = value.to_string();
                session.channel_success(channel)
            }
            // The container's own locale is UTF-8 already.
            ("LANG", Some(_)) => session.channel_success(channel),
            (name, Some(_)) if name.starts_with("LC_") => session.channel_success(channel),
            _ => session.channel_failure(channel),
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.get_mut(&channel) else { return session.channel_failure(channel) };
        waiting.pty = Some(WindowSize { columns, rows });
        waiting.term = if is_term(term) { term.to_string() } else { "xterm".into() };
        session.channel_success(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.start(channel, session, String::new(), false)
    }

    async fn exec_request(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        match std::str::from_utf8(data) {
            Ok(command) if !command.is_empty() && data.len() <= COMMAND_BYTES_MAX => self.start(channel, session, command.to_string(), false),
            _ => session.channel_failure(channel),
        }
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), russh::Error> {
        if name == "sftp" { self.start(channel, session, String::new(), true) } else { session.channel_failure(channel) }
    }
}

fn is_term(text: &str) -> bool {
    !text.is_empty() && text.len() <= TERM_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b))
}
