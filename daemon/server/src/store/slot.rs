//! Quarters of an hour in which calls are booked.

use helpline_core::queue::booking::Slot;

use super::conn::args;
use super::{Conn, Error};

/// Bookings of a queue in a slot. It is held until the transaction
/// ends: two that count it at once take turns.
pub(crate) async fn booked(tx: &mut Conn, queue: &str, slot: Slot) -> Result<u32, Error> {
    tx.run(
        "insert into slot (queue, start_at, created_at) select $1, $2, now_ms from clock where true
         on conflict (queue, start_at) do update set start_at = excluded.start_at",
        args![queue, slot.start],
    )
    .await?;
    let n = tx
        .int(
            "select count(*) from request where queue = $1 and open = 1
               and due_at >= $2 and due_at < $3
               and coalesce(held_reason, '') not in ('unverified', 'doubtful')",
            args![queue, slot.start, slot.end],
        )
        .await?;
    Ok(u32::try_from(n).unwrap_or(u32::MAX))
}
