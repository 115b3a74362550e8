//! The status page of a request. Who holds its token may look and cancel; the address is never
//! logged, and only the masked number is shown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use helpline_core::queue::ewt::{Promise, PromiseKind};
use helpline_core::time::Wall;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::desk::{Desk, StatusView};
use crate::page::{Pages, Problem, Sender, sender, time_in_words};

/// Longest token that is looked up, in bytes.
const TOKEN_BYTES_MAX: usize = 64;

/// A future that may move between threads.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// `desk.status`: the request of a token, if there is one.
pub type Look = Arc<dyn Fn(String) -> Boxed<anyhow::Result<Option<StatusView>>> + Send + Sync>;
/// `desk.cancel`: whatever it came to, the status page shows it.
pub type Cancel = Arc<dyn Fn(String) -> Boxed<anyhow::Result<()>> + Send + Sync>;

/// What the status routes need.
pub struct StatusPage {
    pages: Arc<Pages>,
    clock: Clock,
    zone: String,
    look: Look,
    cancel: Cancel,
}

impl StatusPage {
    /// `zone` is the site's, for times of requests without a zone of their own.
    #[must_use]
    pub fn new(
        pages: Arc<Pages>,
        clock: Clock,
        zone: &str,
        look: Look,
        cancel: Cancel,
    ) -> Arc<Self> {
        Arc::new(StatusPage {
            pages,
            clock,
            zone: zone.to_owned(),
            look,
            cancel,
        })
    }

    /// The same over the desk.
    #[must_use]
    pub fn at_desk(pages: Arc<Pages>, clock: Clock, zone: &str, desk: Arc<Desk>) -> Arc<Self> {
        let canceller = Arc::clone(&desk);
        let look: Look = Arc::new(move |token| {
            let desk = Arc::clone(&desk);
            Box::pin(async move { Ok(desk.status(&token).await?) })
        });
        let cancel: Cancel = Arc::new(move |token| {
            let desk = Arc::clone(&canceller);
            Box::pin(async move {
                let done = desk.cancel(&token).await?;
                tracing::info!(?done, "cancelled by its customer");
                Ok(())
            })
        });
        StatusPage::new(pages, clock, zone, look, cancel)
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
        match (self.look)(token.to_owned()).await {
            Ok(Some(view)) => Ok(view),
            Ok(None) => Err(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "status not readable");
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
    if let Err(error) = (status.cancel)(token.clone()).await {
        tracing::error!(error = format!("{error:#}"), "cancel failed");
        let code = StatusCode::SERVICE_UNAVAILABLE;
        return private(status.pages.error(code, &language, "error_text"));
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
        "unverified" => ("status_unverified", Some("status_unverified_text"), ""),
        "waiting" | "leased" => ("status_waiting", None, ""),
        "held" => ("status_held", Some("status_held_text"), ""),
        "backoff" => ("status_backoff", Some("status_backoff_text"), ""),
        "scheduled" => ("status_scheduled", None, ""),
        "dialling" | "answered" => ("status_ringing", Some("status_ringing_text"), "good"),
        "connected" => ("status_connected", Some("status_connected_text"), "good"),
        "done" | "wrapup" | "settled_inbound" => ("status_done", Some("status_done_text"), "good"),
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
    let (headline, text, tone) = wording(&view.state);
    let state = view.state.as_str();
    let last = view.last_disposition.as_deref().unwrap_or_default();
    let last = words.find(language, &format!("last_{last}"));
    let text = match (state, last) {
        // Why the last try failed says more than the general sentence.
        ("backoff", Some(last)) => Some(last),
        _ => text.map(|key| words.get(language, key)),
    };
    let told = |promise: &Promise| promise.text(None, now, language);
    let zone = view.promise.as_ref().map_or(&status.zone, |p| &p.zone);
    let time = |at: Wall| time_in_words(at, zone, language);
    let estimate = view.estimate.as_ref().filter(|_| waits(state)).map(told);
    let promise = view
        .promise
        .as_ref()
        .filter(|p| waits(state) && p.kind != PromiseKind::None)
        .map(told)
        .filter(|promise| estimate.as_ref() != Some(promise));
    let data = json!({
        "title": words.get(language, "status_title"),
        "refresh": view.open,
        "headline": words.get(language, headline),
        "tone": tone,
        "text": text,
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

/// The view for programs.
fn view_json(view: &StatusView, now: Wall) -> Value {
    let state = view.state.as_str();
    let position = view.position.filter(|_| waits(state));
    let promise = |promise: &Promise| {
        let times = promise.kind != PromiseKind::None;
        json!({
            "kind": promise.kind,
            "from": times.then(|| promise.from.rfc3339()),
            "to": times.then(|| promise.to.rfc3339()),
            "zone": promise.zone,
            "text": promise.text(position, now, &view.language),
        })
    };
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
mod tests {
    use std::sync::Mutex;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use helpline_core::id::RequestId;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Site;

    const NOW: Wall = Wall::from_millis(1_795_440_000_000);

    fn view(state: &str) -> StatusView {
        StatusView {
            id: RequestId::from_text("0192"),
            state: state.to_owned(),
            position: Some(7),
            promise: Some(Promise {
                kind: PromiseKind::Range,
                from: NOW + std::time::Duration::from_secs(1200),
                to: NOW + std::time::Duration::from_secs(2400),
                zone: "Europe/Berlin".into(),
            }),
            estimate: None,
            number_masked: "+49 … 67".into(),
            due_at: Some(NOW),
            not_before: Some(NOW + std::time::Duration::from_secs(60)),
            last_disposition: Some("busy".into()),
            open: !matches!(state, "done" | "cancelled" | "refused"),
            language: "en".into(),
        }
    }

    /// The router, and the tokens that were cancelled.
    fn router(state: &'static str) -> (Router, Arc<Mutex<Vec<String>>>) {
        let pages = Arc::new(Pages::new(&Site::default(), "http://help.example").unwrap());
        let cancelled = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&cancelled);
        let look: Look = Arc::new(move |token| {
            Box::pin(async move {
                anyhow::ensure!(token != "broken", "no database");
                Ok((token == "good_token-1").then(|| view(state)))
            })
        });
        let cancel: Cancel = Arc::new(move |token| {
            seen.lock().unwrap().push(token);
            Box::pin(async { Ok(()) })
        });
        let clock = Clock::following_tokio(NOW);
        let page = StatusPage::new(pages, clock, "UTC", look, cancel);
        (page.router(), cancelled)
    }

    async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let answer = router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    fn get_request(path: &str) -> Request<Body> {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_page_tells_place_and_promise_and_offers_cancel() {
        let (router, _) = router("waiting");
        let (status, headers, html) = ask(&router, get_request("/s/good_token-1")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        for part in [
            "You are in line",
            "<dd class=\"place\">7</dd>",
            "between 14:40 and 15:00",
            "action=\"/s/good_token-1/cancel\"",
            "http-equiv=\"refresh\" content=\"15\"",
            "+49 … 67",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        let (_, _, german) = ask(&router, get_request("/s/good_token-1?lang=de")).await;
        assert!(german.contains("Sie stehen in der Reihe"));
    }

    #[tokio::test(start_paused = true)]
    async fn every_state_has_words_and_final_ones_no_cancel() {
        for (state, part) in [
            ("unverified", "Please confirm"),
            ("held", "Your request waits"),
            ("backoff", "Your line was busy."),
            ("scheduled", "23 November 2026, 14:20 (Berlin)"),
            ("answered", "rings now"),
            ("connected", "We are talking"),
            ("done", "Thank you"),
            ("cancelled", "We do not call you"),
            ("refused", "We do not call this number"),
            ("a_new_state", "Your request"),
        ] {
            let (router, _) = router(state);
            let (_, _, html) = ask(&router, get_request("/s/good_token-1")).await;
            assert!(html.contains(part), "{state}: {html}");
            let open = view(state).open;
            assert_eq!(html.contains("/cancel\""), open, "{state}");
            assert_eq!(html.contains("http-equiv=\"refresh\""), open, "{state}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn json_view_is_for_programs() {
        let (router, _) = router("waiting");
        let (status, _, body) = ask(&router, get_request("/s/good_token-1/status")).await;
        assert_eq!(status, StatusCode::OK);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["position"], 7);
        assert_eq!(body["phone_tail"], "67");
        assert_eq!(body["promise"]["from"], "2026-11-23T13:40:00.000Z");
        assert_eq!(body["can"], json!(["cancel"]));
        assert!(body["estimate"].is_null() && body["next_try_at"].is_null());
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_and_hostile_tokens_find_nothing() {
        let (router, _) = router("waiting");
        let long = format!("/s/{}", "a".repeat(65));
        for path in [
            "/s/nobody",
            "/s/%00",
            "/s/..%2f..%2fetc",
            "/s/%3Cscript%3E",
            &long,
        ] {
            let (status, _, html) = ask(&router, get_request(path)).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(!html.contains("<script>"));
        }
        let (status, _, _) = ask(&router, get_request("/s/broken")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let (status, headers, _) = ask(&router, get_request("/s/nobody/status")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers["content-type"], "application/problem+json");
    }

    #[tokio::test(start_paused = true)]
    async fn only_our_own_page_cancels_and_only_by_post() {
        let (router, cancelled) = router("waiting");
        let post = |header: &'static str, value: &'static str| {
            Request::post("/s/good_token-1/cancel")
                .header(header, value)
                .body(Body::empty())
                .unwrap()
        };
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            let (status, _, _) = ask(&router, post(header, value)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{value}");
        }
        let (status, _, _) = ask(&router, get_request("/s/good_token-1/cancel")).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(cancelled.lock().unwrap().is_empty());
        for (header, value) in [
            ("sec-fetch-site", "same-origin"),
            ("origin", "null"),
            ("origin", "http://help.example"),
        ] {
            let (status, headers, _) = ask(&router, post(header, value)).await;
            assert_eq!(status, StatusCode::SEE_OTHER, "{value}");
            assert_eq!(headers["location"], "/s/good_token-1");
        }
        assert_eq!(cancelled.lock().unwrap().len(), 3);
    }
}
