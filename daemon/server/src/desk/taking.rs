//! Which requests are called now: as many as the help channel has places for, or agents.

use helpline_core::id::NodeId;
use helpline_core::queue::pacing;
use helpline_core::time::Wall;

use super::agents::reserve;
use super::line::RESERVE_AHEAD;
use super::{Desk, StoreError};
use crate::config::{Agents, Mode};
use crate::store::claim::Which;
use crate::store::{AgentRow, Claimed, Conn, Wanted, agent, caller, claim, request, trunk};

/// Requests taken for calling.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// In the order of the line.
    pub(crate) claimed: Vec<Claimed>,
    /// When a trunk has room again, if that is what is missing.
    pub(crate) next: Option<Wall>,
}

/// A look at a queue for what may be called.
#[derive(Clone)]
struct Taking {
    queue: String,
    node: NodeId,
    node_max: u32,
    max_calls: u32,
    agents: Agents,
    /// Busy agents who will surely be free when a customer answers who is called now.
    soon: u32,
}

impl Desk {
    /// Takes what may be called now from a queue.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn take(&self, queue: &str) -> Result<Room, StoreError> {
        let Some(config) = self.queue(queue) else {
            return Ok(Room::default());
        };
        let soon = match config.agents.mode {
            Mode::CustomerFirst => self.outlook(queue).await.soon(),
            Mode::Ivr | Mode::Reserved | Mode::AgentFirst => 0,
        };
        let taking = Taking {
            queue: queue.to_owned(),
            node: self.node(),
            node_max: u32::try_from(self.config.voice.max_calls).unwrap_or(u32::MAX),
            max_calls: config.max_calls,
            agents: config.agents.clone(),
            soon,
        };
        self.store
            .write(move |tx| {
                let taking = taking.clone();
                Box::pin(async move { taking.take(tx).await })
            })
            .await
    }
}

impl Taking {
    async fn take(&self, tx: &mut Conn) -> Result<Room, StoreError> {
        let wanted = Wanted {
            queue: self.queue.clone(),
            ..Wanted::default()
        };
        let (places, up, free) = match self.agents.mode {
            Mode::Ivr => {
                let up = claim::up(tx, &self.queue).await?;
                (self.max_calls, up, Vec::new())
            }
            Mode::Reserved | Mode::AgentFirst => {
                let free = agent::free(tx, &self.node, &wanted).await?;
                let staff = agent::of_queue(tx, &self.queue).await?;
                let at_work = count(
                    staff
                        .iter()
                        .filter(|row| row.agent.state.is_at_work())
                        .count(),
                );
                (at_work, at_work.saturating_sub(count(free.len())), free)
            }
            Mode::CustomerFirst => {
                let free = count(agent::free(tx, &self.node, &wanted).await?.len());
                let ringing = claim::unjoined(tx, &self.queue).await?;
                (free + self.soon, ringing, Vec::new())
            }
        };
        let (start, next) = self.start(tx, places, up).await?;
        let claimed = match self.agents.mode {
            Mode::Ivr | Mode::CustomerFirst => self.for_places(tx, start).await?,
            Mode::Reserved | Mode::AgentFirst => self.for_agents(tx, start, free).await?,
        };
        Ok(Room { claimed, next })
    }

    /// How many calls may be started, and when more may be if the trunks are in the way.
    async fn start(
        &self,
        tx: &mut Conn,
        places: u32,
        up: u32,
    ) -> Result<(pacing::Start, Option<Wall>), StoreError> {
        let now = tx.now().await?;
        let trunks = trunk::all(tx).await?;
        let free = trunks
            .iter()
            .map(|t| t.room(now))
            .fold(0, u32::saturating_add);
        let on_node = claim::up_on(tx, &self.node).await?;
        let start = pacing::start(&pacing::View {
            max_calls: places,
            up,
            bookings_soon: request::bookings_until(tx, &self.queue, now + RESERVE_AHEAD).await?,
            free_channels: free,
            node_room: self.node_max.saturating_sub(on_node),
        });
        let next = match free {
            0 => trunks.iter().filter_map(|t| t.next_room(now)).min(),
            _ => None,
        };
        Ok((start, next))
    }

    fn which(&self) -> Which<'_> {
        Which {
            queue: &self.queue,
            booked: false,
            before: None,
            agent: None,
        }
    }

    /// Whoever takes them, one is as good as another.
    async fn for_places(
        &self,
        tx: &mut Conn,
        start: pacing::Start,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut claimed = Vec::new();
        if start.bookings > start.anyone {
            let booked = Which {
                booked: true,
                ..self.which()
            };
            claimed = claim::claim(tx, &self.node, booked, start.bookings).await?;
        }
        let taken = count(claimed.len());
        let rest = start.anyone.min(start.bookings.saturating_sub(taken));
        claimed.extend(self.among_callers(tx, rest).await?);
        Ok(claimed)
    }

    /// Takes requests for so many places of the help channel; each caller who waits before
    /// them has one.
    async fn among_callers(
        &self,
        tx: &mut Conn,
        mut rest: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut claimed = Vec::new();
        for place in caller::places(tx, &self.queue, rest).await? {
            let before = Which {
                before: Some(place),
                ..self.which()
            };
            let more = claim::claim(tx, &self.node, before, rest).await?;
            rest = rest.saturating_sub(count(more.len()));
            claimed.extend(more);
            if rest == 0 {
                return Ok(claimed);
            }
            rest -= 1;
        }
        if rest > 0 {
            claimed.extend(claim::claim(tx, &self.node, self.which(), rest).await?);
        }
        Ok(claimed)
    }

    /// Each agent, who is free longest first, takes the first request that he may; where a
    /// caller stands before it, he is left to the caller.
    async fn for_agents(
        &self,
        tx: &mut Conn,
        start: pacing::Start,
        free: Vec<AgentRow>,
    ) -> Result<Vec<Claimed>, StoreError> {
        let many = count(free.len()).min(start.bookings);
        claim::hold_for_preferred(tx, &self.queue, many, self.agents.prefer.0).await?;
        let mut callers = caller::places(tx, &self.queue, many).await?.into_iter();
        let mut before = callers.next();
        let mut claimed = Vec::new();
        for (nth, row) in (0..many).zip(&free) {
            let which = Which {
                booked: nth >= start.anyone,
                before,
                agent: Some(&row.name),
                ..self.which()
            };
            let Some(mut request) = claim::claim(tx, &self.node, which, 1).await?.pop() else {
                before = before.and_then(|_| callers.next());
                continue;
            };
            let id = request.row.id.as_str();
            request.agent = reserve(tx, row, id).await?;
            claimed.push(request);
        }
        Ok(claimed)
    }
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}
