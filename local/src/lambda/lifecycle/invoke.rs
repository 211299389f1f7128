//! One invocation: released to runtime and extensions together, over when all of them wait again (SIM-8 to SIM-10).

use std::time::{Duration, Instant as StdInstant, SystemTime};

use bytes::Bytes;

use super::Driver;
use super::init::{InitFailure, InitReport};
use super::preparation::Preparation;
use super::shutdown::ShutdownReason;
use crate::lambda::clock::iso8601;
use crate::lambda::event_log::{Event, Phase};
use crate::lambda::invocation::{
    Caller, FunctionError, Invocation, InvocationReport, InvocationStatus, InvokeRequest,
};
use crate::lambda::state::runtime::RuntimeAnswer;
use crate::lambda::state::{Platform, State};

/// What has happened in an invocation so far.
#[derive(Debug, Default)]
struct Progress {
    released: bool,
    answered: bool,
    response_latency: Option<Duration>,
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
            invocation.announce_start(&self.platform);
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
                    invocation.announce_runtime_done(platform, progress.response_latency, "success", None);
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
                invocation.announce_runtime_done(
                    &self.platform,
                    progress.response_latency,
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
        invocation.announce_report(&self.platform, &report);
        invocation.write_segments(&self.platform, end, preparation.times(), progress.error.as_ref());
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
        invocation.announce_report(&self.platform, &report);
        invocation.write_segments(&self.platform, SystemTime::now(), init, error.as_ref());
        report
    }
}

/// Gives the event to the runtime and INVOKE to the extensions: in one step, unless a knob holds one side back.
async fn release(platform: &Platform, invocation: &Invocation, event: Bytes) {
    let pending = invocation.pending(platform, event);
    let invoke = invocation.invoke_event(platform);
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
