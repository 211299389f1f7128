//! The end of a generation of processes: spindown and reset (L-8.3 to L-8.5, SIM-19).

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Driver;
use crate::lambda::clock::epoch_ms;
use crate::lambda::event_log::{Event, Origin, Phase, ProcessExit};
use crate::lambda::processes::Process;

/// `shutdownReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    Spindown,
    Timeout,
    Failure,
}

impl ShutdownReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// How one external extension ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionShutdown {
    pub name: String,
    /// SHUTDOWN was released to it; without, it was killed at once or had exited before.
    pub notified: bool,
    /// From SHUTDOWN to its deadline.
    pub budget: Duration,
    /// From SHUTDOWN to the exit.
    pub time_to_exit: Duration,
    pub exit: ProcessExit,
    /// SIGKILL was needed.
    pub killed: bool,
}

/// How a generation of processes ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    pub reason: ShutdownReason,
    /// None when no runtime process was left, or the runtime was a script.
    pub runtime_exit: Option<ProcessExit>,
    /// The runtime got SIGKILL, at once or after its share of the time.
    pub runtime_killed: bool,
    pub extensions: Vec<ExtensionShutdown>,
}

impl Driver {
    /// Ends every process within the budgets of L-8.9.
    pub(crate) async fn terminate(&mut self, reason: ShutdownReason) -> ShutdownReport {
        self.thaw();
        self.alive = false;
        self.in_snapshot = false;
        self.unreported_init = None;
        self.platform.enter(Phase::Shutdown);
        let budgets = self.platform.config.shutdown_budgets;
        let registered = self.platform.read(|state| {
            let any = |external: bool| {
                state.extensions.all().iter().any(|one| one.external == external && one.id.is_some())
            };
            (any(true), any(false))
        });
        let (total, runtime_share) = match registered {
            (true, _) => (budgets.total, budgets.runtime),
            (false, true) => (budgets.runtime_with_internal, budgets.runtime_with_internal),
            (false, false) => (Duration::ZERO, Duration::ZERO),
        };
        let deadline = Instant::now() + total;
        let deadline_ms = epoch_ms(SystemTime::now() + total);

        let (runtime, extensions): (Vec<Process>, Vec<Process>) =
            std::mem::take(&mut self.processes).into_iter().partition(|one| one.origin == Origin::Runtime);
        if let Some(script) = self.script.take() {
            script.abort();
        }
        let (mut runtime_exit, mut runtime_killed) = (None, false);
        for process in runtime {
            runtime_killed = end_runtime(&process, runtime_share).await;
            runtime_exit = process.exit();
            process.finish().await;
        }

        self.platform.telemetry.flush(budgets.telemetry).await;
        let body =
            json!({"eventType": "SHUTDOWN", "deadlineMs": deadline_ms, "shutdownReason": reason.as_str()});
        let released = Instant::now();
        let notified = self.platform.update(|state| state.extensions.release_shutdown(&body.to_string()));
        for name in &notified {
            self.platform.log.push(Event::ShutdownReleased { extension: name.clone() });
        }
        let mut ends = JoinSet::new();
        for process in extensions {
            let notified = matches!(&process.origin, Origin::Extension(name) if notified.contains(name));
            ends.spawn(end_extension(process, notified, released, deadline));
        }
        let mut extensions = ends.join_all().await;
        extensions.sort_by(|left, right| left.name.cmp(&right.name));
        self.platform.enter(Phase::Down);
        ShutdownReport { reason, runtime_exit, runtime_killed, extensions }
    }
}

/// SIGTERM, then SIGKILL after `share`; SIGKILL at once without a share. Returns whether SIGKILL was needed.
async fn end_runtime(process: &Process, share: Duration) -> bool {
    if process.exit().is_some() {
        return false;
    }
    if !share.is_zero() {
        process.signal(Signal::SIGTERM);
        if tokio::time::timeout(share, process.wait()).await.is_ok() {
            return false;
        }
    }
    process.signal(Signal::SIGKILL);
    process.wait().await;
    true
}

async fn end_extension(
    process: Process,
    notified: bool,
    released: Instant,
    deadline: Instant,
) -> ExtensionShutdown {
    let mut killed = false;
    let had_exited = process.exit().is_some();
    let in_time = notified && tokio::time::timeout_at(deadline, process.wait()).await.is_ok();
    if !in_time && !had_exited {
        process.signal(Signal::SIGKILL);
        killed = true;
    }
    let exit = process.wait().await;
    let time_to_exit = released.elapsed();
    let name = match &process.origin {
        Origin::Extension(name) => name.clone(),
        other => other.to_string(),
    };
    process.finish().await;
    ExtensionShutdown { name, notified, budget: deadline - released, time_to_exit, exit, killed }
}
