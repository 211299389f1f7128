//! The `sql` block of a database call: xray.md sections 3.6 and 14.3, BET-22.

use super::metadata::cut_250;
use super::{Subject, mask};
use serde_json::{Map, Value};

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

pub(super) fn block(subject: &Subject<'_>) -> Option<Map<String, Value>> {
    let attributes = &subject.attributes;
    let system = ["db.system.name", "db.system"].into_iter().find(|name| attributes.has(name))?;
    let system = attributes.iter().find(|attribute| attribute.key == system)?;
    let system = super::attributes::to_json(system.value.as_ref());
    let system = system.as_str().filter(|system| DIALECTS.contains(system))?;
    attributes.get(&["db.system.name", "db.system"]);

    let mut block = Map::new();
    let host = attributes.text(&["server.address", "net.peer.name", "net.peer.ip"]);
    if let Some(host) = host {
        let port = attributes
            .integer(&["server.port", "net.peer.port"])
            .map_or_else(String::new, |port| format!(":{port}"));
        let database = attributes
            .text(&["db.namespace", "db.name"])
            .map_or_else(String::new, |database| format!("/{database}"));
        block.insert(
            "url".into(),
            cut_250(mask::url(&format!("{system}://{host}{port}{database}")).into()).into(),
        );
    }
    block.insert("database_type".into(), system.into());
    if let Some(user) = attributes.text(&["db.user"]) {
        block.insert("user".into(), cut_250(user).into());
    }
    if let Some(query) = attributes.text(&["db.query.text", "db.statement"]) {
        let masked: String = mask::sql(&query).chars().take(MAX_QUERY_CHARS).collect();
        block.insert("sanitized_query".into(), masked.into());
    }
    Some(block)
}
