//! The environment for which routes are resolved.

use crate::flavour::Flavour;
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub struct RouteContext {
    pub project_id: String,
    /// Machine name of the environment, `main-bvxea6i`, or the sanitised branch.
    pub environment: String,
    /// What stands behind `<environment>-<project>.`: `localhost`, `eu.example.site`.
    pub site_domain: String,
    /// The project's domains in order; empty while none is attached.
    pub domains: Vec<String>,
    /// One of `domains`; the first when not set.
    pub default_domain: Option<String>,
    /// Only a production environment is served under the project's domains.
    pub production: bool,
    /// Between a sub-domain and the generated domain: `.` or `---`.
    pub separator: String,
    /// Settings of the environment that are echoed into `*_ROUTES`.
    pub restrict_robots: bool,
    pub http_access: Value,
}

impl RouteContext {
    /// An environment without domains, as on one machine.
    pub fn new(
        flavour: Flavour,
        project_id: &str,
        environment: &str,
        site_domain: &str,
    ) -> RouteContext {
        RouteContext {
            project_id: project_id.to_owned(),
            environment: environment.to_owned(),
            site_domain: site_domain.to_owned(),
            domains: Vec::new(),
            default_domain: None,
            production: false,
            separator: flavour.subdomain_separator().to_owned(),
            restrict_robots: true,
            http_access: json!({"addresses": [], "basic_auth": {}}),
        }
    }

    /// The generated host: `<environment>-<project id>.<site domain>`.
    pub fn environment_domain(&self) -> String {
        format!(
            "{}-{}.{}",
            self.environment, self.project_id, self.site_domain
        )
    }
}
