//! One REGISTER to a trunk (RFC 3261 section 10.2), with the answer to its challenge.

use std::time::Duration;

use helpline_core::sip::registration::{self, Answer};
use rsipstack::dialog::authenticate::{AuthRetry, Credential, handle_client_authenticate};
use rsipstack::sip::headers::untyped::{Contact, Expires};
use rsipstack::sip::{Header, HostWithPort, Method, Response, SipMessage, StatusCodeKind};
use rsipstack::transaction::transaction::Transaction;

use super::auth::is_local;
use super::leg::seconds;
use super::route::Route;
use super::stack::{Outside, SipError, SipStack, uri};

/// How long a registrar has for its answer, a challenge included.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// A REGISTER to send. One value serves for the life of a registration: Call-ID stays,
/// CSeq grows.
pub(in crate::voice) struct Register {
    /// Host part of the address of record: the trunk's name.
    pub(in crate::voice) host: String,
    /// User part, and user name for challenges.
    pub(in crate::voice) username: String,
    /// Password for challenges.
    pub(in crate::voice) password: String,
    /// Call-ID.
    pub(in crate::voice) call_id: String,
    /// CSeq of the last REGISTER.
    pub(in crate::voice) cseq: u32,
}

impl SipStack {
    /// Registers for `expires`, or with zero gives the registration up.
    pub(in crate::voice) async fn register(
        &self,
        register: &mut Register,
        route: &Route,
        expires: Duration,
    ) -> Answer {
        let ask = self.ask_registrar(register, route, expires);
        match tokio::time::timeout(REGISTER_LIMIT, ask).await {
            Ok(Ok(Some(response))) => self.read_answer(&response, route, expires),
            Ok(Ok(None)) | Err(_) => Answer::Silent,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a REGISTER failed");
                Answer::Silent
            }
        }
    }

    async fn ask_registrar(
        &self,
        register: &mut Register,
        route: &Route,
        expires: Duration,
    ) -> Result<Option<Response>, SipError> {
        if self.reach(route).await.is_err() {
            return Ok(None);
        }
        register.cseq += 1;
        let mut tx = self.register_request(register, route, expires)?;
        tx.send().await?;
        let mut auth = AuthRetry::new();
        while let Some(message) = tx.receive().await {
            let SipMessage::Response(response) = message else {
                continue;
            };
            match response.status_code.code() {
                _ if response.status_code.kind() == StatusCodeKind::Provisional => {}
                _ if is_local(&response) => return Ok(None),
                401 | 407 if has_challenge(&response) && auth.should_answer(&response) => {
                    register.cseq += 1;
                    let credential = Credential {
                        username: register.username.clone(),
                        password: register.password.clone(),
                        ..Credential::default()
                    };
                    tx = handle_client_authenticate(register.cseq, &tx, response, &credential)
                        .await?;
                    tx.destination = Some(route.sip_addr());
                    tx.send().await?;
                }
                _ => return Ok(Some(response)),
            }
        }
        Ok(None)
    }

    fn register_request(
        &self,
        register: &Register,
        route: &Route,
        expires: Duration,
    ) -> Result<Transaction, SipError> {
        let host = HostWithPort::try_from(register.host.as_str())
            .map_err(|_| SipError::Uri(register.host.clone()))?;
        let record = uri(Some(&register.username), host.clone());
        let contact = self.own().contact(route.transport);
        let headers = vec![
            Header::Contact(Contact::new(format!("<{contact}>"))),
            Header::Expires(Expires::new(expires.as_secs().to_string())),
        ];
        self.outside(Outside {
            method: Method::Register,
            route,
            target: uri(None, host),
            from: record.clone(),
            to: record,
            cseq: register.cseq,
            call_id: Some(register.call_id.clone()),
            headers,
        })
    }

    fn read_answer(&self, response: &Response, route: &Route, asked: Duration) -> Answer {
        let code = response.status_code.code();
        let other = |wanted: &str| {
            response.headers.iter().find_map(|h| match h {
                Header::Other(name, value) if name.eq_ignore_ascii_case(wanted) => {
                    seconds(value.trim())
                }
                Header::MinExpires(h) if wanted == "Min-Expires" => seconds(h.value().trim()),
                Header::RetryAfter(h) if wanted == "Retry-After" => seconds(h.value().trim()),
                _ => None,
            })
        };
        match code {
            200..=299 => {
                let contacts = response.headers.iter().filter_map(|h| match h {
                    Header::Contact(h) => Some(h.value()),
                    _ => None,
                });
                let expires = response.headers.iter().find_map(|h| match h {
                    Header::Expires(h) => Some(h.value()),
                    _ => None,
                });
                let ours = self.own().via(route.transport).addr.to_string();
                Answer::Granted(registration::granted(contacts, expires, &ours, asked))
            }
            423 => Answer::TooBrief(other("Min-Expires").unwrap_or_default()),
            code => Answer::Refused(code, other("Retry-After")),
        }
    }
}

/// The inspector takes challenges away that must not be answered.
fn has_challenge(response: &Response) -> bool {
    let mut headers = response.headers.iter();
    headers.any(|h| matches!(h, Header::WwwAuthenticate(_) | Header::ProxyAuthenticate(_)))
}
