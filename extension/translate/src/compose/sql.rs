//! The `sql` block of a database call: xray.md sections 3.6 and 14.3, BET-22.

use crate::attributes::key::{self, Key};
use crate::compose::subject::Subject;
use crate::document::fields::{Block, Field, cut_250, cut_chars};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use std::borrow::Cow;

/// Characters of a query that are sent.
const MAX_QUERY_CHARS: usize = 4096;

/// The systems that speak SQL; others keep their query in metadata.
const DIALECTS: &[&str] = &[
    "aws.redshift",
    "clickhouse",
    "cockroachdb",
    "db2",
    "derby",
    "hive",
    "ibm.db2",
    "mariadb",
    "microsoft.sql_server",
    "mssql",
    "mysql",
    "oracle",
    "oracle.db",
    "other_sql",
    "postgresql",
    "redshift",
    "snowflake",
    "sqlite",
    "teradata",
    "trino",
];

pub(crate) fn block<'a>(subject: &Subject<'a>) -> Block<'a> {
    let mut block = Block::default();
    let attributes = &subject.attributes;
    let Some(system) = key::DB_SYSTEM.iter().find_map(|key| match attributes.peek(*key)? {
        Any::StringValue(system) => Some(system.as_str()),
        _ => None,
    }) else {
        return block;
    };
    if !DIALECTS.contains(&system) {
        return block;
    }
    attributes.spend(key::DB_SYSTEM);
    block = Block::with_capacity(4);
    if let Some(url) = url(subject, system) {
        block.push("url", Field::Text(cut_250(url.into())));
    }
    if let Some(connection) = attributes.text(&[Key::DbConnectionString]) {
        block.push("connection_string", Field::Text(connection));
    }
    block.push("database_type", Field::Text(cut_250(system.into())));
    if let Some(user) = attributes.text(key::DB_USER) {
        block.push("user", Field::Text(cut_250(user)));
    }
    if let Some(query) = attributes.text(key::DB_QUERY) {
        block.push("sanitized_query", Field::Text(cut_chars(query, MAX_QUERY_CHARS)));
    }
    block
}

/// `scheme://host:port/db`, never the span's name.
fn url(subject: &Subject<'_>, system: &str) -> Option<String> {
    let attributes = &subject.attributes;
    let host =
        attributes.text(&[Key::ServerAddress, Key::NetPeerName, Key::NetworkPeerAddress, Key::NetPeerIp])?;
    let port = attributes.text(key::CLIENT_PORT);
    let database = attributes.text(key::DB_NAMESPACE);
    let (colon, port) = port.as_deref().map_or(("", ""), |port| (":", port));
    let (slash, database) = database.as_deref().map_or(("", ""), |database| ("/", database));
    let url = [system, "://", &host, colon, port, slash, database].concat();
    Some(match otel_xray_mask::url(&url) {
        Cow::Borrowed(_) => url,
        Cow::Owned(masked) => masked,
    })
}
