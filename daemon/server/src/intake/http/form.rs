//! The help form: shown, shown again with its faults, and taken.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use helpline_core::request::form::{BODY_BYTES_MAX, FormFields};
use helpline_core::request::json::BOOKING_AHEAD_MAX;
use helpline_core::request::{
    Channel, FieldError, LINE_CHARS_MAX, NOTE_CHARS_MAX, clean_page, clean_text,
};
use serde_json::{Map, Value, json};

use super::api::acknowledgement;
use super::token::nonce;
use super::{HttpIntake, Outcome, Peer, Refusal, body_hash, outcome, refusal};
use crate::desk::{AcceptError, IntakeKey, Origin};
use crate::page::{Sender, read_body, retry_after, sender, time_for_input, zone_in_words};

/// Longest nonce of a form that is taken, in bytes.
const NONCE_BYTES_MAX: usize = 64;
/// Status page of a request that a program made: it looks like any other.
const TRAP_BYTES: usize = 16;

/// Why the form is shown, besides faults.
#[derive(Clone, Copy)]
enum Why {
    /// The customer opened it.
    Opened,
    /// It has to be corrected.
    Faults,
    /// It came from elsewhere, or too early or too late: one more click.
    Confirm,
    /// It was sent before.
    SentBefore,
}

/// Shows the form, filled in as far as the query and the page the customer came from tell.
pub(super) async fn show(
    State(intake): State<Arc<HttpIntake>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = FormFields::decode(query.as_bytes()).unwrap_or_default();
    let line = |text: &str| clean_text(text, LINE_CHARS_MAX, false).unwrap_or_default();
    let referer = || {
        let referer = headers.get(header::REFERER)?.to_str().ok()?;
        clean_page(referer).filter(|page| !page.starts_with(intake.pages.public_url()))
    };
    let fields = FormFields {
        queue: line(&asked.queue),
        phone: line(&asked.phone),
        name: line(&asked.name),
        email: line(&asked.email),
        page: clean_page(&asked.page).or_else(referer).unwrap_or_default(),
        note: clean_text(&asked.note, NOTE_CHARS_MAX, true).unwrap_or_default(),
        lang: language(&intake, &asked, &headers),
        tz: intake.zone.clone(),
        ..FormFields::default()
    };
    answer(&intake, StatusCode::OK, fields, &[], Why::Opened)
}

/// Takes the form: 303 to the status page after the request is durable.
pub(super) async fn take(
    State(intake): State<Arc<HttpIntake>>,
    Peer(address): Peer,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let unread = FormFields::default();
    let page_language = language(&intake, &unread, &headers);
    let fail = |status, text| {
        intake.counts.add(Channel::Form, Outcome::Refused);
        intake.pages.error(status, &page_language, text)
    };
    if let Err(after) = intake.count(address) {
        let answer = fail(StatusCode::TOO_MANY_REQUESTS, "err_too-many");
        return come_back(answer, Some(after));
    }
    let body = match read_body(&headers, body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(fault) => return fail(fault.status(), "too_large_text"),
    };
    let mut fields = match FormFields::decode(&body) {
        Ok(fields) => fields,
        Err(_) => return fail(StatusCode::UNPROCESSABLE_ENTITY, "err_given-twice"),
    };
    fields.lang = language(&intake, &fields, &headers);
    let own = sender(&headers, intake.pages.public_url()) == Sender::Own;
    if !own || !intake.form_key.is_good(&fields.ft, intake.clock.wall()) {
        return answer(&intake, StatusCode::OK, fields, &[], Why::Confirm);
    }
    if !fields.website.is_empty() {
        // Looks like success to the program that filled it in; nothing is stored.
        intake.counts.add(Channel::Form, Outcome::Refused);
        return see_status(&data_encoding::BASE64URL_NOPAD.encode(&[0; TRAP_BYTES]));
    }
    accept(&intake, address, fields).await
}

async fn accept(
    intake: &HttpIntake,
    address: Option<std::net::IpAddr>,
    fields: FormFields,
) -> Response {
    let now = intake.clock.wall();
    let request = match fields.read(&intake.context(now)) {
        Ok(request) => request,
        Err(faults) => {
            intake.counts.add(Channel::Form, Outcome::Refused);
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return answer(intake, status, fields, &faults, Why::Faults);
        }
    };
    let origin = Origin {
        key: form_key(&fields),
        ack: acknowledgement(&request),
        address,
        ..Origin::default()
    };
    match intake.desk.accept(request, origin).await {
        Ok(accepted) => {
            if accepted.fresh {
                intake.form_key.count(&fields.ft, now);
            }
            intake.counts.add(Channel::Form, Outcome::Accepted);
            see_status(&accepted.token)
        }
        Err(error) => {
            intake.counts.add(Channel::Form, outcome(&error));
            not_accepted(intake, fields, &error)
        }
    }
}

/// The nonce makes a double click one request; the token and its age do not belong to it.
fn form_key(fields: &FormFields) -> Option<IntakeKey> {
    let nonce = fields.idem.as_str();
    let good = (1..=NONCE_BYTES_MAX).contains(&nonce.len())
        && nonce
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    let parts = [
        &fields.queue,
        &fields.phone,
        &fields.name,
        &fields.email,
        &fields.when,
        &fields.at,
        &fields.page,
        &fields.note,
        &fields.tz,
        &fields.skill,
        &fields.agent,
    ];
    good.then(|| IntakeKey {
        scope: "form",
        key: nonce.to_owned(),
        body_hash: body_hash(&parts.map(|part| part.as_bytes())),
    })
}

fn not_accepted(intake: &HttpIntake, mut fields: FormFields, error: &AcceptError) -> Response {
    let Refusal {
        status,
        kind,
        retry_after,
    } = refusal(error);
    let (field, kind) = match error {
        AcceptError::KeyReused => {
            // Sent before with other values: a new form with these values, one more click.
            fields.idem = String::new();
            return answer(intake, StatusCode::OK, fields, &[], Why::SentBefore);
        }
        AcceptError::NotAllowed => ("phone", kind),
        AcceptError::BadTime(_) => ("when", "time-refused"),
        AcceptError::TooMany { .. } | AcceptError::Full | AcceptError::Unavailable => ("", kind),
    };
    let fault = FieldError {
        field,
        kind,
        reason: error.to_string(),
    };
    let answer = answer(intake, status, fields, &[fault], Why::Faults);
    come_back(answer, retry_after)
}

/// Tells when another try makes sense.
fn come_back(mut answer: Response, after: Option<Duration>) -> Response {
    if let Some(after) = after {
        let headers = answer.headers_mut();
        headers.insert(header::RETRY_AFTER, retry_after(after));
    }
    answer
}

fn see_status(token: &str) -> Response {
    let location = HeaderValue::from_str(&format!("/s/{token}"));
    match location {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn language(intake: &HttpIntake, fields: &FormFields, headers: &HeaderMap) -> String {
    let accept = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|v| v.to_str().ok());
    let wanted = (!fields.lang.is_empty()).then_some(fields.lang.as_str());
    intake.pages.words().choose(wanted, accept)
}

/// The form as a page. A new nonce is made unless the form has one already; the token is new.
fn answer(
    intake: &HttpIntake,
    status: StatusCode,
    mut fields: FormFields,
    faults: &[FieldError],
    why: Why,
) -> Response {
    let now = intake.clock.wall();
    if fields.idem.is_empty() || fields.idem.len() > NONCE_BYTES_MAX {
        fields.idem = nonce();
    }
    if fields.tz.is_empty() || jiff::tz::TimeZone::get(&fields.tz).is_err() {
        fields.tz.clone_from(&intake.zone);
    }
    fields.page = clean_page(&fields.page).unwrap_or_default();
    let language = fields.lang.clone();
    let words = intake.pages.words();
    let (title, notice, token) = match why {
        Why::Opened => ("help_title", None, intake.form_key.token(now)),
        Why::Faults => ("help_title", None, intake.form_key.token_of_confirm(now)),
        Why::Confirm => (
            "confirm_title",
            Some("confirm_text"),
            intake.form_key.token_of_confirm(now),
        ),
        Why::SentBefore => (
            "confirm_title",
            Some("sent_before_text"),
            intake.form_key.token_of_confirm(now),
        ),
    };
    let (bad, errors) = fault_texts(intake, faults, &language);
    let quarter = Duration::from_secs(15 * 60);
    let page = json!({
        "title": words.get(&language, title),
        "notice": notice.map(|key| words.get(&language, key)),
        "errors": errors,
        "bad": bad,
        "queues": queue_choices(intake, &fields.queue),
        "now": fields.when != "at",
        "at_min": time_for_input(round_up(now, quarter), &fields.tz),
        "at_max": time_for_input(now + BOOKING_AHEAD_MAX - quarter, &fields.tz),
        "zone_name": zone_in_words(&fields.tz),
        "f": {
            "phone": fields.phone, "name": fields.name, "email": fields.email,
            "at": fields.at, "note": fields.note, "page": fields.page,
            "lang": fields.lang, "tz": fields.tz, "idem": fields.idem, "ft": token,
            "skill": fields.skill, "agent": fields.agent,
        },
    });
    intake.pages.answer(status, "form", &language, page)
}

/// Texts beside the fields, and the summary above them.
fn fault_texts(intake: &HttpIntake, faults: &[FieldError], language: &str) -> (Value, Vec<Value>) {
    let words = intake.pages.words();
    let mut bad = Map::new();
    for field in ["queue", "phone", "name", "email", "when", "note"] {
        bad.insert(field.to_owned(), Value::Null);
    }
    let mut errors = Vec::new();
    for fault in faults {
        let text = words
            .find(language, &format!("err_{}", fault.kind))
            .unwrap_or(&fault.reason);
        let anchor = bad.get_mut(fault.field).map(|beside| {
            *beside = text.into();
            match fault.field {
                "when" => "at",
                field => field,
            }
        });
        errors.push(json!({ "text": text, "anchor": anchor }));
    }
    (Value::Object(bad), errors)
}

/// The queues to choose from; nothing when there is only one.
fn queue_choices(intake: &HttpIntake, chosen: &str) -> Vec<Value> {
    if intake.queues.len() < 2 {
        return Vec::new();
    }
    let pairs = intake.queues.iter().zip(&intake.titles);
    pairs
        .map(|(name, title)| json!({ "name": name, "title": title, "chosen": name == chosen }))
        .collect()
}

/// Input steps count from `min`, so it has to lie on the grid itself.
fn round_up(at: helpline_core::time::Wall, grid: Duration) -> helpline_core::time::Wall {
    let grid = i64::try_from(grid.as_millis()).unwrap_or(1).max(1);
    helpline_core::time::Wall::from_millis((at.millis() / grid + 1) * grid)
}
