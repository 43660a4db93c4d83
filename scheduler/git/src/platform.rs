//! The doors' side of the platform's API.

use crate::receive::Pusher;
use slipway_model::ids::ProjectId;
use slipway_proto::api::platform_client::PlatformClient;
use slipway_proto::api::*;
use slipway_proto::auth::BearerToken;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// A call that only reads: longer than any change of leader, shorter than a person's patience.
const READ_TIME_MAX: Duration = Duration::from_secs(20);
/// Recording waits out a change of leader.
const RECORD_TIME_MAX: Duration = Duration::from_secs(60);

/// A cheap handle.
#[derive(Clone)]
pub struct Platform(PlatformClient<InterceptedService<Channel, BearerToken>>);

/// Who is at the door, and what the platform says of them.
#[derive(Debug, Clone)]
pub struct Guest {
    pub user: String,
    admin: bool,
    roles: BTreeMap<String, Role>,
}

/// What somebody may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Viewer,
    Contributor,
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Role> {
        match text {
            "viewer" => Some(Role::Viewer),
            "contributor" => Some(Role::Contributor),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }
}

impl Guest {
    /// `None`: to this guest the project does not exist.
    pub fn role(&self, project: &ProjectId) -> Option<Role> {
        if self.admin { Some(Role::Admin) } else { self.roles.get(project.as_str()).copied() }
    }
}

impl From<Principal> for Guest {
    fn from(principal: Principal) -> Guest {
        let roles = principal.roles.into_iter().filter_map(|(project, role)| Some((project, Role::parse(&role)?)));
        Guest { user: principal.user, admin: principal.admin, roles: roles.collect() }
    }
}

/// Why nobody could be recognised.
#[derive(Debug)]
pub enum Unknown {
    /// The platform does not know the key or token.
    Stranger,
    /// The platform did not answer: no fault of the guest.
    Away(Status),
}

fn unknown(status: Status) -> Unknown {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::InvalidArgument => Unknown::Stranger,
        _ => Unknown::Away(status),
    }
}

impl Platform {
    pub fn new(channel: Channel, node_token: &str) -> Result<Platform, String> {
        let client = PlatformClient::with_interceptor(channel, BearerToken::new(node_token)?)
            .max_decoding_message_size(slipway_proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(slipway_proto::MESSAGE_BYTES_MAX);
        Ok(Platform(client))
    }

    /// True when the platform answers at all.
    pub async fn answers(&self) -> bool {
        let mut client = self.0.clone();
        match tokio::time::timeout(Duration::from_secs(5), client.who_am_i(Empty {})).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => !is_away(&status),
            Err(_) => false,
        }
    }

    pub async fn guest_of_key(&self, public_key: &str) -> Result<Guest, Unknown> {
        let mut client = self.0.clone();
        let request = AuthenticateKeyRequest { public_key: public_key.to_string() };
        let answer = bounded(client.authenticate_key(request)).await.map_err(unknown)?;
        Ok(answer.into_inner().into())
    }

    pub async fn guest_of_token(&self, token: &str) -> Result<Guest, Unknown> {
        let mut client = self.0.clone();
        let request = AuthenticateTokenRequest { token: token.to_string() };
        let answer = bounded(client.authenticate_token(request)).await.map_err(unknown)?;
        Ok(answer.into_inner().into())
    }

    pub async fn repository(&self, project: &ProjectId) -> Result<Repository, Status> {
        let mut client = self.0.clone();
        let request = ProjectRequest { project: project.to_string() };
        Ok(bounded(client.get_repository(request)).await?.into_inner())
    }

    pub async fn prepare_push(&self, pusher: &Pusher, branches: Vec<String>) -> Result<PushContext, Status> {
        let mut client = self.0.clone();
        let request = PreparePushRequest { project: pusher.project.to_string(), branches, acting_for: pusher.user.clone() };
        Ok(bounded(client.prepare_push(request)).await?.into_inner())
    }

    /// Tried again while the platform is away: the push id makes a repetition harmless.
    pub async fn record_push(&self, request: RecordPushRequest) -> Result<RecordPushReply, Status> {
        let started = tokio::time::Instant::now();
        loop {
            let mut client = self.0.clone();
            match bounded(client.record_push(request.clone())).await {
                Ok(reply) => return Ok(reply.into_inner()),
                Err(status) if is_away(&status) && started.elapsed() < RECORD_TIME_MAX => {
                    tracing::warn!(push = request.push_id, %status, "recording a push is tried again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// Also returns when the log has not begun; records come when there are some.
    pub async fn follow_log(&self, activity: &str, from_seq: u64) -> Result<Streaming<LogRecord>, Status> {
        let mut client = self.0.clone();
        let request = FollowLogRequest { activity: activity.to_string(), from_seq, no_follow: false };
        Ok(client.follow_log(request).await?.into_inner())
    }
}

/// The status says that another try may succeed.
pub fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted)
}

async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(READ_TIME_MAX, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the platform did not answer in time")))
}
