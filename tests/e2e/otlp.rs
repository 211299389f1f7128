//! A real OpenTelemetry client, in a runtime that has no agent.

use anyhow::Result;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use otel_xray_local::lambda::{LambdaEnvironment, ScriptedRuntime, TelemetryMode};
use otel_xray_tests::Stage;
use serde_json::json;

fn record(tracer: &Tracer) {
    let mut handler = tracer.span_builder("rust handler").with_kind(SpanKind::Server).start(tracer);
    handler.set_attribute(KeyValue::new("faas.coldstart", true));
    let context = Context::current_with_span(handler);
    let mut call = tracer
        .span_builder("GET")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.full", "https://api.example.com/v1"),
            KeyValue::new("http.response.status_code", 503),
        ])
        .start_with_context(tracer, &context);
    call.end();
    context.span().end();
}

/// Exports the two spans, each in a request of its own.
fn send(endpoint: String) -> Result<()> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    record(&provider.tracer("the function's own"));
    provider.shutdown()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn row_5_spans_of_an_opentelemetry_sdk_arrive_as_a_linked_trace_of_their_own() -> Result<()> {
    let stage = Stage::scripted(ScriptedRuntime::handler(|_| b"{}".to_vec())).await?;
    let endpoint = format!("http://{}/v1/traces", stage.otlp);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    environment.invoke("{}", None).await?;
    environment.thaw().await?;
    tokio::task::spawn_blocking(move || send(endpoint)).await??;
    // Nobody holds the environment for spans of an unknown end: they leave as soon as they can.
    stage.wait_for_spans(2).await?;
    environment.shutdown().await?;

    let traces = stage.traces();
    let lambdas = traces.iter().find(|trace| {
        trace.find("rust handler").is_none() && trace.roots[0].text("/origin") == "AWS::Lambda"
    });
    let lambdas = lambdas.expect("Lambda's own trace");
    let own = traces.iter().find(|trace| trace.id != lambdas.id).expect("the SDK's trace");
    let segment = &own.roots[0];
    assert_eq!((segment.name(), segment.text("/origin")), ("shop", "AWS::Lambda::Function"));
    assert_eq!(segment.value("/links/0/trace_id"), &json!(lambdas.id));
    assert_eq!(segment.text("/metadata/otel/span_name"), "rust handler");
    let call = own.find("api.example.com").expect("the call");
    assert!(segment.children.contains(call), "{segment:?}");
    assert_eq!((call.text("/namespace"), call.flag("fault")), ("remote", true));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn l_9_1_without_a_word_of_the_end_the_environment_is_held_until_it_is_quiet() -> Result<()> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let endpoint = format!("http://127.0.0.1:{port}/v1/traces");
    let mut stage = Stage::scripted(ScriptedRuntime::handler(move |_| {
        // The exporter blocks, and has a runtime of its own.
        let endpoint = endpoint.clone();
        let export = std::thread::spawn(move || send(endpoint));
        export.join().ok().and_then(Result::ok).map_or_else(Vec::new, |()| b"{}".to_vec())
    }))
    .await?;
    stage.set("OTEL_XRAY_OTLP_HTTP", &format!("127.0.0.1:{port}"));
    stage.config.telemetry = TelemetryMode::NotSupported;
    let run = stage.run(&[json!(1), json!(2), json!(3)]).await?;
    assert!(run.answers.iter().all(|answer| &answer.payload[..] == b"{}"), "{:?}", run.answers);
    assert_eq!(run.accounts()["sent"], json!(6));
    let requests = stage.xray.requests().len();
    // An invocation's two spans come apart, and on a busy machine with some quiet between them.
    assert!((3..=6).contains(&requests), "one for each invocation, at most one for each export: {requests}");
    Ok(())
}
