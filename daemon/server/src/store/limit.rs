//! Rate limits and the do-not-call list: rows, so they hold across restarts and nodes.

use std::array::from_fn;
use std::collections::HashSet;
use std::time::Duration;

use helpline_core::phone::PhoneNumber;
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::conn::{Val, args};
use super::many::{self, Many};
use super::{Conn, Error};

/// Places of one kind.
const PLACES_MAX: usize = 6;

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
pub(super) fn hash(number: &PhoneNumber) -> String {
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
    let [is_granted, ..] = take_all(tx, [Some((limit, whose)), None, None])
        .await?
        .granted;
    if is_granted {
        return Ok(Ok(()));
    }
    wait(tx, limit, whose).await.map(Err)
}

/// How long an empty bucket is waited for.
pub(crate) async fn wait(tx: &mut Conn, limit: Limit, whose: &str) -> Result<Duration, Error> {
    let key = format!("{}:{whose}", limit.name);
    let wait = tx
        .int(
            "select tat - {now} - $2 from bucket where key = $1",
            args![key, limit.interval * limit.burst.saturating_sub(1)],
        )
        .await?;
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
    Ok(wait.max(Duration::from_secs(1)))
}

/// Puts back what was taken from a bucket.
pub(crate) async fn give_back(tx: &mut Conn, limit: Limit, whose: &str) -> Result<(), Error> {
    let key = format!("{}:{whose}", limit.name);
    tx.run(
        "update bucket set tat = tat - $2 where key = $1",
        args![key, limit.interval],
    )
    .await
    .map(|_| ())
}

/// What came of [`take_all`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) now: Wall,
    /// Of each bucket asked for.
    pub(crate) granted: [bool; 3],
}

/// Takes one from the bucket of each of these, who are all different; whether it could give
/// one, in order.
pub(crate) async fn take_many(
    tx: &mut Conn,
    limit: Limit,
    whose: &[&str],
) -> Result<Vec<bool>, Error> {
    const TAKE: Many = Many {
        head: "insert into bucket (key, tat, created_at)
               select q.key, now_ms + {0}, now_ms from clock, (",
        each: "select ? as key",
        between: " union all ",
        tail: ") q where true on conflict (key) do update
                 set tat = {0} + case when bucket.tat > {now} then bucket.tat else {now} end
                 where bucket.tat <= {now} + {1}
               returning key",
    };
    let millis = |period: Duration| i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
    let spare = limit.interval * limit.burst.saturating_sub(1);
    let numbers = [millis(limit.interval), millis(spare)];
    let keys: Vec<String> = whose
        .iter()
        .map(|whose| format!("{}:{whose}", limit.name))
        .collect();
    let mut granted = HashSet::new();
    for chunk in many::chunks(&keys) {
        let text = TAKE.text(chunk.len(), &numbers, tx);
        let args = chunk.iter().map(|key| Val::from(key.as_str())).collect();
        for row in tx.rows_of(text, args).await? {
            granted.insert(row.text(0)?);
        }
    }
    Ok(keys.iter().map(|key| granted.contains(key)).collect())
}

/// Takes one from each of these buckets that can give one, by one statement. At least one
/// has to be asked for.
pub(crate) async fn take_all(
    tx: &mut Conn,
    limits: [Option<(Limit, &str)>; 3],
) -> Result<Taken, Error> {
    let keys = limits.map(|l| l.map(|(limit, whose)| format!("{}:{whose}", limit.name)));
    let [a, b, c] = limits.map(|l| {
        let limit = l.map(|(limit, _)| limit);
        let spare = |l: Limit| l.interval * l.burst.saturating_sub(1);
        (limit.map(|l| l.interval), limit.map(spare))
    });
    let [first, second, third] = keys.clone();
    let rows = tx
        .rows(
            "insert into bucket (key, tat, created_at)
               select q.key, now_ms + q.step, now_ms from clock, (
                 select $1 as key, $2 as step union all select $4, $5 union all select $7, $8) q
               where q.key is not null
             on conflict (key) do update
               set tat = excluded.tat - {now} + case when bucket.tat > {now} then bucket.tat else {now} end
               where bucket.tat <= {now} + case when bucket.key = $1 then $3
                 when bucket.key = $4 then $6 else $9 end
             returning key, {now}",
            args![first, a.0, a.1, second, b.0, b.1, third, c.0, c.1],
        )
        .await?;
    let mut granted = keys.map(|key| (key, false));
    let mut now = None;
    for row in &rows {
        let key = row.text(0)?;
        now = Some(row.wall(1)?);
        for (asked, is_granted) in &mut granted {
            *is_granted |= asked.as_ref() == Some(&key);
        }
    }
    Ok(Taken {
        now: match now {
            Some(now) => now,
            None => tx.now().await?,
        },
        granted: granted.map(|(_, is_granted)| is_granted),
    })
}

/// Takes one of `places`, at most [`PLACES_MAX`], each free again `period` after it was taken:
/// never more than that in any stretch of `period`. False if none is free.
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
    let of = |n: usize| format!("{n}:{whose}");
    let is_one = |n: usize| u32::try_from(n).is_ok_and(|n| n < places);
    let keys = from_fn::<_, PLACES_MAX, _>(|n| is_one(n).then(|| format!("{name}:{}", of(n))));
    let taken = tx
        .rows(
            "select key from bucket where key in ($1, $2, $3, $4, $5, $6) and tat > {now}",
            keys.clone().into_iter().map(Val::from).collect(),
        )
        .await?;
    let taken: Vec<String> = taken
        .iter()
        .map(|row| row.text(0))
        .collect::<Result<_, _>>()?;
    for (n, key) in keys.iter().enumerate() {
        // Another node may have taken it meanwhile.
        if key.as_ref().is_some_and(|key| !taken.contains(key))
            && take(tx, place, &of(n)).await?.is_ok()
        {
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
    tx.run("delete from slot where start_at < {now} - 86400000", vec![])
        .await?;
    tx.run("delete from quarantine where until < {now}", vec![])
        .await?;
    tx.run("delete from mail_suppress where until < {now}", vec![])
        .await?;
    tx.run("delete from suppressed where until < {now}", vec![])
        .await
        .map(|_| ())
}
