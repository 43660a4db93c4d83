//! Real builds on the real machine: images from the catalogue, packages from the registries.
//!
//! Images are kept in `SLIPWAY_TEST_CACHE` (`/var/cache/slipway` without it), so that the next run has them.

use super::*;
use crate::image::ImageRoom;
use crate::log::Level;
use crate::machine::{Daemon, DaemonOptions, NetworkOptions, Places, Resolver, ResolverOptions, node_resolvers, purge};
use slipway_blobs::{Store, StoreOptions};
use slipway_model::PackId;
use slipway_model::instance::Limits;
use slipway_model::recipe::Recipe;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// First id of the tests' builds.
const BASE: u32 = 900_000_000;

struct Yard {
    home: tempfile::TempDir,
    room: BuildRoom,
    images: ImageRoom,
    _daemon: Daemon,
    _resolver: Resolver,
    count: std::sync::atomic::AtomicU32,
}

/// What a build said and how it ended.
struct Built {
    outcome: TaskOutcome,
    said: Vec<String>,
}

fn in_yard<R: Future<Output = ()>>(test: impl FnOnce(Arc<Yard>) -> R) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let yard = Arc::new(Yard::open().await);
        let places = yard.room.places.clone();
        let ended = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(test(yard))).await;
        purge(&places).await.unwrap();
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Yard {
    async fn open() -> Yard {
        let home = tempfile::Builder::new().prefix("slipway-build-").tempdir_in("/var/tmp").unwrap();
        let places = Places::new(&home.path().join("data")).unwrap();
        let byte = u8::from_str_radix(&places.hash[..2], 16).unwrap();
        let options = NetworkOptions {
            places: places.clone(),
            pool: format!("10.212.{byte}.0/24").parse().unwrap(),
            build_pool: format!("10.213.{byte}.0/24").parse().unwrap(),
            gateway: places.gateway(),
            egress_allow: vec![],
            egress_deny: vec![],
        };
        let daemon = Daemon::start(DaemonOptions { places: places.clone(), program: "containerd".into() }).await.unwrap();
        let containers = Containers::connect(&daemon).await.unwrap();
        let network = Arc::new(Network::open(options.clone()).await.unwrap());
        let resolver = Resolver::start(ResolverOptions {
            listen: std::net::SocketAddr::new(options.gateway.into(), 53),
            upstreams: node_resolvers(Path::new("/etc/resolv.conf")).unwrap(),
            refused_zones: vec![],
        });
        let store = Store::open(home.path().join("store").to_str().unwrap(), &StoreOptions::default()).await.unwrap();
        let slugs = SlugStore::new(store.clone());
        let bundle = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
        let builds = BuildOptions {
            work: places.data.join("builds"),
            caches: places.data.join("caches"),
            ca_bundle: bundle.exists().then_some(bundle),
            id_map_base: BASE,
            ..BuildOptions::default()
        };
        let cache = SlugCache::open(&places.data.join("slugs"), slugs.clone()).await.unwrap();
        let sources = SourceStore::new(store, &places.data.join("git"));
        let kept = std::env::var("SLIPWAY_TEST_CACHE").unwrap_or_else(|_| "/var/cache/slipway".into());
        let images = ImageRoom { cache: kept.into(), slugs: slugs.clone() };
        let room = BuildRoom::new(containers, network, places, cache, slugs, sources, builds);
        Yard { home, room, images, _daemon: daemon, _resolver: resolver.await.unwrap(), count: Default::default() }
    }

    async fn build(&self, recipe: &str, files: &[(&str, &str)], app: &str) -> Built {
        let cancel = CancellationToken::new();
        self.build_until(recipe, files, app, &cancel).await
    }

    async fn build_until(&self, recipe: &str, files: &[(&str, &str)], app: &str, cancel: &CancellationToken) -> Built {
        let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/catalogue");
        let text = std::fs::read_to_string(catalogue.join(format!("{}.toml", recipe.replace(':', "-")))).unwrap();
        let recipe: Recipe = toml::from_str(&text).unwrap();
        let began = Instant::now();
        let image = match self.images.run(&recipe, &LogSink::none(), cancel).await {
            TaskOutcome::Image { image, .. } => image,
            other => panic!("{other:?}"),
        };
        eprintln!("{}: image after {:?}", recipe.type_name(), began.elapsed());
        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (pack, tree) = self.push(number, files).await;
        let app = format!("name: app\ntype: '{}'\n{app}", recipe.type_name());
        let memory = slipway_manifest::MemoryTree([(".platform.app.yaml".to_string(), app.into_bytes())].into());
        let runtimes = [(recipe.name.clone(), vec![recipe.version.clone()])].into();
        let catalogue = Some(slipway_manifest::CatalogueIndex { runtimes, ..Default::default() });
        let report = slipway_manifest::check(&memory, &slipway_manifest::Options { catalogue, ..Default::default() });
        let project = report.project.unwrap_or_else(|| panic!("{:?}", report.problems));
        let task = BuildApp {
            activity: "act-test".parse().unwrap(),
            project: "project".parse().unwrap(),
            app: "app".into(),
            key: "0".repeat(64).parse().unwrap(),
            recipe,
            image,
            packs: vec![pack],
            tree: tree.parse().unwrap(),
            exclude: vec![".platform".into(), ".platform.app.yaml".into()],
            app_json: serde_json::to_string(&project.applications[0]).unwrap(),
            env: [("PLATFORM_APP_DIR".to_string(), "/app".to_string()), ("SEEN".into(), "yes".into())].into(),
            limits: Limits { memory_mb: 2048, cpu_millis: 2000, pids: 1024 },
            hook_seconds_max: 600,
            mount_paths: vec!["var/files".into()],
        };
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = said.clone();
        let log = LogSink::new(move |level: Level, indent, text: &str| {
            eprintln!("{:indent$}{text}", "", indent = 2 * indent as usize);
            keep.lock().unwrap().push(format!("{level:?} {indent} {text}"));
        });
        let began = Instant::now();
        let outcome = self.room.run(&format!("task-{number}").parse().unwrap(), &task, &log, cancel).await;
        eprintln!("{}: {outcome:?} after {:?}", task.recipe.type_name(), began.elapsed());
        self.nothing_is_left().await;
        Built { outcome, said: Arc::try_unwrap(said).map_or_else(|s| s.lock().unwrap().clone(), |s| s.into_inner().unwrap()) }
    }

    /// One commit as a pack in the store.
    async fn push(&self, number: u32, files: &[(&str, &str)]) -> (PackId, String) {
        let work = self.home.path().join(format!("work-{number}"));
        for (path, text) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
            let output = Command::new("git").args(identity).args(arguments).current_dir(&work).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_string()
        };
        git(&["init", "-q"]);
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "all"]);
        git(&["repack", "-q", "-a", "-d"]);
        let packs = std::fs::read_dir(work.join(".git/objects/pack")).unwrap().flatten().map(|e| e.path());
        let pack = packs.into_iter().find(|p| p.extension().is_some_and(|e| e == "pack")).unwrap();
        (self.room.sources.put_pack(&pack).await.unwrap(), git(&["rev-parse", "HEAD^{tree}"]))
    }

    async fn nothing_is_left(&self) {
        assert!(self.room.containers.list().await.unwrap().is_empty());
        assert!(self.room.network.list().await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&self.room.options.work).unwrap().count(), 0);
        assert!(crate::machine::rootfs::mounts_below(&self.room.places.mounts()).unwrap().is_empty());
    }

    /// The tree of a slug that was built.
    async fn tree(&self, built: &Built) -> PathBuf {
        match &built.outcome {
            TaskOutcome::Built { slug, .. } => self.room.cache.ensure(slug).await.unwrap(),
            other => panic!("{other:?}\n{}", built.said.join("\n")),
        }
    }
}

#[test]
#[ignore = "needs root, containerd and a Debian mirror"]
fn a_static_site_is_built_and_what_fails_leaves_nothing() {
    in_yard(|yard| async move {
        let files = [("index.html", "<h1>hello</h1>"), (".platform/routes.yaml", "{}"), ("run.sh", "#!/bin/sh\n")];
        let hook = "hooks:\n  build: |\n    echo built as $(id -un) with $SEEN > made.txt\n    echo telling\n    echo warning >&2\n    touch $PLATFORM_CACHE_DIR/kept /tmp/x; ls $PLATFORM_CACHE_DIR\n    touch /etc/x 2>/dev/null && exit 9; ln -s /etc/passwd outward; mkfifo pipe\n    sleep 1000 &\n";
        let built = yard.build("static:1", &files, hook).await;
        let tree = yard.tree(&built).await;
        let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
        assert_eq!(read("index.html"), "<h1>hello</h1>");
        assert_eq!(read("made.txt"), "built as web with yes\n");
        assert!(!tree.join(".platform").exists() && tree.join("var/files").is_dir());
        assert_eq!(std::fs::read_link(tree.join("outward")).unwrap(), Path::new("/etc/passwd"));
        for line in ["Info 2 Executing build hook...", "Info 3 telling", "Warning 3 W: warning", "Info 3 kept", "Info 2 Compressing application."] {
            assert!(built.said.iter().any(|said| said == line), "{line}\n{:#?}", built.said);
        }
        let TaskOutcome::Built { warnings, slug, .. } = &built.outcome else { panic!() };
        assert_eq!(warnings.len(), 1, "the fifo is told: {warnings:?}");

        let again = yard.build("static:1", &files, hook).await;
        let TaskOutcome::Built { slug: same, uploaded_bytes, .. } = &again.outcome else { panic!("{:?}", again.outcome) };
        assert_eq!((same, *uploaded_bytes), (slug, 0));

        let failed = yard.build("static:1", &files, "hooks: {build: 'echo so; exit 7'}").await;
        let expected = TaskOutcome::UserFailure {
            step: "hooks.build".into(),
            exit_code: Some(7),
            message: "The build hook failed with status code 7.".into(),
        };
        assert_eq!(failed.outcome, expected);
        let greedy = yard.build("static:1", &files, "hooks: {build: 'x=$(head -c 3G /dev/zero | tr \"\\0\" a); echo ${#x}'}").await;
        assert!(matches!(greedy.outcome, TaskOutcome::UserFailure { .. }), "{:?}", greedy.outcome);

        let cancel = CancellationToken::new();
        let later = async {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            cancel.cancel();
        };
        let (cancelled, ()) = tokio::join!(yard.build_until("static:1", &files, "hooks: {build: 'sleep 1000'}", &cancel), later);
        assert_eq!(cancelled.outcome, TaskOutcome::Cancelled);
    });
}

#[test]
#[ignore = "needs root, containerd and package registries"]
fn composer_takes_path_packages() {
    in_yard(|yard| async move {
        let files = [
            ("composer.json", r#"{"repositories": [{"type": "path", "url": "lib", "options": {"symlink": false}}, {"packagist.org": false}], "require": {"acme/lib": "*"}}"#),
            ("lib/composer.json", r#"{"name": "acme/lib", "version": "1.0.0", "autoload": {"psr-4": {"Acme\\": "src/"}}}"#),
            ("lib/src/Hello.php", "<?php namespace Acme; class Hello {}\n"),
        ];
        let built = yard.build("php:8.2", &files, "hooks: {build: 'php -r \"require \\\"vendor/autoload.php\\\"; new Acme\\\\Hello;\"'}").await;
        assert!(yard.tree(&built).await.join("vendor/acme/lib/src/Hello.php").exists());
    });
}

#[test]
#[ignore = "needs root, containerd and package registries"]
fn npm_fetches_packages_and_global_tools() {
    in_yard(|yard| async move {
        let files = [("package.json", r#"{"name": "x", "version": "1.0.0", "dependencies": {"ms": "2.1.3"}}"#)];
        let app = "dependencies: {nodejs: {semver: '7.6.0'}}\nhooks: {build: 'node -e \"console.log(require(\\\"ms\\\")(60000))\" && semver 1.2.3'}";
        let built = yard.build("nodejs:22", &files, app).await;
        let tree = yard.tree(&built).await;
        assert!(tree.join("node_modules/ms/index.js").exists() && tree.join(".global/bin/semver").exists());
        assert!(built.said.iter().any(|line| line == "Info 3 1m"), "{:#?}", built.said);
    });
}

#[test]
#[ignore = "needs root, containerd and package registries"]
fn pip_fetches_packages_and_global_tools() {
    in_yard(|yard| async move {
        let files = [("requirements.txt", "platformshconfig==2.4.0\n")];
        let app = "dependencies: {python3: {cowsay: '*'}}\nhooks: {build: 'python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python -c \"import platformshconfig\" && cowsay -t moo'}";
        let built = yard.build("python:3.11", &files, app).await;
        let tree = yard.tree(&built).await;
        assert!(tree.join(".venv/lib/python3.11/site-packages/platformshconfig").is_dir() && tree.join(".global/bin/cowsay").exists());
    });
}

#[test]
#[ignore = "needs root, containerd and package registries"]
fn go_fetches_modules() {
    in_yard(|yard| async move {
        let files = [
            ("go.mod", "module example.com/x\n\ngo 1.24\n\nrequire rsc.io/quote v1.5.2\n"),
            ("main.go", "package main\n\nimport (\"fmt\"; \"rsc.io/quote\")\n\nfunc main() { fmt.Println(quote.Go()) }\n"),
        ];
        let built = yard.build("golang:1.24", &files, "hooks: {build: 'go mod tidy && go build -o bin/x . && bin/x'}").await;
        assert!(yard.tree(&built).await.join("bin/x").exists());
    });
}

#[test]
#[ignore = "needs root, containerd and package registries"]
fn maven_fetches_artefacts() {
    in_yard(|yard| async move {
        let pom = "<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>x</artifactId><version>1</version>\
            <properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target></properties>\
            <dependencies><dependency><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId><version>2.0.13</version></dependency></dependencies></project>";
        let files = [("pom.xml", pom), ("src/main/java/X.java", "public class X { org.slf4j.Logger log; }\n")];
        let built = yard.build("java:17", &files, "hooks: {build: 'mvn -B -q package'}").await;
        assert!(yard.tree(&built).await.join("target/x-1.jar").exists());
    });
}
