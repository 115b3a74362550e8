//! Reading a store from outside the daemon, which may be running: nothing is written and
//! nothing is locked.

use std::path::PathBuf;

use helpline_core::id::{MailInId, RequestId};
use helpline_core::time::Wall;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::call::{self, TraceRow, TracedCall};
use super::embedded::Embedded;
use super::{Conn, Error, mail, mail_key, report};
use crate::config;

/// A store that is only read.
#[derive(Debug)]
pub struct Peek(Pool);

#[derive(Debug)]
enum Pool {
    Sqlite(PathBuf),
    Postgres(PgPool),
}

impl Peek {
    /// The store of a configuration.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: there is none, or it does not answer.
    pub async fn open(config: &config::Store) -> Result<Peek, Error> {
        if let Some(file) = &config.postgres_url_file {
            let url = std::fs::read_to_string(file)
                .map_err(|e| Error::Unavailable(format!("{}: {e}", file.display())))?;
            let pool = PgPoolOptions::new().max_connections(1).connect(url.trim());
            return Ok(Peek(Pool::Postgres(pool.await?)));
        }
        let file = config.dir.join("helpline.db");
        if !file.exists() {
            let why = format!("{}: there is no such database", file.display());
            return Err(Error::Unavailable(why));
        }
        Embedded::reader(&file)?;
        Ok(Peek(Pool::Sqlite(file)))
    }

    async fn conn(&self) -> Result<Conn, Error> {
        Ok(match &self.0 {
            Pool::Sqlite(file) => Conn::Sqlite(Embedded::reader(file)?),
            Pool::Postgres(pool) => Conn::Postgres(pool.acquire().await?),
        })
    }

    /// The trace of a call; empty if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) async fn trace_of(&self, call_id: &str) -> Result<Vec<TraceRow>, Error> {
        call::trace_of(&mut self.conn().await?, call_id).await
    }

    /// The calls that were traced last, the latest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn traced(&self, count: u32) -> Result<Vec<TracedCall>, Error> {
        call::traced(&mut self.conn().await?, count).await
    }

    /// Requests that are open, or were accepted since then, in the order of the line.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn requests(&self, wanted: &report::Wanted) -> Result<Vec<report::Seen>, Error> {
        report::requests(&mut self.conn().await?, wanted).await
    }

    /// What happened to a request, in order.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn history(&self, id: &RequestId) -> Result<Vec<report::Happened>, Error> {
        report::history(&mut self.conn().await?, id).await
    }

    /// Requests accepted in a span of time, as a report counts them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn counted(&self, from: Wall, until: Wall) -> Result<Vec<report::Counted>, Error> {
        report::counted(&mut self.conn().await?, from, until).await
    }

    /// Mail that was set aside, the latest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn set_aside(&self, count: u32) -> Result<Vec<mail::SetAside>, Error> {
        mail::set_aside(&mut self.conn().await?, count).await
    }

    /// The key of this database for signing mail, if a daemon made one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn mail_key(&self) -> Result<Option<String>, Error> {
        mail_key::read(&mut self.conn().await?).await
    }

    /// Bytes of mail that is not filed yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn mail_waiting(&self) -> Result<u64, Error> {
        mail::waiting(&mut self.conn().await?).await
    }

    /// The bytes of a mail as it came, if they are there.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn mail(&self, id: &MailInId) -> Result<Option<Vec<u8>>, Error> {
        mail::raw(&mut self.conn().await?, id).await
    }

    /// Nodes of a flow that calls entered since then, call by call.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) async fn entered(
        &self,
        flow: &str,
        since: Wall,
    ) -> Result<Vec<(String, String)>, Error> {
        call::entered(&mut self.conn().await?, flow, since).await
    }
}
