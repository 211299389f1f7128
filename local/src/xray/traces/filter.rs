//! Filter expressions of `GetTraceSummaries`, the common part: keywords joined by `AND`.

use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// A keyword, an operator and a value, or a keyword alone; `!` turns it around.
static TERM: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?x)^\s*(?P<not>!?)\s*
        (?: service\(\s*"(?P<service>[^"]*)"\s*\)
          | (?P<keyword> annotation[.\[][\w:]+\]? | [\w.]+ )
            (?: \s*(?P<operator> != | <= | >= | = | < | > | \bCONTAINS\b | \bBEGINSWITH\b )
                \s*(?: "(?P<text>[^"]*)" | (?P<word>[-+.\w]+) ) )? )\s*$"#;
    // Checked by every test below.
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("the pattern is constant: {error}"))
});
static AND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\s+AND\s+").unwrap_or_else(|error| unreachable!("the pattern is constant: {error}"))
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Contains,
    BeginsWith,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::More,
            ">=" => Self::MoreOrEqual,
            "CONTAINS" => Self::Contains,
            "BEGINSWITH" => Self::BeginsWith,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    /// `error`, `fault`, `throttle`: a field of the summary that is true.
    Flag(&'static str),
    /// A node of this name takes part.
    Service(String),
    Annotation(String, Option<(Operator, Value)>),
    /// Another field of the summary, by its JSON pointer.
    Field(&'static str, Operator, Value),
}

/// A filter that was understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter(Vec<(bool, Term)>);

impl Filter {
    /// Reads an expression; an empty one lets everything pass. The error says what was not understood.
    pub(crate) fn parse(expression: &str) -> Result<Self, String> {
        if expression.trim().is_empty() {
            return Ok(Self::default());
        }
        AND.split(expression).map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a trace summary passes.
    pub(crate) fn passes(&self, summary: &Value) -> bool {
        self.0.iter().all(|(wanted, term)| holds(term, summary) == *wanted)
    }
}

fn term(text: &str) -> Result<(bool, Term), String> {
    let wrong = || format!("FilterExpression: {text:?} is not understood by this local endpoint");
    let parts = TERM.captures(text).ok_or_else(wrong)?;
    let part = |name: &str| parts.name(name).map(|part| part.as_str());
    let wanted = part("not").unwrap_or_default().is_empty();
    if let Some(service) = part("service") {
        return Ok((wanted, Term::Service(service.to_owned())));
    }
    let value = part("text").map(Value::from).or_else(|| part("word").map(plain));
    let comparison = part("operator").and_then(Operator::parse).zip(value);
    let keyword = part("keyword").unwrap_or_default();
    if let Some(key) = keyword.strip_prefix("annotation") {
        let key = key.trim_matches(['.', '[', ']']);
        return Ok((wanted, Term::Annotation(key.to_owned(), comparison)));
    }
    let term = match (keyword, comparison) {
        ("error", None) => Term::Flag("/HasError"),
        ("fault", None) => Term::Flag("/HasFault"),
        ("throttle", None) => Term::Flag("/HasThrottle"),
        ("partial", None) => Term::Flag("/IsPartial"),
        ("error" | "fault" | "throttle", Some((Operator::Equal, Value::Bool(value)))) => {
            let (_, term) = self::term(keyword)?;
            return Ok((wanted == value, term));
        }
        ("duration", Some((operator, value))) => Term::Field("/Duration", operator, value),
        ("responsetime", Some((operator, value))) => Term::Field("/ResponseTime", operator, value),
        ("http.status", Some((operator, value))) => Term::Field("/Http/HttpStatus", operator, value),
        ("http.url", Some((operator, value))) => Term::Field("/Http/HttpURL", operator, value),
        ("http.method", Some((operator, value))) => Term::Field("/Http/HttpMethod", operator, value),
        _ => return Err(wrong()),
    };
    Ok((wanted, term))
}

/// A value without quotation marks: a number, a truth value, else a text.
fn plain(word: &str) -> Value {
    match word {
        "true" | "TRUE" => Value::Bool(true),
        "false" | "FALSE" => Value::Bool(false),
        _ => word.parse::<f64>().map_or_else(|_| Value::from(word), Value::from),
    }
}

fn holds(term: &Term, summary: &Value) -> bool {
    match term {
        Term::Flag(pointer) => summary.pointer(pointer) == Some(&Value::Bool(true)),
        Term::Service(name) => entries(&summary["ServiceIds"]).any(|service| service["Name"] == *name),
        Term::Annotation(key, comparison) => entries(&summary["Annotations"][key]).any(|entry| {
            let value = entry["AnnotationValue"].as_object().and_then(|value| value.values().next());
            let Some(value) = value else { return false };
            comparison.as_ref().is_none_or(|(operator, wanted)| compare(value, *operator, wanted))
        }),
        Term::Field(pointer, operator, wanted) => {
            summary.pointer(pointer).is_some_and(|value| compare(value, *operator, wanted))
        }
    }
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn compare(value: &Value, operator: Operator, wanted: &Value) -> bool {
    if let (Some(value), Some(wanted)) = (value.as_f64(), wanted.as_f64()) {
        return match operator {
            Operator::Equal => value.total_cmp(&wanted).is_eq(),
            Operator::NotEqual => value.total_cmp(&wanted).is_ne(),
            Operator::Less => value < wanted,
            Operator::LessOrEqual => value <= wanted,
            Operator::More => value > wanted,
            Operator::MoreOrEqual => value >= wanted,
            Operator::Contains | Operator::BeginsWith => false,
        };
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (value, wanted) = (text(value), text(wanted));
    match operator {
        Operator::Equal => value == wanted,
        Operator::NotEqual => value != wanted,
        Operator::Contains => value.contains(&wanted),
        Operator::BeginsWith => value.starts_with(&wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn common_expressions() {
        let summary = json!({
            "HasError": false, "HasFault": true, "HasThrottle": false, "Duration": 1.5, "ResponseTime": 0.25,
            "ServiceIds": [{"Name": "orders"}, {"Name": "S3"}],
            "Annotations": {
                "tier": [{"AnnotationValue": {"StringValue": "gold"}}],
                "items": [{"AnnotationValue": {"NumberValue": 3}}, {"AnnotationValue": {"NumberValue": 7}}],
                "paid": [{"AnnotationValue": {"BooleanValue": true}}],
            },
            "Http": {"HttpStatus": 503, "HttpURL": "https://api.example.com/orders"},
        });
        let cases = [
            ("", true),
            ("fault", true),
            ("error", false),
            ("!error", true),
            ("fault = true", true),
            ("fault = false", false),
            ("service(\"S3\")", true),
            ("service( \"SQS\" )", false),
            ("!service(\"SQS\")", true),
            ("duration > 1", true),
            ("duration >= 1.5 AND duration <= 1.5", true),
            ("responsetime > 1", false),
            ("annotation.tier = \"gold\"", true),
            ("annotation[tier] = \"gold\"", true),
            ("annotation.tier BEGINSWITH \"go\" AND annotation.tier CONTAINS \"ol\"", true),
            ("annotation.tier != \"gold\"", false),
            ("annotation.items > 6", true),
            ("annotation.items > 7", false),
            ("annotation.paid = true", true),
            ("annotation.paid", true),
            ("annotation.other", false),
            ("http.status = 503 and http.url CONTAINS \"orders\"", true),
            ("fault AND service(\"orders\") AND annotation.items = 7 AND duration > 1", true),
            ("fault AND service(\"none\")", false),
        ];
        for (expression, passes) in cases {
            let filter = Filter::parse(expression).unwrap();
            assert_eq!(filter.passes(&summary), passes, "{expression}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for wrong in
            ["fault OR error", "edge(\"a\", \"b\")", "duration", "duration >", "nonsense = 1", "fault AND"]
        {
            assert!(Filter::parse(wrong).unwrap_err().contains("is not understood"), "{wrong}");
        }
    }
}
