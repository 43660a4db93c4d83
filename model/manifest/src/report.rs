//! The answer to one check.

use crate::problem::Problem;
use crate::types::Project;

#[derive(Debug, Clone)]
pub struct Report {
    /// Sorted by file and line, duplicates folded.
    pub problems: Vec<Problem>,
    /// Present when there are no errors.
    pub project: Option<Project>,
}

impl Report {
    pub fn is_valid(&self) -> bool {
        self.project.is_some()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }
}
