//! What operators look at: requests one by one, and as a report counts them.

use helpline_core::id::RequestId;
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::{HeldReason, State};
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::request::{RequestRow, columns};
use super::{Conn, Error};

/// Which requests are looked at.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of one queue.
    pub queue: Option<String>,
    /// In one state.
    pub state: Option<String>,
    /// Those too that are over and were accepted since then.
    pub since: Option<Wall>,
    /// With this id, or its end, or this number.
    pub named: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// A request as an operator sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request.
    pub id: RequestId,
    /// Its queue.
    pub queue: String,
    /// State word.
    pub state: &'static str,
    /// Why it is held.
    pub held: Option<&'static str>,
    /// Whether it stands in line now.
    pub is_in_line: bool,
    /// E.164.
    pub number: String,
    /// The customer's name.
    pub name: Option<String>,
    /// The customer's address.
    pub email: Option<String>,
    /// When it was accepted.
    pub accepted_at: Wall,
    /// Not called before.
    pub not_before: Wall,
    /// Booked time.
    pub due_at: Option<Wall>,
    /// Attempts that were counted.
    pub attempts: u32,
    /// What the customer was told.
    pub promise: Option<Promise>,
    /// The promised time passed before the first call, so it was moved forward.
    pub missed: bool,
    /// Mail does not reach the customer: the status that was reported.
    pub mail_failed: Option<String>,
}

/// Requests in the order of the line.
pub(crate) async fn requests(tx: &mut Conn, wanted: &Wanted) -> Result<Vec<Seen>, Error> {
    let since = wanted.since.unwrap_or(Wall::from_millis(i64::MAX));
    let rows = tx
        .rows(
            concat!(
                "select ",
                columns!(),
                " from request where (open = 1 or accepted_at >= $1 or $4 <> '')
                   and ($2 = '' or queue = $2) and ($3 = '' or state = $3)
                   and ($4 = '' or id = $4 or number = $4 or id like $5)
                 order by queue, open desc, rank, place_at, id limit $6"
            ),
            args![
                since,
                wanted.queue.clone().unwrap_or_default(),
                wanted.state.clone().unwrap_or_default(),
                wanted.named.clone().unwrap_or_default(),
                format!("%{}", wanted.named.as_deref().unwrap_or_default()),
                wanted.limit,
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(seen(RequestRow::read(row)?)))
        .collect()
}

fn seen(row: RequestRow) -> Seen {
    let is_closed = row.held_reason == Some(HeldReason::Closed);
    Seen {
        is_in_line: row.due_at.is_none()
            && (matches!(row.state, State::Waiting | State::Leased)
                || (row.state == State::Held && is_closed)),
        id: row.id,
        queue: row.queue,
        state: row.state.word(),
        held: row.held_reason.map(HeldReason::word),
        number: row.number.as_str().to_owned(),
        name: row.name,
        email: row.email,
        accepted_at: row.accepted_at,
        not_before: row.not_before,
        due_at: row.due_at,
        attempts: row.attempts,
        missed: row.missed,
        mail_failed: row.mail_failed,
        promise: row.promise,
    }
}

/// Something that happened to a request.
#[derive(Clone, Debug)]
pub struct Happened {
    /// When.
    pub at: Wall,
    /// `call`, `mail`, or `answer` (mail that came about it).
    pub what: &'static str,
    /// How it went on.
    pub how: String,
}

/// Calls and mail of a request, in order.
pub(crate) async fn history(tx: &mut Conn, id: &RequestId) -> Result<Vec<Happened>, Error> {
    let calls = tx
        .rows(
            "select intent_at, coalesce(disposition, state), trunk, call_id, sip_code
             from attempt where request_id = $1",
            args![id.as_str()],
        )
        .await?;
    let mails = tx
        .rows(
            "select created_at, kind, state, to_addr, bounced from outbox where about = $1",
            args![id.as_str()],
        )
        .await?;
    let answers = tx
        .rows(
            "select coalesce(received_at, created_at), coalesce(kind, state), reason, id
             from mail_in where request_id = $1",
            args![id.as_str()],
        )
        .await?;
    let call = |row: &Row| {
        let code = row
            .opt_int(4)?
            .map_or_else(String::new, |c| format!(" ({c})"));
        let (how, trunk, call) = (row.text(1)?, row.text(2)?, row.text(3)?);
        Ok(Happened {
            at: row.wall(0)?,
            what: "call",
            how: format!("{how}{code} by {trunk}, Call-ID {call}"),
        })
    };
    let mail = |row: &Row| {
        let (kind, state, to) = (row.text(1)?, row.text(2)?, row.text(3)?);
        let bounced = row.opt_text(4)?;
        let bounced = bounced.map_or_else(String::new, |s| format!(", bounced ({s})"));
        Ok(Happened {
            at: row.wall(0)?,
            what: "mail",
            how: format!("{kind} to {to}: {state}{bounced}"),
        })
    };
    let answer = |row: &Row| {
        let reason = row.opt_text(2)?;
        let reason = reason.map_or_else(String::new, |r| format!(": {r}"));
        let (kind, mail) = (row.text(1)?, row.text(3)?);
        Ok(Happened {
            at: row.wall(0)?,
            what: "answer",
            how: format!("{kind}{reason}, mail {mail}"),
        })
    };
    let happened = calls.iter().map(call).chain(mails.iter().map(mail));
    let happened = happened.chain(answers.iter().map(answer));
    let mut happened = happened.collect::<Result<Vec<_>, Error>>()?;
    happened.sort_by_key(|h| h.at);
    Ok(happened)
}

/// A request as a report counts it.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Its queue.
    pub queue: String,
    /// State word.
    pub state: String,
    /// When it was accepted.
    pub accepted_at: Wall,
    /// Whether a time was booked.
    pub is_booked: bool,
    /// What the customer was told.
    pub promise: Option<Promise>,
    /// The first call.
    pub called_at: Option<Wall>,
    /// Calls that were made.
    pub calls: u32,
}

/// Requests accepted from one moment until another; those that were merged into others are
/// not counted twice.
pub(crate) async fn counted(tx: &mut Conn, from: Wall, until: Wall) -> Result<Vec<Counted>, Error> {
    let rows = tx
        .rows(
            "select r.queue, r.state, r.accepted_at, r.due_at, r.promise_json, a.intent_at, r.tries
             from request r left join attempt a on a.request_id = r.id and a.attempt_no = 1
             where r.accepted_at >= $1 and r.accepted_at < $2 and r.state <> 'merged'
             order by r.queue, r.accepted_at",
            args![from, until],
        )
        .await?;
    let counted = |row: &Row| {
        let promise = row.opt_text(4)?;
        Ok(Counted {
            queue: row.text(0)?,
            state: row.text(1)?,
            accepted_at: row.wall(2)?,
            is_booked: row.opt_wall(3)?.is_some(),
            promise: promise.and_then(|json| serde_json::from_str(&json).ok()),
            called_at: row.opt_wall(5)?,
            calls: row.count(6)?,
        })
    };
    rows.iter().map(counted).collect()
}
