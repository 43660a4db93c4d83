//! The object store of the platform as the doors' pack store.

use crate::packs::PackStore;
use anyhow::Context;
use futures::future::BoxFuture;
use slipway_blobs::SourceStore;
use slipway_model::ids::{PackId, ProjectId};
use slipway_proto::api::PackRef;
use std::path::Path;

impl PackStore for SourceStore {
    fn put<'a>(&'a self, _project: &'a ProjectId, pack: &'a Path) -> BoxFuture<'a, anyhow::Result<PackRef>> {
        Box::pin(async move {
            let bytes = tokio::fs::metadata(pack).await.context("look at the pack")?.len();
            let id = self.put_pack(pack).await.context("store the pack")?;
            Ok(PackRef { id: id.to_string(), bytes })
        })
    }

    fn get<'a>(&'a self, _project: &'a ProjectId, id: &'a PackId, to: &'a Path) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let cached = self.fetch_pack(id).await?;
            if tokio::fs::hard_link(&cached, to).await.is_err() {
                // Another filesystem.
                tokio::fs::copy(&cached, to).await.context("copy the pack")?;
            }
            Ok(())
        })
    }
}
