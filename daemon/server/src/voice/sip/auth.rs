//! Between the stack and digest authentication: challenges become ones the stack can
//! read, and only challenges of a trunk are ever answered.

use std::sync::Arc;

use helpline_core::sip::digest;
use rsipstack::sip::headers::untyped::{
    Authorization, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
use rsipstack::sip::{Header, Response, SipMessage};
use rsipstack::transaction::endpoint::MessageInspector;
use rsipstack::transport::SipAddr;

use super::own::Own;
use super::peers::Peers;
use super::phones::Phones;
use super::route::unmark;

/// Marks an answer the stack made up itself when a transaction died.
const LOCAL: &str = "X-Helpline-Local";

/// Looks at every message between transaction and transport.
pub(super) struct AuthInspector {
    pub(super) peers: Arc<Peers>,
    pub(super) phones: Option<Arc<Phones>>,
    pub(super) own: Own,
}

/// Whether the stack made this response up (time-out, failed send).
pub(super) fn is_local(response: &Response) -> bool {
    response
        .headers
        .iter()
        .any(|h| matches!(h, Header::Other(name, _) if name == LOCAL))
}

impl MessageInspector for AuthInspector {
    fn before_send(&self, mut msg: SipMessage, _to: Option<&SipAddr>) -> SipMessage {
        if let SipMessage::Request(request) = &mut msg {
            self.own.put_into_via(request);
            unmark(request);
            for header in request.headers.iter_mut() {
                match header {
                    Header::Authorization(h) => {
                        *h = Authorization::new(digest::to_wire(h.value()));
                    }
                    Header::ProxyAuthorization(h) => {
                        *h = ProxyAuthorization::new(digest::to_wire(h.value()));
                    }
                    _ => {}
                }
            }
        }
        msg
    }

    fn after_received(&self, mut msg: SipMessage, from: Option<&SipAddr>) -> SipMessage {
        if let (Some(phones), Some(from)) = (&self.phones, from) {
            phones.mend(&mut msg, from);
        }
        let SipMessage::Response(response) = &mut msg else {
            return msg;
        };
        response
            .headers
            .retain(|h| !matches!(h, Header::Other(name, _) if name == LOCAL));
        match from {
            None => response
                .headers
                .push(Header::Other(LOCAL.into(), "1".into())),
            Some(from) if matches!(response.status_code.code(), 401 | 407) => {
                self.challenge(response, from);
            }
            Some(_) => {}
        }
        msg
    }
}

impl AuthInspector {
    /// Leaves the one challenge that may and can be answered, or none.
    fn challenge(&self, response: &mut Response, from: &SipAddr) {
        let mut challenges = Vec::new();
        response.headers.retain(|h| match h {
            Header::WwwAuthenticate(h) => {
                challenges.push(h.value().to_owned());
                false
            }
            Header::ProxyAuthenticate(h) => {
                challenges.push(h.value().to_owned());
                false
            }
            _ => true,
        });
        let Ok(from) = from.get_socketaddr() else {
            return;
        };
        let chosen = self.peers.realms_at(from.ip()).iter().find_map(|realm| {
            let all = challenges.iter().map(String::as_str);
            digest::choose(all, realm.as_deref())
        });
        if let Some(chosen) = chosen {
            response
                .headers
                .push(if response.status_code.code() == 407 {
                    Header::ProxyAuthenticate(ProxyAuthenticate::new(chosen))
                } else {
                    Header::WwwAuthenticate(WwwAuthenticate::new(chosen))
                });
        }
    }
}
