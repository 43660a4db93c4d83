//! A request of somebody who is signed in.

use crate::House;
use crate::refusal::Refusal;
use crate::session::{Session, is_same};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use slipway_proto::api::platform_client::PlatformClient;
use slipway_proto::auth::BearerToken;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The cookie that names a session.
pub const COOKIE: &str = "slipway_session";

/// The API with the visitor's own token.
pub type Client = PlatformClient<InterceptedService<Channel, BearerToken>>;

/// Who asks, with their way to the API.
pub struct Visitor {
    pub session: Session,
    pub client: Client,
    pub notice: Option<String>,
    house: House,
}

impl FromRequestParts<House> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refusal> {
        let back = || if parts.method == Method::GET { parts.uri.path().to_string() } else { "/projects".into() };
        let session = cookie(&parts.headers, COOKIE).and_then(|id| house.sessions.find(id)).ok_or_else(|| Refusal::SignIn(back()))?;
        let client = client(house, &session.token).map_err(|_| Refusal::SignIn(back()))?;
        // Scripts fetch parts of a page; a notice is for the page itself.
        let whole_page = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"));
        let notice = if whole_page && parts.method == Method::GET { house.sessions.take_notice(&session.id) } else { None };
        Ok(Self { session, client, notice, house: house.clone() })
    }
}

impl Visitor {
    /// Refuses a form that does not come from one of our pages.
    pub fn check_form(&self, csrf: &str) -> Result<(), Refusal> {
        if is_same(csrf, &self.session.csrf) { Ok(()) } else { Err(Refusal::ForeignForm) }
    }

    pub fn leave_notice(&self, text: impl Into<String>) {
        self.house.sessions.leave_notice(&self.session.id, text.into());
    }

    /// What the API said, as a refusal; a token that opens nothing any more ends the session.
    pub fn refused(&self, status: Status) -> Refusal {
        if status.code() == tonic::Code::Unauthenticated {
            self.house.sessions.end(&self.session.id);
            return Refusal::SignIn("/projects".into());
        }
        Refusal::Api(status)
    }
}

/// The API with a token.
pub fn client(house: &House, token: &str) -> Result<Client, String> {
    let token = BearerToken::new(token)?;
    Ok(PlatformClient::with_interceptor(house.api.clone(), token).max_decoding_message_size(slipway_proto::MESSAGE_BYTES_MAX))
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// May redeploy, activate, roll back.
pub fn is_admin(role: &str) -> bool {
    role == "admin"
}

/// May cancel.
pub fn is_contributor(role: &str) -> bool {
    matches!(role, "contributor" | "admin")
}
