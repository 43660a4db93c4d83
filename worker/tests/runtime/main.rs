//! A whole worker on a real containerd: sites are served, fronts close without losing a request, everything is adopted.
//!
//! Needs root, containerd and a Debian mirror; images are made once and kept below the target directory.

mod site;

use site::*;
use slipway_model::instance::Target;
use slipway_model::observed::InstanceState;
use slipway_model::task::{Hook, TaskOutcome, TaskSpec};
use slipway_model::{Epoch, SnapshotId};
use std::time::Duration;

#[test]
#[ignore = "needs root and containerd"]
fn a_site_of_files_is_served_through_stops_and_restarts() {
    on_worker("files", |mut site| async move {
        let image = site.image("static-1").await;
        let slug = site.slug(&[("public/index.html", "<h1>hello</h1>"), ("public/a.css", "css")]).await;
        let mut spec = site.application("i-files", "static:1", image, slug, FILES_WEB);
        spec.ingress = ingress(1);
        site.desire(&[spec.clone()]).await;
        site.until("i-files", "it serves epoch 1", |o| o.ready && o.ingress == Some(Epoch(1))).await;
        assert_eq!(site.get(&spec, "/").await.unwrap(), (200, "<h1>hello</h1>".into()));
        assert_eq!(site.get(&spec, "/missing").await.unwrap().0, 404);

        // A new epoch has a new endpoint; the old one is refused by the kernel.
        let old = spec.clone();
        spec.ingress = ingress(2);
        site.desire(&[spec.clone()]).await;
        site.until("i-files", "it serves epoch 2", |o| o.ingress == Some(Epoch(2)) && o.draining.is_empty()).await;
        assert!(site.get(&old, "/").await.is_err());
        assert_eq!(site.get(&spec, "/a.css").await.unwrap(), (200, "css".into()));

        // The worker's process goes and comes; the site is served all the while.
        site.restart_worker(&spec).await;
        site.until("i-files", "it is adopted", |o| o.ready && o.ingress == Some(Epoch(2))).await;

        spec.target = Target::Stopped;
        spec.ingress = None;
        site.desire(&[spec.clone()]).await;
        site.until("i-files", "it is stopped", |o| o.state == InstanceState::Stopped).await;
        spec.target = Target::Running;
        spec.ingress = ingress(3);
        site.desire(&[spec.clone()]).await;
        site.until("i-files", "it serves epoch 3", |o| o.ready && o.ingress == Some(Epoch(3))).await;
        assert_eq!(site.get(&spec, "/").await.unwrap().0, 200);
        site.desire(&[]).await;
        site.until_gone("i-files").await;
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn a_php_application_ends_what_it_began_and_its_data_can_be_put_back() {
    on_worker("php", |mut site| async move {
        let image = site.image("php-8.2").await;
        let slug = site.slug(&[
            ("public/index.php", "<?php if (isset($_GET['sleep'])) { sleep((int)$_GET['sleep']); } \
              if (isset($_GET['write'])) { file_put_contents('/app/data/x', $_GET['write']); } \
              echo 'php ', ini_get('memory_limit'), ' ', @file_get_contents('/app/data/x'), ' ', getenv('GREETING');"),
            ("data/.keep", ""),
            (".environment", "export GREETING=hello-from-environment\n"),
        ]).await;
        let mut spec = site.application("i-php", "php:8.2", image, slug, PHP_WEB);
        spec.mounts = vec![data_mount()];
        spec.ingress = ingress(1);
        site.desire(&[spec.clone()]).await;
        site.until("i-php", "it serves", |o| o.ready && o.ingress == Some(Epoch(1))).await;
        assert_eq!(site.get(&spec, "/?write=one").await.unwrap(), (200, "php 256M one hello-from-environment".into()));
        assert_eq!(site.get(&spec, "/any/path").await.unwrap().0, 200);

        // A request under way is answered after the close; one that was sent in part is cut, and never executed.
        let slow = site.get_later(&spec, "/?sleep=3");
        let half = site.send_half(&spec, "POST /?write=evil HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let old = spec.clone();
        spec.ingress = None;
        site.desire(&[spec.clone()]).await;
        site.until("i-php", "one request is executed", |o| o.ingress.is_none() && o.draining.iter().any(|d| d.executing == 1)).await;
        assert!(site.get(&old, "/").await.is_err(), "a late connection is refused");
        assert_eq!(slow.await.unwrap().unwrap().0, 200);
        site.until("i-php", "it is drained", |o| o.draining.is_empty()).await;
        assert!(half.ended_without_answer().await);

        // Hooks run beside it, with its environment and its data.
        let hook = |script: &str| Hook {
            activity: "act-1".parse().unwrap(),
            instance: "i-php".parse().unwrap(),
            kind: "deploy".into(),
            script: script.into(),
            seconds_max: 30,
            epoch: Epoch(2),
        };
        let snapshot: SnapshotId = "snap-1".parse().unwrap();
        let volumes = vec!["vol-data".parse().unwrap()];
        site.task(TaskSpec::Snapshot { snapshot: snapshot.clone(), volumes: volumes.clone(), quiesce: vec![] }).await;
        let (lines, outcome) = site.task(TaskSpec::Hook(hook("id -un; pwd; echo $GREETING; cat data/x; echo two >data/x; false"))).await;
        assert!(matches!(outcome, TaskOutcome::HookEnded { exit_code: 1, .. }), "{outcome:?}");
        assert_eq!(lines[..3], ["web", "/app", "hello-from-environment"]);

        // Put back while it is stopped.
        spec.target = Target::Stopped;
        site.desire(&[spec.clone()]).await;
        site.until("i-php", "it is stopped", |o| o.state == InstanceState::Stopped).await;
        let (_, outcome) = site.task(TaskSpec::Restore { snapshot, volumes }).await;
        assert!(matches!(outcome, TaskOutcome::Done { .. }), "{outcome:?}");
        spec.target = Target::Running;
        spec.ingress = ingress(3);
        site.desire(&[spec.clone()]).await;
        site.until("i-php", "it serves again", |o| o.ready && o.ingress == Some(Epoch(3))).await;
        assert_eq!(site.get(&spec, "/").await.unwrap().1, "php 256M one hello-from-environment");

        // It is killed from within; the supervisor brings it back.
        let (_, outcome) = site.task(TaskSpec::Hook(Hook { epoch: Epoch(3), ..hook("kill -9 $(cat /run/app.pid)") })).await;
        assert!(matches!(outcome, TaskOutcome::HookEnded { exit_code: 0, .. }), "{outcome:?}");
        site.until("i-php", "it was restarted", |o| o.restarts == 1 && o.ready).await;
        assert_eq!(site.get(&spec, "/").await.unwrap().0, 200);
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn an_application_that_keeps_exiting_says_why() {
    on_worker("exits", |mut site| async move {
        let image = site.image("static-1").await;
        let slug = site.slug(&[("a.txt", "a")]).await;
        let spec = site.application("i-exits", "static:1", image, slug, EXITS_WEB);
        site.desire(&[spec.clone()]).await;
        let seen = site.until("i-exits", "it has failed", |o| o.state == InstanceState::Failed).await;
        assert_eq!(seen.exit_code, Some(3));
        assert!(seen.log_tail.iter().any(|line| line.contains("no database")), "{:?}", seen.log_tail);
    });
}
