//! The local APIs over real HTTP: error bodies, states, telemetry.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use otel_xray_local::lambda::{Event, RuntimeClient, RuntimeKind, ScriptedRuntime, TelemetryMode};
use serde_json::{Value, json};

use crate::support::{config, extension, layer, said, start};

const EXTENSION: &str = "/2020-01-01/extension";

/// Status and `errorType` of an answer; the body must be an error object.
fn error((status, _, body): (StatusCode, HeaderMap, Bytes)) -> (u16, String) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["errorMessage"].is_string(), "{body}");
    (status.as_u16(), body["errorType"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn table_5_1_errors_are_403_with_a_json_body() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({}))).await;
    let client = RuntimeClient { api: environment.runtime_api() };
    let unknown = "00000000-0000-4000-8000-000000000000";
    let both = r#"{"events":["INVOKE","SHUTDOWN"]}"#;
    let name = |value| vec![("Lambda-Extension-Name", value)];
    let id = |value| vec![("Lambda-Extension-Identifier", value)];
    let cases = [
        ("POST", "/register", vec![], both, "Extension.InvalidExtensionName"),
        ("POST", "/register", name("collector"), "nonsense", "InvalidRequestFormat"),
        ("POST", "/register", name("collector"), both, "Extension.InvalidExtensionState"),
        ("POST", "/register", name("late"), r#"{"events":["INVOKE"]}"#, "Extension.RegistrationClosed"),
        ("GET", "/event/next", vec![], "", "Extension.MissingExtensionIdentifier"),
        ("GET", "/event/next", id("x"), "", "Extension.InvalidExtensionIdentifier"),
        ("GET", "/event/next", id(unknown), "", "Extension.UnknownExtensionIdentifier"),
        ("POST", "/init/error", id(unknown), "{}", "Extension.UnknownExtensionIdentifier"),
        ("POST", "/exit/error", vec![], "{}", "Extension.MissingExtensionIdentifier"),
    ];
    for (method, path, headers, body, error_type) in cases {
        let method: Method = method.parse().unwrap();
        let path = format!("{EXTENSION}{path}");
        let answer = client.call(method, &path, &headers, body.into()).await.unwrap();
        assert_eq!(error(answer), (403, error_type.to_owned()), "{path} {headers:?}");
    }
    let answer = client.call(Method::GET, "/2018-06-01/ping", &[], Bytes::new()).await.unwrap();
    assert_eq!((answer.0, &answer.2[..]), (StatusCode::OK, &b"pong"[..]));
    let answer = client.call(Method::GET, "/2018-06-01/other", &[], Bytes::new()).await.unwrap();
    assert_eq!(error(answer).0, 404);
}

#[tokio::test]
async fn section_4_answers_of_the_runtime_api() {
    let layer = layer(&[]);
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(|client| async move {
        let Ok(event) = client.next().await else { return 1 };
        let post = |id: String, body: Vec<u8>| {
            let client = client.clone();
            async move {
                let path = format!("/2018-06-01/runtime/invocation/{id}/response");
                error(client.call(Method::POST, &path, &[], body.into()).await.unwrap())
            }
        };
        let wrong_id = post("other".to_owned(), b"1".to_vec()).await;
        let early_next =
            client.call(Method::GET, "/2018-06-01/runtime/invocation/next", &[], Bytes::new()).await.unwrap();
        let late_init =
            client.call(Method::POST, "/2018-06-01/runtime/init/error", &[], "{}".into()).await.unwrap();
        let seen = json!({"wrong id": wrong_id, "next": error(early_next), "init": error(late_init)});
        client.respond(&event.request_id, seen.to_string()).await.unwrap();
        let second = post(event.request_id.clone(), b"2".to_vec()).await;
        let Ok(event) = client.next().await else { return 1 };
        client.respond(&event.request_id, json!(second).to_string()).await.unwrap();
        let Ok(event) = client.next().await else { return 1 };
        let large = post(event.request_id.clone(), vec![b'x'; 6 * 1024 * 1024 + 101]).await;
        assert_eq!(large, (413, "RequestEntityTooLarge".to_owned()));
        let _ = client.next().await;
        0
    }));
    let environment = start(config).await;
    let first = environment.invoke("{}", None).await.unwrap();
    let forbidden = json!([403, "InvalidStateTransition"]);
    let expected = json!({"wrong id": [400, "InvalidRequestID"], "next": forbidden, "init": forbidden});
    assert_eq!(serde_json::from_slice::<Value>(&first.payload).unwrap(), expected);
    let second = environment.invoke("{}", None).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&second.payload).unwrap(), forbidden);
    let third = environment.invoke("{}", None).await.unwrap();
    assert_eq!(third.error.unwrap().error_type, "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn section_2_a_cause_of_nearly_one_megabyte_is_taken() {
    let layer = layer(&[]);
    let mut config = config(&layer, &json!({}));
    let cause = json!({"exceptions": [{"message": "x".repeat(1024 * 1024 - 100)}]}).to_string();
    let sent = cause.clone();
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(move |client| {
        let cause = sent.clone();
        async move {
            let Ok(event) = client.next().await else { return 1 };
            client.fail(&event.request_id, "Large", "m", Some(&cause)).await.unwrap();
            let _ = client.next().await;
            0
        }
    }));
    let environment = start(config).await;
    let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
    assert_eq!(error.xray_cause, Some(cause));
}

#[tokio::test]
async fn l_5_2_an_unknown_name_is_an_internal_extension() {
    let layer = layer(&[]);
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::Scripted(ScriptedRuntime::new(|client| async move {
        let path = format!("{EXTENSION}/register");
        let name = [("Lambda-Extension-Name", "internal"), ("Lambda-Extension-Accept-Feature", "accountId")];
        let refused =
            client.call(Method::POST, &path, &name, r#"{"events":["SHUTDOWN"]}"#.into()).await.unwrap();
        assert_eq!(error(refused), (403, "Extension.InvalidEventType".to_owned()));
        let body = r#"{"events":["INVOKE"]}"#;
        let (status, headers, body) = client.call(Method::POST, &path, &name, body.into()).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["accountId"], "123456789012");
        let id = headers["lambda-extension-identifier"].to_str().unwrap().to_owned();
        let listener = client.clone();
        let events = tokio::spawn(async move {
            let path = format!("{EXTENSION}/event/next");
            let id = [("Lambda-Extension-Identifier", id.as_str())];
            let (_, headers, body) = listener.call(Method::GET, &path, &id, Bytes::new()).await.unwrap();
            assert!(headers.contains_key("lambda-extension-event-identifier"));
            // Never asks again: the invocation stays open until the environment goes.
            body
        });
        let Ok(event) = client.next().await else { return 1 };
        let internal = events.await.unwrap();
        client.respond(&event.request_id, internal).await.unwrap();
        let _ = client.next().await;
        0
    }));
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure, None);
    let answer = environment.invoke("{}", None).await.unwrap();
    let event: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(event["requestId"], json!(answer.request_id));
}

/// Record types in the order they reached the fake extension, log lines left out.
fn record_types(lines: &[String]) -> Vec<(String, Value)> {
    lines
        .iter()
        .map(|line| {
            let (path, record) = line.split_once(' ').unwrap();
            assert_eq!(path, "/records", "SIM-15: the path is kept");
            let record: Value = serde_json::from_str(record).unwrap();
            (record["type"].as_str().unwrap().to_owned(), record["record"].clone())
        })
        .filter(|(kind, _)| kind.starts_with("platform."))
        .collect()
}

#[tokio::test]
async fn l_6_9_platform_records_arrive_in_order() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({"*": {"subscribe_at": "init", "tail_ms": 200}}))).await;
    let first = environment.invoke("{}", None).await.unwrap();
    environment.invoke("{}", None).await.unwrap();
    environment.shutdown().await.unwrap();
    assert_eq!(said(&environment, "collector", "subscribed"), [r#"200 "OK""#]);
    let records = record_types(&said(&environment, "collector", "telemetry"));
    let types: Vec<&str> = records.iter().map(|(kind, _)| kind.as_str()).collect();
    let invocation = ["platform.start", "platform.runtimeDone", "platform.report"];
    let init = [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
    ];
    assert_eq!(types, [&init[..], &invocation, &invocation].concat());
    let start = &records[5].1;
    assert_eq!(start["requestId"], json!(first.request_id));
    assert_eq!(start["tracing"]["value"], json!(first.runtime_trace_header));
    assert_eq!(records[6].1["status"], "success");
    assert!(records[7].1["metrics"]["initDurationMs"].is_number());
    // L-6.7: the report is delivered after the thaw.
    let log = environment.event_log();
    let thawed = log.position(0, |event| matches!(event, Event::Thawed { .. })).unwrap();
    let second_thaw = log.position(thawed + 1, |event| matches!(event, Event::Thawed { .. })).unwrap();
    let report = log
        .position(0, |event| matches!(event, Event::Line { text, .. } if text.contains("platform.report")))
        .unwrap();
    assert!(second_thaw < report);
}

#[tokio::test]
async fn telemetry_is_refused_after_init_and_where_it_is_not_supported() {
    let stub =
        r#"202 {"errorMessage":"Telemetry API is not supported","errorType":"Telemetry.NotSupported"}"#;
    for (mode, at, status, body) in [
        (TelemetryMode::Deliver, "invoke", "403", "Telemetry.SubscriptionClosed"),
        (TelemetryMode::NotSupported, "init", "202", stub),
        (TelemetryMode::NotSupported, "invoke", "202", stub),
    ] {
        let layer = layer(&["collector"]);
        let mut config = config(&layer, &json!({"*": {"subscribe_at": at}}));
        config.telemetry = mode;
        let environment = start(config).await;
        environment.invoke("{}", None).await.unwrap();
        environment.shutdown().await.unwrap();
        let answers = said(&environment, "collector", "subscribed");
        assert_eq!(answers.len(), 1);
        assert!(answers[0].starts_with(status) && answers[0].contains(body), "{answers:?}");
        assert_eq!(said(&environment, "collector", "telemetry").len(), 0);
        assert!(!environment.event_log().lines(&extension("collector")).is_empty());
    }
}
