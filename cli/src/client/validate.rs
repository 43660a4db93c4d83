//! `slipway validate`: exactly the complaints of a push, without a server.

use super::Done;
use super::arguments::Common;
use super::failure::Failure;
use super::folder::Folder;
use super::terminal::{Paint, say, say_json, width};
use clap::Args;
use serde_json::{Value, json};
use slipway_advisories::{Database, Date, Finding, Preflight, Verdict};
use slipway_manifest::{Application, CatalogueIndex, Flavour, Options, PLAN_STORAGE_MB, Project, Report, Tree};
use slipway_model::recipe::{Recipe, RecipeKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The library reads so much of a lock file and says so of larger ones.
const LOCK_BYTES_MAX: u64 = 16 << 20;
/// A recipe has a few hundred lines.
const RECIPE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    common: Common,
    /// The folder of the project.
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    judging: Judging,
    /// Judge lock files too, by a database of `slipway advisories import`.
    #[arg(long, value_name = "FILE")]
    advisories: Option<PathBuf>,
}

/// What the platform would set.
#[derive(Debug, Args)]
pub struct Judging {
    /// Unknown keys are warnings. (Default of the magento flavour.)
    #[arg(long, overrides_with = "strict")]
    lenient: bool,
    /// Unknown keys are errors. (Default of the other flavours.)
    #[arg(long)]
    strict: bool,
    /// Megabytes that all disks together may have.
    #[arg(long, value_name = "MB", default_value_t = PLAN_STORAGE_MB)]
    plan_storage: u64,
    /// Judge types and versions by the recipes of this folder.
    #[arg(long, value_name = "DIR")]
    catalogue: Option<PathBuf>,
    /// Judge types by their name alone.
    #[arg(long)]
    any_version: bool,
    /// magento, platform or upsun; by default as the files say.
    #[arg(long, value_parser = flavour)]
    flavour: Option<Flavour>,
}

fn flavour(text: &str) -> Result<Flavour, String> {
    Flavour::parse(text).ok_or_else(|| "magento, platform or upsun".to_string())
}

impl Judging {
    pub fn options(&self) -> Result<Options, Failure> {
        Ok(Options {
            flavour: self.flavour,
            strict: if self.lenient { Some(false) } else { self.strict.then_some(true) },
            plan_storage_mb: self.plan_storage,
            catalogue: self.catalogue.as_deref().map(catalogue).transpose()?,
            any_version: self.any_version,
        })
    }
}

impl Validate {
    pub fn run(self) -> Done {
        let options = self.judging.options()?;
        let database = self.advisories.as_deref().map(open_database).transpose()?;
        let folder = Folder::open(&self.dir)?;
        let report = slipway_manifest::check(&folder, &options);
        accidents(&report, &self.dir)?;
        let gate = match (&database, &report.project) {
            (Some(database), Some(project)) => Some(Gate::judge(database, &folder, project)),
            _ => None,
        };
        let valid = report.is_valid() && folder.submodules.is_empty() && gate.as_ref().is_none_or(|gate| !gate.is_refused());
        if self.common.json() {
            let mut problems = folder.submodules.iter().map(|path| submodule_json(path)).collect::<Vec<_>>();
            problems.extend(report.problems.iter().map(slipway_manifest::problem_json));
            problems.extend(gate.iter().flat_map(Gate::problems_json));
            say_json(&json!({"valid": valid, "problems": problems}));
        } else {
            say(submodules_text(&folder.submodules));
            say(slipway_manifest::render_terminal(&report.problems, width(), Paint::stdout().is_on()));
            if let Some(gate) = &gate {
                say(gate.text());
            }
            if valid {
                say(valid_text(&report));
            }
        }
        Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A folder that could not be read is no verdict on its files.
pub fn accidents(report: &Report, dir: &Path) -> Result<(), Failure> {
    match report.problems.iter().find(|problem| problem.is_error() && problem.message.contains("could not be read:")) {
        Some(problem) => Err(Failure::blind("could not look at a file", &problem.message).at(dir.join(&problem.file).display())),
        None => Ok(()),
    }
}

fn valid_text(report: &Report) -> String {
    let Some(project) = &report.project else { return String::new() };
    let names = |list: Vec<&str>| if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) };
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    format!(
        "Valid: {}{}, {}{}, {}.\n",
        count(project.applications.len(), "application"),
        names(project.applications.iter().map(|a| a.name.as_str()).collect()),
        count(project.services.len(), "service"),
        names(project.services.iter().map(|s| s.name.as_str()).collect()),
        count(project.routes.len(), "route"),
    )
}

const SUBMODULE_WHY: &str = "submodules are not supported yet, so this push would be built without their files";
const SUBMODULE_HELP: &str = "Put the files into the repository (git subtree add), or install them as dependencies of the build.";

pub fn submodule_json(path: &str) -> Value {
    json!({
        "code": "SW-SUBMODULE", "severity": "error", "file": path, "line": 0, "column": 0, "key": "(submodule)",
        "message": SUBMODULE_WHY, "expected": null, "suggestion": null, "remedy": SUBMODULE_HELP,
    })
}

pub fn submodules_text(paths: &[String]) -> String {
    let mut text = String::new();
    for path in paths {
        text.push_str(&format!("E: {} (submodule): {SUBMODULE_WHY}\n   {SUBMODULE_HELP} (SW-SUBMODULE)\n", super::terminal::clean(path)));
    }
    text
}

fn open_database(path: &Path) -> Result<Database, Failure> {
    slipway_advisories::load::open(path).map_err(|error| {
        Failure::blind("could not open the database of known vulnerabilities", error)
            .at(path.display())
            .help(format!("slipway advisories import ARCHIVE --to {}", path.display()))
    })
}

/// What the lock files say.
struct Gate {
    verdicts: Vec<Verdict>,
    problems: Vec<slipway_advisories::Problem>,
}

impl Gate {
    /// The lock files of each application; files outside every application are not deployed and not judged.
    fn judge(database: &Database, tree: &dyn Tree, project: &Project) -> Self {
        let files = tree.list().unwrap_or_default();
        let locks = slipway_advisories::collect(files.iter().map(|file| (file.path.as_str(), || tree.read(&file.path, LOCK_BYTES_MAX))));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let today = Date::from_unix(seconds);
        let mut verdicts = Vec::new();
        for application in &project.applications {
            let own = |folder: &str| owner(project, folder) == Some(application.name.as_str());
            let packages: Vec<_> = locks.packages.iter().filter(|package| own(package.folder())).cloned().collect();
            if !packages.is_empty() {
                verdicts.push(slipway_advisories::judge(&packages, database, &preflight(application), today));
            }
        }
        Self { verdicts, problems: locks.problems }
    }

    fn is_refused(&self) -> bool {
        self.verdicts.iter().any(Verdict::is_refused)
    }

    fn text(&self) -> String {
        let mut text: String = self.problems.iter().map(|problem| format!("W: {problem}\n")).collect();
        for verdict in &self.verdicts {
            text.push_str(verdict.to_string().trim_end());
            text.push('\n');
        }
        text
    }

    fn problems_json(&self) -> Vec<Value> {
        let finding = |severity: &str, f: &Finding| {
            json!({
                "code": f.code, "severity": severity, "file": f.file, "line": f.line.unwrap_or(0), "column": 0, "key": f.package,
                "message": f.message(), "expected": f.fixed, "suggestion": f.upgrade, "remedy": f.remedy(),
            })
        };
        let lock = |p: &slipway_advisories::Problem| {
            json!({
                "code": p.code, "severity": "warning", "file": p.file, "line": p.line.unwrap_or(0), "column": 0, "key": "(lock file)",
                "message": p.message, "expected": null, "suggestion": null, "remedy": p.remedy,
            })
        };
        let mut all: Vec<Value> = self.problems.iter().map(lock).collect();
        for verdict in &self.verdicts {
            all.extend(verdict.refused.iter().map(|f| finding("error", f)));
            all.extend(verdict.warned.iter().map(|f| finding("warning", f)));
        }
        all
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

/// Names and versions of the recipes in a folder.
fn catalogue(folder: &Path) -> Result<CatalogueIndex, Failure> {
    let failed = |place: &Path, why: String| {
        Failure::blind("could not read the catalogue", why).at(place.display()).help("name a folder of recipes, such as deploy/catalogue")
    };
    let mut index = CatalogueIndex::default();
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))? {
        let path = entry.map_err(|error| failed(folder, error.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|error| failed(&path, error.to_string()))?.len();
        if size > RECIPE_BYTES_MAX {
            return Err(failed(&path, format!("it has {size} bytes, more than a recipe")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error.to_string()))?;
        let recipe: Recipe = toml::from_str(&text).map_err(|error| failed(&path, error.to_string()))?;
        let map = match recipe.kind {
            RecipeKind::Runtime => &mut index.runtimes,
            RecipeKind::Service => &mut index.services,
        };
        for name in recipe.aliases.iter().chain([&recipe.name]) {
            map.entry(name.clone()).or_default().push(recipe.version.clone());
        }
    }
    if index.runtimes.is_empty() && index.services.is_empty() {
        return Err(failed(folder, "there is no recipe in it".into()));
    }
    for versions in index.runtimes.values_mut().chain(index.services.values_mut()) {
        versions.sort_by_key(|version| version.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>());
    }
    Ok(index)
}
