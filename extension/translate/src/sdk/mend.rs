//! Documents of which X-Ray would refuse all for one field. `null` means that the field is absent, wherever it stands but
//! in metadata; a value of the wrong type costs its field, or is written as X-Ray takes it (xray.md sections 3.1 and 3.4
//! to 3.7).

use super::id_of;
use crate::derive::{self, Purpose};
use crate::trace_header::{SpanId, TraceId};
use serde_json::{Map, Value, json};

/// What X-Ray takes in a field.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// One of a few texts, which no number is.
    Word,
    Id,
    Whole,
    Count,
    Number,
    Boolean,
    Texts,
    Object(&'static [Field]),
    Objects(&'static [Field]),
    Cause,
    Exceptions,
    Metadata,
    Links,
    Subsegments,
    /// Anything: X-Ray does not look for it (DOC-6).
    Open,
}
use Kind::{Boolean, Id, Number, Object, Objects, Text, Texts, Whole};

type Field = (&'static str, Kind);

static DOCUMENT: &[Field] = &[
    ("name", Text),
    ("id", Id),
    ("trace_id", Text),
    ("parent_id", Id),
    ("type", Kind::Word),
    ("start_time", Number),
    ("end_time", Number),
    ("in_progress", Boolean),
    ("namespace", Text),
    ("origin", Text),
    ("resource_arn", Text),
    ("user", Text),
    ("error", Boolean),
    ("throttle", Boolean),
    ("fault", Boolean),
    ("traced", Boolean),
    ("precursor_ids", Texts),
    ("service", Object(SERVICE)),
    ("http", Object(HTTP)),
    ("aws", Object(AWS)),
    ("sql", Object(SQL)),
    ("cause", Kind::Cause),
    ("metadata", Kind::Metadata),
    ("links", Kind::Links),
    ("subsegments", Kind::Subsegments),
];

static SERVICE: &[Field] = &[
    ("version", Text),
    ("compiler", Text),
    ("compiler_version", Text),
    ("runtime", Text),
    ("runtime_version", Text),
];

static HTTP: &[Field] = &[("request", Object(REQUEST)), ("response", Object(RESPONSE))];

static REQUEST: &[Field] = &[
    ("method", Text),
    ("url", Text),
    ("user_agent", Text),
    ("client_ip", Text),
    ("x_forwarded_for", Boolean),
    ("traced", Boolean),
];

static RESPONSE: &[Field] = &[("status", Whole), ("content_length", Whole)];

static AWS: &[Field] = &[
    ("account_id", Text),
    ("request_id", Text),
    ("function_arn", Text),
    ("resource_names", Texts),
    ("operation", Text),
    ("region", Text),
    ("queue_url", Text),
    ("table_name", Text),
    ("table_names", Texts),
    ("retries", Whole),
    ("id_2", Text),
    ("topic_arn", Text),
    ("bucket_name", Text),
    ("key", Text),
    ("function_name", Text),
    ("queue_name", Text),
    ("cloudwatch_logs", Objects(&[("log_group", Text), ("arn", Text)])),
    (
        "ec2",
        Object(&[
            ("instance_id", Text),
            ("availability_zone", Text),
            ("instance_size", Text),
            ("ami_id", Text),
        ]),
    ),
    ("ecs", Object(ECS)),
    ("eks", Object(&[("pod", Text), ("cluster_name", Text), ("container_id", Text)])),
    (
        "elastic_beanstalk",
        Object(&[("environment_name", Text), ("version_label", Text), ("deployment_id", Number)]),
    ),
    (
        "xray",
        Object(&[
            ("sdk", Text),
            ("sdk_version", Text),
            ("auto_instrumentation", Boolean),
            ("sampling_rule_name", Text),
        ]),
    ),
];

static ECS: &[Field] = &[
    ("container", Text),
    ("container_id", Text),
    ("container_arn", Text),
    ("task_arn", Text),
    ("task_family", Text),
    ("cluster_arn", Text),
    ("availability_zone", Text),
    ("launch_type", Text),
];

static SQL: &[Field] = &[
    ("connection_string", Text),
    ("url", Text),
    ("sanitized_query", Text),
    ("database_type", Text),
    ("database_version", Text),
    ("driver_version", Text),
    ("user", Text),
    ("preparation", Text),
];

static CAUSE: &[Field] =
    &[("working_directory", Text), ("message", Text), ("paths", Texts), ("exceptions", Kind::Exceptions)];

static EXCEPTION: &[Field] = &[
    ("id", Id),
    ("message", Text),
    ("type", Text),
    ("remote", Boolean),
    ("truncated", Kind::Count),
    ("skipped", Kind::Count),
    ("cause", Id),
    ("stack", Objects(&[("path", Text), ("line", Whole), ("label", Text)])),
];

static LINK: &[Field] = &[("trace_id", Text), ("id", Id), ("attributes", Object(&[]))];

/// Makes the document such as X-Ray takes, as far as fields go. Whether anything was changed, and how many values were
/// left out, or went to metadata, for being of the wrong type.
pub(super) fn mend(document: &mut Map<String, Value>, trace_id: TraceId, id: SpanId) -> (bool, u64) {
    let mut mender = Mender { trace_id, id, start: None, ids: 0, is_changed: false, lost: 0 };
    mender.node(document);
    (mender.is_changed, mender.lost)
}

struct Mender {
    trace_id: TraceId,
    /// Of the document or subsegment that is looked at.
    id: SpanId,
    /// When it, or what it is in, has started.
    start: Option<f64>,
    /// How many had to be made.
    ids: usize,
    is_changed: bool,
    lost: u64,
}

impl Mender {
    /// A document, or a subsegment in one.
    fn node(&mut self, node: &mut Map<String, Value>) {
        let (outer_id, outer_start) = (self.id, self.start);
        self.id = id_of(node).unwrap_or_else(|| self.give_id(node));
        self.start = node.get("start_time").and_then(number).or(outer_start);
        self.annotations(node);
        self.object(DOCUMENT, node);
        if !node.contains_key("name") {
            self.put(node, "name", "unknown".into());
        }
        self.times(node);
        (self.id, self.start) = (outer_id, outer_start);
    }

    /// One without an end is in progress (TIME-4), and none ends before it starts (TIME-3).
    fn times(&mut self, node: &mut Map<String, Value>) {
        let start = node.get("start_time").and_then(number);
        let end = node.get("end_time").and_then(number);
        if start.is_none()
            && let Some(start) = end.or(self.start)
        {
            self.put(node, "start_time", start.into());
        }
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            self.put(node, "end_time", start.into());
        }
        let is_in_progress = node.get("in_progress") == Some(&Value::Bool(true));
        match end {
            None if !is_in_progress => self.put(node, "in_progress", true.into()),
            Some(_) if is_in_progress => {
                self.is_changed = true;
                node.remove("in_progress");
            }
            _ => {}
        }
    }

    fn put(&mut self, object: &mut Map<String, Value>, name: &str, value: Value) {
        self.is_changed = true;
        object.insert(name.to_owned(), value);
    }

    fn give_id(&mut self, object: &mut Map<String, Value>) -> SpanId {
        let id = derive::id(self.trace_id, self.id, Purpose::Anonymous(self.ids));
        self.ids += 1;
        self.put(object, "id", id.to_text().as_str().into());
        id
    }

    /// Leaves `null` out, and what can't be written as X-Ray takes it.
    fn object(&mut self, fields: &[Field], object: &mut Map<String, Value>) {
        object.retain(|name, value| {
            let kind = fields.iter().find(|(field, _)| field == name).map_or(Kind::Open, |(_, kind)| *kind);
            self.keeps(kind, value)
        });
    }

    fn items(&mut self, items: &mut Vec<Value>, mut keeps: impl FnMut(&mut Self, &mut Value) -> bool) {
        items.retain_mut(|item| {
            let is_kept = keeps(self, item);
            if !is_kept {
                self.is_changed = true;
                self.lost += u64::from(!item.is_null());
            }
            is_kept
        });
    }

    fn keeps(&mut self, kind: Kind, value: &mut Value) -> bool {
        let is_kept = !value.is_null() && self.fits(kind, value);
        if !is_kept {
            self.is_changed = true;
            self.lost += u64::from(!value.is_null());
        }
        is_kept
    }

    /// Whether X-Ray takes the value in such a field, as it is or as it is rewritten here.
    fn fits(&mut self, kind: Kind, value: &mut Value) -> bool {
        match (kind, &mut *value) {
            (Kind::Open, _) => {
                self.strip(value);
                true
            }
            // What is in metadata is nobody's but the user's.
            (Text | Kind::Word, Value::String(_))
            | (Number, Value::Number(_))
            | (Boolean, Value::Bool(_))
            | (Kind::Metadata, Value::Object(_)) => true,
            (Text, Value::Number(_) | Value::Bool(_)) => {
                self.rewrite(value, |value| Some(value.to_string().into()))
            }
            (Id, Value::String(text)) => SpanId::parse(text).is_some(),
            (Whole | Kind::Count, Value::Number(number)) if number.is_u64() => true,
            (Whole, Value::Number(number)) if number.is_i64() => true,
            (Whole, Value::Number(_) | Value::String(_)) => self.rewrite(value, whole),
            (Kind::Count, Value::Number(_) | Value::String(_)) => {
                self.rewrite(value, |value| whole(value).filter(Value::is_u64))
            }
            (Number, Value::String(_)) => self.rewrite(value, |value| number(value).map(Value::from)),
            (Boolean, Value::String(_)) => self.rewrite(value, |value| {
                value.as_str()?.trim().to_ascii_lowercase().parse::<bool>().ok().map(Value::from)
            }),
            (Texts, Value::String(_)) => self.rewrite(value, |value| Some(json!([value]))),
            (Texts, Value::Array(items)) => {
                self.items(items, |mender, item| !item.is_null() && mender.fits(Text, item));
                true
            }
            (Object(fields), Value::Object(object)) => {
                self.object(fields, object);
                true
            }
            (Objects(fields), Value::Array(items)) => {
                self.objects(items, |mender, object| {
                    mender.object(fields, object);
                    true
                });
                true
            }
            (Kind::Cause, Value::Object(cause)) => {
                self.object(CAUSE, cause);
                true
            }
            (Kind::Cause, Value::String(text)) => {
                SpanId::parse(text).is_some() || self.rewrite(value, |value| Some(json!({"message": value})))
            }
            (Kind::Exceptions, Value::Array(exceptions)) => {
                self.objects(exceptions, |mender, exception| {
                    mender.object(EXCEPTION, exception);
                    if !exception.contains_key("id") {
                        mender.give_id(exception);
                    }
                    true
                });
                true
            }
            (Kind::Links, Value::Array(links)) => {
                self.objects(links, |mender, link| {
                    mender.object(LINK, link);
                    let trace_id = link.get("trace_id").and_then(Value::as_str);
                    link.contains_key("id") && trace_id.and_then(TraceId::parse_xray).is_some()
                });
                true
            }
            (Kind::Subsegments, Value::Array(subsegments)) => {
                self.objects(subsegments, |mender, subsegment| {
                    mender.node(subsegment);
                    true
                });
                true
            }
            (Kind::Metadata, _) => self.rewrite(value, |value| Some(json!({"default": {"metadata": value}}))),
            _ => false,
        }
    }

    fn objects(
        &mut self,
        items: &mut Vec<Value>,
        mut keeps: impl FnMut(&mut Self, &mut Map<String, Value>) -> bool,
    ) {
        self.items(items, |mender, item| item.as_object_mut().is_some_and(|object| keeps(mender, object)));
    }

    fn rewrite(&mut self, value: &mut Value, write: impl Fn(&Value) -> Option<Value>) -> bool {
        let Some(written) = write(value) else { return false };
        *value = written;
        self.is_changed = true;
        true
    }

    /// Removes every `null`.
    fn strip(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => self.object(&[], object),
            Value::Array(items) => {
                self.items(items, |mender, item| !item.is_null() && mender.fits(Kind::Open, item));
            }
            _ => {}
        }
    }

    /// What is no scalar can't be an annotation (ANN-2), and is kept in metadata.
    fn annotations(&mut self, node: &mut Map<String, Value>) {
        let Some(annotations) = node.get_mut("annotations") else { return };
        let Value::Object(entries) = annotations else {
            self.is_changed = true;
            self.lost += u64::from(!annotations.is_null());
            node.remove("annotations");
            return;
        };
        let mut moved = Map::new();
        entries.retain(|name, value| {
            let is_scalar = matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
            if !is_scalar {
                self.is_changed = true;
                if !value.is_null() {
                    self.lost += 1;
                    moved.insert(name.clone(), value.take());
                }
            }
            is_scalar
        });
        if moved.is_empty() {
            return;
        }
        let metadata = node.entry("metadata").or_insert(Value::Null);
        if metadata.is_null() {
            *metadata = json!({});
        }
        if let Value::Object(metadata) = metadata {
            let space = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Value::Object(space) = space {
                space.append(&mut moved);
            }
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    number.is_finite().then_some(number)
}

/// A whole number that was written as a text, or as a float.
fn whole(value: &Value) -> Option<Value> {
    if let Some(Ok(whole)) = value.as_str().map(|text| text.trim().parse::<i64>()) {
        return Some(whole.into());
    }
    let number = number(value).filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range, as was just seen")]
    let whole = number as i64;
    Some(whole.into())
}
