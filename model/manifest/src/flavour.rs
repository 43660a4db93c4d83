//! The three dialects: file names, directory and variable prefix.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    Magento,
    Platform,
    Upsun,
}

impl Flavour {
    /// In the order in which a repository without a setting is tried.
    pub const ALL: [Flavour; 3] = [Flavour::Upsun, Flavour::Platform, Flavour::Magento];

    pub fn name(self) -> &'static str {
        match self {
            Flavour::Magento => "magento",
            Flavour::Platform => "platform",
            Flavour::Upsun => "upsun",
        }
    }

    pub fn parse(name: &str) -> Option<Flavour> {
        Flavour::ALL
            .into_iter()
            .find(|flavour| flavour.name() == name)
    }

    /// File that makes its directory an application; Upsun has none.
    pub fn app_file(self) -> Option<&'static str> {
        match self {
            Flavour::Magento => Some(".magento.app.yaml"),
            Flavour::Platform => Some(".platform.app.yaml"),
            Flavour::Upsun => None,
        }
    }

    pub fn project_dir(self) -> &'static str {
        match self {
            Flavour::Magento => ".magento",
            Flavour::Platform => ".platform",
            Flavour::Upsun => ".upsun",
        }
    }

    /// Prefix of the generated environment variables, with its underscore.
    pub fn env_prefix(self) -> &'static str {
        match self {
            Flavour::Magento => "MAGENTO_CLOUD_",
            Flavour::Platform | Flavour::Upsun => "PLATFORM_",
        }
    }

    /// Files of the Magento family carry stray keys from years of copying.
    pub fn strict_by_default(self) -> bool {
        self != Flavour::Magento
    }

    /// Between a sub-domain and the environment's generated domain.
    pub fn subdomain_separator(self) -> &'static str {
        match self {
            Flavour::Magento => "---",
            Flavour::Platform | Flavour::Upsun => ".",
        }
    }

    /// Scheme of the only route of a project without a routes file.
    pub fn default_route_scheme(self) -> &'static str {
        match self {
            Flavour::Magento => "http",
            Flavour::Platform | Flavour::Upsun => "https",
        }
    }

    /// Upsun sets storage and sizes outside the files.
    pub fn declares_storage(self) -> bool {
        self != Flavour::Upsun
    }
}
