//! The machine room on the real kernel and the real containerd.

mod room;
mod tunnel;

use room::*;
use slipway_worker::machine::rootfs::{self, Access};
use slipway_worker::machine::*;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SLEEP: &[&str] = &["sleep", "1000"];

#[test]
#[ignore = "needs root and containerd"]
fn a_container_has_shifted_ids_and_no_rights() {
    in_room("closed", |room| async move {
        room.start("i-a", None, SLEEP).await;
        let Status::Running { pid } = room.containers.status("i-a").await.unwrap() else { panic!("not running") };

        let outside = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| outside.lines().find(|l| l.starts_with(name)).unwrap_or("").split_whitespace().collect::<Vec<_>>();
        assert_eq!(line("Uid:")[1], (BASE + WEB).to_string());
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(set)[1], "0000000000000000", "{set}");
        }
        assert_eq!(line("NoNewPrivs:")[1], "1");
        assert_eq!(line("Seccomp:")[1], "2");

        assert_eq!(room.run("i-a", &["stat", "-c", "%u", "/etc/passwd"]).await, (0, "0\n".into()), "the image's own ids");
        assert_ne!(room.run("i-a", &["touch", "/etc/x"]).await.0, 0, "the root filesystem is read-only");
        assert_eq!(room.run("i-a", &["touch", "/tmp/x", "/run/x", "/dev/shm/x"]).await, (0, String::new()));
        assert_ne!(room.run("i-a", &["unshare", "-U", "true"]).await.0, 0, "no new user namespace");
        assert_ne!(room.run("i-a", &["mount", "-t", "tmpfs", "x", "/tmp"]).await.0, 0);
        assert_eq!(room.run("i-a", &["hostname"]).await, (0, "app.0\n".into()));
        assert_eq!(room.run("i-a", &["ls", "/sys"]).await.1, "devices\nfs\n", "nothing of the host's sysfs");
        let io_uring = "import ctypes,os; l=ctypes.CDLL(None,use_errno=True); print(l.syscall(425,1,0), ctypes.get_errno())";
        let answer = room.run("i-a", &["python3", "-c", io_uring]).await.1;
        assert!(answer.trim() == "-1 1" || answer.contains("No module named"), "{answer}");

        let mut root = command(&["sh", "-c", "chown 10000 /tmp && echo done"]);
        (root.uid, root.gid) = (0, 0);
        let log = room.log("root");
        room.containers.exec_detached("i-a", "root", &root, &log).await.unwrap();
        assert_ne!(room.containers.exec_wait("i-a", "root").await.unwrap(), 0, "root inside has no capabilities either");

        let metrics = room.containers.metrics("i-a").unwrap();
        assert!(metrics.memory_bytes > 0 && metrics.pids == 1, "{metrics:?}");
        assert_eq!(metrics.memory_limit_bytes, Some(128 << 20));
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn only_links_are_reachable() {
    in_room("links", |room| async move {
        let (a, b) = (room.address(11), room.address(12));
        room.start("i-a", Some(a), SLEEP).await;
        room.start_server("i-b", b).await;
        let port = host_server().await;
        let gateway = room.options.gateway;
        let outside = Outside::new(&room.places).await;

        assert!(room.fetch("i-a", &format!("http://{b}/")).await.is_err(), "not linked");
        assert!(room.fetch("i-a", &format!("http://{gateway}:{port}/")).await.is_err(), "a service of the host");
        for own in own_addresses().await {
            assert_eq!(outside.reached_by_host(&format!("{own}:{port}")).await, "this is the host", "the test's own ground");
            assert!(room.fetch("i-a", &format!("http://{own}:{port}/")).await.is_err(), "the host at {own}");
        }
        for address in Outside::ADDRESSES {
            assert_eq!(outside.reached_by_host(address).await, "this is outside", "the test's own ground");
            assert!(room.fetch("i-a", &format!("http://{address}/")).await.is_err(), "{address}");
        }
        let (code, text) = room.run("i-a", &["ip", "-6", "address"]).await;
        assert_eq!((code, text.as_str()), (0, ""), "no IPv6, not even on lo");
        assert_ne!(room.run("i-a", &["ip", "address", "add", "10.9.9.9/32", "dev", "eth0"]).await.0, 0);

        let link = LinkRule { from: a, to: b, port: 80 };
        room.network.set_links(&[link]).await.unwrap();
        let zone = Zone { names: [("web.internal".to_string(), vec![b.into()])].into() };
        room.resolver.set(a, zone);
        assert_eq!(room.fetch("i-a", "http://web.internal/").await.unwrap(), "this is i-b");
        assert!(room.fetch("i-a", &format!("http://{b}:8080/")).await.is_err(), "another port of the same target");
        assert!(room.fetch("i-b", &format!("http://{a}/")).await.is_err(), "links have a direction");
        assert!(room.fetch("i-b", "http://web.internal/").await.is_err(), "a name is known only to who has the link");

        // A restarted worker opens the network again: links stay in force, attachments are known.
        let again = Network::open(room.options.clone()).await.unwrap();
        assert_eq!(again.list().await.unwrap().len(), 2);
        assert_eq!(again.attach("i-a", a, BASE).await.unwrap().address, a);
        assert!(again.attach("i-c", a, BASE).await.is_err(), "an address has one owner");
        assert_eq!(room.fetch("i-a", "http://web.internal/").await.unwrap(), "this is i-b");

        // An operator may open a private range.
        let mut options = room.options.clone();
        options.egress_allow = vec![Cidr::single(Outside::ADDRESSES[0].parse().unwrap())];
        let opened = Network::open(options).await.unwrap();
        assert_eq!(room.fetch("i-a", &format!("http://{}/", Outside::ADDRESSES[0])).await.unwrap(), "this is outside");
        assert!(room.fetch("i-a", &format!("http://{}/", Outside::ADDRESSES[1])).await.is_err());

        // Withdrawn, a link is cut for connections under way too.
        let mut exec = room.containers.exec("i-a", "talk", &command(&["bash", "-c", TALK])).await.unwrap();
        let mut out = exec.stdout.take().unwrap();
        assert_eq!(read_line(&mut out).await, "connected");
        opened.set_links(&[]).await.unwrap();
        exec.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
        assert_eq!(read_line(&mut out).await, "silence");
        exec.wait().await.unwrap();
    });
}

/// Connects to the linked server, waits for the word, asks, and says whether an answer came within 2 s.
const TALK: &str = "exec 3<>/dev/tcp/web.internal/80 && echo connected && read go && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; \
                    if read -t 2 line <&3; then echo answer; else echo silence; fi";

#[test]
#[ignore = "needs root and containerd"]
fn a_build_reaches_the_package_registry_and_nothing_inside() {
    in_room("egress", |room| async move {
        let registry = registry().await;
        let host = registry.split('/').nth(2).unwrap().to_string();
        let server = room.address(12);
        room.start_server("i-b", server).await;
        let attachment = room.network.attach_build("task-1", BASE).await.unwrap();
        assert_eq!(room.network.attach_build("task-1", BASE).await.unwrap(), attachment);
        let mut spec = room.spec("task-1", None, SLEEP).await;
        spec.netns = Some(attachment.netns);
        room.containers.create(&spec).await.unwrap();
        room.containers.start("task-1", &room.log("task-1")).await.unwrap();

        let (code, text) = room.run("task-1", &["getent", "ahostsv4", &host]).await;
        assert_eq!(code, 0, "{text}");
        let ask = ["curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", &registry];
        let (code, status) = room.run("task-1", &ask).await;
        assert!(code == 0 && status.starts_with(['2', '3']), "{code} {status}");
        assert!(room.fetch("task-1", &format!("http://{server}/")).await.is_err(), "no service at build time");
        assert_ne!(room.run("task-1", &["getent", "hosts", "database.internal"]).await.0, 0);
        let mail = format!("cat < /dev/tcp/{host}/25");
        let began = Instant::now();
        assert_ne!(room.run("task-1", &["timeout", "5", "bash", "-c", &mail]).await.0, 0);
        assert!(began.elapsed() < Duration::from_secs(4), "mail is refused at once");
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn a_build_writes_above_its_image_with_the_images_ids() {
    in_room("overlay", |room| async move {
        let (top, target) = (room.scratch.join("top"), room.places.mounts().join("task-1"));
        let mut spec = room.spec("i-x", None, SLEEP).await;
        [&top, &target].iter().for_each(|dir| std::fs::create_dir_all(dir).unwrap());
        for _ in 0..2 {
            rootfs::mount_overlay(&[image().await], &top, &target, BASE).unwrap();
        }
        (spec.id, spec.rootfs, spec.readonly_rootfs, spec.uid, spec.gid) = ("task-1".into(), target.clone(), false, 0, 0);
        room.containers.create(&spec).await.unwrap();
        room.containers.start("task-1", &room.log("task-1")).await.unwrap();
        let mut build = command(&["sh", "-ec", "echo built > /root/x; rm /etc/debian_version; stat -c %u /root/x /etc/passwd"]);
        (build.uid, build.gid) = (0, 0);
        let log = room.log("build");
        room.containers.exec_detached("task-1", "build", &build, &log).await.unwrap();
        let code = room.containers.exec_wait("task-1", "build").await.unwrap();
        assert_eq!((code, std::fs::read_to_string(&log).unwrap().as_str()), (0, "0\n0\n"));
        room.containers.stop_and_delete_task("task-1", 9, Duration::from_secs(5)).await.unwrap();
        rootfs::unmount_overlay(&target).unwrap();
        let written = std::fs::metadata(top.join("upper/root/x")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&written), BASE, "written with shifted ids");
        assert!(image().await.join("etc/debian_version").exists() && !target.with_extension("layers").exists());
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn memory_and_processes_are_limited() {
    in_room("limits", |room| async move {
        room.start("i-a", None, SLEEP).await;
        let mut events = room.containers.events().await.unwrap();
        let (code, text) = room.run("i-a", &["python3", "-c", "x = bytearray(400 << 20); print(len(x))"]).await;
        assert_eq!(code, 137, "{text}");
        let deadline = tokio::time::timeout(Duration::from_secs(10), async {
            while let Some(event) = events.recv().await {
                if event == (Event::OutOfMemory { id: "i-a".into() }) {
                    return;
                }
            }
        });
        deadline.await.expect("the memory kill is told");
        let bomb = "import os, sys, time\nn = 0\ntry:\n while True:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\n\
                    except OSError: print('stopped at', n)\nsys.stdout.flush()\nos.killpg(0, 9)";
        let (_, text) = room.run("i-a", &["setsid", "--wait", "python3", "-c", bomb]).await;
        let count: u32 = text.lines().next().and_then(|line| line.strip_prefix("stopped at ")?.parse().ok()).expect(&text);
        assert!(count < 64, "{count}");
        assert!(matches!(room.containers.status("i-a").await.unwrap(), Status::Running { .. }), "the first process lives");
        let code = room.containers.stop_and_delete_task("i-a", 15, Duration::from_millis(300)).await.unwrap();
        assert!(code.is_some());
        assert_eq!(room.containers.status("i-a").await.unwrap(), Status::Created);
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn a_terminal_has_a_size_and_a_dropped_session_ends() {
    in_room("pty", |room| async move {
        room.start("i-a", None, SLEEP).await;
        let mut spec = command(&["bash", "--norc", "-i"]);
        spec.pty = Some((100, 40));
        let mut exec = room.containers.exec("i-a", "tty", &spec).await.unwrap();
        exec.resize(120, 50).await.unwrap();
        let mut out = exec.stdout.take().unwrap();
        let input = exec.stdin.as_mut().unwrap();
        input.write_all(b"stty size; tty; exit 7\n").await.unwrap();
        let mut text = String::new();
        let (code, _) = tokio::join!(exec.wait(), out.read_to_string(&mut text));
        assert_eq!(code.unwrap(), 7, "{text}");
        assert!(text.contains("50 120") && text.contains("/dev/pts/"), "{text}");

        let mut echo = room.containers.exec("i-a", "cat", &command(&["cat"])).await.unwrap();
        let big = vec![b'x'; 1 << 20];
        let mut input = echo.stdin.take().unwrap();
        let mut out = echo.stdout.take().unwrap();
        let mut back = Vec::new();
        let send = async {
            input.write_all(&big).await.unwrap();
            drop(input);
            echo.close_stdin().await.unwrap();
        };
        tokio::join!(send, async { out.read_to_end(&mut back).await.unwrap() });
        assert_eq!((echo.wait().await.unwrap(), back.len()), (0, big.len()));

        drop(room.containers.exec("i-a", "left", &command(SLEEP)).await.unwrap());
        until("the abandoned process is gone", || async { room.containers.pids("i-a").await.unwrap().len() == 1 }).await;
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn containers_and_detached_processes_outlive_containerd_and_the_worker() {
    in_room("adopt", |room| async move {
        room.start("i-a", None, SLEEP).await;
        let before = room.containers.status("i-a").await.unwrap();
        let hook = command(&["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; echo hook done; exit 3"]);
        let log = room.log("hook");
        room.containers.exec_detached("i-a", "hook", &hook, &log).await.unwrap();

        let pid = room.daemon.pid().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
        until("containerd is gone", || async { room.daemon.pid().is_none() }).await;
        room.daemon.ensure().await.unwrap();
        assert_ne!(room.daemon.pid().unwrap(), pid);

        // Another worker process would do the same.
        let daemon = Daemon::start(DaemonOptions { places: room.places.clone(), program: "containerd".into() }).await.unwrap();
        assert_eq!(daemon.pid(), room.daemon.pid(), "adopted, not started twice");
        let containers = Containers::connect(&daemon).await.unwrap();
        assert_eq!(containers.status("i-a").await.unwrap(), before);
        assert!(matches!(containers.exec_status("i-a", "hook").await.unwrap(), Status::Running { .. }));
        containers.exec_detached("i-a", "hook", &hook, &log).await.unwrap();
        assert_eq!(room.run("i-a", &["touch", "/tmp/go"]).await.0, 0, "the old connection mends itself");
        assert_eq!(containers.exec_wait("i-a", "hook").await.unwrap(), 3);
        assert_eq!(containers.exec_status("i-a", "hook").await.unwrap(), Status::Stopped { exit_code: 3 });
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "hook done\n", "its output is complete when it counts as ended");
        // A child that keeps the output open does not hold the end up for long.
        let began = Instant::now();
        containers.exec_detached("i-a", "left", &command(&["sh", "-c", "sleep 1000 & echo left"]), &room.log("left")).await.unwrap();
        assert_eq!(containers.exec_wait("i-a", "left").await.unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(5));
        containers.exec_delete("i-a", "hook").await.unwrap();
        assert_eq!(containers.exec_status("i-a", "hook").await.unwrap(), Status::Absent);

        // What was attached to a worker that is no more is ended by the next one: here the handle is forgotten, and
        // its pipes are given to a process that does not exist.
        let count = containers.pids("i-a").await.unwrap().len();
        std::mem::forget(containers.exec("i-a", "session", &command(SLEEP)).await.unwrap());
        assert_eq!(containers.pids("i-a").await.unwrap().len(), count + 1);
        let own = std::fs::read_dir(room.places.pipes()).unwrap().next().unwrap().unwrap().path();
        std::fs::rename(own, room.places.pipes().join("1.1")).unwrap();
        let containers = Containers::connect(&daemon).await.unwrap();
        until("the session is gone", || async { containers.pids("i-a").await.unwrap().len() == count }).await;

        containers.pause("i-a").await.unwrap();
        assert!(matches!(containers.status("i-a").await.unwrap(), Status::Paused { .. }));
        let listed = containers.list().await.unwrap();
        assert!(matches!(listed["i-a"].0, Status::Paused { .. }), "{listed:?}");
        containers.stop_and_delete_task("i-a", 9, Duration::from_secs(5)).await.unwrap();
        containers.delete("i-a").await.unwrap();
        assert_eq!(containers.status("i-a").await.unwrap(), Status::Absent);
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn volumes_are_put_back_and_found_again_after_a_restart() {
    in_room("volumes", |room| async move {
        let options = |quota| VolumeOptions { places: room.places.clone(), loop_file_mb: 512, force_directories: false, quota };
        let volumes = open_volumes(options(true)).await.unwrap();
        let id: slipway_model::VolumeId = "vol-a".parse().unwrap();
        let snapshot: slipway_model::SnapshotId = "snap-1".parse().unwrap();
        let path = volumes.ensure(&id, 32).await.unwrap();
        std::fs::create_dir_all(path.join("data")).unwrap();
        std::os::unix::fs::chown(path.join("data"), Some(WEB), Some(WEB)).unwrap();
        let mounted = room.places.mounts().join("vol-a");
        std::fs::create_dir_all(&mounted).unwrap();
        rootfs::bind(&path.join("data"), &mounted, Access { readonly: false, id_map_base: Some(BASE) }).unwrap();
        let mut spec = room.spec("i-a", None, SLEEP).await;
        spec.binds.push(Bind { from: mounted.clone(), to: "/mnt".into(), readonly: false });
        room.containers.create(&spec).await.unwrap();
        room.containers.start("i-a", &room.log("i-a")).await.unwrap();
        assert_eq!(room.run("i-a", &["sh", "-c", "echo old > /mnt/file"]).await, (0, String::new()));
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path.join("data/file")).unwrap());
        assert_eq!(owner, WEB, "on disk lies the container's own id");
        if volumes.enforces_sizes() {
            let (code, text) = room.run("i-a", &["dd", "if=/dev/zero", "of=/mnt/big", "bs=1M", "count=64"]).await;
            assert!(code != 0 && text.contains("quota"), "{text}");
            assert_eq!(room.run("i-a", &["rm", "/mnt/big"]).await.0, 0);
        }
        let began = Instant::now();
        volumes.snapshot(&snapshot, std::slice::from_ref(&id)).await.unwrap();
        println!("snapshot {:?}", began.elapsed());
        assert_eq!(room.run("i-a", &["sh", "-c", "echo new > /mnt/file"]).await.0, 0);
        room.containers.stop_and_delete_task("i-a", 9, Duration::from_secs(5)).await.unwrap();
        rootfs::unmount(&mounted).unwrap();

        // As after a reboot: nothing is mounted, the loop device is gone.
        rootfs::unmount(&room.places.data.join("volumes")).unwrap();
        for left in leftovers(&room.places).await.unwrap().iter().filter(|left| left.kind == "loop device") {
            run("losetup", &["--detach", &left.name]).await.unwrap();
        }
        let root = room.places.data.join("volumes");
        let mut larger = options(true);
        larger.loop_file_mb = 640;
        let volumes = open_volumes(larger.clone()).await.unwrap();
        // As after a kill in the middle of a restore.
        let torso = root.join("volumes/.vol-a.other");
        run("btrfs", &["subvolume", "snapshot", path.to_str().unwrap(), torso.to_str().unwrap()]).await.unwrap();
        let volumes = { drop(volumes); open_volumes(larger).await.unwrap() };
        assert!(!torso.exists());
        let began = Instant::now();
        volumes.restore(&snapshot, std::slice::from_ref(&id)).await.unwrap();
        println!("restore {:?}", began.elapsed());
        assert_eq!(std::fs::read_to_string(path.join("data/file")).unwrap(), "old\n");
        assert!(volumes.free_bytes().await.unwrap() > 400 << 20);
        let listed = volumes.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].snapshots.len()), (1, 1));
        volumes.drop_snapshot(&snapshot).await.unwrap();
        volumes.destroy(&id).await.unwrap();
        assert!(volumes.list().await.unwrap().is_empty());
    });
}

#[test]
#[ignore = "needs root and containerd"]
fn a_container_comes_and_goes_quickly() {
    in_room("speed", |room| async move {
        for round in 0..5u8 {
            let id = format!("i-{round}");
            let mut last = Instant::now();
            let mut lap = || std::mem::replace(&mut last, Instant::now()).elapsed().as_millis();
            let spec = room.spec(&id, Some(room.address(20 + round)), SLEEP).await;
            let network = lap();
            room.containers.create(&spec).await.unwrap();
            let create = lap();
            room.containers.start(&id, &room.log(&id)).await.unwrap();
            let start = lap();
            assert_eq!(room.run(&id, &["true"]).await.0, 0);
            let exec = lap();
            room.containers.stop_and_delete_task(&id, 9, Duration::from_secs(5)).await.unwrap();
            room.containers.delete(&id).await.unwrap();
            let delete = lap();
            room.network.detach(&id).await.unwrap();
            rootfs::unmount(&spec.rootfs).unwrap();
            println!("mount+network {network} create {create} start {start} exec {exec} delete {delete} detach {} ms", lap());
        }
        assert!(room.network.list().await.unwrap().is_empty());
        assert!(room.containers.list().await.unwrap().is_empty());
    });
}

/// Wait until something holds, with a deadline.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

async fn read_line(out: &mut ExecOutput) -> String {
    let mut line = Vec::new();
    let read = async {
        while let Ok(byte) = out.read_u8().await {
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("a line within 20 s");
    String::from_utf8(line).unwrap()
}

/// The registry that this machine's own package managers use.
async fn registry() -> String {
    let pip = run("pip", &["config", "get", "global.index-url"]).await.map(|o| o.stdout.trim().to_string());
    match pip {
        Ok(url) if url.starts_with("http") => url,
        _ => run("npm", &["config", "get", "registry"]).await.expect("npm or pip is installed").stdout.trim().to_string(),
    }
}

async fn own_addresses() -> Vec<String> {
    let text = run("ip", &["-o", "-4", "address", "show", "scope", "global"]).await.unwrap().stdout;
    text.lines().filter_map(|l| Some(l.split_whitespace().nth(3)?.split('/').next()?.to_string())).collect()
}

/// A neighbour of the host with a private address and the metadata address of a cloud, both answering.
struct Outside {
    name: String,
    stop: std::sync::Arc<tokio::sync::Notify>,
}

impl Outside {
    const ADDRESSES: [&str; 2] = ["172.29.77.7", "169.254.169.254"];

    async fn new(places: &Places) -> Outside {
        // Not a name of the platform's: the purge leaves it alone.
        let name = format!("out-{}", places.hash);
        let host = format!("ou{}", &places.hash);
        run("ip", &["netns", "add", &name]).await.unwrap();
        run("ip", &["link", "add", &host, "type", "veth", "peer", "name", "eth0", "netns", &name]).await.unwrap();
        run("ip", &["link", "set", &host, "up"]).await.unwrap();
        run("ip", &["address", "add", "172.29.77.1/32", "dev", &host]).await.unwrap();
        for step in ["link set lo up", "link set eth0 up", "route add default dev eth0"] {
            let words: Vec<&str> = ["-n", &name].into_iter().chain(step.split(' ')).collect();
            run("ip", &words).await.unwrap();
        }
        for address in Outside::ADDRESSES {
            let address = format!("{address}/32");
            run("ip", &["-n", &name, "address", "add", &address, "dev", "eth0"]).await.unwrap();
            run("ip", &["route", "add", &address, "dev", &host, "src", "172.29.77.1"]).await.unwrap();
        }
        let stop = std::sync::Arc::new(tokio::sync::Notify::new());
        let (path, stopped) = (Path::new("/run/netns").join(&name), stop.clone());
        let (ready, listening) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let file = std::fs::File::open(path).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("0.0.0.0:80").await.unwrap();
                ready.send(()).unwrap();
                tokio::select! { _ = answer(listener, "this is outside") => {}, _ = stopped.notified() => {} }
            });
        });
        listening.await.unwrap();
        Outside { name, stop }
    }

    async fn reached_by_host(&self, address: &str) -> String {
        run("curl", &["-sS", "-m", "4", "--noproxy", "*", &format!("http://{address}/")]).await.unwrap().stdout
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.stop.notify_one();
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}
