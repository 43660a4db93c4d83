//! A planned restart: the old process hands its listening sockets to the new one and then drains.
//!
//! ```text
//! new                         old
//!  │── "take" ────────────────►│   (unix socket in the data folder, same user only)
//!  │◄── names + sockets ───────│   SCM_RIGHTS: the same sockets, the same backlog; nothing is refused in between
//!  │   accepts                 │   accepts, too
//!  │── "accepting" ───────────►│
//!  │                           │   stops accepting, ends keep-alive, event streams and WebSockets in order,
//!  │                           │   answers what is under way and what is held, ends
//! ```

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Sockets handed over at once; a router listens on a few addresses.
const SOCKETS_MAX: usize = 32;

/// The old process waits this long for the new one to accept; then it goes on as if nothing was.
const ACCEPTING_TIME_MAX: Duration = Duration::from_secs(30);

/// Longest answer of the old process.
const OFFER_BYTES_MAX: usize = 4096;

const TAKE: &[u8] = b"take\n";
const ACCEPTING: &[u8] = b"accepting\n";

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
}

/// The sockets of a router.
pub type Sockets = Vec<(Purpose, TcpListener)>;

/// Where the processes meet.
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("handover.sock")
}

/// The new process's side, between the sockets' coming and the word that they are served.
#[derive(Debug)]
pub struct Taken {
    /// The sockets of the old process.
    pub sockets: Sockets,
    old: UnixStream,
}

impl Taken {
    /// Tells the old process that it may stop.
    pub async fn accepting(mut self) -> io::Result<()> {
        self.old.write_all(ACCEPTING).await
    }
}

/// Asks a running router of this folder for its sockets; `None` when none runs.
pub async fn take(folder: &Path) -> io::Result<Option<Taken>> {
    let mut old = match UnixStream::connect(socket_path(folder)).await {
        Ok(old) => old,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(e),
    };
    same_user(&old)?;
    old.write_all(TAKE).await?;
    loop {
        old.readable().await?;
        match old.try_io(tokio::io::Interest::READABLE, || receive(old.as_raw_fd())) {
            Ok(sockets) => return Ok(Some(Taken { sockets, old })),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// The old process's side: waits for a successor and hands over. Returns when the successor accepts.
pub async fn offer(folder: &Path, sockets: &Sockets) -> io::Result<()> {
    let path = socket_path(folder);
    // What lies there belonged to a process that has ended, or has just handed over to this one.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    loop {
        let (new, _) = listener.accept().await?;
        match tokio::time::timeout(ACCEPTING_TIME_MAX, hand_over(new, sockets)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => tracing::warn!("a successor came and went: {e}; this router serves on"),
            Err(_) => tracing::warn!("a successor took the sockets and did not accept in time; this router serves on"),
        }
    }
}

async fn hand_over(mut new: UnixStream, sockets: &Sockets) -> io::Result<()> {
    same_user(&new)?;
    expect(&mut new, TAKE).await?;
    loop {
        new.writable().await?;
        match new.try_io(tokio::io::Interest::WRITABLE, || send(new.as_raw_fd(), sockets)) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    expect(&mut new, ACCEPTING).await
}

async fn expect(stream: &mut UnixStream, word: &[u8]) -> io::Result<()> {
    let mut said = vec![0; word.len()];
    stream.read_exact(&mut said).await?;
    if said == word { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another protocol")) }
}

fn same_user(stream: &UnixStream) -> io::Result<()> {
    let theirs = stream.peer_cred()?.uid();
    if theirs == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("a process of user {theirs} is at the hand-over socket")))
}

fn send(to: RawFd, sockets: &Sockets) -> io::Result<()> {
    let purposes: Vec<Purpose> = sockets.iter().map(|(purpose, _)| *purpose).collect();
    let names = serde_json::to_vec(&purposes)?;
    let fds: Vec<RawFd> = sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
    sendmsg::<()>(to, &[IoSlice::new(&names)], &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(from: RawFd) -> io::Result<Sockets> {
    let mut names = vec![0; OFFER_BYTES_MAX];
    let mut space = cmsg_space!([RawFd; SOCKETS_MAX]);
    let (bytes, fds) = {
        let mut buffers = [IoSliceMut::new(&mut names)];
        let message = recvmsg::<()>(from, &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received.into_iter().map(own));
            }
        }
        (message.bytes, fds)
    };
    let purposes: Vec<Purpose> = serde_json::from_slice(&names[..bytes])?;
    if purposes.len() != fds.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the sockets do not match their names"));
    }
    Ok(purposes.into_iter().zip(fds.into_iter().map(TcpListener::from)).collect())
}

#[allow(unsafe_code, reason = "SCM_RIGHTS gives raw numbers that belong to this process alone from the moment they arrive")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else has its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
