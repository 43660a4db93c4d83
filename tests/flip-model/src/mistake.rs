//! Eleven ways to build it wrong; the model must find each.

/// One seeded mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// Workers carry out orders of an epoch that was undone.
    DropTheFence,
    /// The undo opens the old instance on the address it had before.
    ReuseAnEndpoint,
    /// A router lets held requests go when its patience ends.
    OpenOnTimer,
    /// The new process starts before the volume is snapshot.
    SnapshotAfterStart,
    /// The ledger opens the gate before the worker said that the endpoint listens.
    ReleaseBeforeAck,
    /// Nobody aborts the operation of a dead driver.
    ForgetTheWatchdog,
    /// The hook starts while requests are still under way.
    HookBeforeDrain,
    /// A router sends a request again whose connection broke after it was sent.
    RetryAfterBytesSent,
    /// A router forwards a held request whose client has gone.
    ForwardForAGoneClient,
    /// A router takes an older table that arrives late.
    TakeALowerVersion,
    /// A router that starts serves the table on its disk although a scheduler could tell it the one in force. The model
    /// itself found this one: what it sends under the former table dies at the endpoint that is just being closed.
    ServeTheSavedTableAtOnce,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 11] = [
        Mistake::DropTheFence,
        Mistake::ReuseAnEndpoint,
        Mistake::OpenOnTimer,
        Mistake::SnapshotAfterStart,
        Mistake::ReleaseBeforeAck,
        Mistake::ForgetTheWatchdog,
        Mistake::HookBeforeDrain,
        Mistake::RetryAfterBytesSent,
        Mistake::ForwardForAGoneClient,
        Mistake::TakeALowerVersion,
        Mistake::ServeTheSavedTableAtOnce,
    ];
}
