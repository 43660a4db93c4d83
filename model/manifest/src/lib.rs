//! The configuration language: files of a tree in, a normalised project or every complaint out.
//!
//! Pure: no IO beyond [`Tree`], no clock, no chance.
//!
//! ```text
//! check(&dyn Tree, &Options) -> Report
//! expand_routes(&Project, &RouteContext) -> Result<Vec<ResolvedRoute>, Vec<Problem>>
//! routes_variable(&[ResolvedRoute]) -> Value                        P_ROUTES
//! Application::build_identity_json() / application_variable(build: bool) -> Value
//! Service::endpoints() -> Vec<Endpoint>
//! plan::diff(deployed: &Project, pushed: &Project) -> TopologyPlan
//! explain(code) -> Option<&'static str>
//! render_terminal(&[Problem], width, colour) -> String, render_json(&Report) -> Value
//! schemas() -> Vec<(&'static str, Value)>
//! ```

mod context;
mod flavour;
mod options;
mod places;
pub mod plan;
mod problem;
mod report;
mod tree;
mod types;

pub use context::RouteContext;
pub use flavour::Flavour;
pub use options::{CatalogueIndex, Options, PLAN_STORAGE_MB};
pub use places::{Place, Places};
pub use problem::{Problem, Severity};
pub use report::Report;
pub use tree::{MemoryTree, Tree, TreeEntry, TreeError};
pub use types::*;
