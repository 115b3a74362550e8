//! Times that customers choose: checked, given a place in their quarter of an hour, and moved.

use helpline_core::calendar::Calendar;
use helpline_core::queue::booking::{Asked, Hours, Slot, Times};
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::{Event, step};
use helpline_core::request::When;
use helpline_core::time::Wall;

use super::letter::{AllLetters, Letter};
use super::status::{find, may_change};
use super::{Desk, StoreError};
use crate::config::Queue;
use crate::store::{Conn, RequestRow, promise, request, slot};

/// Slots looked through for a free one: a day.
const LOOKED_MAX: u32 = 96;

/// When calls of a queue may be booked, by its name.
#[derive(Clone, Debug)]
pub(super) struct Bookings {
    queue: String,
    pub(super) hours: Hours,
}

/// What became of the wish for another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The call is booked for this time.
    Done(Wall),
    /// It cannot be called then; a sentence says why.
    BadTime(String),
    /// The request is over, or its call is on.
    TooLate,
    /// No request has this secret.
    NotFound,
}

impl Desk {
    pub(super) fn bookings(&self, queue: &Queue) -> Bookings {
        let calendar = self.calendars.get(&queue.name).cloned();
        let calendar = calendar.unwrap_or_else(Calendar::always);
        Bookings {
            queue: queue.name.clone(),
            hours: Hours::new(calendar, self.config.places(queue), queue.mean_handling.0),
        }
    }

    /// Books the call of a request, found by the secret of its status page, for another time.
    /// Its place in the line is kept; the customer gets a mail with the new time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reschedule(&self, token: &str, at: Wall) -> Result<Moved, StoreError> {
        let queues = self.config.queue.iter();
        let bookings: Vec<Bookings> = queues.map(|queue| self.bookings(queue)).collect();
        let (secret, letters) = (token.to_owned(), self.all_letters());
        let zone = self.config.site.zone.clone();
        let done = self.store.write(move |tx| {
            let (secret, letters) = (secret.clone(), letters.clone());
            let (bookings, zone) = (bookings.clone(), zone.clone());
            Box::pin(async move {
                let Some((own, row)) = find(tx, &secret).await? else {
                    return Ok(Moved::NotFound);
                };
                let bookings = bookings.iter().find(|b| b.queue == row.queue);
                match bookings.filter(|_| may_change(&own, &row)) {
                    Some(bookings) => move_to(tx, &row, at, (bookings, &zone), &letters).await,
                    None => Ok(Moved::TooLate),
                }
            })
        });
        let moved = done.await?;
        if matches!(moved, Moved::Done(_)) {
            self.wake_line();
            self.wake_mail();
        }
        Ok(moved)
    }
}

async fn move_to(
    tx: &mut Conn,
    row: &RequestRow,
    at: Wall,
    (bookings, zone): (&Bookings, &str),
    letters: &AllLetters,
) -> Result<Moved, StoreError> {
    let when = When::Window {
        not_before: at,
        not_after: None,
    };
    let due = match bookings.book(tx, row, when, Asked::Directly).await? {
        Booked::At(due) => due,
        Booked::Soon(_) => {
            return Ok(Moved::BadTime("choose a time that lies ahead".to_owned()));
        }
        Booked::BadTime(why) => return Ok(Moved::BadTime(why)),
        Booked::TooLate => return Ok(Moved::TooLate),
    };
    let promise = Promise::booked(due, row.zone.as_deref().unwrap_or(zone));
    let letter = Letter {
        kind: "changed",
        seq: promise::renew(tx, &row.id, &promise).await?,
        promise: Some(promise),
        reason: Some("chosen"),
        ..Letter::default()
    };
    letters.of(&row.queue).about(tx, row, &letter).await?;
    Ok(Moved::Done(due))
}

/// What became of the booking of another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Booked {
    /// It is booked for this time.
    At(Wall),
    /// The time is now, until an end perhaps: nothing was changed.
    Soon(Option<Wall>),
    /// It cannot be called then; a sentence says why.
    BadTime(String),
    /// Its call is on, or it is over.
    TooLate,
}

impl Bookings {
    /// Books the call of a request for another time.
    pub(super) async fn book(
        &self,
        tx: &mut Conn,
        row: &RequestRow,
        when: When,
        asked: Asked,
    ) -> Result<Booked, StoreError> {
        let now = tx.now().await?;
        let times = match self.hours.times(when, asked, now) {
            Ok(times) => times,
            Err(why) => return Ok(Booked::BadTime(why.to_owned())),
        };
        let Some(due) = times.due_at else {
            return Ok(Booked::Soon(times.not_after));
        };
        // A booking that is looked at again does not stand in its own way.
        let same_slot = row.due_at.is_some_and(|old| Slot::of(old) == Slot::of(due));
        let times = match same_slot {
            true => times,
            false => match self.reserve(tx, times, asked).await? {
                Ok(times) => times,
                Err(why) => return Ok(Booked::BadTime(why)),
            },
        };
        let due = times.due_at.unwrap_or(due);
        let not_after = times.not_after;
        let (state, effects) = step(&row.facts(), &Event::Rescheduled { due, not_after }, now);
        if effects.due_at.is_none() {
            return Ok(Booked::TooLate);
        }
        request::apply(tx, row, state, &effects).await?;
        Ok(Booked::At(due))
    }

    /// Whether these are the bookings of that queue.
    pub(super) fn are_of(&self, queue: &str) -> bool {
        self.queue == queue
    }
}

impl Bookings {
    /// Gives a booking a place in its slot; `Err` says when there is one. What was not asked
    /// for directly moves to the next slot with a place.
    pub(super) async fn reserve(
        &self,
        tx: &mut Conn,
        times: Times,
        asked: Asked,
    ) -> Result<Result<Times, String>, StoreError> {
        let Some(wanted) = times.due_at else {
            return Ok(Ok(times));
        };
        let mut due = wanted;
        for _ in 0..LOOKED_MAX {
            let slot = Slot::of(due);
            if slot::booked(tx, &self.queue, slot).await? < self.hours.slot_max() {
                break;
            }
            due = self.hours.behind(slot);
        }
        if due == wanted {
            return Ok(Ok(times));
        }
        if asked == Asked::ByLetter {
            return Ok(Ok(times.moved_to(due)));
        }
        let next = due.rfc3339();
        Ok(Err(format!(
            "this quarter of an hour is fully booked; the next free one begins at {next}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::desk::stage::{Stage, config, request};
    use crate::desk::{AcceptError, AckTo, Origin};

    const HOUR: Duration = Duration::from_secs(3_600);
    const SLOT: Duration = Duration::from_secs(900);

    fn booked(n: u32, at: Wall) -> helpline_core::request::HelpRequest {
        let mut request = request(n);
        request.when = When::Window {
            not_before: at,
            not_after: None,
        };
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_of_an_hour_has_so_many_places_and_the_next_one_is_named() {
        let mut config = config();
        config.queue[0].max_calls = 1;
        config.queue[0].mean_handling = crate::config::Period(Duration::from_secs(200));
        let stage = Stage::new(config).await;
        let desk = &stage.desk;
        let at = Slot::of(desk.clock.wall() + 2 * HOUR).start;
        let mut tokens = Vec::new();
        for n in 0..2 {
            let at = at + Duration::from_secs(u64::from(n) * 60);
            let accepted = desk.accept(booked(n, at), Origin::default()).await.unwrap();
            tokens.push(accepted.token);
        }
        let full = desk.accept(booked(3, at), Origin::default()).await;
        let Err(AcceptError::BadTime(why)) = full else {
            panic!("{full:?}");
        };
        assert!(why.contains(&(at + SLOT).rfc3339()), "{why}");
        // One that moves away leaves its place, and may stay in its own quarter.
        let later = Duration::from_secs(120);
        let moved = desk.reschedule(&tokens[0], at + later).await.unwrap();
        assert_eq!(moved, Moved::Done(at + later));
        let moved = desk.reschedule(&tokens[0], at + SLOT).await.unwrap();
        assert_eq!(moved, Moved::Done(at + SLOT));
        assert!(desk.accept(booked(3, at), Origin::default()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn another_time_is_chosen_told_once_and_kept() {
        let stage = Stage::new(config()).await;
        let desk = &stage.desk;
        let origin = Origin {
            ack: Some(AckTo {
                address: "c@cust.test".into(),
                ..AckTo::default()
            }),
            ..Origin::default()
        };
        let token = desk.accept(request(1), origin).await.unwrap().token;
        let now = desk.clock.wall();
        for bad in [now - HOUR, now + 15 * 24 * HOUR] {
            let moved = desk.reschedule(&token, bad).await.unwrap();
            assert!(matches!(moved, Moved::BadTime(_)), "{moved:?}");
        }
        for hours in [3, 2] {
            let at = now + hours * HOUR;
            assert_eq!(desk.reschedule(&token, at).await.unwrap(), Moved::Done(at));
        }
        let view = desk.status(&token).await.unwrap().unwrap();
        assert_eq!(view.due_at, Some(now + 2 * HOUR));
        assert_eq!(view.state, "scheduled");
        let mails = "select cast(seq as text) from outbox where kind = 'changed' order by seq";
        assert_eq!(stage.rows::<1>(mails).await, [["1"], ["2"]]);
        desk.cancel(&token).await.unwrap();
        let moved = desk.reschedule(&token, now + 4 * HOUR).await.unwrap();
        assert_eq!(moved, Moved::TooLate);
        let nobody = desk.reschedule("nobody", now + HOUR).await.unwrap();
        assert_eq!(nobody, Moved::NotFound);
    }
}
