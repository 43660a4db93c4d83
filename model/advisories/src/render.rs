//! Verdicts and findings as lines for a terminal.

use std::fmt;

use crate::gate::{Finding, Verdict};
use crate::package::Reach;
use crate::problem::clean;

/// Warnings are one line each, and no more than this many: a refusal must not scroll away above them.
const WARNINGS_SHOWN: usize = 20;

impl Finding {
    /// What is wrong, in one sentence.
    pub fn message(&self) -> String {
        let rating = match self.severity {
            crate::Severity::Unknown => "known vulnerability, not rated".to_owned(),
            severity => format!("known {severity} vulnerability"),
        };
        let summary = if self.summary.is_empty() {
            String::new()
        } else {
            format!(": {}", clean(&self.summary, 160))
        };
        format!(
            "{} {} has a {rating}, {}{summary}",
            clean(&self.package, 120),
            clean(&self.installed, 60),
            clean(&self.advisory, 80)
        )
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let folder = self.file.rsplit_once('/').map(|(folder, _)| folder);
        match (&self.upgrade, folder) {
            (Some(command), None) => command.clone(),
            (Some(command), Some(folder)) => format!("in {folder}: {command}"),
            (None, _) => format!(
                "no fixed version is known; replace {}, or name {} under preflight.ignored_rules with a reason",
                self.package, self.advisory
            ),
        }
    }

    /// Where the package comes from: the lock file and the way to it.
    pub fn place(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let development = if self.development {
            ", for development"
        } else {
            ""
        };
        let way = match self.reach {
            Reach::Direct => "asked for directly".to_owned(),
            Reach::Transitive if self.via.len() > 1 => format!("through {}", self.via.join(" > ")),
            Reach::Transitive => "needed by another package".to_owned(),
        };
        clean(&format!("{}{line} ({way}{development})", self.file), 300)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} [{}]", self.message(), self.code)?;
        writeln!(out, "    in:       {}", self.place())?;
        writeln!(
            out,
            "    fixed in: {}",
            self.fixed
                .as_deref()
                .map_or("no version known".into(), |fixed| clean(fixed, 60))
        )?;
        if !self.aliases.is_empty() {
            writeln!(
                out,
                "    also:     {}",
                clean(&self.aliases.join(", "), 200)
            )?;
        }
        if !self.url.is_empty() {
            writeln!(out, "    read:     {}", clean(&self.url, 200))?;
        }
        if let Some(until) = self.rule.as_ref().and_then(|rule| rule.until) {
            writeln!(
                out,
                "    note:     the ignore rule for it counted until {until}"
            )?;
        }
        write!(out, "    remedy:   {}", clean(&self.remedy(), 300))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.enabled {
            return writeln!(
                out,
                "Known vulnerabilities are not checked: preflight.enabled is false."
            );
        }
        writeln!(
            out,
            "Checked {} packages against {} advisories of {}.",
            self.packages, self.advisories, self.database_date
        )?;
        if self.stale {
            writeln!(
                out,
                "W: the advisories are {} days old; the operator refreshes them with `slipway advisories import`.",
                self.age_days
            )?;
        }
        for finding in &self.refused {
            writeln!(out, "E: {finding}")?;
        }
        for finding in self.warned.iter().take(WARNINGS_SHOWN) {
            writeln!(
                out,
                "W: {}; fixed in {} [{}]",
                finding.message(),
                finding.fixed.as_deref().unwrap_or("no known version"),
                finding.code
            )?;
        }
        if let Some(more) = self
            .warned
            .len()
            .checked_sub(WARNINGS_SHOWN)
            .filter(|more| *more > 0)
        {
            writeln!(out, "W: and {more} more warnings.")?;
        }
        for finding in &self.ignored {
            let rule = finding.rule.as_ref();
            let reason = rule
                .and_then(|rule| rule.reason.as_deref())
                .map(|reason| format!(": {}", clean(reason, 120)))
                .unwrap_or_default();
            let until = rule
                .and_then(|rule| rule.until)
                .map(|until| format!(" until {until}"))
                .unwrap_or_default();
            writeln!(
                out,
                "   ignored{until}: {} in {} {}{reason}",
                clean(&finding.advisory, 80),
                clean(&finding.package, 120),
                clean(&finding.installed, 60)
            )?;
        }
        if let Some(first) = self.refused.first() {
            writeln!(
                out,
                "To accept one for a time, add to the application: preflight: {{enabled: true, ignored_rules: [{{id: {}, reason: …, until: YYYY-MM-DD}}]}}",
                clean(&first.advisory, 80)
            )?;
        }
        Ok(())
    }
}
