//! Calls beside the line: people who phone in, and the traces of all calls.

use std::borrow::Cow;

use helpline_core::id::{CallId, NodeId};
use helpline_core::phone::PhoneNumber;
use helpline_core::time::Wall;

use super::conn::args;
use super::{Conn, Error};

/// Most nodes that are counted at once.
const ENTERED_MAX: i64 = 2_000_000;

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceRow {
    pub(crate) seq: u32,
    /// Milliseconds since the answer.
    pub(crate) at_ms: u64,
    pub(crate) flow: String,
    pub(crate) node: String,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) data: String,
}

/// A phone-in call begins; while it lasts its number is not dialled.
pub(crate) async fn inbound_begins(
    tx: &mut Conn,
    id: &CallId,
    call_id: &str,
    node: &NodeId,
    number: Option<&PhoneNumber>,
) -> Result<(), Error> {
    tx.run(
        "insert into inbound (id, call_id, node, number, live, created_at)
         values ($1, $2, $3, $4, 1, {now}) on conflict do nothing",
        args![
            id.as_str(),
            call_id,
            node.as_str(),
            number.map(PhoneNumber::as_str)
        ],
    )
    .await
    .map(|_| ())
}

/// A phone-in call is over.
pub(crate) async fn inbound_ends(tx: &mut Conn, call_id: &str) -> Result<(), Error> {
    let ended = tx
        .row(
            "update inbound set live = 0, ended_at = {now} where call_id = $1 and live = 1
             returning number",
            args![call_id],
        )
        .await?;
    let Some(number) = ended.map(|row| row.opt_text(0)).transpose()?.flatten() else {
        return Ok(());
    };
    // A request that had to wait for the end of this call may be called now.
    tx.run(
        "update request set not_before = {now} where number = $1 and state = 'waiting'
           and due_at is null and not_before > {now}",
        args![number],
    )
    .await
    .map(|_| ())
}

/// The trace of a call, in order.
pub(crate) async fn trace_of(tx: &mut Conn, call_id: &str) -> Result<Vec<TraceRow>, Error> {
    let rows = tx
        .rows(
            "select seq, at_ms, flow, node, kind, data from call_trace where call_id = $1
             order by seq",
            args![call_id],
        )
        .await?;
    let line = |row: &super::conn::Row| {
        Ok(TraceRow {
            seq: row.count(0)?,
            at_ms: u64::try_from(row.int(1)?).unwrap_or(0),
            flow: row.text(2)?,
            node: row.text(3)?,
            kind: row.text(4)?.into(),
            data: row.text(5)?,
        })
    };
    rows.iter().map(line).collect()
}

/// A call that has a trace.
#[derive(Clone, Debug)]
pub struct TracedCall {
    /// SIP Call-ID.
    pub call_id: String,
    /// `in` or `out`.
    pub direction: String,
    /// The flow it began with.
    pub flow: String,
    /// When its first line was written.
    pub at: Wall,
    /// How long the flow ran, in milliseconds.
    pub length_ms: u64,
}

/// The calls that were traced last, the latest first.
pub(crate) async fn traced(tx: &mut Conn, count: u32) -> Result<Vec<TracedCall>, Error> {
    let rows = tx
        .rows(
            "select call_id, direction, flow, created_at,
               (select max(l.at_ms) from call_trace l where l.call_id = call_trace.call_id)
             from call_trace where seq = 1 order by created_at desc, call_id limit $1",
            args![i64::from(count)],
        )
        .await?;
    let call = |row: &super::conn::Row| {
        Ok(TracedCall {
            call_id: row.text(0)?,
            direction: row.text(1)?,
            flow: row.text(2)?,
            at: row.wall(3)?,
            length_ms: u64::try_from(row.int(4)?).unwrap_or(0),
        })
    };
    rows.iter().map(call).collect()
}

/// Nodes of a flow that calls entered since then, in order: the call and the node.
pub(crate) async fn entered(
    tx: &mut Conn,
    flow: &str,
    since: Wall,
) -> Result<Vec<(String, String)>, Error> {
    let rows = tx
        .rows(
            "select call_id, node from call_trace
             where kind = 'node' and flow = $1 and created_at >= $2
             order by call_id, seq limit $3",
            args![flow, since.millis(), ENTERED_MAX],
        )
        .await?;
    let node = |row: &super::conn::Row| Ok((row.text(0)?, row.text(1)?));
    rows.iter().map(node).collect()
}

/// Writes lines of a trace; a line written twice is there once.
pub(crate) async fn trace(
    tx: &mut Conn,
    call_id: &str,
    direction: &'static str,
    lines: &[TraceRow],
) -> Result<(), Error> {
    for line in lines {
        let at = i64::try_from(line.at_ms).unwrap_or(i64::MAX);
        tx.run(
            "insert into call_trace (call_id, seq, direction, at_ms, flow, node, kind, data,
               created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, {now}) on conflict do nothing",
            args![
                call_id,
                line.seq,
                direction,
                at,
                &line.flow,
                &line.node,
                &*line.kind,
                &line.data
            ],
        )
        .await?;
    }
    Ok(())
}
