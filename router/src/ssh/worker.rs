//! The Shell service of a worker, as the door calls it.

use super::options::Options;
use slipway_proto::auth::BearerToken;
use slipway_proto::worker::shell_client::ShellClient;
use slipway_proto::worker::{ShellInput, ShellOpen, ShellOutput, shell_input};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Inputs that wait for a slow worker.
const INPUTS_WAITING_MAX: usize = 32;
/// Workers come and go; more connections than this are stale.
const WORKERS_MAX: usize = 4096;

/// Connections to workers, made when first needed.
pub struct Workers {
    options: Options,
    token: BearerToken,
    channels: Mutex<HashMap<String, Channel>>,
}

/// One open shell, command or tunnel.
pub struct Line {
    pub input: mpsc::Sender<ShellInput>,
    pub output: Streaming<ShellOutput>,
}

impl Workers {
    pub fn new(options: Options) -> Result<Workers, String> {
        let token = BearerToken::new(&options.node_token)?;
        Ok(Workers { options, token, channels: Mutex::default() })
    }

    fn channel(&self, worker: &str) -> Result<Channel, String> {
        let mut channels = self.channels.lock().expect("a connection is added in one step");
        if let Some(channel) = channels.get(worker) {
            return Ok(channel.clone());
        }
        if channels.len() >= WORKERS_MAX {
            channels.clear();
        }
        let endpoint = (self.options.endpoint)(worker)?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        let channel = endpoint.connect_lazy();
        channels.insert(worker.to_string(), channel.clone());
        Ok(channel)
    }

    /// Opens a line; an error is a sentence for the guest.
    pub async fn open(&self, worker: &str, open: ShellOpen) -> Result<Line, String> {
        let channel = self.channel(worker)?;
        let mut client =
            ShellClient::with_interceptor(channel, self.token.clone()).max_decoding_message_size(slipway_proto::MESSAGE_BYTES_MAX);
        let (input, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        let first = ShellInput { input: Some(shell_input::Input::Open(open)) };
        input.send(first).await.map_err(|_| "the line broke before it was opened".to_string())?;
        let call = client.open(ReceiverStream::new(inputs));
        match tokio::time::timeout(self.options.limits.open_time_max, call).await {
            Ok(Ok(answer)) => Ok(Line { input, output: answer.into_inner() }),
            Ok(Err(status)) => {
                tracing::warn!(worker, %status, "a worker refused a shell");
                Err(format!("the application's worker refused: {}", status.message()))
            }
            Err(_) => Err("the application's worker did not answer in time".into()),
        }
    }
}
