//! Rate limits and the do-not-call list: rows, so they hold across restarts and nodes.

use std::time::Duration;

use helpline_core::phone::PhoneNumber;
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::conn::args;
use super::{Conn, Error};

/// `burst` at once, then one each `interval`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// An entry of the do-not-call list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suppression {
    /// Until it is lifted without one.
    pub(crate) period: Option<Duration>,
    pub(crate) reason: &'static str,
}

/// The form in which a number stands on the do-not-call list: no digits to read, and it
/// stays when the customer's data is erased.
fn hash(number: &PhoneNumber) -> String {
    let digest = Sha256::new_with_prefix(b"do-not-call:")
        .chain_update(number.as_str())
        .finalize();
    data_encoding::HEXLOWER.encode(&digest)
}

/// Takes one from a bucket; how long to wait if it is empty.
pub(crate) async fn take(
    tx: &mut Conn,
    limit: Limit,
    whose: &str,
) -> Result<Result<(), Duration>, Error> {
    let key = format!("{}:{whose}", limit.name);
    let row = tx
        .row(
            "insert into bucket (key, tat, created_at) select $1, now_ms + $2, now_ms from clock
               where true
             on conflict (key) do update
               set tat = $2 + case when bucket.tat > {now} then bucket.tat else {now} end
               where bucket.tat <= {now} + $3
             returning tat",
            args![
                &key,
                limit.interval,
                limit.interval * limit.burst.saturating_sub(1)
            ],
        )
        .await?;
    if row.is_some() {
        return Ok(Ok(()));
    }
    let wait = tx
        .int(
            "select tat - {now} - $2 from bucket where key = $1",
            args![&key, limit.interval * limit.burst.saturating_sub(1)],
        )
        .await?;
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
    Ok(Err(wait.max(Duration::from_secs(1))))
}

/// Takes one of `places`, each free again `period` after it was taken: never more than that
/// in any stretch of `period`. False if none is free.
pub(crate) async fn take_place(
    tx: &mut Conn,
    name: &'static str,
    whose: &str,
    places: u32,
    period: Duration,
) -> Result<bool, Error> {
    let place = Limit {
        name,
        interval: period,
        burst: 1,
    };
    for n in 0..places {
        if take(tx, place, &format!("{n}:{whose}")).await?.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a number may not be called.
pub(crate) async fn is_suppressed(tx: &mut Conn, number: &PhoneNumber) -> Result<bool, Error> {
    let n = tx
        .int(
            "select count(*) from suppressed where number_hash = $1
               and (until is null or until > {now})",
            args![hash(number)],
        )
        .await?;
    Ok(n > 0)
}

/// What is known of a number at the door, by one statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtTheDoor {
    pub(crate) now: Wall,
    /// It may not be called.
    pub(crate) is_suppressed: bool,
    /// It has an open request in the queue, a talk in progress aside.
    pub(crate) stands: bool,
}

/// Looks at who asks.
pub(crate) async fn at_the_door(
    tx: &mut Conn,
    queue: &str,
    number: &PhoneNumber,
) -> Result<AtTheDoor, Error> {
    let row = tx
        .row(
            "select now_ms,
               (select count(*) from suppressed where number_hash = $1
                  and (until is null or until > now_ms)),
               (select count(*) from request where queue = $2 and number = $3 and open = 1
                  and state <> 'connected')
             from clock",
            args![hash(number), queue, number.as_str()],
        )
        .await?
        .ok_or(Error::NotFound)?;
    Ok(AtTheDoor {
        now: row.wall(0)?,
        is_suppressed: row.int(1)? > 0,
        stands: row.int(2)? > 0,
    })
}

/// Puts a number on the do-not-call list; a longer entry stays.
pub(crate) async fn suppress(
    tx: &mut Conn,
    number: &PhoneNumber,
    entry: Suppression,
) -> Result<(), Error> {
    tx.run(
        "insert into suppressed (number_hash, until, reason, created_at)
         select $1, now_ms + $2, $3, now_ms from clock where true
         on conflict (number_hash) do update set until = excluded.until, reason = excluded.reason
           where suppressed.until is not null
             and (excluded.until is null or suppressed.until < excluded.until)",
        args![hash(number), entry.period, entry.reason],
    )
    .await
    .map(|_| ())
}

/// Takes a number off the do-not-call list; false if it was not on it.
pub(crate) async fn lift(tx: &mut Conn, number: &PhoneNumber) -> Result<bool, Error> {
    let lifted = tx
        .run(
            "delete from suppressed where number_hash = $1 and (until is null or until > {now})",
            args![hash(number)],
        )
        .await?;
    Ok(lifted > 0)
}

/// Forgets what no longer limits anything.
pub(crate) async fn sweep(tx: &mut Conn) -> Result<(), Error> {
    tx.run("delete from bucket where tat < {now}", vec![])
        .await?;
    tx.run(
        "delete from intake_key where created_at < {now} - 86400000",
        vec![],
    )
    .await?;
    tx.run(
        "delete from mail_seen where created_at < {now} - 2592000000",
        vec![],
    )
    .await?;
    tx.run("delete from suppressed where until < {now}", vec![])
        .await
        .map(|_| ())
}
