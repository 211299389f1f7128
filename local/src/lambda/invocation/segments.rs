//! The two segments that Lambda itself writes for a traced invocation (LAM-1, LAM-2, LAM-9).

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::caller::FunctionError;
use super::trace_header::{LambdaSegments, new_segment_id};
use crate::lambda::clock::epoch_seconds;
use crate::lambda::config::Config;

/// The largest cause Lambda takes over from the runtime (LAM-9).
const CAUSE_LIMIT_BYTES: usize = 64 * 1024;

/// One invocation, when it is over.
#[derive(Debug)]
pub(crate) struct TracedInvocation<'a> {
    pub(crate) segments: &'a LambdaSegments,
    pub(crate) request_id: &'a str,
    pub(crate) begin: SystemTime,
    pub(crate) end: SystemTime,
    /// The initialisation or the restore that belongs to this invocation.
    pub(crate) init: Option<(&'static str, SystemTime, SystemTime)>,
    pub(crate) error: Option<&'a FunctionError>,
}

/// The service's segment and the function's, in the newer layout: the function's own id is the header's `Parent`, and only
/// `Init` is a subsegment.
pub(crate) fn documents(config: &Config, invocation: &TracedInvocation<'_>) -> Vec<String> {
    let segments = invocation.segments;
    let arn = config.function_arn();
    let mut shared = Map::new();
    shared.insert("name".to_owned(), json!(config.function_name));
    shared.insert("trace_id".to_owned(), json!(segments.trace_id));
    shared.insert("start_time".to_owned(), json!(epoch_seconds(invocation.begin)));
    shared.insert("end_time".to_owned(), json!(epoch_seconds(invocation.end)));
    shared.insert("resource_arn".to_owned(), json!(arn));
    if let Some(error) = invocation.error {
        shared.insert("fault".to_owned(), json!(true));
        shared.insert("cause".to_owned(), cause(error));
    }

    let mut service = shared.clone();
    service.insert("id".to_owned(), json!(segments.service));
    service.insert("origin".to_owned(), json!("AWS::Lambda"));
    service.insert("aws".to_owned(), json!({"request_id": invocation.request_id}));
    if let Some(upstream) = &segments.upstream {
        service.insert("parent_id".to_owned(), json!(upstream));
    }
    if invocation.error.is_none() {
        service.insert("http".to_owned(), json!({"response": {"status": 200}}));
    }

    let mut function = shared;
    function.insert("id".to_owned(), json!(segments.function));
    function.insert("parent_id".to_owned(), json!(segments.service));
    function.insert("origin".to_owned(), json!("AWS::Lambda::Function"));
    function.insert("aws".to_owned(), json!({"account_id": config.account_id, "function_arn": arn}));
    if let Some((name, begin, end)) = invocation.init {
        let init = json!({
            "id": new_segment_id(),
            "name": name,
            "start_time": epoch_seconds(begin),
            "end_time": epoch_seconds(end),
        });
        function.insert("subsegments".to_owned(), json!([init]));
    }
    [service, function].map(|document| Value::Object(document).to_string()).to_vec()
}

/// The runtime's own account of the error, or what the platform knows.
fn cause(error: &FunctionError) -> Value {
    let reported = error.xray_cause.as_deref().filter(|cause| cause.len() <= CAUSE_LIMIT_BYTES);
    let reported = reported.and_then(|cause| serde_json::from_str::<Value>(cause).ok());
    let mut cause = reported
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({"exceptions": [{"type": error.error_type, "message": error.message}]}));
    if let Some(exceptions) = cause.get_mut("exceptions").and_then(Value::as_array_mut) {
        for exception in exceptions.iter_mut().filter_map(Value::as_object_mut) {
            exception.entry("id").or_insert_with(|| json!(new_segment_id()));
            let frames = exception.get_mut("stack").and_then(Value::as_array_mut);
            for frame in frames.into_iter().flatten().filter_map(Value::as_object_mut) {
                // The Node.js runtime writes null for a line that it could not read.
                frame.retain(|_, value| !value.is_null());
            }
        }
    }
    cause
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::lambda::config::RuntimeKind;

    fn written(upstream: Option<&str>, init: bool, error: Option<&FunctionError>) -> (Value, Value) {
        let config = Config::new("/layer", RuntimeKind::Command(Vec::new()));
        let segments = LambdaSegments {
            trace_id: "1-5759e988-bd862e3fe1be46a994272793".to_owned(),
            upstream: upstream.map(str::to_owned),
            service: "aaaaaaaaaaaaaaaa".to_owned(),
            function: "ffffffffffffffff".to_owned(),
        };
        let begin = UNIX_EPOCH + Duration::from_millis(1_500);
        let end = begin + Duration::from_millis(250);
        let invocation = TracedInvocation {
            segments: &segments,
            request_id: "r",
            begin,
            end,
            init: init.then_some(("Init", UNIX_EPOCH, begin)),
            error,
        };
        let documents = documents(&config, &invocation);
        assert_eq!(documents.len(), 2);
        (serde_json::from_str(&documents[0]).unwrap(), serde_json::from_str(&documents[1]).unwrap())
    }

    #[test]
    fn a_line_that_the_runtime_could_not_read_is_left_out() {
        let stack =
            r#"[{"path":"/var/task/app.js","line":3,"label":"f"},{"path":"file","line":null,"label":null}]"#;
        let error = FunctionError {
            error_type: "Error".to_owned(),
            message: String::new(),
            xray_cause: Some(format!(r#"{{"exceptions":[{{"type":"Error","stack":{stack}}}]}}"#)),
        };
        let found = cause(&error)["exceptions"][0]["stack"].clone();
        assert_eq!(found, json!([{"path": "/var/task/app.js", "line": 3, "label": "f"}, {"path": "file"}]));
    }

    #[test]
    fn lam_1_two_segments_of_one_name() {
        let (service, function) = written(Some("53995c3f42cd8ad8"), true, None);
        assert_eq!(service["origin"], "AWS::Lambda");
        assert_eq!(service["parent_id"], "53995c3f42cd8ad8");
        assert_eq!(service["name"], function["name"]);
        assert_eq!(service["http"]["response"]["status"], 200);
        assert_eq!(function["origin"], "AWS::Lambda::Function");
        assert_eq!(function["parent_id"], service["id"]);
        assert_eq!(function["start_time"], 1.5);
        assert_eq!(function["end_time"], 1.75);
        assert_eq!(function["subsegments"][0]["name"], "Init");
        assert_eq!(function["resource_arn"], "arn:aws:lambda:us-east-1:123456789012:function:function");
        assert!(function.get("fault").is_none());
        let (service, function) = written(None, false, None);
        assert!(service.get("parent_id").is_none() && function.get("subsegments").is_none());
    }

    #[test]
    fn lam_9_a_failure_carries_the_runtimes_cause() {
        let mut error = FunctionError {
            error_type: "KeyError".to_owned(),
            message: "'id'".to_owned(),
            xray_cause: Some(
                r#"{"working_directory":"/","exceptions":[{"type":"KeyError"}],"paths":[]}"#.to_owned(),
            ),
        };
        let (service, function) = written(None, false, Some(&error));
        for document in [&service, &function] {
            assert_eq!(document["fault"], true);
            assert_eq!(document["cause"]["working_directory"], "/");
            assert_eq!(document["cause"]["exceptions"][0]["id"].as_str().map(str::len), Some(16));
        }
        assert!(service.get("http").is_none());
        for unusable in [None, Some("not json".to_owned()), Some("x".repeat(CAUSE_LIMIT_BYTES + 1))] {
            error.xray_cause = unusable;
            let (_, function) = written(None, false, Some(&error));
            assert_eq!(function["cause"]["exceptions"][0]["type"], "KeyError");
            assert_eq!(function["cause"]["exceptions"][0]["message"], "'id'");
        }
    }
}
