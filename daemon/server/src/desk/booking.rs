//! Times that customers choose: checked, given a place in their quarter of an hour, and moved.

use std::time::Duration;

use helpline_core::calendar::Calendar;
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::{Event, State, step};
use helpline_core::request::When;
use helpline_core::time::Wall;

use super::letter::{AllLetters, Letter};
use super::status::{find, may_change};
use super::{Desk, StoreError};
use crate::config::Queue;
use crate::store::{Conn, RequestRow, promise, request, slot};

/// Furthest booking.
const AHEAD_MAX: Duration = Duration::from_secs(14 * 86_400);
/// Bookings are counted by quarters of an hour.
const SLOT: Duration = Duration::from_secs(15 * 60);
/// Of what a queue can call, so much may be booked: those who wait are called too.
const SHARE: f64 = 0.5;
/// Slots looked through for a free one: a day.
const LOOKED_MAX: u32 = 96;

const PASSED: &str = "this time has passed; choose a later one";
const TOO_FAR: &str = "this time is too far ahead; choose one within 14 days";
const CLOSED: &str = "we are closed at this time; choose one in opening hours";

/// How a time was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// By somebody who is told at once and can choose again.
    Directly,
    /// By mail or a flow: what cannot be had is moved to the next time that can.
    ByLetter,
}

/// When calls of a queue may be booked, and how many.
#[derive(Clone, Debug)]
pub(super) struct Hours {
    queue: String,
    calendar: Option<Calendar>,
    slot_max: u32,
}

/// When a request may be called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times {
    pub(super) state: State,
    pub(super) not_before: Wall,
    pub(super) due_at: Option<Wall>,
    pub(super) not_after: Option<Wall>,
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
    pub(super) fn booking_hours(&self, queue: &Queue) -> Hours {
        Hours {
            queue: queue.name.clone(),
            calendar: self.calendars.get(&queue.name).cloned(),
            slot_max: slot_max(queue),
        }
    }

    /// Books the call of a request, found by the secret of its status page, for another time.
    /// Its place in the line is kept; the customer gets a mail with the new time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reschedule(&self, token: &str, at: Wall) -> Result<Moved, StoreError> {
        let queues = self.config.queue.iter();
        let hours: Vec<Hours> = queues.map(|queue| self.booking_hours(queue)).collect();
        let (secret, letters) = (token.to_owned(), self.all_letters());
        let zone = self.config.site.zone.clone();
        let done = self.store.write(move |tx| {
            let (secret, letters) = (secret.clone(), letters.clone());
            let (hours, zone) = (hours.clone(), zone.clone());
            Box::pin(async move {
                let Some((own, row)) = find(tx, &secret).await? else {
                    return Ok(Moved::NotFound);
                };
                let hours = hours.iter().find(|hours| hours.queue == row.queue);
                match hours.filter(|_| may_change(&own, &row)) {
                    Some(hours) => move_to(tx, &row, at, (hours, &zone), &letters).await,
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

/// Bookings for one quarter of an hour.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and small
fn slot_max(queue: &Queue) -> u32 {
    let calls = SLOT.as_secs_f64() / queue.mean_handling.0.as_secs_f64().max(1.0);
    (SHARE * f64::from(queue.max_calls) * calls).clamp(1.0, 100_000.0) as u32
}

async fn move_to(
    tx: &mut Conn,
    row: &RequestRow,
    at: Wall,
    (hours, zone): (&Hours, &str),
    letters: &AllLetters,
) -> Result<Moved, StoreError> {
    let now = tx.now().await?;
    let when = When::Window {
        not_before: at,
        not_after: None,
    };
    let asked = Asked::Directly;
    let times = match Times::of(when, hours, asked, now) {
        Ok(times) => times,
        Err(why) => return Ok(Moved::BadTime(why)),
    };
    let Some(due) = times.due_at else {
        return Ok(Moved::BadTime(PASSED.to_owned()));
    };
    // A booking that is looked at again does not stand in its own way.
    let same_slot = row.due_at.is_some_and(|old| slot_of(old) == slot_of(due));
    if !same_slot && let Err(why) = hours.reserve(tx, times, asked).await? {
        return Ok(Moved::BadTime(why));
    }
    let (state, effects) = step(&row.facts(), &Event::Rescheduled { due }, now);
    if effects.due_at.is_none() {
        return Ok(Moved::TooLate);
    }
    request::apply(tx, row, state, &effects).await?;
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

fn slot_of(at: Wall) -> Wall {
    let length = i64::try_from(SLOT.as_millis()).unwrap_or(1);
    Wall::from_millis(at.millis().div_euclid(length) * length)
}

impl Hours {
    fn is_open(&self, at: Wall) -> bool {
        self.calendar.as_ref().is_none_or(|c| c.is_open(at))
    }

    fn next_open(&self, at: Wall) -> Option<Wall> {
        self.calendar.as_ref().map_or(Some(at), |c| c.next_open(at))
    }

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
            let start = slot_of(due);
            if slot::booked(tx, &self.queue, start, start + SLOT).await? < self.slot_max {
                break;
            }
            due = start + SLOT;
            if !self.is_open(due) {
                due = self.next_open(due).unwrap_or(due);
            }
        }
        if due == wanted {
            return Ok(Ok(times));
        }
        if asked == Asked::Directly {
            let next = due.rfc3339();
            return Ok(Err(format!(
                "this quarter of an hour is fully booked; the next free one begins at {next}"
            )));
        }
        Ok(Ok(Times {
            not_before: due,
            due_at: Some(due),
            not_after: times.not_after.filter(|end| *end >= due),
            ..times
        }))
    }
}

impl Times {
    /// A booked time has to lie ahead, not too far, and inside opening hours; `Err` says what
    /// is wrong. A mail cannot be asked while it is sent, so its window moves to the next
    /// opening instead.
    pub(super) fn of(when: When, hours: &Hours, asked: Asked, now: Wall) -> Result<Times, String> {
        let soon = |not_after| Times {
            state: State::Waiting,
            not_before: now,
            due_at: None,
            not_after,
        };
        let When::Window {
            not_before,
            not_after,
        } = when
        else {
            return Ok(soon(None));
        };
        let by_letter = asked == Asked::ByLetter;
        if not_after.is_some_and(|end| end <= now || end < not_before) {
            return match by_letter {
                true => Ok(soon(None)),
                false => Err(PASSED.to_owned()),
            };
        }
        if not_before <= now {
            let passed = not_after.is_none() && now.since(not_before) > Duration::from_secs(60);
            return match passed && !by_letter {
                true => Err(PASSED.to_owned()),
                false => Ok(soon(not_after)),
            };
        }
        if not_before.since(now) > AHEAD_MAX {
            return Err(TOO_FAR.to_owned());
        }
        let (mut due, mut end) = (not_before, not_after);
        if !hours.is_open(due) {
            match (hours.next_open(due), end) {
                (Some(at), Some(last)) if at <= last => due = at,
                (Some(at), _) if by_letter => (due, end) = (at, None),
                _ => return Err(CLOSED.to_owned()),
            }
        }
        Ok(Times {
            state: State::Scheduled,
            not_before: due,
            due_at: Some(due),
            not_after: end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::stage::{Stage, config, request};
    use crate::desk::{AcceptError, AckTo, Origin};

    const HOUR: Duration = Duration::from_secs(3_600);

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
        let at = slot_of(desk.clock.wall() + 2 * HOUR);
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
