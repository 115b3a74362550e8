//! One outgoing call from its INVITE to its answer or end.

use std::time::Duration;

use helpline_core::call::End;
use helpline_core::sdp::{self, Local};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::leg::Leg;
use super::media::MediaLeg;
use super::sip::{InviteOut, SipEvent, SipLeg, SipStack};
use super::trunk::Trunk;
use super::{CallCommand, CallEvent};

/// Not even a 100 for so long: ask whether the trunk lives.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// How long the trunk has to answer that question.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
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

enum Next {
    Sip(SipEvent),
    Command(Option<CallCommand>),
    RingLimit,
    AskTrunk,
    Stop,
}

impl Dial<'_> {
    /// Sends the INVITE and waits.
    pub(super) async fn run(
        mut self,
        media: MediaLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
    ) -> Dialled {
        let local = Local {
            address: media.local,
            session: self.session,
            version: 1,
            codecs: self.trunk.codecs.clone(),
        };
        let offer = sdp::offer(&local);
        let sent = self.stack.invite(InviteOut {
            target: self.trunk.address,
            host: self.trunk.host.clone(),
            to: self.to.to_owned(),
            from: self.trunk.caller_id.clone(),
            call_id: Some(std::mem::take(&mut self.call_id)),
            sdp: offer.clone(),
            credential: self.trunk.credential.clone(),
        });
        let mut sip = match sent {
            Ok(sip) => sip,
            Err(error) => {
                tracing::debug!(%error, "an INVITE could not be sent");
                tracing::warn!(trunk = self.trunk.name, "an INVITE could not be sent");
                return Dialled::Over(End::Unreachable);
            }
        };
        match self.wait(&mut sip, commands, (&media, &offer)).await {
            Ok(answer) => match answer.as_deref().map(|a| sdp::accept_answer(a, &offer)) {
                Some(Ok(agreed)) => Dialled::Up(Leg::new(sip, media, local, offer, agreed)),
                Some(Err(_)) | None => {
                    sip.bye(CAUSE_NO_MEDIA);
                    Dialled::Over(End::NoMedia)
                }
            },
            Err(end) => {
                if matches!(end, End::RingLimit | End::Cancelled | End::Silent) {
                    take_back(&mut sip).await;
                }
                Dialled::Over(end)
            }
        }
    }

    /// The SDP of the 200, or why there was none.
    async fn wait(
        &mut self,
        sip: &mut SipLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
        (media, offer): (&MediaLeg, &str),
    ) -> Result<Option<String>, End> {
        let began = Instant::now();
        let mut silence = Silence::Waiting(began + SILENCE_LIMIT);
        let mut heard = false;
        let mut listening = true;
        loop {
            match self.next(sip, commands, listening, &silence, began).await {
                Next::Sip(SipEvent::Trying) => (heard, silence) = (true, Silence::Broken),
                Next::Sip(SipEvent::Ringing(early)) => {
                    (heard, silence) = (true, Silence::Broken);
                    hear_early(media, early, offer);
                    if !std::mem::replace(self.rang, true) {
                        // A reader that went away does not stop the call.
                        let _ = self.events.try_send(CallEvent::Ringing);
                    }
                }
                Next::Sip(SipEvent::Answered(sdp)) => return Ok(sdp),
                Next::Sip(SipEvent::Refused { code, q850 }) => {
                    return Err(End::Refused { code, q850 });
                }
                Next::Sip(SipEvent::Silent | SipEvent::Ended) => return Err(End::Silent),
                Next::Sip(SipEvent::Failed(why)) => {
                    // The stack's words may hold addresses.
                    tracing::debug!(why, "an INVITE failed");
                    tracing::warn!(trunk = self.trunk.name, "an INVITE failed");
                    return Err(End::Unreachable);
                }
                // Only after an answer.
                Next::Sip(
                    SipEvent::Acked(_)
                    | SipEvent::Reoffer(_)
                    | SipEvent::Reanswered(_)
                    | SipEvent::OfferRefused(_)
                    | SipEvent::Digit(..),
                ) => {}
                Next::Command(Some(CallCommand::HangUp)) | Next::Stop => {
                    return Err(End::Cancelled);
                }
                Next::Command(Some(_)) => {}
                Next::Command(None) => listening = false,
                Next::RingLimit if heard => return Err(End::RingLimit),
                Next::RingLimit => return Err(End::Silent),
                Next::AskTrunk => {
                    if !self.trunk_lives(sip).await {
                        self.trunk.set_up(false);
                        return Err(End::Unreachable);
                    }
                    silence = Silence::Broken;
                }
            }
        }
    }

    async fn next(
        &self,
        sip: &mut SipLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
        listening: bool,
        silence: &Silence,
        began: Instant,
    ) -> Next {
        let ask = async {
            match silence {
                Silence::Waiting(until) => sleep_until(*until).await,
                Silence::Broken => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = sip.next() => Next::Sip(event),
            command = commands.recv(), if listening => Next::Command(command),
            () = self.stop.cancelled() => Next::Stop,
            () = sleep_until(began + self.ring_limit) => Next::RingLimit,
            () = ask => Next::AskTrunk,
        }
    }

    /// Whether the silent trunk answers an OPTIONS; or the INVITE meanwhile, in which
    /// case the event waits in the leg.
    async fn trunk_lives(&self, sip: &SipLeg) -> bool {
        self.stack.probe(self.trunk.address, PROBE_LIMIT).await || sip.has_event()
    }
}

/// Media runs as soon as the far end says where (RFC 3960): nothing of the first words is
/// lost. It is no answer.
pub(super) fn hear_early(media: &MediaLeg, early: Option<String>, offer: &str) {
    if let Some(Ok(agreed)) = early.map(|text| sdp::accept_answer(&text, offer)) {
        media.connect(&agreed);
    }
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
