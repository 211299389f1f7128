//! The name of a call that sends a statement, where the library had none but the conventions' last resort: what is done
//! to which tables says more than the verb and the database (PL-47).

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

/// `SELECT users` for a span that is called `SELECT shop`, `SELECT` or `shop`; `None` for one that has a name of its own.
/// What is given is masked.
pub fn name(span: &Span) -> Option<String> {
    let system = text(span, &["db.system.name", "db.system"])?;
    let summary = match text(span, &["db.query.summary"]) {
        Some(summary) => otel_xray_mask::Context { system: Some(system), ..Default::default() }
            .text(otel_xray_mask::Kind::Statement, summary)
            .into_owned(),
        None => otel_xray_mask::summary(text(span, &["db.query.text", "db.statement"])?, system)?,
    };
    let verb = summary.split(' ').next().unwrap_or_default();
    let operation = text(span, &["db.operation.name", "db.operation"]).unwrap_or(verb);
    let namespace = text(span, &["db.namespace", "db.name"]).unwrap_or_default();
    let is_last_resort = [operation, verb].iter().any(|operation| {
        let database = strip_prefix(&span.name, operation);
        database.is_some_and(|database| database.is_empty() || database.strip_prefix(' ') == Some(namespace))
    });
    (is_last_resort || [namespace, system].contains(&span.name.as_str())).then_some(summary)
}

fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.get(..prefix.len())?.eq_ignore_ascii_case(prefix).then(|| &name[prefix.len()..])
}

fn text<'a>(span: &'a Span, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let found = span.attributes.iter().find(|one| one.key == *name)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

    fn span(name: &str, attributes: &[(&str, &str)]) -> Span {
        let attribute = |(key, value): &(&str, &str)| KeyValue {
            key: (*key).into(),
            value: Some(AnyValue { value: Some(Value::StringValue((*value).into())) }),
            ..KeyValue::default()
        };
        Span { name: name.into(), attributes: attributes.iter().map(attribute).collect(), ..Span::default() }
    }

    #[test]
    fn pl_47_what_a_statement_does_names_the_call_that_has_no_better_name() {
        let named = |given: &str| {
            let statement = "SELECT * FROM users WHERE email = 'hunter2'";
            let known =
                [("db.system.name", "postgresql"), ("db.namespace", "shop"), ("db.query.text", statement)];
            name(&span(given, &known))
        };
        for last_resort in ["SELECT shop", "select shop", "SELECT", "shop", "postgresql"] {
            assert_eq!(named(last_resort).as_deref(), Some("SELECT users"), "{last_resort}");
        }
        for own in [
            "find the user",
            "SELECT users",
            "SELECT other",
            "SELECTshop",
            "connect shop",
            "pg.query:SELECT shop",
        ] {
            assert_eq!(named(own), None, "{own}");
        }
    }

    #[test]
    fn pl_47_old_conventions_and_a_librarys_own_summary() {
        let old =
            [("db.system", "mysql"), ("db.name", "shop"), ("db.statement", "insert into orders values (1)")];
        assert_eq!(name(&span("INSERT shop", &old)).as_deref(), Some("INSERT orders"));
        let own = [
            ("db.system.name", "postgresql"),
            ("db.operation.name", "WITH"),
            ("db.query.summary", "SELECT recent users"),
            ("db.query.text", "WITH recent AS (SELECT 1) SELECT 2"),
        ];
        assert_eq!(name(&span("WITH", &own)).as_deref(), Some("SELECT recent users"));
    }

    #[test]
    fn pl_47_who_names_no_table_keeps_the_name() {
        for attributes in [
            &[("db.system.name", "postgresql"), ("db.query.text", "SELECT 1")][..],
            &[("db.system.name", "redis"), ("db.query.text", "SELECT 1 FROM t")],
            &[("db.system.name", "postgresql")],
            &[("db.query.text", "SELECT a FROM t")],
        ] {
            assert_eq!(name(&span("SELECT", attributes)), None, "{attributes:?}");
        }
    }
}
