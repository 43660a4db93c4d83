//! Builds and runs: the desired set becomes containers.

pub mod log;
pub mod machine;
