//! The engine around the pure core: sockets, clocks and tasks.
//!
//! ```text
//! listen ─► client (strict framing) ─► request ─► tables ─► environment (gate · flights · pool)
//!                                         │                       │
//!                                         └──── fuse (first byte under the fence) ─► upstream
//! ```

pub mod access;
pub mod answer;
pub mod client;
pub mod clock;
pub mod environment;
pub mod forward;
pub mod fuse;
pub mod listen;
pub mod pool;
pub mod request;
pub mod tables;
pub mod tunnel;
