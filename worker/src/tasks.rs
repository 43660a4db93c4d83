//! Who carries out the tasks: builds under their slots, the rest at once.

use crate::build::BuildRoom;
use crate::desk::{Carrier, Job};
use crate::hook;
use crate::image::ImageRoom;
use crate::machine::{Containers, ExecSpec, Status, VolumeDriver};
use crate::mask::Mask;
use crate::reconcile::{Reconciler, Trees, Trouble};
use crate::room::Rooms;
use crate::service;
use slipway_model::instance::WEB_UID;
use slipway_model::recipe::Recipe;
use slipway_model::task::{Hook, TaskOutcome, TaskSpec};
use slipway_model::{ImageId, InstanceId, SlugId, SnapshotId, VolumeId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A hook is ordered when its instance runs; a moment of disagreement is bridged.
const ROOM_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The carrier of this worker; a cheap clone.
#[derive(Clone)]
pub struct Tasks {
    pub containers: Containers,
    pub volumes: Arc<dyn VolumeDriver>,
    pub reconciler: Reconciler,
    pub trees: Arc<dyn Trees>,
    pub images: ImageRoom,
    pub builds: BuildRoom,
    pub slots: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl Carrier for Tasks {
    /// On a thread of its own: the compiler cannot see that a build's future may change threads (rust-lang/rust#102211).
    async fn carry(&self, job: Job) -> TaskOutcome {
        let (tasks, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let carried = tokio::task::spawn_blocking(move || runtime.block_on(tasks.carry_out(job))).await;
        carried.unwrap_or_else(|error| TaskOutcome::InfrastructureFailure { message: format!("the worker failed at the task: {error}") })
    }
}

impl Tasks {
    async fn carry_out(&self, job: Job) -> TaskOutcome {
        let began = Instant::now();
        let result = match job.spec.clone() {
            TaskSpec::BuildImage(image) => {
                let Some(_slot) = self.slot(&job).await else { return TaskOutcome::Cancelled };
                return self.images.run(&image.recipe, &job.log, &job.cancel).await;
            }
            TaskSpec::BuildApp(build) => {
                let Some(_slot) = self.slot(&job).await else { return TaskOutcome::Cancelled };
                let log = Mask::of(&build.env).before(job.log.clone());
                return self.builds.run(&job.task, &build, &log, &job.cancel).await;
            }
            TaskSpec::Hook(hook) => return self.hook(job, &hook).await,
            TaskSpec::Snapshot { snapshot, volumes, quiesce } => self.snapshot(&snapshot, &volumes, &quiesce).await,
            TaskSpec::Restore { snapshot, volumes } => self.restore(&snapshot, &volumes).await,
            TaskSpec::DropSnapshot { snapshot } => self.volumes.drop_snapshot(&snapshot).await.map_err(Trouble::from),
            TaskSpec::DestroyVolumes { volumes } => self.destroy(&volumes).await,
            TaskSpec::Prefetch { images, slugs } => self.prefetch(&images, &slugs).await,
            TaskSpec::Flush { instance } => self.flush(&instance).await,
        };
        match result {
            Ok(()) => TaskOutcome::Done { ms: began.elapsed().as_millis() as u64 },
            Err(trouble) => TaskOutcome::InfrastructureFailure { message: trouble.to_string() },
        }
    }

    /// One slot for each build; who waits may be cancelled.
    async fn slot(&self, job: &Job) -> Option<OwnedSemaphorePermit> {
        let slot = tokio::select! {
            slot = self.slots.clone().acquire_owned() => slot.ok(),
            () = job.cancel.cancelled() => None,
        };
        if slot.is_some() {
            job.running();
        }
        slot
    }

    async fn hook(&self, mut job: Job, hook: &Hook) -> TaskOutcome {
        let deadline = Instant::now() + ROOM_TIME_MAX;
        let room = loop {
            match self.reconciler.enter(hook.instance.as_str()) {
                Ok(room) => break room,
                Err(why) if Instant::now() > deadline => {
                    return TaskOutcome::InfrastructureFailure { message: format!("the hook's instance cannot be entered: {why}") };
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        if let Some(spec) = self.reconciler.spec(&hook.instance) {
            job.log = Mask::of(&spec.env).before(job.log);
        }
        let highest = self.reconciler.highest_epoch(&hook.instance);
        hook::run(&job, hook, &self.containers, &room, highest).await
    }

    /// Writers are held still for the moment of the copy, so that all volumes show the same one.
    async fn snapshot(&self, snapshot: &SnapshotId, volumes: &[VolumeId], quiesce: &[InstanceId]) -> Result<(), Trouble> {
        for instance in quiesce {
            let Ok(room) = self.reconciler.enter(instance.as_str()) else { continue };
            let recipe: Option<Recipe> = self.reconciler.recipe(instance);
            if let Some(recipe) = recipe.and_then(|r| r.service) {
                let why = |why| Trouble::Infrastructure(format!("{instance} could not be made quiet: {why}"));
                service::quiesce(&self.containers, &room, &recipe).await.map_err(why)?;
            }
        }
        let writers = self.reconciler.holders(&volumes.iter().cloned().collect());
        let mut paused = vec![];
        let mut result = Ok(());
        for writer in &writers {
            if matches!(self.containers.status(writer.as_str()).await, Ok(Status::Running { .. })) {
                paused.push(writer);
                if let Err(error) = self.containers.pause(writer.as_str()).await {
                    result = Err(error);
                    break;
                }
            }
        }
        if result.is_ok() {
            result = self.volumes.snapshot(snapshot, volumes).await;
        }
        for writer in paused {
            if let Err(error) = self.containers.resume(writer.as_str()).await {
                tracing::error!(instance = %writer, %error, "a container could not be let go on");
            }
        }
        Ok(result?)
    }

    async fn restore(&self, snapshot: &SnapshotId, volumes: &[VolumeId]) -> Result<(), Trouble> {
        self.reconciler.release(&volumes.iter().cloned().collect()).await?;
        Ok(self.volumes.restore(snapshot, volumes).await?)
    }

    async fn destroy(&self, volumes: &[VolumeId]) -> Result<(), Trouble> {
        self.reconciler.release(&volumes.iter().cloned().collect()).await?;
        for volume in volumes {
            self.volumes.destroy(volume).await?;
        }
        Ok(())
    }

    async fn prefetch(&self, images: &[ImageId], slugs: &[SlugId]) -> Result<(), Trouble> {
        for image in images {
            self.trees.image(image).await?;
        }
        for slug in slugs {
            self.trees.slug(slug).await?;
        }
        Ok(())
    }

    /// A service that keeps nothing on disk has forgotten everything when its process is a new one.
    async fn flush(&self, instance: &InstanceId) -> Result<(), Trouble> {
        let room = self.reconciler.enter(instance.as_str()).map_err(Trouble::Infrastructure)?;
        let args = ["sv", "-w", "30", "force-restart", "/run/sv/app"].map(String::from).to_vec();
        let spec = ExecSpec { args, env: room.env.clone(), cwd: "/".into(), uid: WEB_UID, gid: WEB_UID, pty: None };
        let mut exec = self.containers.exec(&room.container, &format!("flush-{}", crate::desk::unix_ms()), &spec).await?;
        exec.close_stdin().await?;
        match exec.wait().await? {
            0 => Ok(()),
            code => Err(Trouble::Infrastructure(format!("{instance} could not be restarted: sv ended with {code}"))),
        }
    }
}
