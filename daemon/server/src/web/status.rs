//! The status page of a request. Who holds its token may look, cancel and choose another time;
//! the address is never logged, and only the masked number is shown.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use helpline_core::queue::ewt::Promise;
use helpline_core::request::json::{BOOKING_AHEAD_MAX, local_instant};
use helpline_core::time::Wall;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::desk::{Desk, Moved, StatusView, StoreError};
use crate::page::{
    Pages, Problem, Sender, Words, promise_json, read_body, sender, time_for_input, time_in_words,
    zone_in_words,
};

/// The word of a request that waits for its confirmation.
const UNVERIFIED: &str = "unverified";
/// Longest token that is looked up, in bytes.
const TOKEN_BYTES_MAX: usize = 64;
/// Largest form that chooses a time, in bytes.
const FORM_BYTES_MAX: usize = 1_024;

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

    /// `/s/{token}`, `/s/{token}/status` (JSON), `POST /s/{token}/confirm`,
    /// `POST /s/{token}/cancel` and `/s/{token}/time`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/s/{token}", get(show))
            .route("/s/{token}/status", get(as_json))
            .route("/s/{token}/confirm", post(confirm))
            .route("/s/{token}/cancel", post(cancel))
            .route("/s/{token}/time", get(ask_time).post(choose_time))
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
            let language = words.choose(wanted.as_deref(), accept);
            status.pages.error(code, &language, text_of(code))
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

/// Confirms that the call is wanted, then shows the page again. A program that looks at every
/// link of a mail only gets the page with the button.
async fn confirm(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let done = status.desk.confirm(&token);
    pressed(&status, &token, &headers, "confirm", done).await
}

/// Cancels, then shows the page again.
async fn cancel(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let done = status.desk.cancel(&token);
    pressed(&status, &token, &headers, "cancel", done).await
}

/// Does what a button is for, unless somebody else's page sent it, and shows the page again:
/// whatever it came to stands there.
async fn pressed<T: std::fmt::Debug>(
    status: &StatusPage,
    token: &str,
    headers: &HeaderMap,
    button: &'static str,
    done: impl Future<Output = Result<T, StoreError>>,
) -> Response {
    let language = language_of(status, headers);
    if let Some(answer) = status.refuses(token, headers, &language) {
        return private(answer);
    }
    match done.await {
        Ok(done) => tracing::info!(button, ?done, "a customer's page"),
        Err(error) => {
            tracing::error!(button, %error, "a customer's page failed");
            let code = StatusCode::SERVICE_UNAVAILABLE;
            return private(status.pages.error(code, &language, "error_text"));
        }
    }
    shown_again(token)
}

/// Shows the form that chooses another time.
async fn ask_time(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let language = language_of(&status, &headers);
    private(match status.find(&token).await {
        Ok(view) if may_move(&view.state) => time_page(&status, &token, &view, &language, false),
        Ok(_) => return shown_again(&token),
        Err(code) => status.pages.error(code, &language, text_of(code)),
    })
}

/// Books the call for another time, then shows the page again; with the reason, if it cannot be
/// called then.
async fn choose_time(
    State(status): State<Arc<StatusPage>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let language = language_of(&status, &headers);
    if let Some(answer) = status.refuses(&token, &headers, &language) {
        return private(answer);
    }
    let answer = match status.choose(&token, &headers, body).await {
        Ok(Moved::BadTime(_)) => match status.find(&token).await {
            Ok(view) => time_page(&status, &token, &view, &language, true),
            Err(code) => status.pages.error(code, &language, text_of(code)),
        },
        Ok(Moved::Done(_) | Moved::TooLate | Moved::NotFound) => return shown_again(&token),
        Err(code) => status.pages.error(code, &language, text_of(code)),
    };
    private(answer)
}

impl StatusPage {
    /// An answer if nothing may be done: the token in the address is the right to act, but a
    /// foreign page that knows it somehow is refused all the same. Our own page sends no usable
    /// `Origin` without `Sec-Fetch-Site`, because its referrer policy hides the address.
    fn refuses(&self, token: &str, headers: &HeaderMap, language: &str) -> Option<Response> {
        let hidden = headers.get(header::ORIGIN).is_some_and(|o| o == "null")
            && !headers.contains_key("sec-fetch-site");
        let (code, text) = if sender(headers, self.pages.public_url()) == Sender::Foreign && !hidden
        {
            (StatusCode::FORBIDDEN, "foreign_text")
        } else if !is_token(token) {
            (StatusCode::NOT_FOUND, "not_found_text")
        } else {
            return None;
        };
        Some(self.pages.error(code, language, text))
    }

    /// Reads the time of the form, in the zone in which the page told its times.
    async fn choose(
        &self,
        token: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Moved, StatusCode> {
        let view = self.find(token).await?;
        let body = read_body(headers, body, FORM_BYTES_MAX)
            .await
            .map_err(|fault| fault.status())?;
        let mut fields = url::form_urlencoded::parse(&body);
        let at = fields.find(|(name, _)| name == "at");
        let Some(Ok(at)) = at.map(|(_, at)| local_instant(&at, self.zone_of(&view))) else {
            return Ok(Moved::BadTime("no time was given".to_owned()));
        };
        let moved = self.desk.reschedule(token, at).await;
        moved.map_err(|error| {
            tracing::error!(%error, "another time could not be stored");
            StatusCode::SERVICE_UNAVAILABLE
        })
    }

    fn zone_of<'a>(&'a self, view: &'a StatusView) -> &'a str {
        view.promise.as_ref().map_or(&self.zone, |p| &p.zone)
    }
}

fn language_of(status: &StatusPage, headers: &HeaderMap) -> String {
    let accept = headers.get(header::ACCEPT_LANGUAGE);
    let accept = accept.and_then(|v| v.to_str().ok());
    status.pages.words().choose(None, accept)
}

/// The sentence of an error page.
fn text_of(code: StatusCode) -> &'static str {
    match code {
        StatusCode::NOT_FOUND => "not_found_text",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large_text",
        _ => "error_text",
    }
}

fn shown_again(token: &str) -> Response {
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
        UNVERIFIED => ("status_unverified", Some("status_unverified_text"), ""),
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

/// Whether another time can be chosen: a call that is on, or comes at once, is not moved.
fn may_move(state: &str) -> bool {
    matches!(state, "waiting" | "held" | "backoff" | "scheduled")
}

fn page(status: &StatusPage, token: &str, view: &StatusView, language: &str) -> Response {
    let words = status.pages.words();
    let now = status.clock.wall();
    let state = view.state.as_str();
    let (headline, _, tone) = wording(state);
    let told = |promise: &Promise| promise.text(None, now, language);
    let zone = status.zone_of(view);
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
        "pin": view.pin,
        "confirm_href": (state == UNVERIFIED).then(|| format!("/s/{token}/confirm")),
        "can_cancel": view.open,
        "cancel_href": format!("/s/{token}/cancel"),
        "move_href": may_move(state).then(|| format!("/s/{token}/time")),
        "can_ask": !view.open && !matches!(state, "refused" | "suppressed"),
        "again_href": "/help",
    });
    status
        .pages
        .answer(StatusCode::OK, "status", language, data)
}

/// The form that chooses another time; it does not renew itself. With `refused`, the time
/// chosen before is not to be had.
fn time_page(
    status: &StatusPage,
    token: &str,
    view: &StatusView,
    language: &str,
    refused: bool,
) -> Response {
    let words = status.pages.words();
    let now = status.clock.wall();
    let zone = status.zone_of(view);
    let data = json!({
        "title": words.get(language, "move"),
        "due": view.due_at.map(|at| time_in_words(at, zone, language)),
        "fault": refused.then(|| words.get(language, "err_time-refused")),
        "move_href": format!("/s/{token}/time"),
        "back_href": format!("/s/{token}"),
        "at": view.due_at.map(|at| time_for_input(at, zone)),
        "at_min": time_for_input(now, zone),
        "at_max": time_for_input(now + BOOKING_AHEAD_MAX, zone),
        "zone_name": zone_in_words(zone),
    });
    let code = match refused {
        false => StatusCode::OK,
        true => StatusCode::UNPROCESSABLE_ENTITY,
    };
    status.pages.answer(code, "time", language, data)
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
    let can = [
        (state == UNVERIFIED, "confirm"),
        (view.open, "cancel"),
        (may_move(state), "reschedule"),
    ];
    let can: Vec<_> = can
        .iter()
        .filter(|(can, _)| *can)
        .map(|(_, word)| word)
        .collect();
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
        "pin": view.pin,
        "phone_tail": tail.chars().rev().collect::<String>(),
        "can": can,
    })
}

#[cfg(test)]
mod tests;
