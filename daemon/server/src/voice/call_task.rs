//! The task of an answered call: it owns the flow machine and the leg, and only carries
//! inputs and outputs between them, the desk and the media thread.

mod away;
mod sound;
mod told;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use helpline_core::audio::answer::{Answerer, Limits};
use helpline_core::call::{Ledger, Settled};
use helpline_core::ivr::io::{
    Barge, CallbackOrder, CallbackReply, HttpOrder, Input, Join, Key, OpId, Output, Queues,
    TraceLine, TransferMode, Why,
};
use helpline_core::ivr::machine::FlowMachine;
use helpline_core::ivr::measure::Measurer;
use helpline_core::ivr::replay::{BEGAN, Began};
use helpline_core::phone::PhoneNumber;
use helpline_core::time::Time;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::engine::Board;
use super::leg::Leg;
use super::media::{DigitSource, MediaEvent};
use super::prompts::Prompts;
use super::sip::{Refer, ReferTo, SipEvent};
use super::takes::{Takes, Taking};
use super::tts::Tts;
use super::{Ask, CallCommand, CallEvent, Reply, Transfer, TransferTo};
use crate::clock::Clock;

/// How long a flow may go on silently after the call has ended.
const REST_LIMIT: Duration = Duration::from_secs(10);
/// How long a reader of events may be busy before it counts as gone.
const READER_LIMIT: Duration = Duration::from_secs(5);
/// Stands in for a clip that is not there, so that a flow cannot turn without time passing.
const GAP: Duration = Duration::from_millis(20);
/// Q.850 causes of our BYEs.
const CAUSE_NORMAL: u8 = 16;
const CAUSE_FAILURE: u8 = 41;
const CAUSE_TIMER: u8 = 102;
/// The number of what is played over the flow: machines count up from one.
const OVER_FLOW: u32 = u32::MAX;

/// What the task needs.
pub(super) struct Answered {
    pub(super) leg: Leg,
    pub(super) machine: FlowMachine,
    pub(super) prompts: Arc<Prompts>,
    pub(super) events: mpsc::Sender<CallEvent>,
    pub(super) clock: Clock,
    /// Longest call.
    pub(super) limit: Duration,
    /// Cancelled when the daemon stops: the call is ended.
    pub(super) stop: CancellationToken,
    pub(super) counters: Arc<Counters>,
    pub(super) may_dial: MayDial,
    pub(super) queues: Board,
    pub(super) takes: Takes,
    pub(super) tts: Option<Arc<Tts>>,
}

/// The number a telephone may be transferred to, by the dial rules.
pub(super) type MayDial = Arc<dyn Fn(&str) -> Option<PhoneNumber> + Send + Sync>;

/// How the call went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) by_customer: bool,
    pub(super) talked_for: Duration,
    pub(super) settled: Option<Settled>,
    pub(super) answerer: Option<Answerer>,
}

/// An answer that is outstanding.
#[derive(Clone, Debug, PartialEq)]
enum Pending {
    Join,
    Store,
    /// With the answer when nobody gives one.
    Ask(Reply),
}

struct Task {
    /// `None` once the call has ended.
    leg: Option<Leg>,
    machine: FlowMachine,
    prompts: Arc<Prompts>,
    events: mpsc::Sender<CallEvent>,
    clock: Clock,
    counters: Arc<Counters>,
    measurer: Measurer,
    may_dial: MayDial,
    queues: Board,
    /// What the flow knows of the lines.
    seen: Arc<Queues>,
    began: Time,
    /// Who waits for what comes of our REFER.
    referring: Option<away::Referring>,
    ended: Option<(Time, bool)>,
    ledger: Ledger,
    pending: BTreeMap<OpId, Pending>,
    /// Speech after the end: nobody hears it, it ends by itself.
    unheard: VecDeque<(Time, OpId)>,
    /// Asked of a desk that is gone: answered in the negative.
    refused: VecDeque<Input>,
    /// Nobody sends answers any more.
    desk_gone: bool,
    /// The number of what is being recorded for whoever owns the call.
    recording: Option<u32>,
    takes: Takes,
    tts: Option<Arc<Tts>>,
    /// What the flow takes down.
    taking: Option<Taking>,
    /// Whoever waits until something was played over the flow.
    said: Option<oneshot::Sender<()>>,
    /// Keys of a secret are entered, or whoever records asked for silence.
    masked: bool,
    paused: bool,
}

enum Happened {
    Sip(SipEvent),
    Media(Option<MediaEvent>),
    Command(Option<CallCommand>),
    Stop,
    Tick,
}

/// Runs the flow until the call has ended and the flow has settled what it had to.
pub(super) async fn run(call: Answered, commands: &mut mpsc::Receiver<CallCommand>) -> Outcome {
    let stop = call.stop.clone();
    let began = call.clock.time();
    let limit = began + call.limit;
    let seen = Arc::clone(&call.machine.origin().0.queues);
    let mut task = Task {
        leg: Some(call.leg),
        machine: call.machine,
        prompts: call.prompts,
        events: call.events,
        clock: call.clock,
        counters: call.counters,
        measurer: Measurer::default(),
        may_dial: call.may_dial,
        seen,
        queues: call.queues,
        began,
        ended: None,
        referring: None,
        ledger: Ledger::default(),
        pending: BTreeMap::new(),
        unheard: VecDeque::new(),
        refused: VecDeque::new(),
        desk_gone: false,
        recording: None,
        takes: call.takes,
        tts: call.tts,
        taking: None,
        said: None,
        masked: false,
        paused: false,
    };
    task.trace(TraceLine {
        flow: task.machine.flow_name().to_owned(),
        node: String::new(),
        kind: "begin",
        data: format!("revision {}", task.machine.revision()),
    });
    let (start, flows) = task.machine.origin();
    let began = Began::of(start, flows);
    task.note(BEGAN, &began);
    task.feed(Input::Timeout).await;
    while !task.is_done() {
        match task.wait(commands, &stop, limit).await {
            Happened::Sip(event) => task.on_sip(event).await,
            Happened::Media(event) => task.on_media(event).await,
            Happened::Command(Some(command)) => task.on_command(command).await,
            Happened::Command(None) => task.desk_is_gone().await,
            Happened::Stop => task.hang_up(CAUSE_NORMAL).await,
            Happened::Tick => task.on_tick(limit).await,
        }
    }
    task.outcome()
}

impl Task {
    fn is_done(&self) -> bool {
        let Some((at, _)) = self.ended else {
            return false;
        };
        let idle = self.machine.deadline().is_none() && !self.ledger.awaits();
        self.machine.ended() || idle || self.clock.time() >= at + REST_LIMIT
    }

    fn outcome(&self) -> Outcome {
        let (at, by_customer) = self.ended.unwrap_or((self.clock.time(), false));
        Outcome {
            by_customer,
            talked_for: at.since(self.began),
            settled: self.ledger.settled(),
            answerer: self.ledger.answerer(),
        }
    }

    async fn wait(
        &mut self,
        commands: &mut mpsc::Receiver<CallCommand>,
        stop: &CancellationToken,
        limit: Time,
    ) -> Happened {
        let now = self.clock.time();
        let end = self.ended.map_or(limit, |(at, _)| at + REST_LIMIT);
        let unheard = self.unheard.front().map(|(at, _)| *at);
        let due = [self.machine.deadline(), unheard, Some(end)];
        let due = due.into_iter().flatten().min().unwrap_or(end);
        let tick = tokio::time::sleep(due.since(now));
        let listening = !self.desk_gone;
        let Some(leg) = &mut self.leg else {
            return tokio::select! {
                command = commands.recv(), if listening => Happened::Command(command),
                () = tick => Happened::Tick,
            };
        };
        tokio::select! {
            event = leg.sip.next() => Happened::Sip(event),
            event = leg.media.events.recv() => Happened::Media(event),
            command = commands.recv(), if listening => Happened::Command(command),
            () = stop.cancelled() => Happened::Stop,
            () = tick => Happened::Tick,
        }
    }

    async fn on_sip(&mut self, event: SipEvent) {
        match event {
            SipEvent::Reoffer(reoffer) => {
                if let Some(leg) = &mut self.leg {
                    leg.reoffer(reoffer).await;
                }
            }
            SipEvent::Acked(answer) => {
                if let Some(leg) = &mut self.leg {
                    leg.acked(answer);
                }
            }
            SipEvent::Reanswered(answer) => {
                if let Some(leg) = &mut self.leg {
                    leg.reanswered(answer);
                }
                self.held(true);
            }
            SipEvent::Refreshed(answer) => {
                if let Some(leg) = &mut self.leg {
                    leg.refreshed(answer);
                }
            }
            SipEvent::OfferRefused(code) => {
                if let Some(leg) = &mut self.leg {
                    leg.offer_refused(code);
                }
                self.held(false);
            }
            SipEvent::Refer(refer) => self.refer(refer).await,
            SipEvent::Referred(code) => self.referred(code).await,
            SipEvent::Digit(key, millis) => {
                if let (Some(leg), Some(key)) = (&self.leg, Key::new(key)) {
                    leg.media.other_digit(key, u32::from(millis));
                }
            }
            SipEvent::Ended | SipEvent::Silent | SipEvent::Failed(_) | SipEvent::Refused { .. } => {
                self.over(None, true).await;
                self.feed(Input::Hangup).await;
            }
            SipEvent::Trying | SipEvent::Ringing(_) | SipEvent::Answered(_) => {}
        }
    }

    /// A transfer is told to whoever owns the call, if the rules allow it.
    async fn refer(&mut self, refer: Refer) {
        let to = match refer.to().clone() {
            ReferTo::Phone(user) => Some(TransferTo::Phone(user)),
            ReferTo::Call(id) => Some(TransferTo::Call(id)),
            ReferTo::User(user) => (self.may_dial)(&user).map(TransferTo::Number),
        };
        let Some(to) = to else {
            refer.refuse(603).await;
            return;
        };
        let transfer = Transfer {
            to,
            progress: refer.accept().await,
        };
        // Dropped with its transfer, the progress tells the telephone that it failed.
        if self.events.try_send(CallEvent::Transfer(transfer)).is_err() {
            tracing::debug!("nobody takes a transfer");
        }
    }

    async fn on_media(&mut self, event: Option<MediaEvent>) {
        match event {
            Some(MediaEvent::KeyDown(key, source)) => {
                match source {
                    DigitSource::Rfc4733 => self.counters.keys_rfc4733.add(),
                    DigitSource::Info => self.counters.keys_info.add(),
                    DigitSource::Inband => self.counters.keys_inband.add(),
                }
                self.ledger.keyed();
                self.feed(Input::KeyDown(key)).await;
            }
            Some(MediaEvent::KeyUp(key)) => self.feed(Input::KeyUp(key)).await,
            // The machine drops what it no longer waits for.
            Some(MediaEvent::PlayEnded { op: OVER_FLOW, .. }) => {
                // Whoever waited may have given up.
                let _ = self.said.take().map(|said| said.send(()));
            }
            Some(MediaEvent::PlayEnded { op, .. }) => self.feed(Input::Spoken(OpId(op))).await,
            Some(MediaEvent::Answerer(who, features)) => {
                self.ledger.heard(who);
                self.tell(CallEvent::Answerer(who, features));
                self.feed(Input::Heard(who)).await;
            }
            Some(MediaEvent::MachineListens { after_beep }) => {
                self.tell(CallEvent::MachineListens { after_beep });
                self.feed(Input::MachineListens).await;
            }
            Some(MediaEvent::Recorded { op, why, length }) => {
                if let Some(taking) = self.taking.take_if(|taking| taking.op.0 == op) {
                    self.feed(taking.ended(Some(why), length)).await;
                } else {
                    self.recording.take_if(|known| *known == op);
                    self.tell(CallEvent::Recorded(op, Some(why), length));
                }
            }
            Some(MediaEvent::NoRtp) => {
                self.counters.no_rtp.add();
                tracing::warn!("no RTP came from the far end: the call is ended");
                self.hang_up(CAUSE_TIMER).await;
            }
            Some(MediaEvent::Closed(_)) | None => {
                tracing::error!("the media of a call failed: the call is ended");
                self.hang_up(CAUSE_FAILURE).await;
            }
        }
    }

    async fn on_command(&mut self, command: CallCommand) {
        match command {
            CallCommand::Joined(op, channel) => {
                if self.answered(op, |p| *p == Pending::Join) {
                    self.ledger.joined(op);
                    self.feed(Input::Joined(op, channel)).await;
                }
            }
            CallCommand::LeftQueue(op, why) => {
                if self.answered(op, |p| *p == Pending::Join) {
                    self.ledger.left(op);
                    self.feed(Input::LeftQueue(op, why)).await;
                }
            }
            CallCommand::TalkEnded(op) => self.feed(Input::TalkEnded(op)).await,
            CallCommand::TalkBroke(op) => {
                self.ledger.broke(op);
                self.pending.insert(op, Pending::Join);
                self.feed(Input::TalkBroke(op)).await;
            }
            CallCommand::Stored(op, reply) => {
                if self.answered(op, |p| *p == Pending::Store) {
                    self.ledger.stored(op, &reply);
                    self.feed(Input::Stored(op, reply)).await;
                }
            }
            CallCommand::Reply(op, reply) => {
                let fits = |kind: &Pending| match kind {
                    Pending::Ask(refused) => {
                        std::mem::discriminant(refused) == std::mem::discriminant(&reply)
                    }
                    Pending::Join | Pending::Store => false,
                };
                if self.answered(op, fits) {
                    self.feed(reply.input(op)).await;
                }
            }
            CallCommand::Queue(op, view) => self.feed(Input::Queue(op, view)).await,
            CallCommand::Say(items, said) => {
                self.said = Some(said);
                self.say(OpId(OVER_FLOW), items, Barge::Never).await;
            }
            CallCommand::Hold(held) => {
                if let Some(leg) = &mut self.leg {
                    leg.hold(held);
                }
            }
            CallCommand::Place(to) => {
                // Whoever asked may have given up.
                let place = self.leg.as_ref().map(|leg| leg.sip.place());
                drop(place.map(|place| to.send(place)));
            }
            CallCommand::GiveTo(place, given) => self.give_to(place, given),
            CallCommand::HangUp => self.hang_up(CAUSE_NORMAL).await,
            CallCommand::Lend(_)
            | CallCommand::Music(_)
            | CallCommand::Record(_)
            | CallCommand::StopRecording
            | CallCommand::PauseRecording(_)
            | CallCommand::Detect(_) => self.on_sound(command),
        }
    }

    async fn on_tick(&mut self, limit: Time) {
        let now = self.clock.time();
        if self.ended.is_none() && now >= limit {
            self.hang_up(CAUSE_TIMER).await;
            return;
        }
        if let Some((at, op)) = self.unheard.front().copied()
            && now >= at
        {
            self.unheard.pop_front();
            self.feed(Input::Spoken(op)).await;
        }
        if self.machine.deadline().is_some_and(|d| now >= d) {
            self.feed(Input::Timeout).await;
        }
    }

    /// Whether an answer of that kind was awaited under this number; it is from now on not.
    fn answered(&mut self, op: OpId, fits: impl FnOnce(&Pending) -> bool) -> bool {
        let known = self.pending.get(&op).is_some_and(fits);
        if known {
            self.pending.remove(&op);
        } else {
            tracing::debug!(op = op.0, "an answer nobody waits for");
        }
        known
    }

    /// Ends the call from our side; the flow may still settle something.
    async fn hang_up(&mut self, cause: u8) {
        if self.leg.is_some() {
            self.over(Some(cause), false).await;
            self.feed(Input::Hangup).await;
        }
    }

    /// The leg is no more; with a cause we end it, without one it has ended.
    async fn over(&mut self, cause: Option<u8>, by_customer: bool) {
        let Some(mut leg) = self.leg.take() else {
            return;
        };
        self.ended = Some((self.clock.time(), by_customer));
        let joins = self
            .pending
            .iter()
            .filter(|(_, kind)| **kind == Pending::Join);
        for op in joins.map(|(op, _)| *op).collect::<Vec<_>>() {
            // Whoever looks for somebody to take the call need not.
            self.tell(CallEvent::Leave(op));
        }
        if let Some(op) = self.recording.take() {
            let length = leg.media.end_recording().await;
            self.tell(CallEvent::Recorded(op, None, length));
        }
        if let Some(taking) = self.taking.take() {
            // The flow hears of its message before it hears of the hang-up.
            let length = leg.media.end_recording().await;
            let recorded = taking.ended(None, length);
            self.handle(recorded);
        }
        if let Some(cause) = cause {
            leg.close(cause);
        }
    }

    /// Nobody answers any more: what is outstanding is answered in the negative.
    async fn desk_is_gone(&mut self) {
        self.desk_gone = true;
        for (op, kind) in std::mem::take(&mut self.pending) {
            self.refuse(op, kind);
        }
        self.drain().await;
    }

    fn refuse(&mut self, op: OpId, kind: Pending) {
        self.refused.push_back(match kind {
            Pending::Join => {
                self.ledger.left(op);
                Input::LeftQueue(op, Why::NoAgents)
            }
            Pending::Store => {
                let reply = CallbackReply::Failed;
                self.ledger.stored(op, &reply);
                Input::Stored(op, reply)
            }
            Pending::Ask(reply) => reply.input(op),
        });
    }

    async fn feed(&mut self, input: Input) {
        self.see_queues();
        self.handle(input);
        self.drain().await;
    }

    /// Carries out what the machine wants, until it wants nothing.
    async fn drain(&mut self) {
        loop {
            while let Some(output) = self.machine.poll() {
                self.act(output).await;
            }
            let Some(input) = self.refused.pop_front() else {
                return;
            };
            self.handle(input);
        }
    }

    async fn act(&mut self, output: Output) {
        match output {
            Output::Say {
                op, items, barge, ..
            } => self.say(op, items, barge).await,
            Output::Stop(op) => {
                self.unheard.retain(|(_, o)| *o != op);
                if let Some(leg) = &self.leg {
                    leg.media.stop(op.0);
                }
            }
            Output::Mask(masked) => {
                self.masked = masked;
                self.mask();
            }
            Output::Join(op, join) => self.ask_join(op, join).await,
            Output::Leave(op) => {
                if self.answered(op, |p| *p == Pending::Join) {
                    self.ledger.left(op);
                    self.tell(CallEvent::Leave(op));
                }
            }
            Output::Music(id) => self.music(id),
            Output::Detect(verdict) => {
                if let Some(leg) = &self.leg {
                    leg.media.detect(Limits {
                        verdict,
                        ..Limits::default()
                    });
                }
            }
            Output::Record(op, order) => self.take_down(op, &order),
            Output::Store(op, order) => self.ask_store(op, order).await,
            Output::Http(op, order) => self.ask_for(op, Ask::Http(order)).await,
            Output::Find(op, lookup) => self.ask_for(op, Ask::Find(lookup)).await,
            Output::Deliver(op, delivery) => self.ask_for(op, Ask::Deliver(delivery)).await,
            Output::Transfer(op, order) if order.mode == TransferMode::Blind => {
                self.give_away(op, &order);
            }
            Output::Transfer(op, order) => self.ask_for(op, Ask::Transfer(order)).await,
            Output::Conference(op, room) => self.ask_for(op, Ask::Conference(room)).await,
            Output::Webhook(order) => self.webhook(order).await,
            Output::Trace(line) => self.trace(line),
            Output::End { cause } => self.over(Some(cause), false).await,
        }
    }

    async fn ask_join(&mut self, op: OpId, join: Join) {
        self.ledger.join_asked(op);
        self.ask(op, Pending::Join, CallEvent::Join(op, join)).await;
    }

    async fn ask_store(&mut self, op: OpId, order: CallbackOrder) {
        self.ledger.store_asked(op, &order);
        self.ask(op, Pending::Store, CallEvent::Store(op, order))
            .await;
    }

    async fn ask_for(&mut self, op: OpId, ask: Ask) {
        let pending = Pending::Ask(ask.refused());
        self.ask(op, pending, CallEvent::Ask(op, ask)).await;
    }

    async fn webhook(&mut self, order: HttpOrder) {
        let event = CallEvent::Webhook(order);
        if self.desk_gone || self.events.send_timeout(event, READER_LIMIT).await.is_err() {
            tracing::error!("a webhook of a flow found nobody to send it");
        }
    }

    async fn ask(&mut self, op: OpId, kind: Pending, event: CallEvent) {
        if !self.desk_gone && self.events.send_timeout(event, READER_LIMIT).await.is_ok() {
            self.pending.insert(op, kind);
        } else {
            self.refuse(op, kind);
        }
    }
}
