//! The ledger through its public door: one node, a group, and what survives.
mod group;
mod journal;
mod one;
mod survives;
mod wait;
