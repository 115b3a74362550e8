//! Idempotency keys of the intakes, kept for a day.

use helpline_core::id::RequestId;

use super::conn::args;
use super::{Conn, Error};

/// What a key met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// Never seen: it is now taken by this transaction.
    Fresh,
    /// Seen with the same body; this was the answer.
    Answered(String),
    /// Seen with another body.
    Reused,
}

/// Takes a key, first thing in the accepting transaction.
pub(crate) async fn take(
    tx: &mut Conn,
    scope: &str,
    key: &str,
    body_hash: &str,
) -> Result<KeyState, Error> {
    let taken = tx
        .run(
            "insert into intake_key (scope, key, body_hash, created_at)
             values ($1, $2, $3, {now}) on conflict do nothing",
            args![scope, key, body_hash],
        )
        .await?;
    if taken > 0 {
        return Ok(KeyState::Fresh);
    }
    let row = tx
        .row(
            "select body_hash, answer from intake_key where scope = $1 and key = $2",
            args![scope, key],
        )
        .await?
        .ok_or(Error::Conflict)?;
    if row.text(0)? != body_hash {
        return Ok(KeyState::Reused);
    }
    Ok(KeyState::Answered(row.text(1)?))
}

/// Keeps the answer for whoever repeats the key.
pub(crate) async fn answer(
    tx: &mut Conn,
    scope: &str,
    key: &str,
    request: &RequestId,
    answer: &str,
) -> Result<(), Error> {
    tx.run(
        "update intake_key set request_id = $3, answer = $4 where scope = $1 and key = $2",
        args![scope, key, request.as_str(), answer],
    )
    .await
    .map(|_| ())
}

/// Gives a key back: the request was refused, a later try may be accepted.
pub(crate) async fn give_back(tx: &mut Conn, scope: &str, key: &str) -> Result<(), Error> {
    tx.run(
        "delete from intake_key where scope = $1 and key = $2 and answer is null",
        args![scope, key],
    )
    .await
    .map(|_| ())
}
