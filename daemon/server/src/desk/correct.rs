//! Promises while they wait: one that turns out to mislead is corrected by one mail, and
//! whoever was promised a time that has passed moves forward once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::RequestId;
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::order::MISSED_PROMISE_BOOST;
use helpline_core::time::Wall;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::letter::Letter;
use super::{Desk, StoreError, locked};
use crate::store::{RequestRow, promise};

/// So often the promises of a line are held against what is expected now.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A promise misleads for so long before anybody is told: one look may be off.
const DOUBTED_FOR: Duration = Duration::from_secs(60);

/// Requests whose promise was seen to mislead, and since when.
pub(super) type Doubts = BTreeMap<RequestId, Wall>;

/// A promise to be corrected.
#[derive(Clone, Debug)]
struct Correction {
    row: RequestRow,
    position: u32,
    promise: Promise,
}

impl Desk {
    /// Looks after the promises of every line until `end`. A store that is away is asked
    /// again later.
    pub(crate) async fn keep_promises(self: Arc<Self>, end: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = looks.tick() => {}
            }
            if let Err(error) = self.look_at_promises().await {
                tracing::debug!(%error, "promises are looked at later");
            }
        }
    }

    /// Looks at the promises of every line now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn look_at_promises(&self) -> Result<(), StoreError> {
        for queue in &self.config.queue {
            self.forward_the_missed(&queue.name).await?;
            for correction in self.misleading(&queue.name).await? {
                self.correct(&queue.name, correction).await?;
            }
        }
        Ok(())
    }

    async fn forward_the_missed(&self, queue: &str) -> Result<(), StoreError> {
        let name = queue.to_owned();
        let moved = self.store.write(move |tx| {
            let name = name.clone();
            Box::pin(async move { promise::forward(tx, &name, MISSED_PROMISE_BOOST).await })
        });
        let moved = moved.await?;
        if moved > 0 {
            tracing::warn!(queue, requests = moved, "promised times have passed");
            self.wake_line();
        }
        Ok(())
    }

    /// Promises that have misled long enough.
    async fn misleading(&self, queue: &str) -> Result<Vec<Correction>, StoreError> {
        let seen = self.outlook(queue).await;
        let name = queue.to_owned();
        let look = self.store.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { Ok((promise::told(tx, &name).await?, tx.now().await?)) })
        });
        let (told, now) = look.await?;
        let mut corrections = Vec::new();
        let mut doubts = locked(&self.doubts);
        let doubts = doubts.entry(queue.to_owned()).or_default();
        let mut still = Doubts::new();
        for (row, ahead) in told {
            let misleads = row.promise.as_ref().zip(seen.place(ahead, &row.skill));
            if !misleads.is_some_and(|(promise, place)| promise.misleads(&place, now)) {
                continue;
            }
            let since = doubts.get(&row.id).copied().unwrap_or(now);
            still.insert(row.id.clone(), since);
            if now.since(since) >= DOUBTED_FOR {
                let zone = self.zone_of(row.zone.as_deref());
                corrections.push(Correction {
                    position: ahead + 1,
                    promise: seen.promise((ahead, &row.skill), now, zone).0,
                    row,
                });
            }
        }
        *doubts = still;
        Ok(corrections)
    }

    async fn correct(&self, queue: &str, correction: Correction) -> Result<(), StoreError> {
        let letters = self.letters(queue);
        let done = self.store.write(move |tx| {
            let (letters, correction) = (letters.clone(), correction.clone());
            Box::pin(async move {
                if !promise::corrected(tx, &correction.row.id).await? {
                    return Ok(false);
                }
                let letter = Letter {
                    kind: "changed",
                    position: Some(correction.position),
                    promise: Some(correction.promise),
                    ..Letter::default()
                };
                letters.about(tx, &correction.row, &letter).await?;
                Ok(true)
            })
        });
        if done.await? {
            let mut records = locked(&self.records);
            records.entry(queue.to_owned()).or_default().corrections += 1;
            drop(records);
            self.wake_mail();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::stage::{Stage, config, request};
    use crate::desk::{AckTo, Origin};

    async fn mails(stage: &Stage) -> Vec<[String; 1]> {
        stage
            .rows("select to_addr from outbox where kind = 'changed'")
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_that_passed_is_corrected_by_one_mail_and_moves_its_request_forward() {
        let stage = Stage::new(config()).await;
        let desk = &stage.desk;
        for n in 1..=2 {
            let ack = Some(AckTo {
                address: format!("c{n}@cust.test"),
                ..AckTo::default()
            });
            let origin = Origin {
                ack,
                ..Origin::default()
            };
            desk.accept(request(n), origin).await.unwrap();
        }
        let places = "select cast(accepted_at - place_at as text) from request order by id";
        desk.look_at_promises().await.unwrap();
        assert!(mails(&stage).await.is_empty());
        // Nobody is called, the whole hour.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        desk.look_at_promises().await.unwrap();
        assert!(mails(&stage).await.is_empty(), "one look may be off");
        assert_eq!(stage.rows::<1>(places).await, [["600000"], ["600000"]]);
        for _ in 0..3 {
            tokio::time::sleep(DOUBTED_FOR).await;
            desk.look_at_promises().await.unwrap();
            assert_eq!(mails(&stage).await, [["c1@cust.test"], ["c2@cust.test"]]);
        }
        assert_eq!(stage.rows::<1>(places).await, [["600000"], ["600000"]]);
        assert_eq!(desk.records()["help"].corrections, 2);
        let promise = "select promise_json from request where missed = 1 and corrected = 1";
        assert_eq!(
            stage.rows::<1>(promise).await.len(),
            2,
            "it stays in the row"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_that_holds_and_a_request_that_is_over_are_left_alone() {
        let stage = Stage::new(config()).await;
        let desk = &stage.desk;
        let accepted = desk.accept(request(1), Origin::default()).await.unwrap();
        desk.cancel(&accepted.token).await.unwrap();
        desk.accept(request(2), Origin::default()).await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(DOUBTED_FOR).await;
            desk.look_at_promises().await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        desk.look_at_promises().await.unwrap();
        let touched = "select state from request where missed = 1 or corrected = 1";
        assert_eq!(stage.rows::<1>(touched).await, [["waiting"]]);
    }
}
