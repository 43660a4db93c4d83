//! Backing services: when one is ready, and when its files are quiet.

use crate::machine::{Containers, Result};
use crate::room::{Room, exec_spec};
use slipway_model::recipe::ServiceRecipe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

/// Between two tries of a recipe's script.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// One run of `ready`; a service that hangs is not ready.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// One run of `configure` or `quiesce`: schemas, users, a checkpoint.
const CONFIGURE_TIME_MAX: Duration = Duration::from_secs(300);
/// What a script says is shown when it fails; so much of it.
const OUTPUT_BYTES_MAX: u64 = 4096;

/// A life of a main process: its container's first process, and how often the main one was restarted.
pub type LifeOf = (u32, usize);

/// Once for each life of a service: wait for `ready`, then run `configure`.
#[derive(Debug, Default)]
pub struct Settling {
    settled: Option<LifeOf>,
    trying: Option<(LifeOf, JoinHandle<()>)>,
}

impl Settling {
    /// True when this life answers and is configured; never waits.
    pub async fn is_settled(&mut self, containers: &Containers, room: &Room, recipe: &ServiceRecipe, life: LifeOf) -> Result<bool> {
        if self.settled == Some(life) {
            return Ok(true);
        }
        match &self.trying {
            Some((of, task)) if *of == life => {
                if task.is_finished() {
                    self.settled = Some(life);
                    self.trying = None;
                }
            }
            former => {
                if let Some((_, task)) = former {
                    task.abort();
                }
                let (containers, room, recipe) = (containers.clone(), room.clone(), recipe.clone());
                self.trying = Some((life, tokio::spawn(async move { settle(&containers, &room, &recipe).await })));
            }
        }
        Ok(self.settled == Some(life))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.trying {
            task.abort();
        }
    }
}

async fn settle(containers: &Containers, room: &Room, recipe: &ServiceRecipe) {
    for (script, time_max) in [(&recipe.ready, READY_TIME_MAX), (&recipe.configure, CONFIGURE_TIME_MAX)] {
        if script.trim().is_empty() {
            continue;
        }
        while let Err(why) = run(containers, room, script, time_max).await {
            tracing::debug!(container = room.container, why, "a service is not ready yet");
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

/// Flush to disk what a snapshot must find there.
pub async fn quiesce(containers: &Containers, room: &Room, recipe: &ServiceRecipe) -> std::result::Result<(), String> {
    match recipe.quiesce.trim() {
        "" => Ok(()),
        script => run(containers, room, script, CONFIGURE_TIME_MAX).await,
    }
}

/// A script of the recipe, to its end; why it failed, with its last words.
pub async fn run(containers: &Containers, room: &Room, script: &str, time_max: Duration) -> std::result::Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let exec_id = format!("script-{}-{}", crate::desk::unix_ms(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut spec = exec_spec(room, vec!["/bin/sh".into(), "-c".into(), script.into()], &[]);
    spec.cwd = "/".into();
    let mut exec = containers.exec(&room.container, &exec_id, &spec).await.map_err(|e| e.to_string())?;
    exec.close_stdin().await.map_err(|e| e.to_string())?;
    let (out, err) = (exec.stdout.take(), exec.stderr.take());
    let work = async { tokio::join!(exec.wait(), words(out), words(err)) };
    // Dropped at its deadline, the script is killed.
    match tokio::time::timeout(time_max, work).await {
        Err(_) => Err(format!("it did not end within {} s", time_max.as_secs())),
        Ok((Ok(0), ..)) => Ok(()),
        Ok((Ok(code), out, err)) => Err(format!("it ended with {code}: {}{}", out.trim(), err.trim())),
        Ok((Err(error), ..)) => Err(error.to_string()),
    }
}

async fn words(pipe: Option<crate::machine::ExecOutput>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut bytes = vec![];
    let _ = (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    // The rest is read too, or the script would wait for us.
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
