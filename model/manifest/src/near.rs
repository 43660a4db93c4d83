//! "Did you mean": the nearest of the names that would be right.

/// Edits between two words; neighbours that are swapped count once.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

/// The longest list of ours is that of time zones; an author's may be longer.
const CANDIDATES_MAX: usize = 700;

/// The nearest candidate within a third of the word, the first of equals.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 4 * limit || candidate.len() > word.len())
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| *edits <= limit || (lower.len() >= 4 && candidate.to_lowercase().starts_with(&lower)))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_are_recognised() {
        let keys = ["relationships", "passthru", "crons", "type", "name", "configuration"];
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
