//! What the dialects of SQL, and of what is written like it, take for a text, an identifier or a comment.

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules(u32);

impl Rules {
    /// `"..."` is a text, not an identifier.
    pub(super) const DOUBLE_TEXT: Self = Self(1);
    /// A backslash escapes in every text.
    pub(super) const BACKSLASH: Self = Self(1 << 1);
    /// A backslash escapes in `E'...'`.
    pub(super) const E_TEXT: Self = Self(1 << 2);
    /// `$$...$$` and `$tag$...$tag$`.
    pub(super) const DOLLAR: Self = Self(1 << 3);
    /// Comments nest.
    pub(super) const NESTED: Self = Self(1 << 4);
    /// `#` begins a comment.
    pub(super) const HASH: Self = Self(1 << 5);
    /// `--` begins a comment only before a blank.
    pub(super) const SPACED_DASHES: Self = Self(1 << 6);
    /// `//` begins a comment.
    pub(super) const SLASHES: Self = Self(1 << 7);
    /// `[...]` is an identifier.
    pub(super) const BRACKETS: Self = Self(1 << 8);
    /// `` `...` `` is an identifier.
    pub(super) const BACKTICKS: Self = Self(1 << 9);
    /// `q'[...]'`.
    pub(super) const Q_TEXT: Self = Self(1 << 10);
    /// `'''...'''`.
    pub(super) const TRIPLE: Self = Self(1 << 11);
    /// `$12.50` is a number.
    pub(super) const MONEY: Self = Self(1 << 12);
    /// `"..."` is an identifier where only one can stand, else a text.
    pub(super) const DOUBLE_EITHER: Self = Self(1 << 13);

    pub(super) const fn has(self, rule: Self) -> bool {
        self.0 & rule.0 != 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// With a rule where it was without, and the other way round.
    pub(super) const fn toggled(self, rule: Self) -> Self {
        Self(self.0 ^ rule.0)
    }
}

use Rules as R;

pub(super) const ANSI: Rules = Rules(0);
pub(super) const POSTGRESQL: Rules = R::E_TEXT.and(R::DOLLAR).and(R::NESTED);
pub(super) const MYSQL: Rules =
    R::DOUBLE_TEXT.and(R::BACKSLASH).and(R::HASH).and(R::SPACED_DASHES).and(R::BACKTICKS);
pub(super) const SQL_SERVER: Rules = R::NESTED.and(R::BRACKETS).and(R::MONEY);
pub(super) const ORACLE: Rules = R::Q_TEXT;
pub(super) const SQLITE: Rules = R::DOUBLE_EITHER.and(R::BRACKETS).and(R::BACKTICKS);
pub(super) const GOOGLE: Rules =
    R::DOUBLE_TEXT.and(R::BACKSLASH).and(R::HASH).and(R::BACKTICKS).and(R::TRIPLE);
const HIVE: Rules = R::DOUBLE_TEXT.and(R::BACKSLASH).and(R::BACKTICKS);
const SNOWFLAKE: Rules = R::BACKSLASH.and(R::DOLLAR).and(R::SLASHES);
const CLICKHOUSE: Rules = R::BACKSLASH.and(R::DOLLAR).and(R::BACKTICKS).and(R::HASH);
const CASSANDRA: Rules = R::DOLLAR.and(R::SLASHES);
const REDSHIFT: Rules = POSTGRESQL.and(R::BACKSLASH);
const INFORMIX: Rules = R::DOUBLE_TEXT;
/// Query languages with both quotes and the comments of C: of Neo4j, Cosmos DB, `ArangoDB`, Couchbase, Gremlin.
const CODE: Rules = R::DOUBLE_TEXT.and(R::BACKSLASH).and(R::SLASHES).and(R::BACKTICKS);
pub(super) const GRAPHQL: Rules = R::DOUBLE_TEXT.and(R::BACKSLASH).and(R::HASH).and(R::TRIPLE);

/// What a statement of a system that is not known may be: whatever one of these takes for a text is none to be shown.
pub(super) const UNKNOWN: &[Rules] =
    &[MYSQL, POSTGRESQL, SQL_SERVER, ORACLE, GOOGLE, CODE.without(R::BACKSLASH), CLICKHOUSE];

/// What the text of a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Sql(Rules),
    /// A command, its key, and values: Redis.
    Commands,
    /// JSON or what looks like it: `MongoDB`, Elasticsearch.
    Documents,
    Unknown,
}

/// Words in the names of systems, as conventions old and new, X-Ray SDKs and drivers write them.
const SYSTEMS: &[(&str, Language)] = &[
    ("cosmos", Language::Sql(CODE)),
    ("documentdb", Language::Documents),
    ("postgres", Language::Sql(POSTGRESQL)),
    ("redshift", Language::Sql(REDSHIFT)),
    ("mysql", Language::Sql(MYSQL)),
    ("maria", Language::Sql(MYSQL)),
    ("sqlserver", Language::Sql(SQL_SERVER)),
    ("mssql", Language::Sql(SQL_SERVER)),
    ("sqlite", Language::Sql(SQLITE)),
    ("oracle", Language::Sql(ORACLE)),
    ("redis", Language::Commands),
    ("valkey", Language::Commands),
    ("keydb", Language::Commands),
    ("dragonfly", Language::Commands),
    ("memcached", Language::Commands),
    ("mongo", Language::Documents),
    ("elasticsearch", Language::Documents),
    ("opensearch", Language::Documents),
    ("couchdb", Language::Documents),
    ("couchbase", Language::Sql(CODE)),
    ("neo4j", Language::Sql(CODE)),
    ("neptune", Language::Sql(CODE)),
    ("arango", Language::Sql(CODE)),
    ("gremlin", Language::Sql(CODE)),
    ("janusgraph", Language::Sql(CODE)),
    ("graphql", Language::Sql(GRAPHQL)),
    ("cockroach", Language::Sql(POSTGRESQL)),
    ("greenplum", Language::Sql(POSTGRESQL)),
    ("timescale", Language::Sql(POSTGRESQL)),
    ("yugabyte", Language::Sql(POSTGRESQL)),
    ("duckdb", Language::Sql(POSTGRESQL)),
    ("tidb", Language::Sql(MYSQL)),
    ("memsql", Language::Sql(MYSQL)),
    ("singlestore", Language::Sql(MYSQL)),
    ("libsql", Language::Sql(SQLITE)),
    ("spanner", Language::Sql(GOOGLE)),
    ("bigquery", Language::Sql(GOOGLE)),
    ("hive", Language::Sql(HIVE)),
    ("spark", Language::Sql(HIVE)),
    ("databricks", Language::Sql(HIVE)),
    ("impala", Language::Sql(HIVE)),
    ("snowflake", Language::Sql(SNOWFLAKE)),
    ("clickhouse", Language::Sql(CLICKHOUSE)),
    ("cassandra", Language::Sql(CASSANDRA)),
    ("scylla", Language::Sql(CASSANDRA)),
    ("informix", Language::Sql(INFORMIX)),
    ("firebird", Language::Sql(ORACLE)),
    ("dynamodb", Language::Sql(ANSI)),
    ("trino", Language::Sql(ANSI)),
    ("presto", Language::Sql(ANSI)),
    ("athena", Language::Sql(ANSI)),
    ("db2", Language::Sql(R::NESTED)),
    ("derby", Language::Sql(R::NESTED)),
    ("hana", Language::Sql(ANSI)),
    ("teradata", Language::Sql(ANSI)),
    ("vertica", Language::Sql(POSTGRESQL)),
];

/// The language of a system: `postgresql`, `microsoft.sql_server`, `Microsoft SQL Server`.
pub(super) fn of(system: &str) -> Language {
    let mut plain = [0; 32];
    let mut len = 0;
    for byte in system.bytes().filter(u8::is_ascii_alphanumeric).take(plain.len()) {
        plain[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    let plain = &plain[..len];
    let holds = |word: &str| plain.windows(word.len()).any(|window| window == word.as_bytes());
    SYSTEMS.iter().find(|(word, _)| holds(word)).map_or(Language::Unknown, |(_, language)| *language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pl_80_the_system_says_the_language() {
        for (system, language) in [
            ("postgresql", Language::Sql(POSTGRESQL)),
            ("PostgreSQL", Language::Sql(POSTGRESQL)),
            ("microsoft.sql_server", Language::Sql(SQL_SERVER)),
            ("Microsoft SQL Server", Language::Sql(SQL_SERVER)),
            ("mssql", Language::Sql(SQL_SERVER)),
            ("oracle.db", Language::Sql(ORACLE)),
            ("aws.redshift", Language::Sql(REDSHIFT)),
            ("gcp.spanner", Language::Sql(GOOGLE)),
            ("redis", Language::Commands),
            ("mongodb", Language::Documents),
            ("azure.cosmosdb", Language::Sql(CODE)),
            ("other_sql", Language::Unknown),
            ("", Language::Unknown),
        ] {
            assert_eq!(of(system), language, "{system}");
        }
    }

    #[test]
    fn pl_80_the_dialect_of_every_system_that_an_agent_names_is_known() {
        let systems = include_str!("../../../../tests/systems.tsv");
        let named: Vec<_> = systems.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(named.len() > 10);
        for system in named {
            assert!(matches!(of(system), Language::Sql(_)), "{system}");
        }
    }
}
