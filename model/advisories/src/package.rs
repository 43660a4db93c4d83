//! One installed version of a package, and how it came in.

use serde::{Deserialize, Serialize};

use crate::ecosystem::Ecosystem;

/// The tool that wrote the lock file; it decides the command that upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    Composer,
    Npm,
    Yarn,
    YarnBerry,
    Pnpm,
    Pip,
    Pipenv,
    Poetry,
    Uv,
    Bundler,
    Go,
    Gradle,
    Cargo,
}

/// Whether the application asks for the package itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    Direct,
    Transitive,
}

/// One version of one package named by one lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub ecosystem: Ecosystem,
    pub name: String,
    pub version: String,
    /// The lock file, as a path in the tree.
    pub file: String,
    pub line: Option<u32>,
    pub manager: Manager,
    pub reach: Reach,
    /// Only needed to develop and test, as far as the lock file says.
    pub development: bool,
    /// `name@version` from a direct dependency down to this package.
    pub via: Vec<String>,
}

impl Package {
    /// The package URL.
    pub fn purl(&self) -> String {
        self.ecosystem.purl(&self.name, &self.version)
    }

    /// The command that upgrades to `fixed`, to be run in the folder of the lock file.
    pub fn upgrade_command(&self, fixed: &str) -> String {
        let name = &self.name;
        let direct = self.reach == Reach::Direct;
        let dev = if self.development { " --dev" } else { "" };
        match self.manager {
            Manager::Composer if direct => format!("composer require{dev} {name}:^{fixed}"),
            Manager::Composer => format!("composer update {name}:^{fixed} --with-all-dependencies"),
            Manager::Npm if direct => format!("npm install {name}@{fixed}"),
            Manager::Npm => format!("npm update {name}"),
            Manager::Yarn if direct => format!("yarn upgrade {name}@^{fixed}"),
            Manager::Yarn => format!("yarn upgrade {name}"),
            Manager::YarnBerry if direct => format!("yarn up {name}@^{fixed}"),
            Manager::YarnBerry => format!("yarn up -R {name}"),
            Manager::Pnpm if direct => format!("pnpm add {name}@^{fixed}"),
            Manager::Pnpm => format!("pnpm update {name} --depth Infinity"),
            Manager::Pip => format!(
                "pip install '{name}>={fixed}' and pin {name}=={fixed} in {}",
                self.file_name()
            ),
            Manager::Pipenv => format!("pipenv upgrade '{name}>={fixed}'"),
            Manager::Poetry if direct => format!("poetry add '{name}@^{fixed}'"),
            Manager::Poetry => format!("poetry update {name}"),
            Manager::Uv if direct => format!("uv add '{name}>={fixed}'"),
            Manager::Uv => format!("uv lock --upgrade-package {name}"),
            Manager::Bundler => format!("bundle update {name}"),
            Manager::Go if name == "stdlib" => {
                format!("go get toolchain@go{}", fixed.trim_start_matches('v'))
            }
            Manager::Go => format!("go get {name}@v{}", fixed.trim_start_matches('v')),
            Manager::Gradle => {
                format!("set {name}:{fixed} in the build, then gradle dependencies --write-locks")
            }
            Manager::Cargo => format!("cargo update -p {name} --precise {fixed}"),
        }
    }

    /// The folder of the lock file, empty for the root of the tree.
    pub fn folder(&self) -> &str {
        self.file.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn file_name(&self) -> &str {
        self.file
            .rsplit_once('/')
            .map_or(self.file.as_str(), |(_, name)| name)
    }
}
