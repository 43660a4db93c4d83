//! A shell, a command or an sftp server on one channel.

use super::flow::{Flow, Pulse};
use super::signal;
use super::worker::Line;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use slipway_proto::worker::{ShellInput, ShellOutput, WindowSize, shell_input, shell_output};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

/// The client's own sign for "the connection, not the command, failed".
pub const EXIT_LOST: u32 = 255;
/// To say good-bye to a client that does not listen.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(10);

/// Says something on stderr and closes the channel.
pub async fn farewell(write: &ChannelWriteHalf<Msg>, text: &str, exit: u32) {
    let words = async {
        if !text.is_empty() {
            write.extended_data_bytes(1, terminal_lines(text)).await?;
        }
        write.exit_status(exit).await?;
        write.eof().await?;
        write.close().await
    };
    let _: Result<Result<(), russh::Error>, _> = tokio::time::timeout(FAREWELL_TIME_MAX, words).await;
}

/// A terminal in raw mode needs the carriage return.
pub fn terminal_lines(text: &str) -> Vec<u8> {
    let mut text = text.trim_end().replace('\n', "\r\n");
    text.push_str("\r\n");
    text.into_bytes()
}

/// Carries bytes both ways until the command ends or the client is gone.
pub async fn run(line: Line, read: ChannelReadHalf, write: ChannelWriteHalf<Msg>, flow: Flow, pulse: Pulse) {
    let Line { input, mut output } = line;
    let taking = take_input(read, input, flow.clone(), pulse.clone());
    let giving = async {
        loop {
            match output.next().await {
                Some(Ok(ShellOutput { output: Some(output) })) => {
                    pulse.beat();
                    let sent = match output {
                        shell_output::Output::Stdout(bytes) => write.data_bytes(bytes).await,
                        shell_output::Output::Stderr(bytes) => write.extended_data_bytes(1, bytes).await,
                        shell_output::Output::ExitCode(code) => return (String::new(), code as u32 & 0xff),
                        shell_output::Output::Refused(reason) => return (format!("Refused: {reason}"), EXIT_LOST),
                    };
                    if sent.is_err() {
                        return (String::new(), EXIT_LOST);
                    }
                }
                Some(Ok(ShellOutput { output: None })) => {}
                Some(Err(status)) => return (format!("The connection to the application was lost: {}", status.message()), EXIT_LOST),
                None => return ("The connection to the application was closed.".into(), EXIT_LOST),
            }
        }
    };
    tokio::pin!(taking, giving);
    let (text, exit) = tokio::select! {
        ended = &mut giving => ended,
        // The client is gone: dropping the line ends the command.
        () = &mut taking => return,
        () = flow.ended() => return,
    };
    farewell(&write, &text, exit).await;
}

/// Feeds the worker until the client has gone.
pub async fn take_input(mut read: ChannelReadHalf, input: mpsc::Sender<ShellInput>, flow: Flow, pulse: Pulse) {
    let mut deaf = false;
    loop {
        let (message, bytes) = match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                let bytes = data.len();
                (shell_input::Input::Stdin(data.to_vec()), bytes)
            }
            Some(ChannelMsg::Eof) => (shell_input::Input::StdinClosed(true), 0),
            Some(ChannelMsg::WindowChange { col_width, row_height, .. }) => {
                (shell_input::Input::Resize(WindowSize { columns: col_width, rows: row_height }), 0)
            }
            Some(ChannelMsg::Signal { signal }) => match signal::number(&signal) {
                Some(number) => (shell_input::Input::Signal(number), 0),
                None => continue,
            },
            Some(ChannelMsg::Close) | None => return,
            Some(_) => continue,
        };
        pulse.beat();
        if !deaf {
            // Read on even then: only so is it seen that the client goes.
            deaf = input.send(ShellInput { input: Some(message) }).await.is_err();
        }
        flow.taken(bytes);
    }
}
