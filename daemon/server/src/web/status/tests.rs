//! The status routes over a desk and its store.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt;

use super::*;
use crate::desk::Origin;
use crate::desk::stage::{Stage, config, request};

/// Seven people in line, and the page of the seventh.
struct Line {
    router: Router,
    stage: Stage,
    token: String,
}

async fn line() -> Line {
    let config = config();
    let pages = Pages::new(&config.site, "http://help.example").unwrap();
    let stage = Stage::new(config).await;
    let (desk, clock) = (Arc::clone(&stage.desk), stage.clock.clone());
    let mut token = String::new();
    for n in 1..=7 {
        let accepted = desk.accept(request(n), Origin::default()).await.unwrap();
        token = accepted.token;
    }
    let page = StatusPage::new(Arc::new(pages), clock, "Europe/Berlin", Arc::clone(&desk));
    Line {
        router: page.router(),
        stage,
        token,
    }
}

impl Line {
    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        self.ask(request).await
    }

    /// The page of the seventh, with `more` behind its address.
    async fn own(&self, more: &str) -> (StatusCode, HeaderMap, String) {
        self.get(&format!("/s/{}{more}", self.token)).await
    }

    /// Puts the seventh into a state.
    async fn turn(&self, state: &str) {
        self.stage
            .run(
                "update request set state = $1, not_before = not_before + 60000,
               due_at = case $1 when 'scheduled' then not_before else due_at end,
               open = case when $1 in ('done', 'cancelled', 'expired', 'unreachable', 'refused',
                 'suppressed', 'settled_inbound') then 0 else 1 end
             where token = $2",
                &[state, &self.token],
            )
            .await;
    }

    async fn state(&self) -> String {
        self.stage
            .desk
            .status(&self.token)
            .await
            .unwrap()
            .unwrap()
            .state
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_page_tells_place_and_promise_and_offers_cancel() {
    let line = line().await;
    let (status, headers, html) = line.own("").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["cache-control"], "no-store");
    let action = format!("action=\"/s/{}/cancel\"", line.token);
    for part in [
        "You are in line",
        "<dd class=\"place\">7</dd>",
        "between 14:30 and 14:50",
        action.as_str(),
        "http-equiv=\"refresh\" content=\"15\"",
        "+49 … 07",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(
        !html.contains("noscript"),
        "it renews itself in every browser"
    );
    let (_, _, german) = line.own("?lang=de").await;
    assert!(german.contains("Sie stehen in der Reihe"));
}

#[tokio::test(start_paused = true)]
async fn every_state_has_words_and_final_ones_no_cancel() {
    let line = line().await;
    for (state, part, open) in [
        ("held", "Your request waits", true),
        ("backoff", "We try again", true),
        ("scheduled", "23 November 2026, 14:2", true),
        ("dialling", "rings now", true),
        ("answered", "rings now", true),
        ("connected", "We are talking", true),
        ("done", "Thank you", false),
        ("settled_inbound", "Thank you", false),
        ("cancelled", "We do not call you", false),
        ("expired", "<h1", false),
        ("unreachable", "<h1", false),
        ("suppressed", "<h1", false),
        ("refused", "We do not call this number", false),
    ] {
        line.turn(state).await;
        let (status, _, html) = line.own("").await;
        assert_eq!(status, StatusCode::OK);
        assert!(html.contains(part), "{state}: {html}");
        assert!(
            !html.contains("status_"),
            "{state}: a word is missing: {html}"
        );
        assert_eq!(html.contains("/cancel\""), open, "{state}");
        assert_eq!(html.contains("http-equiv=\"refresh\""), open, "{state}");
    }
    // A state that a newer daemon on the same database wrote.
    assert_eq!(wording("a_new_state").0, "status_unknown");
}

#[tokio::test(start_paused = true)]
async fn why_the_last_try_failed_is_told() {
    let line = line().await;
    line.turn("backoff").await;
    line.stage.run(
        "insert into attempt (id, request_id, queue, attempt_no, epoch, node, trunk, number, call_id,
           state, live, disposition, ring_limit_ms, intent_at)
         select 'a', id, queue, 1, 1, 'n', 'carrier', number, 'c', 'ended', 0, 'busy', 1, accepted_at
         from request where token = $1",
        &[&line.token],
    )
    .await;
    let (_, _, html) = line.own("").await;
    assert!(html.contains("Your line was busy."), "{html}");
    let (_, _, body) = line.own("/status").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["next_try_at"], "2026-11-23T13:21:00.000Z");
    assert!(body["position"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_button_confirms_and_looking_does_not() {
    let line = line().await;
    line.stage
        .run(
            "update request set state = 'held', held_reason = 'unverified',
               not_before = not_before + 86400000 where token = $1",
            &[&line.token],
        )
        .await;
    let (_, _, html) = line.own("").await;
    let action = format!("method=\"post\" action=\"/s/{}/confirm\"", line.token);
    for part in [
        "Do you want this call?",
        action.as_str(),
        "Yes, please",
        "/cancel\"",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(
        !html.contains("place\"") && !html.contains("/time\""),
        "{html}"
    );
    let (_, _, body) = line.own("/status").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["can"], json!(["confirm", "cancel"]));
    let path = format!("/s/{}/confirm", line.token);
    assert_eq!(line.get(&path).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let foreign = Request::post(&path).header("sec-fetch-site", "cross-site");
    let foreign = foreign.body(Body::empty()).unwrap();
    assert_eq!(line.ask(foreign).await.0, StatusCode::FORBIDDEN);
    assert_eq!(line.state().await, "unverified");
    for _ in 0..2 {
        let own = Request::post(&path).header("sec-fetch-site", "same-origin");
        let (status, headers, _) = line.ask(own.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        assert_eq!(headers["location"], format!("/s/{}", line.token));
        assert_eq!(line.state().await, "waiting");
    }
    let (_, _, html) = line.own("").await;
    assert!(
        html.contains("<dd class=\"place\">7</dd>"),
        "its place is kept: {html}"
    );
    assert!(!html.contains("/confirm"), "{html}");
    let nobody = Request::post("/s/nobody/confirm")
        .body(Body::empty())
        .unwrap();
    let (status, headers, _) = line.ask(nobody).await;
    assert_eq!(
        (status, &headers["location"]),
        (
            StatusCode::SEE_OTHER,
            &HeaderValue::from_static("/s/nobody")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn json_view_is_for_programs() {
    let line = line().await;
    let (status, _, body) = line.own("/status").await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "waiting");
    assert_eq!(body["position"], 7);
    assert_eq!(body["phone_tail"], "07");
    assert_eq!(body["promise"]["kind"], "range");
    assert_eq!(body["promise"]["zone"], "Europe/Berlin");
    assert_eq!(body["estimate"], body["promise"], "nothing happened since");
    assert_eq!(body["can"], json!(["cancel", "reschedule"]));
    assert!(body["next_try_at"].is_null() && body["due_at"].is_null());
}

#[tokio::test(start_paused = true)]
async fn unknown_and_hostile_tokens_find_nothing() {
    let line = line().await;
    let long = format!("/s/{}", "a".repeat(65));
    for path in [
        "/s/nobody",
        "/s/%00",
        "/s/..%2f..%2fetc",
        "/s/%3Cscript%3E",
        "/s/'%20or%20''='",
        &long,
    ] {
        let (status, _, html) = line.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(!html.contains("<script>"));
    }
    let (status, headers, _) = line.get("/s/nobody/status").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_not_a_wrong_link() {
    let line = line().await;
    line.stage.lose_the_store();
    for more in ["", "/status"] {
        let (status, _, _) = line.own(more).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{more}");
    }
    let cancel = Request::post(format!("/s/{}/cancel", line.token));
    let (status, _, html) = line.ask(cancel.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{html}");
}

#[tokio::test(start_paused = true)]
async fn only_our_own_page_cancels_and_only_by_post() {
    for (header, value, own) in [
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        ("origin", "https://evil.example", false),
        ("sec-fetch-site", "same-origin", true),
        ("origin", "null", true),
        ("origin", "http://help.example", true),
    ] {
        let line = line().await;
        let path = format!("/s/{}/cancel", line.token);
        let post = Request::post(&path).header(header, value);
        let (status, headers, _) = line.ask(post.body(Body::empty()).unwrap()).await;
        let state = line.state().await;
        if own {
            assert_eq!(status, StatusCode::SEE_OTHER, "{value}");
            assert_eq!(headers["location"], format!("/s/{}", line.token));
            assert_eq!(state, "cancelled", "{value}");
        } else {
            assert_eq!(status, StatusCode::FORBIDDEN, "{value}");
            assert_eq!(state, "waiting", "{value}");
            let (status, _, _) = line.get(&path).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_twice_or_a_stranger_changes_nothing_else() {
    let line = line().await;
    for token in [line.token.as_str(), line.token.as_str(), "nobody"] {
        let cancel = Request::post(format!("/s/{token}/cancel"));
        let (status, _, _) = line.ask(cancel.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{token}");
    }
    let snapshot = line.stage.desk.snapshot().await.unwrap();
    let cancelled = ("help".to_owned(), "waiting".to_owned(), 6);
    assert_eq!(snapshot.counts.requests, [cancelled]);
}

#[tokio::test(start_paused = true)]
async fn another_time_is_chosen_on_a_page_of_its_own() {
    let line = line().await;
    let path = format!("/s/{}/time", line.token);
    let post = async |header: (&str, &str), body: String| {
        let post = Request::post(&path).header(header.0, header.1);
        line.ask(post.body(Body::from(body)).unwrap()).await
    };
    let own = ("sec-fetch-site", "same-origin");
    let (status, _, html) = line.own("/time").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        !html.contains("http-equiv=\"refresh\""),
        "it would lose what is typed"
    );
    assert!(html.contains("min=\"2026-11-23T14:20\""), "{html}");
    for bad in [
        "",
        "at=",
        "at=soon",
        "at=2026-11-23T14:00",
        "at=2027-11-23T16:00",
        "at=2026-13-40T99:99",
        "at=%00",
    ] {
        let (status, _, html) = post(own, bad.to_owned()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        assert!(html.contains("id=\"at-error\""), "{bad}: {html}");
        assert_eq!(line.state().await, "waiting", "{bad}");
    }
    let huge = format!("at={}", "0".repeat(2_000));
    let (status, _, _) = post(own, huge).await;
    assert_ne!(status, StatusCode::SEE_OTHER);
    let good = "at=2026-11-23T16:00";
    let (status, _, _) = post(("origin", "https://evil.example"), good.into()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(line.state().await, "waiting");
    let (status, headers, _) = post(own, good.into()).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], format!("/s/{}", line.token));
    let (_, _, html) = line.own("").await;
    assert!(html.contains("23 November 2026, 16:00"), "{html}");
    // While the telephone rings it is too late.
    line.turn("dialling").await;
    let (status, _, _) = post(own, good.into()).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(line.state().await, "dialling");
    let (status, _, _) = line.own("/time").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
}
