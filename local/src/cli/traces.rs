//! The local X-Ray endpoint behind a command, and the traces it has taken.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::CommandError;
use super::arguments::{Show, Xray};
use crate::view::{Style, render_trace};
use crate::xray::{Endpoint, Store, Unprocessed};

const DEFAULT_COLUMNS: usize = 110;

/// Puts the segments that Lambda itself writes into the store, and keeps what was refused.
#[derive(Debug, Clone)]
pub(super) struct LambdaSegments {
    store: Store,
    refused: Arc<Mutex<Vec<Unprocessed>>>,
}

impl LambdaSegments {
    pub(super) fn new(store: Store) -> Self {
        Self { store, refused: Arc::default() }
    }

    pub(super) fn put(&self, documents: Vec<String>) {
        let refused = self.store.put_documents(documents);
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).extend(refused);
    }

    /// The first refusal: a name or a trace header that X-Ray does not take.
    pub(super) fn refusal(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.first().map(|one| format!("{}: {}", one.code, one.message))
    }
}

pub(super) async fn start(address: SocketAddr) -> Result<Endpoint, CommandError> {
    Endpoint::start(address).await.map_err(|source| CommandError::Endpoint { address, source })
}

pub(super) fn write(out: &mut impl Write, store: &Store, show: &Show) -> io::Result<()> {
    let style = style(show);
    for trace in store.traces() {
        writeln!(out, "\n{}", render_trace(&trace, &style).trim_end())?;
    }
    Ok(())
}

fn style(show: &Show) -> Style {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Style { width: columns.unwrap_or(DEFAULT_COLUMNS), colour, verbose: show.verbose }
}

/// Every document as it came, in the order of traces.
pub(super) fn documents(store: &Store) -> Vec<Value> {
    store.documents().into_iter().map(|document| Value::Object(document.body)).collect()
}

/// `otel-xray-local xray`: serves until it is interrupted, then shows what has come.
pub(super) async fn serve(
    arguments: Xray,
    interrupted: impl Future<Output = ()>,
) -> Result<bool, CommandError> {
    let endpoint = start(arguments.listen).await?;
    println!("X-Ray endpoint: AWS_ENDPOINT_URL_XRAY={}", endpoint.url());
    println!("Ctrl-C ends it and shows the traces.");
    interrupted.await;
    write(&mut io::stdout().lock(), &endpoint.store(), &arguments.show)?;
    Ok(true)
}
