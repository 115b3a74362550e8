//! The SQL is one text for SQLite and PostgreSQL, and kept to what CockroachDB and YugabyteDB
//! understand as well (docs/adr/0002-one-sql-text.md). A word of one dialect is found here.

use std::fs;
use std::path::{Path, PathBuf};

/// Words and signs that one of the databases does not know, or knows otherwise, and why.
const FORBIDDEN: [(&str, &str); 24] = [
    ("::", "a cast is written cast(x as bigint)"),
    ("greatest(", "SQLite has none; write a case"),
    ("least(", "SQLite has none; write a case"),
    ("any(", "no arrays; write in (select ...)"),
    ("array[", "no arrays"),
    ("unnest(", "no arrays"),
    ("ilike", "SQLite has none"),
    ("regexp", "each database has its own"),
    ("rowid", "SQLite alone"),
    ("ctid", "PostgreSQL alone"),
    ("autoincrement", "ids are made by us"),
    ("serial", "ids are made by us"),
    ("boolean", "flags are 0 and 1"),
    ("jsonb", "JSON is text, read by us"),
    ("json_extract", "JSON is text, read by us"),
    ("->>", "JSON is text, read by us"),
    ("now()", "the clock is the view `clock`, {now}"),
    ("current_timestamp", "the clock is the view `clock`, {now}"),
    ("strftime", "the clock is the view `clock`, {now}"),
    ("listen ", "nothing leans on LISTEN"),
    ("notify ", "nothing leans on NOTIFY"),
    ("ifnull(", "coalesce is everybody's"),
    ("insert or ", "on conflict is everybody's"),
    ("returning *", "columns are named"),
];
/// Where the clock and the migrations are made, whose text differs on purpose.
const APART: &str = "migrate.rs";
const TYPES: [&str; 3] = ["text", "bigint", "bytea"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// String literals of a Rust file, without its tests, with the line each begins in.
pub(crate) fn literals(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = Vec::new();
    let mut chars = text.char_indices().peekable();
    let line_of = |at: usize| text[..at].matches('\n').count() + 1;
    while let Some((at, c)) = chars.next() {
        match c {
            '/' if text[at..].starts_with("//") => {
                while chars.next_if(|(_, c)| *c != '\n').is_some() {}
            }
            '"' => {
                let mut literal = String::new();
                while let Some((_, c)) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => literal.extend(chars.next().map(|(_, c)| c)),
                        _ => literal.push(c),
                    }
                }
                found.push((line_of(at), literal));
            }
            // A quote as a character.
            '\'' if text[at..].starts_with("'\"'") => {
                chars.next();
                chars.next();
            }
            _ => {}
        }
    }
    found
}

pub(crate) fn is_sql(text: &str) -> bool {
    let first = text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let words = text.split_whitespace().count();
    words > 2
        && [
            "select", "insert", "update", "delete", "with", "create", "alter", "drop", "from",
        ]
        .contains(&first.as_str())
}

/// Faults of a statement.
fn faults(sql: &str) -> Vec<String> {
    let lower = sql.to_lowercase();
    let squeezed = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut faults: Vec<String> = FORBIDDEN
        .iter()
        .filter(|(word, _)| squeezed.contains(word))
        .map(|(word, why)| format!("{word:?}: {why}"))
        .collect();
    // Without one SQLite reads "on conflict" as the condition of a join.
    let has_where =
        |(insert, _): (&str, &str)| insert.contains(" where ") || insert.contains(" values ");
    let insert = squeezed.split_once("insert into").map(|(_, insert)| insert);
    if insert
        .and_then(|i| i.split_once("on conflict"))
        .is_some_and(|i| !has_where(i))
    {
        faults.push(
            "insert ... select ... on conflict needs a where (`where true`) in SQLite".into(),
        );
    }
    for function in ["max(", "min("] {
        let arguments = squeezed.split(function).nth(1);
        let arguments = arguments.and_then(|rest| rest.split(')').next());
        if arguments.is_some_and(|arguments| arguments.contains(',')) {
            faults.push(format!(
                "{function}a, b): PostgreSQL has none; write a case"
            ));
        }
    }
    if squeezed.contains("sum(") && !squeezed.contains("cast(") {
        faults.push("sum() is a numeric in PostgreSQL; cast it to bigint".into());
    }
    faults
}

#[test]
fn statements_are_everybodys_sql() {
    let mut paths = Vec::new();
    files(&root().join("daemon/server/src/store"), &mut paths);
    let mut statements = 0;
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "tests.rs" || name == APART {
            continue;
        }
        for (line, literal) in literals(&fs::read_to_string(&path).unwrap()) {
            if is_sql(&literal) {
                statements += 1;
                let faults = faults(&literal);
                all.extend(faults.iter().map(|fault| format!("{name}:{line}: {fault}")));
            }
        }
    }
    assert!(statements > 80, "only {statements} statements were found");
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn tables_have_everybodys_types() {
    let mut paths = Vec::new();
    files(&root().join("schemas/sql"), &mut paths);
    assert!(paths.len() >= 3);
    let mut columns = 0;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| line.split("--").next().unwrap());
        let text = lines.collect::<Vec<_>>().join("\n").to_lowercase();
        for statement in text.split(';') {
            let faults = faults(statement);
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
            let added = statement.split("add column").nth(1);
            let table = statement.contains("create table").then_some(statement);
            let made = table.and_then(|table| table.split_once('('));
            let lines = added
                .into_iter()
                .chain(made.into_iter().flat_map(|(_, body)| body.lines()));
            for line in lines {
                let mut words = line.split_whitespace();
                let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                    continue;
                };
                let is_column = name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                    && !["unique", "primary", "check", "constraint"].contains(&name);
                let kind = kind.trim_end_matches(',');
                if is_column && line.starts_with([' ']) && !kind.starts_with('(') {
                    if !TYPES.contains(&kind) && !line.trim_start().starts_with('\'') {
                        panic!("{}: {line:?} has another type", path.display());
                    }
                    columns += 1;
                }
            }
        }
    }
    assert!(columns > 60, "only {columns} columns were found");
}

#[test]
fn a_word_of_one_dialect_is_found() {
    for (sql, word) in [
        ("select max(a, b) from t where c = 1", "max("),
        ("select sum(n) from t where a = $1", "sum()"),
        ("update t set a = now() where id = $1", "now()"),
        (
            "insert into t (a) select 1 from c on conflict do nothing",
            "where true",
        ),
        ("select a::bigint from t where b = 2", "::"),
    ] {
        assert!(is_sql(sql), "{sql}");
        assert!(
            faults(sql).iter().any(|fault| fault.contains(word)),
            "{sql}"
        );
    }
    assert!(faults("select max(a), min(b) from t where c in (select d from e)").is_empty());
    let source = "fn f() { g('\"', \"select 1\n from t\"); } // \"select x from y z\"";
    assert_eq!(literals(source), [(1, "select 1\n from t".to_owned())]);
}
