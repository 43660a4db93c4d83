//! The answer to one check.

use crate::problem::Problem;
use crate::types::Project;

#[derive(Debug, Clone)]
pub struct Report {
    /// Sorted by file and line, duplicates folded.
    pub problems: Vec<Problem>,
    /// Present when there are no errors.
    pub project: Option<Project>,
    /// The tree could not be read: an accident of the store, not a fault of the author.
    pub accident: Option<String>,
}

impl Report {
    pub fn is_valid(&self) -> bool {
        self.project.is_some()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }
}
