//! Initialisation: extensions first, the runtime after the last registration, ready when all wait (L-1.2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::Driver;
use super::shutdown::ShutdownReason;
use super::start::RuntimeLaunch;
use crate::lambda::config::InitializationType;
use crate::lambda::event_log::{Event, Origin, Phase, ProcessExit};
use crate::lambda::invocation::Invocation;
use crate::lambda::processes::{Launch, Process, ProcessObserver};
use crate::lambda::state::State;
use crate::lambda::state::extensions::{Extension, ExtensionState, MAX_EXTENSIONS};

const EXIT_ERROR: &str = "Runtime.ExitError";
const OUT_OF_MEMORY: &str = "Runtime.OutOfMemory";

/// How an initialisation went.
#[derive(Debug, Clone)]
pub struct InitReport {
    pub begin: SystemTime,
    pub duration: Duration,
    pub failure: Option<InitFailure>,
}

/// Why an initialisation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitFailure {
    /// `Extension.LaunchError`, `Extension.Crash`, `Extension.InitError`, `Extension.ExitError`, `Runtime.ExitError`,
    /// `Runtime.OutOfMemory`, `Sandbox.Timedout`, or what the runtime reported.
    pub error_type: String,
    pub message: String,
    /// What the caller of an invocation is told, when the runtime said it.
    pub(crate) payload: Option<Bytes>,
    /// The init limit or the function's timeout was reached.
    pub(crate) timed_out: bool,
}

impl InitFailure {
    fn new(error_type: &str, message: String) -> Self {
        Self { error_type: error_type.to_owned(), message, payload: None, timed_out: false }
    }

    pub(crate) fn timeout(message: String) -> Self {
        Self { timed_out: true, ..Self::new("Sandbox.Timedout", message) }
    }

    /// What an extension's error report or exit means outside of SHUTDOWN (L-1.6).
    pub(crate) fn of_extension(extension: &Extension) -> Self {
        let name = &extension.name;
        match (&extension.error, extension.exit) {
            (Some(report), _) => {
                let in_init = extension.state == ExtensionState::InitError;
                let kind = if in_init { "Extension.InitError" } else { "Extension.ExitError" };
                Self::new(kind, format!("extension {name} reported {}: {}", report.error_type, report.body))
            }
            (None, Some(exit)) => Self::new("Extension.Crash", format!("extension {name}: {exit}")),
            (None, None) => Self::new("Extension.Crash", format!("extension {name}")),
        }
    }

    pub(crate) fn of_runtime_exit(exit: ProcessExit, out_of_memory: bool) -> Self {
        let message = match exit {
            ProcessExit::Code(0) => "Runtime exited without providing a reason".to_owned(),
            exit => format!("Runtime exited with error: {exit}"),
        };
        Self::new(if out_of_memory { OUT_OF_MEMORY } else { EXIT_ERROR }, message)
    }

    pub(crate) fn reason(&self) -> ShutdownReason {
        if self.timed_out { ShutdownReason::Timeout } else { ShutdownReason::Failure }
    }

    /// As telemetry names it.
    pub(crate) fn status(&self) -> &'static str {
        if self.timed_out { "timeout" } else { "error" }
    }

    /// What the caller is told: of memory, only that the process was killed (L-8.16).
    pub(crate) fn callers_error_type(&self) -> &str {
        if self.error_type == OUT_OF_MEMORY { EXIT_ERROR } else { &self.error_type }
    }

    /// A file in `extensions/` that cannot be started (L-1.5).
    fn of_launch(name: &str, error: &io::Error) -> Self {
        let (reason, remedy) = match error.kind() {
            io::ErrorKind::PermissionDenied => ("PermissionDenied", "give it mode 0755"),
            _ => ("UnknownError", "build it for this machine's architecture"),
        };
        Self::new("Extension.LaunchError", format!("extension {name}: {reason}: {error}; {remedy}"))
    }
}

/// The first thing in the state that makes an initialisation fail.
pub(crate) fn failure_in(state: &State) -> Option<InitFailure> {
    if let Some(extension) = state.extensions.failed() {
        return Some(InitFailure::of_extension(extension));
    }
    if let Some(report) = &state.runtime.init_error {
        let message = serde_json::from_slice::<serde_json::Value>(&report.payload)
            .ok()
            .and_then(|body| body.get("errorMessage")?.as_str().map(str::to_owned))
            .unwrap_or_default();
        let payload = Some(report.payload.clone());
        return Some(InitFailure { payload, ..InitFailure::new(&report.error_type, message) });
    }
    let out_of_memory = state.runtime.out_of_memory;
    state.runtime.exit.map(|exit| InitFailure::of_runtime_exit(exit, out_of_memory))
}

/// Whom an initialisation still waits for.
fn laggards(state: &State, runtime_started: bool) -> String {
    let unregistered = state.extensions.all().iter().filter(|one| one.state == ExtensionState::Started);
    let unready = state.extensions.all().iter().filter(|one| one.state == ExtensionState::Registered);
    let mut waiting: Vec<String> =
        unregistered.map(|one| format!("extension {} has not registered", one.name)).collect();
    waiting.extend(unready.map(|one| format!("extension {} has not called event/next", one.name)));
    if runtime_started && !state.runtime.is_ready() {
        waiting.push("the runtime has not called invocation/next".to_owned());
    }
    waiting.join(", ")
}

impl Driver {
    /// Starts all processes, within an invocation where one waits: a suppressed init. Only when that is over is the
    /// invocation announced (L-6.9), to the processes of a failed one too.
    pub(crate) async fn initialise(&mut self, limit: Instant, waits: Option<&Invocation>) -> InitReport {
        let (started, begin) = (Instant::now(), SystemTime::now());
        self.platform.enter(Phase::Init);
        let snap_start = self.platform.config.initialization_type == InitializationType::SnapStart;
        let phase_name = match waits {
            Some(_) => "invoke",
            None if snap_start => "snap-start",
            None => "init",
        };
        if snap_start {
            self.platform.clock.set_back(self.platform.config.snapshot_age);
        }
        let outcome = self.bring_up(limit, phase_name).await;
        let duration = started.elapsed();
        self.announce_init(phase_name, duration, outcome.as_ref().err());
        if let Some(invocation) = waits {
            invocation.announce_start(&self.platform);
        }
        self.platform.telemetry.close();
        match outcome {
            Ok(()) => {
                self.alive = true;
                self.in_snapshot = snap_start;
                self.unreported_init = Some((begin, SystemTime::now()));
                self.platform.enter(Phase::Idle);
                let freezes = !self.platform.config.initialization_type.is_managed();
                if freezes && (snap_start || self.platform.config.freeze_after_init) && waits.is_none() {
                    self.freeze().await;
                }
                InitReport { begin, duration, failure: None }
            }
            Err(failure) => {
                self.terminate(failure.reason()).await;
                InitReport { begin, duration, failure: Some(failure) }
            }
        }
    }

    async fn bring_up(&mut self, limit: Instant, phase_name: &str) -> Result<(), InitFailure> {
        let files = extension_files(&self.directories.layer);
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        self.platform.begin_generation(&names);
        self.announce_start(phase_name);
        if names.len() > MAX_EXTENSIONS {
            let message = format!("TooManyExtensions: {} files in extensions/, 10 are allowed", names.len());
            return Err(InitFailure::new("Extension.LaunchError", message));
        }
        for (name, path) in &files {
            let launch = Launch {
                origin: Origin::Extension(name.clone()),
                program: path,
                arguments: &[],
                directory: Path::new("/"),
                variables: &self.extension_variables,
            };
            let process = Process::start(launch, &self.platform.log, &self.platform)
                .map_err(|error| InitFailure::of_launch(name, &error))?;
            self.platform.memory.add_group(process.pid, false);
            self.processes.push(process);
        }
        self.until(limit, false, |state| state.extensions.all_registered()).await?;
        self.start_runtime()?;
        let snap_start = self.platform.config.initialization_type == InitializationType::SnapStart;
        let up = |state: &State| {
            let runtime = &state.runtime;
            runtime.is_ready() || (snap_start && runtime.is_at_snapshot())
        };
        self.until(limit, true, |state| up(state) && state.extensions.all_ready()).await
    }

    async fn until(
        &self,
        limit: Instant,
        runtime_started: bool,
        reached: impl Fn(&State) -> bool,
    ) -> Result<(), InitFailure> {
        let waiting = self.platform.wait(|state| match failure_in(state) {
            Some(failure) => Some(Err(failure)),
            None => reached(state).then_some(Ok(())),
        });
        if let Ok(outcome) = tokio::time::timeout_at(limit, waiting).await {
            return outcome;
        }
        let waiting_for = self.platform.read(|state| laggards(state, runtime_started));
        let message = format!("initialisation timed out: {waiting_for}");
        Err(InitFailure::timeout(message))
    }

    fn start_runtime(&mut self) -> Result<(), InitFailure> {
        match &self.launch {
            RuntimeLaunch::Process(command) => {
                // Checked when the environment was prepared: never empty.
                let (program, arguments) =
                    command.split_first().map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
                let launch = Launch {
                    origin: Origin::Runtime,
                    program: Path::new(program),
                    arguments,
                    directory: &self.directories.task,
                    variables: &self.runtime_variables,
                };
                let process =
                    Process::start(launch, &self.platform.log, &self.platform).map_err(|error| {
                        InitFailure::new(
                            "Runtime.InvalidEntrypoint",
                            format!("{program} cannot be started: {error}"),
                        )
                    })?;
                self.platform.memory.add_group(process.pid, true);
                self.processes.push(process);
            }
            RuntimeLaunch::Scripted(script) => {
                let (script, platform, api) = (script.clone(), self.platform.clone(), self.server.address);
                let task = tokio::spawn(async move {
                    let exit = ProcessExit::Code(script.run(api).await);
                    platform.log.push(Event::ProcessExited { origin: Origin::Runtime, exit });
                    platform.exited(&Origin::Runtime, exit);
                });
                self.script = Some(task.abort_handle());
            }
        }
        Ok(())
    }

    fn announce_start(&self, phase_name: &str) {
        let config = &self.platform.config;
        self.platform.telemetry.platform(
            "platform.initStart",
            &json!({
                "initializationType": config.initialization_type.as_str(),
                "phase": phase_name,
                "functionName": config.function_name,
                "functionVersion": config.function_version,
                "instanceMaxMemory": u64::from(config.memory_mb) * 1024 * 1024,
                "functionArn": config.function_arn(),
            }),
        );
    }

    /// Log lines and telemetry in the order of L-6.9.
    fn announce_init(&self, phase_name: &str, duration: Duration, failure: Option<&InitFailure>) {
        let platform = &self.platform;
        let status = failure.map_or("success", InitFailure::status);
        let duration_ms = duration.as_secs_f64() * 1_000.0;
        let mut done = json!({
            "initializationType": platform.config.initialization_type.as_str(),
            "phase": phase_name,
            "status": status,
        });
        if let Some(failure) = failure {
            done["errorType"] = json!(failure.error_type);
            platform.say(format!(
                "INIT_REPORT Init Duration: {duration_ms:.2} ms\tPhase: {phase_name}\tStatus: {status}\t\
                 Error Type: {}\tError: {}",
                failure.error_type, failure.message
            ));
        }
        platform.telemetry.platform("platform.initRuntimeDone", &done);
        let extensions = platform.read(|state| state.extensions.all().to_vec());
        for extension in &extensions {
            let state = format!("{:?}", extension.state);
            let events = extension.events();
            platform.say(format!(
                "EXTENSION\tName: {}\tState: {state}\tEvents: [{}]",
                extension.name,
                events.join(", ")
            ));
            platform.telemetry.platform(
                "platform.extension",
                &json!({"name": extension.name, "state": state, "events": events}),
            );
        }
        done["metrics"] = json!({"durationMs": duration_ms});
        platform.telemetry.platform("platform.initReport", &done);
    }
}

/// Every regular file in `extensions/`, by name (L-1.1).
fn extension_files(layer: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(layer.join("extensions")) else {
        return Vec::new();
    };
    let mut files: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(_, path)| path.is_file())
        .collect();
    files.sort();
    files
}
