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

mod app;
mod app_parts;
mod app_shape;
mod app_type;
mod build;
mod checks;
mod circles;
mod codes;
mod context;
mod cron;
mod duration;
mod endpoints;
mod expand;
mod extensions;
mod flavour;
mod here;
mod include;
mod kinds;
mod links;
mod load;
mod mounts;
mod near;
mod node;
mod options;
mod pcre;
mod pcre_translate;
mod places;
pub mod plan;
mod problem;
mod project;
mod raw;
mod read;
mod render;
mod report;
mod route;
mod route_shape;
mod routes_together;
mod scalar;
mod schema;
mod service;
mod service_shape;
mod shape;
mod syntax;
mod tree;
mod types;
mod url;
mod variables;
mod web;
mod web_shape;

pub use codes::{Code, all_codes, explain};
pub use context::RouteContext;
pub use cron::check_cron;
pub use duration::duration_milliseconds;
pub use expand::{expand_routes, routes_variable};
pub use flavour::Flavour;
pub use options::{CatalogueIndex, Options, PLAN_STORAGE_MB};
pub use pcre::check_pcre;
pub use pcre_translate::translate_pcre;
pub use places::{Place, Places};
pub use problem::{Problem, Severity};
pub use project::check;
pub use render::{problem_json, render_json, render_terminal};
pub use report::Report;
pub use schema::schemas;
pub use tree::{MemoryTree, Tree, TreeEntry, TreeError};
pub use types::*;
