//! Sends spans with Rust's exporters: `otlp_client http|grpc ENDPOINT NAME COUNT`.

use anyhow::{Context as _, Result, bail};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::trace::SdkTracerProvider;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, endpoint, name, count] = &arguments[..] else {
        bail!("usage: otlp_client http|grpc ENDPOINT NAME COUNT");
    };
    // The connection of gRPC is served here; HTTP's exporter blocks, and is not to be made inside of it.
    let runtime = tokio::runtime::Runtime::new()?;
    let exporter = if protocol == "grpc" {
        let _inside = runtime.enter();
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?
    } else {
        SpanExporter::builder().with_http().with_endpoint(format!("{endpoint}/v1/traces")).build()?
    };
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("client");
    for _ in 0..count.parse().context("COUNT is not a number")? {
        drop(tracer.start(name.clone()));
    }
    provider.force_flush()?;
    provider.shutdown()?;
    Ok(())
}
