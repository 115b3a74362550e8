//! What the operator does with requests and numbers by hand.

use std::time::Duration;

use helpline_core::id::RequestId;
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::{Event, State, step};

use super::accept::follow_up;
use super::letter::AllLetters;
use super::{Desk, StoreError};
use crate::store::{Conn, RequestRow, Suppression, limit, request};

/// What became of an order of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is durable; the request's state now.
    Done(State),
    /// The request is in a state in which the order means nothing.
    Meaningless(State),
    /// No request has this id.
    NotFound,
}

impl Desk {
    /// Withdraws a request; a call in progress for it is ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn withdraw(&self, id: &RequestId) -> Result<Ordered, StoreError> {
        self.order_by_hand(id, Event::Cancelled, "cancelled").await
    }

    /// Lets a request that waits for a time, or is held, be called as soon as its turn comes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn hasten(&self, id: &RequestId) -> Result<Ordered, StoreError> {
        self.order_by_hand(id, Event::Hastened, "hastened").await
    }

    async fn order_by_hand(
        &self,
        id: &RequestId,
        event: Event,
        reason: &'static str,
    ) -> Result<Ordered, StoreError> {
        let letters = self.all_letters();
        let id = id.clone();
        let done = self.store.write(move |tx| {
            let (id, event, letters) = (id.clone(), event.clone(), letters.clone());
            Box::pin(async move {
                let Some(row) = request::by_id(tx, &id).await? else {
                    return Ok((Ordered::NotFound, None));
                };
                let done = advance(tx, &letters, &row, &event, reason).await?;
                Ok(match done {
                    Some((state, hang_up)) => (Ordered::Done(state), hang_up),
                    None => (Ordered::Meaningless(row.state), None),
                })
            })
        });
        let (answer, hang_up) = done.await?;
        self.end_calls(hang_up);
        Ok(answer)
    }

    /// Puts a number on the do-not-call list, for ever or for a time, and takes its open
    /// requests out of every line; how many those were.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn block(
        &self,
        number: &PhoneNumber,
        period: Option<Duration>,
    ) -> Result<usize, StoreError> {
        let number = number.clone();
        let letters = self.all_letters();
        let done = self.store.write(move |tx| {
            let (number, letters) = (number.clone(), letters.clone());
            Box::pin(async move {
                let reason = "staff";
                limit::suppress(tx, &number, Suppression { period, reason }).await?;
                let open = request::all_open_of(tx, &number).await?;
                let mut hang_up = Vec::new();
                for row in &open {
                    let done = advance(tx, &letters, row, &Event::DoNotCall, "do_not_call");
                    hang_up.extend(done.await?.and_then(|(_, hang_up)| hang_up));
                }
                Ok((open.len(), hang_up))
            })
        });
        let (ended, hang_up) = done.await?;
        self.end_calls(hang_up);
        Ok(ended)
    }

    /// Somebody who phoned in has talked to an agent: nothing else is open for the number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat.
    pub(crate) async fn talked_inbound(&self, number: &PhoneNumber) -> Result<(), StoreError> {
        let (number, letters) = (number.clone(), self.all_letters());
        let done = self.store.write(move |tx| {
            let (number, letters) = (number.clone(), letters.clone());
            Box::pin(async move {
                let mut hang_up = Vec::new();
                for row in request::all_open_of(tx, &number).await? {
                    let event = Event::TalkedInbound;
                    let done = advance(tx, &letters, &row, &event, "talked");
                    hang_up.extend(done.await?.and_then(|(_, hang_up)| hang_up));
                }
                Ok(hang_up)
            })
        });
        let hang_up = done.await?;
        self.end_calls(hang_up);
        Ok(())
    }

    /// Takes a number off the do-not-call list; false if it was not on it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unblock(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        let number = number.clone();
        self.store
            .write(move |tx| {
                let number = number.clone();
                Box::pin(async move { limit::lift(tx, &number).await })
            })
            .await
    }

    /// Ends the live calls of requests that were taken out of the line.
    pub(super) fn end_calls(&self, requests: impl IntoIterator<Item = RequestId>) {
        for id in requests {
            // Nobody listens when no call of this daemon is on.
            let _ = self.cancelled.send(id);
        }
        self.wake_line();
        self.wake_mail();
    }
}

/// A step of the life cycle that somebody orders; the state, and the request if a live call of
/// it has to be ended. `None`: the order means nothing now.
pub(super) async fn advance(
    tx: &mut Conn,
    letters: &AllLetters,
    row: &RequestRow,
    event: &Event,
    reason: &'static str,
) -> Result<Option<(State, Option<RequestId>)>, StoreError> {
    let now = tx.now().await?;
    let (state, effects) = step(&row.facts(), event, now);
    if state == row.state {
        return Ok(None);
    }
    request::apply(tx, row, state, &effects).await?;
    let letters = letters.of(&row.queue);
    follow_up(tx, letters, row, state, &effects, reason).await?;
    Ok(Some((state, effects.hang_up.then(|| row.id.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::stage::{Stage, config, request};
    use crate::desk::{AcceptError, Origin};

    #[tokio::test(start_paused = true)]
    async fn a_number_is_blocked_for_a_time_or_for_ever_and_let_in_again() {
        let stage = Stage::new(config()).await;
        let desk = &stage.desk;
        let number = request(1).number;
        let ask = async || desk.accept(request(1), Origin::default()).await;
        let accepted = ask().await.unwrap();
        let day = Duration::from_secs(86_400);
        assert_eq!(desk.block(&number, Some(day)).await.unwrap(), 1);
        let status = desk.status(&accepted.token).await.unwrap().unwrap();
        assert_eq!(status.state, "suppressed");
        assert_eq!(ask().await, Err(AcceptError::NotAllowed));
        assert_eq!(desk.block(&number, None).await.unwrap(), 0);
        tokio::time::sleep(2 * day).await;
        assert_eq!(ask().await, Err(AcceptError::NotAllowed), "for ever");
        // A shorter entry does not replace a longer one.
        assert_eq!(desk.block(&number, Some(day)).await.unwrap(), 0);
        tokio::time::sleep(2 * day).await;
        assert_eq!(ask().await, Err(AcceptError::NotAllowed));
        assert!(desk.unblock(&number).await.unwrap());
        assert!(!desk.unblock(&number).await.unwrap());
        assert!(ask().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_withdrawn_and_hastened_by_their_id() {
        let stage = Stage::new(config()).await;
        let desk = &stage.desk;
        let first = desk.accept(request(1), Origin::default()).await.unwrap();
        let waits = Ordered::Meaningless(State::Waiting);
        assert_eq!(desk.hasten(&first.id).await.unwrap(), waits);
        stage
            .run(
                "update request set state = 'backoff', not_before = not_before + 3600000
                 where id = $1",
                &[first.id.as_str()],
            )
            .await;
        let done = Ordered::Done(State::Waiting);
        assert_eq!(desk.hasten(&first.id).await.unwrap(), done);
        assert!(!desk.take("help").await.unwrap().claimed.is_empty());
        let cancelled = Ordered::Done(State::Cancelled);
        assert_eq!(desk.withdraw(&first.id).await.unwrap(), cancelled);
        let over = Ordered::Meaningless(State::Cancelled);
        assert_eq!(desk.withdraw(&first.id).await.unwrap(), over);
        assert_eq!(desk.hasten(&first.id).await.unwrap(), over);
        let nobody = RequestId::from_text("nobody");
        assert_eq!(desk.withdraw(&nobody).await.unwrap(), Ordered::NotFound);
    }
}
