//! Tables are made and updated at open, one file of `schemas/sql` after another; the
//! clock is made here because its body differs between the databases.

use helpline_core::time::Wall;

use super::conn::args;
use super::{Conn, Error};

/// Every migration, in order; a file is never edited once released.
const FILES: &[&str] = &[
    include_str!("../../../../schemas/sql/0001_init.sql"),
    include_str!("../../../../schemas/sql/0002_lookup.sql"),
    include_str!("../../../../schemas/sql/0003_promise.sql"),
    include_str!("../../../../schemas/sql/0004_limits.sql"),
    include_str!("../../../../schemas/sql/0005_imap.sql"),
    include_str!("../../../../schemas/sql/0006_auth.sql"),
    include_str!("../../../../schemas/sql/0007_thread.sql"),
    include_str!("../../../../schemas/sql/0008_oauth.sql"),
    include_str!("../../../../schemas/sql/0009_mail_raw.sql"),
    include_str!("../../../../schemas/sql/0010_agent.sql"),
];

const VERSIONS: &str = "create table if not exists schema_version (
  version bigint primary key, applied_at bigint not null)";
// Whole milliseconds, cut and never rounded up: a booking must not be early.
const CLOCK_POSTGRES: &str = "create or replace view clock as
  select cast(floor(extract(epoch from statement_timestamp()) * 1000) as bigint) as now_ms";
const CLOCK_SQLITE: &str = "create view if not exists clock as
  select cast(unixepoch('subsec') * 1000 as integer) as now_ms";
const CLOCK_VIRTUAL: &str = "create table if not exists clock (now_ms bigint not null)";

/// Brings the tables up to date. Several nodes may start at once.
pub(super) async fn run(conn: &mut Conn, virtual_clock: bool) -> Result<(), Error> {
    let postgres = conn.is_postgres();
    conn.script(if postgres { "begin" } else { "begin immediate" })
        .await?;
    if postgres {
        // "if not exists" alone races between two nodes.
        conn.script("select pg_advisory_xact_lock(4711408)").await?;
    }
    conn.script(VERSIONS).await?;
    conn.script(match (virtual_clock, postgres) {
        (true, _) => CLOCK_VIRTUAL,
        (false, true) => CLOCK_POSTGRES,
        (false, false) => CLOCK_SQLITE,
    })
    .await?;
    if virtual_clock && conn.int("select count(*) from clock", vec![]).await? == 0 {
        conn.script("insert into clock (now_ms) values (0)").await?;
    }
    let done = conn
        .int("select max(version) from schema_version", vec![])
        .await?;
    for (version, text) in (1_i64..).zip(FILES) {
        if version > done {
            conn.script(text).await?;
            conn.run(
                "insert into schema_version (version, applied_at) values ($1, {now})",
                args![version],
            )
            .await?;
        }
    }
    if usize::try_from(done).unwrap_or(usize::MAX) > FILES.len() {
        conn.script("rollback").await?;
        return Err(Error::Damaged(format!(
            "the tables are of version {done}, newer than this daemon knows; run the newer daemon"
        )));
    }
    conn.script("commit").await
}

/// With a virtual clock the database follows it.
pub(super) async fn set_clock(conn: &mut Conn, now: Option<Wall>) -> Result<(), Error> {
    if let Some(now) = now {
        conn.run("update clock set now_ms = $1", args![now]).await?;
    }
    Ok(())
}
