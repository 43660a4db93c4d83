//! One push, from the quarantine to the log of its activity.
//!
//! ```text
//! pre_receive   rules -> submodules -> files -> advisories -> plan -> pack to the store   Verdict
//! proc_receive  Verdict -> RecordPush -> `ok` / `ng` per ref                              activities
//! post_receive  activities -> their records on the terminal
//! ```
//!
//! A refusal is given by `proc_receive`, not by a failing `pre_receive`: only there can each ref have its own
//! reason. The objects that have left the quarantine by then lie in the throwaway repository and go with it.

mod advisories;
mod app_tree;
mod judge;
mod log;
mod options;
mod rules;
mod tree;

pub use advisories::AdvisoryShelf;

use crate::hook::RawUpdate;
use crate::hook_socket::{Gone, Terminal};
use crate::packs::Packs;
use crate::platform::{Platform, Role, is_away};
use crate::porter::Porter;
use crate::session::Session;
use judge::Judgement;
use options::PushOptions;
use rules::{Decision, Update};
use slipway_model::ids::{CommitId, ProjectId};
use slipway_proto::api::{ActivityRef, PackRef, PushContext, PushedTree, RecordPushRequest, RefUpdate};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Git's way to write "no object".
const ZERO: &str = "0000000000000000000000000000000000000000";

/// Who pushes, to where.
#[derive(Debug, Clone)]
pub struct Pusher {
    pub project: ProjectId,
    pub user: String,
    pub role: Role,
    /// Return as soon as the push is recorded.
    pub no_wait: bool,
}

/// A push under way.
pub struct Push {
    platform: Platform,
    packs: Packs,
    advisories: Arc<AdvisoryShelf>,
    session: Arc<Session>,
    pusher: Pusher,
    updates_max: usize,
    verdict: Mutex<Option<Verdict>>,
    activities: Mutex<Vec<ActivityRef>>,
    no_wait: AtomicBool,
    recorded: AtomicBool,
    client_gone: watch::Sender<bool>,
}

/// What `pre_receive` found.
enum Verdict {
    /// Why, for each ref; refs that have no reason of their own fall with the others.
    Refused { reasons: HashMap<String, String>, otherwise: String },
    /// To be recorded; `ignored` refs are answered `ok` and not stored.
    Accepted { request: RecordPushRequest, ignored: BTreeSet<String> },
}

impl Verdict {
    fn all(reason: &str) -> Verdict {
        Verdict::Refused { reasons: HashMap::new(), otherwise: reason.to_string() }
    }
}

impl Push {
    pub fn new(porter: &Porter, session: Arc<Session>, pusher: Pusher) -> Push {
        Push {
            platform: porter.platform.clone(),
            packs: porter.packs.clone(),
            advisories: porter.advisories.clone(),
            session,
            no_wait: AtomicBool::new(pusher.no_wait),
            pusher,
            updates_max: porter.limits.updates_max,
            verdict: Mutex::new(None),
            activities: Mutex::default(),
            recorded: AtomicBool::new(false),
            client_gone: watch::channel(false).0,
        }
    }

    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    /// Nobody watches any more.
    pub fn client_has_gone(&self) {
        self.client_gone.send_replace(true);
    }

    /// Judges everything that was received. Only an accident fails; refusals wait for `proc_receive`.
    pub async fn pre_receive(&self, updates: Vec<RawUpdate>, raw_options: Vec<String>, terminal: &Terminal) -> bool {
        let verdict = match self.judged(updates, raw_options, terminal).await {
            Ok(verdict) => verdict,
            Err(Gone) => return false,
        };
        *self.verdict.lock().expect("a verdict is set in one step") = Some(verdict);
        true
    }

    async fn judged(&self, updates: Vec<RawUpdate>, raw_options: Vec<String>, terminal: &Terminal) -> Result<Verdict, Gone> {
        if updates.len() > self.updates_max {
            terminal.say(format!("E: This push changes {} refs; one push may change {}. Push the branches in parts.", updates.len(), self.updates_max)).await?;
            return Ok(Verdict::all("too many refs"));
        }
        let options = PushOptions::parse(&raw_options);
        for warning in &options.warnings {
            terminal.say(format!("W: {warning}")).await?;
        }
        if options.no_wait {
            self.no_wait.store(true, Ordering::Release);
        }
        let updates: Vec<Update> = updates.into_iter().map(Update::from).collect();
        let branches = updates.iter().filter_map(|update| update.branch()).map(|branch| branch.to_string()).collect();
        let context = match self.platform.prepare_push(&self.pusher, branches).await {
            Ok(context) => context,
            Err(status) if is_away(&status) => {
                terminal.say("E: Slipway's control plane cannot be reached just now. Nothing was stored; push again in a minute.").await?;
                return Ok(Verdict::all("control plane away"));
            }
            Err(status) => {
                terminal.say(format!("E: This push cannot be taken: {}", log::clean(status.message()))).await?;
                return Ok(Verdict::all("not accepted"));
            }
        };
        if !context.not_ready.is_empty() {
            terminal.say(format!("E: No push can be taken just now: {}. Nothing was stored; push again later.", context.not_ready.trim_end_matches('.'))).await?;
            return Ok(Verdict::all("not ready"));
        }

        let mut reasons = HashMap::new();
        let mut ignored = BTreeSet::new();
        let mut taken = Vec::new();
        for update in updates {
            let forced = self.is_forced(&update).await;
            let decision = match forced {
                Ok(forced) => rules::decide(&update, forced, &self.pusher, &self.session.repository, &context),
                Err(trouble) => Decision::Refused { short: "cannot be compared".into(), long: trouble },
            };
            match decision {
                Decision::Taken(change) => taken.push(change),
                Decision::Ignored(note) => {
                    terminal.say(format!("W: {note}")).await?;
                    ignored.insert(update.name);
                }
                Decision::Refused { short, long } => {
                    terminal.say(format!("E: {long}")).await?;
                    reasons.insert(update.name, short);
                }
            }
        }
        if !reasons.is_empty() {
            return Ok(Verdict::Refused { reasons, otherwise: "refused with the others of this push".into() });
        }
        let mut trees = Vec::new();
        if taken.iter().any(|change| change.new.is_some()) {
            match self.judge_trees(&taken, &context, &options, terminal).await? {
                Ok(judged) => trees = judged,
                Err(reasons) => return Ok(Verdict::Refused { reasons, otherwise: "refused with the others of this push".into() }),
            }
        }
        let mut packs = Vec::new();
        if !trees.is_empty() {
            match self.store_packs().await {
                Ok(stored) => packs = stored,
                Err(error) => {
                    tracing::error!(project = %self.pusher.project, "could not store the pack of a push: {error:#}");
                    terminal.say("E: The object store cannot be reached, so the push cannot be kept. Nothing was stored; push again in a minute.").await?;
                    return Ok(Verdict::all("object store away"));
                }
            }
        }
        let mut id = [0; 15];
        if getrandom::fill(&mut id).is_err() {
            terminal.say("E: This node has no randomness to name the push with. Push again.").await?;
            return Ok(Verdict::all("no randomness"));
        }
        let written = |id: &Option<CommitId>| id.as_ref().map_or_else(|| ZERO.to_string(), CommitId::to_string);
        let request = RecordPushRequest {
            push_id: format!("push-{}", data_encoding::BASE32_NOPAD.encode(&id).to_ascii_lowercase()),
            project: self.pusher.project.to_string(),
            acting_for: self.pusher.user.clone(),
            updates: taken
                .iter()
                .map(|change| RefUpdate { name: change.branch.as_ref_name(), old: written(&change.old), new: written(&change.new), forced: change.forced })
                .collect(),
            packs,
            pack_generation: self.session.repository.pack_generation,
            trees,
            options: options.values,
        };
        Ok(Verdict::Accepted { request, ignored })
    }

    /// True when the update throws commits away.
    async fn is_forced(&self, update: &Update) -> Result<bool, String> {
        let (Some(old), Some(new)) = (&update.old, &update.new) else { return Ok(false) };
        let mut command = self.session.git();
        command.args(["merge-base", "--is-ancestor", old.as_str(), new.as_str()]);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        match output.map(|output| output.status.code()) {
            Ok(Some(0)) => Ok(false),
            Ok(Some(1)) => Ok(true),
            Ok(_) => Err(format!("{} cannot be compared with what is on the server; is the pushed object a commit?", log::clean(&update.name))),
            Err(error) => Err(format!("git cannot be started: {error}")),
        }
    }

    /// Every branch's tree, or why each was refused.
    async fn judge_trees(
        &self,
        taken: &[rules::Change],
        context: &PushContext,
        options: &PushOptions,
        terminal: &Terminal,
    ) -> Result<Result<Vec<PushedTree>, HashMap<String, String>>, Gone> {
        let mut by_commit: BTreeMap<CommitId, Judgement> = BTreeMap::new();
        terminal.say("Validating submodules").await?;
        let mut reasons = HashMap::new();
        let pushed = || taken.iter().filter_map(|change| Some((change, change.new.clone()?)));
        for (change, commit) in pushed() {
            if !by_commit.contains_key(&commit) {
                let judgement = self.judgement(commit.clone(), context).await;
                by_commit.insert(commit.clone(), judgement);
            }
            let Some(judgement) = by_commit.get(&commit) else { continue };
            if let Some(text) = &judgement.submodules {
                terminal.say(text.clone()).await?;
                reasons.insert(change.branch.as_ref_name(), "submodules are not supported yet".into());
            }
        }
        terminal.say("Validating configuration files").await?;
        let several = pushed().count() > 1;
        for (change, commit) in pushed() {
            let Some(judgement) = by_commit.get(&commit) else { continue };
            if several && !judgement.problems.is_empty() {
                terminal.say(format!("  Branch {}", change.branch)).await?;
            }
            for text in &judgement.problems {
                terminal.say(text.clone()).await?;
            }
            if let Some(reason) = &judgement.refusal {
                reasons.entry(change.branch.as_ref_name()).or_insert_with(|| reason.clone());
                continue;
            }
        }
        if !reasons.is_empty() {
            return Ok(Err(reasons));
        }
        let mut trees = Vec::new();
        for (change, commit) in pushed() {
            let Some(judgement) = by_commit.get(&commit) else { continue };
            let deployed = context.deployed_json.get(change.branch.as_str());
            let is_protected = context.protected_branches.iter().any(|branch| branch == change.branch.as_str());
            let plan = judge::topology(judgement, deployed.map(String::as_str), is_protected, options);
            if !plan.text.is_empty() {
                terminal.say(plan.text.clone()).await?;
            }
            if let Some(reason) = plan.refusal {
                reasons.insert(change.branch.as_ref_name(), reason);
                continue;
            }
            match self.pushed_tree(change, &commit, judgement, plan.text).await {
                Ok(tree) => trees.push(tree),
                Err(trouble) => {
                    terminal.say(format!("E: {trouble}")).await?;
                    reasons.insert(change.branch.as_ref_name(), "cannot be read".into());
                }
            }
        }
        Ok(if reasons.is_empty() { Ok(trees) } else { Err(reasons) })
    }

    async fn judgement(&self, commit: CommitId, context: &PushContext) -> Judgement {
        let (session, context, advisories) = (self.session.clone(), context.clone(), self.advisories.clone());
        let judged = tokio::task::spawn_blocking(move || judge::judge(&session, &commit, &context, &advisories)).await;
        judged.unwrap_or_else(|error| {
            tracing::error!(%error, "judging a tree ended in a panic");
            Judgement::unreadable("the tree could not be judged: this is a fault of Slipway, not of the push".into())
        })
    }

    async fn pushed_tree(&self, change: &rules::Change, commit: &CommitId, judgement: &Judgement, plan_text: String) -> Result<PushedTree, String> {
        let mut command = self.session.git();
        command.args(["log", "-1", "--no-show-signature", "--format=%an%x00%s", commit.as_str(), "--"]);
        let text = crate::program::output(command, 1 << 20).await?;
        let text = String::from_utf8_lossy(&text);
        let (author, message) = text.trim_end().split_once('\0').unwrap_or(("", ""));
        let mut command = self.session.git();
        command.args(["rev-list", "--count", commit.as_str()]);
        match &change.old {
            Some(old) => command.arg(format!("^{old}")),
            None => command.args(["--not", "--all"]),
        };
        command.arg("--");
        let count = crate::program::output(command, 100).await?;
        let shortened = |text: &str| log::clean(text).chars().take(200).collect::<String>();
        Ok(PushedTree {
            branch: change.branch.to_string(),
            commit: commit.to_string(),
            message: shortened(message),
            new_commits: String::from_utf8_lossy(&count).trim().parse().unwrap_or(0),
            author: shortened(author),
            project_json: judgement.project_json.clone(),
            app_trees: judgement.app_trees.clone().into_iter().collect(),
            app_tree_sources: judgement.app_tree_sources.clone().into_iter().collect(),
            warnings: judgement.warnings.clone(),
            sbom_json: judgement.sbom_json.clone(),
            plan_text,
        })
    }

    async fn store_packs(&self) -> anyhow::Result<Vec<PackRef>> {
        let mut stored = Vec::new();
        for path in self.session.received_packs()? {
            if !crate::packs::is_empty_pack(&path)? {
                stored.push(self.packs.store(&self.pusher.project, &path).await?);
            }
        }
        Ok(stored)
    }

    /// Records an accepted push; the answer for each ref, `None` is `ok`.
    pub async fn proc_receive(self: &Arc<Push>, updates: Vec<RawUpdate>, terminal: &Terminal) -> Vec<(String, Option<String>)> {
        let names: Vec<String> = updates.into_iter().map(|update| update.name).collect();
        let verdict = self.verdict.lock().expect("a verdict is set in one step").take();
        let refuse = |reason: &str| names.iter().map(|name| (name.clone(), Some(reason.to_string()))).collect();
        match verdict {
            None => refuse("not judged"),
            Some(Verdict::Refused { reasons, otherwise }) => {
                names.iter().map(|name| (name.clone(), Some(reasons.get(name).unwrap_or(&otherwise).clone()))).collect()
            }
            Some(Verdict::Accepted { request, ignored }) => {
                if request.updates.is_empty() {
                    return names.into_iter().map(|name| (name, None)).collect();
                }
                // A task of its own: a hook that is killed now must not leave the record half waited for.
                let push = self.clone();
                let recorded = tokio::spawn(async move { push.record(request).await }).await;
                let refused = match recorded {
                    Ok(Ok((refused, notes))) => {
                        for note in notes {
                            let _ = terminal.say(log::clean(&note)).await;
                        }
                        refused
                    }
                    Ok(Err(text)) => {
                        let _ = terminal.say(format!("E: {text}")).await;
                        return refuse("not recorded");
                    }
                    Err(_) => return refuse("not recorded"),
                };
                let any_refused = !refused.is_empty();
                let answer = |name: String| {
                    let reason = match refused.get(&name) {
                        Some(reason) => Some(reason.clone()),
                        None if any_refused && !ignored.contains(&name) => Some("refused with the others of this push".into()),
                        None => None,
                    };
                    (name, reason)
                };
                names.into_iter().map(answer).collect()
            }
        }
    }

    /// The refused refs with their reasons (none: recorded), and what to tell the pusher.
    async fn record(&self, request: RecordPushRequest) -> Result<(HashMap<String, String>, Vec<String>), String> {
        let packs = request.packs.clone();
        let reply = self.platform.record_push(request).await.map_err(|status| {
            if is_away(&status) {
                "The platform did not answer, so it is not known whether the push was recorded. `git fetch` shows it; else push again.".to_string()
            } else {
                format!("The push was not recorded: {}", log::clean(status.message()))
            }
        })?;
        if !reply.refused.is_empty() {
            let refused = reply.refused.iter().map(|line| {
                let (name, reason) = line.split_once(' ').unwrap_or((line, "refused"));
                (name.to_string(), log::clean(reason))
            });
            return Ok((refused.collect(), reply.notes));
        }
        self.recorded.store(true, Ordering::Release);
        *self.activities.lock().expect("activities are set in one step") = reply.activities;
        // Only a shortcut for the next session; the store has the pack.
        if let Err(error) = self.packs.adopt(&self.session, &packs).await {
            tracing::debug!("a pushed pack was not taken into the cache: {error:#}");
        }
        Ok((HashMap::new(), reply.notes))
    }

    /// Shows the activities' logs until they end or nobody looks.
    pub async fn post_receive(&self, terminal: &Terminal) {
        let activities = std::mem::take(&mut *self.activities.lock().expect("activities are set in one step"));
        let no_wait = self.no_wait.load(Ordering::Acquire);
        let mut gone = self.client_gone.subscribe();
        let show = async {
            for activity in activities {
                if log::show(&self.platform, &activity, no_wait, terminal).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = show => {}
            () = terminal.gone() => {}
            _ = gone.wait_for(|gone| *gone) => {}
        }
    }
}
