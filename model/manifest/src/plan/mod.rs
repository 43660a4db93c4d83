//! From the deployed project to the pushed one: what changes, why, and what it costs.

use crate::problem::Problem;
use serde::Serialize;

/// What a push would do to the topology.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TopologyPlan {
    /// In the order in which people read them: applications, services, routes.
    pub changes: Vec<Change>,
    /// Impossible, whatever is consented to.
    pub refusals: Vec<Problem>,
    /// Possible, and data would be destroyed: needs a push option or a rule.
    pub needs_consent: Vec<Destruction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub subject: Subject,
    pub kind: ChangeKind,
    /// `type`, `disk`, `relationships.database`, …; empty for the whole subject.
    pub what: String,
    pub from: Option<String>,
    pub to: Option<String>,
    /// One sentence.
    pub why: String,
    pub consequence: Consequence,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "of", content = "name", rename_all = "lowercase")]
pub enum Subject {
    Application(String),
    Service(String),
    Route(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
}

/// The dearest thing that has to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consequence {
    /// The router's table alone changes.
    Reroute,
    /// Containers are made anew from the same slug.
    Restart,
    /// A service's engine is started in another version on the same data.
    Upgrade,
    /// Containers or volumes come into being.
    Create,
    /// Containers or volumes go away.
    Destroy,
    /// The application's build key changes.
    Rebuild,
}

/// Data that would be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destruction {
    pub subject: Subject,
    /// `volume`, `schema orders`, `mount media` …
    pub data: String,
    /// The same as a complaint, with file and line where there is one.
    pub problem: Problem,
}

mod diff;

mod show;

pub use diff::{diff, diff_with_use};
pub use show::{render_plan_json, render_plan_terminal};
