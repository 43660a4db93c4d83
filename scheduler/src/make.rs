//! From a release to what workers and routers need: pure, but for the sealing of secrets by the caller.

pub mod crons;
pub mod environment;
pub mod instances;
pub mod key;
pub mod relationships;
pub mod routes;
pub mod variables;
