//! The operations: what each request body asks for, and the answer in the shape of the AWS service model.

use super::service_graph::service_graph;
use super::store::Store;
use super::trace::{Node, Trace};
use serde_json::{Value, json};

/// Documents in one `PutTraceSegments` (LIM-3).
const MAX_DOCUMENTS: usize = 50;

/// Status, error type and message.
pub(super) type ApiError = (u16, &'static str, String);

pub(super) fn dispatch(path: &str, body: &[u8], store: &Store) -> Result<Value, ApiError> {
    let invalid = |message: String| (400, "InvalidRequestException", message);
    let request: Value =
        serde_json::from_slice(body).map_err(|error| invalid(format!("not JSON: {error}")))?;
    match path {
        "/TraceSegments" => put_trace_segments(&request, store),
        "/TelemetryRecords" => match request.get("TelemetryRecords") {
            Some(Value::Array(_)) => Ok(json!({})),
            _ => Err(invalid("TelemetryRecords is required".to_owned())),
        },
        "/Traces" => batch_get_traces(&request, store),
        "/TraceSummaries" => {
            if request.get("FilterExpression").is_some_and(|filter| filter != "") {
                return Err(invalid("FilterExpression is not understood by this local endpoint".to_owned()));
            }
            let traces = in_range(&request, store)?;
            Ok(json!({"TraceSummaries": traces.iter().map(summary).collect::<Vec<_>>(),
                      "TracesProcessedCount": traces.len()}))
        }
        "/ServiceGraph" => Ok(json!({"Services": service_graph(&in_range(&request, store)?)})),
        _ => Err((
            404,
            "UnknownOperationException",
            format!("{path} is not an operation of this local endpoint"),
        )),
    }
}

pub(super) fn count_documents(body: &[u8]) -> usize {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    request["TraceSegmentDocuments"].as_array().map_or(0, Vec::len)
}

fn put_trace_segments(request: &Value, store: &Store) -> Result<Value, ApiError> {
    let invalid = |message: String| (400, "InvalidRequestException", message);
    let Some(documents) = request.get("TraceSegmentDocuments").and_then(Value::as_array) else {
        return Err(invalid("TraceSegmentDocuments is required (PTS-2)".to_owned()));
    };
    if documents.len() > MAX_DOCUMENTS {
        return Err(invalid(format!("Exceeding maximum segment count: {MAX_DOCUMENTS} (LIM-3)")));
    }
    let texts: Option<Vec<String>> =
        documents.iter().map(|document| document.as_str().map(str::to_owned)).collect();
    let Some(texts) = texts else {
        return Err(invalid("each of TraceSegmentDocuments is a string (PTS-2)".to_owned()));
    };
    let unprocessed: Vec<Value> = store
        .put_documents(texts)
        .into_iter()
        .map(|one| json!({"Id": one.id, "ErrorCode": one.code, "Message": one.message}))
        .collect();
    Ok(json!({"UnprocessedTraceSegments": unprocessed}))
}

fn batch_get_traces(request: &Value, store: &Store) -> Result<Value, ApiError> {
    let Some(ids) = request.get("TraceIds").and_then(Value::as_array) else {
        return Err((400, "InvalidRequestException", "TraceIds is required".to_owned()));
    };
    let documents = store.documents();
    let (mut traces, mut unprocessed) = (Vec::new(), Vec::new());
    for id in ids.iter().filter_map(Value::as_str) {
        let segments: Vec<Value> = documents
            .iter()
            .filter(|document| document.trace_id.eq_ignore_ascii_case(id))
            .map(|document| json!({"Id": document.id, "Document": Value::Object(document.body.clone()).to_string()}))
            .collect();
        match store.trace(&id.to_lowercase()) {
            Some(trace) => {
                let (start, end) = trace.span_seconds();
                traces.push(
                    json!({"Id": id, "Duration": end - start, "LimitExceeded": false, "Segments": segments}),
                );
            }
            None => unprocessed.push(id),
        }
    }
    Ok(json!({"Traces": traces, "UnprocessedTraceIds": unprocessed}))
}

/// The traces that began between `StartTime` and `EndTime`, in seconds since 1970.
fn in_range(request: &Value, store: &Store) -> Result<Vec<Trace>, ApiError> {
    let time = |field: &str| {
        request.get(field).and_then(Value::as_f64).ok_or_else(|| {
            (400, "InvalidRequestException", format!("{field} is required, in seconds since 1970"))
        })
    };
    let range = time("StartTime")?..=time("EndTime")?;
    Ok(store.traces().into_iter().filter(|trace| range.contains(&trace.span_seconds().0)).collect())
}

fn summary(trace: &Trace) -> Value {
    let segments: Vec<&Node> = trace.nodes().into_iter().filter(|node| node.is_segment).collect();
    let any = |flag: &str| segments.iter().any(|segment| segment.flag(flag));
    let (start, end) = trace.span_seconds();
    let mut annotations = serde_json::Map::new();
    for node in trace.nodes() {
        for (key, value) in node.value("/annotations").as_object().into_iter().flatten() {
            let kind = match value {
                Value::Bool(_) => "BooleanValue",
                Value::Number(_) => "NumberValue",
                _ => "StringValue",
            };
            let values = annotations.entry(key.clone()).or_insert_with(|| json!([]));
            if let Value::Array(values) = values {
                values.push(json!({"AnnotationValue": {kind: value}, "ServiceIds": []}));
            }
        }
    }
    json!({
        "Id": trace.id, "StartTime": start, "Duration": end - start,
        "ResponseTime": segments.first().and_then(|root| Some(root.end_seconds()? - root.start_seconds())),
        "HasFault": any("fault"), "HasError": any("error"), "HasThrottle": any("throttle"),
        "IsPartial": segments.iter().any(|segment| segment.flag("in_progress")),
        "Annotations": annotations,
    })
}
