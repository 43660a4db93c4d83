//! The worst inputs stay within 64 MB. Alone in its process, because it watches the process.

use slipway_manifest::{MemoryTree, Options, check};

const GROWTH_MAX_KB: u64 = 64 << 10;

/// The most memory that the process ever held, in KB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("KB")
}

#[test]
fn the_worst_inputs_stay_within_64_megabytes() {
    let head = "name: shop\ntype: php:8.3\n";
    let fill = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let inputs: Vec<String> = vec![
        format!(
            "{head}variables: {{app: {{l: [{}]}}}}\n",
            fill("[],", 1_000_000)
        ),
        format!(
            "{head}variables: {{app: {{l: [{}]}}}}\n",
            fill("{a: b},", 1_000_000)
        ),
        format!(
            "{head}{}",
            (0..100_000)
                .map(|key| format!("k{key}: v\n"))
                .collect::<String>()
        ),
        format!(
            "{head}variables:\n  app:\n{}",
            (0..90)
                .map(|key| format!("    k{key}: \"{}\"\n", "x".repeat(40_000)))
                .collect::<String>()
        ),
        format!(
            "{head}variables:\n  app:\n    a: &a \"{}\"\n    b: [{}]\n",
            "x".repeat(200_000),
            fill("*a,", 3_000)
        ),
    ];
    let mut trees: Vec<MemoryTree> = inputs
        .into_iter()
        .map(|text| MemoryTree([(".platform.app.yaml".to_owned(), text.into_bytes())].into()))
        .collect();
    let many = (0..150).map(|index| {
        (
            format!("a{index}/.platform.app.yaml"),
            format!("{head}x: \"{}\"\n", "y".repeat(100_000)).into_bytes(),
        )
    });
    trees.push(MemoryTree(many.collect()));
    let before = peak();
    for (index, tree) in trees.iter().enumerate() {
        check(tree, &Options::default());
        let growth = peak() - before;
        assert!(growth < GROWTH_MAX_KB, "input {index}: {growth} KB");
    }
}
