//! The handle that tests and the command line hold, and the task behind it that owns the processes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::api::ApiServer;
use super::clock::date_path;
use super::config::{Config, RuntimeKind};
use super::event_log::EventLog;
use super::invocation::{Answer, InvocationReport, InvokeRequest, TraceHeader};
use super::layer::receivers::Receivers;
use super::lifecycle::init::InitReport;
use super::lifecycle::shutdown::{ShutdownReason, ShutdownReport};
use super::processes::full_disk::FullDisk;
use super::processes::{Process, Variables, freeze, memory};
use super::runtimes::bootstrap::BootstrapError;
use super::runtimes::node::{self, Node};
use super::runtimes::python::Python;
use super::runtimes::variables::{Facts, for_extension, for_runtime};
use super::state::Platform;
use super::state::endpoint_tokens::EndpointTokens;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("layer directory {path} cannot be used: {source}; name an unpacked layer")]
    LayerDirectory { path: PathBuf, source: io::Error },
    #[error(
        "function directory {path} cannot be used: {source}; name the directory that holds the handler's file"
    )]
    TaskDirectory { path: PathBuf, source: io::Error },
    #[error("the runtime's command line is empty; name a program")]
    EmptyCommand,
    #[error(transparent)]
    Runtime(#[from] BootstrapError),
    #[error("a temporary directory for the environment cannot be made: {0}; check TMPDIR and the disk")]
    TemporaryDirectory(io::Error),
    #[error("a file system without room cannot be mounted: {0}; run it as root, or without this fault")]
    FullDisk(io::Error),
    #[error("no port of 127.0.0.1 could be opened: {0}")]
    Port(io::Error),
    #[error(transparent)]
    Gone(#[from] EnvironmentGone),
}

/// The environment was shut down, or its task has ended.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the environment has ended; start another one")]
pub struct EnvironmentGone;

pub(crate) enum Command {
    Invoke(InvokeRequest),
    Freeze(oneshot::Sender<()>),
    Thaw(oneshot::Sender<()>),
    Idle(oneshot::Sender<()>),
    Shutdown(oneshot::Sender<ShutdownReport>),
}

/// A running environment. Dropping it kills every process at once; [`shutdown`](Self::shutdown) ends it as Lambda does.
#[derive(Debug)]
pub struct LambdaEnvironment {
    commands: mpsc::Sender<Command>,
    platform: Arc<Platform>,
    reports: Arc<Mutex<Vec<InvocationReport>>>,
    init: InitReport,
    runtime_api: std::net::SocketAddr,
    note: Option<String>,
    task: JoinHandle<()>,
}

impl LambdaEnvironment {
    /// Starts the extensions, then the runtime, and returns when the initialisation is over. An initialisation that
    /// failed is not an error here: see [`init_report`](Self::init_report); as on Lambda, the first
    /// invocation repeats it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut driver = Driver::prepare(config).await?;
        let (commands, inbox) = mpsc::channel(64);
        let (initialised, init) = oneshot::channel();
        let (platform, reports) = (driver.platform.clone(), driver.reports.clone());
        let (runtime_api, note) = (driver.server.address, driver.receivers.note());
        let task = tokio::spawn(async move {
            let limit = tokio::time::Instant::now() + driver.platform.config.init_limit;
            let report = driver.initialise(limit, None).await;
            let failure = report.failure.clone();
            let _ = initialised.send(report);
            if driver.platform.config.initialization_type.is_managed() {
                driver.run_managed(inbox, failure).await;
            } else {
                driver.run(inbox).await;
            }
        });
        let guard = AbortOnDrop(Some(task));
        let init = init.await.map_err(|_| EnvironmentGone)?;
        Ok(Self { commands, platform, reports, init, runtime_api, note, task: guard.disarm() })
    }

    /// Invokes the function and returns when the caller has its answer: before the extensions are done, unless
    /// [`Config::late_answer`] is set. A further invocation waits until this one has ended.
    pub async fn invoke(
        &self,
        event: impl Into<Bytes>,
        upstream: Option<TraceHeader>,
    ) -> Result<Answer, EnvironmentGone> {
        let (answer, answered) = oneshot::channel();
        let request = InvokeRequest { event: event.into(), upstream, answer };
        self.commands.send(Command::Invoke(request)).await.map_err(|_| EnvironmentGone)?;
        answered.await.map_err(|_| EnvironmentGone)
    }

    /// Waits until every invocation so far has ended, its processes frozen (or gone, after a failure).
    pub async fn idle(&self) -> Result<(), EnvironmentGone> {
        self.ask(Command::Idle).await
    }

    /// Lets time pass between invocations, the processes frozen.
    pub async fn sleep(&self, duration: Duration) -> Result<(), EnvironmentGone> {
        self.idle().await?;
        tokio::time::sleep(duration).await;
        Ok(())
    }

    /// Freezes the processes, if they are not frozen already.
    pub async fn freeze(&self) -> Result<(), EnvironmentGone> {
        self.ask(Command::Freeze).await
    }

    /// Lets the processes run although there is no event, which Lambda never does.
    pub async fn thaw(&self) -> Result<(), EnvironmentGone> {
        self.ask(Command::Thaw).await
    }

    /// Ends the environment with SHUTDOWN `spindown`.
    pub async fn shutdown(&self) -> Result<ShutdownReport, EnvironmentGone> {
        self.ask(Command::Shutdown).await
    }

    async fn ask<R>(
        &self,
        command: impl FnOnce(oneshot::Sender<R>) -> Command,
    ) -> Result<R, EnvironmentGone> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(command(sender)).await.map_err(|_| EnvironmentGone)?;
        receiver.await.map_err(|_| EnvironmentGone)
    }

    pub fn event_log(&self) -> &EventLog {
        &self.platform.log
    }

    /// How the initialisation before the first invocation went.
    pub fn init_report(&self) -> &InitReport {
        &self.init
    }

    /// One report for each invocation that has ended.
    pub fn invocation_reports(&self) -> Vec<InvocationReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where this environment is unlike Lambda, because another process has a port that the extension usually has.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The address in `AWS_LAMBDA_RUNTIME_API`.
    pub fn runtime_api(&self) -> std::net::SocketAddr {
        self.runtime_api
    }
}

impl Drop for LambdaEnvironment {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends a task whose owner went away before it could hand it on.
struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn disarm(mut self) -> JoinHandle<()> {
        match self.0.take() {
            Some(task) => task,
            None => unreachable!("a guard is disarmed once"),
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// A directory that stands for one of Lambda's own.
pub(crate) struct Directories {
    pub(crate) layer: PathBuf,
    pub(crate) task: PathBuf,
    /// `/var/runtime`.
    pub(crate) runtime: PathBuf,
    /// `/tmp`; it outlives a reset (SIM-20).
    pub(crate) temporary: PathBuf,
    _full: Option<FullDisk>,
    _root: TempDir,
}

impl Directories {
    fn prepare(config: &Config) -> Result<Self, StartError> {
        let directory = |path: &Path| {
            let path = fs::canonicalize(path)?;
            if path.is_dir() { Ok(path) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
        };
        let layer = directory(&config.layer_dir)
            .map_err(|source| StartError::LayerDirectory { path: config.layer_dir.clone(), source })?;
        let task = directory(&config.task_dir)
            .map_err(|source| StartError::TaskDirectory { path: config.task_dir.clone(), source })?;
        let root = tempfile::Builder::new()
            .prefix("lambda-environment-")
            .tempdir()
            .map_err(StartError::TemporaryDirectory)?;
        let make = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            Ok(path)
        };
        let runtime = make("runtime").map_err(StartError::TemporaryDirectory)?;
        let temporary = make("tmp").map_err(StartError::TemporaryDirectory)?;
        let full = config.temporary_full.then(|| FullDisk::cover(&temporary)).transpose();
        let full = full.map_err(StartError::FullDisk)?;
        Ok(Self { layer, task, runtime, temporary, _full: full, _root: root })
    }
}

/// The runtime process: its command line, or the script in its place.
pub(crate) enum RuntimeLaunch {
    Process(Vec<String>),
    Scripted(super::scripted_runtime::ScriptedRuntime),
}

/// Owns the processes and carries out one command after the other.
pub(crate) struct Driver {
    pub(crate) platform: Arc<Platform>,
    pub(crate) server: ApiServer,
    pub(crate) directories: Directories,
    receivers: Receivers,
    pub(crate) launch: RuntimeLaunch,
    pub(crate) runtime_variables: Variables,
    pub(crate) extension_variables: Variables,
    /// The living generation, extensions first.
    pub(crate) processes: Vec<Process>,
    pub(crate) script: Option<AbortHandle>,
    memory_watch: AbortHandle,
    /// Processes are up and initialised.
    pub(crate) alive: bool,
    /// Under `SnapStart`: initialised, and not yet restored.
    pub(crate) in_snapshot: bool,
    /// When the present generation was initialised, until an invocation has reported it.
    pub(crate) unreported_init: Option<(SystemTime, SystemTime)>,
    frozen: bool,
    pub(crate) reports: Arc<Mutex<Vec<InvocationReport>>>,
}

impl Driver {
    async fn prepare(config: Config) -> Result<Self, StartError> {
        let directories = Directories::prepare(&config)?;
        let mut interpreter_dir = None;
        let launch = match &config.runtime {
            RuntimeKind::Python { interpreter } => {
                let python = Python::probe(interpreter, &directories.task).await?;
                let start = python.prepare(&directories.runtime, &directories.layer)?;
                let bootstrap = start.write(&directories.runtime, &directories.layer)?;
                interpreter_dir = python.interpreter.parent().map(Path::to_owned);
                RuntimeLaunch::Process(vec![bootstrap.display().to_string()])
            }
            RuntimeKind::Node { interpreter, client, arguments } => {
                let client = match client {
                    Some(client) => client.clone(),
                    None => node::write_stand_in(&directories.runtime)?,
                };
                let node = Node::probe(interpreter, &client).await?;
                let start = node.start(arguments, &directories.runtime, &directories.layer);
                let bootstrap = start.write(&directories.runtime, &directories.layer)?;
                interpreter_dir = node.interpreter.parent().map(Path::to_owned);
                RuntimeLaunch::Process(vec![bootstrap.display().to_string()])
            }
            RuntimeKind::Command(command) if command.is_empty() => return Err(StartError::EmptyCommand),
            RuntimeKind::Command(command) => RuntimeLaunch::Process(command.clone()),
            RuntimeKind::Scripted(script) => RuntimeLaunch::Scripted(script.clone()),
        };
        let (listener, address) = ApiServer::bind().await.map_err(StartError::Port)?;
        let log_stream = format!(
            "{}/[{}]{}",
            date_path(SystemTime::now()),
            config.function_version,
            Uuid::new_v4().simple()
        );
        let receivers = Receivers::claim(&config.variables).map_err(StartError::Port)?;
        let tokens = EndpointTokens::new();
        let facts = Facts {
            runtime_api: address,
            layer_dir: &directories.layer,
            task_dir: &directories.task,
            runtime_dir: &directories.runtime,
            temporary_dir: &directories.temporary,
            log_stream: &log_stream,
            tokens: &tokens,
            receivers: &receivers,
            interpreter_dir: interpreter_dir.as_deref(),
        };
        let runtime_variables = for_runtime(&config, &facts);
        let extension_variables = for_extension(&runtime_variables, &config);
        let platform = Platform::new(config, tokens);
        let server = ApiServer::serve(listener, address, platform.clone());
        let memory_watch =
            tokio::spawn(memory::watch(platform.memory.clone(), platform.log.clone())).abort_handle();
        Ok(Self {
            platform,
            server,
            directories,
            receivers,
            launch,
            runtime_variables,
            extension_variables,
            processes: Vec::new(),
            script: None,
            memory_watch,
            alive: false,
            in_snapshot: false,
            unreported_init: None,
            frozen: false,
            reports: Arc::default(),
        })
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Invoke(request) => {
                    let report = self.invoke(request).await;
                    self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
                Command::Freeze(done) => {
                    self.freeze().await;
                    let _ = done.send(());
                }
                Command::Thaw(done) => {
                    self.thaw();
                    let _ = done.send(());
                }
                Command::Idle(done) => {
                    let _ = done.send(());
                }
                Command::Shutdown(done) => {
                    let report = self.terminate(ShutdownReason::Spindown).await;
                    let _ = done.send(report);
                    return;
                }
            }
        }
    }

    pub(crate) async fn freeze(&mut self) {
        if !self.frozen && self.alive {
            self.frozen = true;
            self.platform.telemetry.set_frozen(true);
            freeze::freeze(&self.processes, &self.platform.log).await;
            self.platform.memory.pause(true);
            if let Some(on_frozen) = &self.platform.config.on_frozen {
                on_frozen();
            }
        }
    }

    /// Every event is written only after this: an answer to a stopped process would be read too late.
    pub(crate) fn thaw(&mut self) {
        if self.frozen {
            self.frozen = false;
            self.platform.memory.pause(false);
            freeze::thaw(&self.processes, &self.platform.log);
            self.platform.telemetry.set_frozen(false);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.memory_watch.abort();
        if let Some(script) = &self.script {
            script.abort();
        }
    }
}
