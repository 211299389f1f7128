//! The handle that tests and the command line hold. A task of its own, the driver in `lifecycle`, carries out what it
//! asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::config::Config;
use super::event_log::EventLog;
use super::invocation::{Answer, InvocationReport, InvokeRequest, TraceHeader};
use super::lifecycle::{Command, Driver, EnvironmentGone, InitReport, ShutdownReport, StartError};
use super::state::Platform;

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
        let driver = Driver::prepare(config).await?;
        let (commands, inbox) = mpsc::channel(64);
        let (initialised, init) = oneshot::channel();
        let (platform, reports) = (driver.platform.clone(), driver.reports.clone());
        let (runtime_api, note) = (driver.server.address, driver.receivers.note());
        let task = tokio::spawn(driver.run(initialised, inbox));
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
