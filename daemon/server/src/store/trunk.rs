//! Trunks: channels, calls a second, and the breaker. The limits live in the database,
//! so they hold across restarts and nodes.

use std::time::Duration;

use helpline_core::queue::Release;
use helpline_core::time::Wall;

use super::conn::args;
use super::{Conn, Error};

/// Failures in a row, within this time, that open the breaker.
const FAILURES_IN_A_ROW: i64 = 3;
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// First pause of an open breaker; doubled each time up to the second.
const PAUSE: i64 = 10_000;
pub(super) const PAUSE_MAX: i64 = 300_000;

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
}

impl TrunkRow {
    /// Calls that may be started on it now.
    pub(crate) fn room(&self, now: Wall) -> u32 {
        if !self.enabled || self.open_until > now {
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
        let at = rate.max(self.open_until);
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
            "insert into trunk (id, enabled, max_channels, interval_ms, burst_ms, created_at)
             values ($1, 1, $2, $3, $4, {now})
             on conflict (id) do update set enabled = 1, max_channels = $2, interval_ms = $3,
               burst_ms = $4",
            args![&trunk.name, trunk.max_channels, interval, burst],
        )
        .await?;
    }
    Ok(())
}

/// Every enabled trunk.
pub(crate) async fn all(tx: &mut Conn) -> Result<Vec<TrunkRow>, Error> {
    tx.rows(
        "select id, enabled, max_channels, interval_ms, burst_ms, tat, failures, open_until,
           (select count(*) from attempt where attempt.trunk = trunk.id and live = 1)
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
        })
    })
    .collect()
}

/// Takes a channel and a call of the rate on the first trunk that has both.
pub(crate) async fn take(
    tx: &mut Conn,
    trunks: &[String],
) -> Result<Result<String, Release>, Error> {
    let mut why = Release::NoTrunk;
    for id in trunks {
        // The update locks the row, so the count below is exact on PostgreSQL too.
        let row = tx
            .row(
                "update trunk set tat = interval_ms + case when tat > {now} then tat else {now} end
                 where id = $1 and enabled = 1 and open_until <= {now} and tat <= {now} + burst_ms
                 returning max_channels",
                args![id],
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
            return Ok(Ok(id.clone()));
        }
        tx.run(
            "update trunk set tat = tat - interval_ms where id = $1",
            args![id],
        )
        .await?;
        why = Release::NoChannel;
    }
    Ok(Err(why))
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
        };
        assert_eq!(free.room(now), 2);
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
