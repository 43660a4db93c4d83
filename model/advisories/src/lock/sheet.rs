//! The dependency graph of one lock file, on its way to a list of packages.

use std::collections::{BTreeMap, VecDeque};

use crate::ecosystem::Ecosystem;
use crate::package::{Manager, Package, Reach};

/// Packages in one lock file.
pub const PACKAGES_MAX: usize = 100_000;

/// Steps of a dependency path that are kept; a person reads no more.
const PATH_STEPS_MAX: usize = 16;

/// Names longer than this belong to no registry.
const NAME_BYTES_MAX: usize = 512;

/// One entry of a lock file.
#[derive(Debug, Default)]
pub struct Node {
    pub name: String,
    pub version: String,
    pub line: Option<u32>,
    /// `None` when the file does not say; then the graph tells.
    pub development: Option<bool>,
    pub needs: Vec<usize>,
    /// The application itself or a part of its tree: leads to packages, is none.
    pub own: bool,
}

/// Nodes and what the application asks for.
pub struct Sheet<'a> {
    pub file: &'a str,
    pub ecosystem: Ecosystem,
    pub manager: Manager,
    pub nodes: Vec<Node>,
    pub roots: Vec<usize>,
    pub development_roots: Vec<usize>,
}

impl<'a> Sheet<'a> {
    pub fn new(file: &'a str, ecosystem: Ecosystem, manager: Manager) -> Sheet<'a> {
        Sheet {
            file,
            ecosystem,
            manager,
            nodes: Vec::new(),
            roots: Vec::new(),
            development_roots: Vec::new(),
        }
    }

    pub fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The packages, each once, with the shortest path that leads to it.
    pub fn finish(mut self) -> Result<Vec<Package>, String> {
        if self.nodes.len() > PACKAGES_MAX {
            return Err(format!("more than {PACKAGES_MAX} packages"));
        }
        if self.roots.is_empty() && self.development_roots.is_empty() {
            self.guess_roots();
        }
        let (parents, production) = self.walk();
        let mut wanted = vec![false; self.nodes.len()];
        for root in self.roots.iter().chain(&self.development_roots) {
            wanted[*root] = true;
        }
        let mut found: BTreeMap<(String, String), Package> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.own
                || node.name.trim().is_empty()
                || node.version.trim().is_empty()
                || node.name.len() > NAME_BYTES_MAX
                || node.version.len() > NAME_BYTES_MAX
            {
                continue;
            }
            let via = self.path(at, &parents);
            let asked = wanted[at] || parents[at].is_some_and(|parent| self.nodes[parent].own);
            let reach = if asked {
                Reach::Direct
            } else {
                Reach::Transitive
            };
            let package = Package {
                ecosystem: self.ecosystem,
                name: self.ecosystem.normal_name(&node.name),
                version: node.version.clone(),
                file: self.file.to_owned(),
                line: node.line,
                manager: self.manager,
                reach,
                development: node
                    .development
                    .unwrap_or(!production[at] && !self.development_roots.is_empty()),
                via,
            };
            match found.get_mut(&(package.name.clone(), package.version.clone())) {
                Some(known) => {
                    known.development &= package.development;
                    if package.via.len() < known.via.len() {
                        let development = known.development;
                        *known = Package {
                            development,
                            ..package
                        };
                    }
                }
                None => {
                    drop(found.insert((package.name.clone(), package.version.clone()), package))
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// What nobody in the file needs must be wanted by the application.
    fn guess_roots(&mut self) {
        let mut needed = vec![false; self.nodes.len()];
        for node in &self.nodes {
            for need in &node.needs {
                needed[*need] = true;
            }
        }
        self.roots = (0..self.nodes.len()).filter(|at| !needed[*at]).collect();
    }

    /// Breadth first, from what production needs, then from what only development needs.
    fn walk(&self) -> (Vec<Option<usize>>, Vec<bool>) {
        let mut parents = vec![None; self.nodes.len()];
        let mut seen = vec![false; self.nodes.len()];
        let mut production = vec![false; self.nodes.len()];
        for (roots, is_production) in [(&self.roots, true), (&self.development_roots, false)] {
            let mut queue: VecDeque<usize> = VecDeque::new();
            for root in roots {
                if !std::mem::replace(&mut seen[*root], true) {
                    production[*root] = is_production;
                    queue.push_back(*root);
                }
            }
            while let Some(at) = queue.pop_front() {
                for need in &self.nodes[at].needs {
                    if !std::mem::replace(&mut seen[*need], true) {
                        parents[*need] = Some(at);
                        production[*need] = is_production;
                        queue.push_back(*need);
                    }
                }
            }
        }
        (parents, production)
    }

    fn path(&self, at: usize, parents: &[Option<usize>]) -> Vec<String> {
        let mut path = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next.filter(|_| path.len() < PATH_STEPS_MAX) {
            let node = &self.nodes[at];
            if !node.own {
                path.push(format!("{}@{}", node.name, node.version));
            }
            next = parents[at];
        }
        path.reverse();
        path
    }
}

/// Finds the lines of entries, front to back, in time linear in the file.
pub struct Lines<'a> {
    text: &'a str,
    position: usize,
    line: u32,
    misses_left: u32,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        // Each miss reads to the end of the file, so only a few are allowed.
        Lines {
            text,
            position: 0,
            line: 1,
            misses_left: 32,
        }
    }

    /// The line of the next place where `needle` stands.
    pub fn find(&mut self, needle: &str) -> Option<u32> {
        if self.misses_left == 0 || needle.len() > 1024 {
            return None;
        }
        let Some(offset) = self.text[self.position..].find(needle) else {
            self.misses_left -= 1;
            return None;
        };
        let skipped = &self.text[self.position..self.position + offset];
        self.line +=
            u32::try_from(skipped.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(0);
        let leading = needle.bytes().take_while(|byte| *byte == b'\n').count();
        self.position += offset + leading;
        self.line += u32::try_from(leading).unwrap_or(0);
        Some(self.line)
    }
}
