//! A managed instance: several invocations at once, no freeze, no INVOKE, no reset (section 8.11, SIM-22).

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::init::{InitFailure, failure_in};
use super::shutdown::ShutdownReason;
use super::{Command, Driver};
use crate::lambda::clock::iso8601;
use crate::lambda::config::InitializationType;
use crate::lambda::event_log::Event;
use crate::lambda::invocation::{
    Answer, Caller, Invocation, InvocationReport, InvocationStatus, InvokeRequest,
};
use crate::lambda::state::Platform;
use crate::lambda::state::runtime::RuntimeAnswer;

impl Driver {
    /// Carries out commands until the end. A process that fails takes the instance with it: nothing is started again.
    pub(crate) async fn run_managed(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut dead: Option<InitFailure>,
    ) {
        let concurrency = match self.platform.config.initialization_type {
            InitializationType::ManagedInstances { concurrency } => concurrency as usize,
            _ => 1,
        };
        let mut under_way: JoinSet<InvocationReport> = JoinSet::new();
        let mut idle: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            if under_way.is_empty() {
                for waiting in idle.drain(..) {
                    let _ = waiting.send(());
                }
            }
            let command = tokio::select! {
                biased;
                Some(ended) = under_way.join_next() => {
                    // Its task neither panics nor is it aborted while this runs.
                    if let Ok(report) = ended {
                        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                    }
                    continue;
                }
                failure = self.platform.wait(failure_in), if dead.is_none() => {
                    dead = Some(failure);
                    self.terminate(ShutdownReason::Failure).await;
                    continue;
                }
                command = inbox.recv() => command,
            };
            match command {
                Some(Command::Invoke(request)) => {
                    let refusal = match &dead {
                        Some(failure) => Some(format!("the instance has ended: {}", failure.message)),
                        None if under_way.len() >= concurrency => {
                            Some(format!("{concurrency} invocations are under way"))
                        }
                        None => None,
                    };
                    match refusal {
                        Some(cause) => refuse(&self.platform, request, &cause),
                        None => {
                            under_way.spawn(invoke(self.platform.clone(), request));
                        }
                    }
                }
                // It is never frozen.
                Some(Command::Freeze(done) | Command::Thaw(done)) => {
                    let _ = done.send(());
                }
                Some(Command::Idle(done)) => idle.push(done),
                Some(Command::Shutdown(done)) => {
                    let report = self.terminate(ShutdownReason::Spindown).await;
                    let _ = done.send(report);
                    return;
                }
                None => return,
            }
        }
    }
}

fn refuse(platform: &Arc<Platform>, request: InvokeRequest, cause: &str) {
    let invocation = Invocation::begin(platform, request.upstream.as_ref());
    let answer = invocation.platform_error("Runtime.Unavailable", cause);
    Caller::new(platform.clone(), request.answer).overrule(answer);
}

/// One of the invocations, from its release to its answer.
async fn invoke(platform: Arc<Platform>, request: InvokeRequest) -> InvocationReport {
    let invocation = Invocation::begin(&platform, request.upstream.as_ref());
    let mut caller = Caller::new(platform.clone(), request.answer);
    let id = invocation.request_id.clone();
    invocation.announce_start(&platform);
    platform.log.push(Event::InvocationReleased { request_id: id.clone() });
    let pending = invocation.pending(&platform, request.event);
    platform.update(|state| state.managed.release(pending));
    let outcome = tokio::select! {
        biased;
        () = platform.wait(|state| state.managed.has_answer(&id).then_some(())) => {
            platform.update(|state| state.managed.take_answer(&id)).map(Ok)
        }
        failure = platform.wait(failure_in) => Some(Err(failure)),
        () = tokio::time::sleep_until(invocation.deadline) => None,
    };
    let end = SystemTime::now();
    let (answer, status, failure) = match outcome {
        Some(Ok(answer)) => answered(&invocation, answer),
        Some(Err(failure)) => {
            let answer = invocation.platform_error(failure.callers_error_type(), &failure.message);
            (answer, InvocationStatus::Failure, Some(failure))
        }
        None => {
            platform.update(|state| state.managed.time_out(&id));
            let message = invocation.timeout_message();
            platform.say(format!("{} {id} {message}", iso8601(end)));
            let answer = invocation.platform_error("Sandbox.Timedout", &message);
            (answer, InvocationStatus::Timeout, Some(InitFailure::timeout(message)))
        }
    };
    let error = answer.error.clone();
    caller.overrule(answer);
    platform.log.push(Event::InvocationEnded { request_id: id.clone() });
    let duration = invocation.started.elapsed();
    let error_type = failure.as_ref().map(|failure| failure.error_type.clone());
    announce_report(&platform, &invocation, status, duration, error_type.as_deref());
    invocation.write_segments(&platform, end, None, error.as_ref());
    InvocationReport {
        request_id: id,
        status,
        duration,
        response_latency: failure.is_none().then_some(duration),
        extension_overhead: None,
        init_duration: None,
        restore_duration: None,
        // A timeout ends the invocation and nothing else (L-8.28).
        reset: failure
            .filter(|failure| !failure.timed_out)
            .map(|failure| format!("{}: {}", failure.error_type, failure.message)),
        error_type,
        max_memory_used_mb: platform.max_memory_used_mb(),
    }
}

fn answered(
    invocation: &Invocation,
    answer: RuntimeAnswer,
) -> (Answer, InvocationStatus, Option<InitFailure>) {
    let answer = invocation.answer_of(answer.result);
    // L-6.10: here an exception of the handler is an error of the report.
    let status = if answer.is_success() { InvocationStatus::Success } else { InvocationStatus::Error };
    (answer, status, None)
}

/// `platform.report` with the little it has here (section 6.3). There is no `platform.runtimeDone`.
fn announce_report(
    platform: &Platform,
    invocation: &Invocation,
    status: InvocationStatus,
    duration: Duration,
    error_type: Option<&str>,
) {
    let duration_ms = duration.as_secs_f64() * 1_000.0;
    let start = iso8601(invocation.begin);
    let mut record = json!({
        "requestId": invocation.request_id,
        "status": status.as_str(),
        "metrics": {"durationMs": duration_ms},
        "spans": [
            {"name": "responseLatency", "start": start, "durationMs": duration_ms},
            {"name": "responseDuration", "start": iso8601(SystemTime::now()), "durationMs": 0.0},
        ],
    });
    if let Some(error_type) = error_type {
        record["errorType"] = json!(error_type);
    }
    invocation.add_tracing(&mut record);
    platform.telemetry.platform("platform.report", &record);
}
