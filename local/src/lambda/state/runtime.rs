//! The runtime as the Runtime API sees it (section 4). No input or output.

use std::time::{Instant, SystemTime};

use bytes::Bytes;

use crate::lambda::event_log::ProcessExit;

/// 6 MB and the emulator core's 100 bytes (section 2).
pub(crate) const RESPONSE_LIMIT_BYTES: usize = 6 * 1024 * 1024 + 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no invocation in progress has this id")]
    InvalidRequestId,
    #[error("the call is not allowed in the runtime's present state")]
    InvalidStateTransition,
    #[error("the payload exceeds {RESPONSE_LIMIT_BYTES} bytes")]
    RequestEntityTooLarge,
    #[error("the invocation has timed out")]
    InvokeTimeout,
}

impl Refusal {
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::InvalidRequestId => "InvalidRequestID",
            Self::InvalidStateTransition => "InvalidStateTransition",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::InvokeTimeout => "InvokeTimeout",
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::InvalidRequestId => 400,
            Self::InvalidStateTransition => 403,
            Self::RequestEntityTooLarge => 413,
            Self::InvokeTimeout => 410,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    /// Waiting in `restore/next`.
    Snapshot,
    /// Running its hooks after the restore.
    Restoring,
    /// Waiting in `invocation/next`.
    Ready,
    Running,
    Answered,
    Failed,
}

/// The event of one invocation on its way to the runtime.
#[derive(Debug, Clone)]
pub(crate) struct PendingInvocation {
    pub(crate) request_id: String,
    pub(crate) event: Bytes,
    pub(crate) deadline_ms: u64,
    pub(crate) function_arn: String,
    pub(crate) trace_header: String,
}

/// What the runtime said about an invocation or its own start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorReport {
    pub(crate) error_type: String,
    pub(crate) payload: Bytes,
    /// `Lambda-Runtime-Function-XRay-Error-Cause`.
    pub(crate) xray_cause: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeResult {
    Response(Bytes),
    Error(ErrorReport),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeAnswer {
    pub(crate) result: RuntimeResult,
    pub(crate) at: Instant,
    pub(crate) wall: SystemTime,
}

#[derive(Debug, Clone)]
pub(crate) struct RuntimeState {
    stage: Stage,
    /// The invocation in progress, or the last one.
    request_id: Option<String>,
    pending: Option<PendingInvocation>,
    ready_since: Option<Instant>,
    pub(crate) answer: Option<RuntimeAnswer>,
    pub(crate) init_error: Option<ErrorReport>,
    pub(crate) exit: Option<ProcessExit>,
    /// It was killed for lack of memory.
    pub(crate) out_of_memory: bool,
}

impl Default for RuntimeState {
    fn default() -> Self {
        Self {
            stage: Stage::Starting,
            request_id: None,
            pending: None,
            ready_since: None,
            answer: None,
            init_error: None,
            exit: None,
            out_of_memory: false,
        }
    }
}

impl RuntimeState {
    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Since when the runtime waits in `invocation/next`.
    pub(crate) fn ready_since(&self) -> Option<Instant> {
        self.ready_since.filter(|_| self.is_ready())
    }

    /// `invocation/next`. A second one while waiting is taken as a reconnect.
    pub(crate) fn next(&mut self, now: Instant) -> Result<(), Refusal> {
        match self.stage {
            Stage::Starting | Stage::Restoring | Stage::Ready | Stage::Answered => {
                self.stage = Stage::Ready;
                self.ready_since = Some(now);
                Ok(())
            }
            Stage::Snapshot | Stage::Running | Stage::Failed => Err(Refusal::InvalidStateTransition),
        }
    }

    /// `restore/next` (`SnapStart`).
    pub(crate) fn restore_next(&mut self) -> Result<(), Refusal> {
        if self.stage != Stage::Starting {
            return Err(Refusal::InvalidStateTransition);
        }
        self.stage = Stage::Snapshot;
        Ok(())
    }

    /// A snapshot can be taken: a runtime without hooks waits in `invocation/next`.
    pub(crate) fn is_at_snapshot(&self) -> bool {
        matches!(self.stage, Stage::Snapshot | Stage::Ready)
    }

    /// The snapshot is resumed: `restore/next` is answered.
    pub(crate) fn release_restore(&mut self) {
        if self.stage == Stage::Snapshot {
            self.stage = Stage::Restoring;
        }
    }

    pub(crate) fn is_restored(&self) -> bool {
        self.stage != Stage::Snapshot
    }

    /// `restore/error`.
    pub(crate) fn restore_error(&mut self, report: ErrorReport) -> Result<(), Refusal> {
        if self.stage != Stage::Restoring {
            return Err(Refusal::InvalidStateTransition);
        }
        self.stage = Stage::Failed;
        self.init_error = Some(report);
        Ok(())
    }

    pub(crate) fn release(&mut self, invocation: PendingInvocation) {
        self.stage = Stage::Running;
        self.request_id = Some(invocation.request_id.clone());
        self.answer = None;
        self.pending = Some(invocation);
    }

    /// A new invocation is about to be released: the last one's answer is no longer the present one's.
    pub(crate) fn forget_answer(&mut self) {
        self.answer = None;
    }

    pub(crate) fn has_event(&self) -> bool {
        self.pending.is_some()
    }

    pub(crate) fn take_event(&mut self) -> Option<PendingInvocation> {
        self.pending.take()
    }

    /// `response` and `error` of an invocation.
    pub(crate) fn answer(&mut self, request_id: &str, answer: RuntimeAnswer) -> Result<(), Refusal> {
        if self.request_id.as_deref() != Some(request_id) {
            return Err(Refusal::InvalidRequestId);
        }
        if self.stage != Stage::Running {
            return Err(Refusal::InvalidStateTransition);
        }
        self.stage = Stage::Answered;
        let (answer, verdict) = checked(answer);
        self.answer = Some(answer);
        verdict
    }

    /// `init/error`.
    pub(crate) fn init_error(&mut self, report: ErrorReport) -> Result<(), Refusal> {
        if self.stage != Stage::Starting {
            return Err(Refusal::InvalidStateTransition);
        }
        self.stage = Stage::Failed;
        self.init_error = Some(report);
        Ok(())
    }
}

/// A response that is too large is refused, and its caller gets an error in its place.
pub(crate) fn checked(answer: RuntimeAnswer) -> (RuntimeAnswer, Result<(), Refusal>) {
    let too_large =
        matches!(&answer.result, RuntimeResult::Response(payload) if payload.len() > RESPONSE_LIMIT_BYTES);
    if !too_large {
        return (answer, Ok(()));
    }
    let message = format!(
        "Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
    );
    let error_type = "Function.ResponseSizeTooLarge";
    let payload = serde_json::json!({"errorMessage": message, "errorType": error_type}).to_string();
    let report = ErrorReport { error_type: error_type.to_owned(), payload: payload.into(), xray_cause: None };
    let answer = RuntimeAnswer { result: RuntimeResult::Error(report), ..answer };
    (answer, Err(Refusal::RequestEntityTooLarge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(size: usize) -> RuntimeAnswer {
        RuntimeAnswer {
            result: RuntimeResult::Response(vec![b'x'; size].into()),
            at: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn running() -> RuntimeState {
        let mut runtime = RuntimeState::default();
        runtime.next(Instant::now()).unwrap();
        runtime.release(PendingInvocation {
            request_id: "one".to_owned(),
            event: Bytes::new(),
            deadline_ms: 0,
            function_arn: String::new(),
            trace_header: String::new(),
        });
        runtime
    }

    #[test]
    fn one_invocation_after_the_other() {
        let mut runtime = running();
        assert!(!runtime.is_ready());
        assert_eq!(runtime.next(Instant::now()), Err(Refusal::InvalidStateTransition));
        assert!(runtime.take_event().is_some());
        assert!(runtime.answer("one", answer(1)).is_ok());
        assert!(!runtime.is_ready());
        assert_eq!(runtime.next(Instant::now()), Ok(()));
        assert!(runtime.is_ready());
    }

    #[test]
    fn wrong_ids_second_answers_and_large_ones_are_refused() {
        let mut runtime = running();
        assert_eq!(runtime.answer("two", answer(1)), Err(Refusal::InvalidRequestId));
        assert_eq!(runtime.answer("one", answer(1)), Ok(()));
        assert_eq!(runtime.answer("one", answer(1)), Err(Refusal::InvalidStateTransition));
        assert_eq!(running().answer("one", answer(RESPONSE_LIMIT_BYTES)), Ok(()));
        let mut runtime = running();
        let refused = runtime.answer("one", answer(RESPONSE_LIMIT_BYTES + 1));
        assert_eq!(refused, Err(Refusal::RequestEntityTooLarge));
        let Some(RuntimeAnswer { result: RuntimeResult::Error(report), .. }) = runtime.answer else {
            panic!("the caller hears of it");
        };
        assert_eq!(report.error_type, "Function.ResponseSizeTooLarge");
    }

    #[test]
    fn an_init_error_is_taken_once_and_only_before_the_first_next() {
        let report = ErrorReport { error_type: "X".to_owned(), payload: Bytes::new(), xray_cause: None };
        let mut runtime = RuntimeState::default();
        assert_eq!(runtime.init_error(report.clone()), Ok(()));
        assert_eq!(runtime.init_error(report.clone()), Err(Refusal::InvalidStateTransition));
        assert_eq!(runtime.next(Instant::now()), Err(Refusal::InvalidStateTransition));
        assert_eq!(running().init_error(report), Err(Refusal::InvalidStateTransition));
    }
}
