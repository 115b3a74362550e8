//! Attempts: each try to call, from intent to disposition. The attempt row is the fence
//! of everything a call writes.

use std::time::Duration;

use helpline_core::call::Disposition;
use helpline_core::id::{AttemptId, RequestId};
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::trunk::{self, Offer};
use super::{Conn, Error};

/// An attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptRow {
    pub(crate) id: AttemptId,
    pub(crate) request: RequestId,
    pub(crate) queue: String,
    pub(crate) epoch: i64,
    pub(crate) trunk: String,
    /// `placing` `ringing` `answered` `connected` `ended`.
    pub(crate) state: String,
    pub(crate) settled: Option<String>,
    pub(crate) settled_at: Option<Wall>,
    pub(crate) ring_limit: Duration,
    pub(crate) intent_at: Wall,
    pub(crate) rang: bool,
}

/// What a call reports while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Ringing,
    Answered,
    Connected,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) disposition: Disposition,
    pub(crate) sip_code: Option<u16>,
    pub(crate) q850: Option<u8>,
}

/// The columns of [`AttemptRow`], in order, from `attempt a`.
macro_rules! attempt_columns {
    () => {
        "a.id, a.request_id, a.queue, a.epoch, a.trunk, a.state, a.settled, a.settled_at, \
         a.ring_limit_ms, a.intent_at, a.ring_at"
    };
}
pub(super) use attempt_columns;

impl AttemptRow {
    pub(super) fn read(row: &Row) -> Result<Self, Error> {
        Ok(AttemptRow {
            id: AttemptId::from_text(&row.text(0)?),
            request: RequestId::from_text(&row.text(1)?),
            queue: row.text(2)?,
            epoch: row.int(3)?,
            trunk: row.text(4)?,
            state: row.text(5)?,
            settled: row.opt_text(6)?,
            settled_at: row.opt_wall(7)?,
            ring_limit: Duration::from_millis(u64::try_from(row.int(8)?).unwrap_or(0)),
            intent_at: row.wall(9)?,
            rang: row.opt_int(10)?.is_some(),
        })
    }
}

/// An attempt by its id.
pub(crate) async fn by_id(tx: &mut Conn, id: &AttemptId) -> Result<Option<AttemptRow>, Error> {
    tx.row(
        concat!(
            "select ",
            attempt_columns!(),
            " from attempt a where a.id = $1"
        ),
        args![id.as_str()],
    )
    .await?
    .map(|row| AttemptRow::read(&row))
    .transpose()
}

/// Writes how far a call is; the request follows while it is still this attempt's.
/// Written late or twice it changes nothing. [`Error::Fenced`] if the attempt is over.
pub(crate) async fn progress(
    tx: &mut Conn,
    id: &AttemptId,
    epoch: i64,
    progress: Progress,
    lease: Duration,
) -> Result<(), Error> {
    let live = tx
        .row(
            match progress {
                Progress::Ringing => {
                    "update attempt set ring_at = coalesce(ring_at, {now}),
                       state = case when state = 'placing' then 'ringing' else state end
                     where id = $1 and epoch = $2 and live = 1 returning request_id"
                }
                Progress::Answered => {
                    "update attempt set answer_at = coalesce(answer_at, {now}),
                       state = case when state in ('placing', 'ringing') then 'answered' else state end
                     where id = $1 and epoch = $2 and live = 1 returning request_id"
                }
                Progress::Connected => {
                    "update attempt set answer_at = coalesce(answer_at, {now}), state = 'connected'
                     where id = $1 and epoch = $2 and live = 1 returning request_id"
                }
            },
            args![id.as_str(), epoch],
        )
        .await?
        .ok_or(Error::Fenced)?;
    let request = live.text(0)?;
    let (state, from) = match progress {
        Progress::Ringing => return Ok(()),
        Progress::Answered => ("answered", "dialling"),
        Progress::Connected => ("connected", "answered"),
    };
    tx.run(
        "update request set state = $3, lease_until = {now} + $5
         where id = $1 and epoch = $2 and open = 1 and (state = $4 or state = 'dialling')",
        args![request, epoch, state, from, lease],
    )
    .await
    .map(|_| ())
}

/// Makes what the flow settled durable before the call is over, so that a crash in
/// between does not undo it.
pub(crate) async fn settled(
    tx: &mut Conn,
    id: &AttemptId,
    epoch: i64,
    word: Disposition,
    at: Option<Wall>,
) -> Result<(), Error> {
    tx.change(
        "update attempt set settled = $3, settled_at = $4
         where id = $1 and epoch = $2 and live = 1",
        args![id.as_str(), epoch, word.word(), at],
    )
    .await
}

/// Ends an attempt. [`Error::Fenced`] if it is over already.
pub(crate) async fn end(
    tx: &mut Conn,
    id: &AttemptId,
    epoch: i64,
    outcome: &Outcome,
) -> Result<(), Error> {
    let ended = tx
        .row(
            "update attempt set state = 'ended', live = 0, disposition = $3, sip_code = $4,
               q850 = $5, end_at = {now} where id = $1 and epoch = $2 and live = 1
             returning trunk, price, answer_at, end_at",
            args![
                id.as_str(),
                epoch,
                outcome.disposition.word(),
                outcome.sip_code.map(i64::from),
                outcome.q850.map(i64::from),
            ],
        )
        .await?
        .ok_or(Error::Fenced)?;
    let offer = Offer {
        trunk: ended.text(0)?,
        price: ended.int(1)?,
    };
    let end = ended.wall(3)?;
    let talk = ended.opt_wall(2)?.map(|answer| end.since(answer));
    let minutes = talk.map_or(0, |talk| talk.as_secs().div_ceil(60).max(1));
    trunk::settle(tx, &offer, i64::try_from(minutes).unwrap_or(i64::MAX)).await
}

/// Dispositions of a request's earlier attempts, oldest first.
pub(crate) async fn history(tx: &mut Conn, request: &RequestId) -> Result<Vec<Disposition>, Error> {
    let rows = tx
        .rows(
            "select disposition from attempt where request_id = $1 and live = 0
             order by attempt_no",
            args![request.as_str()],
        )
        .await?;
    let mut found = Vec::new();
    for row in &rows {
        found.extend(row.opt_text(0)?.as_deref().and_then(Disposition::from_word));
    }
    Ok(found)
}
