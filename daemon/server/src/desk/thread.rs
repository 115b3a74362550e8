//! Mail about a request that was made before. What it asks is read in core; here it is done, in
//! the transaction that files the mail. Whatever is done or not, the mail is kept for people.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::id::RequestId;
use helpline_core::phone::{DialRules, PhoneNumber};
use helpline_core::queue::booking::Asked;
use helpline_core::queue::ewt::Promise;
use helpline_core::queue::{Event, State, step};
use helpline_core::request::email::{FollowUp, Thread, Wish, address_key, id_end, request_tag};
use helpline_core::request::{Channel, HelpRequest, When};
use helpline_core::time::Wall;

use super::accept::{Entry, NUMBER_DAY, NUMBER_MINUTE};
use super::booking::{Booked, Bookings};
use super::letter::{AllLetters, Letter};
use super::outlook::Seen;
use super::staff::advance;
use super::status::{may_change, with_parent};
use super::{AckTo, Desk, Origin, StoreError, budget};
use crate::store::{Conn, Limit, RequestRow, limit, promise, request, source};

/// Changes of the number of one request: it must not ring at one house after another.
const NUMBER_CHANGES: Limit = Limit {
    name: "number-changes",
    interval: Duration::from_secs(8 * 3_600),
    burst: 2,
};

/// Answers to one request that say that a time was not understood, or cannot be kept: a machine
/// that always writes the same is not to be answered for ever.
const NOT_MOVED: Limit = Limit {
    name: "not-moved",
    interval: Duration::from_secs(24 * 3_600),
    burst: 1,
};

/// A follow-up with everything its transaction needs; it may run twice.
#[derive(Clone)]
pub(super) struct Follow {
    follow_up: FollowUp,
    bookings: Vec<Bookings>,
    letters: AllLetters,
    rules: DialRules,
    zone: String,
    seen: Arc<Seen>,
    /// A new request for the number on file, should the old one be over.
    again: Option<Box<Entry>>,
}

/// How a follow-up goes on.
pub(super) enum Step<'a> {
    /// It is dealt with.
    Done(Followed),
    /// The request it names is over: this one is made.
    Again(&'a Entry),
    /// There is no such request, or it is over and the mail asks anew by itself.
    ByItself,
}

/// What became of a follow-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// The request it names.
    pub(super) request: RequestId,
    /// A word: `cancelled`, `changed`, `noted`, or why nothing was changed.
    pub(super) reason: &'static str,
    /// A live call has to be ended.
    pub(super) hang_up: Option<RequestId>,
    /// The confirmation was withheld, the budget of replies being used up.
    pub(super) withheld: bool,
}

impl Desk {
    /// Gathers what the transaction needs.
    pub(super) async fn follow(
        &self,
        follow_up: FollowUp,
        ack: Option<AckTo>,
    ) -> Result<Follow, StoreError> {
        let wanted = follow_up.clone();
        let found = self.store.read(move |tx| {
            let wanted = wanted.clone();
            Box::pin(async move { find(tx, &wanted).await })
        });
        let mut follow = Follow {
            bookings: self.config.queue.iter().map(|q| self.bookings(q)).collect(),
            letters: self.all_letters(),
            rules: self.rules.clone(),
            zone: self.config.site.zone.clone(),
            seen: Arc::default(),
            again: None,
            follow_up,
        };
        let Some((own, row)) = found.await? else {
            return Ok(follow);
        };
        follow.seen = self.outlook(&row.queue).await;
        if let Some(request) = asked_again(&follow.follow_up, &own, &row) {
            let origin = Origin {
                ack,
                ..Origin::default()
            };
            // One that cannot be made is not made; the mail is kept.
            follow.again = self.entry(request, origin).await.ok().map(Box::new);
        }
        Ok(follow)
    }
}

/// The request that a customer makes by naming a time when the old one is over.
fn asked_again(follow_up: &FollowUp, own: &RequestRow, row: &RequestRow) -> Option<HelpRequest> {
    let Wish::Change {
        number: None,
        when: Some(when),
        zone,
    } = &follow_up.wish
    else {
        return None;
    };
    let may = !row.state.is_open() && is_customer(follow_up, own, row);
    may.then(|| HelpRequest {
        whom: helpline_core::request::Whom::default(),
        queue: row.queue.clone(),
        channel: Channel::Smtp,
        number: row.number.clone(),
        name: row.name.clone(),
        email: row.email.clone(),
        page: row.page.clone(),
        note: None,
        language: row.language.clone(),
        zone: zone.clone().or_else(|| row.zone.clone()),
        when: *when,
    })
}

/// The row a mail names, and the one whose state counts.
async fn find(
    tx: &mut Conn,
    follow_up: &FollowUp,
) -> Result<Option<(RequestRow, RequestRow)>, StoreError> {
    let own = match &follow_up.of {
        Thread::Signed(id) => request::by_id(tx, &RequestId::from_text(id)).await?,
        Thread::Tag(tag) => {
            let Some(end) = id_end(tag) else {
                return Ok(None);
            };
            let mut rows = request::by_end(tx, &end).await?;
            rows.retain(|row| request_tag(&row.id) == *tag);
            // Of two with the same tag the writer's own is meant.
            let own = rows.iter().position(|row| is_from(follow_up, row));
            let at = own.unwrap_or(0);
            (at < rows.len()).then(|| rows.swap_remove(at))
        }
    };
    match own {
        Some(own) => with_parent(tx, own).await.map(Some),
        None => Ok(None),
    }
}

/// Whether the customer of the request writes, as far as can be told: who is not may change
/// nothing.
fn is_customer(follow_up: &FollowUp, own: &RequestRow, row: &RequestRow) -> bool {
    follow_up.is_trusted && is_from(follow_up, own) && may_change(own, row)
}

fn is_from(follow_up: &FollowUp, own: &RequestRow) -> bool {
    let Some(from) = follow_up.from.as_deref().and_then(address_key) else {
        return false;
    };
    let known = [own.email.clone(), ack_of(own).map(|ack| ack.address)];
    known
        .iter()
        .flatten()
        .any(|address| address_key(address).as_ref() == Some(&from))
}

fn ack_of(row: &RequestRow) -> Option<AckTo> {
    serde_json::from_str(row.ack_json.as_deref()?).ok()
}

impl Followed {
    fn new(own: &RequestRow, reason: &'static str) -> Self {
        Followed {
            request: own.id.clone(),
            reason,
            hang_up: None,
            withheld: false,
        }
    }
}

/// Does what a follow-up asks.
pub(super) async fn put<'a>(tx: &mut Conn, follow: &'a Follow) -> Result<Step<'a>, StoreError> {
    let follow_up = &follow.follow_up;
    let Some((own, row)) = find(tx, follow_up).await? else {
        return Ok(Step::ByItself);
    };
    let is_over = !row.state.is_open();
    let has_number = matches!(
        &follow_up.wish,
        Wish::Change {
            number: Some(_),
            ..
        }
    );
    if is_over && has_number {
        return Ok(Step::ByItself);
    }
    let done = |reason| Step::Done(Followed::new(&own, reason));
    if !is_customer(follow_up, &own, &row) {
        return Ok(done("unverified"));
    }
    match (&follow_up.wish, &follow.again) {
        (Wish::Nothing, _) => Ok(done("noted")),
        (_, Some(entry)) if is_over => Ok(Step::Again(entry)),
        _ if is_over => Ok(done("over")),
        (wish, _) => act(tx, follow, &own, row, wish).await.map(Step::Done),
    }
}

/// Does what the customer of an open request asks.
async fn act(
    tx: &mut Conn,
    follow: &Follow,
    own: &RequestRow,
    row: RequestRow,
    wish: &Wish,
) -> Result<Followed, StoreError> {
    match wish {
        Wish::Nothing => Ok(Followed::new(own, "noted")),
        Wish::Unclear => {
            let withheld = !not_moved(tx, follow, &row, "unclear").await?;
            Ok(Followed {
                withheld,
                ..Followed::new(own, "unclear")
            })
        }
        Wish::Cancel => {
            let cancelled = &Event::Cancelled;
            let done = advance(tx, &follow.letters, &row, cancelled, "cancelled").await?;
            Ok(match done {
                Some((_, hang_up)) => Followed {
                    hang_up,
                    ..Followed::new(own, "cancelled")
                },
                None => Followed::new(own, "over"),
            })
        }
        Wish::Change { number, when, .. } => {
            let (reason, withheld) = change(tx, follow, row, number.as_ref(), *when).await?;
            Ok(Followed {
                withheld,
                ..Followed::new(own, reason)
            })
        }
    }
}

/// Another number, another time; what came of it, and whether its confirmation was withheld.
async fn change(
    tx: &mut Conn,
    follow: &Follow,
    mut row: RequestRow,
    number: Option<&PhoneNumber>,
    when: Option<When>,
) -> Result<(&'static str, bool), StoreError> {
    use State::{Backoff, Held, Scheduled, Waiting};

    if !matches!(row.state, Waiting | Scheduled | Backoff | Held) {
        return Ok(("too_late", false));
    }
    let number = number.filter(|number| **number != row.number);
    if let Some(number) = number {
        if let Some(why) = renumber(tx, follow, &row, number).await? {
            return Ok((why, false));
        }
        row.number = number.clone();
    }
    let time = match when {
        Some(when) => move_to(tx, follow, &row, when).await?,
        None => Time::Same,
    };
    let letter = match (time, number) {
        (Time::Refused(why), None) => {
            let withheld = why == "bad_time" && !not_moved(tx, follow, &row, why).await?;
            return Ok((why, withheld));
        }
        (Time::Same, None) => return Ok(("noted", false)),
        (Time::Refused(_) | Time::Same, Some(_)) => Letter {
            seq: promise::changed(tx, &row.id).await?,
            reason: Some("number"),
            ..Letter::default()
        },
        (Time::Another { promise, position }, _) => Letter {
            seq: promise::renew(tx, &row.id, &promise).await?,
            promise: Some(promise),
            position,
            reason: Some("chosen"),
            ..Letter::default()
        },
    };
    let letter = Letter {
        kind: "changed",
        ..letter
    };
    Ok(("changed", !tell(tx, follow, &row, &letter).await?))
}

/// Says that the time was not changed, and why; false if the budget of replies withholds it.
async fn not_moved(
    tx: &mut Conn,
    follow: &Follow,
    row: &RequestRow,
    reason: &'static str,
) -> Result<bool, StoreError> {
    if limit::take(tx, NOT_MOVED, row.id.as_str()).await?.is_err() {
        return Ok(true);
    }
    let letter = Letter {
        kind: "changed",
        seq: promise::changed(tx, &row.id).await?,
        reason: Some(reason),
        ..Letter::default()
    };
    tell(tx, follow, row, &letter).await
}

/// Confirms a change; false if the budget of replies withholds it.
async fn tell(
    tx: &mut Conn,
    follow: &Follow,
    row: &RequestRow,
    letter: &Letter,
) -> Result<bool, StoreError> {
    let Some(ack) = ack_of(row) else {
        return Ok(true);
    };
    if !budget::take(tx, &ack.address, true).await? {
        return Ok(false);
    }
    follow.letters.of(&row.queue).about(tx, row, letter).await?;
    Ok(true)
}

/// Why the request is not called at another number; `None`: it is.
async fn renumber(
    tx: &mut Conn,
    follow: &Follow,
    row: &RequestRow,
    number: &PhoneNumber,
) -> Result<Option<&'static str>, StoreError> {
    if follow.rules.check(number).is_err() || limit::is_suppressed(tx, number).await? {
        return Ok(Some("refused_phone"));
    }
    let from = follow.follow_up.from.as_deref().map(source::of_sender);
    if let Some(from) = from
        && source::quarantined(tx, &from).await?.is_some()
    {
        return Ok(Some("too_many"));
    }
    for (limit, whose) in [
        (NUMBER_CHANGES, row.id.as_str()),
        (NUMBER_MINUTE, number.as_str()),
        (NUMBER_DAY, number.as_str()),
    ] {
        if limit::take(tx, limit, whose).await?.is_err() {
            return Ok(Some("too_many"));
        }
    }
    let is_free = request::renumber(tx, row, number).await?;
    Ok((!is_free).then_some("number_in_line"))
}

/// What became of the wish for another time.
enum Time {
    /// It is called at another time.
    Another {
        promise: Promise,
        position: Option<u32>,
    },
    /// It is called then anyway.
    Same,
    /// It cannot be called then.
    Refused(&'static str),
}

async fn move_to(
    tx: &mut Conn,
    follow: &Follow,
    row: &RequestRow,
    when: When,
) -> Result<Time, StoreError> {
    let bookings = follow.bookings.iter().find(|b| b.are_of(&row.queue));
    let Some(bookings) = bookings else {
        return Ok(Time::Refused("too_late"));
    };
    let zone = row.zone.as_deref().unwrap_or(&follow.zone);
    Ok(match bookings.book(tx, row, when, Asked::ByLetter).await? {
        // A machine that always writes the same gets no further answer.
        Booked::At(due) if row.due_at == Some(due) && row.state == State::Scheduled => Time::Same,
        Booked::At(due) => Time::Another {
            promise: Promise::booked(due, zone),
            position: None,
        },
        Booked::Soon(end) => soon(tx, follow, row, end, zone).await?,
        Booked::BadTime(_) => Time::Refused("bad_time"),
        Booked::TooLate => Time::Refused("too_late"),
    })
}

/// To be called at its turn, until `end`.
async fn soon(
    tx: &mut Conn,
    follow: &Follow,
    row: &RequestRow,
    end: Option<Wall>,
    zone: &str,
) -> Result<Time, StoreError> {
    if row.state == State::Waiting && row.not_after == end {
        return Ok(Time::Same);
    }
    let now = tx.now().await?;
    let (state, effects) = step(&row.facts(), &Event::Hastened, now);
    if state != row.state {
        request::apply(tx, row, state, &effects).await?;
    }
    request::end_window(tx, &row.id, end).await?;
    let ahead = request::ahead(tx, &row.queue, &row.key()).await?;
    Ok(Time::Another {
        promise: follow.seen.promise((ahead, &row.skill), now, zone).0,
        position: Some(ahead + 1),
    })
}
