//! Secrets leave no log: their values are replaced before a line is kept.

use crate::log::LogSink;
use std::collections::BTreeMap;

/// Names of the environment variables whose values are secret, separated by commas.
pub const SENSITIVE: &str = "SLIPWAY_SENSITIVE";
/// A shorter value would mask ordinary words, and is no secret worth the name.
const SECRET_BYTES_MIN: usize = 6;
/// What stands in its place.
const MASKED: &str = "[hidden]";

/// The values to hide, longest first, so that one that holds another goes whole.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    secrets: Vec<String>,
}

impl Mask {
    /// From an environment that names its secrets.
    pub fn of(env: &BTreeMap<String, String>) -> Mask {
        let names = env.get(SENSITIVE).map(String::as_str).unwrap_or("").split([',', ' ']).filter(|name| !name.is_empty());
        // A value of several lines is printed line by line.
        let values = names.filter_map(|name| env.get(name)).flat_map(|value| value.lines());
        let mut secrets: Vec<String> = values.map(|v| v.trim().to_string()).filter(|v| v.len() >= SECRET_BYTES_MIN).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Mask { secrets }
    }

    /// The text without secrets.
    pub fn apply(&self, text: &str) -> String {
        let mut out = text.to_string();
        for secret in &self.secrets {
            if out.contains(secret.as_str()) {
                out = out.replace(secret.as_str(), MASKED);
            }
        }
        out
    }

    /// A sink before which this mask stands.
    pub fn before(self, sink: LogSink) -> LogSink {
        LogSink::new(move |level, indent, text| sink.indented(indent).say(level, self.apply(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_wherever_they_stand() {
        let env = [("SLIPWAY_SENSITIVE", "A,B,C,KEY,GONE"), ("A", "hunter22"), ("B", "hunter22-long"), ("C", "no"), ("KEY", "-----BEGIN\nabcdefgh\n"), ("D", "public-value")];
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mask = Mask::of(&env);
        assert_eq!(mask.apply("user:hunter22@db hunter22-long no public-value"), "user:[hidden]@db [hidden] no public-value");
        assert_eq!(mask.apply("abcdefgh"), "[hidden]");
    }
}
