//! What the operator has to be told by mail: one mail a day about one cause at most, whichever
//! node sees it and however often.

use std::time::Duration;

use super::conn::args;
use super::{Conn, Error};

/// Between two mails about one cause.
const REST: Duration = Duration::from_secs(86_400);

/// A message cannot be read and waits for people.
pub(crate) const QUARANTINE: &str = "quarantine";
/// The budget of all replies is used up.
pub(crate) const BUDGET: &str = "budget";

/// A cause that is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) cause: String,
    pub(crate) detail: Option<String>,
}

/// Notes that it is so.
pub(crate) async fn note(tx: &mut Conn, cause: &str, detail: Option<&str>) -> Result<(), Error> {
    tx.run(
        "insert into alarm (cause, detail, noted_at) values ($1, $2, {now})
         on conflict (cause) do update set detail = excluded.detail, noted_at = excluded.noted_at",
        args![cause, detail],
    )
    .await
    .map(|_| ())
}

/// Whether [`due`] would find anything.
pub(crate) async fn is_any_due(tx: &mut Conn) -> Result<bool, Error> {
    let due = tx
        .int(
            "select count(*) from alarm
             where noted_at > coalesce(told_at, 0) and noted_at > {now} - $1
               and coalesce(told_at, 0) <= {now} - $1",
            args![REST],
        )
        .await?;
    Ok(due > 0)
}

/// What was noted since it was told, and not told for a day; it counts as told with this
/// transaction.
pub(crate) async fn due(tx: &mut Conn) -> Result<Vec<Due>, Error> {
    let rows = tx
        .rows(
            "update alarm set told_at = {now}
             where noted_at > coalesce(told_at, 0) and noted_at > {now} - $1
               and coalesce(told_at, 0) <= {now} - $1
             returning cause, detail",
            args![REST],
        )
        .await?;
    let due = |row: &super::conn::Row| {
        Ok(Due {
            cause: row.text(0)?,
            detail: row.opt_text(1)?,
        })
    };
    rows.iter().map(due).collect()
}
