//! The two sides: what was recorded of the collector, and what our translator makes of the same request.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_xray::invocation::{Batch, Collected, Origin};
use otel_xray::translate::{Function, Masked, Translator};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What the exporter had as `indexed_attributes` when it was recorded (tests/oracle/exporter/collector.go).
const INDEXED: [&str; 2] = ["indexed.by_setting", "otel.resource.indexed.by_setting"];

/// One request and both translations.
#[derive(Debug)]
pub(crate) struct Input {
    /// Path below the folder of inputs, without its extension.
    pub(crate) name: String,
    /// The ids of the request's spans and of their parents; other ids were made by a translator.
    pub(crate) span_ids: BTreeSet<String>,
    pub(crate) ours: Vec<Value>,
    pub(crate) theirs: Vec<Value>,
}

/// All of them, read and translated once.
pub(crate) fn inputs() -> &'static [Input] {
    static INPUTS: OnceLock<Vec<Input>> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let root = folder();
        let names = files(&root.join("inputs"));
        assert_eq!(
            names,
            files(&root.join("expected")),
            "inputs and recordings differ: run tests/oracle/record.sh"
        );
        names.into_iter().map(|name| read(&root, name)).collect()
    })
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle")
}

fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(root).unwrap().with_extension("");
            found.insert(name.to_str().unwrap().replace('\\', "/"));
        }
    }
    found
}

fn read(root: &Path, name: String) -> Input {
    let text = |side: &str| {
        let path = root.join(side).join(format!("{name}.json"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let request: ExportTraceServiceRequest =
        serde_json::from_str(&text("inputs")).unwrap_or_else(|error| panic!("{name}: {error}"));
    let theirs = serde_json::from_str(&text("expected")).unwrap_or_else(|error| panic!("{name}: {error}"));
    let collected = collect(request);
    let span_ids = collected
        .iter()
        .flat_map(|one| [hexadecimal(&one.span.span_id), hexadecimal(&one.span.parent_span_id)])
        .collect();
    Input { name, span_ids, ours: translated(collected), theirs }
}

fn collect(request: ExportTraceServiceRequest) -> Vec<Collected> {
    let mut collected = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap_or_default();
        for scope_spans in resource_spans.scope_spans {
            let origin = Arc::new(Origin { resource: resource.clone(), scope: scope_spans.scope });
            let one =
                |span| Collected { span: Box::new(span), origin: Arc::clone(&origin), request_id: None };
            collected.extend(scope_spans.spans.into_iter().map(one));
        }
    }
    collected
}

/// Outside any invocation: the exporter knows of none either.
fn translated(spans: Vec<Collected>) -> Vec<Value> {
    let function = Function { annotations: INDEXED.map(str::to_owned).to_vec(), ..Function::default() };
    let batch = Batch { spans, ..Batch::default() };
    let documents = Translator::default().translate(&Masked::of(&mut batch.clone()), &function).documents;
    documents.iter().map(|document| serde_json::from_str(&document.json).unwrap()).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
