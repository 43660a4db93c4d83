//! The bearer token that every call carries.
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};

/// Adds `authorization: Bearer TOKEN` to each outgoing call.
#[derive(Clone)]
pub struct BearerToken(MetadataValue<tonic::metadata::Ascii>);

impl BearerToken {
    /// Fails when the token holds a character that no header may hold.
    pub fn new(token: &str) -> Result<Self, String> {
        let mut value: MetadataValue<_> =
            format!("Bearer {token}").parse().map_err(|_| "the token holds characters that no token has".to_string())?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The token of an incoming call, if it has one.
pub fn bearer<T>(request: &Request<T>) -> Option<&str> {
    request.metadata().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}
