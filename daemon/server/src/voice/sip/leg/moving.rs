//! Calls that move: a REFER of ours, what is told of it, and a REFER of the far end.

use std::time::Duration;

use helpline_core::sip::transfer::{self, Replaces, Target};
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::TransactionHandle;
use rsipstack::sip::Request;
use rsipstack::sip::prelude::HeadersExt;

use super::super::phones::fields;
use super::super::refer::{Refer, ReferTo, Subscriber};
use super::super::referral::Referral;
use super::{SipEvent, SipLeg, respond};

impl SipLeg {
    /// Asks the far end to call this user at its own place. Ends in [`SipEvent::Referred`],
    /// at the latest after `limit`, unless the call ends before.
    pub(in crate::voice) fn refer(&mut self, user: &str, limit: Duration) {
        let initial = self.dialog.initial_request();
        let theirs = match self.is_incoming {
            true => initial.from_header().ok().and_then(|f| f.uri().ok()),
            false => Some(initial.uri.clone()),
        };
        let host = theirs.map(|uri| uri.host_with_port.to_string());
        let refer_to = format!("<sip:{user}@{};user=phone>", host.unwrap_or_default());
        self.refer_to(&refer_to, limit);
    }

    /// Asks the far end to take our place in another call of ours: `refer_to` is the
    /// [`SipLeg::place`] of that one. Ends as [`SipLeg::refer`] does.
    pub(in crate::voice) fn refer_to(&mut self, refer_to: &str, limit: Duration) {
        self.referral = Some(Referral::send(&self.dialog, refer_to, limit));
    }

    /// Our place in this call, as a Refer-To for whoever is to take it (RFC 3891).
    pub(in crate::voice) fn place(&self) -> String {
        let dialog = self.dialog.snapshot();
        let replaces = Replaces {
            call_id: dialog.id.call_id,
            to_tag: dialog.id.remote_tag,
            from_tag: dialog.id.local_tag,
            early_only: false,
        };
        transfer::refer_to(&dialog.remote_uri.to_string(), &replaces)
    }

    /// A NOTIFY: how our REFER goes, or nothing that we asked for.
    pub(super) async fn notified(&mut self, request: &Request, handle: &TransactionHandle) {
        let mut events = fields(&request.headers, "Event");
        let is_refer = events.next().is_some_and(|event| {
            let name = event.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("refer")
        });
        let referral = self.referral.as_mut().filter(|_| is_refer);
        let Some(referral) = referral else {
            return respond(handle, 481, None, None).await;
        };
        respond(handle, 200, None, None).await;
        if let Some(code) = transfer::told(&request.body).filter(|code| *code >= 200) {
            referral.told(code);
        }
    }

    /// A REFER: of a telephone of ours it is told, nobody else moves our calls about.
    pub(super) async fn referred(
        &self,
        request: &Request,
        handle: TransactionHandle,
    ) -> Option<SipEvent> {
        let Some(phones) = &self.phones else {
            respond(&handle, 603, None, None).await;
            return None;
        };
        let mut wanted = fields(&request.headers, "Refer-To");
        let target = wanted.next().filter(|_| wanted.next().is_none());
        let Some(target) = target.and_then(transfer::target) else {
            respond(&handle, 400, None, None).await;
            return None;
        };
        let to = match target {
            Target::User(user) if phones.has(&user) => ReferTo::Phone(user),
            Target::User(user) => ReferTo::User(user),
            Target::Dialog(replaces) => {
                let id = DialogId {
                    call_id: replaces.call_id.clone(),
                    local_tag: replaces.to_tag,
                    remote_tag: replaces.from_tag,
                };
                // A dialog is never joined to itself.
                if self.layer.get_dialog(&id).is_none() || id == self.dialog.id() {
                    respond(&handle, 481, None, None).await;
                    return None;
                }
                ReferTo::Call(replaces.call_id)
            }
        };
        Some(SipEvent::Refer(Refer {
            to,
            handle,
            dialog: Subscriber(self.dialog.clone()),
            tracker: self.tracker.clone(),
        }))
    }
}
