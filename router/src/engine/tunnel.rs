//! A WebSocket between a client and an application, ended with 1001 when its epoch ends.

use crate::websocket::{FrameTracker, close_to_application, close_to_client};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use slipway_model::Epoch;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longest wait for the end of a frame that is on its way when the tunnel shall end.
const BORDER_TIME_MAX: Duration = Duration::from_millis(500);

/// Longest wait for the client's own close frame after ours.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Longest wait for the other side when one has ended.
const HALF_CLOSED_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes on their way in one direction.
const BUFFER_BYTES: usize = 8 << 10;

/// Carries both directions until one side ends or the epoch does. `kept` is dropped at the end.
pub async fn run<K: Send>(
    client: OnUpgrade,
    application: OnUpgrade,
    mut epochs: watch::Receiver<Epoch>,
    epoch: Epoch,
    drain: CancellationToken,
    kept: K,
) {
    let ending = CancellationToken::new();
    let watcher = {
        let ending = ending.clone();
        async move {
            tokio::select! {
                _ = epochs.wait_for(|now| *now > epoch) => {}
                () = drain.cancelled() => {}
            }
            ending.cancel();
            std::future::pending::<()>().await;
        }
    };
    let carry = async {
        let (Ok(client), Ok(application)) = tokio::join!(client, application) else { return };
        let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
        let (application_read, application_write) = tokio::io::split(TokioIo::new(application));
        let mut up = Direction::new(client_read, application_write);
        let mut down = Direction::new(application_read, client_write);
        let ended = {
            let (up, down, ending) = (&mut up, &mut down, &ending);
            both(async move { up.carry(ending).await }, async move { down.carry(ending).await }).await
        };
        if ended == Ended::InOrder {
            say_goodbye(&mut up, &mut down).await;
        }
    };
    tokio::select! {
        () = carry => {}
        () = watcher => {}
    }
    drop(kept);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// At the border of a frame, because it shall end.
    InOrder,
    /// One side has ended.
    BySide,
}

/// Both directions; when one side has ended the other gets a little time to follow.
async fn both(up: impl Future<Output = Ended>, down: impl Future<Output = Ended>) -> Ended {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let (first, second) = tokio::select! {
        ended = &mut up => (ended, tokio::time::timeout(HALF_CLOSED_TIME_MAX, down).await),
        ended = &mut down => (ended, tokio::time::timeout(HALF_CLOSED_TIME_MAX, up).await),
    };
    match (first, second) {
        (Ended::InOrder, Ok(Ended::InOrder)) => Ended::InOrder,
        _ => Ended::BySide,
    }
}

struct Direction<R, W> {
    from: R,
    to: W,
    frames: FrameTracker,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<R, W> {
    fn new(from: R, to: W) -> Self {
        Self { from, to, frames: FrameTracker::default() }
    }

    async fn carry(&mut self, ending: &CancellationToken) -> Ended {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                read = self.from.read(&mut buffer) => match read {
                    Ok(n) if n > 0 => {
                        self.frames.take(&buffer[..n]);
                        if self.to.write_all(&buffer[..n]).await.is_err() {
                            return Ended::BySide;
                        }
                    }
                    _ => {
                        let _ = self.to.shutdown().await;
                        return Ended::BySide;
                    }
                },
            }
        }
        match tokio::time::timeout(BORDER_TIME_MAX, self.finish_frame(&mut buffer)).await {
            Ok(Ok(())) => Ended::InOrder,
            _ => Ended::BySide,
        }
    }

    /// Carries the rest of the frame that is on its way; what follows it stays unread or is dropped.
    async fn finish_frame(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while !self.frames.at_border() {
            let n = self.from.read(buffer).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let used = self.frames.take_to_border(&buffer[..n]);
            self.to.write_all(&buffer[..used]).await?;
        }
        self.to.flush().await
    }
}

type Side = TokioIo<Upgraded>;

async fn say_goodbye(up: &mut Direction<ReadHalf<Side>, WriteHalf<Side>>, down: &mut Direction<ReadHalf<Side>, WriteHalf<Side>>) {
    if !up.frames.closed() {
        let _ = up.to.write_all(&close_to_application()).await;
    }
    let _ = up.to.shutdown().await;
    if !down.frames.closed() && down.to.write_all(&close_to_client()).await.is_err() {
        return;
    }
    let _ = down.to.flush().await;
    // The client answers with its own close frame; closing before would lose ours to a reset.
    let client_closes = async {
        let mut buffer = [0; 1024];
        while !up.frames.closed() {
            match up.from.read(&mut buffer).await {
                Ok(n) if n > 0 => up.frames.take(&buffer[..n]),
                _ => break,
            }
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIME_MAX, client_closes).await;
    let _ = down.to.shutdown().await;
}
