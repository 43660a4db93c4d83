//! What every door and duty of a scheduler shares: the ledger, the world, the logs, the key.

use crate::catalogue::Catalogue;
use crate::chance;
use crate::ledger::{self, Ledger, ProposeError};
use crate::logbook::Logbook;
use crate::seal::Sealer;
use crate::world::World;
use crate::Options;
use anyhow::Context;
use sha2::{Digest, Sha256};
use slipway_core::state::Token;
use slipway_core::{ClusterState, Command, Entry, Reply};
use std::sync::Arc;

/// A cheap handle.
#[derive(Clone)]
pub struct Office {
    pub options: Arc<Options>,
    pub ledger: Ledger<ClusterState>,
    pub world: World,
    pub logs: Logbook,
    pub sealer: Sealer,
    pub catalogue: Arc<Catalogue>,
    /// Guards the choice of addresses until they are in the ledger.
    pub placing: Arc<tokio::sync::Mutex<()>>,
}

/// Hex SHA-256 of a token's secret: what the ledger keeps.
pub fn token_digest(secret: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(secret.as_bytes()))
}

impl Office {
    pub async fn open(options: Options) -> anyhow::Result<Self> {
        let catalogue = Arc::new(Catalogue::read(&options.catalogue_dir)?);
        let sealer = Sealer::open(&options.data_dir.join("seal.key"))?;
        let logs = Logbook::open(options.data_dir.join("logs")).context("open the logs")?;
        let address = options.listen.to_string();
        let mut settings = ledger::Options::new(options.data_dir.join("ledger"), options.node, address);
        settings.peers.extend(options.peers.clone());
        settings.token = Some(options.node_token.clone());
        let ledger = Ledger::open(settings).await?;
        ledger.initialize_if_fresh().await?;
        Ok(Self {
            options: Arc::new(options),
            ledger,
            world: World::default(),
            logs,
            sealer,
            catalogue,
            placing: Arc::default(),
        })
    }

    /// Records a command; the reply comes when it is durable and applied.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let entry = Entry { at: chance::now_ms(), command };
        let bytes = self.ledger.propose(serde_json::to_vec(&entry).expect("a command is JSON")).await?;
        // Reconcilers look at the state as well as at the world.
        self.world.ring();
        serde_json::from_slice(&bytes).map_err(|e| ProposeError::Unavailable(format!("an answer that cannot be read: {e}")))
    }

    /// Like `propose`, for the leader's own reports: a refusal is an error.
    pub async fn record(&self, command: Command) -> anyhow::Result<()> {
        match self.propose(command).await? {
            Reply::Refused { reason } => anyhow::bail!("{reason}"),
            _ => Ok(()),
        }
    }

    /// Looks at the state; keep it short.
    pub fn read<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R {
        self.ledger.read(look)
    }

    /// Makes the first user with a token, once.
    pub async fn first_token(&self, user: &str) -> anyhow::Result<Option<String>> {
        let mut leads = self.ledger.leadership();
        tokio::time::timeout(std::time::Duration::from_secs(30), leads.wait_for(Option::is_some))
            .await
            .context("this node does not lead the ledger")??;
        if self.read(|state| !state.tokens.is_empty()) {
            return Ok(None);
        }
        self.record(Command::PutUser { user: user.to_string(), admin: true }).await?;
        let secret = format!("slt-{}", chance::word(40));
        let token = Token {
            title: "first token".into(),
            user: user.to_string(),
            digest: token_digest(&secret),
            created_at: chance::now_ms(),
        };
        self.record(Command::AddToken { id: format!("tok-{}", chance::word(10)), token }).await?;
        Ok(Some(secret))
    }
}

/// Requests to the object store so far, by kind.
pub fn store_counters(store: &slipway_blobs::Store) -> Vec<(String, u64)> {
    let counts = store.counts();
    vec![
        ("store_gets".into(), counts.get),
        ("store_puts".into(), counts.put),
        ("store_heads".into(), counts.head),
        ("store_lists".into(), counts.list),
    ]
}
