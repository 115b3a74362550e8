//! One leg's dialog, as events and orders in plain data.

mod moving;
mod read;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::sip::reason;
use helpline_core::sip::timer::{self, Agreed};
use rsipstack::dialog::dialog::{Dialog, DialogState, DialogStateReceiver, TransactionHandle};
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::{InviteAsyncResult, InviteOption};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::headers::untyped::Reason;
use rsipstack::sip::prelude::HeadersExt;
use rsipstack::sip::{Header, Method, Request, StatusCode, StatusCodeKind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::phones::{Phones, fields};
use super::refer::Refer;
use super::referral::Referral;
use super::stack::sdp_type;
use super::upkeep::{self, Upkeep, Upkept};

pub(super) use read::{body, seconds};
use read::{early, final_answer, read_info, respond, typed_uri, wanted_by_422};

/// What happens on a leg, in order. After `Refused`, `Silent`, `Failed` and `Ended` nothing follows.
#[derive(Debug)]
pub(in crate::voice) enum SipEvent {
    /// A provisional answer that does not mean ringing.
    Trying,
    /// 180 or 183, with a description of early media if one came.
    Ringing(Option<String>),
    /// The callee answered, with this answer to our offer.
    Answered(Option<String>),
    /// A final failure answer.
    Refused {
        /// Status code.
        code: u16,
        /// Q.850 cause of its Reason.
        q850: Option<u8>,
        /// How long the far end wants to be left alone (Retry-After).
        retry_after: Option<Duration>,
    },
    /// The transaction died without a final answer.
    Silent,
    /// The INVITE could not be carried through.
    Failed(String),
    /// The caller acknowledged our 200, with this answer if we offered.
    Acked(Option<String>),
    /// The peer wants to change or refresh the media.
    Reoffer(Reoffer),
    /// Our offer was answered with this.
    Reanswered(Option<String>),
    /// A refresh of ours that repeated the last description was answered with this.
    Refreshed(Option<String>),
    /// Our offer was refused with this code: the call stays as it was.
    OfferRefused(u16),
    /// The telephone at the far end wants its other side to talk to somebody else.
    Refer(Refer),
    /// What came of a REFER of ours: a final SIP code.
    Referred(u16),
    /// A key told by INFO: its character and milliseconds.
    Digit(char, u16),
    /// The peer ended or cancelled the call.
    Ended,
}

/// A re-INVITE or UPDATE waiting for its answer.
#[derive(Debug)]
pub(in crate::voice) struct Reoffer {
    /// The offer; `None` asks for ours.
    pub(in crate::voice) sdp: Option<String>,
    /// UPDATE rather than re-INVITE.
    pub(in crate::voice) is_update: bool,
    /// What its 2xx says of session timers.
    agreed: Agreed,
    handle: TransactionHandle,
}

impl Reoffer {
    /// 200, with SDP if there is any.
    pub(in crate::voice) async fn accept(self, sip: &mut SipLeg, sdp: Option<String>) {
        let mut headers = upkeep::answer_fields(&self.agreed);
        if let Some(sdp) = &sdp {
            headers.push(sdp_type());
            sip.upkeep.described(sdp);
        }
        sip.upkeep.agreed(self.agreed);
        respond(&self.handle, 200, Some(headers), sdp).await;
    }

    /// 488: the call stays as it was.
    pub(in crate::voice) async fn refuse(self) {
        respond(&self.handle, 488, None, None).await;
    }
}

/// What a leg that is up wakes for.
enum Woken {
    State(Option<Box<DialogState>>),
    Upkept(Upkept),
    Referred(u16),
}

/// A dialog and its events. Dropping it ends the call: CANCEL, BYE or a refusal.
pub(in crate::voice) struct SipLeg {
    dialog: InviteDialog,
    states: DialogStateReceiver,
    /// The INVITE under way, of an outgoing leg.
    invite: Option<JoinHandle<InviteAsyncResult>>,
    /// The INVITE, to send it once more if the peer wants longer refreshes.
    again: Option<Box<InviteOption>>,
    upkeep: Upkeep,
    /// All telephones, if the far end is one of them: it may transfer its calls.
    phones: Option<Arc<Phones>>,
    /// What the 200 to an incoming INVITE says of session timers.
    agreed: Option<Agreed>,
    /// A REFER of ours whose outcome is not known yet.
    referral: Option<Referral>,
    layer: Arc<DialogLayer>,
    tracker: TaskTracker,
    /// CSeq number of the last ACK that was told.
    acked: Option<u32>,
    is_incoming: bool,
    cancelled: bool,
    over: bool,
    /// Ends when the stream an incoming call came by does.
    stream: Option<CancellationToken>,
    /// An incoming call came by TLS.
    is_secret: bool,
}

impl SipLeg {
    pub(super) fn outgoing(
        (dialog, states): (InviteDialog, DialogStateReceiver),
        (invite, option): (JoinHandle<InviteAsyncResult>, InviteOption),
        layer: &Arc<DialogLayer>,
        tracker: &TaskTracker,
        upkeep: Upkeep,
    ) -> Self {
        let mut leg = Self::incoming((dialog, states, None), layer, tracker, upkeep);
        leg.invite = Some(invite);
        if let Some(offer) = option.offer.as_deref().and_then(body) {
            leg.upkeep.described(&offer);
        }
        leg.again = Some(Box::new(option));
        leg.is_incoming = false;
        leg
    }

    pub(super) fn incoming(
        (dialog, states, stream): (InviteDialog, DialogStateReceiver, Option<CancellationToken>),
        layer: &Arc<DialogLayer>,
        tracker: &TaskTracker,
        upkeep: Upkeep,
    ) -> Self {
        SipLeg {
            dialog,
            states,
            invite: None,
            again: None,
            upkeep,
            phones: None,
            agreed: None,
            referral: None,
            layer: Arc::clone(layer),
            tracker: tracker.clone(),
            acked: None,
            is_incoming: true,
            cancelled: false,
            over: false,
            stream,
            is_secret: false,
        }
    }

    /// SIP Call-ID.
    pub(in crate::voice) fn call_id(&self) -> String {
        self.dialog.id().call_id
    }

    /// 180.
    pub(in crate::voice) fn ring(&self) {
        if let Err(error) = self.dialog.ringing(None, None) {
            tracing::debug!(%error, "180 could not be sent");
        }
    }

    /// The far end is a telephone of ours.
    pub(in crate::voice) fn is_phone(&mut self, phones: Arc<Phones>) {
        self.phones = Some(phones);
    }

    /// What the 200 will say of session timers.
    pub(super) fn will_agree(&mut self, agreed: Agreed) {
        self.agreed = Some(agreed);
    }

    /// 200 with SDP.
    pub(in crate::voice) fn accept(&mut self, sdp: String) {
        let mut headers = vec![sdp_type()];
        self.upkeep.described(&sdp);
        if let Some(agreed) = self.agreed {
            headers.extend(upkeep::answer_fields(&agreed));
            self.upkeep.agreed(agreed);
        }
        self.upkeep.allows(&self.dialog.initial_request().headers);
        let body = Some(sdp.into_bytes());
        if let Err(error) = self.dialog.accept(Some(headers), body) {
            tracing::debug!(%error, "200 could not be sent");
        }
    }

    /// Offers a new description by re-INVITE, as soon as nothing else is under way. Ends
    /// in [`SipEvent::Reanswered`] or [`SipEvent::OfferRefused`].
    pub(in crate::voice) fn offer(&mut self, sdp: String) {
        self.upkeep.offer(sdp);
    }

    /// Refuses an incoming call that was not answered.
    pub(in crate::voice) fn reject(mut self, code: u16) {
        self.over = true;
        if let Err(error) = self.dialog.reject(Some(StatusCode::from(code)), None) {
            tracing::debug!(%error, code, "the refusal could not be sent");
        }
        self.layer.remove_dialog(&self.dialog.id());
    }

    /// Takes an INVITE back that has no final answer: CANCEL, or, before any answer,
    /// no more retransmission and a CANCEL if one still comes. Events go on to the end.
    pub(in crate::voice) fn cancel(&mut self) {
        if self.cancelled {
            return;
        }
        self.cancelled = true;
        if matches!(self.dialog.state(), DialogState::Calling(_)) {
            if let Some(invite) = &self.invite {
                invite.abort();
            }
            return;
        }
        let dialog = self.dialog.clone();
        self.tracker.spawn(async move {
            if let Err(error) = dialog.hangup().await {
                tracing::debug!(%error, "CANCEL failed");
            }
        });
    }

    /// An incoming leg whose signalling nobody on the path can read.
    pub(super) fn secret(mut self, is_secret: bool) -> Self {
        self.is_secret = is_secret;
        self
    }

    /// Whether an incoming call's signalling cannot be read on the path.
    pub(in crate::voice) fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Ends when the stream the call came by does; never if it came by datagrams.
    pub(in crate::voice) fn stream_lost(&self) -> impl Future<Output = ()> + use<> {
        let stream = self.stream.clone();
        async move {
            match stream {
                Some(stream) => stream.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives up a call whose peer is gone: there is nobody to send a BYE to.
    pub(in crate::voice) fn forget(mut self) {
        self.over = true;
        self.layer.remove_dialog(&self.dialog.id());
    }

    /// BYE with a Q.850 cause.
    pub(in crate::voice) fn bye(mut self, cause: u8) {
        self.finish(Some(cause));
    }

    /// Whether [`SipLeg::next`] would return at once.
    pub(in crate::voice) fn has_event(&self) -> bool {
        !self.states.is_empty() || self.invite.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The next event. Cancel-safe.
    pub(in crate::voice) async fn next(&mut self) -> SipEvent {
        loop {
            if let Some(invite) = &mut self.invite {
                let state = tokio::select! {
                    biased;
                    state = self.states.recv() => state,
                    done = &mut *invite => {
                        self.invite = None;
                        if self.tries_again(&done) {
                            continue;
                        }
                        return self.answer(done);
                    }
                };
                match state {
                    Some(DialogState::Trying(_)) => return SipEvent::Trying,
                    Some(DialogState::Early(_, response)) => return early(&response),
                    // The result of the INVITE says more, and comes at once.
                    Some(DialogState::Terminated(_, _)) | None => {
                        let done = invite.await;
                        self.invite = None;
                        if self.tries_again(&done) {
                            continue;
                        }
                        return self.answer(done);
                    }
                    Some(_) => continue,
                }
            }
            if self.over {
                return SipEvent::Ended;
            }
            let woken = tokio::select! {
                biased;
                state = self.states.recv() => Woken::State(state.map(Box::new)),
                upkept = self.upkeep.next(&self.dialog) => Woken::Upkept(upkept),
                code = Referral::outcome(&mut self.referral) => Woken::Referred(code),
            };
            let event = match woken {
                Woken::State(Some(state)) => self.in_dialog(*state).await,
                Woken::State(None) => {
                    self.over = true;
                    None
                }
                Woken::Upkept(upkept) => Some(self.upkept(upkept)),
                Woken::Referred(code) => {
                    self.referral = None;
                    Some(SipEvent::Referred(code))
                }
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn upkept(&mut self, upkept: Upkept) -> SipEvent {
        match upkept {
            Upkept::Refreshed(answer) => SipEvent::Refreshed(answer),
            Upkept::Offered(Ok(answer)) => SipEvent::Reanswered(answer),
            Upkept::Offered(Err(code)) => SipEvent::OfferRefused(code),
            Upkept::Expired => {
                tracing::info!("no refresh came within the time agreed on: the call is ended");
                // 102: recovery on timer expiry.
                self.finish(Some(102));
                SipEvent::Ended
            }
        }
    }

    /// A 422 wants longer sessions than we asked for: the INVITE goes out once more.
    fn tries_again(&mut self, done: &Result<InviteAsyncResult, tokio::task::JoinError>) -> bool {
        let Some(least) = wanted_by_422(done) else {
            return false;
        };
        let Some(mut option) = self.again.take().filter(|_| !self.cancelled) else {
            return false;
        };
        for header in option.headers.iter_mut().flatten() {
            match header.name() {
                "Session-Expires" => {
                    let field = timer::request_field(self.upkeep.limits(), Some(least), None);
                    *header = make_header("Session-Expires", field);
                }
                "Min-SE" => *header = make_header("Min-SE", least.to_string()),
                _ => {}
            }
        }
        self.layer.remove_dialog(&self.dialog.id());
        let (sender, states) = self.layer.new_dialog_state_channel();
        match self.layer.do_invite_async(*option, sender) {
            Ok((dialog, invite)) => {
                self.dialog = dialog;
                self.states = states;
                self.invite = Some(invite);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "an INVITE could not be sent again");
                false
            }
        }
    }

    fn answer(&mut self, done: Result<InviteAsyncResult, tokio::task::JoinError>) -> SipEvent {
        let event = match done {
            Ok(Ok((_, Some(response)))) => {
                if response.status_code.kind() == StatusCodeKind::Successful {
                    let expires = fields(&response.headers, "Session-Expires").next();
                    self.upkeep
                        .agreed(timer::accepted(self.upkeep.limits(), expires));
                    self.upkeep.allows(&response.headers);
                }
                final_answer(&response)
            }
            Ok(Ok((_, None))) => SipEvent::Silent,
            Ok(Err(rsipstack::Error::DialogError(_, _, status)))
                if matches!(status.code(), 401 | 407) =>
            {
                // A challenge that may not be answered: it is the final answer.
                SipEvent::Refused {
                    code: status.code(),
                    q850: None,
                    retry_after: None,
                }
            }
            Ok(Err(error)) => SipEvent::Failed(error.to_string()),
            Err(aborted) => SipEvent::Failed(aborted.to_string()),
        };
        if !matches!(event, SipEvent::Answered(_)) {
            self.over = true;
            self.layer.remove_dialog(&self.dialog.id());
        }
        event
    }

    async fn in_dialog(&mut self, state: DialogState) -> Option<SipEvent> {
        match state {
            DialogState::Confirmed(_, _) => self.ack(),
            DialogState::Updated(_, request, handle) => self.reoffered(request, handle).await,
            DialogState::Info(_, request, handle) => read_info(&request, &handle).await,
            DialogState::Options(_, _, handle) => {
                respond(&handle, 200, None, None).await;
                None
            }
            DialogState::Refer(_, request, handle) => self.referred(&request, handle).await,
            DialogState::Notify(_, request, handle) => {
                self.notified(&request, &handle).await;
                None
            }
            DialogState::Message(_, _, handle) | DialogState::Publish(_, _, handle) => {
                respond(&handle, 405, None, None).await;
                None
            }
            DialogState::Terminated(_, _) => {
                self.over = true;
                self.layer.remove_dialog(&self.dialog.id());
                Some(SipEvent::Ended)
            }
            DialogState::Calling(_)
            | DialogState::Trying(_)
            | DialogState::Early(_, _)
            | DialogState::WaitAck(_, _) => None,
        }
    }

    /// A re-INVITE or UPDATE: refused if it crosses ours or wants to be refreshed too often.
    async fn reoffered(&mut self, request: Request, handle: TransactionHandle) -> Option<SipEvent> {
        let is_update = request.method == Method::Update;
        let sdp = body(&request.body);
        if self.upkeep.is_offering() && (sdp.is_some() || !is_update) {
            respond(&handle, 491, None, None).await;
            return None;
        }
        let agreed = match timer::answer(self.upkeep.limits(), upkeep::asked(&request.headers)) {
            Ok(agreed) => agreed,
            Err(least) => {
                let headers = vec![make_header("Min-SE", least.to_string())];
                respond(&handle, 422, Some(headers), None).await;
                return None;
            }
        };
        // The peer may have moved (RFC 3261 section 12.2.2).
        if let Ok(contact) = request.contact_header()
            && let Some(uri) = typed_uri(&request)
        {
            let dialog = Dialog::Invite(self.dialog.clone());
            dialog.set_remote_target(uri, Some(contact.clone()));
        }
        self.upkeep.allows(&request.headers);
        Some(SipEvent::Reoffer(Reoffer {
            sdp,
            is_update,
            agreed,
            handle,
        }))
    }

    /// `Confirmed` comes again after INFO, UPDATE and re-INVITE: each ACK is told once.
    fn ack(&mut self) -> Option<SipEvent> {
        let Some(ack) = self.dialog.last_remote_ack() else {
            // An incoming dialog is confirmed by its ACK only.
            return None;
        };
        let number = ack.cseq_header().and_then(|c| c.seq()).ok();
        if self.acked == number {
            return None;
        }
        self.acked = number;
        Some(SipEvent::Acked(body(&ack.body)))
    }

    /// Ends what is not over, and forgets the dialog.
    fn finish(&mut self, cause: Option<u8>) {
        if self.over {
            return;
        }
        self.over = true;
        if let Some(invite) = self.invite.take() {
            // Aborting sends a CANCEL, and a BYE to a 200 that crosses it. One that was
            // cancelled already ends by itself.
            if !self.cancelled {
                invite.abort();
            }
            return;
        }
        let (dialog, layer) = (self.dialog.clone(), Arc::clone(&self.layer));
        if self.is_incoming && dialog.state().can_cancel() {
            if let Err(error) = dialog.reject(Some(StatusCode::ServerInternalError), None) {
                tracing::debug!(%error, "the refusal could not be sent");
            }
            layer.remove_dialog(&dialog.id());
            return;
        }
        self.tracker.spawn(async move {
            let why = Header::Reason(Reason::new(reason::from_q850(cause.unwrap_or(16))));
            if let Err(error) = dialog.bye_with_headers(Some(vec![why])).await {
                tracing::debug!(%error, "BYE failed");
            }
            layer.remove_dialog(&dialog.id());
        });
    }
}

impl Drop for SipLeg {
    fn drop(&mut self) {
        self.finish(None);
    }
}
