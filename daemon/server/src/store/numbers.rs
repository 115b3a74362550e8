//! Counts for health and metrics.

use std::time::Duration;

use super::{Conn, Error, Spent};

/// How the line, the outbox and the spool stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open requests: queue, state word, how many.
    pub requests: Vec<(String, String, u32)>,
    /// Age of the oldest waiting request, by queue.
    pub oldest_waiting: Vec<(String, Duration)>,
    /// Mail that has not left yet.
    pub outbox: u32,
    /// Age of the oldest mail that has not left yet.
    pub outbox_oldest: Option<Duration>,
    /// Messages in the spool that wait for work.
    pub spool: u32,
    /// Live attempts.
    pub calls: u32,
    /// Live phone-in calls.
    pub inbound: u32,
    /// Trunks: name, live calls, channels, whether the breaker is open.
    pub trunks: Vec<(String, u32, u32, bool)>,
    /// What the calls of this day took of each trunk.
    pub spent: Vec<(String, Spent)>,
    /// Agents: queue, state word, how many.
    pub agents: Vec<(String, String, u32)>,
}

/// Reads all counts.
pub(crate) async fn read(tx: &mut Conn) -> Result<Counts, Error> {
    let now = tx.now().await?;
    let mut counts = Counts::default();
    for row in tx
        .rows(
            "select queue, state, count(*) from request where open = 1
             group by queue, state order by queue, state",
            vec![],
        )
        .await?
    {
        counts
            .requests
            .push((row.text(0)?, row.text(1)?, row.count(2)?));
    }
    for row in tx
        .rows(
            "select queue, min(accepted_at) from request where state = 'waiting'
             group by queue order by queue",
            vec![],
        )
        .await?
    {
        counts
            .oldest_waiting
            .push((row.text(0)?, now.since(row.wall(1)?)));
    }
    if let Some(row) = tx
        .row(
            "select count(*), min(created_at) from outbox
             where state in ('pending', 'sending', 'deferred')",
            vec![],
        )
        .await?
    {
        counts.outbox = row.count(0)?;
        counts.outbox_oldest = row.opt_wall(1)?.map(|at| now.since(at));
    }
    if let Some(row) = tx
        .row(
            "select (select count(*) from mail_in where state in ('spooled', 'working')),
               (select count(*) from attempt where live = 1),
               (select count(*) from inbound where live = 1)",
            vec![],
        )
        .await?
    {
        counts.spool = row.count(0)?;
        counts.calls = row.count(1)?;
        counts.inbound = row.count(2)?;
    }
    for trunk in super::trunk::all(tx).await? {
        let rests = trunk.open_until > now;
        counts.spent.push((trunk.id.clone(), trunk.spent));
        counts
            .trunks
            .push((trunk.id, trunk.live, trunk.max_channels, rests));
    }
    let agents = tx.rows(
        "select q.queue, a.state, count(*) from agent a join agent_queue q on q.agent = a.name
         where a.enabled = 1 group by q.queue, a.state order by q.queue, a.state",
        vec![],
    );
    for row in agents.await? {
        let agents = (row.text(0)?, row.text(1)?, row.count(2)?);
        counts.agents.push(agents);
    }
    Ok(counts)
}

impl super::Store {
    /// Counts for health and metrics.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.read(|tx| Box::pin(read(tx))).await
    }
}
