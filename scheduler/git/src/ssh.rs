//! The SSH door: public keys only, one git command per channel, nothing else.

use crate::command;
use crate::conversation::{self, Input, Outcome, Outlet, Pulse};
use crate::platform::{Guest, Unknown};
use crate::porter::{Connection, Porter};
use crate::service::{self, Ask, Running, Shape};
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet, Pty};
use slipway_model::ids::ProjectId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::ChildStdin;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Channels of one connection; git uses one, a shared connection a few.
const CHANNELS_MAX: usize = 8;
/// As git itself says that it failed.
const EXIT_REFUSED: u32 = 128;

/// Serves until shutdown.
pub async fn serve(listener: TcpListener, key: PrivateKey, porter: Arc<Porter>, shutdown: CancellationToken) {
    let config = Arc::new(config(key));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: wait for some to come back instead of spinning.
                tracing::warn!(%error, "an SSH connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(connection) = porter.connection(peer.ip()) else { continue };
        let (logged_in, mut login) = watch::channel(false);
        let handler = Door { porter: porter.clone(), peer, guest: None, known: None, channels: HashMap::new(), logged_in, _connection: connection };
        let (config, time_max, shutdown) = (config.clone(), porter.limits.login_time_max, shutdown.clone());
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            let session = match tokio::time::timeout(time_max, russh::server::run_stream(config, socket, handler)).await {
                Ok(Ok(session)) => session,
                _ => return,
            };
            let handle = session.handle();
            tokio::pin!(session);
            tokio::select! {
                _ = &mut session => return,
                () = tokio::time::sleep(time_max) => {}
                _ = login.wait_for(|logged_in| *logged_in) => {}
            }
            let logged_in = *login.borrow();
            if logged_in {
                tokio::select! {
                    _ = &mut session => return,
                    () = shutdown.cancelled() => {}
                }
            }
            let reason = if logged_in { "this node is shutting down" } else { "nobody logged in in time" };
            let _ = handle.disconnect(russh::Disconnect::ByApplication, reason.into(), "en".into()).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), session).await;
        });
    }
}

fn config(key: PrivateKey) -> Config {
    Config {
        server_id: russh::SshId::Standard("SSH-2.0-Slipway".into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Keys cannot be guessed: a short pause is enough, and people offer many keys.
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        max_auth_attempts: 20,
        // A client that is gone without a word is noticed by unanswered keepalives.
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        nodelay: true,
        ..Config::default()
    }
}

struct Door {
    porter: Arc<Porter>,
    peer: SocketAddr,
    guest: Option<(Guest, String)>,
    /// The answer for the key offered last, so that its signature does not ask again.
    known: Option<(PublicKey, Guest)>,
    channels: HashMap<ChannelId, Waiting>,
    logged_in: watch::Sender<bool>,
    _connection: Connection,
}

/// A channel that has not yet said what it wants.
struct Waiting {
    channel: Channel<Msg>,
    protocol: Option<String>,
    no_wait: bool,
}

impl Door {
    async fn recognised(&mut self, key: &PublicKey) -> Option<Guest> {
        if let Some((known, guest)) = &self.known
            && known == key
        {
            return Some(guest.clone());
        }
        let line = key.to_openssh().ok()?;
        match self.porter.platform.guest_of_key(&line).await {
            Ok(guest) => {
                self.known = Some((key.clone(), guest.clone()));
                Some(guest)
            }
            Err(Unknown::Stranger) => None,
            Err(Unknown::Away(status)) => {
                tracing::warn!(peer = %self.peer, %status, "a key could not be looked up");
                None
            }
        }
    }

    /// Takes the channel to answer it with words alone.
    fn speak(&mut self, id: ChannelId, session: &mut Session, text: String, exit: u32) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        if let Some(waiting) = self.channels.remove(&id) {
            tokio::spawn(async move {
                let (read, write) = waiting.channel.split();
                let _ = tokio::time::timeout(Duration::from_secs(10), farewell(&write, &text, exit)).await;
                drop(read);
            });
        }
        Ok(())
    }
}

async fn farewell(write: &ChannelWriteHalf<Msg>, text: &str, exit: u32) -> Result<(), russh::Error> {
    if !text.is_empty() {
        // Through the raw side of a terminal, too, lines must begin at the left.
        write.extended_data_bytes(1, format!("{}\r\n", text.replace('\n', "\r\n")).into_bytes()).await?;
    }
    write.exit_status(exit).await?;
    write.eof().await?;
    write.close().await
}

impl Handler for Door {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        if self.porter.platform.answers().await {
            return Ok(None);
        }
        Ok(Some("Slipway's control plane cannot be reached just now, so no key can be looked up. Try again in a minute.\r\n".into()))
    }

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(if self.recognised(offer.public_key).await.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        match self.recognised(key.public_key).await {
            Some(guest) => {
                self.guest = Some((guest, user.to_string()));
                Ok(Auth::Accept)
            }
            None => Ok(Auth::reject()),
        }
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), russh::Error> {
        self.logged_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, _session: &mut Session) -> Result<(), russh::Error> {
        if self.channels.len() >= CHANNELS_MAX {
            reply.reject(russh::ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Waiting { channel, protocol: None, no_wait: false });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Result<(), russh::Error> {
        let Some(waiting) = self.channels.get_mut(&channel) else { return session.channel_failure(channel) };
        match name {
            "GIT_PROTOCOL" if service::is_protocol(value) => waiting.protocol = Some(value.to_string()),
            "PLATFORMSH_PUSH_NO_WAIT" | "SLIPWAY_PUSH_NO_WAIT" => waiting.no_wait = !matches!(value, "" | "0" | "false" | "no"),
            _ => return session.channel_failure(channel),
        }
        session.channel_success(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let name = self.guest.as_ref().map_or("", |(guest, _)| &guest.user);
        let text = format!(
            "Hello {name}, you successfully authenticated. Slipway speaks git here and gives no shell: \
             `slipway ssh` opens one in an application."
        );
        self.speak(channel, session, text, 1)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some((guest, user)) = self.guest.clone() else { return session.channel_failure(channel) };
        let (service, project) = match command::parse(data) {
            Ok(parsed) => parsed,
            Err(error) => return self.speak(channel, session, error.to_string(), EXIT_REFUSED),
        };
        if user != "git" && user.parse::<ProjectId>().ok().as_ref() != Some(&project) {
            let text = format!("The user name of the address is a project's id or `git`, and it names another project than the path: write {project}@….");
            return self.speak(channel, session, text, EXIT_REFUSED);
        }
        let Some(waiting) = self.channels.remove(&channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        let ask = Ask { guest, project, service, shape: Shape::Stream, protocol: waiting.protocol, no_wait: waiting.no_wait };
        let porter = self.porter.clone();
        tokio::spawn(async move {
            let (read, write) = waiting.channel.split();
            match service::start(&porter, ask).await {
                Ok(running) => converse(running, read, write).await,
                Err(refusal) => {
                    let _ = tokio::time::timeout(Duration::from_secs(10), farewell(&write, &refusal.message, EXIT_REFUSED)).await;
                }
            }
        });
        Ok(())
    }
}

async fn converse(running: Running, read: ChannelReadHalf, write: ChannelWriteHalf<Msg>) {
    let write = Arc::new(write);
    let out = Outlet::Channel { write: write.clone(), extended: None };
    let err = Outlet::Channel { write: write.clone(), extended: Some(1) };
    let outcome = conversation::hold(running, |stdin, pulse| take_input(read, stdin, pulse), out, err).await;
    let (text, exit) = match outcome {
        Ok(Outcome::Exit(code)) => ("", code.and_then(|code| u32::try_from(code).ok()).unwrap_or(EXIT_REFUSED)),
        Ok(Outcome::ClientGone) => ("", EXIT_REFUSED),
        Ok(Outcome::Overdue) => ("Slipway ended this session: it took longer than it may.", EXIT_REFUSED),
        Err(error) => {
            tracing::error!(%error, "a git session broke");
            ("Slipway lost its git process. Try again.", EXIT_REFUSED)
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), farewell(&write, text, exit)).await;
}

async fn take_input(mut read: ChannelReadHalf, stdin: ChildStdin, pulse: Pulse) -> Input {
    let mut stdin = Some(stdin);
    loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                pulse.beat();
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&data).await.is_err()
                {
                    // Git has what it wants; the channel is read on so that its end is seen.
                    stdin = None;
                }
            }
            Some(ChannelMsg::Eof) => stdin = None,
            Some(ChannelMsg::Close) | None => return Input::Gone,
            Some(_) => {}
        }
    }
}
