//! How the lines stand, for flows that look at them before they join one.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::ivr::io::{QueueFacts, Queues};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Desk, StoreError};
use crate::config::Queue;
use crate::store::{caller, request};

/// So often the lines are looked at while a flow wants to know.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Desk {
    /// How the lines stood at the last look.
    #[must_use]
    pub fn queues(&self) -> Arc<Queues> {
        self.board.load_full()
    }

    /// Looks at the lines until `end`, while `wanted`. A store that is away leaves what was
    /// seen last.
    pub(crate) async fn keep_board(
        self: Arc<Self>,
        wanted: impl Fn() -> bool,
        end: CancellationToken,
    ) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = looks.tick(), if wanted() => {}
            }
            if let Err(error) = self.look_at_lines().await {
                tracing::debug!(%error, "flows see the lines as they stood before");
            }
        }
    }

    /// Looks at every line now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn look_at_lines(&self) -> Result<(), StoreError> {
        let mut queues = Queues::new();
        for queue in &self.config.queue {
            queues.insert(queue.name.clone(), self.line_facts(queue).await?);
        }
        self.board.store(Arc::new(queues));
        Ok(())
    }

    async fn line_facts(&self, queue: &Queue) -> Result<QueueFacts, StoreError> {
        let open = self.is_open(&queue.name, self.clock.wall());
        let name = queue.name.clone();
        let waiting = self.store.read(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let requests = request::standing(tx, &name).await?;
                Ok(requests.saturating_add(caller::waiting(tx, &name).await?))
            })
        });
        let waiting = waiting.await?;
        let seen = self.outlook(&queue.name).await;
        Ok(QueueFacts {
            waiting,
            agents: seen.agents(queue.max_calls),
            ewt: seen.bound(waiting),
            open,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::stage::{Stage, config};

    #[tokio::test]
    async fn the_lines_are_seen_as_they_stand_and_stay_when_the_store_is_away() {
        let stage = Stage::new(config()).await;
        assert!(stage.desk.queues().is_empty());
        stage.desk.look_at_lines().await.unwrap();
        let help = stage.desk.queues()["help"];
        assert_eq!((help.waiting, help.agents, help.open), (0, 1, true));
        stage.desk.caller_begins("a", None).await.unwrap();
        let stood = stage.desk.caller_stands("a", "help", Duration::ZERO);
        stood.await.unwrap();
        stage.desk.look_at_lines().await.unwrap();
        let help = stage.desk.queues()["help"];
        assert_eq!(help.waiting, 1);
        assert!(help.ewt.is_some_and(|ewt| ewt > Duration::ZERO), "{help:?}");
        stage.lose_the_store();
        assert!(stage.desk.look_at_lines().await.is_err());
        assert_eq!(stage.desk.queues()["help"], help);
    }
}
