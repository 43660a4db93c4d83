//! The machines of the platform, and its counters.

use super::Api;
use super::caller::Caller;
use super::times::rfc3339;
use slipway_proto::api;
use tonic::Status;

impl Api {
    pub(super) fn list_nodes(&self, caller: &Caller) -> Result<api::NodeList, Status> {
        caller.platform_admin()?;
        let status = self.office.ledger.status();
        let mut nodes = vec![api::Node {
            id: format!("scheduler-{}", status.node),
            role: "scheduler".into(),
            state: status.role.into(),
            address: self.office.options.listen.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            detail: format!("term {}, {} commands", status.term, status.commands),
            seen_at: rfc3339(crate::chance::now_ms()),
        }];
        let details = self.office.world.nodes();
        let draining = self.office.read(|s| s.workers.iter().filter(|(_, w)| w.draining).map(|(id, _)| id.clone()).collect::<Vec<_>>());
        for (id, detail) in details {
            let connected = self.office.world.look(|w| {
                w.workers.get(&id).is_some_and(|w| w.connected) || w.routers.get(&id).is_some_and(|r| r.connected)
            });
            let state = match (connected, draining.contains(&id)) {
                (false, _) => "away",
                (true, true) => "draining",
                (true, false) => "ready",
            };
            nodes.push(api::Node {
                id: id.to_string(),
                role: detail.role.into(),
                state: state.into(),
                address: detail.address,
                version: detail.version,
                detail: detail.text,
                seen_at: rfc3339(detail.last_seen),
            });
        }
        Ok(api::NodeList { nodes })
    }

    pub(super) fn counters(&self, caller: &Caller) -> Result<api::CounterList, Status> {
        caller.platform_admin()?;
        let status = self.office.ledger.status();
        let mut counters = vec![
            ("ledger_commands".to_string(), status.commands),
            ("ledger_disk_syncs".to_string(), status.disk_syncs),
        ];
        self.office.read(|state| {
            let builds: usize = state.activities.values().flat_map(|a| &a.builds).filter(|b| !b.reused).count();
            counters.push(("builds_recorded".into(), builds as u64));
            counters.push(("releases".into(), state.releases.len() as u64));
            counters.push(("instances".into(), state.instances.len() as u64));
            counters.push(("environments".into(), state.environments.len() as u64));
        });
        counters.extend(crate::office::store_counters(&self.office.options.store));
        let counters = counters.into_iter().map(|(name, value)| api::Counter { name, value }).collect();
        Ok(api::CounterList { counters })
    }
}
