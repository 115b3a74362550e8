//! One leg's dialog, as events and orders in plain data.

use std::sync::Arc;
use std::time::Duration;

use helpline_core::sip::{info, reason};
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TransactionHandle};
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::InviteAsyncResult;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::untyped::{Accept, Reason};
use rsipstack::sip::prelude::HeadersExt;
use rsipstack::sip::{Header, Method, Request, Response, StatusCode, StatusCodeKind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::is_local;
use super::stack::sdp_type;

/// What happens on a leg, in order. After `Refused`, `Silent`, `Failed` and `Ended` nothing follows.
#[derive(Debug)]
pub(in crate::voice) enum SipEvent {
    /// A provisional answer that does not mean ringing.
    Trying,
    /// 180 or 183.
    Ringing,
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
    handle: TransactionHandle,
}

impl Reoffer {
    /// 200, with SDP if there is any.
    pub(in crate::voice) async fn accept(self, sdp: Option<String>) {
        let headers = sdp.is_some().then(|| vec![sdp_type()]);
        respond(&self.handle, 200, headers, sdp).await;
    }

    /// 488: the call stays as it was.
    pub(in crate::voice) async fn refuse(self) {
        respond(&self.handle, 488, None, None).await;
    }
}

/// A dialog and its events. Dropping it ends the call: CANCEL, BYE or a refusal.
pub(in crate::voice) struct SipLeg {
    dialog: InviteDialog,
    states: DialogStateReceiver,
    /// The INVITE under way, of an outgoing leg.
    invite: Option<JoinHandle<InviteAsyncResult>>,
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
        dialog: InviteDialog,
        states: DialogStateReceiver,
        invite: JoinHandle<InviteAsyncResult>,
        layer: &Arc<DialogLayer>,
        tracker: &TaskTracker,
    ) -> Self {
        let mut leg = Self::incoming(dialog, states, None, layer, tracker);
        leg.invite = Some(invite);
        leg.is_incoming = false;
        leg
    }

    pub(super) fn incoming(
        dialog: InviteDialog,
        states: DialogStateReceiver,
        stream: Option<CancellationToken>,
        layer: &Arc<DialogLayer>,
        tracker: &TaskTracker,
    ) -> Self {
        SipLeg {
            dialog,
            states,
            invite: None,
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

    /// 200 with SDP.
    pub(in crate::voice) fn accept(&self, sdp: String) {
        let body = Some(sdp.into_bytes());
        if let Err(error) = self.dialog.accept(Some(vec![sdp_type()]), body) {
            tracing::debug!(%error, "200 could not be sent");
        }
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
                        return self.answer(done);
                    }
                };
                match state {
                    Some(DialogState::Trying(_)) => return SipEvent::Trying,
                    Some(DialogState::Early(_, response)) => return early(&response),
                    // The result of the INVITE says more, and comes at once.
                    Some(DialogState::Terminated(_, _)) | None => {
                        self.over = true;
                        let done = invite.await;
                        self.invite = None;
                        return self.answer(done);
                    }
                    Some(_) => continue,
                }
            }
            if self.over {
                return SipEvent::Ended;
            }
            let Some(state) = self.states.recv().await else {
                self.over = true;
                continue;
            };
            if let Some(event) = self.in_dialog(state).await {
                return event;
            }
        }
    }

    fn answer(&mut self, done: Result<InviteAsyncResult, tokio::task::JoinError>) -> SipEvent {
        let event = match done {
            Ok(Ok((_, Some(response)))) => final_answer(&response),
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
            DialogState::Updated(_, request, handle) => Some(SipEvent::Reoffer(Reoffer {
                sdp: body(&request.body),
                is_update: request.method == Method::Update,
                handle,
            })),
            DialogState::Info(_, request, handle) => read_info(&request, &handle).await,
            DialogState::Options(_, _, handle) => {
                respond(&handle, 200, None, None).await;
                None
            }
            DialogState::Refer(_, _, handle) => {
                // A customer or a trunk may not move our calls about.
                respond(&handle, 603, None, None).await;
                None
            }
            DialogState::Notify(_, _, handle) => {
                respond(&handle, 481, None, None).await;
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

fn early(response: &Response) -> SipEvent {
    match response.status_code.code() {
        180 | 183 => SipEvent::Ringing,
        _ => SipEvent::Trying,
    }
}

fn final_answer(response: &Response) -> SipEvent {
    let code = response.status_code.code();
    if is_local(response) {
        return SipEvent::Silent;
    }
    if response.status_code.kind() == StatusCodeKind::Successful {
        return SipEvent::Answered(body(&response.body));
    }
    let q850 = response.headers.iter().find_map(|h| match h {
        Header::Reason(h) => reason::q850(h.value()),
        _ => None,
    });
    let retry_after = response.headers.iter().find_map(|h| match h {
        Header::RetryAfter(h) => seconds(h.value()),
        _ => None,
    });
    SipEvent::Refused {
        code,
        q850,
        retry_after,
    }
}

/// The seconds of a Retry-After; a comment or a parameter may follow (RFC 3261 section 20.33).
pub(super) fn seconds(value: &str) -> Option<Duration> {
    let end = value.find(|c: char| !c.is_ascii_digit());
    let digits = end.map_or(value, |end| value.get(..end).unwrap_or_default());
    let seconds: u32 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

async fn read_info(request: &Request, handle: &TransactionHandle) -> Option<SipEvent> {
    let kind = request.headers.iter().find_map(|h| match h {
        Header::ContentType(kind) => Some(kind.value()),
        _ => None,
    });
    match info::read(kind, &request.body) {
        info::Info::Digit { key, millis } => {
            respond(handle, 200, None, None).await;
            Some(SipEvent::Digit(key, millis))
        }
        info::Info::Nothing => {
            respond(handle, 200, None, None).await;
            None
        }
        info::Info::Unknown => {
            let accept = Accept::new("application/dtmf-relay, application/dtmf");
            respond(handle, 415, Some(vec![Header::Accept(accept)]), None).await;
            None
        }
    }
}

/// Every handle is answered, or the peer repeats itself until it gives up.
async fn respond(
    handle: &TransactionHandle,
    code: u16,
    headers: Option<Vec<Header>>,
    sdp: Option<String>,
) {
    let body = sdp.map(String::into_bytes);
    if handle
        .respond(StatusCode::from(code), headers, body)
        .await
        .is_err()
    {
        tracing::debug!(code, "a request within a dialog was gone before its answer");
    }
}

fn body(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}
