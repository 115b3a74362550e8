//! The status page of a request. Who holds its token may look and cancel; the address is never
//! logged, and only the masked number is shown.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use helpline_core::queue::ewt::Promise;
use helpline_core::time::Wall;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::desk::{Desk, StatusView};
use crate::page::{Pages, Problem, Sender, Words, promise_json, sender, time_in_words};

/// Longest token that is looked up, in bytes.
const TOKEN_BYTES_MAX: usize = 64;

/// What the status routes need.
pub struct StatusPage {
    pages: Arc<Pages>,
    clock: Clock,
    zone: String,
    desk: Arc<Desk>,
}

impl StatusPage {
    /// `zone` is the site's, for times of requests without a zone of their own.
    #[must_use]
    pub fn new(pages: Arc<Pages>, clock: Clock, zone: &str, desk: Arc<Desk>) -> Arc<Self> {
        Arc::new(StatusPage {
            pages,
            clock,
            zone: zone.to_owned(),
            desk,
        })
    }

    /// `/s/{token}`, `/s/{token}/status` (JSON) and `POST /s/{token}/cancel`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/s/{token}", get(show))
            .route("/s/{token}/status", get(as_json))
            .route("/s/{token}/cancel", post(cancel))
            .with_state(Arc::clone(self))
    }

    /// The request of a token; `Err` is the status of the answer.
    async fn find(&self, token: &str) -> Result<StatusView, StatusCode> {
        if !is_token(token) {
            return Err(StatusCode::NOT_FOUND);
        }
        match self.desk.status(token).await {
            Ok(Some(view)) => Ok(view),
            Ok(None) => Err(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::error!(%error, "status not readable");
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

/// Tokens are base64url; nothing else is worth a look into the store.
fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
}

async fn show(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let words = status.pages.words();
    let accept = headers.get(header::ACCEPT_LANGUAGE);
    let accept = accept.and_then(|v| v.to_str().ok());
    let query = query.unwrap_or_default();
    let wanted = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "lang")
        .map(|(_, value)| value.into_owned());
    let answer = match status.find(&token).await {
        Ok(view) => {
            let own = Some(view.language.as_str());
            let language = words.choose(wanted.as_deref().or(own), accept);
            page(&status, &token, &view, &language)
        }
        Err(code) => {
            let text = match code {
                StatusCode::NOT_FOUND => "not_found_text",
                _ => "error_text",
            };
            let language = words.choose(wanted.as_deref(), accept);
            status.pages.error(code, &language, text)
        }
    };
    private(answer)
}

async fn as_json(State(status): State<Arc<StatusPage>>, Path(token): Path<String>) -> Response {
    let answer = match status.find(&token).await {
        Ok(view) => {
            let body = view_json(&view, status.clock.wall());
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (kind, body.to_string()).into_response()
        }
        Err(code @ StatusCode::NOT_FOUND) => Problem::new(
            code,
            "not-found",
            "There is no such request",
            "the link is wrong or too old",
        )
        .into_response(),
        Err(code) => Problem::new(
            code,
            "unavailable",
            "The request cannot be read now",
            "try again in a moment",
        )
        .into_response(),
    };
    private(answer)
}

/// Cancels, then shows the page again. The token in the address is the right to do so; a
/// foreign page that knows it somehow is refused all the same. Our own page sends no usable
/// `Origin` without `Sec-Fetch-Site`, because its referrer policy hides the address.
async fn cancel(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let accept = headers.get(header::ACCEPT_LANGUAGE);
    let accept = accept.and_then(|v| v.to_str().ok());
    let language = status.pages.words().choose(None, accept);
    let hidden = headers.get(header::ORIGIN).is_some_and(|o| o == "null")
        && !headers.contains_key("sec-fetch-site");
    if sender(&headers, status.pages.public_url()) == Sender::Foreign && !hidden {
        let answer = status
            .pages
            .error(StatusCode::FORBIDDEN, &language, "foreign_text");
        return private(answer);
    }
    if !is_token(&token) {
        let code = StatusCode::NOT_FOUND;
        return private(status.pages.error(code, &language, "not_found_text"));
    }
    match status.desk.cancel(&token).await {
        // Whatever it came to, the page shows it.
        Ok(done) => tracing::info!(?done, "cancelled by its customer"),
        Err(error) => {
            tracing::error!(%error, "cancel failed");
            let code = StatusCode::SERVICE_UNAVAILABLE;
            return private(status.pages.error(code, &language, "error_text"));
        }
    }
    let location = [(header::LOCATION, format!("/s/{token}"))];
    private((StatusCode::SEE_OTHER, location).into_response())
}

/// The address holds a secret: it goes into no cache and no `Referer`.
fn private(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    answer
}

/// How a state is shown: key of its headline, key of the sentence below, tone.
fn wording(state: &str) -> (&'static str, Option<&'static str>, &'static str) {
    match state {
        "waiting" | "leased" => ("status_waiting", None, ""),
        "held" => ("status_held", Some("status_held_text"), ""),
        "backoff" => ("status_backoff", Some("status_backoff_text"), ""),
        "scheduled" => ("status_scheduled", None, ""),
        "dialling" | "answered" => ("status_ringing", Some("status_ringing_text"), "good"),
        "connected" => ("status_connected", Some("status_connected_text"), "good"),
        "done" | "settled_inbound" => ("status_done", Some("status_done_text"), "good"),
        "cancelled" => ("status_cancelled", Some("status_cancelled_text"), ""),
        "expired" => ("status_expired", Some("status_expired_text"), "bad"),
        "unreachable" => ("status_unreachable", Some("status_unreachable_text"), "bad"),
        "refused" => ("status_refused", Some("status_refused_text"), "bad"),
        "suppressed" => ("status_suppressed", Some("status_suppressed_text"), "bad"),
        _ => ("status_unknown", None, ""),
    }
}

/// Whether the page shows place and estimate.
fn waits(state: &str) -> bool {
    matches!(state, "waiting" | "leased" | "held" | "backoff")
}

fn page(status: &StatusPage, token: &str, view: &StatusView, language: &str) -> Response {
    let words = status.pages.words();
    let now = status.clock.wall();
    let state = view.state.as_str();
    let (headline, _, tone) = wording(state);
    let told = |promise: &Promise| promise.text(None, now, language);
    let zone = view.promise.as_ref().map_or(&status.zone, |p| &p.zone);
    let time = |at: Wall| time_in_words(at, zone, language);
    let estimate = view.estimate.as_ref().filter(|_| waits(state)).map(told);
    let promise = view
        .promise
        .as_ref()
        .filter(|p| waits(state) && p.names_times())
        .map(told)
        .filter(|promise| estimate.as_ref() != Some(promise));
    let data = json!({
        "title": words.get(language, "status_title"),
        "refresh": view.open,
        "headline": words.get(language, headline),
        "tone": tone,
        "text": explanation(words, view, language),
        "position": view.position.filter(|_| waits(state)),
        "due": view.due_at.filter(|_| state == "scheduled").map(time),
        "next_try": view.not_before.filter(|at| state == "backoff" && *at > now).map(time),
        "estimate": estimate,
        "promise": promise,
        "number": view.number_masked,
        "can_cancel": view.open,
        "cancel_href": format!("/s/{token}/cancel"),
        "can_ask": !view.open && !matches!(state, "refused" | "suppressed"),
        "again_href": "/help",
    });
    status
        .pages
        .answer(StatusCode::OK, "status", language, data)
}

/// The sentence below the headline.
fn explanation<'w>(words: &'w Words, view: &StatusView, language: &str) -> Option<&'w str> {
    let last = view.last_disposition.as_deref().unwrap_or_default();
    // Why the last try failed says more than the general sentence.
    if view.state == "backoff"
        && let Some(why) = words.find(language, &format!("last_{last}"))
    {
        return Some(why);
    }
    let (_, text, _) = wording(&view.state);
    text.map(|key| words.get(language, key))
}

/// The view for programs.
fn view_json(view: &StatusView, now: Wall) -> Value {
    let state = view.state.as_str();
    let position = view.position.filter(|_| waits(state));
    let promise = |promise: &Promise| promise_json(promise, position, now, &view.language);
    let tail: String = view
        .number_masked
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect();
    json!({
        "state": state,
        "open": view.open,
        "position": position,
        "estimate": view.estimate.as_ref().filter(|_| waits(state)).map(promise),
        "promise": view.promise.as_ref().map(promise),
        "due_at": view.due_at.map(Wall::rfc3339),
        "next_try_at": view.not_before.filter(|_| state == "backoff").map(Wall::rfc3339),
        "phone_tail": tail.chars().rev().collect::<String>(),
        "can": if view.open { vec!["cancel"] } else { Vec::new() },
    })
}

#[cfg(test)]
mod tests;
