//! What must not leave the environment (xray.md section 14.3): passwords and tokens in URLs, headers and connection
//! strings, literals in statements, and data that errors of databases quote. All that leaves comes through here: each text
//! of a span, as what its name says that it is ([`Kind`]), and whole what X-Ray SDKs have written ([`document`]).

mod database_error;
mod documents;
mod edit;
mod message;
mod names;
mod signs;
mod statement;
mod text;
mod url;

pub use database_error::is_database_error;
pub use documents::mask as document;
pub use edit::{MASK, is_same};

use edit::then;
use names::Held;
use serde_json::Value;
use std::borrow::Cow;

/// What a value is, as far as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Secret,
    /// A value of a statement.
    Parameter,
    Url,
    /// A host, or what has been taken for one.
    Host,
    ConnectionString,
    Statement,
    GraphQl,
    /// A span's.
    Name,
    /// What an error says.
    Message,
    /// JSON that becomes metadata.
    Json,
    Text,
}

/// A URL that was put together of what had been shown in parts.
pub fn url(text: &str) -> Cow<'_, str> {
    url::url(text)
}

/// What a statement in SQL does to what, as the semantic conventions sum it up: `SELECT users`. `None` where it names
/// nothing that it is done to.
pub fn summary(statement: &str, system: &str) -> Option<String> {
    statement::summary(statement, system)
}

/// Attributes whose names begin like this hold a header each.
const HEADERS: [&str; 6] = [
    "http.request.header.",
    "http.response.header.",
    "rpc.grpc.request.metadata.",
    "rpc.grpc.response.metadata.",
    "rpc.request.metadata.",
    "rpc.response.metadata.",
];

/// What the names of a statement's values begin with.
const PARAMETERS: [&str; 6] = [
    "db.query.parameter",
    "db.operation.parameter",
    "db.statement.param",
    "db.sql.param",
    "db.params",
    "graphql.variables",
];

impl Kind {
    /// What an attribute of this name holds.
    pub fn of(name: &str) -> Self {
        match name {
            "url.full" | "http.url" | "http.target" | "url.path" | "url.query" | "url.fragment"
            | "url.original" | "http.path" | "http.query" => Self::Url,
            "server.address"
            | "http.host"
            | "net.peer.name"
            | "net.host.name"
            | "client.address"
            | "peer.service"
            | "network.peer.address"
            | "http.server_name"
            | "host" => Self::Host,
            "db.query.text" | "db.statement" | "db.query.summary" | "db.sql.query" | "sql.query" => {
                Self::Statement
            }
            "graphql.document" | "graphql.source" => Self::GraphQl,
            "exception.message"
            | "exception.stacktrace"
            | "error.message"
            | "error.stack"
            | "message"
            | "log.message"
            | "otel.status_description" => Self::Message,
            _ => Self::of_rare(name),
        }
    }

    fn of_rare(name: &str) -> Self {
        let bytes = name.as_bytes();
        match bytes.first() {
            Some(b'h' | b'r') => {
                if let Some(header) = HEADERS.iter().find_map(|prefix| name.strip_prefix(prefix)) {
                    return Self::of_held(names::header(header));
                }
            }
            Some(b'd' | b'g') if PARAMETERS.iter().any(|prefix| name.starts_with(prefix)) => {
                return Self::Parameter;
            }
            Some(b'a') if name.starts_with("aws.xray.metadata.") => {
                return match names::attribute(name) {
                    Held::Secret => Self::Secret,
                    _ => Self::Json,
                };
            }
            _ => {}
        }
        Self::of_held(names::attribute(name))
    }

    fn of_held(held: Held) -> Self {
        match held {
            Held::Secret => Self::Secret,
            Held::Url => Self::Url,
            Held::ConnectionString => Self::ConnectionString,
            Held::Other => Self::Text,
        }
    }
}

/// What is known of the span or document that a text is of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The database it speaks to.
    pub system: Option<&'a str>,
    /// An error in it comes from a database.
    pub is_of_database: bool,
    /// What errors of databases have said elsewhere, and how it is shown.
    pub said: &'a [(String, String)],
}

impl Context<'_> {
    /// As it may be shown.
    pub fn text<'t>(&self, kind: Kind, text: &'t str) -> Cow<'t, str> {
        match kind {
            Kind::Secret | Kind::Parameter if text == MASK || text.is_empty() => text.into(),
            Kind::Secret | Kind::Parameter => MASK.into(),
            Kind::Url => url::url(text),
            Kind::Host => url::host(text),
            Kind::ConnectionString => text::connection_string(text),
            Kind::Statement => statement::mask(text, self.system),
            Kind::GraphQl => statement::mask(text, Some("graphql")),
            // Some instrumentations name a call after its whole statement.
            Kind::Name if statement::is_name_whole(text, self.system, self.is_of_database) => {
                statement::mask(text, self.system)
            }
            Kind::Message => self.message(text),
            Kind::Json => self.json(text),
            Kind::Name | Kind::Text => text::mask(text),
        }
    }

    /// What an error says. A message goes up with its error, to spans that know nothing of a database.
    fn message<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked: Cow<'t, str> = text.into();
        for (message, shown) in self.said {
            if masked.contains(message.as_str()) {
                masked = masked.replace(message.as_str(), shown).into();
            }
        }
        let masked = then(masked, |text| database_error::mask(text, self.is_of_database));
        then(masked, message::mask)
    }

    fn json<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
                if documents::mask_value(&mut value, Kind::Text, *self) {
                    value.to_string().into()
                } else {
                    text.into()
                }
            }
            _ => text::mask(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_by_name() {
        let shown = |name: &str, text: &'static str| Context::default().text(Kind::of(name), text);
        assert_eq!(shown("http.request.header.authorization", "Bearer x"), MASK);
        assert_eq!(shown("http.request.header.x_api_key", "x"), MASK);
        assert_eq!(shown("http.request.header.accept", "x"), "x");
        assert_eq!(shown("http.response.header.location", "/cb?code=x&a=1"), "/cb?code=REDACTED&a=1");
        assert_eq!(shown("rpc.grpc.request.metadata.x-auth-token", "x"), MASK);
        assert_eq!(shown("url.query", "?token=1&a=2"), "?token=REDACTED&a=2");
        assert_eq!(shown("url.query", "token=1&a=2"), "token=REDACTED&a=2");
        assert_eq!(shown("db.query.parameter.email", "a@b"), MASK);
        assert_eq!(shown("note", "token=1"), "token=1");
        assert_eq!(shown("aws.s3.key", "a/b=c"), "a/b=c");
        assert_eq!(
            shown("aws.xray.metadata.x", r#"{"url":"https:\/\/u:p@h","n":[1,{"password":"p"}]}"#),
            r#"{"n":[1,{"password":"REDACTED"}],"url":"https://h"}"#
        );
        assert_eq!(shown("aws.xray.metadata.x", r#"{"b": 1, "a": 2}"#), r#"{"b": 1, "a": 2}"#);
    }
}
