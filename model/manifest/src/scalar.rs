//! What an unquoted word means: the YAML 1.1 reading that the files were written for.

use crate::node::Val;

/// Null, true/false (also yes, no, on, off), numbers, otherwise text.
pub(crate) fn resolve(word: &str) -> Val {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Val::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Val::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Val::Bool(false);
        }
        _ => {}
    }
    let first = word.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return Val::Text(word.to_owned());
    }
    match integer(word) {
        Some(number) => Val::Int(number),
        None if is_float(word) => {
            Val::Float(word.replace('_', "").trim_start_matches('+').to_owned())
        }
        None => Val::Text(word.to_owned()),
    }
}

fn integer(word: &str) -> Option<i64> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let plain = digits.replace('_', "");
    let number = if let Some(hex) = plain.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if let Some(octal) = plain.strip_prefix("0o") {
        i64::from_str_radix(octal, 8)
    } else if let Some(binary) = plain.strip_prefix("0b") {
        i64::from_str_radix(binary, 2)
    } else if plain.len() > 1 && plain.starts_with('0') {
        i64::from_str_radix(&plain, 8)
    } else {
        plain.parse()
    };
    number
        .ok()
        .map(|number| if negative { -number } else { number })
}

/// Digits with a point, and possibly an exponent after it.
fn is_float(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let Some((whole, fraction)) = mantissa.split_once('.') else {
        return false;
    };
    let digits_only = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
    };
    digits_only(whole)
        && digits_only(fraction)
        && (whole.len() + fraction.len()) > 0
        && exponent.is_none_or(|power| {
            let power = power.strip_prefix(['-', '+']).unwrap_or(power);
            !power.is_empty() && digits_only(power)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_the_files_were_written_for() {
        let shown = |word: &str| format!("{:?}", resolve(word));
        for (word, meaning) in [
            ("", "Null"),
            ("~", "Null"),
            ("yes", "Bool(true)"),
            ("Off", "Bool(false)"),
            ("512", "Int(512)"),
            ("-1", "Int(-1)"),
            ("0x10", "Int(16)"),
            ("010", "Int(8)"),
            ("08", "Text(\"08\")"),
            ("8.3", "Float(\"8.3\")"),
            ("8.3.1", "Text(\"8.3.1\")"),
            ("-", "Text(\"-\")"),
            (".", "Text(\".\")"),
            ("1e3", "Text(\"1e3\")"),
            ("99999999999999999999", "Text(\"99999999999999999999\")"),
            ("php:8.3", "Text(\"php:8.3\")"),
        ] {
            assert_eq!(shown(word), meaning, "{word}");
        }
    }
}
