//! What an environment is started with. Tests and the command line fill it in; from then on nothing changes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::scripted_runtime::ScriptedRuntime;

/// Which process (or in-process script) takes the part of the runtime.
#[derive(Clone)]
pub enum RuntimeKind {
    /// The managed Python runtime: `bootstrap` with wrapper support, then the real runtime client `awslambdaric`.
    Python { interpreter: PathBuf },
    /// The managed Node.js runtime: `bootstrap` with wrapper support, then this script as its runtime client, such as the
    /// one of the npm package `aws-lambda-ric`; without one, a stand-in. `arguments` come before the script.
    Node { interpreter: PathBuf, client: Option<PathBuf>, arguments: Vec<String> },
    /// An OS-only runtime (`provided.*`): this command line, started in the task directory. The exec wrapper is
    /// not applied (L-11.1).
    Command(Vec<String>),
    /// A script inside this process, talking to the Runtime API over real HTTP. It cannot be frozen.
    Scripted(ScriptedRuntime),
}

impl RuntimeKind {
    pub fn python(interpreter: impl Into<PathBuf>) -> Self {
        Self::Python { interpreter: interpreter.into() }
    }

    pub fn node(interpreter: impl Into<PathBuf>, client: Option<PathBuf>) -> Self {
        Self::Node { interpreter: interpreter.into(), client, arguments: Vec::new() }
    }
}

impl fmt::Debug for RuntimeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { interpreter } => formatter.debug_tuple("Python").field(interpreter).finish(),
            Self::Node { interpreter, client, arguments } => {
                formatter.debug_tuple("Node").field(interpreter).field(client).field(arguments).finish()
            }
            Self::Command(command) => formatter.debug_tuple("Command").field(command).finish(),
            Self::Scripted(_) => formatter.write_str("Scripted"),
        }
    }
}

/// The function's tracing mode (L-12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// Lambda writes its own two segments and hands out ids of them.
    Active,
    /// The caller's header goes through unchanged; without one the header says `Sampled=0`.
    PassThrough,
}

/// How the Telemetry API behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryMode {
    /// Subscriptions are taken and events delivered.
    Deliver,
    /// Every subscription is answered 202 `Telemetry.NotSupported` and nothing is ever delivered, as in the Runtime
    /// Interface Emulator and SAM local.
    NotSupported,
}

/// Test knobs of SIM-21: what may happen to a telemetry batch on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TelemetryFaults {
    /// Every batch comes twice, as after an acknowledgement that was lost.
    pub duplicated: bool,
    /// The records of a batch come in reverse order.
    pub reversed: bool,
    /// Each batch has a record of an unknown type and this size in front.
    pub padding_bytes: usize,
}

/// `AWS_LAMBDA_INITIALIZATION_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitializationType {
    OnDemand,
    ProvisionedConcurrency,
    /// Initialised ahead of time, kept as a snapshot and restored for the first invocation.
    SnapStart,
    /// Lambda Managed Instances: so many invocations at once, no freeze (SIM-22).
    ManagedInstances {
        concurrency: u32,
    },
}

impl InitializationType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ProvisionedConcurrency => "provisioned-concurrency",
            Self::SnapStart => "snap-start",
            Self::ManagedInstances { .. } => "lambda-managed-instances",
        }
    }

    pub(crate) fn is_managed(self) -> bool {
        matches!(self, Self::ManagedInstances { .. })
    }

    /// How long an initialisation may take (section 2).
    fn init_limit(self, timeout: Duration) -> Duration {
        match self {
            Self::OnDemand => Duration::from_secs(10),
            _ => timeout.clamp(Duration::from_secs(130), Duration::from_mins(15)),
        }
    }
}

/// The static credentials the function and the extensions see.
#[derive(Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
}

impl Default for Credentials {
    /// Made-up credentials: enough to sign a request to a local endpoint, accepted by no real one.
    fn default() -> Self {
        Self {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "local-secret".to_owned(),
            session_token: "local-token".to_owned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Test knobs of SIM-8 and SIM-9: how much later than the other side each side hears of an invocation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delays {
    pub runtime_event: Duration,
    pub invoke_event: Duration,
}

/// Time given to processes at the end (L-8.9).
#[derive(Debug, Clone, Copy)]
pub struct ShutdownBudgets {
    /// From SIGTERM to SIGKILL of the runtime when there are external extensions.
    pub runtime: Duration,
    /// The same when there are only internal extensions; it is then also the whole budget.
    pub runtime_with_internal: Duration,
    /// The whole sequence, runtime included, when there are external extensions.
    pub total: Duration,
    /// What a telemetry listener that hangs may cost the extensions before SHUTDOWN.
    pub telemetry: Duration,
}

impl Default for ShutdownBudgets {
    fn default() -> Self {
        Self {
            runtime: Duration::from_millis(300),
            runtime_with_internal: Duration::from_millis(500),
            total: Duration::from_secs(2),
            telemetry: Duration::from_millis(100),
        }
    }
}

/// Everything an environment needs. Build it with [`Config::new`] and set what differs.
#[derive(Clone)]
pub struct Config {
    /// Unpacked layer: stands for `/opt`.
    pub layer_dir: PathBuf,
    /// The function's files: stands for `/var/task`, used in place.
    pub task_dir: PathBuf,
    pub handler: String,
    pub runtime: RuntimeKind,
    /// The function's configured variables; they win over the environment's own (L-3.4).
    pub variables: BTreeMap<String, String>,
    pub timeout: Duration,
    /// Past it, the largest process is killed.
    pub memory_mb: u32,
    pub function_name: String,
    pub function_version: String,
    pub account_id: String,
    pub region: String,
    /// None: the execution role gives none, as in an environment that is badly set up.
    pub credentials: Option<Credentials>,
    pub tracing: Tracing,
    pub telemetry: TelemetryMode,
    pub telemetry_faults: TelemetryFaults,
    pub initialization_type: InitializationType,
    /// How long before its restore a snapshot was made, by what the platform says (SIM-21).
    pub snapshot_age: Duration,
    /// Limit of an initialisation outside of an invocation: 10 s on demand.
    pub init_limit: Duration,
    /// Freeze between the end of the initialisation and the first invocation too. Off, the environment behaves like
    /// one that was started by an invocation that is already waiting.
    pub freeze_after_init: bool,
    /// Hold the caller's answer until every extension is ready, as the Runtime Interface Emulator does (SIM-9).
    pub late_answer: bool,
    pub delays: Delays,
    pub shutdown_budgets: ShutdownBudgets,
    /// Value of `AWS_XRAY_DAEMON_ADDRESS` for the runtime, `host:port`.
    pub xray_daemon_address: String,
    /// Test knob of SIM-21: nothing can be written to `/tmp`. Needs the right to mount.
    pub temporary_full: bool,
    /// Called whenever the processes have been frozen, to do what a network does meanwhile: a test closes the
    /// collector's connections here (SIM-12, L-8.6).
    pub on_frozen: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Called with the segments that Lambda itself writes under Active tracing, each a JSON object.
    pub on_segments: Option<Arc<dyn Fn(Vec<String>) + Send + Sync>>,
}

impl Config {
    /// A function called `function` with 3 s, 512 MB, Active tracing and made-up credentials.
    pub fn new(layer_dir: impl Into<PathBuf>, runtime: RuntimeKind) -> Self {
        Self {
            layer_dir: layer_dir.into(),
            task_dir: PathBuf::from("."),
            handler: "app.handler".to_owned(),
            runtime,
            variables: BTreeMap::new(),
            timeout: Duration::from_secs(3),
            memory_mb: 512,
            function_name: "function".to_owned(),
            function_version: "$LATEST".to_owned(),
            account_id: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            credentials: Some(Credentials::default()),
            tracing: Tracing::Active,
            telemetry: TelemetryMode::Deliver,
            telemetry_faults: TelemetryFaults::default(),
            initialization_type: InitializationType::OnDemand,
            snapshot_age: Duration::ZERO,
            init_limit: Duration::from_secs(10),
            freeze_after_init: true,
            late_answer: false,
            delays: Delays::default(),
            shutdown_budgets: ShutdownBudgets::default(),
            xray_daemon_address: "169.254.79.129:2000".to_owned(),
            temporary_full: false,
            on_frozen: None,
            on_segments: None,
        }
    }

    /// Initialises in this way, within the limit that Lambda has for it. Set the timeout first.
    pub fn initialise_as(&mut self, initialization_type: InitializationType) {
        self.initialization_type = initialization_type;
        self.init_limit = initialization_type.init_limit(self.timeout);
        if initialization_type.is_managed() {
            // L-8.29: as much of the two seconds.
            self.shutdown_budgets.runtime = Duration::from_millis(600);
        }
    }

    pub(crate) fn function_arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", self.region, self.account_id, self.function_name)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("layer_dir", &self.layer_dir)
            .field("task_dir", &self.task_dir)
            .field("handler", &self.handler)
            .field("runtime", &self.runtime)
            .field("function_name", &self.function_name)
            .field("timeout", &self.timeout)
            .field("tracing", &self.tracing)
            .field("telemetry", &self.telemetry)
            .finish_non_exhaustive()
    }
}
