//! The life of an environment: initialisation, invocations, restore, shutdown. Commands of the handle come in, and each
//! is answered with what it asked for. Nothing else starts, freezes or ends a process.

mod init;
mod invoke;
mod managed_instance;
mod preparation;
mod restore;
mod shutdown;
mod start;

pub use init::{InitFailure, InitReport};
pub use shutdown::{ExtensionShutdown, ShutdownReason, ShutdownReport};
pub use start::StartError;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::lambda::api::ApiServer;
use crate::lambda::invocation::{InvocationReport, InvokeRequest};
use crate::lambda::layer::receivers::Receivers;
use crate::lambda::processes::{Process, Variables, freeze};
use crate::lambda::state::Platform;
use start::{Directories, RuntimeLaunch};

/// The environment was shut down, or its task has ended.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the environment has ended; start another one")]
pub struct EnvironmentGone;

/// What the handle asks for; each is answered when it is done.
pub(crate) enum Command {
    Invoke(InvokeRequest),
    Freeze(oneshot::Sender<()>),
    Thaw(oneshot::Sender<()>),
    Idle(oneshot::Sender<()>),
    Shutdown(oneshot::Sender<ShutdownReport>),
}

/// Owns the processes and carries out one command after the other.
pub(crate) struct Driver {
    pub(crate) platform: Arc<Platform>,
    pub(crate) server: ApiServer,
    directories: Directories,
    pub(crate) receivers: Receivers,
    launch: RuntimeLaunch,
    runtime_variables: Variables,
    extension_variables: Variables,
    /// The living generation, extensions first.
    processes: Vec<Process>,
    script: Option<AbortHandle>,
    memory_watch: AbortHandle,
    /// Processes are up and initialised.
    alive: bool,
    /// Under `SnapStart`: initialised, and not yet restored.
    in_snapshot: bool,
    /// When the present generation was initialised, until an invocation has reported it.
    unreported_init: Option<(SystemTime, SystemTime)>,
    frozen: bool,
    pub(crate) reports: Arc<Mutex<Vec<InvocationReport>>>,
}

impl Driver {
    /// Initialises, says how that went, and carries out commands until the end.
    pub(crate) async fn run(
        mut self,
        initialised: oneshot::Sender<InitReport>,
        inbox: mpsc::Receiver<Command>,
    ) {
        let limit = Instant::now() + self.platform.config.init_limit;
        let report = self.initialise(limit, None).await;
        let failure = report.failure.clone();
        let _ = initialised.send(report);
        if self.platform.config.initialization_type.is_managed() {
            self.run_managed(inbox, failure).await;
        } else {
            self.run_one_by_one(inbox).await;
        }
    }

    async fn run_one_by_one(mut self, mut inbox: mpsc::Receiver<Command>) {
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
