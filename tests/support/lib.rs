//! The stage of the end-to-end tests: the built layer in a local Lambda environment, beside a local X-Ray.

mod agent;
pub mod masks;

pub use agent::Agent;

use anyhow::{Context as _, Result};
use otel_xray_local::lambda::{
    Answer, Config, Event, LambdaEnvironment, Layer, Origin, RuntimeKind, ScriptedRuntime, ShutdownBudgets,
    TraceHeader, Tracing,
};
use otel_xray_local::xray::{Endpoint, Trace};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take before a test gives up: only what hangs reaches it.
pub const BOUND: Duration = Duration::from_mins(3);

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The built zip: `OTEL_XRAY_LAYER`, else the one in `dist`.
pub fn layer() -> Result<Layer> {
    let default = format!("{ROOT}/dist/otel-xray-{}.zip", std::env::consts::ARCH.replace("aarch64", "arm64"));
    let path = std::env::var_os("OTEL_XRAY_LAYER").map_or_else(|| PathBuf::from(default), PathBuf::from);
    Layer::open(&path).with_context(|| format!("no layer at {}: run `make layer`", path.display()))
}

/// A Python with awslambdaric: `OTEL_XRAY_TEST_PYTHON`.
pub fn python() -> Result<RuntimeKind> {
    let path = std::env::var("OTEL_XRAY_TEST_PYTHON")
        .context("OTEL_XRAY_TEST_PYTHON is not set: run the tests by `make test`")?;
    Ok(RuntimeKind::python(path))
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// One that is free for UDP and for TCP, as an X-Ray daemon needs it.
fn free_daemon_address() -> Result<SocketAddr> {
    loop {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        if std::net::TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// A function, a layer and an X-Ray that belong together.
#[derive(Debug)]
pub struct Stage {
    pub xray: Endpoint,
    pub config: Config,
    /// Where the extension listens for OTLP.
    pub otlp: SocketAddr,
    /// Where it listens for OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// Where it stands in for the X-Ray daemon.
    pub daemon: SocketAddr,
    layer: Layer,
    /// Segments and subsegments that Lambda itself has written.
    lambdas_own_spans: Arc<AtomicUsize>,
    _task: TempDir,
}

impl Stage {
    /// A Python function with this source.
    pub async fn python(source: &str) -> Result<Self> {
        Self::new(source, python()?).await
    }

    /// A runtime inside the test, without an agent.
    pub async fn scripted(runtime: ScriptedRuntime) -> Result<Self> {
        Self::new("", RuntimeKind::Scripted(runtime)).await
    }

    async fn new(source: &str, runtime: RuntimeKind) -> Result<Self> {
        let layer = layer()?;
        let task = TempDir::new()?;
        std::fs::write(task.path().join("app.py"), source)?;
        let xray = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let [otlp, otlp_grpc] = [free_address()?, free_address()?];
        let daemon = free_daemon_address()?;
        let mut config = Config::new(layer.directory(), runtime);
        config.task_dir = task.path().into();
        "shop".clone_into(&mut config.function_name);
        // A busy machine is no fault: nothing here ends by the time that it takes. Lambda's own times at the end are
        // kept in proportion.
        config.timeout = Duration::from_mins(2);
        config.init_limit = Duration::from_mins(2);
        config.shutdown_budgets = ShutdownBudgets {
            runtime: Duration::from_secs(3),
            runtime_with_internal: Duration::from_secs(5),
            total: Duration::from_secs(20),
            telemetry: Duration::from_secs(1),
        };
        let store = xray.store();
        let lambdas_own_spans = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&lambdas_own_spans);
        // What Lambda writes itself does not count as a request of the extension.
        config.on_segments = Some(Arc::new(move |documents: Vec<String>| {
            let spans = |text: &String| serde_json::from_str(text).map_or(0, |document| spans_in(&document));
            written.fetch_add(documents.iter().map(spans).sum(), Ordering::Relaxed);
            let refused = store.put_documents(documents);
            assert!(refused.is_empty(), "Lambda's own segments were refused: {refused:?}");
        }));
        let mut stage = Self { xray, config, otlp, otlp_grpc, daemon, layer, lambdas_own_spans, _task: task };
        stage.set("AWS_LAMBDA_EXEC_WRAPPER", "/opt/otel-instrument");
        let url = stage.xray.url();
        stage.set("AWS_ENDPOINT_URL_XRAY", &url);
        stage.set("OTEL_XRAY_OTLP_HTTP", &otlp.to_string());
        stage.set("OTEL_XRAY_OTLP_GRPC", &otlp_grpc.to_string());
        stage.set("OTEL_XRAY_DAEMON", &daemon.to_string());
        stage.set("OTEL_XRAY_LOG_LEVEL", "info");
        stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "60000");
        Ok(stage)
    }

    /// Sets a variable of the function's configuration.
    pub fn set(&mut self, name: &str, value: &str) {
        self.config.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Takes the layer away: the same function, alone.
    pub fn without_layer(&mut self, empty: &Path) {
        self.config.layer_dir = empty.into();
        self.config
            .variables
            .retain(|name, _| !name.starts_with("OTEL_XRAY") && name != "AWS_LAMBDA_EXEC_WRAPPER");
    }

    /// Leaves it to the environment where the extension listens, as for a user.
    pub fn use_usual_ports(&mut self) {
        for name in ["OTEL_XRAY_OTLP_HTTP", "OTEL_XRAY_OTLP_GRPC", "OTEL_XRAY_DAEMON"] {
            self.config.variables.remove(name);
        }
    }

    pub fn pass_through(&mut self) {
        self.config.tracing = Tracing::PassThrough;
    }

    pub fn layer_dir(&self) -> &Path {
        self.layer.directory()
    }

    /// Starts the environment, invokes with each event, and ends it.
    pub async fn run(&self, events: &[Value]) -> Result<Run> {
        self.run_with(events, None).await
    }

    /// The same with a caller's trace header.
    pub async fn run_with(&self, events: &[Value], upstream: Option<&str>) -> Result<Run> {
        let environment = LambdaEnvironment::start(self.config.clone()).await?;
        let mut answers = Vec::new();
        for event in events {
            answers.push(environment.invoke(event.to_string(), upstream.map(TraceHeader::parse)).await?);
            environment.idle().await?;
        }
        self.end(environment, answers).await
    }

    /// Ends an environment, with what its callers were answered.
    pub async fn end(&self, environment: LambdaEnvironment, answers: Vec<Answer>) -> Result<Run> {
        let shutdown = environment.shutdown().await?;
        let log = environment.event_log().clone();
        for extension in &shutdown.extensions {
            anyhow::ensure!(
                !extension.killed,
                "{} did not end by itself: {:?}",
                extension.name,
                log.entries()
            );
        }
        let lines = log.lines(&Origin::Extension("otel-xray".to_owned()));
        let crashed = log.count(|event| {
            matches!(event, Event::ProcessExited { origin: Origin::Extension(_), exit } if exit.to_string() != "exit status 0")
        });
        anyhow::ensure!(crashed == 0, "the extension crashed: {lines:?}");
        let run = Run { answers, lines, function_lines: log.lines(&Origin::Runtime) };
        if self.config.layer_dir.join("extensions").exists() {
            self.check_against_store(&run.all_accounts());
        }
        Ok(run)
    }

    /// What the extension says it has sent is what X-Ray has, where nothing was made to go wrong (P2).
    fn check_against_store(&self, accounts: &[Value]) {
        let sent: Option<u64> = accounts.iter().map(|account| account["sent"].as_u64()).sum();
        let url = self.config.variables.get("AWS_ENDPOINT_URL_XRAY");
        let (Some(sent), false) = (sent, self.xray.faults().were_asked_for()) else { return };
        if url != Some(&self.xray.url()) {
            return;
        }
        let own = self.spans_arrived();
        assert_eq!(sent, own as u64, "X-Ray has {own} spans of the extension: {accounts:?}");
    }

    /// Spans that X-Ray has of the extension's.
    pub fn spans_arrived(&self) -> usize {
        let store = self.xray.store();
        let stored: usize = store.documents().iter().map(|document| spans_in(&document.body)).sum();
        // Lambda counts its own before it stores them.
        stored.saturating_sub(self.lambdas_own_spans.load(Ordering::Relaxed))
    }

    /// Waits until X-Ray has so many spans of the extension's.
    pub async fn wait_for_spans(&self, spans: usize) -> Result<()> {
        let waited = eventually(|| self.spans_arrived() >= spans).await;
        waited.with_context(|| format!("{} of {spans} spans have arrived", self.spans_arrived()))
    }

    /// Waits until X-Ray has been asked that.
    pub async fn wait_for_request(&self, path: &str) -> Result<()> {
        let waited = eventually(|| self.xray.requests().iter().any(|request| request.path == path)).await;
        waited.with_context(|| format!("nobody has asked {path}"))
    }

    /// Every trace X-Ray has.
    pub fn traces(&self) -> Vec<Trace> {
        self.xray.store().traces()
    }
}

/// Waits until that holds.
async fn eventually(holds: impl Fn() -> bool) -> Result<()> {
    let arrive = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(tokio::time::timeout(BOUND, arrive).await?)
}

/// What a run has left.
#[derive(Debug)]
pub struct Run {
    pub answers: Vec<Answer>,
    /// The lines of the extension, accounts included.
    pub lines: Vec<String>,
    pub function_lines: Vec<String>,
}

impl Run {
    /// The accounts at shutdown, after checking that they balance for each outlet (P2).
    pub fn accounts(&self) -> Value {
        let accounts = self.all_accounts();
        assert_eq!(accounts.len(), 1, "one account at shutdown: {:?}", self.lines);
        accounts[0].clone()
    }

    /// The accounts of every extension there was: after a failed start Lambda starts another.
    pub fn all_accounts(&self) -> Vec<Value> {
        let lines = self.lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        let accounts: Vec<Value> =
            lines.filter(|line: &Value| line["event"] == "otel_xray.accounting").collect();
        assert!(!accounts.is_empty(), "no accounts at shutdown: {:?}", self.lines);
        accounts.iter().for_each(check_balance);
        accounts
    }

    /// The extension's lines that are not its accounts.
    pub fn complaints(&self) -> Vec<&String> {
        self.lines.iter().filter(|line| !line.contains("otel_xray.accounting")).collect()
    }

    /// What the callers saw: error type and payload without the request's own id.
    pub fn seen_by_callers(&self) -> Vec<(Option<String>, String)> {
        self.answers
            .iter()
            .map(|answer| {
                let payload = String::from_utf8_lossy(&answer.payload).replace(&answer.request_id, "REQUEST");
                (answer.error.as_ref().map(|error| error.error_type.clone()), payload)
            })
            .collect()
    }
}

/// The spans a document stands for: its own, and those of the subsegments in it. One with what another had no room for
/// stands for none, nor does one that shows an initialisation or something that runs.
fn spans_in(document: &serde_json::Map<String, Value>) -> usize {
    let is_overflow = document["name"]
        .as_str()
        .is_some_and(|name| name.contains(" metadata ") || matches!(name, "Initialization" | "Restore"))
        || document.get("in_progress") == Some(&Value::Bool(true));
    let nested = document.get("subsegments").and_then(Value::as_array).into_iter().flatten();
    usize::from(!is_overflow) + nested.filter_map(Value::as_object).map(spans_in).sum::<usize>()
}

fn check_balance(account: &Value) {
    let fates: Vec<&Value> = match account["outlets"].as_object() {
        Some(outlets) => outlets.values().collect(),
        None => vec![account],
    };
    for fate in fates {
        let sum = |field: &str| {
            fate[field].as_object().map_or(0, |o| o.values().filter_map(Value::as_u64).sum::<u64>())
        };
        let number = |field: &str| fate[field].as_u64().unwrap_or_default();
        let explained = number("sent") + sum("rejected") + sum("dropped") + number("carried");
        let received = account["received"].as_u64().unwrap_or_default();
        assert_eq!(received + number("restored"), explained, "{account}");
        assert_eq!(fate.get("unaccounted"), None, "{account}");
    }
}
