//! The whole platform, as its users meet it: real processes, real containers, real kills.
//!
//! One platform serves all scenarios of a run, in this order, so that base images are built once; each scenario has a
//! project of its own. A scenario that fails does not stop the others.

mod crash;
mod failures;
mod people;
mod shop;
mod site;

use slipway_tests::Platform;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

type Scenario = (&'static str, fn(&Platform));

const SCENARIOS: [Scenario; 14] = [
    ("a_pushed_site_answers_through_the_router", site::pushed_site_answers),
    ("an_unchanged_application_is_not_built_again", site::unchanged_is_reused),
    ("a_refused_push_says_why_and_leaves_nothing", failures::refused_push),
    ("hostile_names_and_packs_are_refused", failures::hostile_input),
    ("a_failing_build_leaves_the_site_as_it_was", failures::failing_build),
    ("an_application_that_never_listens_is_undone", failures::never_listens),
    ("a_failing_deploy_hook_is_undone_with_its_data", failures::failing_hook),
    ("going_back_builds_nothing_and_asks_no_store", site::rollback),
    ("variables_reach_build_and_run_time", people::variables),
    ("people_enter_the_running_application", people::ssh),
    ("the_console_shows_the_same_log", people::same_log),
    ("the_shop_works_and_keeps_its_data", shop::shop),
    ("kills_in_any_phase_end_live_or_undone", crash::kills),
    ("sites_outlive_the_control_plane", crash::control_plane_away),
];

#[test]
#[ignore = "needs root, containerd and minutes: `cargo xtask test` runs it"]
fn scenarios() {
    let only = std::env::var("SLIPWAY_SCENARIO").unwrap_or_default();
    let platform = Platform::start(1);
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| name.contains(&only)) {
        let begun = Instant::now();
        eprintln!("--> {name}");
        match catch_unwind(AssertUnwindSafe(|| scenario(&platform))) {
            Ok(()) => eprintln!("    {name}: {:.1} s", begun.elapsed().as_secs_f64()),
            Err(_) => {
                eprintln!("    {name}: FAILED after {:.1} s", begun.elapsed().as_secs_f64());
                failed.push(*name);
            }
        }
    }
    let left = crash::purge(platform);
    assert!(left.is_empty(), "`down --purge` left: {left:?}");
    assert!(failed.is_empty(), "failed: {failed:?}");
}
