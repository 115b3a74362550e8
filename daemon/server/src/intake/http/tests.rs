//! The routes as a client sees them; the desk is a closure that remembers what it was given.

#[path = "schema.rs"]
mod schema;

use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use helpline_core::id::RequestId;
use helpline_core::queue::ewt::{Promise, PromiseKind};
use helpline_core::request::When;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const NOW: Wall = Wall::from_millis(1_795_440_000_000); // 2026-11-23T13:20:00Z
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);

type Given = Arc<Mutex<Vec<(HelpRequest, Origin)>>>;

struct World {
    router: Router,
    given: Given,
    intake: Arc<HttpIntake>,
}

fn accepted() -> Accepted {
    Accepted {
        id: RequestId::from_text("0192f0c1-0000-7000-8000-000000000001"),
        token: "tok_en-1".into(),
        position: Some(3),
        promise: Promise {
            kind: PromiseKind::Range,
            from: NOW + Duration::from_secs(600),
            to: NOW + Duration::from_secs(1800),
            zone: "Europe/Berlin".into(),
        },
        fresh: true,
    }
}

fn world_with(answer: Result<Accepted, AcceptError>, per_minute: u32) -> World {
    let mut config = Config::default();
    config.site.zone = "Europe/Berlin".into();
    config.dial.region = Some("DE".into());
    config.http.requests_per_minute = per_minute;
    let pages = Arc::new(Pages::new(&config.site, "http://help.example").unwrap());
    let given = Given::default();
    let seen = Arc::clone(&given);
    let accept: Accept = Arc::new(move |request, origin| {
        seen.lock().unwrap().push((request, origin));
        let answer = answer.clone();
        Box::pin(async move { answer })
    });
    let dial = DialRules {
        allow: vec!["DE".into()],
        ..DialRules::default()
    };
    let clock = Clock::following_tokio(NOW);
    let intake = HttpIntake::new(&config, dial, pages, clock, accept).unwrap();
    World {
        router: crate::page::secure(intake.router(), false),
        given,
        intake,
    }
}

fn world() -> World {
    world_with(Ok(accepted()), 1000)
}

impl World {
    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(PEER));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn json(&self, body: &str) -> (StatusCode, HeaderMap, Value) {
        self.json_with(&[], body).await
    }

    async fn json_with(
        &self,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::post("/api/requests");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (status, headers, body) = self.ask(request).await;
        (status, headers, serde_json::from_str(&body).unwrap())
    }

    async fn form(&self, origin: &str, body: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::post("/help")
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.ask(request).await
    }

    /// A form as our page gave it out four seconds ago, with `fields` typed in.
    async fn typed(&self, fields: &str) -> (StatusCode, HeaderMap, String) {
        let token = self.intake.form_key.token(NOW - Duration::from_secs(4));
        self.form(OWN, &format!("{fields}&idem=n0nce&ft={token}"))
            .await
    }

    fn taken(&self) -> Vec<(HelpRequest, Origin)> {
        self.given.lock().unwrap().clone()
    }
}

const OWN: &str = "http://help.example";
const GOOD: &str = r#"{"phone":"+49 30 901820","email":"ada@example.org"}"#;

#[tokio::test(start_paused = true)]
async fn json_request_is_created_with_place_and_estimate() {
    let world = world();
    let (status, headers, body) = world.json_with(&[("idempotency-key", "k1")], GOOD).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(headers["location"], "http://help.example/s/tok_en-1");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert_eq!(body["id"], "0192f0c1-0000-7000-8000-000000000001");
    assert_eq!(body["position"], 3);
    assert_eq!(body["estimate"]["kind"], "range");
    assert_eq!(body["estimate"]["from"], "2026-11-23T13:30:00.000Z");
    let text = body["estimate"]["text"].as_str().unwrap();
    assert!(text.contains("between 14:30 and 14:50"), "{text}");
    let (request, origin) = world.taken().remove(0);
    assert_eq!(request.number.as_str(), "+4930901820");
    assert_eq!(origin.address, Some(PEER.ip()));
    assert_eq!(origin.ack.unwrap().address, "ada@example.org");
    let key = origin.key.unwrap();
    assert_eq!((key.scope, key.key.as_str()), ("http", "k1"));
    assert_eq!(key.body_hash.len(), 64);
    assert!(world.intake.counts().contains(&("json", "accepted", 1)));
}

#[tokio::test(start_paused = true)]
async fn wrong_json_is_a_problem_that_names_the_field() {
    let world = world();
    let long = format!(
        r#"{{"phone":"+4930901820","note":"{}"}}"#,
        "x".repeat(70_000)
    );
    for (body, status, kind, field) in [
        ("{", 400, "bad-json", "body"),
        ("", 400, "bad-json", "body"),
        ("[]", 422, "bad-type", "body"),
        (r#"{"phone":5}"#, 422, "bad-type", "phone"),
        (
            r#"{"phone":"+4930901820","x":1}"#,
            422,
            "unknown-key",
            "body",
        ),
        (
            r#"{"phone":"+1 212 555 0100"}"#,
            422,
            "not-allowed",
            "phone",
        ),
        (
            r#"{"phone":"+4930901820","when":{"at":"2020-01-01T00:00:00Z"}}"#,
            422,
            "time-in-past",
            "when",
        ),
    ] {
        let (got, headers, problem) = world.json(body).await;
        assert_eq!(got.as_u16(), status, "{body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{body}");
        assert_eq!(problem["field"], field, "{body}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    assert_eq!(world.json(&long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn wrong_headers_are_refused_before_the_body_is_read() {
    let world = world();
    let key = "k".repeat(256);
    for (header, value, status) in [
        ("content-type", "text/plain", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-encoding", "gzip", 415),
        ("origin", "https://shop.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("idempotency-key", "", 400),
        ("idempotency-key", &key, 400),
        ("idempotency-key", "schlüssel", 400),
    ] {
        let (got, _, problem) = world.json_with(&[(header, value)], GOOD).await;
        assert_eq!(got.as_u16(), status, "{header}: {value}: {problem}");
    }
    assert!(world.taken().is_empty());
    let own = [
        ("origin", OWN),
        ("content-type", "application/json; charset=utf-8"),
    ];
    assert_eq!(world.json_with(&own, GOOD).await.0, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_desk_have_their_status() {
    let minute = Duration::from_millis(61_500);
    for (error, status, kind, retry) in [
        (AcceptError::KeyReused, 422, "key-reused", None),
        (AcceptError::NotAllowed, 422, "not-allowed", None),
        (
            AcceptError::BadTime("closed then".into()),
            422,
            "bad-time",
            None,
        ),
        (AcceptError::Full, 429, "line-full", Some("60")),
        (
            AcceptError::TooMany {
                retry_after: minute,
            },
            429,
            "too-many",
            Some("62"),
        ),
        (AcceptError::Unavailable, 503, "unavailable", Some("5")),
    ] {
        let world = world_with(Err(error), 1000);
        let (got, headers, problem) = world.json(GOOD).await;
        assert_eq!(got.as_u16(), status, "{kind}");
        assert_eq!(problem["type"], format!("/problems/{kind}"));
        let after = headers.get("retry-after").map(|v| v.to_str().unwrap());
        assert_eq!(after, retry, "{kind}");
        let (got, _, html) = world.typed("phone=030901820&when=now").await;
        match kind {
            "key-reused" => assert!(got == 200 && html.contains("sent already")),
            _ => assert!(
                got == status && html.contains("role=\"alert\""),
                "{kind}: {html}"
            ),
        }
        assert!(html.contains("value=\"030901820\""), "values are kept");
    }
}

#[tokio::test(start_paused = true)]
async fn flood_from_one_network_is_held_back() {
    let world = world_with(Ok(accepted()), 2);
    assert_eq!(world.json(GOOD).await.0, StatusCode::CREATED);
    assert_eq!(
        world.typed("phone=030901820").await.0,
        StatusCode::SEE_OTHER
    );
    let (status, headers, _) = world.json(GOOD).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers["retry-after"], "60");
    assert_eq!(
        world.typed("phone=030901820").await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(world.json(GOOD).await.0, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn only_a_proxy_on_this_machine_speaks_for_others() {
    let world = world();
    for (peer, forwarded, wanted) in [
        ("127.0.0.1:1", "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        ("[::1]:1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1:1", "nonsense", "127.0.0.1"),
        ("192.0.2.1:1", "203.0.113.9", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1", "203.0.113.9", "192.0.2.1"),
    ] {
        let mut request = Request::post("/api/requests")
            .header("content-type", "application/json")
            .header("x-forwarded-for", forwarded)
            .body(Body::from(GOOD))
            .unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        world.router.clone().oneshot(request).await.unwrap();
        let (_, origin) = world.taken().pop().unwrap();
        assert_eq!(
            origin.address,
            Some(wanted.parse().unwrap()),
            "{peer} {forwarded}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn form_is_prefilled_from_query_and_referer() {
    let world = world();
    let show = async |path: &str, referer: &str| {
        let request = Request::get(path)
            .header("referer", referer)
            .header("accept-language", "fr, de;q=0.5")
            .body(Body::empty())
            .unwrap();
        world.ask(request).await
    };
    let (status, headers, html) = show("/help", "https://shop.example/basket?id=7").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-language"], "de");
    assert!(
        html.contains("<bdi>https://shop.example/basket?id&#x3D;7</bdi>"),
        "{html}"
    );
    assert!(html.contains("name=\"when\" value=\"now\" checked"));
    assert!(html.contains("Ortszeit Berlin"));
    assert!(html.contains("min=\"2026-11-23T14:30\""));
    assert!(!html.contains("<select"), "one queue is no choice");
    let query = "/help?lang=en&phone=%2B4930901820&email=a%40b.de&page=javascript:alert(1)&name=%22%3E%3Cscript%3E%7B%7Bx%7D%7D";
    let (_, _, html) = show(query, "http://help.example/help").await;
    assert!(html.contains("value=\"+4930901820\"") && html.contains("value=\"a@b.de\""));
    assert!(
        html.contains("value=\"&quot;&gt;&lt;script&gt;{{x}}\""),
        "{html}"
    );
    assert!(!html.contains("javascript") && !html.contains("<script"));
    assert!(
        !html.contains("help.example/help"),
        "own page is no page of the customer"
    );
}

#[tokio::test(start_paused = true)]
async fn typed_form_becomes_a_request_and_leads_to_its_page() {
    let world = world();
    let (status, headers, _) = world
        .typed("phone=030+901820&email=ada%40example.org&name=Ada&when=at&at=2026-11-24T10:00&tz=Europe/Berlin&lang=de")
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], "/s/tok_en-1");
    let (request, origin) = world.taken().remove(0);
    assert_eq!(
        (request.channel, request.language.as_str()),
        (Channel::Form, "de")
    );
    let at = Wall::from_millis(NOW.millis() + ((20 * 60) - 20) * 60_000);
    assert_eq!(
        request.when,
        When::Window {
            not_before: at,
            not_after: None
        }
    );
    let key = origin.key.unwrap();
    assert_eq!((key.scope, key.key.as_str()), ("form", "n0nce"));
    // A double click sends the same fields: the same key and the same hash.
    world.typed("phone=030+901820").await;
    world.typed("phone=030+901820").await;
    let keys: Vec<_> = world
        .taken()
        .into_iter()
        .map(|(_, o)| o.key.unwrap())
        .collect();
    assert_eq!(keys[1], keys[2]);
    assert_ne!(keys[0].body_hash, keys[1].body_hash);
}

#[tokio::test(start_paused = true)]
async fn faulty_form_comes_back_with_summary_and_every_value() {
    let world = world();
    let (status, _, html) = world
        .typed("phone=12&name=%3Cb%3EAda&email=nobody&when=at&at=2020-01-01T10:00&note=a%0d%0ab&lang=en")
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for part in [
        "href=\"#phone\"",
        "href=\"#email\"",
        "href=\"#at\"",
        "autofocus",
        "id=\"phone-error\"",
        "aria-invalid=\"true\"",
        "value=\"12\"",
        "value=\"&lt;b&gt;Ada\"",
        "value=\"nobody\"",
        "value=\"2020-01-01T10:00\"",
        "value=\"at\" checked",
        "value=\"n0nce\"",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(world.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn foreign_early_or_tokenless_form_has_to_be_confirmed() {
    let world = world();
    let good = world.intake.form_key.token(NOW - Duration::from_secs(4));
    let early = world.intake.form_key.token(NOW - Duration::from_secs(1));
    let with = |token: &str| format!("phone=030901820&page=https://shop.example/&ft={token}");
    for (origin, body) in [
        ("https://shop.example", with(&good)),
        ("null", with(&good)),
        (OWN, with(&early)),
        (OWN, with("1.x")),
        (OWN, "phone=030901820".to_owned()),
    ] {
        let (status, _, html) = world.form(origin, &body).await;
        assert_eq!(status, StatusCode::OK, "{origin} {body}");
        assert!(html.contains("Please check and confirm") && html.contains("value=\"030901820\""));
    }
    assert!(world.taken().is_empty());
    // The confirm page itself works at once.
    let (_, _, html) = world.form("https://shop.example", &with("")).await;
    let token = html.split("name=\"ft\" value=\"").nth(1).unwrap();
    let token = token.split('"').next().unwrap().replace("&#x3D;", "=");
    let (status, _, _) = world.form(OWN, &with(&token)).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(world.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn trap_and_large_forms_store_nothing() {
    let world = world();
    let (status, headers, _) = world.typed("phone=030901820&website=x").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "looks like success");
    assert!(headers["location"].to_str().unwrap().starts_with("/s/"));
    let large = format!("note={}", "x".repeat(33_000));
    assert_eq!(world.typed(&large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let twice = world.typed("phone=1&phone=2").await;
    assert_eq!(twice.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(world.taken().is_empty());
}
