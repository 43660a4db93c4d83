//! Push options: known names, bounded values.

use std::collections::HashMap;

/// More are no push options of a person.
const OPTIONS_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 1024;

/// What the platform looks at.
const KNOWN: [&str; 9] = [
    "environment.status",
    "environment.title",
    "environment.parent",
    "environment.type",
    "environment.clone_parent_on_create",
    "deploy.strategy",
    "resources.init",
    DESTROY,
    NO_WAIT,
];
const DESTROY: &str = "slipway.destroy";
const NO_WAIT: &str = "slipway.no_wait";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// As they go to the platform.
    pub values: HashMap<String, String>,
    /// Names of what may lose its data.
    pub consents: Vec<String>,
    pub no_wait: bool,
    pub warnings: Vec<String>,
}

impl PushOptions {
    pub fn parse(raw: &[String]) -> PushOptions {
        let mut options = PushOptions::default();
        if raw.len() > OPTIONS_MAX {
            options.warnings.push(format!("Only the first {OPTIONS_MAX} push options are read."));
        }
        for text in raw.iter().take(OPTIONS_MAX) {
            let (name, value) = text.split_once('=').unwrap_or((text, "true"));
            // Two spellings that people try.
            let name = match name {
                "slipway.consent" => DESTROY,
                "slipway.no-wait" | "no-wait" => NO_WAIT,
                other => other,
            };
            if !KNOWN.contains(&name) {
                let shown: String = super::log::clean(name).chars().take(60).collect();
                options.warnings.push(format!("Push option '{shown}' is not known and ignored; known are {}.", KNOWN.join(", ")));
                continue;
            }
            if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                options.warnings.push(format!("The value of push option {name} is too long or holds control characters; ignored."));
                continue;
            }
            match name {
                DESTROY => {
                    options.consents.extend(value.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty()));
                    options.values.insert(name.into(), options.consents.join(","));
                }
                NO_WAIT => options.no_wait = matches!(value, "true" | "1" | "yes"),
                _ => {
                    options.values.insert(name.into(), value.into());
                }
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options_are_kept_and_others_are_named() {
        let raw = ["environment.status=active", "slipway.destroy=db", "slipway.consent=old,older", "slipway.no-wait", "x=y", "environment.title=a\nb"];
        let options = PushOptions::parse(&raw.map(String::from));
        assert_eq!(options.values["environment.status"], "active");
        assert_eq!(options.consents, ["db", "old", "older"]);
        assert_eq!(options.values["slipway.destroy"], "db,old,older");
        assert!(options.no_wait);
        assert!(!options.values.contains_key("environment.title"));
        assert_eq!(options.warnings.len(), 2, "{:?}", options.warnings);
    }
}
