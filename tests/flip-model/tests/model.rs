//! The model is explored to its end; each mistake is found.

use slipway_flip_model::{FlipModel, Mistake};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::{Duration, Instant};

/// Far above the need; a model that has grown beyond it is no test any more.
const TIME_MAX: Duration = Duration::from_secs(240);

#[test]
fn the_contract_holds_in_every_order_of_events() {
    let begun = Instant::now();
    let checker = FlipModel::default().checker().threads(2).timeout(TIME_MAX).spawn_bfs().join();
    println!(
        "{} states ({} different, depth {}) in {:.1?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    assert!(begun.elapsed() < TIME_MAX, "not explored to the end");
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "the model has lost its events");
}

#[test]
fn each_mistake_is_found() {
    for mistake in Mistake::ALL {
        let begun = Instant::now();
        let model = FlipModel { mistake: Some(mistake) };
        let checker = model.checker().threads(2).timeout(TIME_MAX).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let found = checker.discoveries();
        // What only must be possible is no finding.
        let broken: Vec<(&str, usize)> = found
            .iter()
            .filter(|(name, _)| name.starts_with('F') && !name.starts_with("F8") || name.starts_with("P6"))
            .map(|(name, path)| (*name, path.clone().into_actions().len()))
            .collect();
        println!("{mistake:?}: {broken:?} after {} states in {:.1?}", checker.state_count(), begun.elapsed());
        assert!(!broken.is_empty(), "{mistake:?} is not found");
    }
}
