//! Agents: what happens to them, who takes a call, and whose telephone is where.

use std::collections::BTreeSet;

use helpline_core::agent::{Event, MISSED_MAX, Phone, Sight, State, Wish, step};
use helpline_core::id::NodeId;
use helpline_core::time::Wall;
use serde::Serialize;

use super::{Desk, StoreError};
use crate::store::{AgentRow, Conn, Wanted, agent};

/// An agent as the operator sees one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentView {
    /// The name.
    pub name: String,
    /// Word of the state.
    pub state: &'static str,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why the agent takes no calls, if that was not the agent's choice.
    pub reason: Option<&'static str>,
    /// What comes after the call.
    pub wanted: Option<&'static str>,
    /// Telephone, and whether it is registered anywhere.
    pub phone: String,
    /// Whether it is registered.
    pub registered: bool,
    /// Queues whose calls the agent takes.
    pub queues: Vec<String>,
    /// What the agent knows.
    pub skills: Vec<String>,
}

/// What became of an order for an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentOrdered {
    /// The state now; what was asked for in a call comes after it.
    Done(State),
    /// Nobody can take calls whose telephone is not registered.
    NoPhone,
    /// There is no such agent.
    NotFound,
}

impl Desk {
    /// Something happened to an agent. `serves`: only if he serves that; his later calls are
    /// none of its business. What means nothing changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat.
    pub(crate) async fn agent(
        &self,
        name: &str,
        serves: &str,
        event: Event,
    ) -> Result<(), StoreError> {
        let (name, serves) = (name.to_owned(), serves.to_owned());
        let done = self.store.write(move |tx| {
            let (name, serves) = (name.clone(), serves.clone());
            Box::pin(async move {
                let row = agent::by_name(tx, &name).await?;
                match row.filter(|row| row.serves.as_ref() == Some(&serves)) {
                    Some(row) => happen(tx, &row, event).await,
                    None => Ok(None),
                }
            })
        });
        if let Some(row) = done.await? {
            self.note_agent(&row);
        }
        Ok(())
    }

    /// Keeps who is free longest for a request or a caller.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn next_agent(
        &self,
        wanted: &Wanted,
        serves: &str,
    ) -> Result<Option<AgentRow>, StoreError> {
        let (wanted, serves, node) = (wanted.clone(), serves.to_owned(), self.node());
        self.store
            .write(move |tx| {
                let (wanted, serves, node) = (wanted.clone(), serves.clone(), node.clone());
                Box::pin(async move {
                    match agent::free(tx, &node, &wanted).await?.first() {
                        Some(row) => reserve(tx, row, &serves).await,
                        None => Ok(None),
                    }
                })
            })
            .await
    }

    /// Whether anybody who could take such a call is at work.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn has_agents(&self, wanted: &Wanted) -> Result<bool, StoreError> {
        let wanted = wanted.clone();
        self.store
            .read(move |tx| {
                let wanted = wanted.clone();
                Box::pin(async move {
                    let staff = agent::of_queue(tx, &wanted.queue).await?;
                    let skilled = agent::skilled(tx, &wanted.skill).await?;
                    let can =
                        |row: &AgentRow| wanted.skill.is_empty() || skilled.contains(&row.name);
                    Ok(staff
                        .iter()
                        .any(|row| row.agent.state.is_at_work() && can(row)))
                })
            })
            .await
    }

    /// Every agent, by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn agents(&self) -> Result<Vec<AgentView>, StoreError> {
        let rows = self.store.read(|tx| Box::pin(agent::all(tx))).await?;
        let view = |row: AgentRow| {
            let config = self.config.agent.iter().find(|a| a.name == row.name)?;
            let queues = self
                .config
                .queue
                .iter()
                .filter(|queue| config.serves(&queue.name));
            Some(AgentView {
                state: row.agent.state.word(),
                since: row.since.rfc3339(),
                reason: row.agent.reason.map(helpline_core::agent::Missed::word),
                wanted: row.agent.wanted.map(|wish| wish.state().word()),
                registered: row.node.is_some(),
                queues: queues.map(|queue| queue.name.clone()).collect(),
                skills: config.skills.clone(),
                name: row.name,
                phone: row.phone,
            })
        };
        Ok(rows.into_iter().filter_map(view).collect())
    }

    /// An agent, or somebody for him, asks for a state.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn set_agent(&self, name: &str, wish: Wish) -> Result<AgentOrdered, StoreError> {
        let name = name.to_owned();
        let done = self.store.write(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let Some(row) = agent::by_name(tx, &name).await? else {
                    return Ok(Err(AgentOrdered::NotFound));
                };
                if wish == Wish::Available && row.node.is_none() {
                    return Ok(Err(AgentOrdered::NoPhone));
                }
                let now = happen(tx, &row, Event::Asked(wish)).await?;
                Ok(Ok(now.unwrap_or(row)))
            })
        });
        Ok(match done.await? {
            Ok(row) => {
                self.note_agent(&row);
                AgentOrdered::Done(row.agent.state)
            }
            Err(why) => why,
        })
    }

    /// Telephones that are registered here, and those that were and are gone for good. States
    /// that end by themselves end.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat.
    pub(crate) async fn phones_seen(
        &self,
        here: &BTreeSet<String>,
        gone: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let (now, node) = (self.clock.wall(), self.node());
        let rows = self.store.read(|tx| Box::pin(agent::all(tx))).await?;
        for row in rows {
            let phone = Phone {
                was_here: row.node.as_ref() == Some(&node),
                is_here: here.contains(&row.phone),
                is_gone: gone.contains(&row.phone),
            };
            let Some(sight) = Sight::of(&row.agent, row.since, phone, now) else {
                continue;
            };
            let (node, name) = (node.clone(), row.name);
            let done = self.store.write(move |tx| {
                let (node, name) = (node.clone(), name.clone());
                Box::pin(async move { see(tx, &name, sight, node).await })
            });
            if let Some(row) = done.await? {
                self.note_agent(&row);
            }
        }
        Ok(())
    }

    /// A state changed: the log tells, and somebody may be called now.
    fn note_agent(&self, row: &AgentRow) {
        let state = row.agent.state.word();
        if row.agent.missed >= MISSED_MAX && row.agent.reason.is_some() {
            let missed = row.agent.missed;
            tracing::warn!(agent = row.name, missed, "an agent does not take calls");
        }
        tracing::info!(agent = row.name, state, "an agent's state");
        self.wake_line();
    }
}

/// Writes what was seen of an agent's telephone, and what becomes of the agent.
async fn see(
    tx: &mut Conn,
    name: &str,
    sight: Sight,
    node: NodeId,
) -> Result<Option<AgentRow>, StoreError> {
    let Some(mut row) = agent::by_name(tx, name).await? else {
        return Ok(None);
    };
    if matches!(sight, Sight::Comes | Sight::Goes) {
        let moved = AgentRow {
            node: (sight == Sight::Comes).then_some(node),
            ..row.clone()
        };
        agent::write(tx, &row, &moved).await?;
        row = moved;
    }
    happen(tx, &row, sight.event()).await
}

/// What becomes of an agent; nothing if the event means nothing now.
async fn happen(
    tx: &mut Conn,
    row: &AgentRow,
    event: Event,
) -> Result<Option<AgentRow>, StoreError> {
    let now = tx.now().await?;
    let Some(next) = step(&row.agent, event, now) else {
        return Ok(None);
    };
    let is = AgentRow {
        serves: row.serves.clone().filter(|_| next.state.is_busy()),
        agent: next,
        ..row.clone()
    };
    agent::write(tx, row, &is).await?;
    Ok(Some(is))
}

/// Keeps a free agent for a request or a caller.
pub(super) async fn reserve(
    tx: &mut Conn,
    row: &AgentRow,
    serves: &str,
) -> Result<Option<AgentRow>, StoreError> {
    let Some(next) = step(&row.agent, Event::Offered, Wall::default()) else {
        return Ok(None);
    };
    let is = AgentRow {
        serves: Some(serves.to_owned()),
        agent: next,
        ..row.clone()
    };
    agent::write(tx, row, &is).await?;
    Ok(Some(is))
}

/// Agents whose daemon died: their calls are over, and their telephones have to come back. Those
/// whose call nobody looks after are free.
pub(super) async fn leave_nobody_behind(tx: &mut Conn) -> Result<(), StoreError> {
    for row in agent::orphans(tx).await? {
        let mut lost = row.clone();
        lost.node = None;
        lost.serves = None;
        let now = tx.now().await?;
        if let Some(next) = step(&row.agent, Event::PhoneLost, now) {
            lost.agent = next;
        }
        agent::write(tx, &row, &lost).await?;
    }
    for row in agent::stranded(tx).await? {
        tracing::warn!(agent = row.name, "an agent was left behind in a call");
        happen(tx, &row, Event::Gone).await?;
    }
    Ok(())
}
