//! One connection of either database, plain SQL in, typed columns out.

use std::sync::{Arc, LazyLock};

use helpline_core::time::Wall;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use super::Error;
use super::embedded::{self, Embedded};
use super::texts::Texts;

/// A connection inside a transaction.
pub(crate) enum Conn {
    /// The embedded database: it works in the call, on the caller's thread.
    Sqlite(Embedded),
    /// PostgreSQL.
    Postgres(PoolConnection<Postgres>),
}

/// A value to bind.
pub(super) enum Val {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

/// A row of either database.
pub(super) enum Row {
    Sqlite(embedded::Row),
    Postgres(sqlx::postgres::PgRow),
}

/// Values for `$1`, `$2`, ... in order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::conn::Val::from($value)),*] };
}
pub(super) use args;

/// Binds every value in order.
macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<Postgres>(AssertSqlSafe($sql));
        for value in $args {
            query = match value {
                Val::Text(v) => query.bind(v),
                Val::Int(v) => query.bind(v),
                Val::Bytes(v) => query.bind(v),
            };
        }
        query
    }};
}

/// What `{now}` stands for.
pub(super) const NOW: &str = "(select now_ms from clock)";

impl Conn {
    /// Whether this is PostgreSQL.
    pub(super) const fn is_postgres(&self) -> bool {
        matches!(self, Conn::Postgres(_))
    }

    /// The text for this database. The words in braces: `{now}` reads the database's clock,
    /// `{lock}` skips rows another node is claiming (SQLite has one writer and needs none).
    fn text(&self, sql: &'static str) -> Arc<str> {
        static TEXTS: LazyLock<Texts<(usize, usize, bool)>> = LazyLock::new(Texts::default);
        let name = (sql.as_ptr().addr(), sql.len(), self.is_postgres());
        TEXTS.get(name, || self.write(sql))
    }

    fn write(&self, sql: &'static str) -> String {
        let text = sql.replace("{now}", NOW);
        if self.is_postgres() {
            return text.replace("{lock}", "for update skip locked");
        }
        // `$1` is a name to SQLite, `?1` is a number.
        (0..=9).fold(text.replace("{lock}", ""), |text, digit| {
            text.replace(&format!("${digit}"), &format!("?{digit}"))
        })
    }

    /// Runs a statement; rows affected.
    pub(super) async fn run(&mut self, sql: &'static str, args: Vec<Val>) -> Result<u64, Error> {
        let text = self.text(sql);
        Ok(match self {
            Conn::Sqlite(c) => c.run(&text, &args)?,
            Conn::Postgres(c) => bound!(text, args).execute(&mut **c).await?.rows_affected(),
        })
    }

    /// Runs a statement that changes a row. [`Error::Fenced`] if it finds none.
    pub(super) async fn change(&mut self, sql: &'static str, args: Vec<Val>) -> Result<(), Error> {
        match self.run(sql, args).await? {
            0 => Err(Error::Fenced),
            _ => Ok(()),
        }
    }

    /// Every row of a statement.
    pub(super) async fn rows(
        &mut self,
        sql: &'static str,
        args: Vec<Val>,
    ) -> Result<Vec<Row>, Error> {
        self.rows_of(self.text(sql), args).await
    }

    /// Every row of a statement that was put together here.
    pub(super) async fn rows_of(
        &mut self,
        text: Arc<str>,
        args: Vec<Val>,
    ) -> Result<Vec<Row>, Error> {
        Ok(match self {
            Conn::Sqlite(c) => {
                let rows = c.rows(&text, &args)?.into_iter();
                rows.map(Row::Sqlite).collect()
            }
            Conn::Postgres(c) => bound!(text, args)
                .fetch_all(&mut **c)
                .await?
                .into_iter()
                .map(Row::Postgres)
                .collect(),
        })
    }

    /// The first row, if there is one.
    pub(super) async fn row(
        &mut self,
        sql: &'static str,
        args: Vec<Val>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// A whole number a statement gives: a count, a maximum. 0 without a row.
    pub(super) async fn int(&mut self, sql: &'static str, args: Vec<Val>) -> Result<i64, Error> {
        match self.row(sql, args).await? {
            Some(row) => Ok(row.opt_int(0)?.unwrap_or(0)),
            None => Ok(0),
        }
    }

    /// How many; a statement that counts.
    pub(super) async fn count(&mut self, sql: &'static str, args: Vec<Val>) -> Result<u32, Error> {
        Ok(u32::try_from(self.int(sql, args).await?).unwrap_or(0))
    }

    /// Statements without values, several in one text (transactions, migrations).
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), Error> {
        match self {
            Conn::Sqlite(c) => c.script(sql)?,
            Conn::Postgres(c) => {
                sqlx::raw_sql(sql).execute(&mut **c).await?;
            }
        }
        Ok(())
    }

    /// The database's clock.
    pub(crate) async fn now(&mut self) -> Result<Wall, Error> {
        self.int("select now_ms from clock", vec![])
            .await
            .map(Wall::from_millis)
    }
}

fn empty(column: usize) -> Error {
    Error::Damaged(format!(
        "column {column} of a row is empty where it must not be"
    ))
}

/// One getter a type; a column is named by its place in the statement.
macro_rules! getter {
    ($name:ident, $opt:ident, $type:ty) => {
        pub(super) fn $opt(&self, column: usize) -> Result<Option<$type>, Error> {
            Ok(match self {
                Row::Sqlite(row) => row.$name(column)?,
                Row::Postgres(row) => row.try_get(column)?,
            })
        }

        #[allow(dead_code)] // not every type is read without null
        pub(super) fn $name(&self, column: usize) -> Result<$type, Error> {
            self.$opt(column)?.ok_or_else(|| empty(column))
        }
    };
}

impl Row {
    getter!(text, opt_text, String);
    getter!(bytes, opt_bytes, Vec<u8>);

    pub(super) fn opt_int(&self, column: usize) -> Result<Option<i64>, Error> {
        Ok(match self {
            Row::Sqlite(row) => row.int(column)?,
            // A number that stands in the statement is an int4 there.
            Row::Postgres(row) => match row.try_get(column) {
                Err(sqlx::Error::ColumnDecode { .. }) => {
                    row.try_get::<Option<i32>, _>(column)?.map(i64::from)
                }
                read => read?,
            },
        })
    }

    pub(super) fn int(&self, column: usize) -> Result<i64, Error> {
        self.opt_int(column)?.ok_or_else(|| empty(column))
    }

    pub(super) fn wall(&self, column: usize) -> Result<Wall, Error> {
        self.int(column).map(Wall::from_millis)
    }

    pub(super) fn opt_wall(&self, column: usize) -> Result<Option<Wall>, Error> {
        Ok(self.opt_int(column)?.map(Wall::from_millis))
    }

    /// A count; rows never hold a negative one.
    pub(super) fn count(&self, column: usize) -> Result<u32, Error> {
        Ok(u32::try_from(self.int(column)?).unwrap_or(0))
    }
}

impl From<&str> for Val {
    fn from(v: &str) -> Self {
        Val::Text(Some(v.to_owned()))
    }
}
impl From<String> for Val {
    fn from(v: String) -> Self {
        Val::Text(Some(v))
    }
}
impl From<&String> for Val {
    fn from(v: &String) -> Self {
        Val::Text(Some(v.clone()))
    }
}
impl From<Option<String>> for Val {
    fn from(v: Option<String>) -> Self {
        Val::Text(v)
    }
}
impl From<Option<&str>> for Val {
    fn from(v: Option<&str>) -> Self {
        Val::Text(v.map(str::to_owned))
    }
}
impl From<i64> for Val {
    fn from(v: i64) -> Self {
        Val::Int(Some(v))
    }
}
impl From<u32> for Val {
    fn from(v: u32) -> Self {
        Val::Int(Some(i64::from(v)))
    }
}
impl From<Option<std::time::Duration>> for Val {
    fn from(v: Option<std::time::Duration>) -> Self {
        v.map_or(Val::Int(None), Val::from)
    }
}
impl From<Option<i64>> for Val {
    fn from(v: Option<i64>) -> Self {
        Val::Int(v)
    }
}
impl From<bool> for Val {
    fn from(v: bool) -> Self {
        Val::Int(Some(i64::from(v)))
    }
}
impl From<Wall> for Val {
    fn from(v: Wall) -> Self {
        Val::Int(Some(v.millis()))
    }
}
impl From<Option<Wall>> for Val {
    fn from(v: Option<Wall>) -> Self {
        Val::Int(v.map(Wall::millis))
    }
}
impl From<std::time::Duration> for Val {
    fn from(v: std::time::Duration) -> Self {
        Val::Int(Some(i64::try_from(v.as_millis()).unwrap_or(i64::MAX)))
    }
}
impl From<Vec<u8>> for Val {
    fn from(v: Vec<u8>) -> Self {
        Val::Bytes(Some(v))
    }
}
