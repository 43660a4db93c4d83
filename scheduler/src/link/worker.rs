//! One stream per worker: orders down, reports up.

use super::{check_leads, check_node};
use crate::logbook::Level;
use crate::make::instances::{Secrets, opened};
use crate::office::Office;
use crate::world::{NodeDetail, ORDERS_WAITING_MAX};
use slipway_core::Command;
use slipway_core::desired::desired;
use slipway_core::state::WorkerRecord;
use slipway_model::instance::DesiredSet;
use slipway_model::task::TaskSpec;
use slipway_model::{NodeId, TaskId};
use slipway_proto::worker::worker_link_server::WorkerLink;
use slipway_proto::worker::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Serves `WorkerLink`.
pub struct Door {
    office: Office,
}

impl Door {
    pub fn new(office: Office) -> Self {
        Self { office }
    }
}

#[tonic::async_trait]
impl WorkerLink for Door {
    type AttachStream = ReceiverStream<Result<WorkerOrder, Status>>;

    async fn attach(&self, request: Request<Streaming<WorkerReport>>) -> Result<Response<Self::AttachStream>, Status> {
        check_node(&self.office, &request)?;
        check_leads(&self.office)?;
        let mut reports = request.into_inner();
        let Some(WorkerReport { report: Some(worker_report::Report::Hello(hello)) }) = reports.message().await? else {
            return Err(Status::invalid_argument("the first report of a worker is Hello"));
        };
        let worker: NodeId = hello.node.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?;
        register(&self.office, &worker, &hello).await?;
        let (orders, to_send) = mpsc::channel(ORDERS_WAITING_MAX);
        let (out, stream) = mpsc::channel(ORDERS_WAITING_MAX);
        let detail = NodeDetail {
            role: "worker",
            version: hello.version.clone(),
            address: hello.shell_address.clone(),
            text: String::new(),
            last_seen: crate::chance::now_ms(),
        };
        let link = self.office.world.worker_connected(&worker, orders, detail);
        tracing::info!(%worker, "worker attached");
        let office = self.office.clone();
        tokio::spawn(async move {
            let session = Session { office: office.clone(), worker: worker.clone(), out };
            let end = session.run(reports, to_send).await;
            office.world.worker_gone(&worker, link);
            tracing::info!(%worker, reason = %end, "worker detached");
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn register(office: &Office, worker: &NodeId, hello: &Hello) -> Result<(), Status> {
    let record = WorkerRecord {
        joined_at: crate::chance::now_ms(),
        build_slots: hello.build_slots.clamp(1, 64),
        memory_mb: hello.memory_mb,
        shell_address: hello.shell_address.clone(),
        architecture: hello.architecture.clone(),
        draining: false,
    };
    let known = office.read(|state| {
        state.workers.get(worker).is_some_and(|w| {
            w.build_slots == record.build_slots && w.shell_address == record.shell_address && w.memory_mb == record.memory_mb
        })
    });
    if known {
        return Ok(());
    }
    office
        .record(Command::RegisterWorker { id: worker.clone(), record })
        .await
        .map_err(|e| Status::unavailable(format!("the worker could not be recorded: {e:#}")))
}

struct Session {
    office: Office,
    worker: NodeId,
    out: mpsc::Sender<Result<WorkerOrder, Status>>,
}

impl Session {
    async fn run(&self, mut reports: Streaming<WorkerReport>, mut orders: mpsc::Receiver<WorkerOrder>) -> String {
        let mut bell = self.office.world.bell();
        let mut leads = self.office.ledger.leadership();
        let mut sent_generation = 0;
        loop {
            if let Err(end) = self.send_desired(&mut sent_generation).await {
                return end;
            }
            tokio::select! {
                report = reports.message() => match report {
                    Ok(Some(report)) => self.take(report).await,
                    Ok(None) => return "it hung up".into(),
                    Err(status) => return format!("the connection broke: {}", status.message()),
                },
                order = orders.recv() => {
                    let Some(order) = order else { return "another connection took its place".into() };
                    if self.out.send(Ok(order)).await.is_err() {
                        return "it hung up".into();
                    }
                }
                _ = bell.changed() => {}
                _ = leads.changed() => {
                    if leads.borrow().is_none() {
                        return "this scheduler no longer leads".into();
                    }
                }
            }
        }
    }

    /// The whole desired set whenever its generation has risen.
    async fn send_desired(&self, sent: &mut u64) -> Result<(), String> {
        let (generation, specs) = self.office.read(|state| {
            if state.generation <= *sent {
                return (state.generation, None);
            }
            let specs: Vec<_> =
                desired(state, &self.worker).into_iter().map(|(spec, sealed)| (spec.clone(), sealed.to_string())).collect();
            (state.generation, Some(specs))
        });
        let Some(specs) = specs else { return Ok(()) };
        let mut set = DesiredSet::default();
        for (spec, sealed) in specs {
            let opened_secrets = self
                .office
                .sealer
                .open_text(&sealed)
                .and_then(|text| Ok(serde_json::from_str::<Secrets>(&text)?));
            match opened_secrets {
                Ok(secrets) => set.instances.push(opened(&spec, secrets)),
                // Left out it would be removed: better no order at all than a wrong one.
                Err(error) => {
                    tracing::error!(instance = %spec.id, %error, "the secrets of an instance cannot be opened");
                    return Err(format!("secrets of {} cannot be opened", spec.id));
                }
            }
        }
        let desired_json = serde_json::to_string(&set).expect("a desired set is JSON");
        let order = WorkerOrder { order: Some(worker_order::Order::Desired(slipway_proto::worker::DesiredSet { generation, desired_json })) };
        self.out.send(Ok(order)).await.map_err(|_| "it hung up".to_string())?;
        *sent = generation;
        Ok(())
    }

    async fn take(&self, report: WorkerReport) {
        use worker_report::Report;
        match report.report {
            None | Some(Report::Hello(_)) => {}
            Some(Report::Heartbeat(beat)) => {
                let text = format!(
                    "{} builds, {} MB memory free, {} MB disk free",
                    beat.builds_running, beat.memory_free_mb, beat.disk_free_mb
                );
                self.office.world.worker_alive(&self.worker, beat.builds_running, text);
            }
            Some(Report::Observed(observed)) => match serde_json::from_str(&observed.instances_json) {
                Ok(instances) => self.office.world.worker_saw(&self.worker, observed.generation, instances),
                Err(error) => tracing::error!(worker = %self.worker, %error, "a report that cannot be read"),
            },
            Some(Report::Task(task)) => self.take_task(task),
            Some(Report::Log(chunk)) => self.take_log(chunk).await,
        }
    }

    fn take_task(&self, report: TaskReport) {
        let Ok(id) = report.task.parse::<TaskId>() else { return };
        if report.state != TaskState::Done as i32 {
            return;
        }
        match serde_json::from_str(&report.outcome_json) {
            Ok(outcome) => self.office.world.task_done(&id, report.attempt, outcome),
            Err(error) => tracing::error!(task = %id, %error, "an outcome that cannot be read"),
        }
    }

    async fn take_log(&self, chunk: LogChunk) {
        let Ok(id) = chunk.task.parse::<TaskId>() else { return };
        let upto = match self.office.world.task_spec(&id) {
            Some(spec) => self.append(&id, &spec, &chunk),
            // Nobody waits for this task any more: taken off the worker's hands.
            None => chunk.first_line + chunk.lines.len() as u64,
        };
        let ack = LogAck { task: chunk.task, attempt: chunk.attempt, lines: upto };
        let _ = self.out.send(Ok(WorkerOrder { order: Some(worker_order::Order::LogAck(ack)) })).await;
    }

    fn append(&self, id: &TaskId, spec: &TaskSpec, chunk: &LogChunk) -> u64 {
        let all = chunk.first_line + chunk.lines.len() as u64;
        let Some(activity) = spec.activity() else { return all };
        let source = match spec {
            TaskSpec::BuildApp(build) => build.app.clone(),
            TaskSpec::Hook(hook) => self
                .office
                .read(|s| s.instances.get(&hook.instance).map(|i| i.spec.name.clone()))
                .unwrap_or_default(),
            TaskSpec::BuildImage(image) => image.recipe.type_name(),
            _ => String::new(),
        };
        let lines = chunk
            .lines
            .iter()
            .map(|line| {
                let level = match LogLevel::try_from(line.level) {
                    Ok(LogLevel::Warning) => Level::Warning,
                    Ok(LogLevel::Error) => Level::Error,
                    _ => Level::Info,
                };
                (line.unix_ms, line.indent.min(8), level, line.text.clone())
            })
            .collect();
        match self.office.logs.log(activity) {
            Ok(log) => log.take(id, chunk.attempt, chunk.first_line, &source, lines),
            Err(error) => {
                tracing::error!(%activity, %error, "the log cannot be written");
                chunk.first_line
            }
        }
    }
}
