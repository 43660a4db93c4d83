//! One pushed commit: submodules, configuration, advisories, trees; and the plan against what is deployed.

use super::advisories::AdvisoryShelf;
use super::app_tree::AppTrees;
use super::log::clean;
use super::options::PushOptions;
use super::tree::GitTree;
use crate::session::Session;
use serde::Deserialize;
use slipway_manifest::plan::{self, Destruction, Subject};
use slipway_manifest::{CatalogueIndex, Flavour, Options, Project};
use slipway_model::ids::CommitId;
use slipway_proto::api::PushContext;
use std::collections::BTreeMap;

/// The side-band adds `remote: ` to each line of 80 columns.
const WIDTH: usize = 72;

/// Everything that is known of a commit after looking once.
#[derive(Default)]
pub struct Judgement {
    /// The refusal that names the submodules.
    pub submodules: Option<String>,
    /// For the terminal, in order.
    pub problems: Vec<String>,
    /// What git shows in brackets beside the ref.
    pub refusal: Option<String>,
    pub project: Option<Project>,
    pub project_json: String,
    pub app_trees: BTreeMap<String, String>,
    pub app_tree_sources: BTreeMap<String, String>,
    pub warnings: Vec<String>,
    pub sbom_json: String,
}

impl Judgement {
    pub fn unreadable(why: String) -> Judgement {
        Judgement { problems: vec![format!("E: {why}.")], refusal: Some("unreadable tree".into()), ..Default::default() }
    }
}

/// Blocking: reads objects through git.
pub fn judge(session: &Session, commit: &CommitId, context: &PushContext, advisories: &AdvisoryShelf) -> Judgement {
    let tree = match GitTree::open(session, commit) {
        Ok(tree) => tree,
        Err(error) => return Judgement::unreadable(clean(&error)),
    };
    let mut judgement = Judgement::default();
    if !tree.submodules.is_empty() {
        judgement.submodules = Some(submodules_text(&tree.submodules));
        judgement.refusal = Some("submodules are not supported yet".into());
    }
    let report = slipway_manifest::check(&tree, &options(context));
    let text = slipway_manifest::render_terminal(&report.problems, WIDTH, false);
    if report.errors().next().is_some() {
        judgement.problems.push(format!("\nE: Error parsing configuration files:\n{}", text.trim_end()));
        judgement.refusal.get_or_insert("invalid configuration files".into());
    } else if !text.trim().is_empty() {
        judgement.problems.push(text.trim_end().to_string());
    }
    judgement.warnings = report.problems.iter().filter(|problem| !problem.is_error()).map(|problem| format!("W: {problem}")).collect();
    let Some(project) = report.project else {
        judgement.refusal.get_or_insert("invalid configuration files".into());
        return judgement;
    };
    let gate = advisories.judge(&tree, &project, commit.as_str());
    judgement.problems.extend(gate.texts.iter().map(|text| text.trim_end().to_string()));
    judgement.problems.extend(gate.warnings.iter().filter(|_| gate.texts.is_empty()).cloned());
    judgement.warnings.extend(gate.warnings);
    judgement.sbom_json = gate.sbom_json;
    if gate.refused {
        judgement.refusal.get_or_insert("known critical vulnerability".into());
    }
    if let Err(error) = write_trees(&mut judgement, session, commit, &project) {
        return Judgement::unreadable(clean(&error));
    }
    judgement.project_json = serde_json::to_string(&project).unwrap_or_default();
    judgement.project = Some(project);
    judgement
}

fn write_trees(judgement: &mut Judgement, session: &Session, commit: &CommitId, project: &Project) -> Result<(), String> {
    let mut trees = AppTrees::open(session, commit)?;
    for application in &project.applications {
        let tree = trees.of(&application.root, &application.config_files)?;
        judgement.app_trees.insert(application.name.clone(), tree.key);
        judgement.app_tree_sources.insert(application.name.clone(), tree.source);
    }
    Ok(())
}

fn submodules_text(paths: &[String]) -> String {
    let mut text = "\nE: Submodules are not supported yet, so this push would be built without their files:\n".to_string();
    for path in paths.iter().take(50) {
        text.push_str(&format!("    - {}\n", clean(path)));
    }
    if paths.len() > 50 {
        text.push_str(&format!("    - and {} more\n", paths.len() - 50));
    }
    text.push_str("  Put the files into the repository (git subtree add), or install them as dependencies of the build.");
    text
}

fn options(context: &PushContext) -> Options {
    Options {
        flavour: Flavour::parse(&context.flavour),
        strict: Some(context.strict),
        plan_storage_mb: if context.plan_storage_mb == 0 { slipway_manifest::PLAN_STORAGE_MB } else { context.plan_storage_mb },
        catalogue: catalogue(&context.catalogue_json),
        any_version: false,
    }
}

#[derive(Deserialize)]
struct CatalogueEntry {
    kind: String,
    name: String,
    version: String,
}

/// `None`: judge by the tables of the language.
fn catalogue(json: &str) -> Option<CatalogueIndex> {
    let entries: Vec<CatalogueEntry> = serde_json::from_str(json).ok()?;
    if entries.is_empty() {
        return None;
    }
    let mut index = CatalogueIndex::default();
    for entry in entries {
        let map = if entry.kind == "service" { &mut index.services } else { &mut index.runtimes };
        map.entry(entry.name).or_default().push(entry.version);
    }
    Some(index)
}

/// The plan of one branch.
#[derive(Default)]
pub struct Topology {
    pub text: String,
    pub refusal: Option<String>,
}

/// Compares with what is deployed; the data of a protected environment is destroyed only with consent.
pub fn topology(judgement: &Judgement, deployed_json: Option<&str>, is_protected: bool, push_options: &PushOptions) -> Topology {
    let (Some(pushed), Some(deployed)) = (&judgement.project, deployed_json.filter(|json| !json.is_empty())) else {
        return Topology::default();
    };
    let deployed: Project = match serde_json::from_str(deployed) {
        Ok(deployed) => deployed,
        Err(error) => {
            // A form that an older release wrote: the deployment itself goes by the ledger, not by this text.
            tracing::warn!(%error, "the deployed project cannot be compared");
            return Topology::default();
        }
    };
    let plan = plan::diff(&deployed, pushed);
    let mut topology = Topology { text: plan::render_plan_terminal(&plan, WIDTH, false).trim_end().to_string(), refusal: None };
    if !plan.refusals.is_empty() {
        topology.text.push_str("\nE: This change of the topology is impossible.");
        topology.refusal = Some("impossible topology change".into());
    }
    let mut missing: Vec<&str> = plan
        .needs_consent
        .iter()
        .filter(|destruction| is_protected && !is_consented(destruction, push_options))
        .map(|destruction| subject_name(&destruction.subject))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        topology.text.push_str(&format!(
            "\nE: Data would be destroyed, and nobody has consented to it. If it is meant: git push -o slipway.destroy={}",
            missing.join(",")
        ));
        topology.refusal.get_or_insert("consent needed to destroy data".into());
    }
    topology
}

fn subject_name(subject: &Subject) -> &str {
    match subject {
        Subject::Application(name) | Subject::Service(name) | Subject::Route(name) => name,
    }
}

fn is_consented(destruction: &Destruction, options: &PushOptions) -> bool {
    let name = subject_name(&destruction.subject);
    options.consents.iter().any(|consent| consent == name || consent == "all")
}
