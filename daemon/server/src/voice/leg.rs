//! A leg that is up: its dialog, its media, and what both sides agreed on.

use helpline_core::sdp::sdes::SrtpKeys;
use helpline_core::sdp::{self, Direction, Local, Negotiated};

use super::media::{MediaLeg, MediaSource};
use super::secrecy::{Agreed, Secrecy};
use super::sip::{Reoffer, SipLeg};

/// Dialog and media of an answered call.
pub(super) struct Leg {
    pub(super) sip: SipLeg,
    pub(super) media: MediaLeg,
    source: MediaSource,
    local: Local,
    /// Our description as last sent, to see whether it changes.
    ours: String,
    negotiated: Negotiated,
    keys: Option<SrtpKeys>,
    secrecy: Secrecy,
    /// An offer of ours in a 200; its answer comes in the ACK.
    offered: Option<String>,
    /// An offer of ours in a re-INVITE that is under way.
    reoffered: Option<String>,
}

impl Leg {
    /// A leg whose media starts now.
    pub(super) fn new(
        sip: SipLeg,
        media: MediaLeg,
        source: MediaSource,
        local: Local,
        ours: String,
        agreed: impl Into<Agreed>,
    ) -> Self {
        let Agreed {
            media: negotiated,
            keys,
            secrecy,
        } = agreed.into();
        connect(&media, &negotiated, keys.as_ref(), source);
        Leg {
            sip,
            media,
            source,
            local,
            ours,
            negotiated,
            keys,
            secrecy,
            offered: None,
            reoffered: None,
        }
    }

    /// Answers a re-INVITE or UPDATE: hold, resume, another address, or a mere refresh.
    /// What cannot be done is refused and the call stays as it was.
    pub(super) async fn reoffer(&mut self, reoffer: Reoffer) {
        match &reoffer.sdp {
            None if reoffer.is_update => reoffer.accept(&mut self.sip, None).await,
            None => {
                let secrecy = self.secrecy.clone();
                let offer = secrecy.offer(&self.local);
                let offer = self.versioned(offer, |local| secrecy.offer(local));
                self.offered = Some(offer.clone());
                reoffer.accept(&mut self.sip, Some(offer)).await;
            }
            Some(theirs) => {
                let theirs = theirs.clone();
                let secrecy = self.secrecy.clone();
                let Ok((text, agreed)) = secrecy.answer(&theirs, &self.local) else {
                    reoffer.refuse().await;
                    return;
                };
                let again = |local: &Local| {
                    let again = secrecy.answer(&theirs, local);
                    again.map_or_else(|_| text.clone(), |(text, _)| text)
                };
                let answer = self.versioned(text.clone(), again);
                reoffer.accept(&mut self.sip, Some(answer)).await;
                self.agree(agreed);
            }
        }
    }

    /// The ACK of a 200 in which we offered carries the answer.
    pub(super) fn acked(&mut self, answer: Option<String>) {
        let Some(offer) = self.offered.take() else {
            return;
        };
        // Without a usable answer nothing was agreed: the call stays as it was.
        if let Some(Ok(agreed)) = answer.map(|a| self.secrecy.accept(&a, &offer)) {
            self.agree(agreed);
        }
    }

    /// Puts the far end on hold, or takes it back: a re-INVITE that says so.
    pub(super) fn hold(&mut self, held: bool) {
        let direction = if held {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        let secrecy = self.secrecy.clone();
        let offer = |local: &Local| sdp::with_direction(&secrecy.offer(local), direction);
        let text = self.versioned(offer(&self.local), offer);
        self.reoffered = Some(text.clone());
        self.sip.offer(text);
    }

    /// A refresh that repeated our description was answered. While another offer of ours
    /// waits, that one's answer is what counts.
    pub(super) fn refreshed(&mut self, answer: Option<String>) {
        if self.reoffered.is_none() {
            self.answered(answer, &self.ours.clone());
        }
    }

    /// Our offer was answered.
    pub(super) fn reanswered(&mut self, answer: Option<String>) {
        if let Some(offer) = self.reoffered.take() {
            self.answered(answer, &offer);
        }
    }

    fn answered(&mut self, answer: Option<String>, offer: &str) {
        if let Some(Ok(agreed)) = answer.map(|a| self.secrecy.accept(&a, offer)) {
            self.agree(agreed);
        }
    }

    /// Our offer was refused: everything stays as it was.
    pub(super) fn offer_refused(&mut self, code: u16) {
        tracing::debug!(code, "the far end refused a re-INVITE");
        self.reoffered = None;
    }

    /// Ends the call with a Q.850 cause.
    pub(super) fn close(self, cause: u8) {
        self.sip.bye(cause);
    }

    fn agree(&mut self, agreed: Agreed) {
        // A refresh changes nothing, and must not restart the media.
        if agreed.keys != self.keys {
            self.keys = agreed.keys;
            self.negotiated = agreed.media;
            connect(&self.media, &agreed.media, self.keys.as_ref(), self.source);
        } else if agreed.media != self.negotiated {
            self.negotiated = agreed.media;
            self.media.connect(&agreed.media, self.source);
        }
    }

    /// The description to send: with a new version number if it differs from the last one.
    fn versioned(&mut self, text: String, again: impl Fn(&Local) -> String) -> String {
        let text = if text == self.ours {
            text
        } else {
            self.local.version += 1;
            again(&self.local)
        };
        self.ours.clone_from(&text);
        text
    }
}

/// Starts the media. Where its keys cannot be used it stays silent and deaf: nothing is
/// sent in the clear, and the call ends as one without RTP.
pub(super) fn connect(
    media: &MediaLeg,
    negotiated: &Negotiated,
    keys: Option<&SrtpKeys>,
    source: MediaSource,
) {
    if media.secure(keys) {
        media.connect(negotiated, source);
    } else {
        tracing::error!("SRTP cannot be used: the call has no media");
    }
}
