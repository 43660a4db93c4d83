//! The doors of workers and routers.

pub mod router;
pub mod worker;

use crate::office::Office;
use tonic::{Request, Status};

/// Streams of nodes carry the node token.
fn check_node<T>(office: &Office, request: &Request<T>) -> Result<(), Status> {
    let shown = slipway_proto::auth::bearer(request).unwrap_or_default();
    if crate::api::same_secret(shown, &office.options.node_token) {
        Ok(())
    } else {
        Err(Status::unauthenticated("this is no node token of the platform; look at `node_token_file` in the node's configuration"))
    }
}

/// Only the leader orders: others say who does.
fn check_leads(office: &Office) -> Result<(), Status> {
    if office.ledger.leadership().borrow().is_some() {
        return Ok(());
    }
    let leader = office.ledger.status().leader.map(|id| format!(" ({id})")).unwrap_or_default();
    Err(Status::unavailable(format!("this scheduler does not lead{leader}; try another")))
}
