//! Callers in a line: they stand among the requests, by the same order, and are served by
//! the same help channel.

use std::time::Duration;

use helpline_core::time::Wall;

use super::conn::args;
use super::{Conn, Error};

/// Stands a caller in line, as if he had come so much earlier; his place. `None`: the
/// call is not known, or over.
pub(crate) async fn stand(
    tx: &mut Conn,
    call_id: &str,
    queue: &str,
    head_start: Duration,
) -> Result<Option<Wall>, Error> {
    let row = tx
        .row(
            "update inbound set queue = $2, place_at = {now} - $3, stands = 'waiting'
             where call_id = $1 and live = 1 returning place_at",
            args![call_id, queue, head_start],
        )
        .await?;
    row.map(|row| row.wall(0)).transpose()
}

/// The line a caller waits in, and his place; `None` if he waits in none.
pub(crate) async fn place_of(
    tx: &mut Conn,
    call_id: &str,
) -> Result<Option<(String, Wall)>, Error> {
    let row = tx
        .row(
            "select queue, place_at from inbound
             where call_id = $1 and live = 1 and stands = 'waiting'",
            args![call_id],
        )
        .await?;
    row.map(|row| Ok((row.text(0)?, row.wall(1)?))).transpose()
}

/// A caller is served from now on.
pub(crate) async fn serve(tx: &mut Conn, call_id: &str) -> Result<(), Error> {
    tx.run(
        "update inbound set stands = 'served', served_at = {now} where call_id = $1 and live = 1",
        args![call_id],
    )
    .await
    .map(|_| ())
}

/// A caller gives his place up, or was served and goes on by himself.
pub(crate) async fn leave(tx: &mut Conn, call_id: &str) -> Result<(), Error> {
    tx.run(
        "update inbound set stands = null where call_id = $1",
        args![call_id],
    )
    .await
    .map(|_| ())
}

/// Callers who wait before a place; of two at the same moment the one with the lesser
/// Call-ID comes first.
pub(crate) async fn ahead(
    tx: &mut Conn,
    queue: &str,
    place_at: Wall,
    call_id: &str,
) -> Result<u32, Error> {
    tx.count(
        "select count(*) from inbound where queue = $1 and live = 1 and stands = 'waiting'
               and (place_at < $2 or (place_at = $2 and call_id < $3))",
        args![queue, place_at, call_id],
    )
    .await
}

/// The places of the first callers in a line.
pub(crate) async fn places(tx: &mut Conn, queue: &str, count: u32) -> Result<Vec<Wall>, Error> {
    let rows = tx
        .rows(
            "select place_at from inbound where queue = $1 and live = 1 and stands = 'waiting'
             order by place_at, call_id limit $2",
            args![queue, count],
        )
        .await?;
    rows.iter().map(|row| row.wall(0)).collect()
}

/// How many wait in a line.
pub(crate) async fn waiting(tx: &mut Conn, queue: &str) -> Result<u32, Error> {
    tx.count(
        "select count(*) from inbound where queue = $1 and live = 1 and stands = 'waiting'",
        args![queue],
    )
    .await
}
