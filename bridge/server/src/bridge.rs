//! A running bridge: started, asked, stopped.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use homing_link::Link;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::accept::{self, Connections};
use crate::limits::{BridgeConfig, BridgeLimits, ms};
use crate::media::Transfers;
use crate::metrics::{Metrics, MetricsSnapshot};

/// Why a bridge did not start.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a URL that clients could use.
    #[error("public_url is {0:?}; expected http:// or https:// with a host, and no path")]
    PublicUrl(String),
    /// A limit with which nothing works.
    #[error("limit {name}: expected {expected}")]
    Limit {
        /// Its key.
        name: &'static str,
        /// What would do.
        expected: &'static str,
    },
}

impl BridgeError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "listen",
            Self::PublicUrl(_) => "public_url",
            Self::Limit { .. } => "limit",
        }
    }
}

/// What all connections of a bridge share.
pub(crate) struct Shared {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) limits: BridgeLimits,
    /// `client` of `/.well-known/homing`.
    pub(crate) client_url: Option<String>,
    pub(crate) metrics: Metrics,
    pub(crate) connections: Connections,
    pub(crate) transfers: Transfers,
    /// Cancelled when the bridge stops.
    pub(crate) stop: CancellationToken,
    /// What clients are told to wait when it does.
    retry_after_ms: OnceLock<RangeInclusive<u64>>,
    /// `rpc.discover` and `/v1/openrpc.json`.
    pub(crate) openrpc: Bytes,
    /// `/v1/openapi.json`.
    pub(crate) openapi: Bytes,
}

/// What clients wait before they come back when the node, not the bridge, said that it stops:
/// spread over the time a restart takes.
const RETRY_AFTER_MS: RangeInclusive<u64> = 500..=5_000;

impl Shared {
    /// A random wait, so that clients do not all return at once.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        let range = self.retry_after_ms.get().cloned().unwrap_or(RETRY_AFTER_MS);
        rand::rng().random_range(range)
    }
}

/// A bridge that takes clients. Dropping it stops it without a word to them; see [`Bridge::shutdown`].
pub struct Bridge {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    local_addr: SocketAddr,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

impl Bridge {
    /// Listens, and serves clients on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: BridgeConfig, link: Arc<dyn Link>) -> Result<Self, BridgeError> {
        config.limits.check()?;
        let client_url = config.public_url.as_deref().map(client_url).transpose()?;
        let failed = |source| BridgeError::Listen { address: config.listen, source };
        let listener = accept::listen(config.listen, &config.limits).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            link,
            limits: config.limits,
            client_url,
            metrics: Metrics::new(),
            connections: Connections::default(),
            transfers: Transfers::default(),
            stop: CancellationToken::new(),
            retry_after_ms: OnceLock::new(),
            openrpc: document(&crate::openrpc()),
            openapi: document(&crate::openapi()),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(accept::run(shared.clone(), listener, tasks.clone()));
        info!(%local_addr, "bridge listens");
        Ok(Self { shared, tasks, local_addr })
    }

    /// Where it listens; the port that was found, where port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it has done so far.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.metrics.snapshot()
    }

    /// Takes nobody new, tells every socket to come back after a random time in `retry_after_ms`,
    /// closes them with 1012 and waits for the goodbyes, no longer than twice `close_ms`.
    /// Answers how many connections were still there then.
    pub async fn shutdown(self, retry_after_ms: RangeInclusive<u64>) -> u64 {
        if !retry_after_ms.is_empty() {
            let _first_one_counts = self.shared.retry_after_ms.set(retry_after_ms);
        }
        self.shared.stop.cancel();
        self.tasks.close();
        let patience = ms(self.shared.limits.close_ms) * 2;
        let _reported_below = tokio::time::timeout(patience, self.tasks.wait()).await;
        let left = self.metrics().connections_open;
        if left > 0 {
            warn!(left, "bridge stopped before all clients were gone");
        } else {
            info!("bridge stopped");
        }
        left
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

fn document(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// The WebSocket's URL below `public_url`.
fn client_url(public_url: &str) -> Result<String, BridgeError> {
    let wrong = || BridgeError::PublicUrl(public_url.to_owned());
    let uri: http::Uri = public_url.parse().map_err(|_| wrong())?;
    let scheme = match uri.scheme_str() {
        Some("https") => "wss",
        Some("http") => "ws",
        Some(_) | None => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{authority}/v1/ws"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_urls() {
        assert_eq!(client_url("https://a.example").unwrap(), "wss://a.example/v1/ws");
        assert_eq!(client_url("http://127.0.0.1:8080/").unwrap(), "ws://127.0.0.1:8080/v1/ws");
        for wrong in ["a.example", "ftp://a.example", "https://a.example/x", "", "https://"] {
            assert!(client_url(wrong).is_err(), "{wrong}");
        }
    }
}
