//! Both git doors as one service.

use crate::options::Options;
use crate::porter::Porter;
use crate::{host_key, http, ssh};
use anyhow::Context;
use russh::keys::PrivateKey;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Bound and ready; `run` serves.
pub struct GitDoor {
    porter: Arc<Porter>,
    ssh: Option<(TcpListener, PrivateKey)>,
    http: Option<TcpListener>,
}

impl GitDoor {
    /// Makes the folders and the host key, removes what former sessions left, and binds.
    pub async fn bind(options: Options) -> anyhow::Result<GitDoor> {
        let porter = Arc::new(Porter::new(&options)?);
        let ssh = match options.ssh_listen {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address).await.with_context(|| format!("listen for git over SSH on {address}"))?;
                Some((listener, host_key::load_or_create(&options.host_key)?))
            }
        };
        let http = match options.http_listen {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.with_context(|| format!("listen for git over HTTP on {address}"))?),
        };
        Ok(GitDoor { porter, ssh, http })
    }

    /// Where SSH really listens.
    pub fn ssh_address(&self) -> Option<SocketAddr> {
        self.ssh.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Where HTTP really listens.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The host key's public line, for people's `known_hosts`.
    pub fn host_key_line(&self) -> Option<String> {
        self.ssh.as_ref().and_then(|(_, key)| key.public_key().to_openssh().ok())
    }

    /// Serves until `shutdown`; pushes that are being recorded are not waited for, they are safe in the ledger or nowhere.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let ssh = async {
            if let Some((listener, key)) = self.ssh {
                ssh::serve(listener, key, self.porter.clone(), shutdown.clone()).await;
            }
        };
        let http = async {
            if let Some(listener) = self.http {
                http::serve(listener, self.porter.clone(), shutdown.clone()).await;
            }
        };
        tokio::join!(ssh, http);
        Ok(())
    }
}
