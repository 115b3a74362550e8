//! Promises that stand while their requests wait.

use std::time::Duration;

use helpline_core::id::RequestId;
use helpline_core::queue::ewt::Promise;
use helpline_core::time::Wall;

use super::conn::args;
use super::request::{RequestRow, columns};
use super::{Conn, Error, caller};

/// Promises of one line that are looked at.
const TOLD_MAX: u32 = 2_000;

/// Moves forward, once, whoever was promised a time that has passed; how many.
pub(crate) async fn forward(tx: &mut Conn, queue: &str, by: Duration) -> Result<u64, Error> {
    tx.run(
        "update request set missed = 1, place_at = place_at - $2
         where queue = $1 and open = 1 and state = 'waiting' and due_at is null and missed = 0
           and stale_at < {now}",
        args![queue, by],
    )
    .await
}

/// Requests that stand in line with a promise that was not corrected yet, and how many
/// stand before each.
pub(crate) async fn told(tx: &mut Conn, queue: &str) -> Result<Vec<(RequestRow, u32)>, Error> {
    let rows = tx
        .rows(
            concat!(
                "select ",
                columns!(),
                " from request where queue = $1 and open = 1
                   and (state in ('waiting', 'leased')
                     or (state = 'held' and held_reason = 'closed'))
                 order by rank, place_at, id limit $2"
            ),
            args![queue, TOLD_MAX],
        )
        .await?;
    let callers = caller::places(tx, queue, TOLD_MAX).await?;
    let mut told = Vec::new();
    for (before, row) in (0..).zip(&rows) {
        let request = RequestRow::read(row)?;
        let came_before = |place: &&Wall| request.rank > 0 && **place <= request.place_at;
        let callers = callers.iter().take_while(came_before).count();
        let ahead = u32::try_from(callers)
            .unwrap_or(u32::MAX)
            .saturating_add(before);
        if !request.corrected && request.due_at.is_none() {
            told.push((request, ahead));
        }
    }
    Ok(told)
}

/// Notes that the customer is told anew; false if it was done before, or the wait is over.
pub(crate) async fn corrected(tx: &mut Conn, id: &RequestId) -> Result<bool, Error> {
    let noted = tx
        .run(
            "update request set corrected = 1
             where id = $1 and corrected = 0 and open = 1 and state in ('waiting', 'held')",
            args![id.as_str()],
        )
        .await?;
    Ok(noted > 0)
}

/// Puts another promise in place of the one told, because the customer chose another time;
/// how often that was done.
pub(crate) async fn renew(tx: &mut Conn, id: &RequestId, promise: &Promise) -> Result<u32, Error> {
    let text = serde_json::to_string(promise).map_err(|e| Error::Damaged(e.to_string()))?;
    tx.row(
        "update request set promise_json = $2, estimate_json = null, stale_at = null,
           moved = moved + 1
         where id = $1 returning moved",
        args![id.as_str(), text],
    )
    .await?
    .ok_or(Error::NotFound)?
    .count(0)
}

/// Notes that the customer changed something else than the time; how often that was done.
pub(crate) async fn changed(tx: &mut Conn, id: &RequestId) -> Result<u32, Error> {
    tx.row(
        "update request set moved = moved + 1 where id = $1 returning moved",
        args![id.as_str()],
    )
    .await?
    .ok_or(Error::NotFound)?
    .count(0)
}
