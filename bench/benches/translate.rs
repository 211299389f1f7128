//! Decoding and translating by themselves, for one invocation's flush and for a flush of a thousand.
//!
//! Encoding the documents is a part of translating: it has no interface of its own.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray::translate::otlp_decode;
use otel_xray::translate::{Masked, Translator};
use otel_xray_bench::spans;
use prost::Message as _;

/// Traces of a flush, each of ten spans.
const TRACES: [usize; 2] = [1, 1000];

/// What a request over OTLP costs before its spans are held.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for traces in TRACES {
        let encoded = spans::request(traces).encode_to_vec();
        group.throughput(Throughput::Elements(count(&spans::request(traces))));
        group.bench_with_input(BenchmarkId::from_parameter(traces), &encoded, |bencher, encoded| {
            // Batched, so that what is made is freed outside the measurement.
            bencher.iter_batched(|| (), |()| otlp_decode::decode(encoded), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Plan, compose and encode, as the first flush of an environment does it.
fn translate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translate");
    let function = spans::function();
    for traces in TRACES {
        let request = spans::request(traces);
        group.throughput(Throughput::Elements(count(&request)));
        let batch = spans::batch(request.resource_spans);
        group.bench_with_input(BenchmarkId::from_parameter(traces), &batch, |bencher, batch| {
            bencher.iter_batched(
                || (Translator::default(), batch.clone()),
                |(mut translator, mut batch)| {
                    let translated = translator.translate(&Masked::of(&mut batch), &function);
                    (translator, batch, translated)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The same without documents: what spans cost that nobody has sampled.
fn refuse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unsampled");
    let function = spans::function();
    let mut request = spans::request(1000);
    group.throughput(Throughput::Elements(count(&request)));
    for scope in request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
        for span in &mut scope.spans {
            span.flags = 0x102;
        }
    }
    let batch = spans::batch(request.resource_spans);
    group.bench_function("1000", |bencher| {
        bencher.iter_batched(
            || (Translator::default(), batch.clone()),
            |(mut translator, mut batch)| {
                let translated = translator.translate(&Masked::of(&mut batch), &function);
                (translator, batch, translated)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn count(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

criterion_group!(benches, decode, translate, refuse);
criterion_main!(benches);
