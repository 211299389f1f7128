//! What the `otlp` outlet sends, by way of the Collector's X-Ray exporter: named and placed as our own documents.
//!
//! `tests/oracle/outlet` holds what the agents have recorded (`spans`), what the outlet makes of it (`sent`), and the
//! documents that the exporter has made of that (`expected`).

use crate::otlp::Collector;
use crate::stage::{Stage, documents};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray::invocation::trace_header::{SpanId, TraceHeader};
use otel_xray::invocation::{Batch, Collected, Invocation, Mode, Origin};
use otel_xray::settings::OutletKind;
use otel_xray::translate::Target;
use serde::Serialize as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RECORDED: [&str; 4] = ["python-request", "python-queue", "nodejs-request", "nodejs-queue"];
const MODES: [(&str, Mode); 2] = [("active", Mode::Active), ("passthrough", Mode::PassThrough)];
const TARGETS: [(&str, Target); 2] = [("xray", Target::Xray), ("any", Target::Any)];

/// One invocation in one tracing mode.
struct Case {
    name: String,
    batch: Batch,
}

fn cases() -> Vec<Case> {
    let case = |recorded: &str, (name, mode): (&str, Mode)| {
        let mut held = read(&file("spans", recorded));
        let request: ExportTraceServiceRequest = serde_json::from_value(held["request"].take()).unwrap();
        let header = TraceHeader::parse(held["header"].as_str().unwrap());
        Case { name: format!("{recorded}-{name}"), batch: batch(request, header, mode) }
    };
    RECORDED.iter().flat_map(|recorded| MODES.map(|mode| case(recorded, mode))).collect()
}

fn batch(request: ExportTraceServiceRequest, header: Option<TraceHeader>, mode: Mode) -> Batch {
    let mut spans = Vec::new();
    for from_resource in request.resource_spans {
        let origin = Arc::new(Origin { resource: from_resource.resource.unwrap_or_default(), scope: None });
        for span in from_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let origin = Arc::clone(&origin);
            spans.push(Collected { span: Box::new(span), origin, request_id: Some("one".into()) });
        }
    }
    let invocation = Invocation {
        request_id: "one".to_owned(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:shop".to_owned(),
        header,
        mode,
        is_over: true,
        ..Invocation::default()
    };
    Batch { spans, invocations: vec![invocation], ..Batch::default() }
}

fn file(side: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/outlet");
    folder.join(side).join(format!("{name}.json"))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn what_the_exporter_was_given_is_what_the_outlet_sends() {
    let writes = std::env::var_os("OTEL_XRAY_ORACLE_WRITE").is_some();
    for Case { name, batch } in cases() {
        for (suffix, target) in TARGETS {
            let collector = Collector::start().await;
            let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url())];
            let mut stage = Stage::with_target(target, &[OutletKind::Otlp], &variables, 1 << 20).await;
            stage.flush(batch.clone()).await;
            let [request] = &collector.requests()[..] else { panic!("{name}: not one request") };
            let sent = serde_json::to_value(request).unwrap();
            let path = file("sent", &format!("{name}-{suffix}"));
            if writes {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let mut text = Vec::new();
                let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
                sent.serialize(&mut serde_json::Serializer::with_formatter(&mut text, format)).unwrap();
                text.push(b'\n');
                std::fs::write(&path, text).unwrap();
            }
            assert_eq!(sent, read(&path), "{name}-{suffix}: run tests/oracle/record.sh outlet");
        }
    }
}

/// What of a document decides about the service map (MAP-S1 to MAP-S5): its name, what it is, and where it hangs.
fn drawn(document: &Value) -> Value {
    json!({
        "name": document["name"],
        "is_segment": document["type"].is_null(),
        "namespace": document["namespace"],
        "parent": document["parent_id"],
        "trace": document["trace_id"],
        "fault": document["fault"] == true,
        "error": document["error"] == true,
    })
}

fn by_id(documents: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<Value> = documents.into_iter().collect();
    while let Some(mut document) = waiting.pop() {
        let (id, trace) = (document["id"].clone(), document["trace_id"].clone());
        for mut inner in document["subsegments"].take().as_array_mut().into_iter().flat_map(std::mem::take) {
            inner["parent_id"] = id.clone();
            inner["trace_id"] = trace.clone();
            inner["type"] = json!("subsegment");
            waiting.push(inner);
        }
        found.insert(id.as_str().unwrap().to_owned(), drawn(&document));
    }
    found
}

fn ours(batch: &Batch) -> BTreeMap<String, Value> {
    by_id(documents(batch).iter().map(|document| serde_json::from_str(&document.json).unwrap()))
}

fn exporters(name: &str) -> BTreeMap<String, Value> {
    by_id(read(&file("expected", name)).as_array_mut().map(std::mem::take).unwrap())
}

/// The function's own nodes, and those of what it calls.
fn nodes(documents: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let is_node = |document: &&Value| document["is_segment"] == true || !document["namespace"].is_null();
    documents.values().filter(is_node).map(|document| document["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn p_6_for_x_ray_everything_is_named_and_placed_as_in_our_documents() {
    for Case { name, batch } in cases() {
        let (ours, theirs) = (ours(&batch), exporters(&format!("{name}-xray")));
        assert_eq!(ours, theirs, "{name}");
        let called = ["S3", "carrier.example.com", "stock.example.com", "billing", "orders"];
        let nodes = nodes(&theirs);
        assert!(called.iter().all(|called| nodes.contains(*called)), "{name}: {nodes:?}");
        assert!(nodes.iter().any(|node| node.starts_with("shop@")), "{name}: {nodes:?}");
        // Under Active tracing the function's node is Lambda's.
        assert_eq!(nodes.contains("shop"), name.ends_with("passthrough"), "{name}: {nodes:?}");
    }
}

#[test]
fn for_anybody_calls_are_named_alike_and_what_serves_is_a_segment() {
    const SERVER: i32 = 2;
    const PRODUCER: i32 = 4;
    for Case { name, batch } in cases() {
        let (ours, theirs) = (ours(&batch), exporters(&format!("{name}-any")));
        assert_eq!(ours.len(), theirs.len());
        for collected in &batch.spans {
            let id = SpanId::from_bytes(&collected.span.span_id).unwrap().to_string();
            let mut expected = ours[&id].clone();
            match collected.span.kind {
                SERVER => {
                    expected["name"] = json!("shop");
                    expected["is_segment"] = json!(true);
                }
                PRODUCER => expected["namespace"] = Value::Null,
                // What works on messages is no segment for this version of the exporter, and one for later ones.
                _ if expected["parent"] == theirs[&id]["parent"] && expected["is_segment"] == true => {
                    expected["name"] = json!("app.handler");
                    expected["is_segment"] = json!(false);
                }
                _ => {}
            }
            assert_eq!(expected, theirs[&id], "{name}");
        }
    }
}

#[tokio::test]
async fn the_users_own_names_stay() {
    let Case { batch, .. } = cases().swap_remove(0);
    let collector = Collector::start().await;
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url())];
    let mut stage = Stage::with_target(Target::Xray, &[OutletKind::Otlp], &variables, 1 << 20).await;
    stage.flush(batch).await;
    let spans = collector.spans().concat();
    let named = spans.iter().find(|span| span.name == "named").unwrap();
    let of_peers: Vec<_> =
        named.attributes.iter().filter(|attribute| attribute.key == "peer.service").collect();
    assert_eq!(of_peers.len(), 1);
    assert!(format!("{of_peers:?}").contains("billing"));
}
