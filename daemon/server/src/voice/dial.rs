//! One outgoing call from its INVITE to its answer or end.

use std::net::SocketAddr;
use std::time::Duration;

use helpline_core::call::End;
use helpline_core::sdp::{Codec, Local};
use helpline_core::sip::targets::{Attempt, Failure, Verdict};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::leg::{self, Leg};
use super::media::{MediaLeg, MediaSource};
use super::secrecy::Secrecy;
use super::sip::{InviteOut, Nobody, Route, SipEvent, SipLeg, SipStack, Transport};
use super::trunk::Trunk;
use super::{CallCommand, CallEvent};

/// Not even a 100 for so long: ask whether the trunk lives.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// How long the trunk has to answer that question.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// ICMP speaks of the first INVITE if it comes before T1, when the second one leaves; an
/// earlier INVITE that arrived may have rung (RFC 3261 section 17.1.1.2).
const ICMP_LIMIT: Duration = Duration::from_millis(450);
/// So often it is looked for.
const ICMP_EVERY: Duration = Duration::from_millis(50);
/// A larger INVITE goes by TCP if the target speaks it (RFC 3261 section 18.1.1).
const DATAGRAM_BYTES_MAX: usize = 1_300;
/// Start line and header fields of an INVITE but for its names and numbers.
const FIELDS_BYTES: usize = 480;
/// An Authorization field.
const PROOF_BYTES: usize = 280;
/// How long the target has to show that it speaks TCP.
const TCP_LIMIT: Duration = Duration::from_secs(1);
/// How long a cancelled INVITE may take to its final answer before it is left to itself.
const CANCEL_LIMIT: Duration = Duration::from_secs(3);
/// Q.850 cause of a BYE to a 200 whose SDP cannot be used: resource unavailable.
const CAUSE_NO_MEDIA: u8 = 47;

/// What became of an INVITE.
#[expect(clippy::large_enum_variant, reason = "one a call, moved once")]
pub(super) enum Dialled {
    /// Answered, media runs.
    Up(Leg),
    /// Not answered.
    Over(End),
}

/// What dialling needs.
pub(super) struct Dial<'a> {
    pub(super) stack: &'a SipStack,
    pub(super) trunk: &'a Trunk,
    pub(super) to: &'a str,
    pub(super) from: &'a str,
    pub(super) call_id: String,
    pub(super) ring_limit: Duration,
    pub(super) session: u64,
    pub(super) events: &'a mpsc::Sender<CallEvent>,
    pub(super) stop: &'a CancellationToken,
    /// Set when a 180 or 183 came.
    pub(super) rang: &'a mut bool,
}

/// Whether the trunk said anything yet.
enum Silence {
    /// Nothing yet; when to ask.
    Waiting(Instant),
    /// It answered our question, or the INVITE.
    Broken,
}

/// What early media needs.
#[derive(Clone, Copy)]
struct Early<'a> {
    media: &'a MediaLeg,
    offer: &'a str,
    secrecy: &'a Secrecy,
}

/// What became of the INVITE at one target.
#[expect(clippy::large_enum_variant, reason = "one a call, moved once")]
enum Asked {
    /// A 200, with its SDP.
    Answered(SipLeg, Option<String>),
    /// It failed there: for the rules, and for the report.
    Failed(Failure, End),
    /// It ended, whatever the target.
    Ended(End),
}

/// The same without the leg.
enum Heard {
    Answered(Option<String>),
    Failed(Failure, End),
    Ended(End),
}

/// The INVITE that ICMP may speak of.
struct Inquiry<'a> {
    call_id: &'a str,
    target: SocketAddr,
    sent: Instant,
}

enum Next {
    Sip(SipEvent),
    Command(Option<CallCommand>),
    RingLimit,
    AskTrunk,
    NobodyThere,
    Stop,
}

impl Dial<'_> {
    /// Sends the INVITE and waits; asks further targets of the trunk while the call
    /// surely did not start.
    pub(super) async fn run(
        mut self,
        media: MediaLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
    ) -> Dialled {
        let began = Instant::now();
        let mut attempt = Attempt::new(self.trunk.order());
        let Some(mut target) = attempt.first() else {
            return Dialled::Over(self.no_target());
        };
        let mut local = Local {
            address: media.local,
            session: self.session,
            version: 1,
            codecs: self.trunk.codecs.clone(),
        };
        let Some(mut secrecy) = Secrecy::new(self.trunk.srtp) else {
            return Dialled::Over(End::NoMedia);
        };
        loop {
            let offer = secrecy.offer(&local);
            let early = Early {
                media: &media,
                offer: &offer,
                secrecy: &secrecy,
            };
            match self.ask(target, early, began, commands).await {
                Asked::Answered(sip, answer) => {
                    self.trunk.served(target);
                    let agreed = answer.as_deref().map(|a| secrecy.accept(a, &offer));
                    let Some(Ok(agreed)) = agreed else {
                        sip.bye(CAUSE_NO_MEDIA);
                        return Dialled::Over(End::NoMedia);
                    };
                    let source = self.media_source(target);
                    return Dialled::Up(Leg::new(sip, media, source, local, offer, agreed));
                }
                Asked::Ended(end) => return Dialled::Over(end),
                Asked::Failed(failure, end) => {
                    self.trunk.failed(target, failure);
                    if *self.rang {
                        attempt.ringing();
                    } else if let Some(plain) = plainer(&failure, &secrecy) {
                        secrecy = plain;
                        continue;
                    } else if let Some(codecs) = fewer(&failure, &local.codecs) {
                        local.codecs = codecs;
                        continue;
                    }
                    match attempt.failed(&failure) {
                        Verdict::Next(next) => target = next,
                        Verdict::Stands => return Dialled::Over(end),
                    }
                    tracing::info!(trunk = self.trunk.name, "the call goes to the next target");
                }
            }
        }
    }

    /// Why there is nobody to ask: the trunk wants to be left alone, or DNS never found it.
    fn no_target(&self) -> End {
        if self.trunk.is_closed() {
            let (code, q850) = (503, None);
            End::Refused { code, q850 }
        } else {
            End::Unreachable
        }
    }

    /// The INVITE at one target, to its end there.
    async fn ask(
        &mut self,
        target: SocketAddr,
        early: Early<'_>,
        began: Instant,
        commands: &mut mpsc::Receiver<CallCommand>,
    ) -> Asked {
        let route = self.fitting(target, early.offer).await;
        if self.stack.reach(&route).await.is_err() {
            return Asked::Failed(Failure::NotSent, End::Unreachable);
        }
        let mut icmp = self.stack.unreachable();
        let mut sip = match self.stack.invite(self.invite(route.clone(), early.offer)) {
            Ok(sip) => sip,
            Err(error) => {
                tracing::debug!(%error, "an INVITE could not be sent");
                tracing::warn!(trunk = self.trunk.name, "an INVITE could not be sent");
                return Asked::Ended(End::Unreachable);
            }
        };
        match self
            .wait(&mut sip, &route, began, &mut icmp, commands, early)
            .await
        {
            Heard::Answered(answer) => Asked::Answered(sip, answer),
            // Dropping the leg takes it back: a late 1xx is cancelled, a late 200 ended.
            Heard::Failed(failure, end) => Asked::Failed(failure, end),
            Heard::Ended(end) => {
                if matches!(end, End::RingLimit | End::Cancelled | End::Silent) {
                    take_back(&mut sip).await;
                }
                Asked::Ended(end)
            }
        }
    }

    fn invite(&self, route: Route, offer: &str) -> InviteOut {
        InviteOut {
            route,
            host: self.trunk.host.clone(),
            to: self.to.to_owned(),
            from: self.from.to_owned(),
            call_id: Some(self.call_id.clone()),
            sdp: offer.to_owned(),
            credential: self.trunk.credential.clone(),
        }
    }

    /// The trunk's own way to the target, or TCP if the INVITE is large.
    async fn fitting(&self, target: SocketAddr, offer: &str) -> Route {
        let route = self.trunk.route(target);
        let is_small = self.invite_bytes(offer) <= DATAGRAM_BYTES_MAX;
        if route.transport != Transport::Udp || is_small || !self.trunk.may_have_tcp(target) {
            return route;
        }
        let stream = Route {
            transport: Transport::Tcp,
            ..route.clone()
        };
        let reach = self.stack.reach(&stream);
        if let Ok(Ok(())) = tokio::time::timeout(TCP_LIMIT, reach).await {
            return stream;
        }
        self.trunk.has_no_tcp(target);
        route
    }

    /// About the bytes of the INVITE, rather more than less.
    fn invite_bytes(&self, offer: &str) -> usize {
        let uris = 3 * self.trunk.host.len() + 2 * self.to.len() + self.from.len();
        let proof = self.trunk.credential.as_ref().map_or(0, |_| PROOF_BYTES);
        FIELDS_BYTES + uris + self.call_id.len() + proof + offer.len()
    }

    /// The SDP of the 200, or why there was none.
    async fn wait(
        &mut self,
        sip: &mut SipLeg,
        route: &Route,
        began: Instant,
        icmp: &mut broadcast::Receiver<Nobody>,
        commands: &mut mpsc::Receiver<CallCommand>,
        early: Early<'_>,
    ) -> Heard {
        let sent = Instant::now();
        let mut silence = Silence::Waiting(sent + SILENCE_LIMIT);
        let mut heard = false;
        let mut listening = true;
        loop {
            let ring_limit = began + self.ring_limit;
            let inquiry = Inquiry {
                call_id: &self.call_id,
                target: route.address,
                sent,
            };
            let by_udp = !heard && route.transport == Transport::Udp;
            let nobody = nobody_at(self.stack, icmp, &inquiry);
            let next = tokio::select! {
                biased;
                event = sip.next() => Next::Sip(event),
                command = commands.recv(), if listening => Next::Command(command),
                () = self.stop.cancelled() => Next::Stop,
                () = sleep_until(ring_limit) => Next::RingLimit,
                () = nobody, if by_udp => Next::NobodyThere,
                () = broken(&silence) => Next::AskTrunk,
            };
            match next {
                Next::Sip(SipEvent::Trying) => (heard, silence) = (true, Silence::Broken),
                Next::Sip(SipEvent::Ringing(answer)) => {
                    (heard, silence) = (true, Silence::Broken);
                    self.hear_early(early, route, answer);
                    self.ringing(route.address);
                }
                Next::Sip(event) => {
                    if let Some(end) = self.ended(event) {
                        return end;
                    }
                }
                Next::Command(Some(CallCommand::HangUp)) | Next::Stop => {
                    return Heard::Ended(End::Cancelled);
                }
                Next::Command(Some(_)) => {}
                Next::Command(None) => listening = false,
                Next::RingLimit if heard => return Heard::Ended(End::RingLimit),
                Next::RingLimit => return Heard::Ended(End::Silent),
                Next::NobodyThere => return Heard::Failed(Failure::NotSent, End::Unreachable),
                Next::AskTrunk => {
                    if !self.target_lives(sip, route).await {
                        return Heard::Failed(Failure::Silent, End::Unreachable);
                    }
                    silence = Silence::Broken;
                }
            }
        }
    }

    /// Media runs as soon as the far end says where (RFC 3960): nothing of the first words
    /// is lost. It is no answer.
    fn hear_early(&self, early: Early<'_>, route: &Route, answer: Option<String>) {
        let agreed = answer.map(|text| early.secrecy.accept(&text, early.offer));
        if let Some(Ok(agreed)) = agreed {
            let source = self.media_source(route.address);
            leg::connect(early.media, &agreed.media, agreed.keys.as_ref(), source);
        }
    }

    fn media_source(&self, target: SocketAddr) -> MediaSource {
        MediaSource {
            mode: self.trunk.media,
            signalled: Some(target.ip()),
        }
    }

    fn ringing(&mut self, target: SocketAddr) {
        self.trunk.served(target);
        if !std::mem::replace(self.rang, true) {
            // A reader that went away does not stop the call.
            let _ = self.events.try_send(CallEvent::Ringing);
        }
    }

    /// What a final event means; `None` for those that are none.
    fn ended(&self, event: SipEvent) -> Option<Heard> {
        match event {
            SipEvent::Answered(sdp) => Some(Heard::Answered(sdp)),
            SipEvent::Refused {
                code,
                q850,
                retry_after,
            } => {
                let failure = Failure::Refused {
                    code,
                    q850,
                    retry_after,
                };
                Some(Heard::Failed(failure, End::Refused { code, q850 }))
            }
            SipEvent::Silent | SipEvent::Ended => Some(Heard::Ended(End::Silent)),
            SipEvent::Failed(why) => {
                // The stack's words may hold addresses.
                tracing::debug!(why, "an INVITE failed");
                tracing::warn!(trunk = self.trunk.name, "an INVITE failed");
                Some(Heard::Ended(End::Unreachable))
            }
            // Only after an answer, but for the first two, which are no end.
            SipEvent::Trying
            | SipEvent::Ringing(_)
            | SipEvent::Reanswered(_)
            | SipEvent::Refreshed(_)
            | SipEvent::OfferRefused(_)
            | SipEvent::Refer(_)
            | SipEvent::Referred(_)
            | SipEvent::Acked(_)
            | SipEvent::Reoffer(_)
            | SipEvent::Digit(..) => None,
        }
    }

    /// Whether the silent target answers an OPTIONS; or the INVITE meanwhile, in which
    /// case the event waits in the leg.
    async fn target_lives(&self, sip: &SipLeg, route: &Route) -> bool {
        let lives = self.stack.probe(route, PROBE_LIMIT).await || sip.has_event();
        if !lives {
            self.stack.hang_up(route);
        }
        lives
    }
}

/// When it is time to ask a silent target whether it lives.
async fn broken(silence: &Silence) {
    match silence {
        Silence::Waiting(until) => sleep_until(*until).await,
        Silence::Broken => std::future::pending().await,
    }
}

/// Ends when ICMP says that nobody is at the target, soon enough to speak of the first
/// INVITE, and of ours.
async fn nobody_at(stack: &SipStack, icmp: &mut broadcast::Receiver<Nobody>, asked: &Inquiry<'_>) {
    while asked.sent.elapsed() < ICMP_LIMIT {
        match tokio::time::timeout(ICMP_EVERY, icmp.recv()).await {
            Ok(Ok(nobody)) => {
                let ours = nobody.call_id.is_none_or(|id| id == asked.call_id);
                if ours && nobody.at == asked.target {
                    return;
                }
            }
            Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
            Ok(Err(broadcast::error::RecvError::Closed)) => break,
            Err(_) => stack.look_for_unreachable(),
        }
    }
    std::future::pending().await
}

/// After a 488: the same call without encryption, if it may do without.
fn plainer(failure: &Failure, secrecy: &Secrecy) -> Option<Secrecy> {
    match failure {
        Failure::Refused { code: 488, .. } => secrecy.without(),
        _ => None,
    }
}

/// After a 488: G.711 alone, if more was offered.
fn fewer(failure: &Failure, offered: &[Codec]) -> Option<Vec<Codec>> {
    let Failure::Refused { code: 488, .. } = failure else {
        return None;
    };
    let plain = |c: &&Codec| matches!(c, Codec::Pcmu | Codec::Pcma);
    let plain: Vec<Codec> = offered.iter().filter(plain).copied().collect();
    (!plain.is_empty() && plain.len() < offered.len()).then_some(plain)
}

/// Cancels, and waits a little for the final answer so that the line is free again.
/// A 200 that crosses is acknowledged and ended by the stack.
async fn take_back(sip: &mut SipLeg) {
    sip.cancel();
    let done =
        async { while matches!(sip.next().await, SipEvent::Trying | SipEvent::Ringing(_)) {} };
    // The transaction ends by itself if the trunk stays silent.
    let _ = tokio::time::timeout(CANCEL_LIMIT, done).await;
}
