//! One `PutTraceSegments` request, with its retries (PTS-3 to PTS-6, BET-32, BET-34).

use super::answer::Refusal;
use super::backoff::{Jitter, MAX_TRIES, retry_after};
use super::client::Session;
use super::own::LeadsHere;
use super::trouble::{Trouble, Troubles, causes};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_xray::error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError};
use aws_sdk_xray::operation::put_trace_segments::PutTraceSegmentsError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::error::Error;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Codes behind which a wrong clock may be. The SDK has taken down X-Ray's time with the answer, so the same request
/// is signed with that the next time (PTS-6).
const CLOCK_CODES: &[&str] = &[
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "AccessDeniedException",
];
/// From here on a difference of the clocks explains a refused signature; AWS allows five minutes.
const CLOCKS_DIFFER: Duration = Duration::from_mins(4);

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// X-Ray took the request, and all documents but these.
    Accepted { refusals: Vec<Refusal> },
    /// The request itself was wrong; the same again would be too.
    Refused { code: String, message: String },
    /// The caller may not, and this is what to do about it.
    Denied(String),
    /// Nobody answered, or not now.
    Unreachable(String),
}

/// What a failed try asks for.
enum Next {
    GiveUp(Outcome),
    /// Another connection may do.
    Reconnect(String),
    /// A signature with X-Ray's time may do.
    Resign(Outcome),
    /// `at_least` is what X-Ray asked for.
    BackOff {
        message: String,
        at_least: Option<Duration>,
    },
}

/// Sends one request, and tries again where that can help and time is left.
pub(super) async fn send(
    session: &Session,
    documents: &[String],
    until: Instant,
    mut jitter: Jitter,
) -> (Outcome, Troubles) {
    let mut troubles = Troubles::default();
    let (mut reconnected, mut resigned) = (false, false);
    let mut tries = 0;
    loop {
        let request =
            session.client.put_trace_segments().set_trace_segment_documents(Some(documents.to_vec()));
        let error = match request.send().await {
            Ok(answer) => {
                let refusals = answer.unprocessed_trace_segments().iter().map(|segment| Refusal {
                    id: segment.id().map(str::to_owned),
                    code: segment.error_code().unwrap_or("Unknown").to_owned(),
                    message: segment.message().unwrap_or_default().to_owned(),
                });
                return (Outcome::Accepted { refusals: refusals.collect() }, troubles);
            }
            Err(error) => error,
        };
        troubles.count(trouble(&error));
        let (message, at_least) = match after(&error) {
            Next::Resign(_) if !resigned => {
                resigned = true;
                continue;
            }
            Next::GiveUp(outcome) | Next::Resign(outcome) => return (outcome, troubles),
            Next::Reconnect(_) if !reconnected => {
                reconnected = true;
                // The other idle connections are as old as the one that failed.
                session.connections.renew();
                continue;
            }
            Next::Reconnect(message) => (message, None),
            Next::BackOff { message, at_least } => (message, at_least),
        };
        tries += 1;
        let pause = jitter.pause(tries).max(at_least.unwrap_or_default());
        if tries >= MAX_TRIES || Instant::now() + pause >= until {
            return (Outcome::Unreachable(message), troubles);
        }
        tokio::time::sleep(pause).await;
    }
}

fn after(error: &SdkError<PutTraceSegmentsError>) -> Next {
    let text = || short(&DisplayErrorContext(error).to_string());
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or("Unknown").to_owned();
            let message = short(answer.err().message().unwrap_or_default());
            match status.unwrap_or_default() {
                429 | 500..=599 => Next::BackOff {
                    message: format!("X-Ray answered {} {code}", status.unwrap_or_default()),
                    at_least: retry_after(answer.raw().headers().get("retry-after")),
                },
                401 | 403 => {
                    let outcome = Outcome::Denied(denied(&code, &message));
                    let clock_is_wrong = is_far_off(answer.raw().headers().get("date"), SystemTime::now());
                    if clock_is_wrong && CLOCK_CODES.contains(&code.as_str()) {
                        Next::Resign(outcome)
                    } else {
                        Next::GiveUp(outcome)
                    }
                }
                // The gateway before X-Ray answers without a code.
                413 => Next::GiveUp(Outcome::Refused { code: "RequestTooLarge".to_owned(), message }),
                _ => Next::GiveUp(Outcome::Refused { code, message }),
            }
        }
        _ => match causes(error).find_map(<dyn Error>::downcast_ref::<CredentialsError>) {
            Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
                Next::GiveUp(Outcome::Denied(format!(
                    "there are no AWS credentials to use, spans are kept: give the function an execution role that \
                     allows xray:PutTraceSegments ({})",
                    text()
                )))
            }
            Some(_) => Next::BackOff {
                message: format!("the credentials could not be had: {}", text()),
                at_least: None,
            },
            None => match error {
                _ if let Some(circle) = LeadsHere::behind(error) => {
                    Next::GiveUp(Outcome::Denied(told_of(circle)))
                }
                SdkError::ConstructionFailure(_) => Next::GiveUp(Outcome::Denied(format!(
                    "the request to X-Ray could not be made, check the function's region: {}",
                    text()
                ))),
                // A failure before the answer began: a kept connection may have died while the environment was frozen.
                SdkError::DispatchFailure(_) => Next::Reconnect(text()),
                _ => Next::BackOff { message: text(), at_least: None },
            },
        },
    }
}

/// Whether a `Date` header is far from the time here.
fn is_far_off(date: Option<&str>, now: SystemTime) -> bool {
    let Some(theirs) = date
        .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
        .and_then(|date| SystemTime::try_from(date).ok())
    else {
        return false;
    };
    let difference = theirs.duration_since(now).unwrap_or_else(|earlier| earlier.duration());
    difference > CLOCKS_DIFFER
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

fn denied(code: &str, message: &str) -> String {
    format!(
        "X-Ray refused the function's role ({code}: {message}): allow xray:PutTraceSegments, for example with the managed \
         policy AWSXRayDaemonWriteAccess"
    )
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}
