//! The platform's API: who may do what, said in one place, and the calls by noun.

mod accounts;
pub(crate) mod activities;
mod caller;
mod environments;
mod nodes;
mod projects;
mod pushes;
mod service;
mod times;
mod variables;

pub(crate) use activities::freeze_report;
pub use caller::same_secret;

use crate::office::Office;
use slipway_core::{Command, Reply};
use slipway_proto::api::ActivityRef;
use tonic::Status;

/// Serves `Platform`.
#[derive(Clone)]
pub struct Api {
    office: Office,
}

impl Api {
    pub(crate) fn new(office: Office) -> Self {
        Self { office }
    }

    /// Records a command on behalf of somebody; a refusal becomes a status that says why.
    async fn ask(&self, command: Command) -> Result<Reply, Status> {
        match self.office.propose(command).await {
            Ok(Reply::Refused { reason }) => Err(Status::failed_precondition(reason)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Status::unavailable(format!("{error}; try again"))),
        }
    }

    /// The same, for commands that make an activity.
    async fn ask_activity(&self, command: Command) -> Result<ActivityRef, Status> {
        match self.ask(command).await? {
            Reply::Activities { ids, notes } => Ok(ActivityRef {
                activity: ids.first().map(ToString::to_string).unwrap_or_default(),
                note: notes.join("\n"),
            }),
            _ => Ok(ActivityRef::default()),
        }
    }
}

/// An id of a request, or a status that says what is wrong with it.
fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Status>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| Status::invalid_argument(format!("{e}")))
}
