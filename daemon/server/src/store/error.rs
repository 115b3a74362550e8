//! What can go wrong in the store, as far as a caller can act on it.

/// A store error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The database did not answer: whether the change was made is unknown. It heals
    /// by itself when the database is back; repeat with the same idempotency key.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// No such row.
    #[error("not found")]
    NotFound,
    /// Somebody else holds the row now; whoever gets this stops working on it.
    #[error("the row was taken over by another worker")]
    Fenced,
    /// Another daemon uses the same folder.
    #[error("{0}")]
    Locked(String),
    /// A row does not read back, or a statement is wrong: a fault of ours.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Another transaction came first; the same work may be done again at once.
    #[error("conflict with another transaction")]
    Conflict,
}

impl Error {
    /// Whether the same operation may succeed later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Conflict)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::RowNotFound => Error::NotFound,
            E::Database(db) => of_postgres(db.code().as_deref(), db.message()),
            E::Io(_)
            | E::Tls(_)
            | E::Protocol(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::BeginFailed => Error::Unavailable(error.to_string()),
            _ => Error::Damaged(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(code, _) => {
                of_sqlite(code.extended_code, &error.to_string())
            }
            _ => Error::Damaged(error.to_string()),
        }
    }
}

/// By SQLSTATE; its first two characters are the class.
fn of_postgres(code: Option<&str>, message: &str) -> Error {
    let code = code.unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        "40" => Error::Conflict,
        "08" | "53" | "57" | "58" | "25" => Error::Unavailable(message.to_owned()),
        _ => Error::Damaged(format!("{code} {message}")),
    }
}

/// By the extended code, whose low byte is the primary one: 5 busy, 6 locked, 8 read-only,
/// 10 I/O, 13 full, 14 cannot open.
fn of_sqlite(code: i32, message: &str) -> Error {
    match code & 0xff {
        5 | 6 | 8 | 10 | 13 | 14 => Error::Unavailable(message.to_owned()),
        _ => Error::Damaged(format!("{code} {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_repeat() {
        for (code, temporary) in [
            ("40001", true),
            ("57P01", true),
            ("08006", true),
            ("53300", true),
            ("42601", false),
            ("23505", false),
            ("", false),
        ] {
            let error = of_postgres(Some(code), "x");
            assert_eq!(error.is_temporary(), temporary, "{code}: {error:?}");
        }
        for (code, temporary) in [
            (5, true),
            (13, true),
            (778, true), // SQLITE_IOERR_WRITE
            (11, false),
            (2067, false), // SQLITE_CONSTRAINT_UNIQUE
            (0, false),
        ] {
            let error = of_sqlite(code, "x");
            assert_eq!(error.is_temporary(), temporary, "{code}: {error:?}");
        }
    }
}
