//! F1–F11 as properties of states.

use crate::model::FlipModel;
use crate::state::{Endpoint, Fault, Hook, Ledger, Request, State};
use stateright::Property;

/// Nothing goes on by itself any more.
fn is_over(model: &FlipModel, state: &State) -> bool {
    let mut actions = Vec::new();
    model.progress(state, &mut actions);
    actions.is_empty()
}

/// The contract. F12 is a path without a hook, which holds nothing; it has no part here.
pub fn invariants() -> Vec<Property<FlipModel>> {
    vec![
        Property::always("F1 no address is opened twice", |_, state: &State| !state.has(Fault::AddressReused)),
        Property::always("F2 late bytes execute nothing", |_, state: &State| !state.has(Fault::LateBytesExecuted)),
        Property::always("F3 the hook runs alone", |_, state: &State| {
            state.new.hook != Hook::Running || (state.old.before == Endpoint::Closed && state.old.after != Endpoint::Open && !state.runs(|_| true))
        }),
        Property::always("F4 nothing writes before the snapshot", |_, state: &State| !state.dirty || state.old.snapshot),
        Property::always("F5 the old release never sees what the new one wrote", |_, state: &State| {
            let old_runs = state.runs(|epoch| epoch == 1 || state.ledger == Ledger::Old);
            !(state.dirty && old_runs)
        }),
        Property::always("F6 nothing is sent for a client that has gone", |_, state: &State| !state.has(Fault::SentForGone)),
        Property::always("F7 only a table opens a gate", |_, state: &State| !state.has(Fault::SentWhileFrozen)),
        Property::sometimes("F8 a lost router holds nobody up", |_, state: &State| {
            state.ledger == Ledger::New && state.routers.iter().any(|router| router.lost && router.table == 1)
        }),
        Property::always("F9 nothing is executed twice", |_, state: &State| !state.has(Fault::ExecutedTwice)),
        Property::always("F10 versions only rise", |_, state: &State| !state.has(Fault::TableFell)),
        Property::always("F11 it ends open, and every request has an end", |model, state: &State| {
            if !is_over(model, state) {
                return true;
            }
            let ended = |request: &Request| matches!(request, Request::Answered | Request::Lost | Request::Gone(_));
            matches!(state.ledger, Ledger::Open | Ledger::New | Ledger::Old) && state.requests.iter().all(|(request, _)| ended(request))
        }),
        Property::always("P6 no request fails while nothing dies", |_, state: &State| !state.has(Fault::RequestFailed)),
        Property::sometimes("a deployment succeeds", |_, state: &State| state.ledger == Ledger::New),
        Property::sometimes("an undo restores the volume", |_, state: &State| state.ledger == Ledger::Old && state.old.snapshot && !state.dirty),
    ]
}
