//! `slipway plan`: what a push would change, without a server.

use super::Done;
use super::arguments::Common;
use super::failure::Failure;
use super::folder::Folder;
use super::terminal::{Paint, say, say_json, width};
use super::validate::{Judging, accidents, submodule_json, submodules_text};
use clap::Args;
use serde_json::{Value, json};
use slipway_manifest::plan::{TopologyPlan, diff, render_plan_json, render_plan_terminal};
use slipway_manifest::{Options, Project, Report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    common: Common,
    /// The folder as it is deployed.
    #[arg(long, value_name = "DEPLOYED_DIR")]
    from: PathBuf,
    /// The folder as it would be pushed.
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    judging: Judging,
}

impl Plan {
    pub fn run(self) -> Done {
        let options = self.judging.options()?;
        let deployed = deployed(&self.from, &options)?;
        let folder = Folder::open(&self.dir)?;
        let report = slipway_manifest::check(&folder, &options);
        accidents(&report, &self.dir)?;
        let plan = report.project.as_ref().map(|pushed| diff(&deployed, pushed));
        let valid = folder.submodules.is_empty() && plan.as_ref().is_some_and(|plan| plan.refusals.is_empty());
        if self.common.json() {
            say_json(&document(valid, &folder.submodules, &report, plan.as_ref()));
        } else {
            let colour = Paint::stdout().is_on();
            say(submodules_text(&folder.submodules));
            say(slipway_manifest::render_terminal(&report.problems, width(), colour));
            if let Some(plan) = &plan {
                say(render_plan_terminal(plan, width(), colour));
            }
        }
        Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What runs was accepted once, perhaps under other limits: only its shape is asked for.
fn deployed(dir: &Path, options: &Options) -> Result<Project, Failure> {
    let lenient = Options { strict: Some(false), plan_storage_mb: u64::MAX >> 1, catalogue: None, any_version: true, ..options.clone() };
    let report = slipway_manifest::check(&Folder::open(dir)?, &lenient);
    let why = slipway_manifest::render_terminal(&report.problems, width(), false);
    report.project.ok_or_else(|| {
        Failure::blind("could not read the deployed configuration", why.trim_end())
            .at(dir.display())
            .help("give --from a folder as it was pushed, such as a `git worktree` of the deployed commit")
    })
}

fn document(valid: bool, submodules: &[String], report: &Report, plan: Option<&TopologyPlan>) -> Value {
    let mut problems: Vec<Value> = submodules.iter().map(|path| submodule_json(path)).collect();
    problems.extend(report.problems.iter().map(slipway_manifest::problem_json));
    let mut document = plan.map_or_else(|| json!({"valid": false, "problems": [], "changes": [], "needs_consent": []}), render_plan_json);
    if let Some(refusals) = document["problems"].as_array_mut() {
        problems.append(refusals);
    }
    document["valid"] = json!(valid);
    document["problems"] = Value::Array(problems);
    document
}
