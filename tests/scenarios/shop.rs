//! The example shop: three applications, three services, an upload, a second push.

use slipway_tests::{Platform, Repository};

pub fn shop(platform: &Platform) {
    let url = platform.project("shop");
    let repository = Repository::example("shop");
    repository.commit("the shop");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("is live"), "{}", pushed.said);
    let shop = platform.url("shop", "main");
    let health = |what: &str| {
        let answer = platform.fetch(&format!("{shop}health"), &[]).expect("the shop answers");
        assert_eq!(answer.status, 200, "{} {}", answer.head, answer.body);
        serde_json::from_str::<serde_json::Value>(&answer.body).expect("JSON")[what].clone()
    };
    assert_eq!(health("products"), 6);
    assert_eq!(health("found"), 1, "Elasticsearch finds the oak bench");
    assert_eq!(health("api"), "api", "one application reaches another");
    let page = platform.fetch(&shop, &[]).expect("the shop answers");
    assert!(page.body.contains("Keel bench"), "{}", page.body);
    let bought = platform.fetch(&format!("{shop}buy"), &["--data", "product=2"]).expect("it answers");
    assert_eq!(bought.status, 303, "{}", bought.body);
    let picture = repository.path().join("picture.png");
    std::fs::write(&picture, b"not really a picture").expect("write");
    let sent = platform.fetch(&format!("{shop}upload"), &["--form", &format!("picture=@{}", picture.display())]).expect("it answers");
    assert_eq!(sent.status, 303, "{} {}", sent.head, sent.body);

    let api = repository.read("api/server.js");
    repository.write("api/server.js", &api.replace("app: 'api'", "app: 'api-two'"));
    std::fs::remove_file(&picture).expect("remove");
    repository.commit("one of three changes");
    let pushed = repository.push(&url, &["main"]);
    assert!(pushed.said.contains("is live"), "{}", pushed.said);
    let reused = pushed.said.matches("Reusing existing build").count();
    assert_eq!(reused, 2, "one build, two reused:\n{}", pushed.said);
    assert_eq!(health("api"), "api-two");
    assert_eq!(health("purchases"), 1, "the purchase is kept over a push");
    let kept = platform.fetch(&format!("{shop}uploads/picture.png"), &[]).expect("it answers");
    assert_eq!((kept.status, kept.body.as_str()), (200, "not really a picture"));

    let activities = platform.json(&["activity", "list", "--project", "shop"]);
    let first = activities.as_array().and_then(|a| a.last()).expect("the first push").clone();
    let shown = platform.json(&["activity", "show", first["id"].as_str().expect("its id")]);
    let spans: Vec<(u64, u64)> = shown["builds"]
        .as_array()
        .expect("builds")
        .iter()
        .map(|b| (b["started_unix_ms"].as_u64().unwrap_or(0), b["ms"].as_u64().unwrap_or(0)))
        .collect();
    let overlap = spans.iter().enumerate().any(|(n, a)| spans.iter().skip(n + 1).any(|b| a.0 < b.0 + b.1 && b.0 < a.0 + a.1));
    assert!(overlap, "independent builds run at the same time: {spans:?}");
}
