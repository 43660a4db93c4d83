//! What is under way in one environment, and what the router tells the scheduler of it.

use crate::gate::EnvironmentGate;
use crate::moment::Moment;
use http::{Method, Uri};
use slipway_model::route::RouterEnvironmentState;
use slipway_model::{EnvironmentId, Epoch};
use std::collections::BTreeMap;

/// Requests named in an acknowledgement: enough for a person to see what holds a deployment up.
const SLOWEST_NAMED_MAX: usize = 3;

/// Longest path in such a name.
const NAME_BYTES_MAX: usize = 100;

#[derive(Debug)]
struct Flight {
    epoch: Epoch,
    begun: Moment,
    method: Method,
    uri: Uri,
}

/// One request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightId(usize);

/// The requests that were let through and are not answered to the end.
#[derive(Debug, Default)]
pub struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<usize>,
    by_epoch: BTreeMap<Epoch, u64>,
}

impl Flights {
    /// A request goes on its way under this epoch.
    pub fn begin(&mut self, epoch: Epoch, begun: Moment, method: Method, uri: Uri) -> FlightId {
        *self.by_epoch.entry(epoch).or_default() += 1;
        let flight = Some(Flight { epoch, begun, method, uri });
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = flight;
                FlightId(slot)
            }
            None => {
                self.slots.push(flight);
                FlightId(self.slots.len() - 1)
            }
        }
    }

    /// It has its answer, or both sides are gone.
    pub fn end(&mut self, id: FlightId) {
        let Some(flight) = self.slots.get_mut(id.0).and_then(Option::take) else { return };
        self.free.push(id.0);
        if let Some(count) = self.by_epoch.get_mut(&flight.epoch) {
            *count -= 1;
            if *count == 0 {
                self.by_epoch.remove(&flight.epoch);
            }
        }
    }

    /// Requests under way.
    pub fn len(&self) -> u64 {
        self.by_epoch.values().sum()
    }

    /// None is under way.
    pub fn is_empty(&self) -> bool {
        self.by_epoch.is_empty()
    }

    /// Under way under an epoch below this one.
    pub fn older_than(&self, epoch: Epoch) -> u64 {
        self.by_epoch.range(..epoch).map(|(_, count)| count).sum()
    }

    /// The longest of them, named for people.
    pub fn slowest(&self, now: Moment, epoch: Epoch) -> Vec<String> {
        if self.older_than(epoch) == 0 {
            return Vec::new();
        }
        let mut old: Vec<&Flight> = self.slots.iter().flatten().filter(|flight| flight.epoch < epoch).collect();
        old.sort_by_key(|flight| flight.begun);
        old.truncate(SLOWEST_NAMED_MAX);
        old.iter().map(|flight| name(flight, now)).collect()
    }
}

fn name(flight: &Flight, now: Moment) -> String {
    let path: String = flight.uri.path().chars().take(NAME_BYTES_MAX).collect();
    let tenths = now.since(flight.begun) / 100_000;
    format!("{} {}, {}.{} s", flight.method, path, tenths / 10, tenths % 10)
}

/// One environment's part of an acknowledgement.
pub fn report(id: &EnvironmentId, gate: &EnvironmentGate, flights: &Flights, applied_unix_us: i64, now: Moment) -> RouterEnvironmentState {
    let (held_total, rejected_total) = gate.totals();
    RouterEnvironmentState {
        id: id.clone(),
        epoch: gate.epoch(),
        applied_unix_us,
        held: gate.held(),
        held_total,
        rejected_total,
        in_flight_old: flights.older_than(gate.epoch()),
        slowest: flights.slowest(now, gate.epoch()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_requests_of_older_epochs_are_counted_and_named() {
        let mut flights = Flights::default();
        let uri = |path: &str| path.parse::<Uri>().unwrap();
        let slow = flights.begin(Epoch(1), Moment(0), Method::POST, uri("/checkout?card=1"));
        flights.begin(Epoch(1), Moment(5_000_000), Method::GET, uri("/b"));
        flights.begin(Epoch(3), Moment(1), Method::GET, uri("/new"));
        assert_eq!(flights.older_than(Epoch(3)), 2);
        let now = Moment(12_300_000);
        assert_eq!(flights.slowest(now, Epoch(3)), ["POST /checkout, 12.3 s", "GET /b, 7.3 s"]);
        assert!(flights.slowest(now, Epoch(1)).is_empty());
        flights.end(slow);
        flights.end(slow);
        assert_eq!((flights.older_than(Epoch(3)), flights.len()), (1, 2));
    }
}
