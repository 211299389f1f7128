//! The Runtime API of section 4: events go out to the runtime, its answers and errors come in.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::call::{Call, Reply, not_found};
use crate::lambda::config::InitializationType;
use crate::lambda::state::Platform;
use crate::lambda::state::runtime::{ErrorReport, Refusal, RuntimeAnswer, RuntimeResult, RuntimeState};

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const XRAY_CAUSE: &str = "lambda-runtime-function-xray-error-cause";

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
        Self::error(status, refusal.error_type(), &refusal.to_string())
    }
}

/// Answers a call below `/2018-06-01`.
pub(super) async fn answer(platform: &Platform, call: &Call, path: &str) -> Reply {
    match (&call.method, path) {
        (&Method::GET, "/ping") => Reply::json(StatusCode::OK, "pong"),
        (&Method::GET, "/runtime/invocation/next") => next_invocation(platform).await,
        (&Method::POST, "/runtime/init/error") => report(platform, call, RuntimeState::init_error),
        (&Method::GET, "/runtime/restore/next") => next_restore(platform).await,
        (&Method::POST, "/runtime/restore/error") => report(platform, call, RuntimeState::restore_error),
        (&Method::POST, path) => {
            let invocation = path.strip_prefix("/runtime/invocation/").and_then(|rest| rest.split_once('/'));
            match invocation {
                Some((request_id, "response")) => response(platform, call, request_id),
                Some((request_id, "error")) => {
                    finish(platform, request_id, RuntimeResult::Error(error_report(call, &call.headers)))
                }
                _ => not_found(call),
            }
        }
        _ => not_found(call),
    }
}

/// Only under `SnapStart`; elsewhere there is no such call.
async fn next_restore(platform: &Platform) -> Reply {
    if platform.config.initialization_type != InitializationType::SnapStart {
        return Reply::error(StatusCode::NOT_FOUND, "NotFound", "only a function with SnapStart is restored");
    }
    let waits = platform.update(|state| {
        state.extensions.close();
        state.runtime.restore_next().map(|()| state.generation)
    });
    let generation = match waits {
        Ok(generation) => generation,
        Err(refusal) => return refusal.into(),
    };
    let present = platform
        .wait(|state| {
            let present = state.generation == generation;
            (!present || state.runtime.is_restored()).then_some(present)
        })
        .await;
    if present { Reply::json(StatusCode::OK, "") } else { Refusal::InvalidStateTransition.into() }
}

async fn next_invocation(platform: &Platform) -> Reply {
    let allowed = platform.update(|state| {
        state.extensions.close();
        state.runtime.next(Instant::now()).map(|()| state.generation)
    });
    let generation = match allowed {
        Ok(generation) => generation,
        Err(refusal) => return refusal.into(),
    };
    let invocation = loop {
        let present = platform
            .wait(|state| {
                let present = state.generation == generation;
                let waiting = state.runtime.has_event() || state.managed.has_event();
                (!present || waiting).then_some(present)
            })
            .await;
        if !present {
            return Refusal::InvalidStateTransition.into();
        }
        if let Some(invocation) =
            platform.update(|state| state.runtime.take_event().or_else(|| state.managed.take_event()))
        {
            break invocation;
        }
    };
    Reply::json(StatusCode::OK, invocation.event)
        .with_header("lambda-runtime-aws-request-id", &invocation.request_id)
        .with_header("lambda-runtime-deadline-ms", &invocation.deadline_ms.to_string())
        .with_header("lambda-runtime-invoked-function-arn", &invocation.function_arn)
        .with_header("lambda-runtime-trace-id", &invocation.trace_header)
}

/// `response`. A streamed one ends in an error when its trailers say so (L-4.1).
fn response(platform: &Platform, call: &Call, request_id: &str) -> Reply {
    let result = if call.trailers.contains_key(ERROR_TYPE) {
        RuntimeResult::Error(error_report(call, &call.trailers))
    } else {
        RuntimeResult::Response(call.body.clone())
    };
    finish(platform, request_id, result)
}

fn error_report(call: &Call, headers: &http::HeaderMap) -> ErrorReport {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // Without the header the type is in the body, as every runtime client sends it.
    let error_type =
        text(ERROR_TYPE).or_else(|| type_in(&call.body)).unwrap_or_else(|| "Unhandled".to_owned());
    ErrorReport {
        error_type,
        payload: call.body.clone(),
        xray_cause: text(XRAY_CAUSE).filter(|cause| !cause.is_empty()),
    }
}

fn type_in(body: &Bytes) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get("errorType")?.as_str().map(str::to_owned)
}

fn finish(platform: &Platform, request_id: &str, result: RuntimeResult) -> Reply {
    let answer = RuntimeAnswer { result, at: Instant::now(), wall: SystemTime::now() };
    let managed = platform.config.initialization_type.is_managed();
    let verdict = platform.update(|state| {
        if managed {
            state.managed.answer(request_id, answer)
        } else {
            state.runtime.answer(request_id, answer)
        }
    });
    match verdict {
        Ok(()) => Reply::accepted(),
        Err(refusal) => refusal.into(),
    }
}

type Report = fn(&mut RuntimeState, ErrorReport) -> Result<(), Refusal>;

/// `init/error` and `restore/error`.
fn report(platform: &Platform, call: &Call, take: Report) -> Reply {
    let report = error_report(call, &call.headers);
    match platform.update(|state| take(&mut state.runtime, report)) {
        Ok(()) => Reply::accepted(),
        Err(refusal) => refusal.into(),
    }
}
