//! What the translator allocates for a span: `bench-allocations [TRACES]` prints a line of JSON.

use allocation_counter::measure;
use anyhow::Result;
use otel_xray::translate::{Masked, Translator};
use otel_xray_bench::spans;
use serde_json::json;

fn main() -> Result<()> {
    let traces = std::env::args().nth(1).map_or(Ok(1000), |traces| traces.parse())?;
    let mut batch = spans::batch(spans::request(traces).resource_spans);
    let function = spans::function();
    let allocated = measure(|| drop(Translator::default().translate(&Masked::of(&mut batch), &function)));
    let spans = batch.spans.len() as f64;
    let row = json!({
        "allocations_per_span": (allocated.count_total as f64 / spans * 10.0).round() / 10.0,
        "bytes_per_span": (allocated.bytes_total as f64 / spans).round(),
    });
    println!("{row}");
    Ok(())
}
