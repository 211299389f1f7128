//! The caller of an invocation, and what it gets: an answer, once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::lambda::event_log::Event;
use crate::lambda::state::Platform;

/// What the caller of a function gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub request_id: String,
    /// The response, or the error object, byte for byte as the runtime sent it.
    pub payload: Bytes,
    /// Set when Lambda would answer with `X-Amz-Function-Error`.
    pub error: Option<FunctionError>,
    /// The trace header as the runtime gets it.
    pub runtime_trace_header: String,
    /// The trace header in the extensions' INVOKE event.
    pub extension_trace_header: String,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        self.error.is_none()
    }
}

/// Why an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// The exception's type, or `Runtime.ExitError`, `Sandbox.Timedout`, `Extension.Crash` and their like.
    pub error_type: String,
    pub message: String,
    /// JSON that the runtime sent for X-Ray.
    pub xray_cause: Option<String>,
}

/// The one who waits for the answer.
pub(crate) struct Caller {
    platform: Arc<Platform>,
    answer: Option<oneshot::Sender<Answer>>,
    /// Kept back until the extensions are ready (SIM-9).
    held: Option<Answer>,
}

impl Caller {
    pub(crate) fn new(platform: Arc<Platform>, answer: oneshot::Sender<Answer>) -> Self {
        Self { platform, answer: Some(answer), held: None }
    }

    pub(crate) fn is_served(&self) -> bool {
        self.answer.is_none()
    }

    pub(crate) fn offer(&mut self, answer: Answer, hold: bool) {
        self.held = Some(answer);
        if !hold {
            self.serve();
        }
    }

    pub(crate) fn overrule(&mut self, answer: Answer) {
        self.offer(answer, false);
    }

    pub(crate) fn serve(&mut self) {
        if let (Some(sender), Some(answer)) = (self.answer.take(), self.held.take()) {
            self.platform.log.push(Event::AnswerDelivered { request_id: answer.request_id.clone() });
            // A caller that went away does not end the invocation.
            let _ = sender.send(answer);
        }
    }
}
