//! Ringing a telephone of ours: at every place it is registered, the first to answer has
//! the call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::call::End;
use helpline_core::rtp::latch;
use helpline_core::sdp::{self, Codec, Local};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::CallCommand;
use super::leg::Leg;
use super::media::{MediaLeg, MediaSource};
use super::sip::{InviteOut, Phones, Route, SipEvent, SipLeg, SipStack};

/// What came of one place: the leg, where the place is, and the SDP of the answer.
type Rung = (SipLeg, IpAddr, Result<Option<String>, End>);

/// What ringing needs.
pub(super) struct Ring<'a> {
    pub(super) stack: &'a SipStack,
    pub(super) phones: &'a Arc<Phones>,
    /// User name of the telephone.
    pub(super) user: &'a str,
    /// User part of the calling URI.
    pub(super) from: &'a str,
    /// Call-ID at the first place; the others get their own.
    pub(super) call_id: Option<String>,
    pub(super) ring_limit: Duration,
    pub(super) session: u64,
    /// Ends the ringing.
    pub(super) stop: &'a CancellationToken,
}

impl Ring<'_> {
    /// Rings until somebody answers, everybody refused, the limit is over, or whoever owns the
    /// call hangs up.
    ///
    /// # Errors
    /// How it ended; [`End::Unreachable`] if the telephone is not registered.
    pub(super) async fn run(
        mut self,
        media: MediaLeg,
        commands: &mut mpsc::Receiver<CallCommand>,
    ) -> Result<Leg, End> {
        let local = Local {
            address: media.local,
            session: self.session,
            version: 1,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
        };
        let offer = sdp::offer(&local);
        let mut ringing = self.invite_all(&offer);
        let limit = Instant::now() + self.ring_limit;
        let mut end = End::Unreachable;
        let mut listening = true;
        loop {
            let next = tokio::select! {
                next = timeout_at(limit, ringing.join_next()) => next,
                command = commands.recv(), if listening => match command {
                    Some(CallCommand::HangUp) => return Err(End::Cancelled),
                    // Nothing else can be done to a call that is not answered.
                    other => {
                        listening = other.is_some();
                        continue;
                    }
                },
                () = self.stop.cancelled() => return Err(End::Cancelled),
            };
            match next {
                Err(_) => return Err(End::RingLimit),
                Ok(None) => return Err(end),
                // A task that is gone answered nothing.
                Ok(Some(Err(_))) => {}
                Ok(Some(Ok((_, _, Err(refused))))) => end = refused,
                Ok(Some(Ok((sip, from, Ok(answer))))) => {
                    // The legs still ringing are dropped, which cancels them.
                    ringing.abort_all();
                    return match answer.map(|a| sdp::accept_answer(&a, &offer)) {
                        Some(Ok(agreed)) => {
                            // A telephone may sit behind a NAT.
                            let source = MediaSource {
                                mode: latch::Mode::Nat,
                                signalled: Some(from),
                            };
                            Ok(Leg::new(sip, media, source, local, offer, agreed))
                        }
                        Some(Err(_)) | None => {
                            sip.bye(47);
                            Err(End::NoMedia)
                        }
                    };
                }
            }
        }
    }

    fn invite_all(&mut self, offer: &str) -> JoinSet<Rung> {
        let mut ringing = JoinSet::new();
        for place in self.phones.places(self.user) {
            let sent = self.stack.invite(InviteOut {
                route: Route::udp(place.source),
                host: self.stack.local().to_string(),
                to: place.contact,
                from: self.from.to_owned(),
                call_id: self.call_id.take(),
                sdp: offer.to_owned(),
                credential: None,
            });
            match sent {
                Ok(mut sip) => {
                    sip.is_phone(Arc::clone(self.phones));
                    ringing.spawn(answered(sip, place.source.ip()));
                }
                Err(error) => tracing::debug!(%error, "a telephone could not be called"),
            }
        }
        ringing
    }
}

/// Waits for the final answer of one place.
async fn answered(mut sip: SipLeg, from: IpAddr) -> Rung {
    loop {
        let end = match sip.next().await {
            SipEvent::Answered(answer) => return (sip, from, Ok(answer)),
            SipEvent::Refused { code, q850, .. } => End::Refused { code, q850 },
            SipEvent::Silent | SipEvent::Ended => End::Silent,
            SipEvent::Failed(_) => End::Unreachable,
            SipEvent::Trying
            | SipEvent::Ringing(_)
            | SipEvent::Acked(_)
            | SipEvent::Reoffer(_)
            | SipEvent::Reanswered(_)
            | SipEvent::Refreshed(_)
            | SipEvent::OfferRefused(_)
            | SipEvent::Refer(_)
            | SipEvent::Referred(_)
            | SipEvent::Digit(..) => continue,
        };
        return (sip, from, Err(end));
    }
}
