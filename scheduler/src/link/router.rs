//! One stream per router: whole tables down, acknowledgements up.

use super::{check_leads, check_node};
use crate::office::Office;
use crate::world::NodeDetail;
use slipway_core::table::route_table;
use slipway_model::NodeId;
use slipway_model::route::RouterState;
use slipway_proto::router::router_link_server::RouterLink;
use slipway_proto::router::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Tables are whole: a router that is two behind needs only the newest.
const TABLES_WAITING_MAX: usize = 2;

/// Serves `RouterLink`.
pub struct Door {
    office: Office,
}

impl Door {
    pub fn new(office: Office) -> Self {
        Self { office }
    }
}

#[tonic::async_trait]
impl RouterLink for Door {
    type WatchStream = ReceiverStream<Result<RouterOrder, Status>>;

    async fn watch(&self, request: Request<Streaming<RouterReport>>) -> Result<Response<Self::WatchStream>, Status> {
        check_node(&self.office, &request)?;
        check_leads(&self.office)?;
        let mut reports = request.into_inner();
        let Some(RouterReport { report: Some(router_report::Report::Hello(hello)) }) = reports.message().await? else {
            return Err(Status::invalid_argument("the first report of a router is RouterHello"));
        };
        let router: NodeId = hello.router.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?;
        let detail = NodeDetail {
            role: "router",
            version: hello.version,
            address: hello.https_address,
            text: String::new(),
            last_seen: crate::chance::now_ms(),
        };
        let link = self.office.world.router_connected(&router, detail);
        tracing::info!(%router, "router attached");
        let (out, stream) = mpsc::channel(TABLES_WAITING_MAX);
        let office = self.office.clone();
        tokio::spawn(async move {
            let end = serve(&office, &router, reports, out).await;
            office.world.router_gone(&router, link);
            tracing::info!(%router, reason = %end, "router detached");
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn serve(
    office: &Office,
    router: &NodeId,
    mut reports: Streaming<RouterReport>,
    out: mpsc::Sender<Result<RouterOrder, Status>>,
) -> String {
    let mut bell = office.world.bell();
    let mut leads = office.ledger.leadership();
    let mut sent = 0;
    loop {
        let table = office.read(|state| (state.table_version > sent).then(|| route_table(state)));
        if let Some(table) = table {
            let version = table.version;
            let table_json = serde_json::to_string(&table).expect("a table is JSON");
            if out.send(Ok(RouterOrder { table_version: version, table_json })).await.is_err() {
                return "it hung up".into();
            }
            sent = version;
        }
        tokio::select! {
            report = reports.message() => match report {
                Ok(Some(RouterReport { report: Some(router_report::Report::Ack(ack)) })) => {
                    match serde_json::from_str::<RouterState>(&ack.state_json) {
                        Ok(state) => office.world.router_acked(router, ack.table_version, state),
                        Err(error) => tracing::error!(%router, %error, "an acknowledgement that cannot be read"),
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return "it hung up".into(),
                Err(status) => return format!("the connection broke: {}", status.message()),
            },
            _ = bell.changed() => {}
            _ = leads.changed() => {
                if leads.borrow().is_none() {
                    return "this scheduler no longer leads".into();
                }
            }
        }
    }
}
