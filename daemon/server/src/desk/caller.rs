//! Callers who wait in line on the telephone.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::NodeId;
use helpline_core::ivr::io::QueueView;
use helpline_core::time::Wall;

use super::agents::reserve;
use super::outlook::Seen;
use super::{Desk, StoreError};
use crate::config::{Agents, Mode};
use crate::store::{AgentRow, Conn, Wanted, agent, caller, claim, request, trunk};

/// Whether a caller got a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stood {
    /// This one.
    At(Wall),
    /// There is no such queue, nobody serves it now, or the call is not known.
    NoAgents,
    /// The line is as long as it may be.
    Full,
}

/// What a caller in line may expect now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// The help channel takes him; where people do, this one.
    Now(Option<Box<AgentRow>>),
    /// The line stands so.
    Waits(QueueView),
    /// He waits in no line any more.
    Gone,
}

/// A look at the line on behalf of one caller.
#[derive(Clone)]
struct Look {
    call_id: String,
    max_calls: u32,
    agents: Agents,
    node: NodeId,
    seen: Arc<Seen>,
}

impl Look {
    async fn turn(&self, tx: &mut Conn) -> Result<Turn, StoreError> {
        let Some((queue, place)) = caller::place_of(tx, &self.call_id).await? else {
            return Ok(Turn::Gone);
        };
        let now = tx.now().await?;
        let callers = caller::ahead(tx, &queue, place, &self.call_id).await?;
        let requests = request::before(tx, &queue, place).await?;
        let trunks = trunk::all(tx).await?;
        // Those who cannot be called just now must not hold him up.
        let can_call = trunks.iter().any(|t| t.room(now) > 0);
        let ahead = callers + if can_call { requests } else { 0 };
        let wanted = Wanted {
            queue: queue.clone(),
            ..Wanted::default()
        };
        let (places, free) = if self.agents.are_people() {
            let mut free = agent::free(tx, &self.node, &wanted).await?;
            if self.agents.mode == Mode::CustomerFirst {
                // Those who are called have to find somebody when they answer.
                let called = claim::unjoined(tx, &queue).await?;
                free.truncate(
                    free.len()
                        .saturating_sub(usize::try_from(called).unwrap_or(0)),
                );
            }
            let staff = agent::of_queue(tx, &queue).await?;
            if !staff.iter().any(|row| row.agent.state.is_at_work()) {
                return Ok(Turn::Gone);
            }
            (u32::try_from(free.len()).unwrap_or(u32::MAX), free)
        } else {
            let up = claim::up(tx, &queue).await?;
            (self.max_calls.saturating_sub(up), Vec::new())
        };
        if ahead < places {
            return Ok(Turn::Now(free.into_iter().next().map(Box::new)));
        }
        let ahead = callers + requests;
        let behind = caller::waiting(tx, &queue).await?;
        Ok(Turn::Waits(QueueView {
            position: Some(ahead + 1),
            waiting: Some(requests.saturating_add(behind)),
            agents: Some(self.seen.agents(self.max_calls)),
            ewt: self.seen.bound(ahead),
        }))
    }
}

impl Desk {
    /// Stands a caller in line.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn caller_stands(
        &self,
        call_id: &str,
        queue: &str,
        head_start: Duration,
    ) -> Result<Stood, StoreError> {
        let Some(config) = self.queue(queue) else {
            tracing::warn!(
                queue,
                "a flow sends a caller into a queue that does not exist"
            );
            return Ok(Stood::NoAgents);
        };
        if config.max_calls == 0 || !self.is_open(queue, self.clock.wall()) {
            return Ok(Stood::NoAgents);
        }
        if config.agents.are_people() {
            let wanted = Wanted {
                queue: queue.to_owned(),
                ..Wanted::default()
            };
            if !self.has_agents(&wanted).await? {
                return Ok(Stood::NoAgents);
            }
        }
        let (call_id, queue, most) = (call_id.to_owned(), queue.to_owned(), config.waiting_max);
        self.store
            .write(move |tx| {
                let (call_id, queue) = (call_id.clone(), queue.clone());
                Box::pin(async move {
                    let standing = request::standing(tx, &queue).await?;
                    if standing + caller::waiting(tx, &queue).await? >= most {
                        return Ok(Stood::Full);
                    }
                    let place = caller::stand(tx, &call_id, &queue, head_start).await?;
                    Ok(place.map_or(Stood::NoAgents, Stood::At))
                })
            })
            .await
    }

    /// Whether it is a caller's turn; if it is, he is served from now on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn caller_turn(&self, call_id: &str, queue: &str) -> Result<Turn, StoreError> {
        let Some(config) = self.queue(queue) else {
            return Ok(Turn::Gone);
        };
        let look = Look {
            call_id: call_id.to_owned(),
            max_calls: config.max_calls,
            agents: config.agents.clone(),
            node: self.node(),
            seen: self.outlook(queue).await,
        };
        let seen = look.clone();
        let turn = self.store.read(move |tx| {
            let look = seen.clone();
            Box::pin(async move { look.turn(tx).await })
        });
        match turn.await? {
            Turn::Now(_) => {}
            other => return Ok(other),
        }
        // The line may have moved since: what is written is decided in the same transaction.
        self.store
            .write(move |tx| {
                let look = look.clone();
                Box::pin(async move {
                    let mut turn = look.turn(tx).await?;
                    if let Turn::Now(free) = &mut turn {
                        caller::serve(tx, &look.call_id).await?;
                        if let Some(row) = free.take() {
                            *free = reserve(tx, &row, &look.call_id).await?.map(Box::new);
                        }
                    }
                    Ok(turn)
                })
            })
            .await
    }

    /// A caller gives his place up, or has been served.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn caller_leaves(&self, call_id: &str) -> Result<(), StoreError> {
        let call_id = call_id.to_owned();
        self.store
            .write(move |tx| {
                let call_id = call_id.clone();
                Box::pin(async move { caller::leave(tx, &call_id).await })
            })
            .await?;
        self.wake_line();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Config, Queue};
    use crate::desk::Origin;
    use crate::desk::stage::request;
    use crate::store::tests::{Bench, benches, trunk_config};

    async fn desk(bench: &Bench, queue: Queue) -> Desk {
        let mut config = Config::default();
        config.dial.allow = vec!["DE".into()];
        config.queue = vec![queue];
        config.trunk = vec![trunk_config("carrier", 100, 100.0)];
        let config = Arc::new(config);
        let (clock, calendars) = (bench.store.test_clock(), config.calendars());
        let desk = Desk::new(bench.store.clone(), config, calendars, clock, 1);
        desk.start().await.unwrap();
        desk
    }

    fn position(turn: Turn) -> Option<u32> {
        match turn {
            Turn::Waits(view) => view.position,
            Turn::Now(_) | Turn::Gone => None,
        }
    }

    #[tokio::test]
    async fn callers_and_call_backs_stand_in_one_line() {
        for bench in benches().await {
            let desk = desk(
                &bench,
                Queue {
                    max_calls: 1,
                    waiting_max: 4,
                    ..Queue::default()
                },
            )
            .await;
            let begins = async |id: &str| desk.caller_begins(id, None).await.unwrap();
            // Of one millisecond the order is nobody's business.
            let later = async || tokio::time::sleep(Duration::from_millis(2)).await;
            let stands = async |id: &str| {
                later().await;
                let stood = desk.caller_stands(id, "help", Duration::ZERO).await;
                stood.unwrap()
            };
            let turn = async |id: &str| desk.caller_turn(id, "help").await.unwrap();
            for id in ["a", "b", "c", "d"] {
                begins(id).await;
            }
            let nobody = desk.caller_stands("a", "nowhere", Duration::ZERO).await;
            assert_eq!(nobody.unwrap(), Stood::NoAgents);
            assert_eq!(stands("unknown").await, Stood::NoAgents);

            // The first one is served, a request and two callers wait in their order.
            assert!(matches!(stands("a").await, Stood::At(_)), "{}", bench.name);
            assert_eq!(turn("a").await, Turn::Now(None));
            later().await;
            let accepted = desk.accept(request(1), Origin::default()).await.unwrap();
            assert_eq!(accepted.position, Some(1));
            assert!(matches!(stands("b").await, Stood::At(_)));
            assert_eq!(position(turn("b").await), Some(2));
            assert!(matches!(stands("c").await, Stood::At(_)));
            assert_eq!(position(turn("c").await), Some(3));
            later().await;
            let accepted = desk.accept(request(2), Origin::default()).await.unwrap();
            assert_eq!(accepted.position, Some(4), "callers come before it");
            assert_eq!(stands("d").await, Stood::Full);
            let Turn::Waits(view) = turn("b").await else {
                panic!("it is not his turn");
            };
            assert!(view.ewt.is_some_and(|ewt| ewt > Duration::ZERO), "{view:?}");
            assert_eq!(view.agents, Some(1));

            // Nobody overtakes: the request is first, and the dialler takes it alone.
            assert!(desk.take("help").await.unwrap().claimed.is_empty());
            desk.caller_ends("a").await.unwrap();
            assert_eq!(position(turn("b").await), Some(2));
            let claimed = desk.take("help").await.unwrap().claimed;
            assert_eq!(claimed.len(), 1, "{}", bench.name);
            assert_eq!(position(turn("b").await), Some(1));
            desk.give_back(&claimed[0]).await.unwrap();
            desk.caller_leaves("b").await.unwrap();
            assert_eq!(turn("b").await, Turn::Gone);
            assert_eq!(position(turn("c").await), Some(2));
        }
    }

    #[tokio::test]
    async fn the_dialler_leaves_each_caller_his_turn() {
        for bench in benches().await {
            let desk = desk(
                &bench,
                Queue {
                    max_calls: 3,
                    ..Queue::default()
                },
            )
            .await;
            desk.caller_begins("a", None).await.unwrap();
            desk.accept(request(1), Origin::default()).await.unwrap();
            let head_start = Duration::ZERO;
            let stood = desk.caller_stands("a", "help", head_start).await.unwrap();
            assert!(matches!(stood, Stood::At(_)));
            for n in 2..6 {
                desk.accept(request(n), Origin::default()).await.unwrap();
            }
            // Three places: one for the request before the caller, one for him, one more.
            let claimed = desk.take("help").await.unwrap().claimed;
            let first = claimed.first().map(|c| c.row.number.as_str().to_owned());
            assert_eq!((claimed.len(), first), (2, Some("+49301230001".into())));
            assert_eq!(
                desk.caller_turn("a", "help").await.unwrap(),
                Turn::Now(None)
            );
        }
    }
}
