//! What the platform tells of initialisations and invocations over the Telemetry API (L-6.1, section 6.3 of its
//! records). Pure.
//!
//! Everything but the record's type may be missing or new: unknown types are skipped one by one, unknown words are
//! kept as they are (L-6.8, T-10).

use crate::received::platform::{
    Finished, InitStart, InvocationDone, Metrics, Phase, PlatformEvent, PlatformRecord, PlatformSpan, Start,
    Status, Tracing,
};
use serde_json::Value;
use std::time::Duration;

/// Why a delivery could not be read at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlatformError {
    #[error("a delivery of the Telemetry API is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a delivery of the Telemetry API is not an array")]
    NotAnArray,
}

/// What a delivery holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Delivery {
    pub(super) events: Vec<PlatformEvent>,
    /// Records of a type that is not listed above.
    pub(super) skipped: usize,
}

/// Reads the body of one delivery.
pub(super) fn parse(body: &[u8]) -> Result<Delivery, PlatformError> {
    let Value::Array(records) = serde_json::from_slice(body)? else {
        return Err(PlatformError::NotAnArray);
    };
    let all = records.len();
    let events: Vec<PlatformEvent> = records.iter().filter_map(event).collect();
    Ok(Delivery { skipped: all - events.len(), events })
}

fn event(event: &Value) -> Option<PlatformEvent> {
    let record = &event["record"];
    let record = match event["type"].as_str()? {
        "platform.initStart" => PlatformRecord::InitStart(InitStart {
            initialization_type: text(&record["initializationType"]),
            phase: phase(record),
            tracing: tracing(record),
        }),
        "platform.initRuntimeDone" => PlatformRecord::InitRuntimeDone(finished(record)),
        "platform.initReport" => PlatformRecord::InitReport(finished(record)),
        "platform.restoreStart" => PlatformRecord::RestoreStart,
        "platform.restoreRuntimeDone" => PlatformRecord::RestoreRuntimeDone(finished(record)),
        "platform.restoreReport" => PlatformRecord::RestoreReport(finished(record)),
        "platform.start" => {
            PlatformRecord::Start(Start { request_id: text(&record["requestId"]), tracing: tracing(record) })
        }
        "platform.runtimeDone" => PlatformRecord::RuntimeDone(invocation_done(record)),
        "platform.report" => PlatformRecord::Report(invocation_done(record)),
        _ => return None,
    };
    Some(PlatformEvent { time_unix_nano: unix_nano(&event["time"]), record })
}

fn finished(record: &Value) -> Finished {
    Finished {
        initialization_type: text(&record["initializationType"]),
        phase: phase(record),
        status: status(record),
        error_type: text(&record["errorType"]),
        duration_ms: record["metrics"]["durationMs"].as_f64(),
        tracing: tracing(record),
    }
}

fn invocation_done(record: &Value) -> InvocationDone {
    let metrics = &record["metrics"];
    InvocationDone {
        request_id: text(&record["requestId"]),
        status: status(record),
        error_type: text(&record["errorType"]),
        metrics: Metrics {
            duration_ms: metrics["durationMs"].as_f64(),
            billed_duration_ms: metrics["billedDurationMs"].as_f64(),
            init_duration_ms: metrics["initDurationMs"].as_f64(),
            restore_duration_ms: metrics["restoreDurationMs"].as_f64(),
            produced_bytes: metrics["producedBytes"].as_u64(),
            memory_size_mb: metrics["memorySizeMB"].as_u64(),
            max_memory_used_mb: metrics["maxMemoryUsedMB"].as_u64(),
        },
        spans: record["spans"].as_array().into_iter().flatten().map(span).collect(),
        tracing: tracing(record),
    }
}

fn span(span: &Value) -> PlatformSpan {
    PlatformSpan {
        name: text(&span["name"]),
        start_unix_nano: unix_nano(&span["start"]),
        duration_ms: span["durationMs"].as_f64().unwrap_or_default(),
    }
}

fn tracing(record: &Value) -> Tracing {
    let tracing = &record["tracing"];
    Tracing { span_id: text(&tracing["spanId"]), value: text(&tracing["value"]) }
}

fn phase(record: &Value) -> Phase {
    match record["phase"].as_str() {
        Some("init") => Phase::Init,
        Some("invoke") => Phase::Invoke,
        Some("snap-start") => Phase::SnapStart,
        Some(other) => Phase::Other(other.to_owned()),
        None => Phase::Unsaid,
    }
}

fn status(record: &Value) -> Status {
    match record["status"].as_str() {
        Some("success") => Status::Success,
        Some("failure") => Status::Failure,
        Some("error") => Status::Error,
        Some("timeout") => Status::Timeout,
        Some(other) => Status::Other(other.to_owned()),
        None => Status::Unsaid,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn unix_nano(time: &Value) -> u64 {
    time.as_str().and_then(parse_time).unwrap_or_default()
}

/// `2025-01-29T08:15:30.123Z`, with any number of decimals, as nanoseconds since the epoch.
fn parse_time(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let second: u64 = second.parse().ok()?;
    let in_range = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !in_range {
        return None;
    }
    let nanos = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    // Years are counted from March, so that the leap day is a year's last.
    let year = if month < 3 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(Duration::new(seconds, 0).as_nanos()).ok()?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.5Z", Some(500_000_000)),
            ("2000-02-29T23:59:59.999Z", Some(951_868_799_999_000_000)),
            ("2025-01-29T08:15:30.123456789123Z", Some(1_738_138_530_123_456_789)),
            ("2024-03-01T00:00:00.000Z", Some(1_709_251_200_000_000_000)),
            ("2025-13-01T00:00:00Z", None),
            ("2025-01-29T08:15:30.12x", None),
            ("2025-01-29T08:15:30.-1Z", None),
            ("2025-01-29", None),
            ("yesterday", None),
            ("99999-01-01T00:00:00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn an_invocation_s_end_is_read_with_what_it_cost() {
        let body = json!([{"time": "1970-01-01T00:00:01.000Z", "type": "platform.report", "record": {
            "requestId": "r", "status": "timeout", "errorType": "Runtime.Unknown",
            "metrics": {"durationMs": 3000.0, "billedDurationMs": 3000, "memorySizeMB": 512, "maxMemoryUsedMB": 511,
                        "initDurationMs": 12.5},
            "spans": [{"name": "extensionOverhead", "start": "1970-01-01T00:00:00.5Z", "durationMs": 1.5}],
            "tracing": {"type": "X-Amzn-Trace-Id", "spanId": "53995c3f42cd8ad8", "value": "Root=1-2-3"},
        }}]);
        let delivery = parse(body.to_string().as_bytes()).unwrap();
        let done = InvocationDone {
            request_id: "r".into(),
            status: Status::Timeout,
            error_type: "Runtime.Unknown".into(),
            metrics: Metrics {
                duration_ms: Some(3000.0),
                billed_duration_ms: Some(3000.0),
                init_duration_ms: Some(12.5),
                memory_size_mb: Some(512),
                max_memory_used_mb: Some(511),
                ..Metrics::default()
            },
            spans: vec![PlatformSpan {
                name: "extensionOverhead".into(),
                start_unix_nano: 500_000_000,
                duration_ms: 1.5,
            }],
            tracing: Tracing { span_id: "53995c3f42cd8ad8".into(), value: "Root=1-2-3".into() },
        };
        let event = PlatformEvent { time_unix_nano: 1_000_000_000, record: PlatformRecord::Report(done) };
        assert_eq!(delivery, Delivery { events: vec![event], skipped: 0 });
    }

    #[test]
    fn initialisations_are_read_with_their_phase() {
        let body = json!([
            {"time": "", "type": "platform.initStart",
             "record": {"initializationType": "on-demand", "phase": "invoke", "functionName": "f"}},
            {"type": "platform.initRuntimeDone",
             "record": {"initializationType": "snap-start", "phase": "dream", "status": "failure",
                        "errorType": "Runtime.ExitError"}},
            {"type": "platform.restoreReport", "record": {"status": "success", "metrics": {"durationMs": 7}}},
            {"type": "platform.restoreStart", "record": {}},
        ]);
        let records: Vec<PlatformRecord> = parse(body.to_string().as_bytes())
            .unwrap()
            .events
            .into_iter()
            .map(|event| event.record)
            .collect();
        let expected = [
            PlatformRecord::InitStart(InitStart {
                initialization_type: "on-demand".into(),
                phase: Phase::Invoke,
                tracing: Tracing::default(),
            }),
            PlatformRecord::InitRuntimeDone(Finished {
                initialization_type: "snap-start".into(),
                phase: Phase::Other("dream".into()),
                status: Status::Failure,
                error_type: "Runtime.ExitError".into(),
                ..Finished::default()
            }),
            PlatformRecord::RestoreReport(Finished {
                status: Status::Success,
                duration_ms: Some(7.0),
                ..Finished::default()
            }),
            PlatformRecord::RestoreStart,
        ];
        assert_eq!(records, expected);
    }

    #[test]
    fn t_10_what_is_unknown_costs_only_itself() {
        let body = json!([
            {"time": "1970-01-01T00:00:00Z", "type": "platform.dream", "record": {}},
            {"type": 7, "record": "text"},
            "not an object",
            null,
            {"type": "function", "record": "a line"},
            {"type": "platform.runtimeDone", "record": "old schema: a text"},
            {"type": "platform.runtimeDone",
             "record": {"requestId": "r", "status": "splendid", "metrics": 5, "spans": "none", "tracing": []}},
        ]);
        let delivery = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(delivery.skipped, 5);
        let expected = [
            InvocationDone::default(),
            InvocationDone {
                request_id: "r".into(),
                status: Status::Other("splendid".into()),
                ..InvocationDone::default()
            },
        ]
        .map(|done| PlatformEvent { time_unix_nano: 0, record: PlatformRecord::RuntimeDone(done) });
        assert_eq!(delivery.events, expected);
        assert!(matches!(parse(b"[{]"), Err(PlatformError::Json(_))));
        assert!(matches!(parse(b"{}"), Err(PlatformError::NotAnArray)));
    }
}
