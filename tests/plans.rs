//! No statement reads a table to its end that grows for as long as the daemon lives: its cost
//! would grow with it.

use std::fs;

use helpline::clock::Clock;
use helpline::store::Store;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::portable_sql::{files, is_sql, literals, root};

/// Tables that grow.
const LARGE: [&str; 9] = [
    "request",
    "attempt",
    "outbox",
    "mail_in",
    "mail_raw",
    "mail_seen",
    "inbound",
    "call_trace",
    "intake_key",
];
/// Statements that may: once an hour, or when a person asks.
const RARE: [&str; 5] = [
    "delete from mail_seen where created_at",
    "from mail_in where state = 'quarantined'",
    "from call_trace where seq = 1",
    "where kind = 'node' and flow = $1",
    "where r.accepted_at >= $1",
];

/// Whether a plan speaks of a large table, by its own name or by another that the statement
/// gives it.
fn is_large(sql: &str, name: &str) -> bool {
    let words: Vec<_> = sql
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let is_named = |large: &str| {
        let mut threes = words.windows(3);
        threes.any(|w| ["from", "join", "update"].contains(&w[0]) && w[1..] == [large, name])
    };
    LARGE.iter().any(|large| *large == name || is_named(large))
}

/// Whether an index holds some of the rows alone: those that are in work.
fn is_partial(database: &Connection, index: &str) -> bool {
    let sql = database.query_row(
        "select coalesce(sql, '') from sqlite_master where name = $1",
        [index],
        |row| row.get::<_, String>(0),
    );
    sql.is_ok_and(|sql| sql.to_lowercase().contains(" where "))
}

/// Steps of the plan that go through a large table; `None`: it is a piece of a statement.
fn scans(database: &Connection, sql: &str) -> Option<Vec<String>> {
    let sql = sql
        .replace("{now}", "(select now_ms from clock)")
        .replace("{lock}", "");
    let mut plan = database
        .prepare(&format!("explain query plan {sql}"))
        .ok()?;
    let mut rows = plan.raw_query();
    let mut steps: Vec<String> = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    let is_through = |step: &String| {
        let mut words = step.split_whitespace();
        let scanned = words.next() == Some("SCAN");
        let is_large = words.next().is_some_and(|name| is_large(&sql, name));
        let index = step.split_once("INDEX ").map(|(_, index)| index);
        scanned && is_large && !index.is_some_and(|index| is_partial(database, index))
    };
    Some(steps.into_iter().filter(is_through).collect())
}

#[tokio::test]
async fn no_statement_reads_a_large_table_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_sqlite(folder.path(), &Clock::system())
        .await
        .unwrap();
    store.close().await;
    let database = Connection::open(folder.path().join("helpline.db")).unwrap();
    // As the store does: plans do not depend on values.
    let stable = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
    database.set_db_config(stable, true).unwrap();
    let mut paths = Vec::new();
    files(&root().join("daemon/server/src/store"), &mut paths);
    let (mut whole, mut found) = (0, Vec::new());
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test = name == "tests.rs" || path.parent().is_some_and(|p| p.ends_with("tests"));
        if is_test || name == "migrate.rs" {
            continue;
        }
        for (line, literal) in literals(&fs::read_to_string(&path).unwrap()) {
            if !is_sql(&literal) || RARE.iter().any(|rare| literal.contains(rare)) {
                continue;
            }
            let Some(scans) = scans(&database, &literal) else {
                continue;
            };
            whole += 1;
            found.extend(scans.iter().map(|scan| format!("{name}:{line}: {scan}")));
        }
    }
    assert!(whole > 80, "only {whole} statements could be looked at");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
