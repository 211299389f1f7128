//! A real OpenTelemetry client, in a runtime that has no agent.

use anyhow::Result;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use otel_xray_local::lambda::{LambdaEnvironment, ScriptedRuntime};
use otel_xray_tests::Stage;
use serde_json::json;
use std::time::Duration;

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

#[tokio::test(flavor = "multi_thread")]
async fn row_5_spans_of_an_opentelemetry_sdk_arrive_as_a_linked_trace_of_their_own() -> Result<()> {
    let stage = Stage::scripted(ScriptedRuntime::handler(|_| b"{}".to_vec())).await?;
    let endpoint = format!("http://{}/v1/traces", stage.otlp);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    environment.invoke("{}", None).await?;
    environment.thaw().await?;
    tokio::task::spawn_blocking(move || -> Result<()> {
        let exporter =
            opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
        record(&provider.tracer("the function's own"));
        provider.shutdown()?;
        Ok(())
    })
    .await??;
    // Nobody holds the environment for spans of an unknown end: they leave as soon as they can.
    for _ in 0..200 {
        if stage.traces().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
