//! The cases of `masks.tsv` as spans of OpenTelemetry, and as documents of an X-Ray SDK.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Value, json};

const TABLE: &str = include_str!("../masks.tsv");
const START: u64 = 1_795_224_538_000_000_000;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Case {
    pub place: String,
    pub name: String,
    pub value: String,
    pub system: String,
    pub shown: String,
}

/// All lines of the table.
pub fn cases() -> Vec<Case> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(Case::read).collect()
}

/// Whether a part of a secret is in a text.
pub fn tells(text: &str) -> bool {
    text.contains("SECR") || text.contains("ECRET") || text.contains("57721566490")
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text.into())) }
}

/// An integer where there is no point.
fn numeric(text: &str) -> AnyValue {
    let value = text.parse().map(Any::IntValue).or_else(|_| text.parse().map(Any::DoubleValue));
    AnyValue { value: Some(value.expect("a number")) }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

impl Case {
    fn read(line: &str) -> Self {
        let columns: Vec<String> = line.split('\t').map(|column| column.replace('␊', "\n")).collect();
        let [place, name, value, system, shown] = &columns[..] else { panic!("five columns: {line:?}") };
        Self {
            place: place.clone(),
            name: name.clone(),
            value: value.clone(),
            system: system.clone(),
            shown: shown.clone(),
        }
    }

    /// A span with the value in its place; ids and trace are made of its number.
    pub fn span(&self, number: usize) -> Span {
        let id = u64::try_from(number + 1).unwrap_or(u64::MAX).to_be_bytes().to_vec();
        let mut span = Span {
            trace_id: [vec![0x65; 8], id.clone()].concat(),
            span_id: id,
            name: "call".into(),
            kind: 3,
            start_time_unix_nano: START,
            end_time_unix_nano: START + 5_000_000,
            flags: 0x101,
            ..Span::default()
        };
        if !self.system.is_empty() {
            span.attributes.push(pair("db.system.name", text(&self.system)));
        }
        let one = pair(&self.name, text(&self.value));
        match self.place.as_str() {
            "attribute" => span.attributes.push(one),
            "list" => {
                let values = vec![text(&self.value)];
                span.attributes
                    .push(pair(&self.name, AnyValue { value: Some(Any::ArrayValue(ArrayValue { values })) }));
            }
            "map" => {
                let (outer, inner) = self.name.split_once('/').expect("two names");
                let values = vec![pair(inner, text(&self.value))];
                span.attributes
                    .push(pair(outer, AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }));
            }
            "number" => span.attributes.push(pair(&self.name, numeric(&self.value))),
            "numbers" => {
                let values = vec![numeric(&self.value)];
                span.attributes
                    .push(pair(&self.name, AnyValue { value: Some(Any::ArrayValue(ArrayValue { values })) }));
            }
            "annotation number" => {
                span.attributes.push(pair("aws.xray.annotations", text(&self.name)));
                span.attributes.push(pair(&self.name, numeric(&self.value)));
            }
            "name" => span.name.clone_from(&self.value),
            "event" => {
                span.events.push(Event { name: "log".into(), attributes: vec![one], ..Event::default() });
            }
            "link" => span.links.push(Link {
                trace_id: vec![7; 16],
                span_id: vec![7; 8],
                attributes: vec![one],
                ..Link::default()
            }),
            "annotation" => {
                span.attributes.push(pair("aws.xray.annotations", text(&self.name)));
                span.attributes.push(one);
            }
            "metadata" => {
                span.attributes.push(pair(&format!("aws.xray.metadata.{}", self.name), text(&self.value)));
            }
            "message" => {
                let stack = format!(
                    "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 3, in handler\n    pay()\nerrors.Error: {}\n",
                    self.value
                );
                let attributes = vec![
                    pair("exception.type", text("errors.Error")),
                    pair("exception.message", text(&self.value)),
                    pair("exception.stacktrace", text(&stack)),
                ];
                span.events.push(Event { name: "exception".into(), attributes, ..Event::default() });
                span.status = Some(Status {
                    code: StatusCode::Error.into(),
                    message: format!("Error: {}", self.value),
                });
            }
            "resource" => {}
            other => panic!("no place {other}"),
        }
        span
    }

    /// The span in an export request.
    pub fn request(&self, number: usize) -> ExportTraceServiceRequest {
        let attributes = match self.place.as_str() {
            "resource" => vec![pair(&self.name, text(&self.value))],
            _ => Vec::new(),
        };
        let scope_spans = vec![ScopeSpans { spans: vec![self.span(number)], ..ScopeSpans::default() }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
        }
    }

    /// What an X-Ray SDK would have written, the value in the fields that hold such a thing there.
    pub fn document(&self, number: usize) -> Value {
        let value = &self.value;
        let mut document = json!({
            "id": format!("{:016x}", 0xa000 + number), "trace_id": format!("1-65656565-{:024x}", 0xa000 + number),
            "name": "call", "start_time": 1_795_224_538.0, "end_time": 1_795_224_538.5,
        });
        let sql = |field: &str| json!({"database_type": self.system, field: value});
        let is = |words: &[&str]| words.contains(&self.name.as_str());
        match self.place.as_str() {
            "name" => {
                document["name"] = json!(value);
                document["sql"] = json!({"database_type": self.system});
            }
            "message" => {
                if !self.system.is_empty() {
                    document["sql"] = json!({"database_type": self.system});
                }
                document["cause"] = json!({"message": value, "exceptions": [{
                    "id": "0000000000000001", "message": value, "type": "Error",
                    "stack": [{"path": "/var/task/app.py", "line": 3, "label": "pay"}]}]});
            }
            "attribute" if is(&["db.query.text", "db.statement", "sql.query"]) => {
                document["subsegments"] = json!([{"id": "00000000000000b1", "name": "db", "start_time": 1, "end_time": 2,
                    "sql": sql("sanitized_query")}]);
            }
            "attribute" if is(&["db.connection_string"]) => {
                document["sql"] = sql("connection_string");
                document["sql"]["url"] = json!(value);
            }
            "attribute" if is(&["url.full", "http.url"]) => {
                document["http"] = json!({"request": {"url": value}});
            }
            "map" => {
                let (outer, inner) = self.name.split_once('/').expect("two names");
                document["metadata"] = json!({"default": {outer: {inner: value}}});
            }
            "metadata" => {
                document["metadata"] =
                    json!({self.name.as_str(): serde_json::from_str::<Value>(value).expect("JSON")});
            }
            "annotation" => document["annotations"] = json!({self.name.as_str(): value}),
            "number" | "numbers" | "annotation number" => {
                let number: Value = serde_json::from_str(value).expect("a number");
                let value = if self.place == "numbers" { json!([number]) } else { number };
                if self.place == "annotation number" {
                    document["annotations"] = json!({self.name.as_str(): value});
                } else {
                    document["metadata"] = json!({"default": {self.name.as_str(): value}});
                }
            }
            _ => {
                document["metadata"] = json!({"default": {self.name.as_str(): value}});
            }
        }
        document
    }
}

/// Every text in a value.
pub fn texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(entries) => entries.values().for_each(|entry| texts(entry, into)),
        _ => {}
    }
}
