//! One `PutTraceSegments` request, with its retries (PTS-3 to PTS-6, BET-32, BET-34).

use crate::translate::TranslatedDocument;
use aws_sdk_xray::Client;
use aws_sdk_xray::error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError};
use aws_sdk_xray::operation::put_trace_segments::PutTraceSegmentsError;
use std::time::Duration;
use tokio::time::Instant;

const MAX_TRIES: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// What became of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// X-Ray took the request, and all documents but these.
    Accepted { unprocessed: Vec<Unprocessed> },
    /// The request itself was wrong; the same again would be too.
    Refused { code: String, message: String },
    /// The caller may not, and this is what to do about it.
    Denied(String),
    /// Nobody answered, or not now.
    Unreachable(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unprocessed {
    pub(super) id: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// What a failed try asks for.
enum Next {
    GiveUp(Outcome),
    AtOnce(String),
    BackOff(String),
}

/// Sends one batch, and tries again where that can help and time is left.
pub(super) async fn send(client: &Client, batch: &[TranslatedDocument], until: Instant) -> Outcome {
    let mut backoff = FIRST_BACKOFF;
    let mut tries = 0;
    loop {
        tries += 1;
        let request = client
            .put_trace_segments()
            .set_trace_segment_documents(Some(batch.iter().map(|document| document.json.clone()).collect()));
        let error = match request.send().await {
            Ok(answer) => {
                let unprocessed = answer.unprocessed_trace_segments().iter().map(|segment| Unprocessed {
                    id: segment.id().unwrap_or("(no id)").to_owned(),
                    code: segment.error_code().unwrap_or("Unknown").to_owned(),
                    message: segment.message().unwrap_or_default().to_owned(),
                });
                return Outcome::Accepted { unprocessed: unprocessed.collect() };
            }
            Err(error) => error,
        };
        match after(&error) {
            Next::GiveUp(outcome) => return outcome,
            // A kept-alive connection may have died while the environment was frozen.
            Next::AtOnce(_) if tries == 1 => {}
            Next::BackOff(message) if tries < MAX_TRIES => {
                let pause = jittered(backoff);
                if Instant::now() + pause >= until {
                    return Outcome::Unreachable(message);
                }
                tokio::time::sleep(pause).await;
                backoff *= 2;
            }
            Next::AtOnce(message) | Next::BackOff(message) => return Outcome::Unreachable(message),
        }
    }
}

fn after(error: &SdkError<PutTraceSegmentsError>) -> Next {
    let text = || DisplayErrorContext(error).to_string();
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or("Unknown").to_owned();
            let message = answer.err().message().unwrap_or_default().to_owned();
            match status {
                429 | 500..=599 => Next::BackOff(format!("X-Ray answered {status} {code}")),
                401 | 403 => Next::GiveUp(Outcome::Denied(denied(&code, &message))),
                _ => Next::GiveUp(Outcome::Refused { code, message }),
            }
        }
        SdkError::ConstructionFailure(_) => Next::GiveUp(Outcome::Denied(format!(
            "the request to X-Ray could not be made, check the function's credentials and region: {}",
            short(&text())
        ))),
        _ if text().contains("CredentialsNotLoaded") => Next::GiveUp(Outcome::Denied(
            "no AWS credentials in the environment, spans are kept: give the function an execution role that allows \
             xray:PutTraceSegments"
                .to_owned(),
        )),
        _ => Next::AtOnce(short(&text())),
    }
}

fn denied(code: &str, message: &str) -> String {
    format!(
        "X-Ray refused the function's role ({code}: {}): allow xray:PutTraceSegments, for example with the managed policy \
         AWSXRayDaemonWriteAccess",
        short(message)
    )
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Full jitter. The clock's last digits are random enough to spread a fleet.
fn jittered(most: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    most * (nanos % 1000) / 1000
}
