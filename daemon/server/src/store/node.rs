//! Incarnations of daemons, their leases, and what a dead one left behind.

use std::time::Duration;

use helpline_core::id::NodeId;

use super::attempt::{AttemptRow, attempt_columns};
use super::conn::args;
use super::{Conn, Error};

/// A node that does not renew this is taken for dead.
pub(crate) const NODE_LEASE: Duration = Duration::from_secs(30);
/// Orphans looked at in one transaction.
const ORPHANS_MAX: i64 = 100;

/// Something a dead node, or a hung task, left behind.
#[derive(Clone, Debug)]
pub(crate) enum Orphan {
    /// A live attempt.
    Attempt(AttemptRow),
    /// A request taken from the line without an attempt: id and epoch.
    Leased(helpline_core::id::RequestId, i64),
}

/// Registers this incarnation. `alone`: nobody else can be using the database (the
/// folder lock proves it), so every earlier incarnation is dead.
pub(crate) async fn start(tx: &mut Conn, node: &NodeId, alone: bool) -> Result<(), Error> {
    if alone {
        tx.run(
            "update node set state = 'dead' where state = 'alive'",
            vec![],
        )
        .await?;
    }
    tx.run(
        "insert into node (id, state, lease_until, started_at)
         select $1, 'alive', now_ms + $2, now_ms from clock",
        args![node.as_str(), NODE_LEASE],
    )
    .await
    .map(|_| ())
}

/// Renews the lease; false: this node was declared dead meanwhile.
pub(crate) async fn beat(tx: &mut Conn, node: &NodeId) -> Result<bool, Error> {
    let n = tx
        .run(
            "update node set lease_until = {now} + $2 where id = $1 and state = 'alive'",
            args![node.as_str(), NODE_LEASE],
        )
        .await?;
    Ok(n == 1)
}

/// Ends this incarnation in good order.
pub(crate) async fn stop(tx: &mut Conn, node: &NodeId) -> Result<(), Error> {
    tx.run(
        "update node set state = 'dead' where id = $1",
        args![node.as_str()],
    )
    .await
    .map(|_| ())
}

/// Gives what dead nodes and overdue stages left behind. With `leases`, nodes are declared
/// dead whose lease is over; a daemon alone on its database renews none. Phone-in calls
/// of dead nodes are over.
pub(crate) async fn orphans(tx: &mut Conn, leases: bool) -> Result<Vec<Orphan>, Error> {
    if leases {
        tx.run(
            "update node set state = 'dead' where state = 'alive' and lease_until < {now} - 500",
            vec![],
        )
        .await?;
    }
    tx.run(
        "update inbound set live = 0, ended_at = {now} where live = 1
           and node in (select id from node where state = 'dead')",
        vec![],
    )
    .await?;
    let mut found = Vec::new();
    let attempts = tx
        .rows(
            concat!(
                "select ",
                attempt_columns!(),
                " from attempt a join request r on r.id = a.request_id where a.live = 1
                   and (a.node in (select id from node where state = 'dead')
                     or r.lease_until < {now}) order by a.intent_at, a.id limit $1"
            ),
            args![ORPHANS_MAX],
        )
        .await?;
    for row in &attempts {
        found.push(Orphan::Attempt(AttemptRow::read(row)?));
    }
    let leased = tx
        .rows(
            "select id, epoch from request where owner is not null and state in ('leased', 'dialling')
               and (owner in (select id from node where state = 'dead') or lease_until < {now})
               and not exists (select 1 from attempt a where a.request_id = request.id and a.live = 1)
             order by owner, id limit $1",
            args![ORPHANS_MAX],
        )
        .await?;
    for row in &leased {
        let id = helpline_core::id::RequestId::from_text(&row.text(0)?);
        found.push(Orphan::Leased(id, row.int(1)?));
    }
    Ok(found)
}
