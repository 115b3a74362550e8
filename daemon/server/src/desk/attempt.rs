//! Attempts: the intent, what a call reports, what its flow settles, and its end.

use std::time::Duration;

use helpline_core::agent::Event::Gone;
use helpline_core::call::{CallReport, Disposition, End, Settled, disposition};
use helpline_core::id::{AttemptId, CallId, RequestId};
use helpline_core::phone::PhoneNumber;
use helpline_core::queue::ewt::Kept;
use helpline_core::queue::harass::Heard;
use helpline_core::queue::retry::{self, History};
use helpline_core::queue::{Event, Release, STOP_FOR, State, step};
use helpline_core::rng::Rng;
use helpline_core::time::Wall;

use super::accept::follow_up;
use super::letter::Letters;
use super::{Desk, StoreError, locked};
use crate::store::{AgentRow, AttemptRow, Claimed, Conn, Intent, IntentRefused, Offer};
use crate::store::{Outcome, Suppression, Wanted, agent};
use crate::store::{attempt, call, claim, limit, request, source, trunk};

pub(crate) use crate::store::Progress as LiveProgress;
pub(crate) use crate::store::TraceRow as Trace;

/// Furthest time a customer may choose on the telephone.
const LATER_MAX: Duration = Duration::from_secs(14 * 86_400);
/// What a call may last beyond the longest call before it counts as lost.
const STAGE_SLACK: Duration = Duration::from_secs(300);

/// A committed attempt: everything the dialler needs to call.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) request: RequestId,
    pub(crate) attempt: AttemptId,
    pub(crate) attempt_no: u32,
    pub(crate) epoch: i64,
    pub(crate) queue: String,
    pub(crate) trunk: String,
    pub(crate) number: PhoneNumber,
    pub(crate) call_id: String,
    pub(crate) ring_limit: Duration,
    pub(crate) language: String,
    pub(crate) asked_at: Wall,
    pub(crate) page: Option<String>,
    /// The customer called from the number himself.
    pub(crate) proven: bool,
    /// What he has to key in.
    pub(crate) pin: Option<String>,
    /// Whom it asks for, where people take the calls.
    pub(crate) wanted: Wanted,
    /// The agent that is kept for it.
    pub(crate) agent: Option<AgentRow>,
}

/// What became of a claimed request.
#[derive(Debug)]
pub(crate) enum Placed {
    /// The attempt is committed: call now.
    Go(Box<Live>),
    /// No trunk has room: nothing more can be placed now.
    NoRoom,
    /// This one is not to be called now; the next may be.
    Gone,
}

/// What a flow orders for the request of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Call at another time.
    Later(Wall),
    /// "I did not ask for this call."
    Stop,
    /// The customer no longer wants the call.
    Withdraw,
}

/// The answer to an [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderReply {
    /// Durable.
    Done,
    /// Not a time at which we can call.
    BadTime,
}

/// An attempt by its fence.
struct Which {
    attempt: AttemptId,
    epoch: i64,
    queue: String,
}

impl From<&Live> for Which {
    fn from(live: &Live) -> Self {
        Which {
            attempt: live.attempt.clone(),
            epoch: live.epoch,
            queue: live.queue.clone(),
        }
    }
}

impl From<&AttemptRow> for Which {
    fn from(row: &AttemptRow) -> Self {
        Which {
            attempt: row.id.clone(),
            epoch: row.epoch,
            queue: row.queue.clone(),
        }
    }
}

/// What ends an attempt; the transaction may run twice.
#[derive(Clone, Debug)]
struct Ending {
    attempt: AttemptId,
    epoch: i64,
    outcome: Outcome,
    later_at: Option<Wall>,
    trunks: u32,
    /// The trunk itself failed; false when the call never left this daemon.
    blame: bool,
    seed: u64,
    letters: Letters,
}

impl Desk {
    /// Commits the attempt of a claimed request. Only after [`Placed::Go`] may an INVITE
    /// leave.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the request comes back when its lease ends.
    pub(crate) async fn place(&self, claimed: &Claimed) -> Result<Placed, StoreError> {
        let row = claimed.row.clone();
        let Some(queue) = self.queue(&row.queue) else {
            return Ok(Placed::Gone);
        };
        let intent = Intent {
            attempt: self.new_id(AttemptId::new),
            request: row.id.clone(),
            queue: row.queue.clone(),
            epoch: row.epoch,
            node: self.node(),
            number: row.number.clone(),
            call_id: self.new_id(CallId::new).to_string(),
            trunks: self.offers(&row.number),
            ring_limit: queue.ring_limit.0,
        };
        let allowed = self.rules.check(&row.number).is_ok();
        let letters = self.letters(&row.queue);
        let (order, asked) = (intent.clone(), row.clone());
        let done = self
            .store
            .write(move |tx| {
                let (intent, row, letters) = (order.clone(), asked.clone(), letters.clone());
                Box::pin(async move { commit_intent(tx, intent, &row, &letters, allowed).await })
            })
            .await?;
        if let (Err(_), Some(agent)) = (&done, &claimed.agent) {
            self.agent(&agent.name, row.id.as_str(), Gone).await?;
        }
        Ok(match done {
            Err(IntentRefused::Released(Release::NoChannel | Release::NoTrunk)) => Placed::NoRoom,
            Err(_) => Placed::Gone,
            Ok(made) => {
                if made.attempt_no == 1 {
                    self.first_call(&row);
                }
                Placed::Go(Box::new(Live {
                    wanted: Wanted {
                        queue: row.queue.clone(),
                        skill: row.skill,
                        prefers: row.prefers,
                    },
                    proven: row.proven,
                    pin: row.pin,
                    agent: claimed.agent.clone(),
                    request: row.id,
                    attempt: intent.attempt,
                    attempt_no: made.attempt_no,
                    epoch: row.epoch,
                    queue: row.queue,
                    trunk: made.trunk,
                    number: row.number,
                    call_id: intent.call_id,
                    ring_limit: intent.ring_limit,
                    language: row.language,
                    asked_at: row.accepted_at,
                    page: row.page,
                }))
            }
        })
    }

    fn offers(&self, number: &PhoneNumber) -> Vec<Offer> {
        let trunks = self.config.trunk.iter();
        let offer = |trunk: &crate::config::Trunk| Offer {
            trunk: trunk.name.clone(),
            price: trunk.price(number.as_str()),
        };
        trunks.map(offer).collect()
    }

    /// Holds a first call against what its customer was told.
    fn first_call(&self, row: &crate::store::RequestRow) {
        let (promise, forecast) = (row.promise.as_ref(), row.forecast.as_ref());
        let now = self.clock.wall();
        let mut records = locked(&self.records);
        let record = records.entry(row.queue.clone()).or_default();
        let kept = record.first_call(promise, forecast, row.accepted_at, now);
        if kept == Some(Kept::Late) {
            tracing::info!(request.id = %row.id, queue = row.queue, "called after the promised time");
        }
    }

    /// Writes how far a call is. Late or repeated news change nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: the attempt is over for everybody else, so the call has to
    /// end; [`StoreError::Unavailable`]: repeat later.
    pub(crate) async fn progress(
        &self,
        live: &Live,
        progress: LiveProgress,
    ) -> Result<(), StoreError> {
        let (id, epoch) = (live.attempt.clone(), live.epoch);
        let lease = self.config.voice.call_limit.0 + STAGE_SLACK;
        self.store
            .write(move |tx| {
                let id = id.clone();
                Box::pin(async move { attempt::progress(tx, &id, epoch, progress, lease).await })
            })
            .await
    }

    /// Notes who took a call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat later.
    pub(crate) async fn taken_by(&self, live: &Live, name: &str) -> Result<(), StoreError> {
        let (id, name) = (live.attempt.clone(), name.to_owned());
        self.store
            .write(move |tx| {
                let (id, name) = (id.clone(), name.clone());
                Box::pin(async move { agent::took(tx, &id, &name).await })
            })
            .await
    }

    /// Makes durable what the customer settled, before the flow says so.
    ///
    /// # Errors
    /// As [`Desk::progress`].
    pub(crate) async fn order(&self, live: &Live, order: Order) -> Result<OrderReply, StoreError> {
        let now = self.clock.wall();
        let (word, at) = match order {
            Order::Later(at) => {
                let possible = at > now && at.since(now) <= LATER_MAX;
                if !possible || !self.is_open(&live.queue, at) {
                    return Ok(OrderReply::BadTime);
                }
                (Disposition::Later, Some(at))
            }
            Order::Stop => (Disposition::Stop, None),
            Order::Withdraw => (Disposition::Withdrawn, None),
        };
        let live = live.clone();
        self.store
            .write(move |tx| {
                let live = live.clone();
                Box::pin(async move {
                    attempt::settled(tx, &live.attempt, live.epoch, word, at).await?;
                    if word == Disposition::Stop {
                        let entry = Suppression {
                            period: Some(STOP_FOR),
                            reason: "stop",
                        };
                        limit::suppress(tx, &live.number, entry).await?;
                    }
                    Ok(OrderReply::Done)
                })
            })
            .await
    }

    /// Ends an attempt: disposition, retry table, state of the request and mail in one
    /// transaction.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: it was ended by someone else; [`StoreError::Unavailable`]:
    /// repeat until it succeeds.
    pub(crate) async fn settle(
        &self,
        live: &Live,
        report: &CallReport,
    ) -> Result<State, StoreError> {
        let (sip_code, q850) = match report.end {
            End::Refused { code, q850 } => (Some(code), q850),
            End::RingLimit
            | End::Unreachable
            | End::Silent
            | End::HungUp { .. }
            | End::Cancelled
            | End::NoMedia => (None, None),
        };
        let later_at = match report.settled {
            Some(Settled::Later { at }) => Some(at),
            _ => None,
        };
        let outcome = Outcome {
            disposition: disposition::of(report),
            sip_code,
            q850,
        };
        let state = self.finish(live.into(), outcome, later_at, true).await?;
        tracing::info!(
            request.id = %live.request, call.id = %live.call_id, attempt = live.attempt_no,
            disposition = outcome.disposition.word(), state = state.word(), "an attempt ended"
        );
        Ok(state)
    }

    /// The call was not placed at all: nothing was sent, nothing counts.
    ///
    /// # Errors
    /// As [`Desk::settle`].
    pub(crate) async fn not_placed(&self, live: &Live) -> Result<State, StoreError> {
        let outcome = Outcome {
            disposition: Disposition::TrunkFailed,
            sip_code: None,
            q850: None,
        };
        self.finish(live.into(), outcome, None, false).await
    }

    /// The call was lost from sight: what is known of it decides.
    ///
    /// # Errors
    /// As [`Desk::settle`].
    pub(crate) async fn lost(&self, live: &Live) -> Result<(), StoreError> {
        let id = live.attempt.clone();
        let row = self
            .store
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { attempt::by_id(tx, &id).await })
            })
            .await?;
        match row {
            Some(row) => self.finish_orphan(&row).await,
            None => Err(StoreError::NotFound),
        }
    }

    /// Ends what a dead daemon or a hung task left behind.
    pub(super) async fn finish_orphan(&self, orphan: &AttemptRow) -> Result<(), StoreError> {
        let settled = orphan.settled.as_deref().and_then(Disposition::from_word);
        let disposition = settled.unwrap_or(match orphan.state.as_str() {
            "answered" | "connected" => Disposition::Interrupted,
            _ => Disposition::Unknown,
        });
        let outcome = Outcome {
            disposition,
            sip_code: None,
            q850: None,
        };
        tracing::warn!(
            request.id = %orphan.request, was = orphan.state, disposition = disposition.word(),
            "an attempt was left behind"
        );
        let done = self
            .finish(orphan.into(), outcome, orphan.settled_at, true)
            .await;
        match done {
            // Its own task was quicker.
            Ok(_) | Err(StoreError::Fenced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn finish(
        &self,
        which: Which,
        outcome: Outcome,
        later_at: Option<Wall>,
        blame: bool,
    ) -> Result<State, StoreError> {
        let Which {
            attempt,
            epoch,
            queue,
        } = which;
        let ending = Ending {
            seed: self.seed ^ label(attempt.as_str()),
            attempt,
            epoch,
            outcome,
            later_at,
            blame,
            trunks: u32::try_from(self.config.trunk.len()).unwrap_or(u32::MAX),
            letters: self.letters(&queue),
        };
        let state = self
            .store
            .write(move |tx| {
                let ending = ending.clone();
                Box::pin(async move { end(tx, &ending).await })
            })
            .await?;
        *locked(&self.ended)
            .entry(outcome.disposition.word())
            .or_default() += 1;
        self.wake_line();
        self.wake_mail();
        Ok(state)
    }

    /// Keeps lines of a call's trace.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat; a line written twice is there once.
    pub(crate) async fn trace(
        &self,
        call_id: &str,
        direction: &'static str,
        lines: Vec<Trace>,
    ) -> Result<(), StoreError> {
        let call_id = call_id.to_owned();
        self.store
            .write(move |tx| {
                let (call_id, lines) = (call_id.clone(), lines.clone());
                Box::pin(async move { call::trace(tx, &call_id, direction, &lines).await })
            })
            .await
    }
}

/// A number made of a text, to seed chance with (FNV-1a).
fn label(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

async fn commit_intent(
    tx: &mut Conn,
    mut intent: Intent,
    row: &crate::store::RequestRow,
    letters: &Letters,
    allowed: bool,
) -> Result<Result<claim::Intended, IntentRefused>, StoreError> {
    // The trunk that just failed comes last.
    let past = History {
        dispositions: attempt::history(tx, &row.id).await?,
        ..History::default()
    };
    let failed = usize::try_from(retry::trunk_failures_in_row(&past)).unwrap_or(0);
    let trunks = intent.trunks.len().max(1);
    intent.trunks.rotate_left(failed % trunks);
    let made = if allowed {
        claim::intent(tx, &intent).await?
    } else {
        // The rules changed since the request was accepted.
        Err(IntentRefused::Suppressed)
    };
    if made == Err(IntentRefused::Suppressed) {
        let now = tx.now().await?;
        let (state, effects) = step(&row.facts(), &Event::DoNotCall, now);
        request::apply(tx, row, state, &effects).await?;
        follow_up(tx, letters, row, state, &effects, "do_not_call").await?;
    }
    Ok(made)
}

/// After an unwelcome call: whoever asked for it may have asked for others to be troubled.
async fn watch_source(
    tx: &mut Conn,
    request: &RequestId,
    disposition: Disposition,
) -> Result<(), StoreError> {
    let mut this = Heard::default();
    this.count(disposition);
    if this == Heard::default() || this.talked > 0 {
        return Ok(());
    }
    if let Some((source, heard)) = source::heard(tx, request).await?
        && heard.is_harassment()
    {
        tracing::warn!(request.id = %request, "nothing is taken from the source of this request for a day");
        source::quarantine(tx, &source).await?;
    }
    Ok(())
}

/// The transaction that ends an attempt: attempt, trunk, request, mail.
async fn end(tx: &mut Conn, ending: &Ending) -> Result<State, StoreError> {
    let made = attempt::by_id(tx, &ending.attempt)
        .await?
        .ok_or(StoreError::NotFound)?;
    let dispositions = attempt::history(tx, &made.request).await?;
    attempt::end(tx, &ending.attempt, ending.epoch, &ending.outcome).await?;
    let disposition = ending.outcome.disposition;
    match disposition {
        Disposition::TrunkFailed if ending.blame => trunk::failed(tx, &made.trunk).await?,
        // These say nothing about the trunk.
        Disposition::TrunkFailed
        | Disposition::TrunkRefused
        | Disposition::Unknown
        | Disposition::Interrupted
        | Disposition::Withdrawn => {}
        Disposition::Talked
        | Disposition::ShortHangup
        | Disposition::NotConfirmed
        | Disposition::Machine
        | Disposition::Busy
        | Disposition::NoAnswer
        | Disposition::Declined
        | Disposition::Unwanted
        | Disposition::Blocked
        | Disposition::BadNumber
        | Disposition::Redirected
        | Disposition::AbandonedByUs
        | Disposition::Later
        | Disposition::Stop => trunk::worked(tx, &made.trunk).await?,
    }
    watch_source(tx, &made.request, disposition).await?;
    let now = tx.now().await?;
    let row = request::by_id(tx, &made.request)
        .await?
        .ok_or(StoreError::NotFound)?;
    if row.epoch != ending.epoch || !row.state.is_open() {
        // Withdrawn during the call, or taken over: the request has moved on.
        return Ok(row.state);
    }
    let history = History {
        dispositions,
        accepted_at: row.due_at.unwrap_or(row.accepted_at).max(row.accepted_at),
        intent_at: made.intent_at,
        ring_limit: made.ring_limit,
        rang: made.rang,
        later_at: ending.later_at.or(made.settled_at),
        trunks: ending.trunks,
    };
    let next = retry::next(&history, disposition, now, &mut Rng::new(ending.seed));
    let (state, effects) = step(&row.facts(), &Event::Ended { disposition, next }, now);
    if state == row.state {
        return Ok(state);
    }
    if state.is_open()
        && let Some(other) = request::open_of(tx, &row.queue, &row.number).await?
        && other.id != row.id
    {
        if !other.is_unproven() {
            // The customer asked again during the talk: that request stands for both.
            request::merge_into(tx, &row, &other.id).await?;
            return Ok(State::Merged);
        }
        // A mail for which nothing vouches does not take over a talk that was real.
        request::merge_into(tx, &other, &row.id).await?;
    }
    request::apply(tx, &row, state, &effects).await?;
    follow_up(
        tx,
        &ending.letters,
        &row,
        state,
        &effects,
        disposition.word(),
    )
    .await?;
    Ok(state)
}
