//! One forwarded connection (`-L`) to a relationship of the application.

use super::flow::{Flow, Pulse};
use super::shell::take_input;
use super::worker::Line;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use slipway_proto::worker::{ShellOutput, shell_output};
use std::time::Duration;
use tokio_stream::StreamExt;

/// A worker that refuses says so at once; one that connected may stay silent, so it is not waited for longer.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(30);

/// Accepts the channel when the worker connected, and carries bytes until both sides are done.
pub async fn run(line: Result<Line, String>, channel: Channel<Msg>, reply: ChannelOpenHandle, flow: Flow, pulse: Pulse) {
    let Line { input, mut output } = match line {
        Ok(line) => line,
        Err(reason) => {
            tracing::info!(reason, "a tunnel could not be opened");
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    let mut first = match tokio::time::timeout(REFUSAL_TIME_MAX, output.next()).await {
        Ok(Some(Ok(ShellOutput { output: Some(shell_output::Output::Refused(reason)) }))) => {
            tracing::info!(reason, "a tunnel was refused");
            return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        }
        Ok(Some(Err(_)) | None) => return reply.reject(ChannelOpenFailure::ConnectFailed).await,
        Ok(Some(Ok(output))) => Some(output),
        Err(_) => None,
    };
    reply.accept().await;
    let (read, write) = channel.split();
    let taking = take_input(read, input, flow.clone(), pulse.clone());
    let giving = async {
        loop {
            let next = match first.take() {
                Some(output) => output,
                None => match output.next().await {
                    Some(Ok(output)) => output,
                    Some(Err(_)) | None => return,
                },
            };
            pulse.beat();
            match next.output {
                Some(shell_output::Output::Stdout(bytes)) => {
                    if write.data_bytes(bytes).await.is_err() {
                        return;
                    }
                }
                Some(shell_output::Output::ExitCode(_) | shell_output::Output::Refused(_)) => return,
                Some(shell_output::Output::Stderr(_)) | None => {}
            }
        }
    };
    tokio::pin!(taking, giving);
    tokio::select! {
        () = &mut giving => {}
        () = &mut taking => return,
        () = flow.ended() => return,
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), async {
        let _ = write.eof().await;
        write.close().await
    })
    .await;
}
