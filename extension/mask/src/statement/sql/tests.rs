//! Statements by dialect, and what holds for any.

use super::super::dialect::{
    ANSI, GOOGLE, Language, MYSQL, ORACLE, POSTGRESQL, SQL_SERVER, SQLITE, UNKNOWN, of,
};
use super::*;
use proptest::prelude::*;

#[test]
fn bet_22_sql_literals() {
    for (given, expected) in [
        ("SELECT * FROM t1 WHERE a = 'it''s' AND b=12.5", "SELECT * FROM t1 WHERE a = ? AND b=?"),
        ("INSERT INTO t VALUES (1, 'xy', $1, 0xFF)", "INSERT INTO t VALUES (?, ?, $1, ?)"),
        ("SELECT a -- 'secret'\nFROM b /* 4711 */", "SELECT a \nFROM b "),
        ("SELECT $$secret$$", "SELECT ?"),
        ("SELECT 'open", "SELECT ?"),
        ("SELECT 'open\\", "SELECT ?"),
        ("SELECT ä1, 'ü', t.1 FROM ö WHERE x = 1", "SELECT ä1, ?, t.1 FROM ö WHERE x = ?"),
        ("SELECT /* open", "SELECT "),
        ("SELECT/**/a", "SELECT a"),
        ("SELECT -.5, 1e-10, 1E+3, 1_000, 5-3", "SELECT -?, ?, ?, ?, ?-?"),
    ] {
        assert_eq!(mask(given, POSTGRESQL), expected);
    }
}

#[test]
fn pl_80_what_is_a_text_depends_on_the_dialect() {
    for (rules, given, expected) in [
        (
            MYSQL,
            r#"SELECT `a"b` FROM t WHERE p = "x" AND q = 'y\'z'"#,
            r#"SELECT `a"b` FROM t WHERE p = ? AND q = ?"#,
        ),
        (MYSQL, "SELECT 1 # it's\nFROM t", "SELECT ? \nFROM t"),
        (MYSQL, "SELECT 5--3, 'x'", "SELECT ?--?, ?"),
        (MYSQL, "SELECT _utf8mb4'x', X'4D', N'x', b'01'", "SELECT _utf8mb4?, ?, ?, ?"),
        (MYSQL, r"SELECT a LIKE '%\_%' ESCAPE '\' AND pw = 'secret'", "SELECT a LIKE ? ESCAPE ?"),
        (POSTGRESQL, r"SELECT 'C:\', 'x'", "SELECT ?, ?"),
        (
            POSTGRESQL,
            r"SELECT a LIKE 'x' ESCAPE '\' AND pw = 'secret'",
            "SELECT a LIKE ? ESCAPE ? AND pw = ?",
        ),
        (POSTGRESQL, r"SELECT E'it\'s', 'x'", "SELECT ?, ?"),
        (POSTGRESQL, r#"SELECT "it's", 'x' FROM "T""u""#, r#"SELECT "it's", ? FROM "T""u""#),
        (POSTGRESQL, "SELECT $tag$it's $$ $tag$, $1, $2::int", "SELECT ?, $1, $2::int"),
        (POSTGRESQL, "SELECT /* a /* b */ secret */ 1", "SELECT  ?"),
        (POSTGRESQL, r"SELECT U&'d\0061t', a[1:4711]", "SELECT ?, a[?:?]"),
        (POSTGRESQL, r"SELECT 'it\'s secret'", "SELECT ?"),
        (
            SQL_SERVER,
            r"SELECT * FROM [t's] WHERE p = 'C:\' AND q = 'x'",
            "SELECT * FROM [t's] WHERE p = ? AND q = ?",
        ),
        (SQL_SERVER, "SELECT @p1, $12.50, @1", "SELECT @p1, ?, @1"),
        (
            ORACLE,
            "SELECT q'[it's]', nq'!it's!', Q'(a)', q'{b}', q'<c>' FROM dual",
            "SELECT ?, ?, ?, ?, ? FROM dual",
        ),
        (ORACLE, "SELECT :1, :name, a FROM t WHERE b = 12345678", "SELECT :1, :name, a FROM t WHERE b = ?"),
        (SQLITE, r#"SELECT "t"."a" FROM "t" WHERE p = "x""#, r#"SELECT "t"."a" FROM "t" WHERE p = ?"#),
        (
            SQLITE,
            r#"INSERT INTO "t" ("a", "b") VALUES ("x", ?1)"#,
            r#"INSERT INTO "t" ("a", "b") VALUES (?, ?1)"#,
        ),
        (GOOGLE, r#"SELECT '''it's''', """a"b""", r'c\'d' FROM `p.d.t`"#, "SELECT ?, ?, ? FROM `p.d.t`"),
        (ANSI, "SELECT %s, %(name)s, ?, \"a\" FROM t", "SELECT %s, %(name)s, ?, \"a\" FROM t"),
    ] {
        assert_eq!(mask(given, rules), expected, "{rules:?} {given}");
    }
}

#[test]
fn pl_80_an_unknown_dialect_shows_what_is_a_literal_in_none() {
    for (given, expected) in [
        (r#"SELECT "x" FROM t"#, "SELECT ? FROM t"),
        (r"SELECT 'C:\', 'x'", "SELECT ?"),
        ("SELECT q'[it's x]' FROM dual", "SELECT ?"),
        ("SELECT a FROM t WHERE b = 1 AND c = ?", "SELECT a FROM t WHERE b = ? AND c = ?"),
    ] {
        assert_eq!(mask_unknown(given), expected);
    }
}

/// Statements with a secret in each kind of literal of each dialect.
fn literals(system: &str, secret: &str) -> Vec<String> {
    let mut all = vec![
        format!("'{secret}'"),
        format!("'a''{secret}'"),
        format!("N'{secret}'"),
        format!("/* {secret} */1"),
    ];
    let more: &[&str] = match system {
        "mysql" | "mariadb" => &["\"@\"", r"'a\'@'", "# @\n1", "-- @\n1", r#""a\"@""#, "_utf8'@'"],
        "postgresql" => {
            &["$$@$$", "$x$ $$ @$x$", r"E'a\'@'", r"'C:\' || '@'", "/* /* */ @ */1", "U&'@'", "--@\n1"]
        }
        "microsoft.sql_server" => &[r"'C:\' + '@'", "/* /* */ @ */1", "--@\n1"],
        "oracle.db" => &["q'[it's @]'", "q'!it's @!'", "nq'{@}'", r"'C:\' || '@'", "--@\n1"],
        "sqlite" => &["\"@\"", r"'C:\' || '@'", "--@\n1"],
        "gcp.spanner" => &["\"@\"", "'''it's @'''", r"'a\'@'", "# @\n1", "r'@'"],
        "snowflake" => &["$$@$$", r"'a\'@'", "// @\n1"],
        _ => &[],
    };
    all.extend(more.iter().map(|one| one.replace('@', secret)));
    all
}

const SYSTEMS: [&str; 9] = [
    "mysql",
    "mariadb",
    "postgresql",
    "microsoft.sql_server",
    "oracle.db",
    "sqlite",
    "gcp.spanner",
    "snowflake",
    "other_sql",
];

fn statement(system: &str, text: &str) -> String {
    match of(system) {
        Language::Sql(rules) => mask(text, rules).into_owned(),
        _ => mask_unknown(text).into_owned(),
    }
}

proptest! {
    #[test]
    fn no_literal_survives_in_its_dialect_nor_in_an_unknown_one(
        system in prop::sample::select(SYSTEMS.to_vec()),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        secret in "zq[a-z]{6}",
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let kinds = literals(system, &secret);
        let mut text = String::from("SELECT a FROM t WHERE b IN (");
        for pick in &picks {
            text.push_str(&kinds[pick.index(kinds.len())]);
            text.push_str(", ");
        }
        text.push_str("1) AND c = ?");
        if let Some(cut) = cut {
            // As a statement that was too long.
            text.truncate(cut.index(text.len()));
        }
        for shown in [statement(system, &text), mask_unknown(&text).into_owned()] {
            prop_assert!(!shown.contains(&secret[..3]), "{text}\n{shown}");
        }
    }

    #[test]
    fn any_text_is_masked_once_no_longer_than_it_was(text in "[a-zA-Z0-9'\"`$#/*.\\\\\\[\\]:@?%&_ \n-]{0,60}|(?s).{0,60}") {
        for rules in UNKNOWN.iter().copied().chain([ANSI, SQLITE]) {
            let once = mask(&text, rules).into_owned();
            prop_assert!(once.len() <= text.len());
            prop_assert_eq!(&mask(&once, rules), &once, "{:?}", rules);
        }
        let once = mask_unknown(&text).into_owned();
        prop_assert!(once.len() <= text.len());
    }
}

/// How many bytes are looked at is what makes time; a long text is read in steps that do not grow with it.
#[test]
fn long_statements_of_what_never_ends_are_read() {
    for part in ["'", "\"", "`", "[", "/*", "$a$", "$", "q'[", "'\\", "--", "((", "a.", "1.", "E'"] {
        let text = part.repeat(500_000 / part.len());
        for rules in UNKNOWN {
            assert!(mask(&text, *rules).len() <= text.len());
        }
    }
}
