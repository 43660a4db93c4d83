//! Who may come in, for which service; and the answer for those who may not.

use crate::options::{Limits, Options};
use crate::packs::Packs;
use crate::platform::{Guest, Platform, Role, is_away};
use crate::receive::AdvisoryShelf;
use crate::service::Service;
use slipway_model::ids::ProjectId;
use slipway_proto::api::Repository;
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What both doors share.
pub struct Porter {
    pub platform: Platform,
    pub packs: Packs,
    pub sessions: PathBuf,
    pub hook_program: Vec<OsString>,
    pub advisories: Arc<AdvisoryShelf>,
    pub limits: Limits,
    running: Arc<Semaphore>,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A no, in words for the person at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such project, or it is none of the guest's business: the same words for both.
    NotFound,
    Forbidden,
    /// Not now.
    Unavailable,
}

impl Porter {
    pub fn new(options: &Options) -> anyhow::Result<Porter> {
        let sessions = options.data_dir.join("sessions");
        crate::session::prepare_folder(&sessions)?;
        let packs = Packs::new(options.data_dir.join("cache"), options.sources.clone(), options.limits.cache_bytes_max)?;
        Ok(Porter {
            platform: Platform::new(options.api.clone(), &options.node_token).map_err(anyhow::Error::msg)?,
            packs,
            sessions,
            hook_program: options.hook_program.clone(),
            advisories: Arc::new(AdvisoryShelf::new(options.advisories.clone())),
            limits: options.limits.clone(),
            running: Arc::new(Semaphore::new(options.limits.sessions_max)),
            connections: Arc::default(),
        })
    }

    pub fn session_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.running.clone().try_acquire_owned().map_err(|_| Refusal {
            kind: RefusalKind::Unavailable,
            message: "Slipway serves as many git sessions as it can: try again in a minute.".into(),
        })
    }

    /// Counts one connection of a client for as long as the answer lives; `None`: too many.
    pub fn connection(&self, client: IpAddr) -> Option<Connection> {
        let mut counts = self.connections.lock().expect("the count is never left half-done");
        let count = counts.entry(client).or_default();
        if *count >= self.limits.connections_per_client_max {
            return None;
        }
        *count += 1;
        Some(Connection { client, counts: self.connections.clone() })
    }

    /// The project's refs and packs, when the guest may use this service of it.
    pub async fn admit(&self, guest: &Guest, project: &ProjectId, service: Service) -> Result<(Role, Repository), Refusal> {
        let not_found = || Refusal {
            kind: RefusalKind::NotFound,
            message: format!(
                "Hello {}, you successfully authenticated, but could not connect to repository {project} \
                 (reason: it does not exist or you do not have access to it).",
                guest.user
            ),
        };
        let role = guest.role(project).ok_or_else(not_found)?;
        if service == Service::ReceivePack && role < Role::Contributor {
            return Err(Refusal {
                kind: RefusalKind::Forbidden,
                message: format!(
                    "{} may read project {project}, not push to it: a push needs the role contributor. \
                     An admin gives it with `slipway project grant {project} {} contributor`.",
                    guest.user, guest.user
                ),
            });
        }
        let repository = self.platform.repository(project).await.map_err(|status| match status.code() {
            tonic::Code::NotFound | tonic::Code::PermissionDenied => not_found(),
            _ if is_away(&status) => away(),
            _ => Refusal { kind: RefusalKind::Unavailable, message: format!("The repository cannot be served: {}", status.message()) },
        })?;
        Ok((role, repository))
    }

    /// Our own trouble: the log gets the reason, the guest a sentence.
    pub fn trouble(&self, deed: &str, error: &anyhow::Error) -> Refusal {
        tracing::error!("could not {deed}: {error:#}");
        Refusal {
            kind: RefusalKind::Unavailable,
            message: format!("Slipway could not {deed}: {error:#}. Nothing was changed; try again in a minute."),
        }
    }
}

/// What people read while the control plane is away.
pub fn away() -> Refusal {
    Refusal {
        kind: RefusalKind::Unavailable,
        message: "Slipway's control plane cannot be reached just now. Nothing was changed; try again in a minute.".into(),
    }
}

/// One counted connection.
pub struct Connection {
    client: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("the count is never left half-done");
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}
