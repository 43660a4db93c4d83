//! How bad a vulnerability is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The five ratings of CVSS, and none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No source rates it; such a finding warns.
    #[default]
    Unknown,
    None,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub(crate) const ALL: [Severity; 6] = [
        Severity::Unknown,
        Severity::None,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Severity> {
        Severity::ALL.get(usize::from(code)).copied()
    }

    /// The base rating of a CVSS vector of version 2, 3.0, 3.1 or 4.0.
    pub fn from_vector(vector: &str) -> Severity {
        let vector = vector.trim();
        // CVSS 2 vectors carry no prefix, and older ones stand in brackets.
        if vector.len() > 400 {
            return Severity::Unknown;
        }
        let parsed = match vector.starts_with("CVSS:") {
            true => vector.parse::<cvss::Cvss>().ok(),
            false => vector
                .trim_matches(['(', ')'])
                .parse::<cvss::v2::Vector>()
                .ok()
                .map(cvss::Cvss::CvssV20),
        };
        // The library scores a vector that lacks metrics as 0, which would read as "harmless".
        let needed: &[&str] = match &parsed {
            Some(cvss::Cvss::CvssV20(_)) => &["AV", "AC", "Au", "C", "I", "A"],
            Some(cvss::Cvss::CvssV40(_)) => &[
                "AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA",
            ],
            _ => &["AV", "AC", "PR", "UI", "S", "C", "I", "A"],
        };
        let metrics: Vec<&str> = vector
            .trim_matches(['(', ')'])
            .split('/')
            .filter_map(|part| part.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        let whole = needed.iter().all(|name| metrics.contains(name));
        parsed
            .filter(|_| whole)
            .map_or(Severity::Unknown, |cvss| Severity::from_score(cvss.score()))
    }

    /// The rating of a base score, by the table of CVSS 3 and 4.
    pub fn from_score(score: f64) -> Severity {
        // Scores have one digit; tenths avoid asking whether 8.999… is 9.
        match (score * 10.0).round() as i64 {
            tenths if !(0..=100).contains(&tenths) => Severity::Unknown,
            0 => Severity::None,
            1..=39 => Severity::Low,
            40..=69 => Severity::Medium,
            70..=89 => Severity::High,
            _ => Severity::Critical,
        }
    }

    /// The word a database uses (`MODERATE` is GitHub's medium).
    pub fn from_word(word: &str) -> Severity {
        match word.trim().to_ascii_lowercase().as_str() {
            "none" | "negligible" => Severity::None,
            "low" => Severity::Low,
            "medium" | "moderate" => Severity::Medium,
            "high" | "important" => Severity::High,
            "critical" => Severity::Critical,
            _ => Severity::Unknown,
        }
    }

    /// Drupal's risk level, which its advisories carry only in the title.
    ///
    /// `Highly critical - Remote Code Execution`, `Drupal core - Moderately critical - …`: a part between
    /// dashes must be the level as a whole, so that prose about something critical is no rating.
    pub fn from_drupal_title(title: &str) -> Severity {
        let mut found = Severity::Unknown;
        for part in title.split(" - ") {
            found = found.max(match part.trim().to_ascii_lowercase().as_str() {
                "highly critical" | "critical" => Severity::Critical,
                "moderately critical" => Severity::Medium,
                "less critical" => Severity::Low,
                "not critical" => Severity::None,
                _ => Severity::Unknown,
            });
        }
        found
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Severity::Unknown => "unrated",
            Severity::None => "none",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors and ratings as NVD and the CVSS documents publish them.
    #[test]
    fn vectors_are_rated_by_their_base_score() {
        for (vector, rating) in [
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
                Severity::Critical,
            ),
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:H",
                Severity::Critical,
            ),
            (
                "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N",
                Severity::Medium,
            ),
            (
                "CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H",
                Severity::Critical,
            ),
            (
                "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H",
                Severity::High,
            ),
            (
                "CVSS:4.0/AV:N/AC:H/AT:N/PR:N/UI:N/VC:H/VI:H/VA:N/SC:H/SI:H/SA:N",
                Severity::Critical,
            ),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:N",
                Severity::High,
            ),
            ("AV:N/AC:L/Au:N/C:P/I:P/A:P", Severity::High),
            ("(AV:N/AC:M/Au:N/C:N/I:P/A:N)", Severity::Medium),
            ("CVSS:3.1/AV:N", Severity::Unknown),
            ("CVSS:9.9/AV:N/AC:L", Severity::Unknown),
            ("", Severity::Unknown),
        ] {
            assert_eq!(Severity::from_vector(vector), rating, "{vector}");
        }
        assert_eq!(Severity::from_score(8.9), Severity::High);
        assert_eq!(Severity::from_score(9.0), Severity::Critical);
    }

    #[test]
    fn only_a_whole_part_of_a_drupal_title_is_a_rating() {
        assert_eq!(
            Severity::from_drupal_title("Highly critical - Remote Code Execution "),
            Severity::Critical
        );
        assert_eq!(
            Severity::from_drupal_title(
                "Drupal Core - Highly Critical - Injection - SA-CORE-2016-003"
            ),
            Severity::Critical
        );
        assert_eq!(
            Severity::from_drupal_title("X - Moderately Critical - Open Redirect"),
            Severity::Medium
        );
        assert_eq!(
            Severity::from_drupal_title("A critical thing about access"),
            Severity::Unknown
        );
    }
}
