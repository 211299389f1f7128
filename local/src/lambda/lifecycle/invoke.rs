//! One invocation: released to runtime and extensions together, over when all of them wait again (SIM-8 to SIM-10).

use std::time::{Duration, Instant as StdInstant, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::init::{InitFailure, InitReport};
use super::preparation::Preparation;
use super::shutdown::ShutdownReason;
use crate::lambda::clock::{epoch_ms, iso8601};
use crate::lambda::environment::Driver;
use crate::lambda::event_log::{Event, Phase};
use crate::lambda::invocation::caller::{Answer, Caller, FunctionError};
use crate::lambda::invocation::trace_header::{InvocationTrace, TraceHeader};
use crate::lambda::state::runtime::{ErrorReport, PendingInvocation, RuntimeAnswer, RuntimeResult};
use crate::lambda::state::{Platform, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationStatus {
    Success,
    /// The handler failed.
    Error,
    /// A process failed.
    Failure,
    Timeout,
}

impl InvocationStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
        }
    }
}

/// What Lambda would report of an invocation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationReport {
    pub request_id: String,
    pub status: InvocationStatus,
    /// From the release to the end, extensions included.
    pub duration: Duration,
    /// From the release to the runtime's answer.
    pub response_latency: Option<Duration>,
    /// From the runtime's `next` to the last extension's: the number to keep small (L-10.2).
    pub extension_overhead: Option<Duration>,
    /// Of the initialisation that this invocation is the first after.
    pub init_duration: Option<Duration>,
    /// Of the restore that this invocation waited for.
    pub restore_duration: Option<Duration>,
    /// Why the environment was reset.
    pub reset: Option<String>,
    /// `Runtime.OutOfMemory`, `Sandbox.Timedout`, `Extension.Crash` and their like, when the environment was reset.
    pub error_type: Option<String>,
    /// The most that all processes together have held since they were started.
    pub max_memory_used_mb: u32,
}

/// An invocation as it is asked for.
pub(crate) struct InvokeRequest {
    pub(crate) event: Bytes,
    pub(crate) upstream: Option<TraceHeader>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Fixed facts of one invocation.
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) trace: InvocationTrace,
    pub(crate) started: Instant,
    pub(crate) begin: SystemTime,
    pub(crate) deadline: Instant,
    deadline_ms: u64,
    timeout: Duration,
}

/// What has happened in an invocation so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    released: bool,
    answered: bool,
    pub(crate) response_latency: Option<Duration>,
    runtime_ready_at: Option<StdInstant>,
    error: Option<FunctionError>,
}

#[derive(Debug)]
enum Step {
    Answered(RuntimeAnswer),
    RuntimeReady(StdInstant),
    Failed(InitFailure),
    Ended(StdInstant),
    TimedOut,
}

/// The next thing that the state shows and that was not dealt with yet.
fn next_step(state: &State, progress: &Progress) -> Option<Step> {
    if let Some(answer) = state.runtime.answer.as_ref().filter(|_| !progress.answered) {
        return Some(Step::Answered(answer.clone()));
    }
    let runtime_ready = state.runtime.ready_since().filter(|_| progress.answered);
    if let Some(since) = runtime_ready.filter(|_| progress.runtime_ready_at.is_none()) {
        return Some(Step::RuntimeReady(since));
    }
    if let Some(extension) = state.extensions.failed() {
        return Some(Step::Failed(InitFailure::of_extension(extension)));
    }
    if let Some(exit) = state.runtime.exit {
        return Some(Step::Failed(InitFailure::of_runtime_exit(exit, state.runtime.out_of_memory)));
    }
    let all_wait = progress.released && state.extensions.all_ready();
    let last = state.extensions.last_ready().max(runtime_ready);
    runtime_ready.filter(|_| all_wait).and(last).map(Step::Ended)
}

impl Driver {
    pub(crate) async fn invoke(&mut self, request: InvokeRequest) -> InvocationReport {
        let mut caller = Caller::new(self.platform.clone(), request.answer);
        // A restore comes before the invocation's own time.
        let restored = if self.alive && self.in_snapshot { Some(self.restore().await) } else { None };
        let invocation = Invocation::begin(&self.platform, request.upstream.as_ref());
        self.thaw();
        self.platform.enter(Phase::Invoke);
        if self.alive {
            self.platform.announce_invocation(&invocation);
        } else {
            let InitReport { begin, failure, .. } =
                self.initialise(invocation.deadline, Some(&invocation)).await;
            if let Some(failure) = failure {
                let init = Some(("Init", begin, SystemTime::now()));
                return self.init_failed(&invocation, &mut caller, &failure, init);
            }
            self.platform.enter(Phase::Invoke);
        }
        let restored = match restored {
            // A suppressed init has made a new snapshot's worth of processes.
            None if self.in_snapshot => Some(self.restore().await),
            restored => restored,
        };
        let preparation = match restored.transpose() {
            Err(failure) => {
                self.terminate(failure.reason()).await;
                return self.init_failed(&invocation, &mut caller, &failure, None);
            }
            Ok(Some(restore)) => {
                self.unreported_init = None;
                Preparation::Restore(restore)
            }
            Ok(None) => self.unreported_init.take().map_or(Preparation::None, Preparation::Init),
        };
        self.platform.enter(Phase::Invoke);
        let mut progress = Progress::default();
        let last = self.follow(&invocation, request.event, &mut progress, &mut caller).await;
        self.conclude(&invocation, progress, last, preparation, &mut caller).await
    }

    /// Runs the invocation up to its end, its failure or its deadline.
    async fn follow(
        &self,
        invocation: &Invocation,
        event: Bytes,
        progress: &mut Progress,
        caller: &mut Caller,
    ) -> Step {
        let platform = &self.platform;
        platform.update(|state| state.runtime.forget_answer());
        let release = release(platform, invocation, event);
        tokio::pin!(release);
        loop {
            let step = tokio::select! {
                biased;
                () = &mut release, if !progress.released => {
                    progress.released = true;
                    continue;
                }
                step = platform.wait(|state| next_step(state, progress)) => step,
                () = tokio::time::sleep_until(invocation.deadline) => Step::TimedOut,
            };
            match step {
                Step::Answered(answer) => {
                    progress.answered = true;
                    progress.response_latency =
                        Some(answer.at.saturating_duration_since(invocation.started.into_std()));
                    let answer = invocation.answer_of(answer.result);
                    progress.error.clone_from(&answer.error);
                    caller.offer(answer, platform.config.late_answer);
                }
                Step::RuntimeReady(since) => {
                    progress.runtime_ready_at = Some(since);
                    self.platform.announce_runtime_done(invocation, progress, "success", None);
                }
                last => return last,
            }
        }
    }

    async fn conclude(
        &mut self,
        invocation: &Invocation,
        mut progress: Progress,
        last: Step,
        preparation: Preparation,
        caller: &mut Caller,
    ) -> InvocationReport {
        let end = SystemTime::now();
        let mut ended = StdInstant::now();
        let mut status =
            if progress.error.is_some() { InvocationStatus::Error } else { InvocationStatus::Success };
        let mut reset = None;
        match last {
            Step::Failed(failure) => {
                status = InvocationStatus::Failure;
                reset = Some((ShutdownReason::Failure, failure));
            }
            Step::TimedOut => {
                status = InvocationStatus::Timeout;
                let message = invocation.timeout_message();
                self.platform.say(format!("{} {} {message}", iso8601(end), invocation.request_id));
                reset = Some((ShutdownReason::Timeout, InitFailure::timeout(message)));
            }
            Step::Ended(last_ready) => ended = last_ready,
            Step::Answered(_) | Step::RuntimeReady(_) => {}
        }
        if let Some((_, failure)) = &reset {
            let error = invocation.platform_error(failure.callers_error_type(), &failure.message);
            // An answer that is held back is overruled; one that is out stays as it is.
            if !caller.is_served() {
                progress.error.clone_from(&error.error);
                caller.overrule(error);
            }
            if progress.runtime_ready_at.is_none() {
                self.platform.announce_runtime_done(
                    invocation,
                    &progress,
                    status.as_str(),
                    Some(failure.error_type.as_str()),
                );
            }
        } else {
            caller.serve();
        }
        self.platform.log.push(Event::InvocationEnded { request_id: invocation.request_id.clone() });
        if let Some((reason, _)) = &reset {
            self.terminate(*reason).await;
        } else {
            self.platform.enter(Phase::Idle);
            self.freeze().await;
        }
        let report = InvocationReport {
            request_id: invocation.request_id.clone(),
            status,
            duration: ended - invocation.started.into_std(),
            response_latency: progress.response_latency,
            extension_overhead: progress
                .runtime_ready_at
                .map(|ready| ended - ready)
                .filter(|_| reset.is_none()),
            init_duration: preparation.init_duration(),
            restore_duration: preparation.restore_duration(),
            error_type: reset.as_ref().map(|(_, failure)| failure.error_type.clone()),
            reset: reset.map(|(_, failure)| format!("{}: {}", failure.error_type, failure.message)),
            max_memory_used_mb: self.platform.max_memory_used_mb(),
        };
        self.platform.announce_report(invocation, &report);
        self.platform.write_segments(invocation, end, preparation.times(), progress.error.as_ref());
        report
    }

    /// The initialisation inside the invocation failed: nothing was released, no process lives.
    fn init_failed(
        &self,
        invocation: &Invocation,
        caller: &mut Caller,
        failure: &InitFailure,
        init: Option<(&'static str, SystemTime, SystemTime)>,
    ) -> InvocationReport {
        let mut answer = if failure.timed_out {
            invocation.platform_error("Sandbox.Timedout", &invocation.timeout_message())
        } else {
            invocation.platform_error(failure.callers_error_type(), &failure.message)
        };
        if let Some(payload) = &failure.payload {
            answer.payload = payload.clone();
        }
        let error = answer.error.clone();
        caller.overrule(answer);
        self.platform.log.push(Event::InvocationEnded { request_id: invocation.request_id.clone() });
        let status = if failure.timed_out { InvocationStatus::Timeout } else { InvocationStatus::Failure };
        let report = InvocationReport {
            request_id: invocation.request_id.clone(),
            status,
            duration: invocation.started.elapsed(),
            response_latency: None,
            extension_overhead: None,
            init_duration: None,
            restore_duration: None,
            reset: Some(format!("{}: {}", failure.error_type, failure.message)),
            error_type: Some(failure.error_type.clone()),
            max_memory_used_mb: self.platform.max_memory_used_mb(),
        };
        self.platform.announce_report(invocation, &report);
        self.platform.write_segments(invocation, SystemTime::now(), init, error.as_ref());
        report
    }
}

/// Gives the event to the runtime and INVOKE to the extensions: in one step, unless a knob holds one side back.
async fn release(platform: &Platform, invocation: &Invocation, event: Bytes) {
    let pending = invocation.pending(platform, event);
    let invoke = json!({
        "eventType": "INVOKE",
        "deadlineMs": invocation.deadline_ms,
        "requestId": invocation.request_id,
        "invokedFunctionArn": pending.function_arn,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace.extension_header},
    })
    .to_string();
    platform.log.push(Event::InvocationReleased { request_id: invocation.request_id.clone() });
    let delays = platform.config.delays;
    if delays.runtime_event == delays.invoke_event {
        tokio::time::sleep(delays.runtime_event).await;
        platform.update(|state| {
            state.extensions.release_invoke(&invoke);
            state.runtime.release(pending);
        });
        return;
    }
    let to_runtime = async {
        tokio::time::sleep(delays.runtime_event).await;
        platform.update(|state| state.runtime.release(pending));
    };
    let to_extensions = async {
        tokio::time::sleep(delays.invoke_event).await;
        platform.update(|state| state.extensions.release_invoke(&invoke));
    };
    tokio::join!(to_runtime, to_extensions);
}

impl Invocation {
    pub(crate) fn begin(platform: &Platform, upstream: Option<&TraceHeader>) -> Self {
        let timeout = platform.config.timeout;
        let (started, begin) = (Instant::now(), SystemTime::now());
        Self {
            request_id: Uuid::new_v4().to_string(),
            trace: InvocationTrace::new(platform.config.tracing, upstream),
            started,
            begin,
            deadline: started + timeout,
            deadline_ms: epoch_ms(begin + timeout),
            timeout,
        }
    }

    /// The event on its way to the runtime.
    pub(crate) fn pending(&self, platform: &Platform, event: Bytes) -> PendingInvocation {
        PendingInvocation {
            request_id: self.request_id.clone(),
            event,
            deadline_ms: self.deadline_ms,
            function_arn: platform.config.function_arn(),
            trace_header: self.trace.runtime_header.clone(),
        }
    }

    pub(crate) fn timeout_message(&self) -> String {
        format!("Task timed out after {:.2} seconds", self.timeout.as_secs_f64())
    }

    pub(crate) fn answer(&self, payload: Bytes, error: Option<FunctionError>) -> Answer {
        Answer {
            request_id: self.request_id.clone(),
            payload,
            error,
            runtime_trace_header: self.trace.runtime_header.clone(),
            extension_trace_header: self.trace.extension_header.clone(),
        }
    }

    pub(crate) fn answer_of(&self, result: RuntimeResult) -> Answer {
        match result {
            RuntimeResult::Response(payload) => self.answer(payload, None),
            RuntimeResult::Error(ErrorReport { error_type, payload, xray_cause }) => {
                let body: Value = serde_json::from_slice(&payload).unwrap_or_default();
                let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
                let error = FunctionError {
                    error_type: text("errorType").unwrap_or(error_type),
                    message: text("errorMessage").unwrap_or_default(),
                    xray_cause,
                };
                self.answer(payload, Some(error))
            }
        }
    }

    /// The answer that the platform itself gives.
    pub(crate) fn platform_error(&self, error_type: &str, message: &str) -> Answer {
        let text = format!("RequestId: {} Error: {message}", self.request_id);
        let payload = json!({"errorType": error_type, "errorMessage": text}).to_string();
        let error = FunctionError {
            error_type: error_type.to_owned(),
            message: message.to_owned(),
            xray_cause: None,
        };
        self.answer(payload.into(), Some(error))
    }
}
