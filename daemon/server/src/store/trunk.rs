//! Trunks: channels, calls a second, and the breaker. The limits live in the database,
//! so they hold across restarts and nodes.

use std::time::Duration;

use helpline_core::queue::Release;
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::{Conn, Error};

/// Failures in a row, within this time, that open the breaker.
const FAILURES_IN_A_ROW: i64 = 3;
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// First pause of an open breaker; doubled each time up to the second.
const PAUSE: i64 = 10_000;
pub(super) const PAUSE_MAX: i64 = 300_000;
const DAY_MS: i64 = 86_400_000;

/// A trunk as the dialler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrunkRow {
    pub(crate) id: String,
    pub(crate) enabled: bool,
    pub(crate) max_channels: u32,
    /// Time between two calls at the allowed rate, in milliseconds.
    pub(crate) interval_ms: i64,
    pub(crate) burst_ms: i64,
    pub(crate) tat: Wall,
    pub(crate) failures: u32,
    pub(crate) open_until: Wall,
    /// Calls in progress.
    pub(crate) live: u32,
    /// What its calls of this day took.
    pub(crate) spent: Spent,
}

/// What the calls of a day (UTC) took of a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Minutes, each begun one whole.
    pub minutes: i64,
    /// Their price, in ten-thousandths.
    pub cost: i64,
    /// A cap is reached: no more calls before midnight.
    pub is_over: bool,
}

/// A trunk to choose for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) trunk: String,
    /// Price of a minute to this number, in ten-thousandths.
    pub(crate) price: i64,
}

impl TrunkRow {
    /// Calls that may be started on it now.
    pub(crate) fn room(&self, now: Wall) -> u32 {
        if !self.enabled || self.open_until > now || self.spent.is_over {
            return 0;
        }
        let free = self.max_channels.saturating_sub(self.live);
        if i64::from(self.failures) >= FAILURES_IN_A_ROW {
            // Half open: one call finds out.
            return u32::from(self.live == 0).min(free);
        }
        let spare = now.millis() + self.burst_ms - self.tat.millis().max(now.millis());
        let tokens = if spare < 0 {
            0
        } else {
            1 + spare / self.interval_ms.max(1)
        };
        free.min(u32::try_from(tokens).unwrap_or(u32::MAX))
    }

    /// When it may take another call although it may not now; `None`: when a call ends.
    pub(crate) fn next_room(&self, now: Wall) -> Option<Wall> {
        let rate = Wall::from_millis(self.tat.millis() - self.burst_ms);
        let midnight = Wall::from_millis((now.millis().div_euclid(DAY_MS) + 1) * DAY_MS);
        let at = rate.max(self.open_until);
        let at = if self.spent.is_over {
            at.max(midnight)
        } else {
            at
        };
        (self.enabled && at > now).then_some(at)
    }
}

/// Brings the rows in line with the configuration; trunks no longer named are disabled.
pub(crate) async fn configure(tx: &mut Conn, trunks: &[crate::config::Trunk]) -> Result<(), Error> {
    tx.run("update trunk set enabled = 0", vec![]).await?;
    for trunk in trunks {
        let rate = trunk.calls_per_second.clamp(0.001, 1_000.0);
        #[allow(clippy::cast_possible_truncation)] // clamped just above
        let interval = (1_000.0 / rate).ceil() as i64;
        #[allow(clippy::cast_possible_truncation)]
        let burst = interval * (rate.ceil() as i64 - 1).max(0);
        tx.run(
            "insert into trunk (id, enabled, max_channels, interval_ms, burst_ms, minutes_max,
               cost_max, created_at)
             values ($1, 1, $2, $3, $4, $5, $6, {now})
             on conflict (id) do update set enabled = 1, max_channels = $2, interval_ms = $3,
               burst_ms = $4, minutes_max = $5, cost_max = $6",
            args![
                &trunk.name,
                trunk.max_channels,
                interval,
                burst,
                trunk.minutes_per_day.map(i64::from),
                trunk.cost_max(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Every enabled trunk.
pub(crate) async fn all(tx: &mut Conn) -> Result<Vec<TrunkRow>, Error> {
    tx.rows(
        "select id, enabled, max_channels, interval_ms, burst_ms, tat, failures, open_until,
           (select count(*) from attempt where attempt.trunk = trunk.id and live = 1),
           case when day = {now} / 86400000 then minutes_used else 0 end,
           case when day = {now} / 86400000 then cost_used else 0 end, minutes_max, cost_max
         from trunk where enabled = 1 order by id",
        vec![],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(TrunkRow {
            id: row.text(0)?,
            enabled: row.int(1)? == 1,
            max_channels: row.count(2)?,
            interval_ms: row.int(3)?,
            burst_ms: row.int(4)?,
            tat: row.wall(5)?,
            failures: row.count(6)?,
            open_until: row.wall(7)?,
            live: row.count(8)?,
            spent: spent(row)?,
        })
    })
    .collect()
}

fn spent(row: &Row) -> Result<Spent, Error> {
    let (minutes, cost) = (row.int(9)?, row.int(10)?);
    let (minutes_max, cost_max) = (row.opt_int(11)?, row.opt_int(12)?);
    Ok(Spent {
        minutes,
        cost,
        is_over: minutes_max.is_some_and(|max| minutes >= max)
            || cost_max.is_some_and(|max| cost >= max),
    })
}

/// Takes a channel, a call of the rate, and a minute of the day's caps on the first trunk that
/// has all of them.
pub(crate) async fn take(tx: &mut Conn, offers: &[Offer]) -> Result<Result<Offer, Release>, Error> {
    let mut why = Release::NoTrunk;
    for offer in offers {
        let id = &offer.trunk;
        // The update locks the row, so the count below is exact on PostgreSQL too.
        let row = tx
            .row(
                "update trunk set tat = interval_ms + case when tat > {now} then tat else {now} end,
                   minutes_used = 1 + case when day = {now} / 86400000 then minutes_used else 0 end,
                   cost_used = $2 + case when day = {now} / 86400000 then cost_used else 0 end,
                   day = {now} / 86400000
                 where id = $1 and enabled = 1 and open_until <= {now} and tat <= {now} + burst_ms
                   and (minutes_max is null or (minutes_max > minutes_used)
                     or (day < {now} / 86400000 and minutes_max > 0))
                   and (cost_max is null or cost_max >= $2 + cost_used
                     or (day < {now} / 86400000 and cost_max >= $2))
                 returning max_channels",
                args![id, offer.price],
            )
            .await?;
        let Some(row) = row else {
            let busy = tx
                .int(
                    "select count(*) from trunk where id = $1 and enabled = 1
                       and open_until <= {now}",
                    args![id],
                )
                .await?;
            if busy > 0 {
                why = Release::NoChannel;
            }
            continue;
        };
        let live = tx
            .int(
                "select count(*) from attempt where trunk = $1 and live = 1",
                args![id],
            )
            .await?;
        if live < row.int(0)? {
            return Ok(Ok(offer.clone()));
        }
        tx.run(
            "update trunk set tat = tat - interval_ms, minutes_used = minutes_used - 1,
               cost_used = cost_used - $2 where id = $1",
            args![id, offer.price],
        )
        .await?;
        why = Release::NoChannel;
    }
    Ok(Err(why))
}

/// A call is over that took `minutes`, one of which was taken before it began; one that was not
/// answered took none.
pub(crate) async fn settle(tx: &mut Conn, offer: &Offer, minutes: i64) -> Result<(), Error> {
    if minutes == 1 {
        return Ok(());
    }
    tx.run(
        "update trunk set minutes_used = minutes_used + $2, cost_used = cost_used + $3
         where id = $1 and day = {now} / 86400000 and minutes_used + $2 >= 0",
        args![&offer.trunk, minutes - 1, (minutes - 1) * offer.price],
    )
    .await
    .map(|_| ())
}

/// A call showed that the trunk works.
pub(crate) async fn worked(tx: &mut Conn, id: &str) -> Result<(), Error> {
    tx.run(
        "update trunk set failures = 0, opens = 0, open_until = 0 where id = $1 and failures > 0",
        args![id],
    )
    .await
    .map(|_| ())
}

/// A call failed on the trunk's side; the third in a row opens the breaker.
pub(crate) async fn failed(tx: &mut Conn, id: &str) -> Result<(), Error> {
    tx.run(
        "update trunk set failures = case when opens = 0 and failed_at < {now} - $2 then 1
           else failures + 1 end, failed_at = {now} where id = $1",
        args![id, FAILURE_WINDOW],
    )
    .await?;
    let open = tx
        .row(
            "select opens from trunk where id = $1 and failures >= $2 and open_until <= {now}",
            args![id, FAILURES_IN_A_ROW],
        )
        .await?;
    let Some(row) = open else { return Ok(()) };
    let opens = row.int(0)?.clamp(0, 10);
    let pause = (PAUSE << opens).min(PAUSE_MAX);
    tx.run(
        "update trunk set opens = opens + 1, open_until = {now} + $2 where id = $1",
        args![id, pause],
    )
    .await?;
    tracing::warn!(
        trunk = id,
        pause_ms = pause,
        "the trunk failed three times in a row; it rests"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_channels_rate_and_breaker_allow() {
        let now = Wall::from_millis(100_000);
        let free = TrunkRow {
            id: "t".into(),
            enabled: true,
            max_channels: 10,
            interval_ms: 500,
            burst_ms: 500,
            tat: Wall::from_millis(0),
            failures: 0,
            open_until: Wall::from_millis(0),
            live: 0,
            spent: Spent::default(),
        };
        assert_eq!(free.room(now), 2);
        let over = TrunkRow {
            spent: Spent {
                is_over: true,
                ..Spent::default()
            },
            ..free.clone()
        };
        let midnight = Wall::from_millis(DAY_MS);
        assert_eq!((over.room(now), over.next_room(now)), (0, Some(midnight)));
        let spent = TrunkRow {
            tat: Wall::from_millis(101_000),
            ..free.clone()
        };
        assert_eq!(spent.room(now), 0);
        assert_eq!(spent.next_room(now), Some(Wall::from_millis(100_500)));
        assert_eq!(spent.room(Wall::from_millis(100_500)), 1);
        let full = TrunkRow {
            live: 10,
            ..free.clone()
        };
        assert_eq!((full.room(now), full.next_room(now)), (0, None));
        let open = TrunkRow {
            open_until: Wall::from_millis(100_001),
            ..free.clone()
        };
        assert_eq!(open.room(now), 0);
        let half = TrunkRow {
            failures: 3,
            ..free
        };
        assert_eq!(half.room(now), 1);
        assert_eq!(TrunkRow { live: 1, ..half }.room(now), 0);
    }
}
