//! The grammar of cron expressions: five fields, names, ranges, lists, steps and `H`.

use crate::codes;
use crate::node::{At, Node};
use crate::shape::{Judge, short};

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    Field {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
    },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: MONTHS,
    },
    // 7 is Sunday as well as 0.
    Field {
        name: "day of week",
        min: 0,
        max: 7,
        names: DAYS,
    },
];

pub(crate) fn check(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    if let Err(fault) = check_cron(node.text().unwrap_or_default()) {
        judge
            .loader
            .error(codes::BAD_CRON, at, fault)
            .expected("minute hour day-of-month month day-of-week");
    }
}

/// The first fault of an expression, in words.
pub fn check_cron(spec: &str) -> Result<(), String> {
    let spec = spec.trim();
    if spec.starts_with('@') {
        return Err(format!("'{}': nicknames are not accepted", short(spec)));
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("5 fields expected, found {}", fields.len()));
    }
    fields
        .iter()
        .zip(&FIELDS)
        .try_for_each(|(text, field)| text.split(',').try_for_each(|part| field.part(part)))
}

impl Field {
    fn part(&self, part: &str) -> Result<(), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        if let Some(step) = step {
            match digits(step) {
                Some(0) => return Err(format!("{}: step 0", self.name)),
                // `*/60` is as legal as it is useless: it runs once in the range.
                Some(_) => {}
                None => return Err(format!("{}: '{}' is no step", self.name, short(step))),
            }
        }
        if range == "*" || range == "H" {
            return Ok(());
        }
        if let Some(inner) = range
            .strip_prefix("H(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            return self.range(inner);
        }
        self.range(range)
    }

    fn range(&self, range: &str) -> Result<(), String> {
        let Some((from, to)) = range.split_once('-') else {
            return self.value(range).map(drop);
        };
        let (from, mut to) = (self.value(from)?, self.value(to)?);
        // Sunday closes a week as well as it opens one.
        if self.max == 7 && to == 0 {
            to = 7;
        }
        if from > to {
            Err(format!(
                "{}: the range {} runs backwards",
                self.name,
                short(range)
            ))
        } else {
            Ok(())
        }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self
            .names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name))
        {
            return Ok(at as u32 + self.min);
        }
        match digits(text) {
            Some(number) if (self.min..=self.max).contains(&number) => Ok(number),
            Some(number) => Err(format!(
                "{} {number} is out of range {}-{}",
                self.name, self.min, self.max
            )),
            None => Err(format!("{}: '{}' is no value", self.name, short(text))),
        }
    }
}

fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_field_by_field() {
        for good in [
            "* * * * *",
            "*/5 * * * *",
            "H H(0-4) * * *",
            "H/15 * * * *",
            "0 9-17/2 1,15 jan-MAR mon-fri",
            "0 0 * * 7",
            "0 0 * * 5-0",
            " 5 4 * * * ",
            "*/60 * * * *",
        ] {
            assert_eq!(check_cron(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "61 * * * *",
            "*/0 * * * *",
            "* * * *",
            "* * * * * *",
            "@hourly",
            "0 9-5 * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "a * * * *",
            "1- * * * *",
            "-1 * * * *",
            "1,,2 * * * *",
            "0 0 * 13 *",
            "0 0 * * 8",
        ] {
            assert!(check_cron(bad).is_err(), "{bad}");
        }
    }
}
