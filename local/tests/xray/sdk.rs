//! Every operation through the SDK: what it sends is understood, and it understands the answers.

use super::connector::client;
use super::{BEGIN, TRACE, document};
use aws_sdk_xray::Client;
use aws_sdk_xray::error::ProvideErrorMetadata as _;
use aws_sdk_xray::operation::RequestId as _;
use aws_sdk_xray::primitives::DateTime;
use aws_sdk_xray::types::{AnnotationValue, Service, TelemetryRecord};
use otel_xray_local::xray::{Endpoint, Fault};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

async fn start() -> (Endpoint, Client) {
    let endpoint = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let client = client(&endpoint);
    (endpoint, client)
}

/// A function that calls a table, a web service, and another function that is traced itself.
fn documents() -> Vec<String> {
    vec![
        document(
            1,
            None,
            &json!({"name": "shop", "origin": "AWS::Lambda::Function", "fault": true,
            "user": "u-1", "resource_arn": "arn:aws:lambda:eu-west-1:123456789012:function:shop",
            "http": {"request": {"method": "POST", "url": "https://shop/"}, "response": {"status": 500}},
            "annotations": {"order": "o-17", "items": 3, "first": true}}),
        ),
        document(
            2,
            Some(1),
            &json!({"name": "DynamoDB", "namespace": "aws", "error": true, "throttle": true}),
        ),
        document(3, Some(1), &json!({"name": "api.example.com", "namespace": "remote"})),
        document(4, Some(1), &json!({"name": "stock", "namespace": "remote"})),
        document(
            5,
            None,
            &json!({"name": "stock", "origin": "AWS::ECS::Fargate", "parent_id": "0000000000000004"}),
        ),
        document(6, Some(1), &json!({"name": "price the order", "annotations": {"order": "o-17"}})),
    ]
}

async fn put(client: &Client, documents: Vec<String>) {
    let answer =
        client.put_trace_segments().set_trace_segment_documents(Some(documents)).send().await.unwrap();
    assert_eq!(answer.unprocessed_trace_segments(), []);
}

fn seconds(time: &DateTime) -> f64 {
    time.as_secs_f64()
}

#[tokio::test]
async fn pts_3_what_is_refused_is_listed_by_id_and_the_rest_is_kept() {
    let (endpoint, client) = start().await;
    let answer = client
        .put_trace_segments()
        .trace_segment_documents(document(1, None, &json!({})))
        .trace_segment_documents(document(2, Some(1), &json!({"name": "a,b"})))
        .trace_segment_documents("not JSON")
        .send()
        .await
        .unwrap();
    let refused: Vec<_> = answer
        .unprocessed_trace_segments()
        .iter()
        .map(|one| (one.id(), one.error_code().unwrap(), one.message().unwrap()))
        .collect();
    assert_eq!(refused.len(), 2);
    assert_eq!((refused[0].0, refused[0].1), (Some("0000000000000002"), "InvalidName"));
    assert!(refused[0].2.starts_with("name \"a,b\" is not"), "{refused:?}");
    assert_eq!((refused[1].0, refused[1].1), (None, "InvalidSegment"));
    assert!(answer.request_id().is_some());
    assert_eq!(endpoint.store().documents().len(), 1);

    let [request] = &endpoint.requests()[..] else { panic!("one request") };
    assert_eq!((request.path.as_str(), request.status, request.documents), ("/TraceSegments", 200, 3));
    assert_eq!(request.headers["content-length"], request.bytes.to_string());
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(request.authorization.contains("/eu-west-1/xray/aws4_request"));
    assert!(!request.headers.contains_key("x-amz-security-token"));
}

#[tokio::test]
async fn tv_16_lim_3_fifty_documents_are_taken_and_fifty_one_refused() {
    let (endpoint, client) = start().await;
    let many = |count: u64| Some((1..=count).map(|id| document(id, None, &json!({}))).collect::<Vec<_>>());
    let error = client.put_trace_segments().set_trace_segment_documents(many(51)).send().await.unwrap_err();
    let error = error.into_service_error();
    assert!(error.is_invalid_request_exception());
    assert!(error.message().unwrap().starts_with("Exceeding maximum segment count: 50"), "{error:?}");
    assert_eq!(endpoint.store().documents().len(), 0);
    put(&client, many(50).unwrap()).await;
    assert_eq!(endpoint.store().documents().len(), 50);
}

#[tokio::test]
async fn batch_get_traces_gives_back_what_was_put() {
    let (_endpoint, client) = start().await;
    put(&client, documents()).await;
    let unknown = "1-00000000-000000000000000000000001";
    let answer = client.batch_get_traces().trace_ids(TRACE).trace_ids(unknown).send().await.unwrap();
    let [trace] = answer.traces() else { panic!("one trace") };
    assert_eq!((trace.id(), trace.duration(), trace.limit_exceeded()), (Some(TRACE), Some(6.0), Some(false)));
    let sent: Vec<Value> = documents().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let got: Vec<Value> =
        trace.segments().iter().map(|one| serde_json::from_str(one.document().unwrap()).unwrap()).collect();
    assert_eq!(got, sent);
    assert!(trace.segments().iter().zip(&sent).all(|(one, sent)| sent["id"] == one.id().unwrap()));
    assert_eq!(answer.unprocessed_trace_ids(), [unknown]);
}

#[tokio::test]
async fn trace_summaries_tell_times_flags_and_annotations() {
    let (_endpoint, client) = start().await;
    put(&client, documents()).await;
    let summaries = |from: f64, to: f64| {
        let request = client.get_trace_summaries();
        request.start_time(DateTime::from_secs_f64(from)).end_time(DateTime::from_secs_f64(to)).send()
    };
    assert_eq!(summaries(BEGIN - 10.0, BEGIN).await.unwrap().trace_summaries(), []);
    let answer = summaries(BEGIN, BEGIN + 10.0).await.unwrap();
    assert_eq!(answer.traces_processed_count(), Some(1));
    let [summary] = answer.trace_summaries() else { panic!("one summary") };
    assert_eq!(summary.id(), Some(TRACE));
    assert_eq!((summary.duration(), summary.response_time()), (Some(6.0), Some(1.0)));
    assert!((seconds(summary.start_time().unwrap()) - (BEGIN + 1.0)).abs() < 1e-6);
    let flags = [summary.has_fault(), summary.has_error(), summary.has_throttle(), summary.is_partial()];
    assert_eq!(flags, [Some(true), Some(false), Some(false), Some(false)], "those of segments");
    let http = summary.http().unwrap();
    assert_eq!((http.http_method(), http.http_status()), (Some("POST"), Some(500)));
    let entry = summary.entry_point().unwrap();
    assert_eq!((entry.name(), entry.r#type()), (Some("shop"), Some("AWS::Lambda::Function")));
    assert_eq!(summary.service_ids().len(), 2);
    assert_eq!(summary.users()[0].user_name(), Some("u-1"));
    let value = |key: &str| {
        let values = &summary.annotations().unwrap()[key];
        assert_eq!(values.len(), 1, "{key}");
        values[0].annotation_value().unwrap().clone()
    };
    assert_eq!(value("order"), AnnotationValue::StringValue("o-17".to_owned()));
    assert_eq!(value("items"), AnnotationValue::NumberValue(3.0));
    assert_eq!(value("first"), AnnotationValue::BooleanValue(true));

    assert!(
        summaries(BEGIN + 1.0, BEGIN).await.unwrap_err().into_service_error().is_invalid_request_exception()
    );
    let filtered = |expression: &str| {
        let request = client.get_trace_summaries().filter_expression(expression);
        let [begin, end] = [BEGIN, BEGIN + 10.0].map(DateTime::from_secs_f64);
        request.start_time(begin).end_time(end).send()
    };
    for (expression, found) in [
        ("fault AND service(\"shop\") AND annotation.order = \"o-17\"", 1),
        ("error", 0),
        ("duration > 6", 0),
    ] {
        let answer = filtered(expression).await.unwrap();
        assert_eq!(answer.trace_summaries().len(), found, "{expression}");
    }
    let error = filtered("fault OR error").await.unwrap_err().into_service_error();
    assert!(error.message().unwrap().contains("FilterExpression"), "{error:?}");
}

#[tokio::test]
async fn map_s6_a_trace_of_subsegments_has_no_segments_and_no_duration() {
    let (_endpoint, client) = start().await;
    put(&client, vec![document(2, Some(1), &json!({}))]).await;
    let answer = client.batch_get_traces().trace_ids(TRACE).send().await.unwrap();
    assert_eq!((answer.traces()[0].duration(), answer.traces()[0].segments()), (None, &[][..]));
    let request = client.get_trace_summaries().start_time(DateTime::from_secs(0));
    let answer = request.end_time(DateTime::from_secs(2_000_000_000)).send().await.unwrap();
    assert_eq!(
        (answer.trace_summaries()[0].id(), answer.trace_summaries()[0].duration()),
        (Some(TRACE), None)
    );
}

/// Name, type, whether it is a root, total, ok, error, throttle and fault, and the names its edges lead to.
type Shape<'a> = (&'a str, Option<&'a str>, bool, [i64; 5], Vec<&'a str>);

fn shape<'a>(service: &'a Service, all: &'a [Service]) -> Shape<'a> {
    let statistics = service.summary_statistics().unwrap();
    let (error, fault) = (statistics.error_statistics().unwrap(), statistics.fault_statistics().unwrap());
    let counts = [
        statistics.total_count(),
        statistics.ok_count(),
        error.total_count(),
        error.throttle_count(),
        fault.total_count(),
    ];
    let name = |id| all.iter().find(|one| one.reference_id() == id).and_then(Service::name).unwrap();
    let edges = service.edges().iter().map(|edge| name(edge.reference_id())).collect();
    (service.name().unwrap(), service.r#type(), service.root().unwrap(), counts.map(Option::unwrap), edges)
}

#[tokio::test]
async fn map_s1_to_s4_the_service_graph() {
    let (_endpoint, client) = start().await;
    put(&client, documents()).await;
    let request = client.get_service_graph().start_time(DateTime::from_secs_f64(BEGIN));
    let answer = request.end_time(DateTime::from_secs_f64(BEGIN + 10.0)).send().await.unwrap();
    let shapes: Vec<Shape<'_>> =
        answer.services().iter().map(|service| shape(service, answer.services())).collect();
    assert_eq!(
        shapes,
        [
            // MAP-S3: inferred from a subsegment that nobody answered with a segment.
            ("DynamoDB", Some("AWS::DynamoDB"), false, [1, 0, 1, 1, 0], vec![]),
            ("api.example.com", Some("remote"), false, [1, 1, 0, 0, 0], vec![]),
            // MAP-S1, MAP-S2; MAP-S4: `price the order` is no node.
            (
                "shop",
                Some("AWS::Lambda::Function"),
                true,
                [1, 0, 0, 0, 1],
                vec!["DynamoDB", "api.example.com", "stock"]
            ),
            // MAP-S3: the real segment takes the place of the inferred one.
            ("stock", Some("AWS::ECS::Fargate"), false, [1, 1, 0, 0, 0], vec![]),
        ]
    );
    let shop = &answer.services()[2];
    assert!((seconds(shop.start_time().unwrap()) - (BEGIN + 1.0)).abs() < 1e-6);
    assert_eq!(shop.edges()[0].summary_statistics().unwrap().total_response_time(), Some(1.0));
}

#[tokio::test]
async fn telemetry_records_are_taken() {
    let (endpoint, client) = start().await;
    let record =
        TelemetryRecord::builder().timestamp(DateTime::from_secs(1)).segments_sent_count(3).build().unwrap();
    client.put_telemetry_records().telemetry_records(record.clone()).send().await.unwrap();
    let request = client.put_telemetry_records().telemetry_records(record).hostname("h".repeat(256));
    assert!(request.send().await.unwrap_err().into_service_error().is_invalid_request_exception());
    assert_eq!(endpoint.requests().iter().map(|request| request.status).collect::<Vec<_>>(), [200, 400]);
}

#[tokio::test]
async fn faults_hit_as_many_requests_as_told_and_can_be_taken_back() {
    let (endpoint, client) = start().await;
    let send = || client.put_trace_segments().trace_segment_documents(document(1, None, &json!({}))).send();
    let faults = endpoint.faults();
    faults.add(&Fault::Status(429, "ThrottledException"), 1);
    faults.add(&Fault::Status(403, "AccessDeniedException"), 1);
    faults.add(&Fault::Status(503, "ServiceUnavailable"), 1);
    faults.add(&Fault::Close, 1);
    faults.add(&Fault::Delay(Duration::from_millis(1)), 1);

    assert!(send().await.unwrap_err().into_service_error().is_throttled_exception());
    assert_eq!(send().await.unwrap_err().code(), Some("AccessDeniedException"));
    assert_eq!(send().await.unwrap_err().raw_response().unwrap().status().as_u16(), 503);
    assert!(send().await.unwrap_err().raw_response().is_none());
    assert_eq!(endpoint.store().documents().len(), 0, "nothing was taken so far");
    send().await.unwrap();
    faults.add(&Fault::Close, 5);
    faults.clear();
    send().await.unwrap();
    let statuses: Vec<u16> = endpoint.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [429, 403, 503, 0, 200, 200]);

    faults.add(&Fault::Hang, 1);
    assert!(tokio::time::timeout(Duration::from_millis(50), send()).await.is_err());
}

#[tokio::test]
async fn faults_by_number_resets_lost_answers_headers_and_hidden_ids() {
    let (endpoint, client) = start().await;
    let send =
        |id| client.put_trace_segments().trace_segment_documents(document(id, None, &json!({}))).send();
    let faults = endpoint.faults();
    assert!(!faults.were_asked_for());
    faults.choose(|number| match number {
        0 => Some(Fault::Reset),
        1 => Some(Fault::LoseAnswer),
        2 => Some(Fault::StatusWith(429, "ThrottledException", vec![("retry-after", "7".to_owned())])),
        _ => None,
    });
    let reset = format!("{:?}", send(1).await.unwrap_err());
    assert!(reset.contains("ConnectionReset"), "{reset}");
    assert_eq!(endpoint.store().documents().len(), 0);
    assert!(send(2).await.unwrap_err().raw_response().is_none());
    assert_eq!(endpoint.store().documents().len(), 1, "carried out, and the answer lost");
    let throttled = send(3).await.unwrap_err();
    assert_eq!(throttled.raw_response().unwrap().headers().get("retry-after"), Some("7"));
    faults.refuse_documents(|_| Some(("InvalidName", "told to".to_owned())));
    for (hidden, id) in [(false, Some("0000000000000004")), (true, None)] {
        faults.hide_ids(hidden);
        let answer = send(4).await.unwrap();
        assert_eq!(answer.unprocessed_trace_segments()[0].id(), id);
    }
    faults.clear();
    send(5).await.unwrap();
    assert!(faults.were_asked_for(), "cleared or not");
}

#[tokio::test]
async fn tv_17_documents_are_refused_by_what_is_in_them() {
    let (endpoint, client) = start().await;
    endpoint.faults().refuse_documents(|document| {
        (document["name"] == "n2").then(|| ("InvalidName", "told to".to_owned()))
    });
    let send = || {
        let request = client.put_trace_segments().trace_segment_documents(document(1, None, &json!({})));
        request.trace_segment_documents(document(2, Some(1), &json!({}))).send()
    };
    let answer = send().await.unwrap();
    let [refused] = answer.unprocessed_trace_segments() else { panic!("one refused") };
    assert_eq!((refused.id(), refused.error_code()), (Some("0000000000000002"), Some("InvalidName")));
    assert_eq!(endpoint.store().documents().len(), 1);
    endpoint.faults().clear();
    assert_eq!(send().await.unwrap().unprocessed_trace_segments(), []);
}
