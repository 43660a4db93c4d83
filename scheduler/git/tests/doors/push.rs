//! What a push is judged by, and what is recorded of it.

use super::fake::ZERO;
use super::stage::*;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_is_refused_with_every_complaint_and_leaves_nothing() {
    let stage = stage().await;
    let work = stage.project("work").await;
    write(&work, ".platform/services.yaml", "db:\n    type: mysql:99.9\n    disk: 512\n");
    write(&work, ".platform/routes.yaml", "\"https://{default}/\":\n    type: upstream\n    upstream: \"siet:http\"\n");
    stage.commit(&work, "Break two things").await;
    for url in [stage.ssh_url(), stage.http_url("ada")] {
        let said = stage.git_as("ada", &work, &["push", &url, "main"]).await;
        assert!(!said.ok);
        for part in [
            "remote: E: Error parsing configuration files:",
            ".platform/services.yaml:2",
            ".platform/routes.yaml:3",
            "! [remote rejected] main -> main (invalid configuration files)",
        ] {
            assert!(said.text.contains(part), "'{part}' in:\n{}", said.text);
        }
        stage.nothing_is_left().await;
    }
    assert!(stage.refs().is_empty());
    // The next push works.
    stage.git(&work, &["revert", "--no-edit", "HEAD"]).await;
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_branch_refuses_the_others_and_tags_are_ignored() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.git(&work, &["checkout", "-q", "-b", "broken"]).await;
    write(&work, ".platform.app.yaml", "name: [\n");
    stage.commit(&work, "Break it").await;
    stage.git(&work, &["tag", "v1", "main"]).await;
    let said = stage.git_as("ada", &work, &["push", &stage.ssh_url(), "main", "broken", "v1"]).await;
    assert!(!said.ok);
    assert!(said.text.contains("broken -> broken (invalid configuration files)"), "{}", said.text);
    assert!(said.text.contains("main -> main (refused with the others of this push)"), "{}", said.text);
    assert!(stage.refs().is_empty());

    let said = stage.git(&work, &["push", &stage.ssh_url(), "main", "v1"]).await;
    assert!(said.contains("W: Tags are ignored: refs/tags/v1 is not stored."), "{said}");
    assert_eq!(stage.refs(), ["refs/heads/main"]);
    let said = stage.git(&work, &["push", &stage.ssh_url(), "v1"]).await;
    assert!(said.contains("[new tag]"), "{said}");
    assert_eq!(stage.platform.ledger.lock().unwrap().recorded.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_are_named_and_refused() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.git(&work, &["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,libs/theme"]).await;
    stage.git(&work, &["commit", "-q", "-m", "Add a submodule"]).await;
    let said = stage.git_as("ada", &work, &["push", &stage.ssh_url(), "main"]).await;
    assert!(!said.ok && said.text.contains("- libs/theme") && said.text.contains("(submodules are not supported yet)"), "{}", said.text);
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own() {
    let stage = stage().await;
    let work = stage.project("work").await;
    let url = stage.ssh_url();
    stage.git(&work, &["push", "-q", &url, "main", "main:old"]).await;
    stage.platform.ledger.lock().unwrap().context.active_branches = vec!["main".into(), "old".into()];
    write(&work, "public/new.html", "new");
    stage.commit(&work, "New").await;
    stage.git(&work, &["push", "-q", &url, "main"]).await;
    for (user, arguments, part) in [
        ("vic", vec!["push", "main"], "vic may read project shop, not push to it: a push needs the role contributor"),
        ("cleo", vec!["push", "--force", "main~1:main"], "(non-fast-forward: role admin needed)"),
        ("cleo", vec!["push", "--delete", "old"], "(role admin needed)"),
        ("ada", vec!["push", "--delete", "old"], "Deactivate it first: slipway environment deactivate old"),
        ("ada", vec!["push", "--delete", "main"], "is the default branch of this project and cannot be deleted"),
        ("ada", vec!["push", "main~1:main"], "(non-fast-forward)"),
    ] {
        let mut arguments = arguments;
        arguments.insert(arguments.len() - 1, &url);
        let said = stage.git_as(user, &work, &arguments).await;
        assert!(!said.ok && said.text.contains(part), "{user} {arguments:?}:\n{}", said.text);
    }
    assert_eq!(stage.refs(), ["refs/heads/main", "refs/heads/old"]);

    stage.platform.ledger.lock().unwrap().context.active_branches = vec!["main".into()];
    stage.git(&work, &["push", "-q", &url, "--delete", "old"]).await;
    stage.git(&work, &["push", "-q", "--force", &url, "main~1:main"]).await;
    let ledger = stage.platform.ledger.lock().unwrap();
    let last = &ledger.recorded.last().unwrap().updates[0];
    assert!(last.forced);
    assert_eq!(ledger.refs.len(), 1);
    assert_eq!(ledger.recorded[2].updates[0].new, ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_names_commits_people_and_trees() {
    let stage = stage().await;
    let work = stage.project("work").await;
    write(&work, "api/.platform.app.yaml", "name: api\ntype: 'nodejs:20'\nweb:\n    commands:\n        start: node server.js\n");
    write(&work, "api/server.js", "1");
    stage.commit(&work, "Add an API\n\nWith a body.").await;
    let url = stage.http_url("cleo");
    stage.git(&work, &["push", "-q", "-o", "environment.title=Shop", &url, "main"]).await;
    write(&work, ".platform/routes.yaml", &format!("{ROUTES}\"https://api.{{default}}/\":\n    type: upstream\n    upstream: \"api:http\"\n"));
    stage.commit(&work, "Route it").await;
    stage.git(&work, &["push", "-q", &url, "main"]).await;
    write(&work, "api/server.js", "2");
    stage.commit(&work, "Change the API").await;
    stage.git(&work, &["push", "-q", &url, "main"]).await;

    let api_in_git = stage.git(&work, &["rev-parse", "HEAD:api"]).await;
    let ledger = stage.platform.ledger.lock().unwrap();
    let first = &ledger.recorded[0];
    assert_eq!((first.acting_for.as_str(), first.options["environment.title"].as_str()), ("cleo", "Shop"));
    let tree = &first.trees[0];
    assert_eq!((tree.message.as_str(), tree.author.as_str(), tree.new_commits), ("Add an API", "Ada Park", 2));
    assert!(tree.project_json.contains("\"api\""));
    let trees: Vec<_> = ledger.recorded.iter().map(|push| (push.trees[0].app_trees["site"].clone(), push.trees[0].app_trees["api"].clone())).collect();
    // Routes are no part of a build; a nested application is part of the one around it.
    assert_eq!(trees[0], trees[1]);
    assert_ne!(trees[1].1, trees[2].1);
    assert_ne!(trees[1].0, trees[2].0);
    let sources = &ledger.recorded[2].trees[0].app_tree_sources;
    assert_eq!(sources["api"], api_in_git.trim());
    assert_ne!(sources["api"], trees[2].1, "the platform's own file is left out of the key");
    assert_eq!(ledger.recorded[1].packs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_tree_is_the_id_that_git_gives_without_the_files() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
    stage.git(&work, &["rm", "-q", "-r", "--cached", ".platform", ".platform.app.yaml"]).await;
    let wanted = stage.git(&work, &["write-tree"]).await;
    let ledger = stage.platform.ledger.lock().unwrap();
    assert_eq!(ledger.recorded[0].trees[0].app_trees["site"], wanted.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_destroyed_only_with_consent() {
    let stage = stage().await;
    let work = stage.project("work").await;
    write(&work, ".platform/services.yaml", "db:\n    type: mariadb:10.11\n    disk: 512\n");
    stage.commit(&work, "Add a database").await;
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
    {
        let mut ledger = stage.platform.ledger.lock().unwrap();
        let deployed = ledger.recorded[0].trees[0].project_json.clone();
        ledger.context.deployed_json.insert("main".into(), deployed);
        ledger.context.protected_branches = vec!["main".into()];
    }
    write(&work, ".platform/services.yaml", "{}\n");
    stage.commit(&work, "Take it away").await;
    let said = stage.git_as("ada", &work, &["push", &stage.ssh_url(), "main"]).await;
    assert!(!said.ok && said.text.contains("slipway.destroy=db") && said.text.contains("(consent needed to destroy data)"), "{}", said.text);
    stage.nothing_is_left().await;
    let said = stage.git(&work, &["push", "-o", "slipway.destroy=db", &stage.ssh_url(), "main"]).await;
    assert!(said.contains("service db"), "{said}");
    let ledger = stage.platform.ledger.lock().unwrap();
    assert_eq!(ledger.recorded[1].options["slipway.destroy"], "db");
    assert!(ledger.recorded[1].trees[0].plan_text.contains("service db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_or_a_platform_that_is_away_refuses_clearly() {
    let stage = stage().await;
    let work = stage.project("work").await;
    stage.store.away.store(true, Ordering::SeqCst);
    let said = stage.git_as("ada", &work, &["push", &stage.ssh_url(), "main"]).await;
    assert!(!said.ok && said.text.contains("The object store cannot be reached") && said.text.contains("(object store away)"), "{}", said.text);
    stage.nothing_is_left().await;
    stage.store.away.store(false, Ordering::SeqCst);
    stage.platform.ledger.lock().unwrap().context.not_ready = "the object store is being moved".into();
    let said = stage.git_as("ada", &work, &["push", &stage.http_url("ada"), "main"]).await;
    assert!(!said.ok && said.text.contains("No push can be taken just now: the object store is being moved"), "{}", said.text);
    stage.platform.ledger.lock().unwrap().context.not_ready = String::new();
    stage.git(&work, &["push", "-q", &stage.ssh_url(), "main"]).await;
}
