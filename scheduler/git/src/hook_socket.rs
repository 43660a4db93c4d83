//! Where the hooks of one session reach the door.

use crate::hook::{CALL_BYTES_MAX, HookAnswer, HookCall};
use crate::receive::Push;
use crate::session::Session;
use anyhow::Context;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Answers that may wait for a slow client; beyond them the log's reader waits.
const ANSWERS_WAITING_MAX: usize = 64;

/// Listens until dropped.
pub struct HookSocket(JoinHandle<()>);

impl Drop for HookSocket {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The pusher's terminal, as long as the hook that shows it lives.
#[derive(Clone)]
pub struct Terminal(mpsc::Sender<HookAnswer>);

/// Nobody looks at the terminal any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Terminal {
    /// Whole lines; a missing line end is added.
    pub async fn say(&self, text: impl Into<String>) -> Result<(), Gone> {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.0.send(HookAnswer::Say { text }).await.map_err(|_| Gone)
    }

    /// Resolves when the hook is gone.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

/// Opens `hook.sock` in the session's folder.
pub fn serve(session: &Session, push: Arc<Push>) -> anyhow::Result<HookSocket> {
    let folder = std::fs::File::open(session.path()).context("open the session folder")?;
    // A socket address holds 108 bytes; the folder's path may be longer, its descriptor's is not.
    let address = format!("/proc/self/fd/{}/hook.sock", folder.as_raw_fd());
    let listener = UnixListener::bind(address).context("listen for hooks")?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, push.clone()));
        }
    });
    Ok(HookSocket(task))
}

async fn answer(stream: UnixStream, push: Arc<Push>) {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(CALL_BYTES_MAX));
    if read.read_until(b'\n', &mut line).await.is_err() {
        return;
    }
    let call: HookCall = match serde_json::from_slice(&line) {
        Ok(call) => call,
        Err(error) => {
            tracing::warn!(%error, "a hook's call cannot be read");
            return;
        }
    };
    let (sender, mut answers) = mpsc::channel(ANSWERS_WAITING_MAX);
    let writer = tokio::spawn(async move {
        while let Some(answer) = answers.recv().await {
            let mut line = serde_json::to_vec(&answer).expect("an answer is plain text");
            line.push(b'\n');
            if write.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    let terminal = Terminal(sender.clone());
    let success = match call {
        HookCall::PreReceive { updates, push_options } => push.pre_receive(updates, push_options, &terminal).await,
        HookCall::ProcReceive { updates } => {
            let results = push.proc_receive(updates, &terminal).await;
            sender.send(HookAnswer::Report { results }).await.is_ok()
        }
        HookCall::PostReceive {} => {
            // The hook only listens now: its end of the socket closes when git or the client has gone.
            let mut read = read.into_inner().into_inner();
            let mut byte = [0];
            tokio::select! {
                () = push.post_receive(&terminal) => {}
                _ = read.read(&mut byte) => {}
            }
            true
        }
    };
    drop(terminal);
    let _ = sender.send(HookAnswer::Exit { success }).await;
    drop(sender);
    let _ = writer.await;
}
