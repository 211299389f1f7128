//! Spans of a function become the right documents, in one request for each invocation.

use anyhow::Result;
use otel_xray_tests::Stage;
use serde_json::{Value, json};

const FUNCTION: &str = r#"
import json, urllib.request

def handler(event, context):
    if "url" in event:
        with urllib.request.urlopen(event["url"]) as response:
            response.read()
    if event.get("fail"):
        raise ValueError("no such order")
    return {"seen": event}
"#;

/// An HTTP server that answers 200 to everything and keeps the heads of the requests.
pub(crate) async fn server() -> Result<(String, std::sync::Arc<std::sync::Mutex<Vec<String>>>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/rates?currency=EUR&token=s3cr3t", listener.local_addr()?);
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            kept.lock()
                .expect("no test panics while it holds this")
                .push(String::from_utf8_lossy(&bytes[..read]).into_owned());
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nx-amz-request-id: R1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                .await;
        }
    });
    Ok((url, heads))
}

#[tokio::test(flavor = "multi_thread")]
async fn tv_11_under_active_the_handler_and_its_calls_hang_under_lambdas_own_segment() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let (url, heads) = server().await?;
    let run = stage.run(&[json!({"url": url}), json!({"url": url, "fail": true})]).await?;
    assert!(run.answers[0].is_success());

    let traces = stage.traces();
    assert_eq!(traces.len(), 2, "a trace for each invocation");
    for (index, trace) in traces.iter().enumerate() {
        assert_eq!(trace.orphans, [], "everything hangs where it belongs");
        assert_eq!(trace.roots.len(), 1);
        let service = &trace.roots[0];
        let function = &service.children[0];
        let handler =
            function.children.iter().find(|child| child.name() == "app.handler").expect("the handler");
        let call = &handler.children[0];
        assert_eq!((service.name(), service.text("/origin")), ("shop", "AWS::Lambda"));
        assert_eq!((function.name(), function.text("/origin")), ("shop", "AWS::Lambda::Function"));
        assert_eq!((handler.name(), handler.is_segment), ("app.handler", false));
        assert_eq!(handler.value("/annotations/faas.coldstart"), &json!(index == 0));
        assert_eq!((call.name(), call.text("/namespace")), ("127.0.0.1", "remote"));
        assert_eq!(call.value("/http/response/status"), &json!(200));
        assert!(call.text("/http/request/url").ends_with("?currency=EUR&token=REDACTED"));
        assert_eq!(handler.flag("fault"), index == 1);

        // The called service sees this call as its parent, in this trace.
        let head = heads.lock().expect("no test panics while it holds this")[index].to_ascii_lowercase();
        assert!(
            head.contains(&format!("x-amzn-trace-id: root={};parent={};sampled=1", trace.id, call.id)),
            "{head}"
        );
    }
    let exception =
        traces[1].find("app.handler").expect("the handler's span").value("/cause/exceptions/0").clone();
    assert_eq!((&exception["type"], &exception["message"]), (&json!("ValueError"), &json!("no such order")));
    assert_eq!(exception["stack"][0]["label"], "handler");
    assert!(exception["stack"][0]["path"].as_str().unwrap_or_default().ends_with("/app.py"), "{exception}");

    let requests = stage.xray.requests();
    assert_eq!(requests.len(), 2, "one request for each invocation: {requests:?}");
    assert!(requests.iter().all(|request| request.documents == 2 && request.status == 200));
    let accounts = run.accounts();
    assert_eq!((&accounts["received"], &accounts["sent"]), (&json!(4), &json!(4)));
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tv_12_under_pass_through_the_function_gets_its_own_segment_in_the_callers_trace() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    let upstream = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    stage.run_with(&[json!({})], Some(upstream)).await?;
    let traces = stage.traces();
    assert_eq!(traces[0].id, "1-5759e988-bd862e3fe1be46a994272793");
    let segment = &traces[0].roots[0];
    assert_eq!((segment.name(), segment.text("/origin")), ("shop", "AWS::Lambda::Function"));
    assert_eq!(segment.text("/parent_id"), "53995c3f42cd8ad8");
    assert_eq!(segment.text("/resource_arn"), "arn:aws:lambda:us-east-1:123456789012:function:shop");
    assert_eq!(segment.text("/metadata/otel/span_name"), "app.handler");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_18_an_unsampled_trace_costs_no_request() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    stage.set("OTEL_XRAY_SAMPLING", "respect");
    let run = stage.run(&[json!({}), json!({"fail": true})]).await?;
    assert_eq!(stage.xray.requests(), []);
    let accounts = run.accounts();
    assert_eq!(accounts["dropped"], json!({"unsampled": 2}));
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 1, "said once for the environment: {complaints:?}");
    assert!(complaints[0].contains("OTEL_XRAY_KEEP"), "{complaints:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn row_4_errors_of_unsampled_traces_are_kept_when_asked_for() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    stage.set("OTEL_XRAY_SAMPLING", "respect");
    stage.set("OTEL_XRAY_KEEP", "errors");
    let run = stage.run(&[json!({}), json!({"fail": true})]).await?;
    let traces = stage.traces();
    assert_eq!(traces.len(), 1, "the failed one: {traces:?}");
    let segment = &traces[0].roots[0];
    assert_eq!(segment.text("/origin"), "AWS::Lambda::Function");
    assert_eq!(segment.value("/fault"), &json!(true));
    assert_eq!(run.accounts()["dropped"], json!({"unsampled": 1}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_read_the_same_with_and_without_the_layer() -> Result<()> {
    let cases: &[(&str, Value)] = &[
        (FUNCTION, json!({"fail": true})),
        (FUNCTION, json!({"order": 1})),
        ("import sys\ndef handler(event, context):\n    return object()\n", json!({})),
        ("def other(event, context):\n    return 1\n", json!({})),
        ("import does_not_exist\n", json!({})),
        ("def handler(:\n", json!({})),
        ("raise AttributeError('at import')\n", json!({})),
        ("raise RuntimeError('at import')\n", json!({})),
    ];
    let empty = tempfile::TempDir::new()?;
    for (source, event) in cases {
        let with = Stage::python(source).await?;
        let traced = with.run(std::slice::from_ref(event)).await?;
        let mut alone = Stage::python(source).await?;
        alone.without_layer(empty.path());
        alone.config.task_dir.clone_from(&with.config.task_dir);
        let plain = alone.run(std::slice::from_ref(event)).await?;
        assert_eq!(traced.seen_by_callers(), plain.seen_by_callers(), "{source}");
    }
    Ok(())
}
