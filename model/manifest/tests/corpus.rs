//! Every project of both corpora is judged as their verdicts say.

mod support;

use slipway_manifest::{Flavour, Options, Problem, Project, check, plan};
use std::collections::BTreeMap;
use std::path::Path;
use support::{Folder, shared};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    file: String,
    line: u32,
    key: String,
}

/// `file:line key reason`.
fn complaint(text: &str) -> Complaint {
    let (place, rest) = text
        .split_once(' ')
        .unwrap_or_else(|| panic!("no key: {text}"));
    let (file, line) = place
        .rsplit_once(':')
        .unwrap_or_else(|| panic!("no line: {text}"));
    let key = rest.split(' ').next().unwrap_or_default();
    Complaint {
        file: file.to_owned(),
        line: line.parse().expect("line number"),
        key: key.to_owned(),
    }
}

fn of(problem: &Problem) -> Complaint {
    Complaint {
        file: problem.file.clone(),
        line: problem.line,
        key: problem.key.clone(),
    }
}

fn show(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(|c| format!("\n    {}:{} {}", c.file, c.line, c.key))
        .collect()
}

fn flavour(name: &str) -> Flavour {
    Flavour::parse(name).unwrap_or_else(|| panic!("flavour {name}"))
}

#[test]
fn real_projects_are_judged_as_the_verdicts_say() {
    let visible = shared().join("corpus/visible");
    let verdicts = std::fs::read_to_string(visible.join("VERDICTS.tsv")).expect("VERDICTS.tsv");
    let mut projects: BTreeMap<(String, String, String), Vec<Complaint>> = BTreeMap::new();
    for line in verdicts.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [folder, root, verdict, expected, name] = fields[..] else {
            panic!("five columns: {line}")
        };
        let complaints = projects
            .entry((folder.to_owned(), root.to_owned(), name.to_owned()))
            .or_default();
        if verdict == "refused" {
            complaints.push(complaint(expected));
        }
    }
    assert_eq!(projects.len(), 169);
    let mut wrong = Vec::new();
    for ((folder, root, name), expected) in &projects {
        let tree = Folder::open(&visible.join(folder).join(root));
        let options = Options {
            flavour: Some(flavour(name)),
            strict: Some(true),
            plan_storage_mb: 102_400,
            ..Options::default()
        };
        let report = check(&tree, &options);
        let found: Vec<Complaint> = report.errors().map(of).collect();
        let missing: Vec<Complaint> = expected
            .iter()
            .filter(|wanted| !found.contains(wanted))
            .cloned()
            .collect();
        // More is allowed about an entry that is complained about already.
        let surplus: Vec<&Problem> = report
            .errors()
            .filter(|problem| {
                !expected.iter().any(|wanted| {
                    wanted.file == problem.file && problem.key.starts_with(&wanted.key)
                })
            })
            .collect();
        if !missing.is_empty()
            || !surplus.is_empty()
            || report.project.is_some() != expected.is_empty()
        {
            let surplus: String = surplus
                .iter()
                .map(|problem| format!("\n    {problem}"))
                .collect();
            wrong.push(format!(
                "{folder}\n  missing:{}\n  surplus:{surplus}",
                show(&missing)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong:\n{}",
        wrong.len(),
        projects.len(),
        wrong.join("\n")
    );
}

/// Cycles may be told once, on any of their links.
fn may_be_told_once(name: &str) -> bool {
    name.contains("-cycle") || name.contains("redirect-loop")
}

#[test]
fn invalid_projects_get_exactly_their_complaints() {
    let invalid = shared().join("corpus/invalid");
    let mut cases: Vec<_> = std::fs::read_dir(&invalid)
        .expect("invalid")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 117);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case
            .file_name()
            .and_then(|name| name.to_str())
            .expect("name");
        let expected: Vec<Complaint> = std::fs::read_to_string(case.join("EXPECT"))
            .expect("EXPECT")
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(complaint)
            .collect();
        let problems = if name.contains("topology") {
            topology(case)
        } else {
            refusals(case)
        };
        let found: Vec<Complaint> = problems.iter().map(of).collect();
        let mut missing: Vec<Complaint> = expected
            .iter()
            .filter(|wanted| !found.contains(wanted))
            .cloned()
            .collect();
        if may_be_told_once(name) && missing.len() < expected.len() {
            missing.clear();
        }
        let surplus: Vec<&Problem> = problems
            .iter()
            .filter(|problem| !expected.contains(&of(problem)))
            .collect();
        if !missing.is_empty() || !surplus.is_empty() {
            let surplus: String = surplus
                .iter()
                .map(|problem| format!("\n    {problem}"))
                .collect();
            wrong.push(format!(
                "{name}\n  missing:{}\n  surplus:{surplus}",
                show(&missing)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn refusals(case: &Path) -> Vec<Problem> {
    let report = check(
        &Folder::open(case),
        &Options {
            strict: Some(true),
            ..Options::default()
        },
    );
    assert_eq!(report.project.is_none(), report.errors().count() > 0);
    report.errors().cloned().collect()
}

fn valid(folder: &Path) -> Project {
    let report = check(
        &Folder::open(folder),
        &Options {
            strict: Some(true),
            ..Options::default()
        },
    );
    report
        .project
        .unwrap_or_else(|| panic!("{}: {:#?}", folder.display(), report.problems))
}

fn topology(case: &Path) -> Vec<Problem> {
    let plan = plan::diff(&valid(&case.join("deployed")), &valid(&case.join("pushed")));
    let told = plan.refusals.into_iter().chain(
        plan.needs_consent
            .into_iter()
            .map(|destruction| destruction.problem),
    );
    told.map(|problem| Problem {
        file: format!("pushed/{}", problem.file),
        ..problem
    })
    .collect()
}

#[test]
fn normalised_projects_survive_their_json() {
    let visible = shared().join("corpus/visible");
    let mut seen = 0;
    for entry in std::fs::read_dir(&visible).expect("visible") {
        let path = entry.expect("entry").path();
        if !path.is_dir() {
            continue;
        }
        let report = check(
            &Folder::open(&path),
            &Options {
                plan_storage_mb: 102_400,
                strict: Some(true),
                ..Options::default()
            },
        );
        let Some(project) = report.project else {
            continue;
        };
        let text = serde_json::to_string(&project).expect("JSON");
        let back: Project = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(back, project, "{}", path.display());
        assert_eq!(serde_json::to_string(&back).expect("JSON"), text);
        seen += 1;
    }
    assert!(seen > 140, "{seen}");
}
