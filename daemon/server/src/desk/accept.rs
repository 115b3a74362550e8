//! Taking a request: checks, limits, merge, place and promise, and the rows, all in one
//! transaction.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::calendar::zone_named;
use helpline_core::id::RequestId;
use helpline_core::queue::admission::Admission;
use helpline_core::queue::booking::{Asked, Times};
use helpline_core::queue::ewt::{Forecast, Promise};
use helpline_core::queue::order::Key;
use helpline_core::queue::{Effects, Event, State, step};
use helpline_core::request::{Channel, HelpRequest};
use helpline_core::time::Wall;
use serde::{Deserialize, Serialize};

use super::booking::Bookings;
use super::letter::{Letter, Letters, stale_at};
use super::outlook::Seen;
use super::pin;
use super::{AcceptError, Accepted, AckTo, Desk, IntakeKey, Origin, StoreError, budget};
use crate::store::{Conn, KeyState, Limit, NewRequest, RequestRow};
use crate::store::{key, limit, request, source};

/// A number may ask so often, merged requests included.
pub(super) const NUMBER_MINUTE: Limit = Limit {
    name: "number-minute",
    interval: Duration::from_secs(12),
    burst: 5,
};
/// New requests of a number.
pub(super) const NUMBER_DAY: Limit = Limit {
    name: "number-day",
    interval: Duration::from_secs(4 * 3_600),
    burst: 6,
};
/// Requests from one network address; offices share one, so it is wide. The web
/// listener has a limit of its own.
pub(super) const ADDRESS_HOUR: Limit = Limit {
    name: "address-hour",
    interval: Duration::from_secs(36),
    burst: 100,
};

/// A request at the door, with everything the transaction needs; it may run twice.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: RequestId,
    token: String,
    pub(super) request: HelpRequest,
    key: Option<IntakeKey>,
    ack: Option<AckTo>,
    address: Option<IpAddr>,
    place_at: Option<Wall>,
    admission: Admission,
    proven: bool,
    /// What the customer has to key in on the call.
    pin: Option<String>,
    pub(super) line: Line,
    letters: Letters,
}

/// What is known of a queue beside its rows.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) waiting_max: u32,
    pub(super) zone: String,
    bookings: Bookings,
    pub(super) seen: Arc<Seen>,
    /// How many stand before the end of a long line.
    pub(super) ahead: Option<u32>,
}

/// What came of a request at the door.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) accepted: Accepted,
    /// No acknowledgement was written because the budget of replies is used up.
    pub(super) withheld: bool,
}

/// The answer kept under an idempotency key.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: RequestId,
    token: String,
    position: Option<u32>,
    promise: Promise,
}

impl Desk {
    /// Takes a request into the line. When this returns `Ok` the request and its
    /// acknowledgement are durable.
    ///
    /// # Errors
    /// [`AcceptError`]; after [`AcceptError::Unavailable`] the outcome is unknown, and
    /// repeating with the same key is safe.
    pub async fn accept(
        &self,
        request: HelpRequest,
        origin: Origin,
    ) -> Result<Accepted, AcceptError> {
        let entry = self.entry(request, origin).await?;
        let entered = self.door.enter(&self.store, entry).await?;
        self.note_reply(entered.withheld);
        self.wake_line();
        self.wake_mail();
        Ok(entered.accepted)
    }

    /// Checks what needs no row, and gathers what the transaction needs.
    pub(super) async fn entry(
        &self,
        request: HelpRequest,
        origin: Origin,
    ) -> Result<Entry, AcceptError> {
        self.rules
            .check(&request.number)
            .map_err(|_| AcceptError::NotAllowed)?;
        let queue = self.queue(&request.queue).ok_or(AcceptError::NotAllowed)?;
        let seen = self.outlook(&request.queue).await;
        let line = Line {
            // Who keeps an earlier place does not stand at the end.
            ahead: seen.comes().filter(|_| origin.place_at.is_none()),
            waiting_max: queue.waiting_max,
            zone: self.zone_of(request.zone.as_deref()).to_owned(),
            bookings: self.bookings(queue),
            seen,
        };
        let token = self.new_token().map_err(|_| AcceptError::Unavailable)?;
        let counts = pin::is_typed(request.channel) && !origin.proven;
        let now = self.clock.wall();
        let doubtful = counts
            && self
                .unproven
                .too_many(&request.queue, queue.unproven_per_hour, now);
        Ok(Entry {
            id: self.new_id(RequestId::new),
            pin: doubtful.then(|| pin::of_token(&token)),
            proven: origin.proven,
            token,
            letters: self.letters(&request.queue),
            line,
            key: origin.key,
            ack: origin.ack,
            address: origin.address,
            place_at: origin.place_at,
            admission: origin.admission,
            request,
        })
    }

    /// The zone in which times are told: the customer's if it is known, else the site's.
    pub(super) fn zone_of<'a>(&'a self, customer: Option<&'a str>) -> &'a str {
        customer
            .filter(|zone| zone_named(zone).is_ok())
            .unwrap_or(&self.config.site.zone)
    }

    pub(super) fn letters(&self, queue: &str) -> Letters {
        let address = self.config.smtp.addresses.first();
        let domain = address.and_then(|a| a.rsplit_once('@')).map(|(_, d)| d);
        Letters {
            domain: domain.unwrap_or("localhost").to_owned(),
            keys: Arc::clone(&self.keys),
            title: self
                .queue(queue)
                .map_or_else(String::new, |q| q.title.clone()),
        }
    }
}

impl Entry {
    /// What is promised behind so many.
    pub(super) fn promise(&self, ahead: u32, now: Wall) -> (Promise, Option<Forecast>) {
        let skill = self.request.whom.skill.as_deref().unwrap_or_default();
        self.line.seen.promise((ahead, skill), now, &self.line.zone)
    }

    /// Whether whoever asks can choose again at once.
    fn asked(&self) -> Asked {
        match self.request.channel {
            Channel::Form | Channel::Json => Asked::Directly,
            _ => Asked::ByLetter,
        }
    }

    /// Whether nothing goes with it but its row: no key, no mail, no place of an earlier moment.
    pub(super) fn is_bare(&self) -> bool {
        self.key.is_none()
            && self.ack.is_none()
            && self.place_at.is_none()
            && self.admission == Admission::Line
    }

    /// Its address for limits, if it counts.
    pub(super) fn network(&self) -> Option<String> {
        self.address.filter(|a| !a.is_loopback()).map(network)
    }

    /// Whom the request counts for when it turns out to be harassment.
    fn source(&self) -> Option<String> {
        match self.request.channel {
            Channel::Form | Channel::Json => {
                let address = self.address.filter(|address| !address.is_loopback());
                address.map(|address| source::of_address(&address.to_string()))
            }
            Channel::Smtp => self.request.email.as_deref().map(source::of_sender),
            Channel::Phone => None,
        }
    }
}

/// The accepting transaction.
pub(super) async fn enter(
    tx: &mut Conn,
    entry: &Entry,
) -> Result<Result<Entered, AcceptError>, StoreError> {
    if let Some(k) = &entry.key {
        match key::take(tx, k.scope, &k.key, &k.body_hash).await? {
            KeyState::Fresh => {}
            KeyState::Reused => return Ok(Err(AcceptError::KeyReused)),
            KeyState::Answered(answer) => return read_back(&answer).map(Ok),
        }
    }
    let result = admit(tx, entry).await?;
    let Some(k) = &entry.key else {
        return Ok(result);
    };
    match &result {
        Ok(Entered { accepted, .. }) => {
            let kept = Kept {
                id: accepted.id.clone(),
                token: accepted.token.clone(),
                position: accepted.position,
                promise: accepted.promise.clone(),
            };
            let kept =
                serde_json::to_string(&kept).map_err(|e| StoreError::Damaged(e.to_string()))?;
            key::answer(tx, k.scope, &k.key, &accepted.id, &kept).await?;
        }
        Err(_) => key::give_back(tx, k.scope, &k.key).await?,
    }
    Ok(result)
}

fn read_back(answer: &str) -> Result<Entered, StoreError> {
    let kept: Kept =
        serde_json::from_str(answer).map_err(|e| StoreError::Damaged(e.to_string()))?;
    Ok(Entered {
        accepted: Accepted {
            id: kept.id,
            token: kept.token,
            position: kept.position,
            promise: kept.promise,
            fresh: false,
        },
        withheld: false,
    })
}

/// Takes a request in by two statements, its limits and its row; only when those do not store
/// it is it looked at closer.
async fn admit(tx: &mut Conn, entry: &Entry) -> Result<Result<Entered, AcceptError>, StoreError> {
    let (queue, number) = (&entry.request.queue, &entry.request.number);
    let address = entry.network();
    let day = (NUMBER_DAY, number.as_str());
    let limits = [
        address.as_deref().map(|network| (ADDRESS_HOUR, network)),
        Some((NUMBER_MINUTE, number.as_str())),
        Some(day),
    ];
    let taken = limit::take_all(tx, limits).await?;
    let now = taken.now;
    let [from_address, by_minute, by_day] = taken.granted;
    for (granted, limit) in [from_address, by_minute].into_iter().zip(limits) {
        if let Some((limit, whose)) = limit.filter(|_| !granted) {
            let retry_after = limit::wait(tx, limit, whose).await?;
            return Ok(Err(AcceptError::TooMany { retry_after }));
        }
    }
    let (bookings, when) = (&entry.line.bookings, entry.request.when);
    let times = match bookings.hours.times(when, entry.asked(), now) {
        Ok(times) => times,
        Err(why) => return Ok(Err(AcceptError::BadTime(why.to_owned()))),
    };
    let times = match bookings.reserve(tx, times, entry.asked()).await? {
        Ok(times) => times,
        Err(why) => return Ok(Err(AcceptError::BadTime(why))),
    };
    let most = entry.line.waiting_max;
    let is_full = entry.line.seen.may_hold(most) && request::standing(tx, queue).await? >= most;
    if by_day
        && !is_full
        && let Some(entered) = stand(tx, entry, &times, now).await?
    {
        return Ok(Ok(entered));
    }
    if by_day {
        // Only a request that is stored counts for its day.
        limit::give_back(tx, day.0, day.1).await?;
    }
    if let Some(source) = entry.source()
        && let Some(retry_after) = source::quarantined(tx, &source).await?
    {
        return Ok(Err(AcceptError::TooMany { retry_after }));
    }
    if limit::is_suppressed(tx, number).await? {
        return Ok(Err(AcceptError::NotAllowed));
    }
    if let Some(open) = request::open_of(tx, queue, number).await? {
        if !open.is_unproven() || entry.admission != Admission::Line {
            return merge(tx, entry, open, now).await.map(Ok);
        }
        if by_day && !is_full {
            return supersede(tx, entry, &open, &times, now).await.map(Ok);
        }
    }
    if is_full {
        return Ok(Err(AcceptError::Full));
    }
    if !by_day {
        let retry_after = limit::wait(tx, day.0, day.1).await?;
        return Ok(Err(AcceptError::TooMany { retry_after }));
    }
    // Another node took a request of this number in the same instant: run again.
    Err(StoreError::Conflict)
}

/// An address for limits; of IPv6 the /64 that one customer has.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => {
                let s = v6.segments();
                format!("{:x}:{:x}:{:x}:{:x}::/64", s[0], s[1], s[2], s[3])
            }
        },
    }
}

/// A new row at the end of the line, and its acknowledgement; nothing if the number may not
/// be called, or stands in this line already.
async fn stand(
    tx: &mut Conn,
    entry: &Entry,
    times: &Times,
    now: Wall,
) -> Result<Option<Entered>, StoreError> {
    if entry.admission != Admission::Line {
        return stand_aside(tx, entry, times, now).await;
    }
    let queue = &entry.request.queue;
    // A caller keeps the place of the moment the call began, never one before that.
    let place_at = entry
        .place_at
        .map_or(now, |at| at.min(now).max(now - Duration::from_secs(3_600)));
    let (position, (promise, forecast)) = match times.due_at {
        Some(due) => (None, (Promise::booked(due, &entry.line.zone), None)),
        None => {
            let ahead = match entry.line.ahead {
                Some(ahead) => ahead,
                None => {
                    let id = entry.id.clone();
                    let key = Key {
                        rank: 1,
                        place_at,
                        id,
                    };
                    request::ahead(tx, queue, &key).await?
                }
            };
            let promised = entry.promise(ahead, now);
            (Some(ahead + 1), promised)
        }
    };
    let new = NewRequest {
        state: times.state,
        place_at,
        not_before: times.not_before,
        due_at: times.due_at,
        not_after: times.not_after,
        forecast,
        ..new_row(entry, &promise, now)?
    };
    if !request::insert(tx, &new).await? {
        return Ok(None);
    }
    answer(tx, entry, position, promise).await.map(Some)
}

/// A new row instead of one of which nobody has shown that it is meant: a stranger's mail
/// neither gets the call of this one nor stands in its way.
async fn supersede(
    tx: &mut Conn,
    entry: &Entry,
    open: &RequestRow,
    times: &Times,
    now: Wall,
) -> Result<Entered, StoreError> {
    request::merge_into(tx, open, &entry.id).await?;
    // It was given back when the first try did not stand, so it is there.
    let _ = limit::take(tx, NUMBER_DAY, entry.request.number.as_str()).await?;
    let entered = stand(tx, entry, times, now).await?;
    entered.ok_or(StoreError::Conflict)
}

/// A new row that waits until it is proven to be meant; of the line nothing is told before.
/// Nothing if [`stand`] would give nothing.
async fn stand_aside(
    tx: &mut Conn,
    entry: &Entry,
    times: &Times,
    now: Wall,
) -> Result<Option<Entered>, StoreError> {
    let zone = &entry.line.zone;
    let promise = match times.due_at {
        Some(due) => Promise::booked(due, zone),
        None => Promise::none(now, zone),
    };
    let hold = entry.admission.hold();
    let new = NewRequest {
        state: State::Held,
        held_reason: hold.map(|(reason, _)| reason),
        not_before: hold.map_or(now, |(_, period)| now + period),
        due_at: times.due_at,
        not_after: times.not_after,
        ..new_row(entry, &promise, now)?
    };
    if !request::insert(tx, &new).await? {
        return Ok(None);
    }
    let entered = answer(tx, entry, None, promise).await?;
    if entered.withheld
        && let Some((reason, period)) = Admission::Decide.hold()
        && let Some(row) = request::by_id(tx, &entry.id).await?
    {
        // Nobody was asked, so somebody has to decide.
        let effects = Effects {
            held_reason: Some(reason),
            not_before: Some(now + period),
            ..Effects::default()
        };
        request::apply(tx, &row, State::Held, &effects).await?;
    }
    Ok(Some(entered))
}

/// The number already stands in line: the new row points to that one, and the answer is
/// the same as for a new request, so that it tells nobody who else asked.
async fn merge(
    tx: &mut Conn,
    entry: &Entry,
    open: RequestRow,
    now: Wall,
) -> Result<Entered, StoreError> {
    let is_proven = entry.admission == Admission::Line;
    if is_proven {
        let (state, effects) = step(&open.facts(), &Event::AskedAgain, now);
        if state != open.state {
            request::apply(tx, &open, state, &effects).await?;
        }
    }
    let position = match open.due_at {
        None if is_proven => Some(request::ahead(tx, &open.queue, &open.key()).await? + 1),
        _ => None,
    };
    let promise = open.promise.clone().filter(|_| is_proven);
    let promise = promise.unwrap_or_else(|| Promise::none(now, &entry.line.zone));
    let new = NewRequest {
        state: State::Merged,
        place_at: open.place_at,
        parent: Some(open.id.clone()),
        ..new_row(entry, &promise, now)?
    };
    if !request::insert(tx, &new).await? {
        return Err(StoreError::Conflict);
    }
    answer(tx, entry, position, promise).await
}

pub(super) fn new_row(
    entry: &Entry,
    promise: &Promise,
    now: Wall,
) -> Result<NewRequest, StoreError> {
    let ack_json = entry.ack.as_ref().map(serde_json::to_string).transpose();
    Ok(NewRequest {
        id: entry.id.clone(),
        request: entry.request.clone(),
        state: State::Waiting,
        held_reason: None,
        place_at: now,
        not_before: now,
        due_at: None,
        not_after: None,
        token: entry.token.clone(),
        ack_json: ack_json.map_err(|e| StoreError::Damaged(e.to_string()))?,
        promise: promise.clone(),
        forecast: None,
        stale_at: stale_at(promise),
        address: entry.address.map(|a| a.to_string()),
        source: entry.source(),
        proven: entry.proven,
        pin: entry.pin.clone(),
        parent: None,
        accepted_at: now,
    })
}

/// Writes the acknowledgement; false if the budget of replies withholds it.
async fn acknowledge(
    tx: &mut Conn,
    entry: &Entry,
    position: Option<u32>,
) -> Result<bool, StoreError> {
    let kind = match entry.admission {
        Admission::Line => "ack",
        Admission::Confirm => "confirm",
        Admission::Decide => return Ok(true),
    };
    let Some(ack) = &entry.ack else {
        return Ok(true);
    };
    let to_mail = entry.request.channel == Channel::Smtp;
    if !budget::take(tx, &ack.address, to_mail).await? {
        return Ok(false);
    }
    let row = request::by_id(tx, &entry.id)
        .await?
        .ok_or(StoreError::NotFound)?;
    let letter = Letter {
        kind,
        position,
        ..Letter::default()
    };
    entry.letters.about(tx, &row, &letter).await?;
    Ok(true)
}

/// Acknowledges the row that was just made; the answer to whoever asked.
async fn answer(
    tx: &mut Conn,
    entry: &Entry,
    position: Option<u32>,
    promise: Promise,
) -> Result<Entered, StoreError> {
    let withheld = !acknowledge(tx, entry, position).await?;
    let accepted = accepted(entry, position, promise);
    Ok(Entered { accepted, withheld })
}

/// The answer to whoever asked.
pub(super) fn accepted(entry: &Entry, position: Option<u32>, promise: Promise) -> Accepted {
    Accepted {
        id: entry.id.clone(),
        token: entry.token.clone(),
        position,
        promise,
        fresh: true,
    }
}

/// What a step of the life cycle causes beside the row: mail and the do-not-call list.
pub(super) async fn follow_up(
    tx: &mut Conn,
    letters: &Letters,
    row: &RequestRow,
    state: State,
    effects: &Effects,
    reason: &'static str,
) -> Result<(), StoreError> {
    use helpline_core::queue::Mail;

    if let Some(period) = effects.suppress_for {
        let period = Some(period);
        let entry = crate::store::Suppression { period, reason };
        limit::suppress(tx, &row.number, entry).await?;
    }
    let letter = match effects.mail {
        None => return Ok(()),
        Some(Mail::Attempted) => Letter {
            kind: "attempted",
            seq: row.tries,
            reason: Some(reason),
            next_at: effects.not_before,
            ..Letter::default()
        },
        Some(Mail::Closing) => Letter {
            kind: "closing",
            reason: Some(state.word()),
            ..Letter::default()
        },
    };
    letters.about(tx, row, &letter).await
}
