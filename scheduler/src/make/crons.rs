//! `H` in a cron's spec: a stable value per environment and cron, so that not everything runs at once.

use sha2::{Digest, Sha256};

/// `(lowest, highest)` of the five fields.
const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 6)];

/// The spec with each `H` replaced: `H` any value, `H/15` any offset and each 15, `H(1-5)` within.
pub fn settled(spec: &str, seed: &str) -> String {
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != RANGES.len() {
        return spec.to_string();
    }
    let settle = |(n, field): (usize, &&str)| settle_field(field, RANGES[n], value(seed, n));
    fields.iter().enumerate().map(settle).collect::<Vec<_>>().join(" ")
}

fn value(seed: &str, field: usize) -> u32 {
    let digest = Sha256::digest(format!("{seed}/{field}").as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

fn settle_field(field: &str, (low, high): (u32, u32), chance: u32) -> String {
    let Some(rest) = field.strip_prefix('H') else { return field.to_string() };
    let (low, high, rest) = match rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
        Some((range, rest)) => {
            let bounds = range.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let (a, b) = bounds.filter(|(a, b)| low <= *a && a <= b && *b <= high).unwrap_or((low, high));
            (a, b, rest)
        }
        None => (low, high, rest),
    };
    match rest.strip_prefix('/').and_then(|s| s.parse::<u32>().ok()).filter(|s| *s > 0) {
        Some(step) => format!("{}-{high}/{step}", low + chance % step.min(high - low + 1)),
        None => (low + chance % (high - low + 1)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::settled;

    #[test]
    fn h_is_stable_for_a_seed_and_within_its_field() {
        assert_eq!(settled("*/5 * * * *", "x"), "*/5 * * * *");
        assert_eq!(settled("H H * * *", "x"), settled("H H * * *", "x"));
        let minute: u32 = settled("H(10-12) * * * *", "y").split(' ').next().unwrap().parse().unwrap();
        assert!((10..=12).contains(&minute));
        let stepped = settled("H/15 * * * *", "z");
        let start: u32 = stepped.split('-').next().unwrap().parse().unwrap();
        assert!(start < 15 && stepped.contains("-59/15 "));
    }
}
