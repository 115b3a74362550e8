//! Taking the next requests, and the intent: the attempt row that is durable before
//! an INVITE leaves.

use std::time::Duration;

use helpline_core::id::{AttemptId, NodeId, RequestId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::Release;
use helpline_core::time::Wall;

use super::conn::args;
use super::request::{RequestRow, columns};
use super::trunk::Offer;
use super::{AgentRow, Conn, Error, limit, request, trunk};

/// How long a claimed request may wait for its intent.
const LEASE: Duration = Duration::from_secs(30);

/// A request taken from the line; nothing has been sent.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) row: RequestRow,
    /// The agent that is kept for it.
    pub(crate) agent: Option<AgentRow>,
}

/// Which requests may be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    pub(crate) queue: &'a str,
    /// Bookings alone.
    pub(crate) booked: bool,
    /// Of the others only those whose place is earlier.
    pub(crate) before: Option<Wall>,
    /// Those this agent may take; without one, those somebody who is free may.
    pub(crate) agent: Option<&'a str>,
}

/// An attempt about to be made.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) attempt: AttemptId,
    pub(crate) request: RequestId,
    pub(crate) queue: String,
    pub(crate) epoch: i64,
    pub(crate) node: NodeId,
    pub(crate) number: PhoneNumber,
    pub(crate) call_id: String,
    /// Trunks to choose from, best first.
    pub(crate) trunks: Vec<Offer>,
    pub(crate) ring_limit: Duration,
}

/// Why no attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Someone else has the request now.
    Fenced,
    /// The number landed on the do-not-call list meanwhile; the request is still leased.
    Suppressed,
    /// Back in line.
    Released(Release),
}

/// An attempt that is committed with this transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intended {
    pub(crate) attempt_no: u32,
    pub(crate) trunk: String,
}

/// Takes up to `limit` requests in the order of the line.
pub(crate) async fn claim(
    tx: &mut Conn,
    node: &NodeId,
    which: Which<'_>,
    limit: u32,
) -> Result<Vec<Claimed>, Error> {
    // A common table: PostgreSQL may run a plain sub-select more than once and overclaim.
    let rows = tx
        .rows(
            concat!(
                "with c as (select id from request where state = 'waiting' and queue = $1
                   and rank <= $2 and not_before <= {now} and (rank < 1 or place_at < $6)
                   and (skill = '' or exists (select 1 from agent_skill s
                     join agent a on a.name = s.agent where s.skill = request.skill
                     and a.enabled = 1 and a.state = 'available' and ($7 = '' or a.name = $7)))
                   and ($7 = '' or prefers is null or prefers = $7
                     or coalesce(prefers_until, {now} + 1) <= {now}
                     or not exists (select 1 from agent a where a.name = request.prefers
                       and a.enabled = 1
                       and a.state in ('available', 'ringing', 'talking', 'wrapup')))
                   order by rank, place_at, id limit $3 {lock})
                 update request set state = 'leased', owner = $4, epoch = epoch + 1,
                   lease_until = {now} + $5
                 where id in (select id from c) and state = 'waiting' returning ",
                columns!()
            ),
            args![
                which.queue,
                i64::from(!which.booked),
                limit,
                node.as_str(),
                LEASE,
                which.before.unwrap_or(Wall::from_millis(i64::MAX)),
                which.agent.unwrap_or_default(),
            ],
        )
        .await?;
    let claimed = |row| RequestRow::read(row).map(|row| Claimed { row, agent: None });
    let mut taken = rows.iter().map(claimed).collect::<Result<Vec<_>, _>>()?;
    taken.sort_by_key(|c| c.row.key());
    Ok(taken)
}

/// The turn of these requests has come: from now on each waits so long for the agent it prefers.
pub(crate) async fn hold_for_preferred(
    tx: &mut Conn,
    queue: &str,
    first: u32,
    period: Duration,
) -> Result<(), Error> {
    tx.run(
        "update request set prefers_until = {now} + $3 where prefers is not null
           and prefers_until is null and id in (select id from request where state = 'waiting'
             and queue = $1 and not_before <= {now} order by rank, place_at, id limit $2)",
        args![queue, first, period],
    )
    .await
    .map(|_| ())
}

/// Commits the attempt, or says why not. Lock order: request, attempt, trunk.
pub(crate) async fn intent(
    tx: &mut Conn,
    intent: &Intent,
) -> Result<Result<Intended, Refused>, Error> {
    let fence = tx
        .row(
            "update request set state = 'dialling', tries = tries + 1, lease_until = {now} + $3
             where id = $1 and epoch = $2 and state = 'leased' and lease_until > {now}
             returning tries",
            args![
                intent.request.as_str(),
                intent.epoch,
                intent.ring_limit + Duration::from_secs(60)
            ],
        )
        .await?;
    let Some(row) = fence else {
        return Ok(Err(Refused::Fenced));
    };
    let attempt_no = row.count(0)?;
    if limit::is_suppressed(tx, &intent.number).await? {
        take_back(tx, intent, None).await?;
        return Ok(Err(Refused::Suppressed));
    }
    if on_another_call(tx, &intent.number).await? {
        return refuse(tx, intent, Release::NumberBusy).await;
    }
    let Offer { trunk, price } = match trunk::take(tx, &intent.trunks).await? {
        Ok(offer) => offer,
        Err(why) => return refuse(tx, intent, why).await,
    };
    let made = tx
        .run(
            "insert into attempt (id, request_id, queue, attempt_no, epoch, node, trunk, number,
               call_id, state, live, ring_limit_ms, intent_at, price)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'placing', 1, $10, {now}, $11)
             on conflict do nothing",
            args![
                intent.attempt.as_str(),
                intent.request.as_str(),
                &intent.queue,
                attempt_no,
                intent.epoch,
                intent.node.as_str(),
                &trunk,
                intent.number.as_str(),
                &intent.call_id,
                intent.ring_limit,
                price,
            ],
        )
        .await?;
    if made == 0 {
        // Another node began a call to this number in the same instant.
        return refuse(tx, intent, Release::NumberBusy).await;
    }
    Ok(Ok(Intended { attempt_no, trunk }))
}

async fn refuse(
    tx: &mut Conn,
    intent: &Intent,
    why: Release,
) -> Result<Result<Intended, Refused>, Error> {
    take_back(tx, intent, Some(why)).await?;
    Ok(Err(Refused::Released(why)))
}

/// Undoes the first statement of the intent; with `why` the request stands in line again.
async fn take_back(tx: &mut Conn, intent: &Intent, why: Option<Release>) -> Result<(), Error> {
    tx.run(
        "update request set state = 'leased', tries = tries - 1 where id = $1 and epoch = $2",
        args![intent.request.as_str(), intent.epoch],
    )
    .await?;
    if let Some(why) = why {
        request::release(tx, &intent.request, intent.epoch, why.wait()).await?;
    }
    Ok(())
}

async fn on_another_call(tx: &mut Conn, number: &PhoneNumber) -> Result<bool, Error> {
    let n = tx
        .int(
            "select (select count(*) from attempt where number = $1 and live = 1)
               + (select count(*) from inbound where number = $1 and live = 1)",
            args![number.as_str()],
        )
        .await?;
    Ok(n > 0)
}

/// Calls of a queue that are up or about to be.
pub(crate) async fn up(tx: &mut Conn, queue: &str) -> Result<u32, Error> {
    tx.count(
            "select (select count(*) from attempt where queue = $1 and live = 1)
               + (select count(*) from request where queue = $1 and open = 1 and state = 'leased')
               + (select count(*) from inbound where queue = $1 and live = 1 and stands = 'served')",
            args![queue],
        )
        .await
}

/// Of these, those who have no agent yet.
pub(crate) async fn unjoined(tx: &mut Conn, queue: &str) -> Result<u32, Error> {
    tx.count(
        "select (select count(*) from attempt where queue = $1 and live = 1
                 and state <> 'connected')
               + (select count(*) from request where queue = $1 and open = 1 and state = 'leased')",
        args![queue],
    )
    .await
}

/// Calls of any kind on a node.
pub(crate) async fn up_on(tx: &mut Conn, node: &NodeId) -> Result<u32, Error> {
    tx.count(
        "select (select count(*) from attempt where node = $1 and live = 1)
               + (select count(*) from inbound where node = $1 and live = 1)",
        args![node.as_str()],
    )
    .await
}
