//! One `PutTraceSegments` request, with its retries (PTS-3 to PTS-6, BET-32, BET-34).

use super::answer::Refusal;
use super::verdict::{Answered, Next, Outcome, somebody_else, verdict};
use crate::export::answers::quoted::{Quoted, aws_code, code};
use crate::export::answers::trouble::{Trouble, Troubles, causes, told};
use crate::export::client::Session;
use crate::export::client::connector::OddSuccess;
use crate::export::client::own::LeadsHere;
use crate::export::pacing::backoff::{Jitter, Persistence, http_date, retry_after};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_xray::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_xray::operation::put_trace_segments::{PutTraceSegmentsError, PutTraceSegmentsOutput};
use aws_sdk_xray::types::UnprocessedTraceSegment;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::LengthLimitError;
use std::error::Error;
use std::time::SystemTime;

/// Sends one request, and tries again where that can help and time is left.
pub(crate) async fn send(
    session: &Session,
    documents: &[String],
    persistence: Persistence,
    mut jitter: Jitter,
) -> (Outcome, Troubles) {
    let mut troubles = Troubles::default();
    if let Err(trouble) = &session.endpoint {
        return (Outcome::Denied(trouble.clone()), troubles);
    }
    let (mut reconnected, mut resigned, mut renewed) = (false, false, false);
    let mut tries = 0;
    loop {
        let request =
            session.client.put_trace_segments().set_trace_segment_documents(Some(documents.to_vec()));
        let error = match request.send().await {
            Ok(answer) => match refusals(&answer, documents) {
                Some(refusals) => return (Outcome::Accepted { refusals }, troubles),
                None => return (Outcome::Denied(somebody_else(200, session.at(), None)), troubles),
            },
            Err(error) => error,
        };
        troubles.count(trouble(&error));
        let (message, asked) = match after(&error, session, documents) {
            Next::Resign(_) if !resigned => {
                resigned = true;
                continue;
            }
            Next::Renew(_) if !renewed && session.credentials.renew() => {
                renewed = true;
                continue;
            }
            Next::GiveUp(outcome) | Next::Resign(outcome) | Next::Renew(outcome) => {
                return (outcome, troubles);
            }
            Next::Reconnect(_) if !reconnected && persistence.reconnects() => {
                reconnected = true;
                // The other idle connections are as old as the one that failed.
                session.connections.renew();
                continue;
            }
            Next::Reconnect(message) => (message, None),
            Next::BackOff { message, asked } => (message, asked),
        };
        tries += 1;
        match persistence.pause(tries, asked, &mut jitter) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return (Outcome::Unreachable { message, asked }, troubles),
        }
    }
}

/// What X-Ray has refused; `None` where the answer is not X-Ray's, which always lists it (PTS-3).
fn refusals(answer: &PutTraceSegmentsOutput, documents: &[String]) -> Option<Vec<Refusal>> {
    let refused = answer.unprocessed_trace_segments.as_ref()?;
    let messages = refused.iter().filter_map(UnprocessedTraceSegment::message);
    let quoted = quoted(messages, documents);
    let refusal = |segment: &UnprocessedTraceSegment| Refusal {
        id: segment.id().map(str::to_owned),
        code: code(segment.error_code().unwrap_or_default()),
        message: quoted.out_of(segment.message().unwrap_or_default()),
    };
    Some(refused.iter().map(refusal).collect())
}

fn quoted<'a>(messages: impl IntoIterator<Item = &'a str>, documents: &[String]) -> Quoted {
    Quoted::find(messages, |out| {
        documents.iter().try_for_each(|document| {
            out.write_str(document)?;
            out.write_char(' ')
        })
    })
}

fn after(error: &SdkError<PutTraceSegmentsError>, session: &Session, documents: &[String]) -> Next {
    let text = || told(error);
    if let Some(raw) = error.raw_response() {
        let is_broken_off = matches!(error, SdkError::ResponseError(_)) && !is_too_long(error);
        if is_broken_off && raw.status().is_success() {
            return Next::BackOff { message: format!("{}: {}", session.at(), text()), asked: None };
        }
        return verdict(answered(error, raw, documents), session.at(), SystemTime::now());
    }
    if let Some(OddSuccess(status)) = causes(error).find_map(<dyn Error>::downcast_ref) {
        return verdict(Answered { status: *status, ..Answered::default() }, session.at(), SystemTime::now());
    }
    if let Some(circle) = LeadsHere::behind(error) {
        return Next::GiveUp(Outcome::Denied(told_of(circle)));
    }
    match causes(error).find_map(<dyn Error>::downcast_ref::<CredentialsError>) {
        Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
            Next::GiveUp(Outcome::Denied(format!(
                "there are no AWS credentials to use, spans are kept: give the function an execution role that \
                 allows xray:PutTraceSegments ({})",
                text()
            )))
        }
        Some(_) => {
            Next::BackOff { message: format!("the credentials could not be had: {}", text()), asked: None }
        }
        None => match error {
            SdkError::ConstructionFailure(_) => Next::GiveUp(Outcome::Denied(format!(
                "the request to X-Ray could not be made, check the function's region: {}",
                text()
            ))),
            // A failure before the answer began: a kept connection may have died while the environment was frozen.
            SdkError::DispatchFailure(_) => Next::Reconnect(text()),
            _ => Next::BackOff { message: text(), asked: None },
        },
    }
}

fn answered(error: &SdkError<PutTraceSegmentsError>, raw: &HttpResponse, documents: &[String]) -> Answered {
    let header = |name: &str| raw.headers().get(name);
    let named = header("x-amzn-errortype").or_else(|| error.code());
    let message = error.message().unwrap_or_default();
    Answered {
        status: raw.status().as_u16(),
        code: named.map(aws_code),
        message: quoted([message], documents).out_of(message),
        asked: retry_after(header("retry-after"), header("date"), SystemTime::now()),
        date: header("date").and_then(http_date),
        location: header("location").map(str::to_owned),
    }
}

/// Whether an answer was longer than any of X-Ray's.
fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<LengthLimitError>)
}

fn trouble(error: &SdkError<PutTraceSegmentsError>) -> Trouble {
    match error.raw_response() {
        Some(answer) => Trouble::of_status(answer.status().as_u16()),
        None => Trouble::of_error(error),
    }
}

fn told_of(circle: LeadsHere) -> String {
    format!(
        "AWS_ENDPOINT_URL_XRAY (or AWS_ENDPOINT_URL) names no X-Ray, {circle}; set it to X-Ray's address, or unset it: \
         until then spans are kept"
    )
}
