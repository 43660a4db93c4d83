//! Takes out of the ledger what is gone from the workers, and destroys condemned volumes.

use crate::office::Office;
use slipway_core::Command;
use slipway_model::task::{TaskOutcome, TaskSpec};
use slipway_model::{InstanceId, NodeId, TaskId, VolumeId};
use std::collections::BTreeMap;

/// One look.
pub async fn tidy(office: &Office) {
    let gone = gone_instances(office);
    if !gone.is_empty()
        && let Err(error) = office.record(Command::ForgetInstances { ids: gone }).await
    {
        tracing::warn!(error = format!("{error:#}"), "retired instances could not be forgotten; it is tried again");
    }
    for (worker, volumes) in condemned(office) {
        destroy(office, &worker, volumes).await;
    }
}

/// Retired instances that their worker, which has seen the present desired set, no longer has.
fn gone_instances(office: &Office) -> Vec<InstanceId> {
    office.world.look(|observed| {
        office.read(|state| {
            state
                .instances
                .iter()
                .filter(|(id, i)| i.retired && observed.reflects(&i.worker, state.generation) && !observed.instances.contains_key(*id))
                .map(|(id, _)| id.clone())
                .collect()
        })
    })
}

/// Volumes to be destroyed, of environments whose instances are all gone.
fn condemned(office: &Office) -> BTreeMap<NodeId, Vec<VolumeId>> {
    office.read(|state| {
        let mut by_worker: BTreeMap<NodeId, Vec<VolumeId>> = BTreeMap::new();
        for (id, volume) in state.volumes.iter().filter(|(_, v)| v.condemned) {
            let in_use = state.instances.values().any(|i| i.retired && i.spec.environment == volume.environment);
            if !in_use {
                by_worker.entry(volume.worker.clone()).or_default().push(id.clone());
            }
        }
        by_worker
    })
}

async fn destroy(office: &Office, worker: &NodeId, volumes: Vec<VolumeId>) {
    for volume in volumes {
        let Ok(task) = format!("task-destroy-{}", volume.as_str().trim_start_matches("vol-")).parse::<TaskId>() else { continue };
        match office.world.look(|w| w.tasks.get(&task).cloned()) {
            None => office.world.order_task(&task, worker, 1, &TaskSpec::DestroyVolumes { volumes: vec![volume] }),
            Some(TaskOutcome::Done { .. }) => {
                if office.record(Command::ForgetVolumes { ids: vec![volume] }).await.is_ok() {
                    office.world.forget_task(&task, worker);
                }
            }
            Some(outcome) => tracing::error!(%task, ?outcome, "a volume could not be destroyed"),
        }
    }
}
