//! Documents that an X-Ray SDK has written: the same fields are masked as in those that are made of spans.

use super::edit::is_same;
use super::{Context, Kind, MASK, database_error, names};
use serde_json::{Map, Value};

/// Subsegments in subsegments that are followed.
const MAX_DEPTH: usize = 128;

/// Masks a document with the subsegments in it, and says whether anything had to be.
pub fn mask(document: &mut Map<String, Value>) -> bool {
    node(document, 0)
}

fn node(document: &mut Map<String, Value>, depth: usize) -> bool {
    let of_sql = |name: &str| Some(document.get("sql")?.get(name)?.as_str()?.to_owned());
    let system = of_sql("database_type").or_else(|| of_sql("driver_version"));
    let context = Context {
        system: system.as_deref(),
        is_of_database: document.contains_key("sql"),
        ..Context::default()
    };
    let mut is_changed = false;
    for (name, value) in document.iter_mut() {
        is_changed |= match (name.as_str(), value) {
            // Ids, and what the environment says of itself.
            ("id" | "trace_id" | "parent_id" | "type" | "namespace" | "origin", _) => false,
            ("subsegments", Value::Array(nested)) if depth < MAX_DEPTH => nested
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .fold(false, |is_changed, one| is_changed | node(one, depth + 1)),
            ("cause", Value::Object(cause)) => self::cause(cause, context),
            ("sql", Value::Object(sql)) => fields(sql, context, |name| match name {
                "sanitized_query" | "query" => Kind::Statement,
                "url" | "connection_string" => Kind::ConnectionString,
                _ => Kind::Text,
            }),
            ("name", value) => mask_value(value, Kind::Name, context),
            ("http", value) => mask_value(value, Kind::Url, context),
            (_, value) => mask_value(value, Kind::Text, context),
        };
    }
    is_changed
}

fn cause(cause: &mut Map<String, Value>, context: Context<'_>) -> bool {
    let mut is_changed = fields(cause, context, |name| match name {
        "message" => Kind::Message,
        _ => Kind::Text,
    });
    let exceptions = cause.get_mut("exceptions").and_then(Value::as_array_mut);
    for exception in exceptions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let kind = exception.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_of_database = context.is_of_database || database_error::is_database_error(kind);
        is_changed |= fields(exception, Context { is_of_database, ..context }, |name| match name {
            "message" => Kind::Message,
            _ => Kind::Text,
        });
    }
    is_changed
}

/// Masks what is in an object by the names in it.
fn fields(object: &mut Map<String, Value>, context: Context<'_>, kind: fn(&str) -> Kind) -> bool {
    object
        .iter_mut()
        .fold(false, |is_changed, (name, value)| is_changed | mask_value(value, kind(name), context))
}

/// Masks every text in a value. What is nested is known by its own name, unless the whole is a secret or a URL.
pub(super) fn mask_value(value: &mut Value, kind: Kind, context: Context<'_>) -> bool {
    match value {
        Value::String(text) => {
            let masked = context.text(kind, text);
            let is_changed = !is_same(&masked, text);
            if is_changed {
                *text = masked.into_owned();
            }
            is_changed
        }
        Value::Array(items) => {
            items.iter_mut().fold(false, |is_changed, item| is_changed | mask_value(item, kind, context))
        }
        Value::Object(entries) => entries.iter_mut().fold(false, |is_changed, (name, value)| {
            let kind = match kind {
                Kind::Text => Kind::of_entry(name),
                kind => kind,
            };
            is_changed | mask_value(value, kind, context)
        }),
        Value::Number(_) if matches!(kind, Kind::Secret | Kind::Parameter) => {
            *value = MASK.into();
            true
        }
        _ => false,
    }
}

impl Kind {
    /// What a name holds that is no attribute's: it may be a header's too.
    pub fn of_entry(name: &str) -> Self {
        match Self::of(name) {
            Self::Text if !name.contains('.') => Self::of_held(names::header(name)),
            kind => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masked(mut value: Value) -> (Value, bool) {
        let is_changed = mask(value.as_object_mut().unwrap());
        (value, is_changed)
    }

    #[test]
    fn row_11_an_sdks_document_is_masked_as_our_own() {
        let (document, is_changed) = masked(json!({
            "id": "252347be33e0cbc5", "name": "call", "http": {"request": {"url": "https://u:p@h/pay?token=zz&a=1"}},
            "annotations": {"site": "https://h/?api_key=x", "n": 1},
            "metadata": {"default": {"dsn": "host=h password=x", "headers": {"cookie": "x", "accept": "y"}, "note": "as it is"}},
            "subsegments": [{"name": "db", "sql": {
                "database_type": "PostgreSQL", "sanitized_query": "SELECT \"a\" FROM t WHERE p = 'x'",
                "url": "postgres://u:p@h/db", "connection_string": "host=h password=x",
            }, "cause": {"exceptions": [{"message": "bad \"x\" for column \"a\"", "stack": [{"path": "p", "line": 1, "label": "https://h?sig=x"}]}]}}],
        }));
        assert!(is_changed);
        assert_eq!(
            document,
            json!({
                "id": "252347be33e0cbc5", "name": "call", "http": {"request": {"url": "https://h/pay?token=REDACTED&a=1"}},
                "annotations": {"site": "https://h/?api_key=REDACTED", "n": 1},
                "metadata": {"default": {"dsn": "host=h password=REDACTED", "headers": {"cookie": "REDACTED", "accept": "y"}, "note": "as it is"}},
                "subsegments": [{"name": "db", "sql": {
                    "database_type": "PostgreSQL", "sanitized_query": "SELECT \"a\" FROM t WHERE p = ?",
                    "url": "postgres://h/db", "connection_string": "host=h password=REDACTED",
                }, "cause": {"exceptions": [{"message": "bad \"?\" for column \"a\"", "stack": [{"path": "p", "line": 1, "label": "https://h?sig=REDACTED"}]}]}}],
            })
        );
        assert_eq!(masked(document.clone()), (document, false));
    }
}
