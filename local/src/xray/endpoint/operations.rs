//! The operations: what each request body asks for, and the answer in the shape of the AWS service model.

use super::faults::Faults;
use super::sampling::Sampling;
use crate::xray::traces::{Filter, Store, Trace, Unprocessed, service_graph, summary};
use serde_json::{Value, json};

/// Documents in one `PutTraceSegments` (LIM-3).
const MAX_DOCUMENTS: usize = 50;

/// Status, error type and message.
pub(super) type ApiError = (u16, &'static str, String);

pub(super) fn dispatch(
    path: &str,
    body: &[u8],
    store: &Store,
    faults: &Faults,
    sampling: &Sampling,
) -> Result<Value, ApiError> {
    let request = || -> Result<Value, ApiError> {
        serde_json::from_slice(body).map_err(|error| invalid(format!("not JSON: {error} (PTS-2)")))
    };
    let operation = match path {
        "/GetSamplingRules" => return sampling.rules(&request()?).map_err(invalid),
        "/SamplingTargets" => return sampling.targets(&request()?).map_err(invalid),
        "/TraceSegments" => put_trace_segments,
        "/TelemetryRecords" => put_telemetry_records,
        "/Traces" => batch_get_traces,
        "/TraceSummaries" => get_trace_summaries,
        "/ServiceGraph" => get_service_graph,
        _ => {
            let message = format!("{path} is not an operation of this local endpoint");
            return Err((404, "UnknownOperationException", message));
        }
    };
    operation(&request()?, store, faults)
}

fn invalid(message: impl Into<String>) -> ApiError {
    (400, "InvalidRequestException", message.into())
}

pub(super) fn count_documents(body: &[u8]) -> usize {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    request["TraceSegmentDocuments"].as_array().map_or(0, Vec::len)
}

fn put_trace_segments(request: &Value, store: &Store, faults: &Faults) -> Result<Value, ApiError> {
    let Some(documents) = request.get("TraceSegmentDocuments").and_then(Value::as_array) else {
        return Err(invalid("TraceSegmentDocuments is required (PTS-2)"));
    };
    if documents.len() > MAX_DOCUMENTS {
        return Err(invalid(format!("Exceeding maximum segment count: {MAX_DOCUMENTS} (LIM-3)")));
    }
    let texts: Option<Vec<&str>> = documents.iter().map(Value::as_str).collect();
    let Some(texts) = texts else {
        return Err(invalid("each of TraceSegmentDocuments is a string (PTS-2)"));
    };
    let mut unprocessed = Vec::new();
    for text in texts {
        match faults.refusal_of(text) {
            Some((code, message)) => {
                let document: Value = serde_json::from_str(text).unwrap_or_default();
                let id = document["id"].as_str().map(str::to_owned);
                unprocessed.push(Unprocessed { id, code: code.to_owned(), message });
            }
            None => unprocessed.extend(store.put_documents(vec![text.to_owned()])),
        }
    }
    let hidden = faults.ids_hidden();
    let entry = |one: Unprocessed| json!({"Id": one.id.filter(|_| !hidden), "ErrorCode": one.code, "Message": one.message});
    Ok(json!({"UnprocessedTraceSegments": unprocessed.into_iter().map(entry).collect::<Vec<_>>()}))
}

fn put_telemetry_records(request: &Value, _: &Store, _: &Faults) -> Result<Value, ApiError> {
    let Some(records) = request.get("TelemetryRecords").and_then(Value::as_array) else {
        return Err(invalid("TelemetryRecords is required (section 6)"));
    };
    if records.iter().any(|record| !record["Timestamp"].is_number()) {
        return Err(invalid("each of TelemetryRecords needs a Timestamp (section 6)"));
    }
    for (field, limit) in [("EC2InstanceId", 20), ("Hostname", 255), ("ResourceARN", 500)] {
        if request[field].as_str().is_some_and(|text| text.chars().count() > limit) {
            return Err(invalid(format!("{field} is longer than {limit} characters (section 6)")));
        }
    }
    Ok(json!({}))
}

/// Every document as it came. A trace of nothing but subsegments has no segments and no duration (MAP-S6).
fn batch_get_traces(request: &Value, store: &Store, _: &Faults) -> Result<Value, ApiError> {
    let ids =
        request.get("TraceIds").and_then(Value::as_array).ok_or_else(|| invalid("TraceIds is required"))?;
    let (mut traces, mut unprocessed) = (Vec::new(), Vec::new());
    for id in ids.iter().filter_map(Value::as_str) {
        let Some(trace) = store.trace(id) else {
            unprocessed.push(id);
            continue;
        };
        if trace.roots.is_empty() {
            traces.push(json!({"Id": id, "LimitExceeded": false, "Segments": []}));
            continue;
        }
        let segments: Vec<Value> = store
            .documents_of(id)
            .into_iter()
            .map(|document| json!({"Id": document.id, "Document": Value::Object(document.body).to_string()}))
            .collect();
        let (start, end) = trace.start_and_end_seconds();
        traces.push(json!({"Id": id, "Duration": end - start, "LimitExceeded": false, "Segments": segments}));
    }
    Ok(json!({"Traces": traces, "UnprocessedTraceIds": unprocessed}))
}

fn get_trace_summaries(request: &Value, store: &Store, _: &Faults) -> Result<Value, ApiError> {
    let expression = request.get("FilterExpression").and_then(Value::as_str).unwrap_or_default();
    let filter = Filter::parse(expression).map_err(invalid)?;
    let (traces, [start, _]) = in_range(request, store)?;
    Ok(json!({
        "TraceSummaries": traces.iter().map(summary).filter(|one| filter.passes(one)).collect::<Vec<_>>(),
        "TracesProcessedCount": traces.len(),
        "ApproximateTime": start,
    }))
}

fn get_service_graph(request: &Value, store: &Store, _: &Faults) -> Result<Value, ApiError> {
    let (traces, [start, end]) = in_range(request, store)?;
    Ok(json!({
        "StartTime": start, "EndTime": end, "Services": service_graph(&traces), "ContainsOldGroupVersions": false,
    }))
}

/// The traces that began between `StartTime` and `EndTime`, in seconds since 1970, and these two.
fn in_range(request: &Value, store: &Store) -> Result<(Vec<Trace>, [f64; 2]), ApiError> {
    let time = |field: &str| {
        let seconds = request.get(field).and_then(Value::as_f64);
        seconds.ok_or_else(|| invalid(format!("{field} is required, in seconds since 1970")))
    };
    let [start, end] = [time("StartTime")?, time("EndTime")?];
    if start > end {
        return Err(invalid(format!("StartTime {start} is after EndTime {end}")));
    }
    let began = |trace: &Trace| (start..=end).contains(&trace.start_and_end_seconds().0);
    Ok((store.traces().into_iter().filter(began).collect(), [start, end]))
}
