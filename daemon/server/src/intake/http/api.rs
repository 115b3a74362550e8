//! `POST /api/requests`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use helpline_core::request::json::{BODY_BYTES_MAX, read};
use helpline_core::request::{Channel, HelpRequest};
use serde_json::json;

use super::{HttpIntake, Outcome, Peer, Refusal, body_hash, outcome, refusal};
use crate::desk::{AcceptError, Accepted, AckTo, IntakeKey, Origin};
use crate::page::{Problem, Sender, promise_json, read_body, sender};

/// Longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Takes a request as JSON: 201 after it is durable.
pub(super) async fn take(
    State(intake): State<Arc<HttpIntake>>,
    Peer(address): Peer,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = accept(&intake, address, &headers, body).await;
    let (outcome, answer) = match answer {
        Ok(answer) => (Outcome::Accepted, answer),
        Err((outcome, problem)) => (outcome, problem.into_response()),
    };
    intake.counts.add(Channel::Json, outcome);
    answer
}

async fn accept(
    intake: &HttpIntake,
    address: Option<std::net::IpAddr>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, (Outcome, Problem)> {
    let refused = |problem| (Outcome::Refused, problem);
    check_headers(intake, headers).map_err(refused)?;
    intake
        .count(address)
        .map_err(|after| refused(too_many().retry_after(after)))?;
    let key = idempotency_key(headers).map_err(refused)?;
    let body = read_body(headers, body, BODY_BYTES_MAX)
        .await
        .map_err(|fault| refused(fault.problem()))?;
    let now = intake.clock.wall();
    let request = read(&body, &intake.context(now)).map_err(|faults| {
        let readable = faults.iter().all(|fault| fault.kind != "bad-json");
        let status = match readable {
            true => StatusCode::UNPROCESSABLE_ENTITY,
            false => StatusCode::BAD_REQUEST,
        };
        refused(Problem::fields(status, faults))
    })?;
    let origin = Origin {
        key: key.map(|key| IntakeKey {
            scope: "http",
            key,
            body_hash: body_hash(&[&body]),
        }),
        ack: acknowledgement(&request),
        address,
        ..Origin::default()
    };
    let language = request.language.clone();
    let accepted = intake.desk.accept(request, origin).await;
    accepted
        .map(|accepted| created(intake, &accepted, &language))
        .map_err(|error| (outcome(&error), problem(&error)))
}

fn check_headers(intake: &HttpIntake, headers: &HeaderMap) -> Result<(), Problem> {
    if sender(headers, intake.pages.public_url()) == Sender::Foreign {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "Not from here",
            "requests by the browser are taken from our own pages only",
        ));
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if kind {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "Only JSON is taken here",
        "send the body as application/json",
    ))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let (first, second) = (keys.next(), keys.next());
    let Some(key) = first else {
        return Ok(None);
    };
    let text = key
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()) && second.is_none());
    text.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-idempotency-key",
            "The idempotency key cannot be used",
            "send one Idempotency-Key of 1 to 255 ASCII characters",
        )
    })
}

/// The acknowledgement goes to the address the customer gave.
pub(super) fn acknowledgement(request: &HelpRequest) -> Option<AckTo> {
    request.email.clone().map(|address| AckTo {
        address,
        ..AckTo::default()
    })
}

fn created(intake: &HttpIntake, accepted: &Accepted, language: &str) -> Response {
    let status_url = format!("{}/s/{}", intake.pages.public_url(), accepted.token);
    let promise = &accepted.promise;
    let now = intake.clock.wall();
    let body = json!({
        "id": accepted.id,
        "status_url": status_url,
        "position": accepted.position,
        "estimate": promise_json(promise, accepted.position, now, language),
    });
    let mut answer = (StatusCode::CREATED, body.to_string()).into_response();
    let headers = answer.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&status_url) {
        headers.insert(header::LOCATION, location);
    }
    answer
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many",
        "Too many requests",
        "too many requests; try again later",
    )
}

fn problem(error: &AcceptError) -> Problem {
    let Refusal {
        status,
        kind,
        retry_after,
    } = refusal(error);
    let title = match error {
        AcceptError::KeyReused => "The idempotency key was used",
        AcceptError::NotAllowed => "The number cannot be called",
        AcceptError::BadTime(_) => "The time cannot be kept",
        AcceptError::TooMany { .. } => "Too many requests",
        AcceptError::Full => "The line is full",
        AcceptError::Unavailable => "The request could not be stored",
    };
    let problem = Problem::new(status, kind, title, &error.to_string());
    match retry_after {
        Some(after) => problem.retry_after(after),
        None => problem,
    }
}
