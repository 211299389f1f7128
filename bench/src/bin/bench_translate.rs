//! Spans a second through decode and translate (documents encoded), on one core. What is allocated for them is counted
//! by `bench-allocations`, because counting takes time.
//!
//! `bench-translate [--traces N] [--rounds N] [--write FILE]`; `--write` stores the input for another translator.

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray::translate::{Masked, Translator};
use otel_xray_bench::{median, spans};
use prost::Message as _;
use serde_json::json;
use std::time::Instant;

fn main() -> Result<()> {
    let (mut traces, mut rounds, mut write) = (1000, 15, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--traces" => traces = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            "--write" => write = Some(value),
            other => anyhow::bail!("{other} is not known: --traces, --rounds or --write"),
        }
    }
    let encoded = spans::request(traces).encode_to_vec();
    if let Some(path) = write {
        std::fs::write(path, &encoded)?;
    }
    let function = spans::function();
    let (mut decode_s, mut translate_s) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..rounds {
        let begin = Instant::now();
        let request = ExportTraceServiceRequest::decode(encoded.as_slice())?;
        decode_s.push(begin.elapsed().as_secs_f64());
        let mut batch = spans::batch(request.resource_spans);
        let count = batch.spans.len();
        let begin = Instant::now();
        let documents = Translator::default().translate(&Masked::of(&mut batch), &function).documents;
        translate_s.push(begin.elapsed().as_secs_f64());
        let told: u64 = documents.iter().map(|document| document.spans).sum();
        anyhow::ensure!(told == count as u64, "{told} of {count} spans are in the documents");
        let bytes: usize = documents.iter().map(|document| document.json.len()).sum();
        last = Some((count as f64, bytes as f64));
    }
    let (count, json_bytes) = last.context("give at least one round")?;
    let row = json!({
        "translator": "otel-xray", "spans": count, "rounds": rounds,
        "decode_spans_per_s": (count / median(&mut decode_s)).round(),
        "spans_per_s": (count / median(&mut translate_s)).round(),
        "document_bytes": (json_bytes / count).round(),
    });
    println!("{row}");
    Ok(())
}
