//! Broken and hostile lock files: a problem that helps, soon.

use std::time::{Duration, Instant};

use slipway_advisories::collect;
use slipway_advisories::lock::{LOCK_BYTES_MAX, read};

#[test]
fn a_broken_lock_file_says_where_why_and_what_to_do() {
    for (path, text, line, code) in [
        (
            "composer.lock",
            "{\"packages\": [\n  {\"name\": \"a/a\",,}\n]}",
            Some(2),
            "SW-LOCK-SYNTAX",
        ),
        (
            "composer.lock",
            "{\"packages\": [\n<<<<<<< HEAD\n",
            Some(2),
            "SW-LOCK-SYNTAX",
        ),
        ("composer.lock", "{}", None, "SW-LOCK-SYNTAX"),
        ("package-lock.json", "[]", Some(1), "SW-LOCK-SYNTAX"),
        (
            "package-lock.json",
            "{\"lockfileVersion\": 9}",
            None,
            "SW-LOCK-VERSION",
        ),
        (
            "yarn.lock",
            "a@1:\n  version \"1\"\nnonsense\n",
            Some(3),
            "SW-LOCK-SYNTAX",
        ),
        (
            "yarn.lock",
            "__metadata:\n  version: 6\n\"a@npm:1\": [\n",
            None,
            "SW-LOCK-SYNTAX",
        ),
        ("pnpm-lock.yaml", "", None, "SW-LOCK-VERSION"),
        (
            "poetry.lock",
            "[[package]]\nname = \"a\nversion = \"1\"\n",
            Some(2),
            "SW-LOCK-SYNTAX",
        ),
        (
            "uv.lock",
            "[[package]]\nname = 1\n",
            Some(2),
            "SW-LOCK-SYNTAX",
        ),
        ("Pipfile.lock", "{\"_meta\": {}}", None, "SW-LOCK-SYNTAX"),
        (
            "Gemfile.lock",
            "GEM\n  specs:\n    rails\n",
            Some(3),
            "SW-LOCK-SYNTAX",
        ),
        ("go.sum", "a v1\n", Some(1), "SW-LOCK-SYNTAX"),
        ("go.mod", "module x\nrequire a\n", Some(2), "SW-LOCK-SYNTAX"),
        ("gradle.lockfile", "nonsense\n", Some(1), "SW-LOCK-SYNTAX"),
    ] {
        let problem = read(path, text.as_bytes(), None).expect_err(path);
        assert_eq!(problem.code, code, "{path}: {problem}");
        if line.is_some() {
            assert_eq!(problem.line, line, "{path}: {problem}");
        }
        assert!(
            !problem.remedy.is_empty() && problem.to_string().starts_with(path),
            "{problem}"
        );
        assert!(slipway_advisories::explain(problem.code).is_some());
    }
    assert_eq!(
        read("composer.lock", b"{\n\"a\": \"\xff\"}", None)
            .expect_err("Latin-1")
            .line,
        Some(2)
    );
    let unreadable = collect([("yarn.lock", || Err("object missing"))]);
    assert_eq!(unreadable.problems[0].code, "SW-LOCK-READ");
}

/// Each of these once took a parser of somebody's down; here all end soon, with a problem or an answer.
#[test]
fn hostile_lock_files_end_soon() {
    let mut bomb =
        "__metadata:\n  version: 6\na0: &a0 {version: 1, dependencies: {a: b, c: d, e: f, g: h}}\n"
            .to_owned();
    for at in 1..40 {
        bomb.push_str(&format!(
            "a{at}: &a{at} {{dependencies: {{x: *a{0}, y: *a{0}, z: *a{0}}}}}\n",
            at - 1
        ));
    }
    let nested_1 = format!(
        "{}{}",
        "{\"dependencies\": {\"a\": ".repeat(50_000),
        "}}".repeat(50_000)
    );
    let deep_place = format!(
        "{{\"packages\": {{\"{}\": {{\"version\": \"1\", \"dependencies\": {{\"a\": \"1\"}}}}}}}}",
        "a/".repeat(1000)
    );
    let cycle = "GEM\n  specs:\n    a (1)\n      b\n    b (1)\n      a\n".to_owned();
    let mut chain = "GEM\n  specs:\n".to_owned();
    for at in 0..50_000 {
        chain.push_str(&format!("    g{at} (1)\n      g{}\n", at + 1));
    }
    let many = format!(
        "{{\"packages\": [{}]}}",
        vec!["{\"name\":\"a\"}"; 700_000].join(",")
    );
    let flow = format!(
        "lockfileVersion: '9.0'\npackages: [{}]",
        "a,".repeat(5_000_000)
    );
    let brackets = format!("lockfileVersion: '9.0'\npackages: {}", "[".repeat(100_000));
    for (path, text) in [
        ("yarn.lock", bomb),
        ("package-lock.json", nested_1),
        ("package-lock.json", deep_place),
        ("Gemfile.lock", cycle),
        ("Gemfile.lock", chain),
        ("composer.lock", many),
        ("pnpm-lock.yaml", flow),
        ("pnpm-lock.yaml", brackets),
        (
            "pnpm-lock.yaml",
            format!(
                "lockfileVersion: '9.0'\npackages:\n  {}",
                "- ".repeat(100_000)
            ),
        ),
        (
            "pnpm-lock.yaml",
            format!(
                "lockfileVersion: '9.0'\npackages:\n  {}",
                "? ".repeat(100_000)
            ),
        ),
        (
            "pnpm-lock.yaml",
            format!(
                "lockfileVersion: '9.0'\npackages: {}",
                "[[[[]]]],".repeat(100_000)
            ),
        ),
        (
            "yarn.lock",
            format!("__metadata:\n  version: 6\n{}", "&a ".repeat(100_000)),
        ),
        ("poetry.lock", format!("a = {}", "[".repeat(100_000))),
        ("go.mod", format!("require {}", "a".repeat(1_000_000))),
        ("composer.lock", " ".repeat(LOCK_BYTES_MAX + 1)),
    ] {
        let begun = Instant::now();
        let answer = read(path, text.as_bytes(), None);
        eprintln!(
            "{path}: {} bytes in {:?}: {:?}",
            text.len(),
            begun.elapsed(),
            answer
                .as_ref()
                .map(Vec::len)
                .map_err(|problem| &problem.message)
        );
        // Generous for an unoptimised build on a busy machine; without bounds these run for minutes or for ever.
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{path} took {:?}",
            begun.elapsed()
        );
        if let Ok(packages) = answer {
            assert!(
                packages.iter().all(|package| package.via.len() <= 16),
                "{path}"
            );
        }
    }
}
