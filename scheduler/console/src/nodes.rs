//! The machines of the platform, for its admins.

use crate::page::*;
use crate::refusal::Refusal;
use crate::visitor::Visitor;
use axum::response::Html;
use maud::html;
use slipway_proto::api::Empty;

pub async fn list(mut visitor: Visitor) -> Result<Html<String>, Refusal> {
    let nodes = visitor.client.list_nodes(Empty {}).await.map_err(|s| visitor.refused(s))?.into_inner().nodes;
    let counters = visitor.client.counters(Empty {}).await.map_err(|s| visitor.refused(s))?.into_inner().counters;
    let body = html! {
        h1 { "Nodes" }
        @if nodes.is_empty() { p.empty { "No node has reported yet." } }
        @else {
            table.stacked {
                thead { tr { th { "Node" } th { "Role" } th { "State" } th { "Address" } th { "Version" } th { "Detail" } } }
                tbody {
                    @for n in &nodes {
                        tr {
                            td.main data-label="Node" { b { (n.id) } }
                            td data-label="Role" { (n.role) }
                            td data-label="State" { (badge(&n.state)) }
                            td data-label="Address" { code { (n.address) } }
                            td data-label="Version" { (n.version) }
                            td data-label="Detail" { (n.detail) }
                        }
                    }
                }
            }
        }
        @if !counters.is_empty() {
            section {
                h2 { "Counters" }
                dl.facts { @for c in &counters { div { dt { (c.name) } dd { (c.value) } } } }
            }
        }
    };
    Ok(page(&visitor, "Nodes", &[], &body))
}
