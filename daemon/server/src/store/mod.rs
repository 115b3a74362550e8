//! The store: SQLite embedded or PostgreSQL, one SQL text for both.
//!
//! Every change goes through [`Store::write`]: one operation, one transaction, and
//! whoever waits for it is answered after the commit, never before. SQLite has one
//! writer that commits what waits together (`writer.rs`); PostgreSQL gives each
//! operation a transaction of its own.

pub(crate) mod agent;
pub(crate) mod alarm;
pub(crate) mod attempt;
pub(crate) mod bounce;
pub(crate) mod call;
pub(crate) mod caller;
pub(crate) mod claim;
mod conn;
pub(crate) mod customer;
mod embedded;
mod error;
pub(crate) mod estimate;
pub(crate) mod key;
mod lanes;
pub(crate) mod limit;
#[cfg(test)]
pub(crate) mod look;
mod lot;
pub(crate) mod mail;
mod mail_key;
pub(crate) mod mailbox;
mod many;
mod migrate;
pub(crate) mod node;
mod numbers;
mod op;
pub mod outbox;
pub mod peek;
pub(crate) mod promise;
mod readers;
pub mod report;
pub(crate) mod request;
pub(crate) mod slot;
pub(crate) mod source;
pub(crate) mod step;
#[cfg(test)]
pub(crate) mod tests;
mod texts;
pub(crate) mod trunk;
mod writer;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::time::Wall;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config;

pub(crate) use agent::{AgentRow, Wanted};
pub(crate) use attempt::{AttemptRow, Outcome, Progress};
pub(crate) use call::TraceRow;
pub use call::TracedCall;
pub(crate) use claim::{Claimed, Intent, Refused as IntentRefused};
pub use error::Error;
pub(crate) use key::KeyState;
pub(crate) use limit::{Limit, Suppression};
pub(crate) use mail::{Claim as MailClaim, NewMail};
pub use mail::{SPOOL_BYTES_MAX, SetAside};
pub(crate) use mailbox::Fetched;
pub use mailbox::{Aside, Folder};
pub(crate) use node::Orphan;
pub use numbers::Counts;
pub(crate) use outbox::NewOutbox;
pub(crate) use request::{NewRequest, RequestRow, Timer};
pub(crate) use trunk::Offer;
pub use trunk::Spent;

pub(crate) use conn::Conn;
use embedded::{Embedded, Place};
pub(crate) use lanes::Lane;

/// A future an operation returns; it borrows the connection.
pub(crate) type Turn<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// No operation takes longer; past this its outcome is unknown.
const OPERATION_LIMIT: Duration = Duration::from_secs(10);
/// How often an operation is repeated when another transaction came first.
const CONFLICT_TRIES: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;

/// The database behind a store.
#[derive(Clone)]
enum Db {
    /// One writer; readers of their own.
    Sqlite {
        writer: writer::Writer,
        readers: readers::Readers,
    },
    /// Operations run to their end where they are called, on one connection: with a
    /// clock that only moves when asked to, nothing may happen beside it.
    Inline(Arc<writer::Inline>),
    /// A pool; each operation is a transaction.
    Postgres(PgPool),
}

/// The durable line. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
    clock: Clock,
    /// Keeps the folder to this process (SQLite).
    _lock: Option<Arc<nix::fcntl::Flock<std::fs::File>>>,
    outbox_wake: Arc<Notify>,
    mail_key: Arc<str>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.db {
            Db::Sqlite { .. } => "Store(SQLite)",
            Db::Inline(_) => "Store(SQLite, virtual clock)",
            Db::Postgres(_) => "Store(PostgreSQL)",
        })
    }
}

impl Store {
    /// Opens the store the configuration names, makes or updates its tables.
    ///
    /// # Errors
    /// [`Error::Locked`] if another daemon uses the folder; [`Error::Unavailable`] if
    /// the database cannot be reached or opened.
    pub async fn open(config: &config::Store, clock: &Clock) -> Result<Store, Error> {
        let Some(file) = &config.postgres_url_file else {
            return Store::open_embedded(config, clock).await;
        };
        let url = std::fs::read_to_string(file)
            .map_err(|e| Error::Unavailable(format!("{}: {e}", file.display())))?;
        Store::open_postgres(url.trim(), clock).await
    }

    /// Opens the embedded database in `dir`, all else as it is by default.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_sqlite(dir: &Path, clock: &Clock) -> Result<Store, Error> {
        let config = config::Store {
            dir: dir.to_owned(),
            ..config::Store::default()
        };
        Store::open_embedded(&config, clock).await
    }

    async fn open_embedded(config: &config::Store, clock: &Clock) -> Result<Store, Error> {
        let lock = lock_folder(&config.dir)?;
        let place = Place {
            file: config.dir.join("helpline.db"),
            cache_mib: config.cache_mib,
        };
        let mut conn = Conn::Sqlite(Embedded::writer(&place, clock.is_virtual())?);
        migrate::run(&mut conn, clock.is_virtual()).await?;
        let mail_key = mail_key::keep(&mut conn).await?;
        let db = if clock.is_virtual() {
            Db::Inline(Arc::new(writer::Inline::new(conn)))
        } else {
            let readers = readers::Readers::start(&place.file)?;
            let writer = writer::Writer::start(conn, place)?;
            Db::Sqlite { writer, readers }
        };
        Ok(Store::over(db, clock, Some(Arc::new(lock)), mail_key))
    }

    /// Opens a PostgreSQL database.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_postgres(url: &str, clock: &Clock) -> Result<Store, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            .connect(url)
            .await?;
        let mut conn = Conn::Postgres(pool.acquire().await?);
        migrate::run(&mut conn, clock.is_virtual()).await?;
        let mail_key = mail_key::keep(&mut conn).await?;
        drop(conn);
        Ok(Store::over(Db::Postgres(pool), clock, None, mail_key))
    }

    fn over(
        db: Db,
        clock: &Clock,
        lock: Option<Arc<nix::fcntl::Flock<std::fs::File>>>,
        mail_key: String,
    ) -> Store {
        Store {
            db,
            clock: clock.clone(),
            _lock: lock,
            outbox_wake: Arc::new(Notify::new()),
            mail_key: mail_key.into(),
        }
    }

    /// The key of this database for signing mail, where the operator gives none.
    #[must_use]
    pub fn mail_key(&self) -> &[u8] {
        self.mail_key.as_bytes()
    }

    /// Whether other daemons may use the same database.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    /// For tests with a virtual clock: after `operations` more the database is gone; the
    /// last one is committed and its answer lost, as in a power cut. `u64::MAX` mends it.
    pub fn break_after(&self, operations: u64) {
        if let Db::Inline(inline) = &self.db {
            inline.break_after(operations);
        }
    }

    /// Answers as soon as the store works again; the watchdog asks it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] within ten seconds if it does not.
    pub async fn ping(&self) -> Result<Wall, Error> {
        self.write(|tx| Box::pin(async move { tx.now().await }))
            .await
    }

    /// Ends the store: what was handed over is committed, then the files are closed.
    pub async fn close(self) {
        match self.db {
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Db::Inline(inline) => inline.close(),
            Db::Postgres(pool) => pool.close().await,
        }
    }

    /// Runs `op` as one transaction. It may run again after a conflict, so it must not
    /// change anything outside the database.
    pub(crate) async fn write<T, F>(&self, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        self.write_in(Lane::First, op).await
    }

    /// As [`Store::write`], for work that was promised already: where there is one writer, it
    /// goes on behind what somebody waits for.
    pub(crate) async fn write_behind<T, F>(&self, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        self.write_in(Lane::Behind, op).await
    }

    async fn write_in<T, F>(&self, lane: Lane, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        let virtual_now = self.clock.is_virtual().then(|| self.clock.wall());
        match &self.db {
            Db::Inline(inline) => inline.run(virtual_now, op),
            Db::Sqlite { writer, .. } => limited(writer.run(lane, op)).await,
            Db::Postgres(pool) => {
                for _ in 1..CONFLICT_TRIES {
                    match limited(postgres_turn(pool, virtual_now, &op)).await {
                        Err(Error::Conflict) => {}
                        other => return other,
                    }
                }
                limited(postgres_turn(pool, virtual_now, &op)).await
            }
        }
    }

    /// Runs `op`, which only reads.
    pub(crate) async fn read<T, F>(&self, op: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync + 'static,
    {
        let Db::Sqlite { readers, .. } = &self.db else {
            return self.write(op).await;
        };
        limited(readers.run(op)).await
    }
}

/// An operation that does not answer in time has an unknown outcome.
async fn limited<T>(turn: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(OPERATION_LIMIT, turn)
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".into())))
}

/// A PostgreSQL connection in a transaction; dropped half-way it is closed, so that it
/// never goes back to the pool with a transaction open.
struct Open(Option<Conn>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(Conn::Postgres(conn)) = self.0.take() {
            drop(conn.detach());
        }
    }
}

async fn postgres_turn<T, F>(pool: &PgPool, virtual_now: Option<Wall>, op: &F) -> Result<T, Error>
where
    F: for<'c> Fn(&'c mut Conn) -> Turn<'c, T> + Send + Sync,
{
    let mut open = Open(Some(Conn::Postgres(pool.acquire().await?)));
    let Some(conn) = open.0.as_mut() else {
        return Err(Error::NotFound);
    };
    conn.script("begin").await?;
    migrate::set_clock(conn, virtual_now).await?;
    let result = op(conn).await;
    let end = if result.is_ok() { "commit" } else { "rollback" };
    conn.script(end).await?;
    drop(open.0.take());
    result
}

/// Two daemons on one embedded database would call everybody twice.
fn lock_folder(dir: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, Error> {
    use nix::fcntl::{Flock, FlockArg};

    let unusable = |e: std::io::Error| Error::Unavailable(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(unusable)?;
    let file = std::fs::File::create(dir.join("lock")).map_err(unusable)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        Error::Locked(format!(
            "another helpline daemon uses {}; stop it first, or give this one a folder of its own (store.dir)",
            dir.display()
        ))
    })
}
