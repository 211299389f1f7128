//! Everything that is there before the first process is: directories, the runtime's command line, the server of the
//! local APIs, and the variables of the processes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;
use uuid::Uuid;

use super::{Driver, EnvironmentGone};
use crate::lambda::api::ApiServer;
use crate::lambda::clock::date_path;
use crate::lambda::config::{Config, RuntimeKind};
use crate::lambda::layer::receivers::Receivers;
use crate::lambda::processes::full_disk::FullDisk;
use crate::lambda::processes::memory;
use crate::lambda::runtimes::variables::{Facts, for_extension, for_runtime};
use crate::lambda::runtimes::{BootstrapError, ManagedRuntime};
use crate::lambda::scripted_runtime::ScriptedRuntime;
use crate::lambda::state::Platform;
use crate::lambda::state::endpoint_tokens::EndpointTokens;

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

/// The directories that stand for Lambda's own.
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
    Scripted(ScriptedRuntime),
}

impl RuntimeLaunch {
    /// With the directory that stands for `/var/lang/bin`, where the runtime has an interpreter.
    async fn prepare(
        kind: &RuntimeKind,
        directories: &Directories,
    ) -> Result<(Self, Option<PathBuf>), StartError> {
        let Directories { layer, task, runtime, .. } = directories;
        let managed = match kind {
            RuntimeKind::Python { interpreter } => {
                ManagedRuntime::python(interpreter, task, runtime, layer).await?
            }
            RuntimeKind::Node { interpreter, client, arguments } => {
                ManagedRuntime::node(interpreter, client.as_deref(), arguments, runtime, layer).await?
            }
            RuntimeKind::Command(command) if command.is_empty() => return Err(StartError::EmptyCommand),
            RuntimeKind::Command(command) => return Ok((Self::Process(command.clone()), None)),
            RuntimeKind::Scripted(script) => return Ok((Self::Scripted(script.clone()), None)),
        };
        Ok((Self::Process(vec![managed.bootstrap.display().to_string()]), managed.interpreter_dir))
    }
}

impl Driver {
    pub(crate) async fn prepare(config: Config) -> Result<Self, StartError> {
        let directories = Directories::prepare(&config)?;
        let (launch, interpreter_dir) = RuntimeLaunch::prepare(&config.runtime, &directories).await?;
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
}
