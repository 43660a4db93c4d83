//! What the tiers say to one another. Tiers never import each other: they meet here.
#![allow(missing_docs, reason = "generated code; the .proto files carry the documentation")]

/// Worker and scheduler, and the shell door of a worker.
pub mod worker {
    tonic::include_proto!("slipway.worker.v1");
}
/// Router and scheduler.
pub mod router {
    tonic::include_proto!("slipway.router.v1");
}
/// The platform's API.
pub mod api {
    tonic::include_proto!("slipway.api.v1");
}

/// One scheduler and another.
pub mod raft {
    tonic::include_proto!("slipway.raft.v1");
}

pub mod auth;
/// The largest message on any stream: a route table of 10 000 environments, or a manifest with archives.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
