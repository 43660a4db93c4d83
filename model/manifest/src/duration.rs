//! Durations such as `300`, `5m`, `2w`, and their normalised form.

use crate::codes;
use crate::node::{At, Node, Val};
use crate::shape::{Judge, short};

const UNITS: [&str; 8] = ["ms", "s", "m", "h", "d", "w", "M", "y"];

pub(crate) fn check(judge: &mut Judge<'_, '_>, node: &Node, at: &At) {
    let fault = match &node.value {
        Val::Int(number) if *number < -1 => format!("{number} is less than -1"),
        Val::Text(text) => match parse(text) {
            Some(_) => return,
            None => format!(
                "'{}' is no duration: the unit must be ms s m h d w M y",
                short(text)
            ),
        },
        _ => return,
    };
    judge
        .loader
        .error(codes::BAD_DURATION, at, fault)
        .expected("a number with ms, s, m, h, d, w, M or y, or -1");
}

/// Number and unit.
fn parse(text: &str) -> Option<(i64, &'static str)> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && *c == '-')))
        .map_or(text.len(), |(at, _)| at);
    let (number, unit) = text.split_at(end);
    let number: i64 = number.parse().ok()?;
    let unit = unit.trim();
    let unit = if unit.is_empty() {
        "s"
    } else {
        UNITS.into_iter().find(|known| *known == unit)?
    };
    (number >= -1).then_some((number, unit))
}

/// `-1s`, `300s`, `2w`.
pub(crate) fn normalise(node: &Node) -> Option<String> {
    match &node.value {
        Val::Int(number) => Some(format!("{number}s")),
        Val::Text(text) => parse(text).map(|(number, unit)| format!("{number}{unit}")),
        _ => None,
    }
}

/// Milliseconds of a normalised duration; negative means never.
pub fn duration_milliseconds(text: &str) -> Option<i64> {
    let (number, unit) = parse(text)?;
    let factor: i64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "M" => 30 * 86_400_000,
        _ => 365 * 86_400_000,
    };
    Some(number.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_eight_of_the_language() {
        for (text, milliseconds) in [
            ("300", Some(300_000)),
            ("-1", Some(-1000)),
            ("5m", Some(300_000)),
            ("1M", Some(2_592_000_000)),
            ("5parsecs", None),
            ("", None),
            ("m", None),
            ("-2s", None),
        ] {
            assert_eq!(duration_milliseconds(text), milliseconds, "{text}");
        }
        assert_eq!(
            normalise(&Node {
                value: Val::Int(-1),
                weight: 1
            })
            .as_deref(),
            Some("-1s")
        );
    }
}
