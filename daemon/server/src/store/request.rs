//! Requests: the rows of the line.

use std::time::Duration;

use helpline_core::id::RequestId;
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::ewt::{Forecast, Promise};
use helpline_core::queue::order::Key;
use helpline_core::queue::{Effects, HeldReason, REQUEST_AGE_MAX, RequestFacts, State};
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::{Conn, Error, caller};

mod enter;

pub(crate) use enter::{NewRequest, insert, insert_many};

/// Rows looked at in one transaction.
const LOOK_MAX: i64 = 500;

/// A request as the line knows it.
#[derive(Clone, Debug)]
pub(crate) struct RequestRow {
    pub(crate) id: RequestId,
    pub(crate) queue: String,
    pub(crate) state: State,
    pub(crate) held_reason: Option<HeldReason>,
    pub(crate) rank: i64,
    pub(crate) place_at: Wall,
    pub(crate) not_before: Wall,
    pub(crate) due_at: Option<Wall>,
    pub(crate) not_after: Option<Wall>,
    pub(crate) number: PhoneNumber,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) page: Option<String>,
    pub(crate) language: String,
    pub(crate) zone: Option<String>,
    pub(crate) token: String,
    pub(crate) ack_json: Option<String>,
    pub(crate) promise: Option<Promise>,
    pub(crate) attempts: u32,
    pub(crate) tries: u32,
    pub(crate) epoch: i64,
    pub(crate) parent: Option<RequestId>,
    pub(crate) accepted_at: Wall,
    pub(crate) forecast: Option<Forecast>,
    /// The promised time passed before the first call.
    pub(crate) missed: bool,
    /// The promise was corrected by a mail.
    pub(crate) corrected: bool,
    /// Mail does not reach the customer: the status that was reported.
    pub(crate) mail_failed: Option<String>,
    /// What whoever takes the call has to know; nothing: anybody.
    pub(crate) skill: String,
    /// Who should take it.
    pub(crate) prefers: Option<String>,
    /// The customer called from the number himself.
    pub(crate) proven: bool,
    /// What he has to key in on the call.
    pub(crate) pin: Option<String>,
}

/// What a timer needs to know about the queue of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    pub(crate) queue: String,
    /// The desk is closed: waiting rows are looked at too.
    pub(crate) closed: bool,
    /// Look for rows that grew too old as well.
    pub(crate) ages: bool,
}

/// The columns of [`RequestRow`], in order.
macro_rules! columns {
    () => {
        "id, queue, state, held_reason, rank, place_at, not_before, due_at, not_after, number, \
         name, email, page, language, zone, token, ack_json, promise_json, attempts, tries, \
         epoch, parent, accepted_at, estimate_json, missed, corrected, mail_failed, \
         skill, prefers, proven, pin"
    };
}
pub(super) use columns;

impl RequestRow {
    pub(super) fn read(row: &Row) -> Result<Self, Error> {
        let state = row.text(2)?;
        let (promise, forecast) = (row.opt_text(17)?, row.opt_text(23)?);
        Ok(RequestRow {
            id: RequestId::from_text(&row.text(0)?),
            queue: row.text(1)?,
            state: State::from_word(&state)
                .ok_or_else(|| Error::Damaged(format!("{state:?} is no state of a request")))?,
            held_reason: row.opt_text(3)?.as_deref().and_then(HeldReason::from_word),
            rank: row.int(4)?,
            place_at: row.wall(5)?,
            not_before: row.wall(6)?,
            due_at: row.opt_wall(7)?,
            not_after: row.opt_wall(8)?,
            number: PhoneNumber::from_row(&row.text(9)?),
            name: row.opt_text(10)?,
            email: row.opt_text(11)?,
            page: row.opt_text(12)?,
            language: row.text(13)?,
            zone: row.opt_text(14)?,
            token: row.text(15)?,
            ack_json: row.opt_text(16)?,
            promise: promise.and_then(|text| serde_json::from_str(&text).ok()),
            attempts: row.count(18)?,
            tries: row.count(19)?,
            epoch: row.int(20)?,
            parent: row.opt_text(21)?.as_deref().map(RequestId::from_text),
            accepted_at: row.wall(22)?,
            forecast: forecast.and_then(|text| serde_json::from_str(&text).ok()),
            missed: row.int(24)? == 1,
            corrected: row.int(25)? == 1,
            mail_failed: row.opt_text(26)?,
            skill: row.text(27)?,
            prefers: row.opt_text(28)?,
            proven: row.int(29)? == 1,
            pin: row.opt_text(30)?,
        })
    }

    /// What the life cycle asks.
    pub(crate) fn facts(&self) -> RequestFacts {
        RequestFacts {
            state: self.state,
            held_reason: self.held_reason,
            accepted_at: self.accepted_at,
            due_at: self.due_at,
            not_after: self.not_after,
            not_before: self.not_before,
            attempts: self.attempts,
        }
    }

    /// Whether nobody has shown yet that it is meant.
    pub(crate) fn is_unproven(&self) -> bool {
        self.held_reason.is_some_and(HeldReason::is_unproven)
    }

    /// Its place in the line.
    pub(crate) fn key(&self) -> Key {
        Key {
            rank: self.rank,
            place_at: self.place_at,
            id: self.id.clone(),
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Damaged(e.to_string()))
}

/// The open request of a number in a queue, a talk in progress aside.
pub(crate) async fn open_of(
    tx: &mut Conn,
    queue: &str,
    number: &PhoneNumber,
) -> Result<Option<RequestRow>, Error> {
    tx.row(
        concat!(
            "select ",
            columns!(),
            " from request where queue = $1 and number = $2 and open = 1 and state <> 'connected'"
        ),
        args![queue, number.as_str()],
    )
    .await?
    .map(|row| RequestRow::read(&row))
    .transpose()
}

/// Open requests of a number in all queues, talks in progress too.
pub(crate) async fn all_open_of(
    tx: &mut Conn,
    number: &PhoneNumber,
) -> Result<Vec<RequestRow>, Error> {
    let rows = tx
        .rows(
            concat!(
                "select ",
                columns!(),
                " from request where number = $1 and open = 1 order by id"
            ),
            args![number.as_str()],
        )
        .await?;
    rows.iter().map(RequestRow::read).collect()
}

/// A request by its id.
pub(crate) async fn by_id(tx: &mut Conn, id: &RequestId) -> Result<Option<RequestRow>, Error> {
    tx.row(
        concat!("select ", columns!(), " from request where id = $1"),
        args![id.as_str()],
    )
    .await?
    .map(|row| RequestRow::read(&row))
    .transpose()
}

/// A request by the secret of its status page; a merged one gives its own row.
pub(crate) async fn by_token(tx: &mut Conn, token: &str) -> Result<Option<RequestRow>, Error> {
    tx.row(
        concat!("select ", columns!(), " from request where token = $1"),
        args![token],
    )
    .await?
    .map(|row| RequestRow::read(&row))
    .transpose()
}

/// Requests that will be called before `key`.
pub(crate) async fn ahead(tx: &mut Conn, queue: &str, key: &Key) -> Result<u32, Error> {
    let n = tx
        .int(
            "select count(*) from request where queue = $1 and open = 1
               and (state in ('waiting', 'leased') or (state = 'held' and held_reason = 'closed'))
               and (rank < $2 or (rank = $2 and (place_at < $3 or (place_at = $3 and id < $4))))",
            args![queue, key.rank, key.place_at, key.id.as_str()],
        )
        .await?;
    // Callers wait in the same line; one with the same place came first.
    let callers = match key.rank {
        0 => 0,
        _ => caller::ahead(tx, queue, key.place_at, "~").await?,
    };
    Ok(u32::try_from(n).unwrap_or(0).saturating_add(callers))
}

/// All who stand in a line now, callers too.
pub(crate) async fn in_line(tx: &mut Conn, queue: &str) -> Result<u32, Error> {
    let last = Key {
        rank: i64::MAX,
        place_at: Wall::from_millis(i64::MAX),
        id: RequestId::from_text(""),
    };
    ahead(tx, queue, &last).await
}

/// Requests before a caller's place that could be called now.
pub(crate) async fn before(tx: &mut Conn, queue: &str, place_at: Wall) -> Result<u32, Error> {
    tx.count(
        "select count(*) from request where queue = $1 and state = 'waiting'
               and not_before <= {now} and (rank < 1 or (rank = 1 and place_at < $2))",
        args![queue, place_at],
    )
    .await
}

/// Requests that stand in line or wait for a time, calls in progress aside, and those of which
/// nobody has shown yet that they are meant.
pub(crate) async fn standing(tx: &mut Conn, queue: &str) -> Result<u32, Error> {
    tx.count(
        "select count(*) from request where queue = $1 and open = 1
               and state in ('waiting', 'scheduled', 'backoff', 'held', 'leased')
               and coalesce(held_reason, '') not in ('unverified', 'doubtful')",
        args![queue],
    )
    .await
}

/// Bookings that fall due before `until` and have not been called.
pub(crate) async fn bookings_until(tx: &mut Conn, queue: &str, until: Wall) -> Result<u32, Error> {
    tx.count(
        "select count(*) from request where queue = $1 and open = 1
               and state = 'scheduled' and not_before <= $2",
        args![queue, until],
    )
    .await
}

/// Rows whose timer came, in the order of the line.
pub(crate) async fn due(tx: &mut Conn, timer: &Timer) -> Result<Vec<RequestRow>, Error> {
    let mut found = tx
        .rows(
            concat!(
                "select ",
                columns!(),
                " from request where queue = $1 and state in ('scheduled', 'backoff', 'held')
                   and not_before <= {now} order by rank, place_at, id limit $2 {lock}"
            ),
            args![&timer.queue, LOOK_MAX],
        )
        .await?;
    if timer.closed {
        found.extend(
            tx.rows(
                concat!(
                    "select ",
                    columns!(),
                    " from request where queue = $1 and state = 'waiting' and not_before <= {now}
                       order by rank, place_at, id limit $2 {lock}"
                ),
                args![&timer.queue, LOOK_MAX],
            )
            .await?,
        );
    } else if timer.ages {
        found.extend(
            tx.rows(
                concat!(
                    "select ",
                    columns!(),
                    " from request where queue = $1 and state = 'waiting'
                       and (coalesce(due_at, accepted_at) <= {now} - $3 or not_after < {now})
                       order by rank, place_at, id limit $2 {lock}"
                ),
                args![&timer.queue, LOOK_MAX, REQUEST_AGE_MAX],
            )
            .await?,
        );
    }
    found.iter().map(RequestRow::read).collect()
}

/// The next moment at which something in the line becomes due, after now.
pub(crate) async fn next_timer(tx: &mut Conn) -> Result<Option<Wall>, Error> {
    let timer = tx
        .row(
            "select min(not_before) from request where state in ('scheduled', 'backoff', 'held')",
            vec![],
        )
        .await?;
    let later = tx
        .row(
            "select min(not_before) from request where state = 'waiting' and not_before > {now}",
            vec![],
        )
        .await?;
    let mut next = None;
    for row in timer.iter().chain(&later) {
        next = next.into_iter().chain(row.opt_wall(0)?).min();
    }
    Ok(next)
}

/// Queues in which somebody waits to be called now.
pub(crate) async fn callable(tx: &mut Conn) -> Result<Vec<String>, Error> {
    tx.rows(
        "select distinct queue from request where state = 'waiting' and not_before <= {now}
         order by queue",
        vec![],
    )
    .await?
    .iter()
    .map(|row| row.text(0))
    .collect()
}

/// Writes a step of the life cycle. The owner keeps the row only while a call is on.
/// [`Error::Fenced`] if the row changed since it was read.
pub(crate) async fn apply(
    tx: &mut Conn,
    row: &RequestRow,
    state: State,
    effects: &Effects,
) -> Result<(), Error> {
    let owned = state.has_call() || state == State::Leased;
    let held = (state == State::Held).then_some(effects.held_reason.or(row.held_reason));
    tx.change(
        "update request set state = $3, open = $4, held_reason = $5,
           not_before = coalesce($6, not_before), rank = coalesce($7, rank),
           due_at = coalesce($8, due_at),
           not_after = case when $8 is null then not_after else $12 end, attempts = attempts + $9,
           owner = case when $10 = 1 then owner else null end,
           lease_until = case when $10 = 1 then lease_until else null end,
           ended_at = case when $4 = 0 then {now} else null end
         where id = $1 and epoch = $2 and open = 1 and state = $11",
        args![
            row.id.as_str(),
            row.epoch,
            state.word(),
            state.is_open(),
            held.flatten().map(HeldReason::word),
            effects.not_before,
            effects.rank,
            effects.due_at,
            effects.counted,
            owned,
            row.state.word(),
            effects.not_after,
        ],
    )
    .await
}

/// Has a request that waits called at another number; false if that one has an open request in
/// its queue already. [`Error::Fenced`] if the row changed since it was read.
pub(crate) async fn renumber(
    tx: &mut Conn,
    row: &RequestRow,
    number: &PhoneNumber,
) -> Result<bool, Error> {
    if open_of(tx, &row.queue, number).await?.is_some() {
        return Ok(false);
    }
    tx.change(
        "update request set number = $3
         where id = $1 and epoch = $2 and state = $4",
        args![
            row.id.as_str(),
            row.epoch,
            number.as_str(),
            row.state.word()
        ],
    )
    .await
    .map(|()| true)
}

/// Sets the end of the window of a request that waits for no time.
pub(crate) async fn end_window(
    tx: &mut Conn,
    id: &RequestId,
    not_after: Option<Wall>,
) -> Result<(), Error> {
    tx.run(
        "update request set not_after = $2 where id = $1 and open = 1",
        args![id.as_str(), not_after],
    )
    .await
    .map(|_| ())
}

/// Requests whose id ends so, the latest first.
pub(crate) async fn by_end(tx: &mut Conn, end: &str) -> Result<Vec<RequestRow>, Error> {
    let rows = tx
        .rows(
            concat!(
                "select ",
                columns!(),
                " from request where substr(id, 30) = $1 order by created_at desc limit $2"
            ),
            args![end, LOOK_MAX],
        )
        .await?;
    rows.iter().map(RequestRow::read).collect()
}

/// Closes a request in favour of another open one of the same number.
pub(crate) async fn merge_into(
    tx: &mut Conn,
    row: &RequestRow,
    parent: &RequestId,
) -> Result<(), Error> {
    tx.run(
        "update request set state = 'merged', open = 0, parent = $3, owner = null,
           lease_until = null, held_reason = null, ended_at = {now}
         where id = $1 and epoch = $2 and open = 1",
        args![row.id.as_str(), row.epoch, parent.as_str()],
    )
    .await
    .map(|_| ())
}

/// Lets a request that returns from a lost owner or a refused intent stand in line again.
pub(crate) async fn release(
    tx: &mut Conn,
    id: &RequestId,
    epoch: i64,
    wait: Duration,
) -> Result<bool, Error> {
    let done = tx
        .run(
            "update request set state = 'waiting', owner = null, lease_until = null,
               not_before = case when $3 = 0 then not_before else {now} + $3 end
             where id = $1 and epoch = $2 and state in ('leased', 'dialling')
               and not exists (select 1 from attempt a where a.request_id = request.id and a.live = 1)",
            args![id.as_str(), epoch, wait],
        )
        .await?;
    Ok(done > 0)
}
