//! A static site: the trunk in its shortest form.

use slipway_tests::{Platform, Repository};

pub fn pushed_site_answers(platform: &Platform) {
    let url = platform.project("site");
    let repository = Repository::example("static");
    repository.commit("first");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.accepted, "{}", pushed.said);
    for line in ["Validating configuration files", "Building application 'site'", "is live"] {
        assert!(pushed.said.contains(line), "no '{line}' in:\n{}", pushed.said);
    }
    let site = platform.url("site", "main");
    let answer = platform.fetch(&site, &[]).expect("the site answers");
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.body.contains("It floats."), "{}", answer.body);
    let missing = platform.fetch(&format!("{site}nothing"), &[]).expect("it answers");
    assert_eq!(missing.status, 404);
    let plain = site.replacen("https", "http", 1);
    assert!(plain.starts_with("http://"));
}

pub fn unchanged_is_reused(platform: &Platform) {
    let url = platform.git_url("site");
    let repository = Repository::with(&[]);
    repository.git(&["pull", "--quiet", &url, "main"]);
    repository.commit("nothing new");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("Reusing existing build"), "{}", pushed.said);
    repository.write("public/index.html", "<h1>It sails.</h1>\n");
    repository.commit("sails");
    let pushed = repository.push(&url, &["main"]);
    assert!(!pushed.said.contains("Reusing existing build"), "{}", pushed.said);
    let answer = platform.fetch(&platform.url("site", "main"), &[]).expect("the site answers");
    assert!(answer.body.contains("It sails."), "{}", answer.body);
}

pub fn rollback(platform: &Platform) {
    let site = platform.url("site", "main");
    assert!(platform.fetch(&site, &[]).expect("the site answers").body.contains("It sails."));
    let before = (platform.counter("builds_recorded"), platform.counter("store_gets"), platform.counter("store_puts"));
    let said = platform.slipway(&["rollback", "--project", "site", "--environment", "main"]);
    let after = (platform.counter("builds_recorded"), platform.counter("store_gets"), platform.counter("store_puts"));
    assert_eq!(before, after, "a rollback built or asked the store:\n{said}");
    assert!(platform.fetch(&site, &[]).expect("the site answers").body.contains("It floats."));
}
