//! Relationships that go in a circle.

use crate::codes;
use crate::node::At;
use crate::shape::Judge;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) struct Edge {
    pub from: String,
    pub to: String,
    pub at: At,
}

/// Circles told one by one; whoever has more sees the rest after mending these.
pub(crate) const CIRCLE_SEARCHES_MAX: usize = 40;

/// Every link that is part of a circle is complained about, with the circle.
pub(crate) fn circles(judge: &mut Judge<'_, '_>, edges: &[Edge]) {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        next.entry(&edge.from).or_default().push(&edge.to);
    }
    let suspects = edges_left_after_trimming(edges);
    for edge in suspects.into_iter().take(CIRCLE_SEARCHES_MAX) {
        let Some(mut chain) = way(&next, &edge.to, &edge.from) else {
            continue;
        };
        chain.insert(0, &edge.from);
        let message = format!("relationships go in a circle: {}", chain_text(&chain));
        judge
            .loader
            .error(codes::RELATIONSHIP_CYCLE, &edge.at, message);
    }
}

pub(crate) fn chain_text(chain: &[&str]) -> String {
    if chain.len() <= 8 {
        chain.join(" -> ")
    } else {
        format!(
            "{} -> … -> {}",
            chain[..7].join(" -> "),
            chain[chain.len() - 1]
        )
    }
}

/// Without the links that end nowhere: what is left lies on circles or between them.
pub(crate) fn edges_left_after_trimming(edges: &[Edge]) -> Vec<&Edge> {
    let backwards = trimmed(edges, |edge| (&edge.from, &edge.to));
    let forwards = trimmed(edges, |edge| (&edge.to, &edge.from));
    edges
        .iter()
        .filter(|edge| {
            [&edge.from, &edge.to]
                .iter()
                .all(|name| !backwards.contains(name.as_str()) && !forwards.contains(name.as_str()))
        })
        .collect()
}

/// Names that nobody points at, and then those that only such names point at, and so on.
pub(crate) fn trimmed<'e>(
    edges: &'e [Edge],
    ends: impl Fn(&'e Edge) -> (&'e String, &'e String),
) -> BTreeSet<&'e str> {
    let mut incoming: BTreeMap<&str, usize> = BTreeMap::new();
    let mut outgoing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        let (from, to) = ends(edge);
        incoming.entry(from).or_default();
        *incoming.entry(to).or_default() += 1;
        outgoing.entry(from).or_default().push(to);
    }
    let mut queue: Vec<&str> = incoming
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    let mut gone = BTreeSet::new();
    while let Some(name) = queue.pop() {
        gone.insert(name);
        for to in outgoing.get(name).into_iter().flatten() {
            if let Some(count) = incoming.get_mut(to) {
                *count -= 1;
                if *count == 0 {
                    queue.push(to);
                }
            }
        }
    }
    gone
}

/// The shortest way from one name to another, both included.
pub(crate) fn way<'e>(
    next: &BTreeMap<&'e str, Vec<&'e str>>,
    from: &'e str,
    to: &'e str,
) -> Option<Vec<&'e str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    let mut seen = BTreeSet::from([from]);
    while let Some(here) = queue.pop_front() {
        if here == to {
            let mut chain = vec![here];
            let mut at = here;
            while let Some(previous) = before.get(at) {
                chain.push(previous);
                at = previous;
            }
            chain.reverse();
            return Some(chain);
        }
        for there in next.get(here).into_iter().flatten() {
            if seen.insert(there) {
                before.insert(there, here);
                queue.push_back(there);
            }
        }
    }
    None
}
