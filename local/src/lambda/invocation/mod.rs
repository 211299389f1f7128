//! One invocation: what is fixed when it begins, its caller, and what the platform says and writes of it. `lifecycle`
//! makes one of each request, and has it turn what the processes do into events, answers and records.

mod caller;
mod records;
mod segments;
mod trace_header;

pub(crate) use caller::Caller;
pub use caller::{Answer, FunctionError};
pub use trace_header::TraceHeader;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::lambda::clock::epoch_ms;
use crate::lambda::state::Platform;
use crate::lambda::state::runtime::{ErrorReport, PendingInvocation, RuntimeResult};
use trace_header::InvocationTrace;

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

    /// What the extensions get.
    pub(crate) fn invoke_event(&self, platform: &Platform) -> String {
        json!({
            "eventType": "INVOKE",
            "deadlineMs": self.deadline_ms,
            "requestId": self.request_id,
            "invokedFunctionArn": platform.config.function_arn(),
            "tracing": {"type": "X-Amzn-Trace-Id", "value": self.trace.extension_header},
        })
        .to_string()
    }

    pub(crate) fn timeout_message(&self) -> String {
        format!("Task timed out after {:.2} seconds", self.timeout.as_secs_f64())
    }

    fn answer(&self, payload: Bytes, error: Option<FunctionError>) -> Answer {
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
