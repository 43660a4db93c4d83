//! "Did you mean": the nearest of the names that would be right.

/// Words are compared up to here; no name of the language is longer.
const COMPARED_MAX: usize = 48;

/// Edits between two words; neighbours that are swapped count once.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (mut left, mut right) = ([' '; COMPARED_MAX], [' '; COMPARED_MAX]);
    let (a, b) = (characters(a, &mut left), characters(b, &mut right));
    let mut before = [0u8; COMPARED_MAX + 1];
    let mut above = [0u8; COMPARED_MAX + 1];
    let mut row = [0u8; COMPARED_MAX + 1];
    for (at, cell) in above.iter_mut().enumerate() {
        *cell = at as u8;
    }
    for i in 1..=a.len() {
        row[0] = i as u8;
        for j in 1..=b.len() {
            let change = above[j - 1] + u8::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        (before, above, row) = (above, row, before);
    }
    usize::from(above[b.len()])
}

/// The first characters of a word, without its case.
fn characters<'b>(word: &str, buffer: &'b mut [char; COMPARED_MAX]) -> &'b [char] {
    let mut count = 0;
    for (cell, c) in buffer.iter_mut().zip(word.chars()) {
        *cell = c.to_ascii_lowercase();
        count += 1;
    }
    &buffer[..count]
}

/// The longest list of ours is that of time zones; an author's may be longer.
const CANDIDATES_MAX: usize = 700;

/// The nearest candidate within a third of the word, the first of equals.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    let begins = |candidate: &str| {
        word.len() >= 4
            && candidate
                .get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit || begins(candidate))
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= limit || begins(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_are_recognised() {
        let keys = [
            "relationships",
            "passthru",
            "crons",
            "type",
            "name",
            "configuration",
        ];
        for (slip, meant) in [
            ("relationsips", Some("relationships")),
            ("passthrough", Some("passthru")),
            ("cron", Some("crons")),
            ("confguration", Some("configuration")),
            ("tpye", Some("type")),
            ("volumes", None),
        ] {
            assert_eq!(nearest(slip, keys).as_deref(), meant, "{slip}");
        }
    }
}
