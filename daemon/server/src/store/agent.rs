//! Agents: what each does, as every node sees it.

use helpline_core::agent::{Agent, Missed, State, Wish};
use helpline_core::id::NodeId;
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::{Conn, Error};
use crate::config;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentRow {
    pub(crate) name: String,
    pub(crate) phone: String,
    pub(crate) agent: Agent,
    /// Since when the state holds.
    pub(crate) since: Wall,
    /// Where the telephone is registered.
    pub(crate) node: Option<NodeId>,
    /// The request, or the caller's Call-ID, that is kept for the agent.
    pub(crate) serves: Option<String>,
}

/// Whom a call asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) queue: String,
    /// Nothing: anybody's.
    pub(crate) skill: String,
    /// Before all others, if that one is free.
    pub(crate) prefers: Option<String>,
}

/// The columns of [`AgentRow`], in order.
macro_rules! columns {
    () => {
        "name, phone, state, reason, wanted, missed, until, since, node, serves"
    };
}

impl AgentRow {
    fn read(row: &Row) -> Result<Self, Error> {
        let state = row.text(2)?;
        let state = State::from_word(&state)
            .ok_or_else(|| Error::Damaged(format!("{state:?} is no state of an agent")))?;
        let missed = [Missed::NoAnswer, Missed::Declined];
        let reason = row.opt_text(3)?;
        Ok(AgentRow {
            name: row.text(0)?,
            phone: row.text(1)?,
            agent: Agent {
                state,
                reason: missed
                    .into_iter()
                    .find(|why| reason.as_deref() == Some(why.word())),
                wanted: row.opt_text(4)?.as_deref().and_then(Wish::from_word),
                missed: row.count(5)?,
                until: row.opt_wall(6)?,
            },
            since: row.wall(7)?,
            node: row.opt_text(8)?.as_deref().map(NodeId::from_text),
            serves: row.opt_text(9)?,
        })
    }
}

fn read_all(rows: &[Row]) -> Result<Vec<AgentRow>, Error> {
    rows.iter().map(AgentRow::read).collect()
}

/// Brings the rows in line with the configuration; agents no longer named are disabled.
pub(crate) async fn configure(tx: &mut Conn, config: &config::Config) -> Result<(), Error> {
    tx.run("update agent set enabled = 0 where enabled = 1", vec![])
        .await?;
    tx.run("delete from agent_queue", vec![]).await?;
    tx.run("delete from agent_skill", vec![]).await?;
    for agent in &config.agent {
        tx.run(
            "insert into agent (name, enabled, phone, state, missed, since)
             values ($1, 1, $2, 'offline', 0, {now})
             on conflict (name) do update set enabled = 1, phone = $2",
            args![&agent.name, &agent.phone],
        )
        .await?;
        let queues = config.queue.iter().map(|queue| queue.name.as_str());
        for queue in queues.filter(|queue| agent.serves(queue)) {
            tx.run(
                "insert into agent_queue (agent, queue) values ($1, $2) on conflict do nothing",
                args![&agent.name, queue],
            )
            .await?;
        }
        for skill in &agent.skills {
            tx.run(
                "insert into agent_skill (agent, skill) values ($1, $2) on conflict do nothing",
                args![&agent.name, skill],
            )
            .await?;
        }
    }
    Ok(())
}

/// Every agent, by name.
pub(crate) async fn all(tx: &mut Conn) -> Result<Vec<AgentRow>, Error> {
    let rows = tx.rows(
        concat!(
            "select ",
            columns!(),
            " from agent where enabled = 1 order by name"
        ),
        vec![],
    );
    read_all(&rows.await?)
}

/// The agents of a queue, by name.
pub(crate) async fn of_queue(tx: &mut Conn, queue: &str) -> Result<Vec<AgentRow>, Error> {
    let rows = tx.rows(
        concat!(
            "select ",
            columns!(),
            " from agent where enabled = 1
               and name in (select agent from agent_queue where queue = $1) order by name"
        ),
        args![queue],
    );
    read_all(&rows.await?)
}

/// Who is free on a node and may take a call, who is so longest first.
pub(crate) async fn free(
    tx: &mut Conn,
    node: &NodeId,
    wanted: &Wanted,
) -> Result<Vec<AgentRow>, Error> {
    let rows = tx.rows(
        concat!(
            "select ",
            columns!(),
            " from agent where enabled = 1 and state = 'available' and node = $1
               and name in (select agent from agent_queue where queue = $2)
               and ($3 = '' or name in (select agent from agent_skill where skill = $3))
             order by case when name = $4 then 0 else 1 end, since, name"
        ),
        args![
            node.as_str(),
            &wanted.queue,
            &wanted.skill,
            wanted.prefers.as_deref().unwrap_or_default(),
        ],
    );
    read_all(&rows.await?)
}

/// An agent by name.
pub(crate) async fn by_name(tx: &mut Conn, name: &str) -> Result<Option<AgentRow>, Error> {
    tx.row(
        concat!(
            "select ",
            columns!(),
            " from agent where name = $1 and enabled = 1"
        ),
        args![name],
    )
    .await?
    .map(|row| AgentRow::read(&row))
    .transpose()
}

/// Agents whose call or telephone was on a node that is dead.
pub(crate) async fn orphans(tx: &mut Conn) -> Result<Vec<AgentRow>, Error> {
    let rows = tx.rows(
        concat!(
            "select ",
            columns!(),
            " from agent where node in (select id from node where state = 'dead')"
        ),
        vec![],
    );
    read_all(&rows.await?)
}

/// Agents who are kept for a call that is over for everybody else: whoever looked after it is
/// gone. A call that has just ended is still looked after.
pub(crate) async fn stranded(tx: &mut Conn) -> Result<Vec<AgentRow>, Error> {
    let rows = tx.rows(
        concat!(
            "select ",
            columns!(),
            " from agent where state in ('ringing', 'talking') and since < {now} - 60000
               and not exists (select 1 from attempt where request_id = agent.serves and live = 1)
               and not exists (select 1 from request where id = agent.serves and open = 1
                 and state = 'leased')
               and not exists (select 1 from inbound where call_id = agent.serves and live = 1)"
        ),
        vec![],
    );
    read_all(&rows.await?)
}

/// Writes what became of an agent, if nobody did before: [`Error::Conflict`] if somebody did.
/// A state that holds on keeps its beginning.
pub(crate) async fn write(tx: &mut Conn, was: &AgentRow, is: &AgentRow) -> Result<(), Error> {
    let changed = tx
        .run(
            "update agent set state = $3, reason = $4, wanted = $5, missed = $6, until = $7,
               node = $8, serves = $9, since = case when state = $3 then since else {now} end
             where name = $1 and state = $2 and coalesce(serves, '') = $10",
            args![
                &was.name,
                was.agent.state.word(),
                is.agent.state.word(),
                is.agent.reason.map(Missed::word),
                is.agent.wanted.map(|wish| wish.state().word()),
                is.agent.missed,
                is.agent.until,
                is.node.as_ref().map(NodeId::as_str),
                is.serves.clone(),
                was.serves.clone().unwrap_or_default(),
            ],
        )
        .await?;
    match changed {
        0 => Err(Error::Conflict),
        _ => Ok(()),
    }
}

/// Notes who took a call.
pub(crate) async fn took(
    tx: &mut Conn,
    attempt: &helpline_core::id::AttemptId,
    agent: &str,
) -> Result<(), Error> {
    tx.run(
        "update attempt set agent = $2 where id = $1",
        args![attempt.as_str(), agent],
    )
    .await
    .map(|_| ())
}

/// Who has a skill.
pub(crate) async fn skilled(tx: &mut Conn, skill: &str) -> Result<Vec<String>, Error> {
    let rows = tx.rows(
        "select agent from agent_skill where skill = $1",
        args![skill],
    );
    rows.await?.iter().map(|row| row.text(0)).collect()
}
