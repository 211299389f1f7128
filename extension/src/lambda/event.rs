//! The events of the Extensions API.

use lambda_extension::NextEvent;
use serde_json::Value;

/// What Lambda says of an invocation when it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invoke {
    pub request_id: String,
    /// Epoch milliseconds; 0 when the platform did not say.
    pub deadline_ms: u64,
    pub function_arn: String,
    /// The incoming trace header; the runtime's may have another parent (L-12.3).
    pub trace_header: String,
}

/// The environment is about to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// `spindown`, `timeout`, `failure`, or a word of the emulator's (L-5.8).
    pub reason: String,
    /// Epoch milliseconds at which the process is killed; 0 when the platform did not say.
    pub deadline_ms: u64,
}

/// An event of the Extensions API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Invoke(Invoke),
    Shutdown(Shutdown),
}

impl Event {
    /// Reads an event. `None` for one of another kind.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).map(|event: NextEvent| event.into()).ok().or_else(|| Self::lenient(body))
    }

    /// Takes what is there and invents nothing: every field but `eventType` may be missing, and any may be of another
    /// kind than today (L-5.7, L-5.9).
    fn lenient(body: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(body).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let deadline_ms = event["deadlineMs"].as_u64().unwrap_or(0);
        match event["eventType"].as_str()? {
            "INVOKE" => Some(Self::Invoke(Invoke {
                request_id: text(&event["requestId"]),
                deadline_ms,
                function_arn: text(&event["invokedFunctionArn"]),
                trace_header: text(&event["tracing"]["value"]),
            })),
            "SHUTDOWN" => {
                Some(Self::Shutdown(Shutdown { reason: text(&event["shutdownReason"]), deadline_ms }))
            }
            _ => None,
        }
    }
}

impl From<NextEvent> for Event {
    fn from(event: NextEvent) -> Self {
        match event {
            NextEvent::Invoke(invoke) => Self::Invoke(Invoke {
                request_id: invoke.request_id,
                deadline_ms: invoke.deadline_ms,
                function_arn: invoke.invoked_function_arn,
                trace_header: invoke.tracing.value,
            }),
            NextEvent::Shutdown(shutdown) => Self::Shutdown(Shutdown {
                reason: shutdown.shutdown_reason,
                deadline_ms: shutdown.deadline_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_10_l_5_7_unknown_and_missing_fields_are_no_failure() {
        let full = br#"{"eventType":"INVOKE","deadlineMs":5,"requestId":"r","invokedFunctionArn":"a",
            "tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"},"new":[]}"#;
        let invoke = Invoke {
            request_id: "r".into(),
            deadline_ms: 5,
            function_arn: "a".into(),
            trace_header: "Root=1".into(),
        };
        let invoked = |invoke: &Invoke| Some(Event::Invoke(invoke.clone()));
        assert_eq!(Event::parse(full), invoked(&invoke));
        let untyped = String::from_utf8_lossy(full).replace("\"type\":\"X-Amzn-Trace-Id\",", "");
        assert_eq!(Event::parse(untyped.as_bytes()), invoked(&invoke));
        assert_eq!(Event::parse(br#"{"eventType":"INVOKE"}"#), invoked(&Invoke::default()));
        for (deadline, deadline_ms) in [("", 0), (",\"deadlineMs\":7", 7), (",\"deadlineMs\":null", 0)] {
            let shutdown =
                format!("{{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"ReserveFail\"{deadline}}}");
            assert_eq!(
                Event::parse(shutdown.as_bytes()),
                Some(Event::Shutdown(Shutdown { reason: "ReserveFail".into(), deadline_ms }))
            );
        }
        assert_eq!(Event::parse(br#"{"eventType":"RESTORE"}"#), None);
        assert_eq!(Event::parse(b"not json"), None);
    }
}
