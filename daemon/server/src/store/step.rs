//! What a clock that was stepped back leaves behind: times that lie further ahead than any
//! rule sets them.

use std::time::Duration;

use super::conn::args;
use super::node::NODE_LEASE;
use super::{Conn, Error, trunk};

/// A request that waits for its turn, or a mail that was not tried yet, is put off by less than
/// this.
const PUT_OFF_MAX: Duration = Duration::from_secs(120);

/// Brings such times back to now, so that nobody waits for the clock to come round again.
/// Booked times, retries and opening hours are times of day and stay.
pub(crate) async fn mend(tx: &mut Conn) -> Result<(), Error> {
    tx.run(
        "update request set not_before = {now}
         where state = 'waiting' and due_at is null and not_before > {now} + $1",
        args![PUT_OFF_MAX],
    )
    .await?;
    tx.run(
        "update outbox set next_at = {now}
         where state in ('pending', 'sending', 'deferred') and state = 'pending'
           and next_at > {now} + $1",
        args![PUT_OFF_MAX],
    )
    .await?;
    tx.run(
        "update node set lease_until = {now} + $1
         where state = 'alive' and lease_until > {now} + $1",
        args![NODE_LEASE],
    )
    .await?;
    tx.run(
        "update trunk set tat = {now} where tat > {now} + burst_ms + interval_ms",
        vec![],
    )
    .await?;
    tx.run(
        "update trunk set open_until = {now} where open_until > {now} + $1",
        args![trunk::PAUSE_MAX * 6 / 5],
    )
    .await
    .map(|_| ())
}
