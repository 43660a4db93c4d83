//! The plan for people and for programs.

use super::{Change, ChangeKind, Consequence, Subject, TopologyPlan};
use crate::render::{problem_json, render_terminal, safe, wrap};
use serde_json::{Value, json};

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Application(name) => write!(f, "application {name}"),
            Subject::Service(name) => write!(f, "service {name}"),
            Subject::Route(url) => write!(f, "route {url}"),
        }
    }
}

impl std::fmt::Display for Consequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Consequence::Reroute => "reroute",
            Consequence::Restart => "restart",
            Consequence::Upgrade => "upgrade",
            Consequence::Create => "create",
            Consequence::Destroy => "destroy",
            Consequence::Rebuild => "rebuild",
        })
    }
}

fn line(change: &Change) -> String {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Removed => '-',
        ChangeKind::Changed => '~',
    };
    let what = if change.what.is_empty() {
        String::new()
    } else {
        format!(" {}", change.what)
    };
    let values = match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!(" {from} -> {to}"),
        (None, Some(to)) => format!(" {to}"),
        (Some(from), None) => format!(" (was {from})"),
        (None, None) => String::new(),
    };
    format!(
        "{sign} {}{what}{values}: {}, {}",
        change.subject, change.consequence, change.why
    )
}

/// What a push prints before anything happens.
pub fn render_plan_terminal(plan: &TopologyPlan, width: usize, colour: bool) -> String {
    let width = width.max(40);
    let mut out = String::new();
    if plan.changes.is_empty() && plan.refusals.is_empty() && plan.needs_consent.is_empty() {
        return "No change to applications, services or routes.\n".to_owned();
    }
    for change in &plan.changes {
        for (index, text) in wrap(&safe(&line(change)), width - 2)
            .into_iter()
            .enumerate()
        {
            out.push_str(&format!("{}{text}\n", if index == 0 { "" } else { "  " }));
        }
    }
    if !plan.needs_consent.is_empty() {
        out.push_str("Data would be destroyed:\n");
        let problems: Vec<_> = plan
            .needs_consent
            .iter()
            .map(|destruction| destruction.problem.clone())
            .collect();
        out.push_str(&render_terminal(&problems, width, colour));
    }
    if !plan.refusals.is_empty() {
        out.push_str("Impossible:\n");
        out.push_str(&render_terminal(&plan.refusals, width, colour));
    }
    out
}

/// One object: `{"valid", "problems", "changes", "needs_consent"}`.
pub fn render_plan_json(plan: &TopologyPlan) -> Value {
    let consent = |destruction: &super::Destruction| json!({"subject": destruction.subject, "data": destruction.data, "problem": problem_json(&destruction.problem)});
    json!({
        "valid": plan.refusals.is_empty(),
        "problems": plan.refusals.iter().map(problem_json).collect::<Vec<_>>(),
        "changes": plan.changes,
        "needs_consent": plan.needs_consent.iter().map(consent).collect::<Vec<_>>(),
    })
}
