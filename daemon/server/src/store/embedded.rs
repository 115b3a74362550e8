//! The embedded database. Its statements run in the call, on the thread of the caller: there
//! is nothing to wait for but the disk, and handing each one to another thread costs more than
//! most of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, Statement, ToSql};

use super::Error;
use super::conn::Val;

/// Pages of the log that are copied into the file at once: 64 MiB. Requests touch index pages
/// all over the file, so most pages of a short log would be copied again with the next one.
const LOG_PAGES: i64 = 16_000;
/// How long a statement waits for a lock of another process.
const BUSY: Duration = Duration::from_secs(5);
/// Statements kept prepared.
const PREPARED_MAX: usize = 256;

/// Where the embedded database lies, and what its writer may take.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// MiB for pages of the file. A line of some ten thousand fits into 64: with less, index pages
    /// that a row touches are read from the file again.
    pub(super) cache_mib: u32,
}

/// A connection to the embedded database.
pub(crate) struct Embedded(Connection);

/// A row: the values of its columns.
pub(super) struct Row(Vec<Value>);

impl Embedded {
    /// Opens the file for writing, and makes it if there is none. Under a virtual clock only
    /// tests run, and they do not pull plugs.
    pub(super) fn writer(place: &Place, virtual_clock: bool) -> Result<Embedded, Error> {
        let conn = open(&place.file, OpenFlags::SQLITE_OPEN_CREATE)?;
        // FULL: with NORMAL a power cut may lose the last commits, which is a second call.
        let synchronous = if virtual_clock { "off" } else { "full" };
        conn.pragma_update(None, "synchronous", synchronous)?;
        // Negative: KiB instead of pages.
        let kib = -1_024 * i64::from(place.cache_mib);
        conn.pragma_update(None, "cache_size", kib)?;
        conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        Ok(Embedded(conn))
    }

    /// Opens the file for reading alone.
    pub(super) fn reader(file: &Path) -> Result<Embedded, Error> {
        let conn = open(file, OpenFlags::empty())?;
        conn.pragma_update(None, "query_only", "on")?;
        Ok(Embedded(conn))
    }

    /// Runs a statement; rows affected.
    pub(super) fn run(&mut self, text: &str, args: &[Val]) -> Result<u64, Error> {
        let mut statement = self.prepared(text, args)?;
        // A statement that gives rows runs to its end by being read.
        if statement.column_count() > 0 {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            drop(rows);
            drop(statement);
            return Ok(self.0.changes());
        }
        Ok(u64::try_from(statement.raw_execute()?).unwrap_or(0))
    }

    /// Every row of a statement.
    pub(super) fn rows(&mut self, text: &str, args: &[Val]) -> Result<Vec<Row>, Error> {
        let mut statement = self.prepared(text, args)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| row.get(column));
            all.push(Row(values.collect::<Result<_, _>>()?));
        }
        Ok(all)
    }

    /// Statements without values, several in one text.
    pub(super) fn script(&mut self, text: &str) -> Result<(), Error> {
        Ok(self.0.execute_batch(text)?)
    }

    fn prepared(&self, text: &str, args: &[Val]) -> Result<CachedStatement<'_>, Error> {
        let mut statement = self.0.prepare_cached(text)?;
        bind(&mut statement, args)?;
        Ok(statement)
    }
}

fn open(file: &Path, more: OpenFlags) -> Result<Connection, Error> {
    // One thread at a time uses a connection: it needs no lock of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags | more)?;
    conn.busy_timeout(BUSY)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "foreign_keys", "on")?;
    // What a statement keeps while it runs is small; a file for it, and its cache, are not.
    conn.pragma_update(None, "temp_store", "memory")?;
    // Else a plan is made anew at each run for the sake of one value that it looked at.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(PREPARED_MAX);
    Ok(conn)
}

fn bind(statement: &mut Statement<'_>, args: &[Val]) -> Result<(), Error> {
    for at in 1..=statement.parameter_count() {
        let arg = args.get(at - 1);
        let arg = arg.ok_or_else(|| Error::Damaged(format!("no value for ${at}")))?;
        statement.raw_bind_parameter(at, arg)?;
    }
    Ok(())
}

impl ToSql for Val {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Val::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Val::Int(Some(number)) => ValueRef::Integer(*number),
            Val::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Val::Text(None) | Val::Int(None) | Val::Bytes(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A getter takes the type that the column is of, or nothing.
macro_rules! getter {
    ($name:ident, $value:ident, $type:ty) => {
        pub(super) fn $name(&self, column: usize) -> Result<Option<$type>, Error> {
            match self.0.get(column) {
                Some(Value::$value(value)) => Ok(Some(value.clone())),
                Some(Value::Null) => Ok(None),
                other => Err(Error::Damaged(format!(
                    "column {column} of a row is {}",
                    other.map_or("missing".into(), |v| format!("of type {}", v.data_type()))
                ))),
            }
        }
    };
}

impl Row {
    getter!(text, Text, String);
    getter!(int, Integer, i64);
    getter!(bytes, Blob, Vec<u8>);
}
