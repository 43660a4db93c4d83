//! The advisory database on this node, loaded when it changes.

use slipway_advisories::{Database, Date, Locks, Preflight, judge};
use slipway_manifest::{Application, Project, Tree};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// One loaded database, shared by all pushes.
pub struct AdvisoryShelf {
    path: Option<PathBuf>,
    loaded: Mutex<Option<(SystemTime, Arc<Database>)>>,
}

/// What the gate says of one tree.
#[derive(Debug, Default)]
pub struct Gate {
    pub texts: Vec<String>,
    pub warnings: Vec<String>,
    pub refused: bool,
    pub sbom_json: String,
}

impl AdvisoryShelf {
    pub fn new(path: Option<PathBuf>) -> AdvisoryShelf {
        AdvisoryShelf { path, loaded: Mutex::new(None) }
    }

    /// `Ok(None)`: there is none here.
    fn database(&self) -> Result<Option<Arc<Database>>, String> {
        let Some(path) = &self.path else { return Ok(None) };
        let changed = match std::fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut loaded = self.loaded.lock().expect("a database is set in one step");
        if let Some((since, database)) = &*loaded
            && *since == changed
        {
            return Ok(Some(database.clone()));
        }
        let database = Arc::new(slipway_advisories::load::open(path).map_err(|error| error.to_string())?);
        *loaded = Some((changed, database.clone()));
        Ok(Some(database))
    }

    /// Judges the lock files of each application; files outside every application are not deployed and not judged.
    pub fn judge(&self, tree: &dyn Tree, project: &Project, version: &str) -> Gate {
        let mut gate = Gate::default();
        let files = tree.list().unwrap_or_default();
        // The library reads 16 MiB at most and says so of larger ones.
        let limit = 16 << 20;
        let locks: Locks = slipway_advisories::collect(files.iter().map(|entry| (entry.path.as_str(), || tree.read(&entry.path, limit))));
        for problem in &locks.problems {
            gate.warnings.push(format!("W: {problem}"));
        }
        let name = project.applications.first().map_or("project", |application| application.name.as_str());
        let subject = slipway_advisories::sbom::Subject { name: name.into(), version: version.into() };
        gate.sbom_json = String::from_utf8_lossy(&slipway_advisories::sbom::cyclonedx(&subject, &locks.packages)).into_owned();
        let database = match self.database() {
            Ok(Some(database)) => database,
            Ok(None) => {
                if !locks.packages.is_empty() {
                    gate.texts.push("Known vulnerabilities are not checked: this platform has no advisory database (`slipway advisories import`).".into());
                }
                return gate;
            }
            Err(error) => {
                gate.texts.push(format!("W: Known vulnerabilities are not checked: {error}"));
                return gate;
            }
        };
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let today = Date::from_unix(seconds);
        for application in &project.applications {
            let packages: Vec<_> =
                locks.packages.iter().filter(|package| owner(project, package.folder()) == Some(application.name.as_str())).cloned().collect();
            if packages.is_empty() {
                continue;
            }
            let verdict = judge(&packages, &database, &preflight(application), today);
            gate.refused |= verdict.is_refused();
            gate.warnings.extend(verdict.warned.iter().map(|finding| format!("W: {}", finding.message())));
            gate.texts.push(verdict.to_string());
        }
        gate
    }
}

/// The application in whose folder a file lies, the innermost of several.
fn owner<'a>(project: &'a Project, folder: &str) -> Option<&'a str> {
    let holds = |root: &str| root.is_empty() || folder == root || folder.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let holders = project.applications.iter().filter(|application| holds(&application.root));
    holders.max_by_key(|application| application.root.len()).map(|application| application.name.as_str())
}

fn preflight(application: &Application) -> Preflight {
    let rules = application.preflight.ignored_rules.iter().map(|rule| slipway_advisories::Ignore {
        id: rule.id.clone(),
        reason: rule.reason.clone(),
        until: rule.until.as_deref().and_then(|day| day.parse().ok()),
    });
    Preflight { enabled: application.preflight.enabled, ignored_rules: rules.collect() }
}
