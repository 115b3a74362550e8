//! What messages of a dialog say.

use std::time::Duration;

use helpline_core::sip::{info, reason, timer};
use rsipstack::dialog::dialog::TransactionHandle;
use rsipstack::dialog::invitation::InviteAsyncResult;
use rsipstack::sip::headers::untyped::Accept;
use rsipstack::sip::prelude::HeadersExt;
use rsipstack::sip::{Header, Request, Response, StatusCode, StatusCodeKind};

use super::super::auth::is_local;
use super::super::phones::fields;
use super::SipEvent;

pub(super) fn typed_uri(request: &Request) -> Option<rsipstack::sip::Uri> {
    let contacts = request.typed_contact_headers().ok()?;
    contacts.first().map(|c| c.uri.clone())
}

/// What a 422 demands, if it is one we can meet.
pub(super) fn wanted_by_422(
    done: &Result<InviteAsyncResult, tokio::task::JoinError>,
) -> Option<u32> {
    match done {
        Ok(Ok((_, Some(response)))) if response.status_code.code() == 422 => {
            timer::demanded(fields(&response.headers, "Min-SE").next())
        }
        _ => None,
    }
}

pub(super) fn early(response: &Response) -> SipEvent {
    match response.status_code.code() {
        180 | 183 => SipEvent::Ringing(body(&response.body)),
        _ => SipEvent::Trying,
    }
}

pub(super) fn final_answer(response: &Response) -> SipEvent {
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
pub(in crate::voice::sip) fn seconds(value: &str) -> Option<Duration> {
    let end = value.find(|c: char| !c.is_ascii_digit());
    let digits = end.map_or(value, |end| value.get(..end).unwrap_or_default());
    let seconds: u32 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

pub(super) async fn read_info(request: &Request, handle: &TransactionHandle) -> Option<SipEvent> {
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
pub(super) async fn respond(
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

/// A body as text; `None` if there is none.
pub(in crate::voice::sip) fn body(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}
