//! Tests of the module beside this file.

use super::*;
use slipway_model::instance::{Ingress, Limits};

fn spec(target: Target, ingress: Option<u64>) -> InstanceSpec {
    InstanceSpec {
        id: "i-1".parse().unwrap(),
        project: "p".parse().unwrap(),
        environment: "p-main".parse().unwrap(),
        deployment: "dep-1".parse().unwrap(),
        name: "app".into(),
        recipe: "php:8.2".into(),
        image: "a".repeat(64).parse().unwrap(),
        slug: None,
        env: Default::default(),
        config_json: "{}".into(),
        mounts: vec![],
        limits: Limits { memory_mb: 128, cpu_millis: 100, pids: 10 },
        address: "10.0.0.1".parse().unwrap(),
        hostname: "app.0".into(),
        links: vec![],
        hosts: Default::default(),
        process: Process::Worker { pre_start: None, start: "x".into(), runtime_json: "{}".into(), php_ini: Default::default() },
        target,
        ingress: ingress.map(|epoch| Ingress { epoch: Epoch(epoch), port: 10_000 + epoch as u16 }),
        background: false,
    }
}

const UP: Status = Status::Running { pid: 1 };
const ENDED: Status = Status::Stopped { exit_code: 0 };

fn seen(status: Status, fronts: &[Status]) -> Seen {
    Seen { status, prepared: status != Status::Absent, ready: true, fronts: fronts.to_vec(), main_runs: false }
}

fn record(fronts: &[(u64, bool)]) -> Record {
    let mut record = Record::new(spec(Target::Running, None), 1 << 20);
    record.fronts = fronts.iter().map(|(e, closed)| FrontRecord { epoch: Epoch(*e), port: 10_000 + *e as u16, closed_unix_ms: closed.then_some(1) }).collect();
    record
}

fn check(want: &InstanceSpec, record: &Record, seen: &Seen, expected: &[Step]) {
    assert_eq!(next(Some(want), record, seen), expected);
}

#[test]
fn an_instance_is_brought_to_its_target_from_wherever_it_is() {
    let none = record(&[]);
    check(&spec(Target::Running, None), &none, &seen(Status::Absent, &[]), &[Step::Prepare, Step::Start]);
    check(&spec(Target::Running, None), &none, &seen(ENDED, &[]), &[Step::Prepare, Step::Start]);
    check(&spec(Target::Running, None), &none, &seen(UP, &[]), &[]);
    check(&spec(Target::Created, None), &none, &seen(Status::Absent, &[]), &[Step::Prepare]);
    check(&spec(Target::Created, None), &none, &seen(Status::Created, &[]), &[]);
    check(&spec(Target::Stopped, None), &none, &seen(UP, &[]), &[Step::Stop]);
    check(&spec(Target::Stopped, None), &none, &seen(ENDED, &[]), &[]);
    assert_eq!(next(None, &none, &seen(UP, &[])), [Step::Stop, Step::Remove]);
    assert_eq!(next(None, &none, &seen(Status::Absent, &[])), [Step::Remove]);
}

#[test]
fn each_epoch_has_its_own_front_and_a_closed_one_never_opens_again() {
    let open = |epoch: u64| Step::OpenFront { epoch: Epoch(epoch), port: 10_000 + epoch as u16 };
    check(&spec(Target::Running, Some(1)), &record(&[]), &seen(UP, &[]), &[open(1)]);
    check(&spec(Target::Running, Some(1)), &record(&[]), &Seen { ready: false, ..seen(UP, &[]) }, &[]);
    check(&spec(Target::Running, Some(1)), &record(&[(1, false)]), &seen(UP, &[UP]), &[]);
    check(&spec(Target::Running, Some(2)), &record(&[(1, false)]), &seen(UP, &[UP]), &[Step::CloseFront(Epoch(1)), open(2)]);
    check(&spec(Target::Running, None), &record(&[(1, false)]), &seen(UP, &[UP]), &[Step::CloseFront(Epoch(1))]);
    check(&spec(Target::Running, None), &record(&[(1, true)]), &seen(UP, &[UP]), &[]);
    check(&spec(Target::Running, None), &record(&[(1, true)]), &seen(UP, &[ENDED]), &[Step::ForgetFront(Epoch(1))]);
    // Asked for again, a closed epoch stays closed.
    check(&spec(Target::Running, Some(1)), &record(&[(1, true)]), &seen(UP, &[UP]), &[]);
    let mut over = record(&[]);
    over.closed_epoch = Some(Epoch(1));
    check(&spec(Target::Running, Some(1)), &over, &seen(UP, &[]), &[]);
    check(&spec(Target::Running, Some(2)), &over, &seen(UP, &[]), &[open(2)]);
    // A crashed front comes back for the same epoch.
    check(&spec(Target::Running, Some(1)), &record(&[(1, false)]), &seen(UP, &[ENDED]), &[open(1)]);
    // Stopping closes first.
    check(&spec(Target::Stopped, Some(1)), &record(&[(1, false)]), &seen(UP, &[UP]), &[Step::CloseFront(Epoch(1)), Step::Stop]);
}

#[test]
fn a_workers_loop_runs_only_while_background_is_allowed() {
    let mut want = spec(Target::Running, None);
    check(&want, &record(&[]), &Seen { main_runs: true, ..seen(UP, &[]) }, &[Step::StopMain]);
    want.background = true;
    check(&want, &record(&[]), &seen(UP, &[]), &[Step::StartMain]);
    check(&want, &record(&[]), &Seen { main_runs: true, ..seen(UP, &[]) }, &[]);
}
