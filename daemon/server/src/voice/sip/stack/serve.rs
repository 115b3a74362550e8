//! Requests that come in: to which call they belong, and what is answered when to none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use helpline_core::sip::address::Address;
use helpline_core::sip::gate::{self, Source};
use helpline_core::sip::timer;
use helpline_core::sip::transfer::Replaces;
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::Dialog;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::headers::untyped::{Accept, Allow, RetryAfter};
use rsipstack::sip::prelude::{HeadersExt, ToTypedHeader};
use rsipstack::sip::{Header, Method, Request, StatusCode};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::transaction::Transaction;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{InviteIn, SERVED_MAX, SipStack};
use crate::voice::sip::leg::SipLeg;
use crate::voice::sip::phones::fields;
use crate::voice::sip::route::Transport;
use crate::voice::sip::upkeep;

impl SipStack {
    pub(super) async fn serve(self: Arc<Self>, mut incoming: TransactionReceiver) {
        let cancel = self.cancel.clone();
        loop {
            let next = tokio::select! {
                next = incoming.recv() => next,
                () = cancel.cancelled() => None,
            };
            let Some(tx) = next else { return };
            if self.served.load(Ordering::Relaxed) >= SERVED_MAX {
                continue;
            }
            self.served.fetch_add(1, Ordering::Relaxed);
            let stack = Arc::clone(&self);
            self.tracker.spawn(async move {
                let cancel = stack.cancel.clone();
                tokio::select! {
                    done = Box::pin(stack.handle(tx)) => if let Err(error) = done {
                        tracing::debug!(%error, "a SIP request could not be served");
                    },
                    () = cancel.cancelled() => {}
                }
                stack.served.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn handle(&self, mut tx: Transaction) -> rsipstack::Result<()> {
        let in_dialog = tx.original.to_header()?.tag()?.is_some();
        if let Some(mut dialog) = self.layer.match_dialog(&tx) {
            if in_dialog
                && waits_its_turn(&tx.original.method)
                && let Err(code) = turn(&dialog).await
            {
                return refuse(&mut tx, code, retry_after()).await;
            }
            return dialog.handle(&mut tx).await;
        }
        match tx.original.method {
            Method::Ack | Method::Cancel => Ok(()),
            Method::Invite if !in_dialog => self.handle_invite(tx).await,
            Method::Register => self.handle_register(tx).await,
            Method::Options if !in_dialog => {
                let headers = vec![
                    Header::Allow(Allow::new(gate::METHODS.join(", "))),
                    Header::Accept(Accept::new("application/sdp")),
                ];
                tx.reply_with(StatusCode::OK, headers, None).await
            }
            _ => tx.reply(StatusCode::CallTransactionDoesNotExist).await,
        }
    }

    async fn handle_register(&self, mut tx: Transaction) -> rsipstack::Result<()> {
        let (Some(phones), Some(source)) = (&self.phones, source(&tx)) else {
            return tx.reply(StatusCode::from(405)).await;
        };
        // A binding is called by datagrams.
        if transport_of(&tx) != Transport::Udp {
            return tx.reply(StatusCode::from(403)).await;
        }
        let (code, headers) = match phones.prove(&tx.original, source.ip()) {
            Ok(user) => phones.register(&tx.original, &user, source),
            Err(challenges) => (401, challenges),
        };
        tx.reply_with(StatusCode::from(code), headers, None).await
    }

    /// The telephone of ours that a caller proves to be; `None` for one who need not.
    ///
    /// # Errors
    /// Code and fields of a refusal.
    fn caller_right(&self, tx: &Transaction) -> Result<Option<String>, (u16, Vec<Header>)> {
        let Some(source) = source(tx) else {
            return Err((403, Vec::new()));
        };
        let known = self.peers.source(source.ip()) != Source::Stranger;
        let Some(phones) = &self.phones else {
            return if known {
                Ok(None)
            } else {
                Err((403, Vec::new()))
            };
        };
        // A telephone may sit at an address that may call anyway.
        let from = fields(&tx.original.headers, "From").next();
        let from = from.and_then(Address::parse);
        let claims = from.and_then(|f| f.user()).is_some_and(|u| phones.has(u));
        if known && !claims {
            return Ok(None);
        }
        let proven = phones.prove(&tx.original, source.ip());
        proven.map(Some).map_err(|challenges| (401, challenges))
    }

    /// The answer to an INVITE with Replaces (RFC 3891 section 3): what it names is no dialog
    /// of ours, or it is, and nobody takes a call from its leg. Transfers come by REFER.
    fn replacing(&self, request: &Request) -> Option<u16> {
        let mut values = fields(&request.headers, "Replaces");
        let replaces = Replaces::parse(values.next()?);
        let Some(replaces) = replaces.filter(|_| values.next().is_none()) else {
            return Some(400);
        };
        let id = DialogId {
            call_id: replaces.call_id,
            local_tag: replaces.to_tag,
            remote_tag: replaces.from_tag,
        };
        let exists = self.layer.get_dialog(&id).is_some();
        Some(if exists { 603 } else { 481 })
    }

    async fn handle_invite(&self, mut tx: Transaction) -> rsipstack::Result<()> {
        let phone = match self.caller_right(&tx) {
            Ok(phone) => phone,
            Err((code, headers)) => return refuse(&mut tx, code, headers).await,
        };
        if let Some(demand) = &self.demand
            && !demand.is_met(&tx.original)
        {
            return refuse(&mut tx, demand.code(), demand.challenges()).await;
        }
        let (Ok(permit), Ok(slot)) = (
            Arc::clone(&self.admission).try_acquire_owned(),
            self.invites.try_reserve(),
        ) else {
            return refuse(&mut tx, 503, retry_after()).await;
        };
        if !offers_sdp(&tx.original) {
            let accept = Header::Accept(Accept::new("application/sdp"));
            return refuse(&mut tx, 415, vec![accept]).await;
        }
        if let Some(code) = self.replacing(&tx.original) {
            return refuse(&mut tx, code, Vec::new()).await;
        }
        let agreed = match timer::answer(self.limits, upkeep::asked(&tx.original.headers)) {
            Ok(agreed) => agreed,
            Err(least) => {
                let least = make_header("Min-SE", least.to_string());
                return refuse(&mut tx, 422, vec![least]).await;
            }
        };
        let (states, events) = self.layer.new_dialog_state_channel();
        let contact = Some(self.own.contact(transport_of(&tx)));
        let mut dialog = self
            .layer
            .get_or_create_server_invite(&tx, states, None, contact)?;
        let body = (!tx.original.body.is_empty())
            .then(|| String::from_utf8_lossy(&tx.original.body).into_owned());
        let mut leg = SipLeg::incoming(
            (dialog.clone(), events, stream_of(&tx)),
            &self.layer,
            &self.tracker,
            self.upkeep(),
        )
        .secret(transport_of(&tx) == Transport::Tls);
        leg.will_agree(agreed);
        if let (Some(_), Some(phones)) = (&phone, &self.phones) {
            leg.is_phone(Arc::clone(phones));
        }
        slot.send(InviteIn {
            from: caller(&tx.original),
            phone,
            to: tx.original.uri.user().unwrap_or_default().to_owned(),
            source: source(&tx).map(|from| from.ip()),
            sdp: body,
            leg,
            permit,
        });
        // This future is the transaction: it lives until the ACK.
        dialog.handle(&mut tx).await
    }
}

/// How long a request within a dialog waits for the one before it.
const TURN_MAX: Duration = Duration::from_secs(1);
/// How often it looks.
const TURN_LOOK: Duration = Duration::from_millis(5);

/// Whether a request may only be handled after the one before it. An ACK, and what ends a
/// call, may come at any time.
fn waits_its_turn(method: &Method) -> bool {
    !matches!(
        method,
        Method::Ack | Method::Cancel | Method::Bye | Method::PRack
    )
}

/// Waits until a dialog has done with the request before. What comes right behind an ACK
/// may be looked at before it, by another task; the library would leave it without an answer.
///
/// # Errors
/// The code of the answer: the dialog is over, or it takes too long (RFC 3261 section 14.2).
async fn turn(dialog: &Dialog) -> Result<(), u16> {
    let begin = Instant::now();
    loop {
        let state = dialog.state();
        if state.is_confirmed() {
            return Ok(());
        }
        if state.is_terminated() {
            return Err(481);
        }
        if begin.elapsed() >= TURN_MAX {
            return Err(500);
        }
        tokio::time::sleep(TURN_LOOK).await;
    }
}

fn retry_after() -> Vec<Header> {
    let seconds = gate::RETRY_AFTER_SECONDS.to_string();
    vec![Header::RetryAfter(RetryAfter::new(seconds))]
}

/// Where a request came from.
fn source(tx: &Transaction) -> Option<SocketAddr> {
    let remote = tx.connection.as_ref()?.get_remote_addr()?;
    remote.get_socketaddr().ok()
}

/// Answers finally. The stack keeps the answer for repetitions of the request without us.
async fn refuse(tx: &mut Transaction, code: u16, headers: Vec<Header>) -> rsipstack::Result<()> {
    tx.reply_with(StatusCode::from(code), headers, None).await
}

/// An INVITE without a body, or with SDP.
fn offers_sdp(request: &Request) -> bool {
    let kind = request.headers.iter().find_map(|h| match h {
        Header::ContentType(kind) => Some(kind.value()),
        _ => None,
    });
    let is_sdp = |kind: &str| {
        let name = kind.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("application/sdp")
    };
    request.body.is_empty() || kind.is_some_and(is_sdp)
}

/// User part of the asserted identity (RFC 3325) or of From.
fn caller(request: &Request) -> Option<String> {
    let asserted = request.headers.iter().find_map(|h| match h {
        Header::PAssertedIdentity(h) => user_of(h.value()),
        _ => None,
    });
    let from = || {
        let from = request.from_header().ok()?.typed().ok()?;
        from.uri.user().map(str::to_owned)
    };
    asserted.or_else(from)
}

/// User part of `"Name" <sip:user@host>`, `sip:user@host` or `tel:user`.
fn user_of(address: &str) -> Option<String> {
    let inner = address
        .split_once('<')
        .map_or(address, |(_, rest)| rest.split('>').next().unwrap_or(rest));
    let (_, rest) = inner.split_once(':')?;
    let user = rest.split(['@', ';']).next()?.trim();
    (!user.is_empty()).then(|| user.to_owned())
}

/// The transport a request came by.
fn transport_of(tx: &Transaction) -> Transport {
    let address = tx.connection.as_ref().map(|c| c.get_addr().r#type);
    match address.flatten() {
        Some(rsipstack::sip::Transport::Tcp) => Transport::Tcp,
        Some(rsipstack::sip::Transport::Tls) => Transport::Tls,
        _ => Transport::Udp,
    }
}

/// Ends when the stream does that a request came by.
fn stream_of(tx: &Transaction) -> Option<CancellationToken> {
    let connection = tx.connection.as_ref();
    connection.filter(|c| c.is_reliable())?.cancel_token()
}
