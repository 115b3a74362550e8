//! The calls of an engine, one task each: out, in, and the talk of both.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::call::End;
use helpline_core::ivr::flow::FlowSet;
use helpline_core::ivr::io::{CallFacts, Start};
use helpline_core::ivr::machine::FlowMachine;
use helpline_core::phone::PhoneNumber;
use helpline_core::rtp::latch;
use helpline_core::sdp::{Codec, Local};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use super::Shared;
use crate::config::{self, SrtpUse};
use crate::voice::call_task::{self, Answered, MayDial};
use crate::voice::dial::{Dial, Dialled};
use crate::voice::leg::Leg;
use crate::voice::media::{MediaLeg, MediaSource};
use crate::voice::reporter::Reporter;
use crate::voice::ring::Ring;
use crate::voice::secrecy::Secrecy;
use crate::voice::sip::{InviteIn, SipEvent, SipLeg};
use crate::voice::takes::Takes;
use crate::voice::trunk::Trunk;
use crate::voice::{Call, CallCommand, CallEvent, CallPlan, Incoming, VoiceError};

/// Events of a call that may wait for their reader.
const EVENTS_MAX: usize = 1_024;
/// Orders and answers that may wait for a call.
const COMMANDS_MAX: usize = 64;
/// How long the word that a call is answered may take to reach its reader.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a caller's ACK may take: 64 times T1 and a little.
const ACK_LIMIT: Duration = Duration::from_secs(35);

/// An outgoing call that may be dialled.
pub(super) struct Outgoing {
    plan: CallPlan,
    way: Way,
    media: MediaLeg,
    flows: Arc<FlowSet>,
    events: mpsc::Sender<CallEvent>,
    commands: mpsc::Receiver<CallCommand>,
    /// Held for the length of the call.
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// The flow of somebody who hears others, not a flow.
const SILENT_FLOW: &str = "guest";

/// What carries an outgoing call.
#[derive(Clone)]
enum Way {
    Trunk(Arc<Trunk>),
    /// A telephone of ours, by its user name.
    Phone(String),
}

/// A plan names a telephone instead of a trunk with this before its user name.
const PHONE: &str = "phone:";

impl Shared {
    fn session(&self) -> u64 {
        let mut rng = self
            .rng
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Readers of `o=` may keep it in a signed number.
        rng.next_u64() >> 2
    }

    pub(super) fn prepare(&self, plan: CallPlan) -> Result<(Call, Outgoing), VoiceError> {
        let way = self.way(&plan.trunk)?;
        let take = |semaphore: &Arc<Semaphore>| {
            Arc::clone(semaphore)
                .try_acquire_owned()
                .map_err(|e| match e {
                    TryAcquireError::Closed => VoiceError::Draining,
                    TryAcquireError::NoPermits => VoiceError::NoChannel,
                })
        };
        let channel = match &way {
            Way::Trunk(trunk) => Some(take(&trunk.channels)?),
            Way::Phone(_) => None,
        };
        let permits = (take(&self.admission)?, channel);
        let flows = (self.flows)();
        // A flow that cannot begin is known before anybody's telephone rings.
        FlowMachine::new(Arc::clone(&flows), self.start_out(&plan))
            .map_err(|e| VoiceError::Internal(format!("flow {:?}: {e}", plan.flow)))?;
        let media = self.media.open().map_err(|e| {
            tracing::warn!(error = %e, "no media for a call");
            VoiceError::NoChannel
        })?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let call = Call {
            id: plan.call_id.clone(),
            events: receiver,
            commands: sender,
        };
        let outgoing = Outgoing {
            plan,
            way,
            media,
            flows,
            events,
            commands,
            _permits: permits,
        };
        Ok((call, outgoing))
    }

    fn way(&self, name: &str) -> Result<Way, VoiceError> {
        let none = || VoiceError::NoTrunk(name.to_owned());
        if let Some(user) = name.strip_prefix(PHONE) {
            let known = self.phones.as_ref().is_some_and(|p| p.has(user));
            return known.then(|| Way::Phone(user.to_owned())).ok_or_else(none);
        }
        let trunk = self.trunks.get(name).ok_or_else(none)?;
        Ok(Way::Trunk(Arc::clone(trunk)))
    }

    /// Rings a telephone of ours.
    async fn ring(
        &self,
        user: &str,
        plan: &CallPlan,
        media: MediaLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
    ) -> Dialled {
        let Some(phones) = &self.phones else {
            return Dialled::Over(End::Unreachable);
        };
        let ring = Ring {
            stack: &self.stack,
            phones,
            user,
            from: plan.caller_id.as_deref().unwrap_or("helpline"),
            call_id: Some(plan.call_id.clone()),
            ring_limit: plan.ring_limit,
            session: self.session(),
            stop: &self.stop,
        };
        match ring.run(media, commands).await {
            Ok(leg) => Dialled::Up(leg),
            Err(end) => Dialled::Over(end),
        }
    }

    fn start_out(&self, plan: &CallPlan) -> Start {
        Start {
            flow: plan.flow.clone(),
            call: CallFacts {
                id: plan.call_id.clone(),
                from: self
                    .trunks
                    .get(&plan.trunk)
                    .map(|t| PhoneNumber::from_row(&t.caller_id)),
                to: plan.to.as_str().to_owned(),
                direction: "out",
                queue: plan.queue.clone(),
            },
            input: plan.input.clone(),
            language: plan.language.clone(),
            wall: self.clock.wall(),
            hours: plan.hours,
            queues: (self.config.queues)(),
            env: self.config.env.clone(),
            zone: self.config.zone.clone(),
        }
    }

    pub(super) async fn call_out(self: Arc<Self>, mut call: Outgoing) {
        let mut reporter = Reporter::new(&self.active, &self.counters, call.events.clone());
        self.counters.placed.add();
        let dialled = match &call.way {
            Way::Phone(user) => {
                let ring = self.ring(user, &call.plan, call.media, &mut call.commands);
                Box::pin(ring).await
            }
            Way::Trunk(trunk) => {
                let dial = Dial {
                    stack: &self.stack,
                    trunk,
                    to: call.plan.to.as_str(),
                    from: call.plan.caller_id.as_deref().unwrap_or(&trunk.caller_id),
                    call_id: call.plan.call_id.clone(),
                    ring_limit: call.plan.ring_limit,
                    session: self.session(),
                    events: &call.events,
                    stop: &self.stop,
                    rang: &mut reporter.report.rang,
                };
                Box::pin(dial.run(call.media, &mut call.commands)).await
            }
        };
        match dialled {
            Dialled::Over(end) => {
                match end {
                    End::Refused { .. } => self.counters.refused.add(),
                    End::Unreachable => self.counters.unreachable.add(),
                    _ => self.counters.unanswered.add(),
                }
                reporter.report.end = end;
            }
            Dialled::Up(leg) => {
                self.counters.answered.add();
                // A reader that went away does not end the call.
                let _ = call
                    .events
                    .send_timeout(CallEvent::Answered, ANSWER_LIMIT)
                    .await;
                let start = self.start_out(&call.plan);
                let flows = call.flows;
                self.talk(
                    leg,
                    flows,
                    start,
                    call.events,
                    &mut call.commands,
                    &mut reporter,
                )
                .await;
            }
        }
        reporter.tell().await;
    }

    /// Runs the flow of an answered call and fills in the report.
    async fn talk(
        &self,
        leg: Leg,
        flows: Arc<FlowSet>,
        start: Start,
        events: mpsc::Sender<CallEvent>,
        commands: &mut mpsc::Receiver<CallCommand>,
        reporter: &mut Reporter,
    ) {
        reporter.report.end = End::HungUp { by_customer: false };
        let id = start.call.id.clone();
        let machine = match FlowMachine::new(flows, start) {
            Ok(machine) => machine,
            Err(error) => {
                tracing::error!(%error, "a flow could not begin: the call is ended");
                leg.close(41);
                return;
            }
        };
        let config = &self.config;
        let (folder, codecs) = (config.recordings.clone(), config.codecs.clone());
        let takes = Takes::new(folder, self.media.clone(), codecs, &id);
        let answered = Answered {
            leg,
            machine,
            prompts: self.prompts.load_full(),
            events,
            clock: self.clock.clone(),
            limit: self.config.voice.call_limit.0,
            stop: self.stop.clone(),
            counters: Arc::clone(&self.counters),
            may_dial: self.may_dial(),
            queues: Arc::clone(&self.config.queues),
            takes,
            tts: self.tts.clone(),
        };
        let outcome = Box::pin(call_task::run(answered, commands)).await;
        reporter.report.end = End::HungUp {
            by_customer: outcome.by_customer,
        };
        reporter.report.talked_for = outcome.talked_for;
        reporter.report.settled = outcome.settled;
        reporter.report.answerer = outcome.answerer;
    }

    pub(super) async fn call_in(self: Arc<Self>, invite: InviteIn) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
        let from = invite.from.as_deref().and_then(|f| self.number(f));
        let to = invite.to.clone();
        let id = invite.leg.call_id();
        let _permit = invite.permit;
        let flows = (self.flows)();
        let phone = invite.phone.clone();
        let flow = self.flow_in(phone.as_deref(), &to);
        let begins = self.start_in(flow, &id, from.as_ref(), &to);
        if let Err(error) = FlowMachine::new(Arc::clone(&flows), begins) {
            tracing::error!(%error, "voice.inbound_flow cannot begin: callers are refused");
            self.counters.incoming_refused.add();
            invite.leg.reject(503);
            return;
        }
        let source = match invite.phone {
            // A telephone may sit behind a NAT.
            Some(_) => MediaSource {
                mode: latch::Mode::Nat,
                signalled: invite.source,
            },
            None => self.media_source(invite.source),
        };
        let Some(leg) = Box::pin(self.answer(invite.leg, invite.sdp, source)).await else {
            self.counters.incoming_refused.add();
            return;
        };
        let mut reporter = Reporter::new(&self.active, &self.counters, events.clone());
        self.counters.incoming.add();
        let start = self.start_in(flow, &id, from.as_ref(), &to);
        let call = Call {
            id,
            events: receiver,
            commands: sender,
        };
        let handed = self.incoming.try_send(Incoming {
            from,
            to,
            phone,
            call,
        });
        // The channel was made above and is empty; a reader that is gone needs no event.
        let _ = events.try_send(CallEvent::Answered);
        if handed.is_err() {
            tracing::warn!("nobody takes callers: the flow runs without a desk");
        }
        self.talk(leg, flows, start, events, &mut commands, &mut reporter)
            .await;
        reporter.tell().await;
    }

    /// What callers may speak: G.711, and whatever else a trunk is allowed.
    fn codecs_in(&self) -> Vec<Codec> {
        let allowed = self.trunks.values().flat_map(|t| t.codecs.clone());
        let mut codecs = Vec::new();
        for codec in allowed.chain([Codec::Pcmu, Codec::Pcma]) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    /// The flow of a caller. A telephone of ours that dials a code hears only what it is told.
    fn flow_in(&self, phone: Option<&str>, to: &str) -> &str {
        match phone {
            Some(_) if to.starts_with('*') => SILENT_FLOW,
            _ => &self.config.voice.inbound_flow,
        }
    }

    fn start_in(&self, flow: &str, id: &str, from: Option<&PhoneNumber>, to: &str) -> Start {
        Start {
            flow: flow.to_owned(),
            call: CallFacts {
                id: id.to_owned(),
                from: from.cloned(),
                to: to.to_owned(),
                direction: "in",
                queue: self.config.queue.clone(),
            },
            input: serde_json::Map::new(),
            language: self.config.language.clone(),
            wall: self.clock.wall(),
            hours: (self.config.hours)(),
            queues: (self.config.queues)(),
            env: self.config.env.clone(),
            zone: self.config.zone.clone(),
        }
    }

    /// Answers a caller: with our answer, or with our offer when none came. `None` if
    /// the call was refused or went away.
    async fn answer(
        &self,
        mut sip: SipLeg,
        offer: Option<String>,
        source: MediaSource,
    ) -> Option<Leg> {
        let Ok(media) = self.media.open() else {
            sip.reject(503);
            return None;
        };
        let local = Local {
            address: media.local,
            session: self.session(),
            version: 1,
            codecs: self.codecs_in(),
        };
        let Some(secrecy) = self.secrecy_with(source.signalled, sip.is_secret()) else {
            sip.reject(488);
            return None;
        };
        let answered = match &offer {
            Some(theirs) => match secrecy.answer(theirs, &local) {
                Ok((ours, agreed)) => (ours, Some(agreed)),
                Err(error) => {
                    tracing::info!(%error, "a caller's offer cannot be answered");
                    sip.reject(488);
                    return None;
                }
            },
            None => (secrecy.offer(&local), None),
        };
        let (ours, agreed) = answered;
        sip.accept(ours.clone());
        let acked = tokio::time::timeout(ACK_LIMIT, acknowledged(sip)).await;
        let (sip, answer) = acked.ok().flatten()?;
        let agreed = match agreed {
            Some(agreed) => agreed,
            None => match answer.map(|a| secrecy.accept(&a, &ours)) {
                Some(Ok(agreed)) => agreed,
                Some(Err(_)) | None => {
                    sip.bye(47);
                    return None;
                }
            },
        };
        Some(Leg::new(sip, media, source, local, ours, agreed))
    }

    /// Whether the media of a caller at `source` is encrypted: as its trunk says. Anybody
    /// else may have it if the keys are not seen by others. `None`: it must be, and cannot.
    fn secrecy_with(&self, source: Option<IpAddr>, is_secret: bool) -> Option<Secrecy> {
        let sends = |t: &&config::Trunk| {
            let trunk = self.trunks.get(&t.name);
            source.is_some_and(|ip| trunk.is_some_and(|t| t.is_at(ip)))
        };
        let trunk = self.config.trunks.iter().find(sends);
        let wanted = match trunk {
            Some(trunk) if is_secret || trunk.srtp_over_plain_sip => trunk.srtp,
            // A key that anyone may read protects nothing.
            Some(trunk) if trunk.srtp == SrtpUse::Required => return None,
            Some(_) => SrtpUse::Off,
            None if is_secret => SrtpUse::Optional,
            None => SrtpUse::Off,
        };
        Secrecy::new(wanted)
    }

    /// From where the packets of a caller at `source` may come: as its trunk says, else
    /// only from the address in its SDP.
    fn media_source(&self, source: Option<IpAddr>) -> MediaSource {
        let sends = |t: &&Arc<Trunk>| source.is_some_and(|ip| t.is_at(ip));
        let mode = self.trunks.values().find(sends).map(|t| t.media);
        MediaSource {
            mode: mode.unwrap_or_default(),
            signalled: source,
        }
    }

    /// What a telephone may be transferred to.
    fn may_dial(&self) -> MayDial {
        let (rules, region) = (self.config.dial.clone(), self.config.region.clone());
        Arc::new(move |user| {
            let number = PhoneNumber::parse(user, region.as_deref()).ok()?;
            rules.check(&number).ok().map(|()| number)
        })
    }

    /// A caller's number, if it is given and one.
    fn number(&self, user: &str) -> Option<PhoneNumber> {
        let digits = user.strip_prefix('+').unwrap_or_default();
        if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Some(PhoneNumber::from_row(user));
        }
        PhoneNumber::parse(user, self.config.region.as_deref()).ok()
    }
}

/// Waits for the caller's ACK; its SDP comes along. `None` if the caller went away.
async fn acknowledged(mut sip: SipLeg) -> Option<(SipLeg, Option<String>)> {
    let lost = sip.stream_lost();
    tokio::pin!(lost);
    loop {
        let event = tokio::select! {
            biased;
            event = sip.next() => event,
            // Our 200 cannot reach the caller, and no ACK can come.
            () = &mut lost => {
                sip.forget();
                return None;
            }
        };
        match event {
            SipEvent::Acked(answer) => return Some((sip, answer)),
            SipEvent::Ended | SipEvent::Failed(_) | SipEvent::Silent => return None,
            _ => {}
        }
    }
}
