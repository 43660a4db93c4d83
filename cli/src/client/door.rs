//! The way to the platform: address, token, and which project and environment are meant.

use super::arguments::{Common, InEnvironment, InProject};
use super::failure::Failure;
use super::repository;
use slipway_proto::api::platform_client::PlatformClient;
use slipway_proto::api::{Empty, Project, ProjectRequest};
use slipway_proto::auth::BearerToken;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Where a one-machine platform listens when nothing says otherwise.
const API: &str = "http://127.0.0.1:7070";
/// A platform that is there answers long before.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The API with a token.
pub type Client = PlatformClient<InterceptedService<Channel, BearerToken>>;

/// An open way to the platform.
pub struct Door {
    pub client: Client,
    address: String,
}

impl Door {
    pub async fn open(common: &Common) -> Result<Self, Failure> {
        let address = common.api.clone().unwrap_or_else(|| configured(&common.data_dir).unwrap_or_else(|| API.into()));
        let address = if address.contains("://") { address } else { format!("http://{address}") };
        let token = token(common)?;
        let unreachable = |why: String| {
            Failure::blind("could not reach the platform", why)
                .at(&address)
                .help("`slipway up` starts one on this machine; --api URL or SLIPWAY_API names another")
        };
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| unreachable(chain(&error)))?;
        let channel =
            endpoint.connect_timeout(CONNECT_TIME_MAX).tcp_nodelay(true).connect().await.map_err(|error| unreachable(chain(&error)))?;
        let client = PlatformClient::with_interceptor(channel, token).max_decoding_message_size(slipway_proto::MESSAGE_BYTES_MAX);
        Ok(Self { client, address })
    }

    /// Turns the platform's refusal into a failure to do `what`.
    pub fn failed<T: Into<String>>(&self, what: T) -> impl FnOnce(tonic::Status) -> Failure + use<T> {
        let (what, address) = (format!("could not {}", what.into()), self.address.clone());
        move |status| refusal(&what, &address, &status)
    }

    /// The project that is meant.
    pub async fn project(&mut self, given: &InProject) -> Result<Project, Failure> {
        if let Some(project) = given.project.clone().filter(|name| !name.is_empty()) {
            return self.named_project(project).await;
        }
        let projects = self.client.list_projects(Empty {}).await.map_err(self.failed("list the projects"))?.into_inner().projects;
        let remotes = repository::remote_projects();
        let mut pushed_to: Vec<_> = projects.iter().filter(|p| remotes.contains(&p.id)).cloned().collect();
        if pushed_to.len() == 1 {
            return Ok(pushed_to.remove(0));
        }
        let names = |list: &[Project]| list.iter().take(10).map(|p| p.id.as_str()).collect::<Vec<_>>().join(", ");
        match (pushed_to.as_slice(), projects.as_slice()) {
            ([], [only]) => Ok(only.clone()),
            ([], []) => Err(Failure::blind("there is no project yet", "every command about environments needs one")
                .at(&self.address)
                .help("slipway project create --title \"My project\"")),
            ([], several) => Err(Failure::blind("which project?", format!("you have several: {}", names(several)))
                .help("name one with --project, or set SLIPWAY_PROJECT")),
            (several, _) => Err(Failure::blind("which project?", format!("this repository is pushed to several: {}", names(several)))
                .help("name one with --project, or set SLIPWAY_PROJECT")),
        }
    }

    pub async fn named_project(&mut self, project: String) -> Result<Project, Failure> {
        let what = format!("find project '{project}'");
        Ok(self.client.get_project(ProjectRequest { project }).await.map_err(self.failed(what))?.into_inner())
    }

    /// The environment that is meant: given, the branch that is checked out, or the default one.
    pub async fn environment(&mut self, place: &InEnvironment, positional: Option<String>) -> Result<Named, Failure> {
        let project = self.project(&place.project).await?;
        let environment = match positional.or_else(|| place.environment.clone()) {
            Some(name) => name,
            // The branch of a repository that is pushed elsewhere says nothing about this project.
            None if repository::remote_projects().contains(&project.id) => {
                repository::branch().unwrap_or_else(|| project.default_branch.clone())
            }
            None => project.default_branch.clone(),
        };
        Ok(Named { project: project.id, environment })
    }
}

/// An environment by its project and branch.
#[derive(Debug, Clone)]
pub struct Named {
    pub project: String,
    pub environment: String,
}

impl Named {
    pub fn request(&self) -> slipway_proto::api::EnvironmentRequest {
        slipway_proto::api::EnvironmentRequest {
            project: self.project.clone(),
            environment: self.environment.clone(),
            run_hooks: false,
        }
    }
}

fn refusal(what: &str, address: &str, status: &tonic::Status) -> Failure {
    use tonic::Code;
    let why = if status.message().is_empty() { status.code().description() } else { status.message() };
    match status.code() {
        Code::Unavailable | Code::Unknown => Failure::blind(what, why).at(address).help("slipway node list"),
        // The platform's own words name the command that helps.
        _ => Failure::new(what, why).at(address),
    }
}

/// `[scheduler] listen` of the platform's file, read alone: a newer file must not lock its people out.
fn configured(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join("slipway.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let mut listen: SocketAddr = table.get("scheduler")?.get("listen")?.as_str()?.parse().ok()?;
    if listen.ip().is_unspecified() {
        listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Some(format!("http://{listen}"))
}

fn token(common: &Common) -> Result<BearerToken, Failure> {
    let (text, place) = match std::env::var("SLIPWAY_TOKEN") {
        Ok(token) if !token.trim().is_empty() => (token, "SLIPWAY_TOKEN".to_string()),
        _ => {
            let path = common.data_dir.join("secrets/admin.token");
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::blind("there is no token", error)
                    .at(path.display())
                    .help("set SLIPWAY_TOKEN; somebody who has one makes another with `slipway token create`")
            })?;
            (text, path.display().to_string())
        }
    };
    BearerToken::new(text.trim()).map_err(|why| Failure::blind("the token cannot be used", why).at(place))
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::configured;

    #[test]
    fn the_address_comes_from_the_platforms_file_whatever_else_it_holds() {
        let dir = std::env::temp_dir().join(format!("slipway-door-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("slipway.toml"), "[scheduler]\nlisten = \"0.0.0.0:9070\"\nnew_key = 1\n").unwrap();
        let address = configured(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(address.as_deref(), Some("http://127.0.0.1:9070"));
    }
}
