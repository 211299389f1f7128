//! The local X-Ray endpoint, seen by the AWS SDK for Rust and by a bare HTTP client.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod connector;
mod http;
mod sdk;

use serde_json::{Value, json};

const TRACE: &str = "1-581cf771-a006649127e371903a2de979";
const BEGIN: f64 = 1_478_293_361.0;

/// A document of the trace: a second long, begun `id` seconds in. A parent makes it a subsegment.
fn document(id: u64, parent: Option<u64>, more: &Value) -> String {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let start = BEGIN + id as f64;
    let mut document = json!({"name": format!("n{id}"), "id": format!("{id:016x}"), "trace_id": TRACE,
        "start_time": start, "end_time": start + 1.0});
    if let Some(parent) = parent {
        document["type"] = json!("subsegment");
        document["parent_id"] = json!(format!("{parent:016x}"));
    }
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}
